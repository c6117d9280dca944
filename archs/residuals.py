"""Where a network's residual blocks are, found by watching one pass through it without numbers.

Nothing is asked of the names and kinds of its modules: every operation is written down with the results that it reads.
A residual block is a sum of two maps whose ways part at one place, the block's input, and meet nowhere before the sum:
the shortcut, without a convolution or with one or two that change the shape, and the main path, which has more. An
operator before the main path's first layer so leaves the shortcut as it is.

A layer is the smallest module with convolutions that all of the main path goes through: a convolution, or several side
by side. The first one reads the whole of the block's input, normed or activated at most.

Legend: `B` images, `C` channels, `H W` space, `L` tokens.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from math import log2
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BATCH = 2
SHORTCUT_CONVS = 2  # at most: where the shape changes, a ResNet's shortcut has one, GhostNet's two
CONV, SUMS, GATES = "Conv2d", ("add", "add_"), ("mul", "mul_")
SPLITS = ("split", "split_with_sizes", "chunk", "unbind", "select", "slice")
PRODUCTS = (
    *("mm", "addmm", "bmm", "baddbmm"),
    *("_scaled_dot_product_attention_math", "_scaled_dot_product_flash_attention_for_cpu"),
)

# Why a sum is no block that can be patched; of a network without such blocks, why it has none.
NO_SUM = "nothing in it is added to a shortcut"
NO_CONVS = "its residual blocks are attention and linear layers, without a convolution before which to mix frames"
TOKENS = "its residual blocks work on tokens: no convolution reads a block's channels, of which a part could be shifted"
ATTENTION = "the convolutions of its residual blocks make the queries, keys and values of attention, or gates"
SIDE_BY_SIDE = "the main paths of its residual blocks begin with several layers side by side, or with a linear layer"
BRANCHES = "what it adds up are branches that each have convolutions, not a main path and a shortcut"


@dataclass(frozen=True)
class Block:
    """A residual block: the layers, by name, that all of its main path goes through, in the order of execution.

    `name`: of the module that is the whole block, shortcut included; empty where no module is just that. `channels`:
    what each of the layers reads.
    """

    name: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Residuals:
    """The residual blocks by the names of ResNet's stages, in the order of execution.

    A stage holds the blocks that give one resolution: a quarter of the picture's side (or more) in `layer1`, a
    thirty-second (or less) in `layer4`. `why_not`: why the network's other sums are no blocks, or that it has none.
    """

    stages: dict[str, tuple[Block, ...]]
    why_not: str


def find_residuals(net: nn.Module, input_size: tuple[int, int, int]) -> Residuals:
    """The residual blocks of `net`, an image classifier that takes `(B, C, H, W)`, where `input_size` is (C, H, W).

    `net` stays as it is. If its forward pass fails on the meta device, `why_not` says so.
    """
    try:
        flow = _Flow(_watched(_without_numbers(net), input_size))
    except Exception as error:  # of code that is not ours
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        return Residuals({}, f"its forward pass can't be watched without numbers ({cause})")
    verdicts = {end: flow.judge(end) for end in flow.sums()}
    blocks = {end: block for end, block in verdicts.items() if isinstance(block, Block)}
    reasons = Counter(reason for reason in verdicts.values() if isinstance(reason, str))
    stages: dict[str, list[Block]] = {}
    for end in sorted(set(blocks) - flow.inside(blocks)):
        stages.setdefault(_stage(input_size[2] / flow.steps[end].shape[3]), []).append(blocks[end])
    return Residuals({stage: tuple(stages[stage]) for stage in sorted(stages)}, _most_telling(reasons))


def _stage(reduction: float) -> str:
    return f"layer{min(max(round(log2(reduction)) - 1, 1), 4)}"


def _most_telling(reasons: Counter[str]) -> str:
    """The most frequent one, but what convolutions say comes first."""
    common = [reason for reason, _ in reasons.most_common()] or [NO_SUM]
    return next((reason for reason in common if reason != NO_CONVS), NO_CONVS)


def _without_numbers(net: nn.Module) -> nn.Module:
    """A copy for evaluation on the meta device, for which no weight is copied."""
    weights = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in net.parameters()}
    return copy.deepcopy(net, weights | {id(b): b.detach().to("meta") for b in net.buffers()}).eval()


def _watched(net: nn.Module, input_size: tuple[int, int, int]) -> _Watch:
    watch = _Watch()
    for name, module in net.named_modules():
        module.register_forward_pre_hook(partial(watch.enter, name), with_kwargs=True)
        module.register_forward_hook(partial(watch.leave, name), with_kwargs=True)
    image = torch.zeros(BATCH, *input_size, device="meta")
    watch.made("input", (), image)
    with watch, torch.no_grad():
        net(image)
    return watch


@dataclass(frozen=True)
class _Step:
    """One result: of what operation, on which other results, its shape, in which module's forward."""

    kind: str
    sources: tuple[int, ...]
    shape: torch.Size
    module: str


@dataclass(frozen=True)
class _Call:
    """Of a module: what results it was given, none if there was anything beside a single argument, and what it made."""

    sources: tuple[int, ...]
    results: tuple[int, ...]


class _Watch(TorchDispatchMode):
    """Writes down what is made of the input. A convolution is one step, whatever it does to its weights and borders.

    Results are kept, so that no other tensor gets the id of an old one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self.calls: dict[str, list[_Call]] = {}
        self.running: list[tuple[str, tuple[int, ...]]] = [("", ())]  # modules, and what they were given
        self.made_by: dict[int, int] = {}  # the step of each tensor, by its id
        self.kept: list[torch.Tensor] = []
        self.inside_conv = 0

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.running.append((name, self.steps_of((args, kwargs))))
        self.inside_conv += isinstance(module, nn.Conv2d)

    def leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        _, sources = self.running[-1]
        self.inside_conv -= isinstance(module, nn.Conv2d)
        if isinstance(module, nn.Conv2d) and not self.inside_conv and sources:
            self.made(CONV, sources, result)
        self.running.pop()
        alone = len(args) + len(kwargs) == 1
        self.calls.setdefault(name, []).append(_Call(sources if alone else (), self.steps_of(result)))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.inside_conv and (sources := self.steps_of((args, kwargs))):
            kind = func._schema.name.removeprefix("aten::")
            # Outside such a module it has fixed weights and blurs, unless its weights are made of the input.
            self.made(CONV if kind == "convolution" and len(sources) > 1 else kind, sources, result)
        return result

    def steps_of(self, tree: Any) -> tuple[int, ...]:
        """The steps that made the tensors in `tree`, each once."""
        return tuple(dict.fromkeys(self.made_by[id(leaf)] for leaf in tree_leaves(tree) if id(leaf) in self.made_by))

    def made(self, kind: str, sources: tuple[int, ...], result: Any) -> None:
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.made_by[id(tensor)] = len(self.steps)
                self.kept.append(tensor)
                self.steps.append(_Step(kind, sources, tensor.shape, self.running[-1][0]))


class _Flow:
    """What flows where, as one pass showed it."""

    def __init__(self, watch: _Watch) -> None:
        self.steps = watch.steps
        self.dominators = self._dominators()
        # The modules that run once and make one result of one: name, source, result.
        self.modules = [
            (name, calls[0].sources[0], calls[0].results[0])
            for name, calls in watch.calls.items()
            if len(calls) == len(calls[0].sources) == len(calls[0].results) == 1
        ]

    def sums(self) -> list[int]:
        """The sums of two maps `(B, C, H, W)`, or of two sets of tokens `(B, L, C)`, of one shape."""
        return [
            n
            for n, step in enumerate(self.steps)
            if step.kind in SUMS
            and len(step.sources) == 2
            and len(step.shape) in (3, 4)
            and all(self.steps[term].shape == step.shape for term in step.sources)
        ]

    def judge(self, end: int) -> Block | str:
        """The residual block that ends in this sum, or why it is none that can be patched."""
        start = self.dominators[end]  # where the ways of the sum's terms part
        shortcut, main, last = self.ways(end)
        few, many = self.convs(shortcut), self.convs(main)
        if not many:
            return NO_CONVS
        if few == many or few > SHORTCUT_CONVS or shortcut & main:
            return SIDE_BY_SIDE if few == many == 1 else BRANCHES
        layers = self._layers(start, last)
        if not layers:
            return SIDE_BY_SIDE
        ends = [source for _, source, _ in layers[1:]] + [last]
        attend = [self._attends(source, result, end) for (_, source, result), end in zip(layers, ends, strict=True)]
        convolve = layers[: attend.index(True)] if any(attend) else layers
        if not convolve:
            return ATTENTION
        entered, read = self.steps[start].shape, self.steps[layers[0][1]].shape
        if len(entered) != 4 or len(self.steps[end].shape) != 4 or read[:2] != entered[:2] or entered[1] == 1:
            return TOKENS
        names, sources, _ = zip(*convolve, strict=True)
        return Block(self._whole(start, end), names, tuple(self.steps[n].shape[1] for n in sources))

    def ways(self, end: int) -> tuple[set[int], set[int], int]:
        """To this sum: the steps with fewer convolutions, those with more, and the last one of these."""
        start = self.dominators[end]
        (_, shortcut, _), (_, main, last) = sorted(
            ((self.convs(side := self.between(start, term)), side, term) for term in self.steps[end].sources),
            key=lambda way: way[0],
        )
        return shortcut, main, last

    def inside(self, ends: Iterable[int]) -> set[int]:
        """The steps that are part of the main paths to these sums."""
        return set().union(*(self.ways(end)[1] for end in ends))

    def between(self, start: int, end: int) -> set[int]:
        """The steps on all ways from `start`, itself not included, to `end`."""
        found: set[int] = set()
        todo = [end]
        while todo:
            if (n := todo.pop()) != start and n not in found:
                found.add(n)
                todo += self.steps[n].sources
        return found

    def reaches(self, start: int, end: int) -> bool:
        """Whether there is a way from `start` to `end` without a convolution."""
        found, todo = {start}, [end]
        while todo:
            if (n := todo.pop()) == start:
                return True
            if n > start and n not in found and self.steps[n].kind != CONV:
                found.add(n)
                todo += self.steps[n].sources
        return False

    def path(self, start: int, end: int) -> list[int]:
        """The steps that every way from `start`, itself not included, to `end` goes through, in their order."""
        found = []
        while end != start:
            found.append(end)
            end = self.dominators[end]
        return found[::-1]

    def convs(self, steps: Iterable[int]) -> int:
        """How many of them are convolutions."""
        return sum(self.steps[n].kind == CONV for n in steps)

    def _layers(self, start: int, end: int) -> list[tuple[str, int, int]]:
        """The layers of a main path: the name, the step that it reads, and its own. None if it begins otherwise."""
        places = {start, *self.path(start, end)}
        found: list[tuple[str, int, int]] = []
        for result, _, name, source in sorted((r, -len(n), n, s) for n, s, r in self.modules if {s, r} <= places):
            if not self._convolves(source, result) or (found and source < found[-1][2]):
                continue
            if not found and self._mixes(self.between(start, source)):
                return []
            found.append((name, source, result))
        return found

    def _convolves(self, source: int, result: int) -> bool:
        """Whether convolutions make `result` of `source`, and not only a gate (squeeze-and-excitation) by its side."""
        is_gate = self.steps[result].kind in GATES and self.reaches(source, result)
        return not is_gate and self.convs(self.between(source, result)) > 0

    def _mixes(self, steps: set[int]) -> bool:
        """Whether there is a convolution or a linear layer among them."""
        return any(self.steps[n].kind in (CONV, *PRODUCTS) for n in steps)

    def _attends(self, source: int, result: int, end: int) -> bool:
        """Whether what a layer makes is split at once, or multiplied by matrices made of it, before the next layer."""
        steps = [self.steps[n] for n in self.between(source, end)]
        splits = any(step.kind in SPLITS and result in step.sources for step in steps)
        return splits or any(step.kind in PRODUCTS and len(step.sources) > 1 for step in steps)

    def _whole(self, start: int, end: int) -> str:
        """The module that makes the sum, if it is given the block's input alone, or what it norms to that."""
        name = self.steps[end].module
        for module, source, _ in self.modules:
            if module == name and source in (start, *self.path(0, start)):
                return "" if self._mixes(self.between(source, start)) else name
        return ""

    def _dominators(self) -> list[int]:
        """Of each step the last one before it that every way from the input to it goes through."""
        nearest, depth = [0], [0]
        for step in self.steps[1:]:
            ways = set(step.sources)
            while len(ways) > 1:  # the deepest goes back until all have met
                deepest = max(ways, key=depth.__getitem__)
                ways = ways - {deepest} | {nearest[deepest]}
            nearest.append(ways.pop())
            depth.append(depth[nearest[-1]] + 1)
        return nearest
