"""The form of a trained network that is fastest to evaluate: BatchNorm and linear maps folded into convolutions.

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `K` a convolution's output channels, `H W`
space. Feature maps are `(N·T, C, H, W)`, the frames of a video adjacent.
"""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ops.errors import InputError
from ops.model.fex import FEX, SceneSegregation, TemporalInformationModule
from ops.model.folded import FoldedFEX
from ops.model.layers import is_batch_norm, is_convolution, is_pointwise, is_watched
from ops.model.temporal_shift import WithTemporal
from ops.model.tsn import TSN

SIZES = (32, 64, 224, 256, 384)  # pixels: a network is tried on the first of these that its backbone takes
TOLERANCE = 1e-6  # of the largest score; in float64 folding changes the scores by 1e-15


@torch.no_grad()
def deploy(network: TSN, dtype: torch.dtype | None = None) -> TSN:
    """A copy of `network` for evaluation only, equal to it to rounding: 1e-5 of the scores in float32.

    Every BatchNorm that is alone in reading a convolution's result is folded into the convolution, and each FEX block
    into the convolution behind it as far as it goes (see `folded`). The copy has no training mode.

    `dtype`: that of an autocast the copy will run under; its convolutions' weights are kept in it, where autocast
    would convert them in every pass.

    Raises InputError if the copy does not score a clip as the network does (computed in float64).
    """
    deployed = copy.deepcopy(network).eval().double()
    clip, expected, norms = watched(deployed)
    _fold(deployed, norms)
    refuse_other_scores(network.name, deployed(clip), expected)
    deployed.to(next(network.parameters()).dtype)
    for module in deployed.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        if is_convolution(module):
            module.to(dtype=dtype)
    return deployed.requires_grad_(False)


def watched(network: TSN) -> tuple[torch.Tensor, torch.Tensor, dict[str, str]]:
    """A clip of noise `(1, T, C, H, W)`, always the same, its scores, and the BatchNorms that can be folded.

    These by their names, each with its convolution's. They are found by watching the pass that gives the scores: the
    BatchNorm reads what the convolution gave, and nothing else does; and neither works twice.
    """
    weights = next(network.parameters())
    for size in SIZES:
        shape = (1, network.options.num_segments, network.input_stage.channels, size, size)
        clip = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weights)
        try:
            with _Readers(network) as readers:
                return clip, network(clip), readers.alone()
        except (AssertionError, RuntimeError) as error:  # of backbones that are made for one size, or for large ones
            reason = error
    sizes = ", ".join(map(str, SIZES))
    raise InputError(f"{network.name}: takes no frames of {sizes} pixels ({reason}): give --no_deploy") from reason


def refuse_other_scores(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Raises InputError if the scores that a network's deployed form `found` are not those `expected` of it.

    Also where these are infinite or no numbers.
    """
    if not expected.isfinite().all():
        raise InputError(
            f"{name}: its scores of a clip are infinite or no numbers (NaN): its weights are, or have grown too large, "
            "as in a training that has diverged; take an earlier checkpoint, or train with a smaller --lr"
        )
    smallest = torch.finfo(expected.dtype).tiny
    far = ((found - expected).abs().max() / expected.abs().max().clamp_min(smallest)).item()
    if not far <= TOLERANCE:
        raise InputError(
            f"{name}: its form for evaluation scores a clip otherwise than the network itself: by {far:.2g} of the "
            f"largest score, where {TOLERANCE:g} is allowed. Give --no_deploy, and report which backbone it was"
        )


def _fold(network: TSN, norms: dict[str, str]) -> None:
    """Folds, in place, BatchNorms into their convolutions (`norms`, see `watched`), then FEX blocks."""
    for norm, conv in norms.items():
        layer: Any = network.get_submodule(conv)
        batch_norm: Any = network.get_submodule(norm)
        network.set_submodule(conv, fuse_conv_bn_eval(layer, batch_norm))
        # timm's BatchNorm has an activation inside.
        network.set_submodule(norm, getattr(batch_norm, "act", nn.Identity()))
    for module in network.modules():
        # Which reshapes between the two.
        if isinstance(module, TemporalInformationModule) and is_convolution(module.conv) and is_batch_norm(module.bn):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.set_submodule("bn", nn.Identity())
    for name, module in list(network.named_modules()):
        if isinstance(module, WithTemporal) and (one := folded(module.temporal, module.net)) is not None:
            network.set_submodule(name, one)


def folded(operator: nn.Module, net: nn.Module) -> FoldedFEX | None:
    """A FEX block and the layer behind it as one module, if they fold; BatchNorms have been folded before."""
    if type(operator) is not FEX or is_watched(operator):
        return None
    ss = operator.segregation
    if not isinstance(ss, SceneSegregation) or not is_pointwise(ss.fusion):
        return None
    return FoldedFEX(operator.enhancement, ss, net, net if is_pointwise(net) and net.stride == (1, 1) else None)


class _Readers(TorchFunctionMode):
    """Who reads the convolutions' results. These are kept, so that no other tensor gets the number of an old one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.hooks: list[Any] = []
        self.convs: dict[int, tuple[str, torch.Tensor]] = {}  # by the id of the result
        self.readers: dict[int, list[str]] = {}  # BatchNorms by name, all else as ""
        self.norm = ""  # the BatchNorm that is running
        self.calls: Counter[str] = Counter()  # of either kind of layer

    def __enter__(self) -> _Readers:
        for name, module in self.network.named_modules():
            if is_convolution(module):
                self.hooks.append(module.register_forward_hook(partial(self.produced, name)))
            elif is_batch_norm(module):
                self.hooks.append(module.register_forward_pre_hook(partial(self.enter, name)))
                self.hooks.append(module.register_forward_hook(self.leave))
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for hook in self.hooks:
            hook.remove()

    def produced(self, name: str, _module: nn.Module, _inputs: Any, result: torch.Tensor) -> None:
        self.convs[id(result)], self.readers[id(result)] = (name, result), []
        self.calls[name] += 1

    def enter(self, name: str, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.norm = name
        self.readers.get(id(inputs[0]), []).append(name)
        self.calls[name] += 1

    def leave(self, *_: Any) -> None:
        self.norm = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.norm:
            for leaf in tree_leaves((args, kwargs)):
                self.readers.get(id(leaf), []).append("")
        return func(*args, **(kwargs or {}))

    def alone(self) -> dict[str, str]:
        """The BatchNorms that are a result's only reader, each with the convolution; both called once."""
        norms = {key: each[0] for key, each in self.readers.items() if len(each) == 1 and each[0]}
        pairs = {norm: self.convs[key][0] for key, norm in norms.items()}
        return {norm: conv for norm, conv in pairs.items() if self.calls[norm] == self.calls[conv] == 1}
