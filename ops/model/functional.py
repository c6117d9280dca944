"""The form of a deployed network that other runtimes read best: frames meet without a change of memory's order.

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `K` output channels, `H W` space. Feature maps
are `(N·T, C, H, W)`, the frames of a video adjacent. Other runtimes choose how these lie in memory, and pay for every
reshape that their choice does not fit; the batch's axis they leave as it is.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ops.model.fex import ForegroundEnhancement
from ops.model.folded import FoldedFEX, pointwise
from ops.model.tsn import TSN


@torch.no_grad()
def functional(deployed: TSN) -> TSN:
    """A copy of a deployed network with the FEX blocks in this form; equal to it to rounding."""
    network = copy.deepcopy(deployed)
    for name, module in list(network.named_modules()):
        if isinstance(module, FoldedFEX):
            network.set_submodule(name, FunctionalFEX(module))
        elif isinstance(module, ForegroundEnhancement):
            network.set_submodule(name, FunctionalEnhancement(module))
    return network


class FunctionalEnhancement(nn.Module):
    """FE of sums over space alone."""

    def __init__(self, enhancement: ForegroundEnhancement) -> None:
        super().__init__()
        self.enhancement = enhancement

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        return x * self.enhancement.attention_of(*window_sums(x))


class FunctionalFEX(nn.Module):
    """A FEX block and the layer behind it as one convolution of the frames before, after and now, and the scene.

    TIM is a convolution over three frames of each channel by itself, `moving` one of all channels: together they are
    a 1x1 convolution of the three frames, which costs more multiplications, in one pass instead of four.
    """

    def __init__(self, folded: FoldedFEX) -> None:
        super().__init__()
        self.num_segments, self.width = folded.num_segments, folded.width
        self.enhancement = folded.enhancement
        self.scene, self.still, self.net = folded.scene, folded.still, folded.net
        assert folded.tim.conv.bias is not None and folded.frame.bias is not None
        moving, frame = folded.moving.weight.flatten(1), folded.frame.weight.flatten(1)  # (K, F), (K, C or F)
        before, now, after = folded.tim.conv.weight.flatten(1).unbind(dim=1)  # (F,) each
        own, rest = frame.tensor_split([self.width], dim=1)
        weight = torch.cat((moving * before, moving * after, own + moving * now, rest), dim=1)  # (K, 2·F + C or 3·F)
        self.frames = pointwise(weight[:, :, None, None], folded.frame.bias + moving @ folded.tim.conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to what the layer behind the block makes of that shape."""
        T = self.num_segments
        x = x if self.enhancement is None else self.enhancement(x)
        foreground = x[:, : self.width]
        scene = self.still(self.scene(foreground.unflatten(0, (-1, T)).mean(dim=1)))  # (N, K, H, W)
        read = x if self.net is None else foreground
        fused = self.frames(torch.cat((*neighbours(foreground, T), read), dim=1)) - scene.repeat_interleave(T, dim=0)
        return fused if self.net is None else self.net(torch.cat((fused, x[:, self.width :]), dim=1))


def neighbours(x: torch.Tensor, num_segments: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The frame before and the frame after each, zero beyond a video's ends: `(N·T, F, H, W)` to twice the same.

    The frames of all videos move along the batch's axis; those that came out of another video are taken out by a mask.
    """
    place = torch.arange(x.shape[0], device=x.device) % num_segments  # (N·T,)
    nothing = torch.zeros_like(x[:1])
    masks = ((place != end).to(x.dtype)[:, None, None, None] for end in (0, num_segments - 1))
    moved = torch.cat((nothing, x[:-1])), torch.cat((x[1:], nothing))
    return moved[0] * next(masks), moved[1] * next(masks)


def window_sums(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `ForegroundEnhancement.attention_of` takes, of `(N·T, C, H, W)`: one sum of all, and what borders miss."""
    H, W = x.shape[2:]
    rows = x.sum(dim=3)  # (N·T, C, H)
    whole, empty = rows.sum(dim=2), torch.zeros_like(rows[:, :, 0])  # (N·T, C) each
    first, last = x[:, :, :, 0], x[:, :, :, -1]  # columns, (N·T, C, H)
    # A tap before a place misses the last row or column, one after it the first; where both are missed the corner,
    # which is in both, was taken off twice.
    missed_rows = (rows[:, :, -1], -1), (empty, None), (rows[:, :, 0], 0)
    missed_columns = (last.sum(dim=2), last), (empty, None), (first.sum(dim=2), first)
    sums = [
        whole - row - column + (empty if place is None or line is None else line[:, :, place])
        for row, place in missed_rows
        for column, line in missed_columns
    ]
    parts = [[1 - 1 / size, 1.0, 1 - 1 / size] for size in (H, W)]
    sizes = [down * right for down in parts[0] for right in parts[1]]
    return torch.stack(sums, dim=1) / (H * W), torch.tensor(sizes, dtype=x.dtype, device=x.device)[:, None]
