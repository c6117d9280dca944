"""Which module's map a heat map is made of: found by watching one pass, so that nobody has to name a layer.

Legend: `T` segments, `C` channels, `H W` space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ops.errors import InputError
from ops.model.tsn import TSN


@dataclass(frozen=True)
class FeatureMap:
    """A map that a module of the backbone gives: the module, its name, the side of the map in cells."""

    name: str
    module: nn.Module
    side: int


@torch.no_grad()
def feature_maps(network: TSN, clip: torch.Tensor) -> list[FeatureMap]:
    """What the backbone makes of a clip `(T, C, H, W)` at each resolution, the coarsest last.

    At each it is the end of the trunk: of the modules that give maps of that side, those that lie outermost; of these
    the last one with at least half as many channels as the widest (the first layers of the next stage still have the
    resolution of the stage before, but lie farther inside, or are narrower). Raises InputError for a network that works
    on no maps.
    """
    T, side = len(clip), clip.shape[-1]
    frames = {T, network.options.segments("layer4")}
    found: dict[int, list[tuple[FeatureMap, int]]] = {}  # by side, in the order of execution; with their channels
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def look(_module: nn.Module, _inputs: Any, out: Any) -> None:
            is_map = isinstance(out, torch.Tensor) and out.ndim == 4 and out.shape[2] == out.shape[3]
            if is_map and len(out) in frames and 1 < out.shape[2] < side:
                found.setdefault(out.shape[2], []).append((FeatureMap(name, module, out.shape[2]), out.shape[1]))

        handles.append(module.register_forward_hook(look))

    for name, module in network.base_model.named_modules():
        if name:
            watch(name, module)
    try:
        network(clip[None])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(
            f"{network.options.arch}: none of its modules gives a map of the frame, which Grad-CAM looks at"
        )
    return [_end_of_trunk(found[cells]) for cells in sorted(found, reverse=True)]


def _end_of_trunk(candidates: list[tuple[FeatureMap, int]]) -> FeatureMap:
    depths = [layer.name.count(".") for layer, _ in candidates]
    outermost = [each for each, depth in zip(candidates, depths, strict=True) if depth == min(depths)]
    widest = max(channels for _, channels in outermost)
    return [layer for layer, channels in outermost if 2 * channels >= widest][-1]
