"""Temporal shift (TSM, Lin et al. 2019, section 3), and the wrapper that puts an operator before a layer.

Legend: `N` videos, `T` segments, `C` channels, `H W` space. Feature maps are `(N·T, C, H, W)`, the frames of a
video adjacent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ops.model.frames import is_traced
from ops.model.layers import is_pointwise, is_watched


class TemporalShift(nn.Module):
    """Moves the first `C // shift_div` channels one frame towards the past, the next as many to the future.

    Frame t reads channels `[0, fold)` from frame t+1 and `[fold, 2·fold)` from frame t-1; zeros come in at
    the ends of a video; the other channels stay.
    """

    def __init__(self, num_segments: int, shift_div: int = 8) -> None:
        super().__init__()
        self.num_segments = num_segments
        self.shift_div = shift_div

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        return shift(x, self.num_segments, x.shape[1] // self.shift_div)

    def before_pointwise(self, x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
        """`conv(self(x))` of a 1x1 convolution.

        torch.compile gets the sum of three, as it puts sums into convolutions and concatenates slowly.
        """
        fold = x.shape[1] // self.shift_div
        if not torch.compiler.is_dynamo_compiling() or not 0 < 2 * fold < x.shape[1]:
            return conv(self(x))
        from_next, from_previous = shifted(x, self.num_segments, fold)
        first, second, own = conv.weight.tensor_split((fold, 2 * fold), dim=1)
        moves = F.conv2d(from_next, first, None, conv.stride), F.conv2d(from_previous, second, None, conv.stride)
        return F.conv2d(x[:, 2 * fold :], own, conv.bias, conv.stride) + moves[0] + moves[1]

    def extra_repr(self) -> str:
        return f"num_segments={self.num_segments}, shift_div={self.shift_div}"


def shift(x: torch.Tensor, num_segments: int, fold: int) -> torch.Tensor:
    """Channels `[0, fold)` of `x` `(N·T, C, H, W)` from the next frame, `[fold, 2·fold)` from the previous one."""
    if is_traced(x):
        return torch.cat((*shifted(x, num_segments, fold), x[:, 2 * fold :]), dim=1)
    return _Shift.apply(x, num_segments, fold, False)


def shifted(x: torch.Tensor, num_segments: int, fold: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The channels alone that move, from the next frame and from the previous one: `(N·T, fold, H, W)` each.

    Made of slices and concatenations alone, which exporters and compilers read. With time and space as two axes, as
    torch.compile makes slow code of five axes in channels-last memory.
    """
    clips = x[:, : 2 * fold].flatten(2).unflatten(0, (-1, num_segments)).transpose(1, 2)  # (N, 2·fold, T, H·W)
    nothing = torch.zeros_like(clips[:, :fold, :1])
    from_next = torch.cat((clips[:, :fold, 1:], nothing), dim=2)  # (N, fold, T, H·W)
    from_previous = torch.cat((nothing, clips[:, fold:, :-1]), dim=2)
    moved = (each.transpose(1, 2).flatten(0, 1).unflatten(2, x.shape[2:]) for each in (from_next, from_previous))
    return next(moved), next(moved)


class _Shift(torch.autograd.Function):
    """The shift in eager mode, where slices cost a copy each, and their gradients one of the whole."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, num_segments: int, fold: int, backwards: bool) -> torch.Tensor:
        ctx.arguments = num_segments, fold, backwards
        out = x.clone()  # of the whole, as memory lies, is cheaper than of the other channels
        frames, moved = (each.unflatten(0, (-1, num_segments)) for each in (x, out))  # (N, T, C, H, W)
        from_next, from_previous = slice(0, fold), slice(fold, 2 * fold)
        if backwards:
            from_next, from_previous = from_previous, from_next
        moved[:, :-1, from_next] = frames[:, 1:, from_next]
        moved[:, -1, from_next] = 0
        moved[:, 1:, from_previous] = frames[:, :-1, from_previous]
        moved[:, 0, from_previous] = 0
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """The shift's transpose is the shift the other way."""
        num_segments, fold, backwards = ctx.arguments
        return _Shift.apply(grads[0], num_segments, fold, not backwards), None, None, None


class WithTemporal(nn.Module):
    """`net`, preceded by an operator that mixes frames. Stands in the place of `net` inside a residual block.

    An operator that has a faster form together with a 1x1 convolution behind it says so by `before_pointwise`.
    """

    def __init__(self, temporal: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.temporal = temporal
        self.net = net  # published checkpoints have this name too

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to whatever `net` makes of that shape."""
        merged: Callable[..., torch.Tensor] | None = getattr(self.temporal, "before_pointwise", None)
        if merged is not None and is_pointwise(self.net) and not is_watched(self.temporal):
            return merged(x, self.net)
        return self.net(self.temporal(x))
