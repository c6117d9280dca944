"""Patches a backbone in time: which operator goes before which layer of which residual block.

`segments(stage)` is the number of frames a clip has in a stage; temporal pooling halves it on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from archs.backbone import Backbone
from archs.bninception import BNInception
from archs.names import RESNETS
from archs.residuals import Block
from ops.errors import InputError
from ops.model.fex import FEX, REDUCTION, foreground_channels
from ops.model.fex_released import ReleasedFEX
from ops.model.non_local import PLACES, NonLocal, WithNonLocal
from ops.model.spatiotemporal_se import SpatioTemporalSE
from ops.model.temporal_pool import TemporalPool
from ops.model.temporal_shift import TemporalShift, WithTemporal

Segments = Callable[[str], int]

# Of a ResNet whose layer3 has so many blocks (ResNet-101, -152) only every second block is patched, as published.
DEEP_STAGE = 23


def patch_shift(
    backbone: Backbone, segments: Segments, shift_div: int, place: str, stages: Sequence[str] = ()
) -> list[str]:
    """Puts a temporal shift into `stages`, or into every one; returns the names of the patched modules.

    `place`: `blockres` before the first layer of the residual blocks' main paths (of every second block in deep
    ResNets), `block` before the whole block, shortcut included. Of BNInception, `block` or twelve digits: before
    the stages whose digit is 1, never the first.
    """
    if isinstance(backbone.net, BNInception):
        return _patch_inception(backbone.net, segments, shift_div, place)
    if place not in ("blockres", "block"):
        raise InputError(f"--shift_place {place}: temporal shift knows blockres and block")
    stages = stages or tuple(backbone.stages)

    def make(stage: str, _index: int, channels: int) -> nn.Module:
        if channels < shift_div:
            raise InputError(f"--shift_div {shift_div}: moves none of {channels} channels; give a smaller one")
        return TemporalShift(segments(stage), shift_div)

    if place == "block":
        _refuse_blocks_in_parts(backbone)
        return _patch(backbone, stages, 1, None, make)
    return _patch(backbone, stages, _block_step(backbone), lambda _: 0, make)


def patch_fex(
    backbone: Backbone,
    segments: Segments,
    shift_div: int,
    place: str,
    form: str,
    stages: Sequence[str],
    variant: Mapping[str, Any] | None = None,
) -> list[str]:
    """Puts a FEX block into the blocks of `stages`; returns the names of the patched modules.

    `place`: `blockres` before the first layer of the main path; `inblockres` likewise in the first block of a stage
    and before the second layer in the others. `form`: `paper` or `released`. `variant`: what is not as the paper draws
    it, as arguments of `FEX`.
    """
    if place not in ("blockres", "inblockres"):
        raise InputError(
            f"--shift_place {place}: FEX is defined inside a residual block only (blockres, inblockres); "
            "give one of those, or --fex off for the plain temporal shift"
        )
    block_type = {"paper": FEX, "released": ReleasedFEX}[form]
    if variant and form == "released":
        flags = ", ".join(f"--fex_{name}" for name in variant)
        raise InputError(f"--fex released: it is as it was released, without {flags}; give --fex paper")

    def make(stage: str, index: int, channels: int) -> nn.Module:
        if foreground_channels(channels, shift_div) == 0:
            raise InputError(
                f"--shift_div {shift_div}: leaves no foreground of {channels} channels; give a smaller one"
            )
        if channels < REDUCTION:
            raise InputError(f"--fex_stages: {stage} has {channels} channels, FEX reduces them {REDUCTION} times")
        return block_type(channels, segments(stage), shift_div, enhance=index == 0, **(variant or {}))

    inside = place == "inblockres"
    return _patch(backbone, stages, _block_step(backbone), lambda index: int(inside and index > 0), make)


def refuse_unpatchable(backbone: Backbone, arch: str, flag: str, stages: Sequence[str]) -> None:
    """Raises InputError if there is nothing to patch, or one of a flag's `stages` has no residual block."""
    if isinstance(backbone.net, BNInception) and not stages:
        return  # it is shifted between its stages
    if not backbone.stages:
        remedy = "give --fex off --shift_place block" if isinstance(backbone.net, BNInception) else "give --no-shift"
        because = f"; {backbone.why_no_blocks}" if backbone.why_no_blocks else ""
        raise InputError(f"--arch {arch}: it has no residual blocks that could be patched in time: {remedy}{because}")
    if missing := [stage for stage in stages if not backbone.stages.get(stage)]:
        raise InputError(f"{flag} {' '.join(missing)}: {arch} has residual blocks in {', '.join(backbone.stages)}")


def add_non_local(backbone: Backbone, segments: Segments, arch: str) -> None:
    """A non-local block behind five residual blocks of `layer2` and `layer3` (see `non_local.PLACES`)."""
    if arch != "resnet50":
        raise InputError(f"--non_local: defined for --arch resnet50, not {arch}")
    for stage, index in PLACES:
        name = backbone.stages[stage][index].name
        block = backbone.net.get_submodule(name)
        backbone.net.set_submodule(name, WithNonLocal(block, NonLocal(_width(backbone, stage), segments(stage))))


def add_se(backbone: Backbone, segments: Segments, arch: str) -> None:
    """Spatio-temporal squeeze-and-excitation around every residual block."""
    _refuse_others(arch, "add_se")
    for stage, blocks in backbone.stages.items():
        for block in blocks:
            net = backbone.net.get_submodule(block.name)
            wrapped = SpatioTemporalSE(net, _width(backbone, stage), segments(stage))
            backbone.net.set_submodule(block.name, wrapped)


def pool_in_time(backbone: Backbone, num_segments: int, arch: str) -> None:
    """Temporal pooling before `layer2`. Last of all, as it gives the stage's blocks other names."""
    _refuse_others(arch, "temporal_pool")
    stage = backbone.net.get_submodule("layer2")
    backbone.net.set_submodule("layer2", WithTemporal(TemporalPool(num_segments), stage))


def _refuse_others(arch: str, flag: str) -> None:
    if arch not in RESNETS:
        raise InputError(f"--{flag}: defined for --arch {', '.join(RESNETS)}, not {arch}")


def _width(backbone: Backbone, stage: str) -> int:
    """The channels that the residual blocks of a ResNet's stage give."""
    return backbone.feature_dim >> (3 - list(backbone.stages).index(stage))


def _patch(
    backbone: Backbone,
    stages: Sequence[str],
    step: int,
    layer: Callable[[int], int] | None,
    make: Callable[[str, int, int], nn.Module],
) -> list[str]:
    """In every `step`-th block, `make(stage, index, channels)` goes before a layer that reads so many channels.

    It is the layer number `layer(index)` of the block's main path, or the whole block where `layer` is None.
    """
    patched = []
    for stage in stages:
        for index, block in enumerate(backbone.stages[stage]):
            if index % step or (layer is None and not block.name):
                continue
            number = 0 if layer is None else layer(index)
            if number >= len(block.layers):
                raise InputError(
                    f"--shift_place inblockres: {block.layers[0]} has no second convolution behind it; give blockres"
                )
            name = block.name if layer is None else block.layers[number]
            operator = make(stage, index, block.channels[number])
            backbone.net.set_submodule(name, WithTemporal(operator, backbone.net.get_submodule(name)))
            patched.append(name)
    return patched


def _refuse_blocks_in_parts(backbone: Backbone) -> None:
    """Raises InputError if a residual block is neither a module nor inside of one that is another block."""
    blocks = [block for blocks in backbone.stages.values() for block in blocks]
    wholes = tuple(f"{block.name}." for block in blocks if block.name)
    if parts := [block.layers[0] for block in blocks if not block.name and not block.layers[0].startswith(wholes)]:
        raise InputError(
            f"--shift_place block: no module is the whole residual block of {parts[0]} (one of {len(parts)} such): "
            "give blockres"
        )


def _block_step(backbone: Backbone) -> int:
    blocks = backbone.stages.get("layer3", ())
    return 2 if len(blocks) >= DEEP_STAGE and _is_bottleneck(backbone, blocks[0]) else 1


def _is_bottleneck(backbone: Backbone, block: Block) -> bool:
    """A ResNet's: convolutions 1x1, larger, 1x1, of which the middle one is not depthwise as in MobileNets."""
    layers: list[Any] = [backbone.net.get_submodule(name) for name in block.layers]
    kernels = [getattr(layer, "kernel_size", None) for layer in layers]
    return len(layers) == 3 and kernels[0] == kernels[2] == (1, 1) and layers[1].groups < layers[1].in_channels


def _patch_inception(net: BNInception, segments: Segments, shift_div: int, place: str) -> list[str]:
    stages = net.stage_names
    mask = "0" + "1" * (len(stages) - 1) if place == "block" else place
    if len(mask) != len(stages) or set(mask) - {"0", "1"} or "1" not in mask[1:]:
        raise InputError(
            f"--shift_place {place}: BNInception takes block, or {len(stages)} digits 0 or 1, one for each of its "
            f"stages ({' '.join(stages)}); the first never shifts, one of the others must"
        )
    chosen = [stage for stage, digit in zip(stages, mask, strict=True) if digit == "1" and stage != stages[0]]
    for stage in chosen:
        net.before[stage] = TemporalShift(segments(stage), shift_div)
    return chosen
