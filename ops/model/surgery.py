"""Patches a backbone in time: which operator goes before which layer of which residual block."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from archs.backbone import Backbone
from ops.errors import InputError
from ops.model.fex import FEX, foreground_channels
from ops.model.fex_released import ReleasedFEX
from ops.model.temporal_shift import TemporalShift, WithTemporal

FEX_STAGES = ("layer2", "layer3", "layer4")
# Of a ResNet whose layer3 has so many blocks (ResNet-101, -152) only every second block is patched, as published.
DEEP_STAGE = 23


def patch_shift(backbone: Backbone, num_segments: int, shift_div: int, place: str) -> list[str]:
    """Puts a temporal shift into every stage; returns the names of the patched modules.

    `place`: `blockres` before `conv1` of the residual blocks (of every second one in deep networks), `block`
    before the whole block, shortcut included.
    """
    if place == "block":
        return _patch(backbone, backbone.stages, 1, _whole_block, lambda *_: TemporalShift(num_segments, shift_div))
    if place != "blockres":
        raise InputError(f"--shift_place {place}: temporal shift knows blockres and block")
    step = _block_step(backbone)
    return _patch(backbone, backbone.stages, step, _conv1, lambda *_: TemporalShift(num_segments, shift_div))


def patch_fex(backbone: Backbone, num_segments: int, shift_div: int, place: str, form: str) -> list[str]:
    """Puts a FEX block into `layer2` to `layer4`; returns the names of the patched modules.

    `place`: `blockres` before `conv1`; `inblockres` likewise in the first block of a stage and before `conv2` in
    the others. `form`: `paper` or `released`.
    """
    if place not in ("blockres", "inblockres"):
        raise InputError(
            f"--shift_place {place}: FEX is defined inside a residual block only (blockres, inblockres); "
            "give one of those, or --fex off for the plain temporal shift"
        )
    block_type = {"paper": FEX, "released": ReleasedFEX}[form]

    def make(index: int, conv: nn.Module) -> nn.Module:
        channels = conv.in_channels
        assert isinstance(channels, int)
        if foreground_channels(channels, shift_div) == 0:
            raise InputError(
                f"--shift_div {shift_div}: leaves no foreground of {channels} channels; give a smaller one"
            )
        return block_type(channels, num_segments, shift_div, enhance=index == 0)

    layer = _conv1 if place == "blockres" else _conv1_then_conv2
    return _patch(backbone, FEX_STAGES, _block_step(backbone), layer, make)


def _patch(
    backbone: Backbone,
    stages: tuple[str, ...],
    step: int,
    layer: Callable[[int], str],
    make: Callable[[int, nn.Module], nn.Module],
) -> list[str]:
    """In every `step`-th block, `layer(index)` (empty: the block itself) gets `make(index, layer)` before it."""
    patched = []
    for stage in stages:
        for index in range(0, len(backbone.net.get_submodule(stage)), step):  # type: ignore[arg-type]
            name = f"{stage}.{index}{layer(index)}"
            net = backbone.net.get_submodule(name)
            backbone.net.set_submodule(name, WithTemporal(make(index, net), net))
            patched.append(name)
    return patched


def _whole_block(index: int) -> str:
    return ""


def _conv1(index: int) -> str:
    return ".conv1"


def _conv1_then_conv2(index: int) -> str:
    return ".conv1" if index == 0 else ".conv2"


def _block_step(backbone: Backbone) -> int:
    return 2 if len(backbone.net.get_submodule("layer3")) >= DEEP_STAGE else 1  # type: ignore[arg-type]
