"""What a FEX network itself calls background and foreground: the maps inside its blocks, frame by frame.

In use FE needs its maps only pooled, and SS's fusion never puts its foreground together (see `ops.model.fex`). Here the
blocks' inputs are caught, and the maps of the paper's figures are made of them by the modules' own weights.

Legend: `T` segments, `C` channels, `F` foreground channels, `r` FE's reduction, `H W` space of a block's input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ops.model.fex import FEX, ForegroundEnhancement, SceneSegregation
from ops.model.fex_released import ReleasedFEX
from ops.model.tsn import TSN


@dataclass(frozen=True)
class Enhancement:
    """FE of one clip. background `(C/r, H, W)`, foreground `(T, C/r, H, W)`, attention `(T, C)`."""

    background: torch.Tensor
    foreground: torch.Tensor
    attention: torch.Tensor


@dataclass(frozen=True)
class Segregation:
    """SS of one clip. scene `(F, H, W)`: what SR subtracts; foreground `(T, F, H, W)`: what is left of each frame."""

    scene: torch.Tensor
    foreground: torch.Tensor


@dataclass(frozen=True)
class BlockMaps:
    """A FEX block's, by the name of the layer that it stands before.

    first: of its stage; then there is FE, but of the released form (see `foreground_maps`).
    """

    name: str
    first: bool
    segregation: Segregation
    enhancement: Enhancement | None = None


@torch.no_grad()
def foreground_maps(network: TSN, clip: torch.Tensor) -> list[BlockMaps]:
    """Of every FEX block, in the network's order, for one clip `(T, C, H, W)`, uint8 or normalised.

    A network without FEX, or without its SS, has none. Of the released form there is SS alone: its FE takes time for
    channels, so that no map in it belongs to a frame.
    """
    with _inputs_caught(network) as caught:
        network(clip[None])
    return [_maps(name, block, x) for name, (block, x) in caught.items()]


def energy(maps: torch.Tensor) -> torch.Tensor:
    """`(…, C, H, W)` to `(…, H, W)`: the root of the mean square over the channels."""
    return maps.square().mean(dim=-3).sqrt()


def enhancement(module: ForegroundEnhancement, x: torch.Tensor) -> Enhancement:
    """The maps of FE's figure, of `x` `(T, C, H, W)`."""
    reduced = module.reduce(x)  # (T, C/r, H, W)
    over_time = module.background_temporal(reduced.flatten(2).transpose(0, 1))  # convolved over (C/r, T, H·W)
    mean = over_time.mean(dim=1).unflatten(-1, reduced.shape[2:])  # (C/r, H, W)
    background = module.background_spatial(mean[None])[0]
    foreground = reduced - background
    attention = module.expanded(foreground.mean(dim=(2, 3), keepdim=True)).flatten(1)  # (T, C)
    return Enhancement(background, foreground, attention)


def segregation(module: SceneSegregation, x: torch.Tensor) -> Segregation:
    """Those of SS's figure."""
    foreground = x[:, : module.width]
    scene = module.scene(foreground)[0]  # of the one clip
    return Segregation(scene, foreground - scene)


def _maps(name: str, block: FEX | ReleasedFEX, x: torch.Tensor) -> BlockMaps:
    assert isinstance(block.segregation, SceneSegregation)
    if isinstance(block, ReleasedFEX):
        enhanced = block.enhancement(x) if block.enhance else x
        return BlockMaps(name, block.enhance, segregation(block.segregation, enhanced))
    found = None if block.enhancement is None else enhancement(block.enhancement, x)
    enhanced = x if found is None else x * found.attention[:, :, None, None]
    return BlockMaps(name, block.enhance, segregation(block.segregation, enhanced), found)


@contextmanager
def _inputs_caught(network: TSN) -> Iterator[dict[str, tuple[FEX | ReleasedFEX, torch.Tensor]]]:
    """While it is open, what enters every FEX block with SS `(N·T, C, H, W)`, by the name of the layer behind it."""
    caught: dict[str, tuple[FEX | ReleasedFEX, torch.Tensor]] = {}
    handles = []
    blocks = network.segregating_blocks()
    for name, module in network.named_modules():
        if module in blocks:
            layer = name.removeprefix("base_model.").removesuffix(".temporal")

            def catch(block: torch.nn.Module, inputs: tuple[torch.Tensor, ...], layer: str = layer) -> None:
                assert isinstance(block, FEX | ReleasedFEX)
                caught[layer] = block, inputs[0].clone()

            handles.append(module.register_forward_pre_hook(catch))
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
