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

    At each it is the end of the trunk: of the modules that give maps of that side, the outermost; of these the one with
    the most channels, the last if there are several (the next stage's first layers still have the resolution of the
    stage before, but are farther inside, or narrower). Raises InputError for a network that works on no maps.
    """
    T, side = len(clip), clip.shape[-1]
    frames = {T, network.options.segments("layer4")}
    found: dict[int, tuple[tuple[int, int], FeatureMap]] = {}
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        depth = name.count(".")

        def look(_module: nn.Module, _inputs: Any, out: Any) -> None:
            is_map = isinstance(out, torch.Tensor) and out.ndim == 4 and out.shape[2] == out.shape[3]
            if not is_map or len(out) not in frames or not 1 < out.shape[2] < side:
                return
            rank, cells = (-depth, out.shape[1]), out.shape[2]
            if cells not in found or rank >= found[cells][0]:
                found[cells] = rank, FeatureMap(name, module, cells)

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
        raise InputError(f"{network.options.arch}: none of its modules gives a map of the frame, which Grad-CAM looks at")
    return [found[cells][1] for cells in sorted(found, reverse=True)]
