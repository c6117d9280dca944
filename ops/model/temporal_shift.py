"""Temporal shift (TSM, Lin et al. 2019, section 3), and the wrapper that puts an operator before a layer.

Legend: `N` videos, `T` segments, `C` channels, `H W` space. Feature maps are `(N·T, C, H, W)`, the frames of a
video adjacent.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


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
        fold = x.shape[1] // self.shift_div
        if torch.is_grad_enabled() and x.requires_grad:
            return _ShiftWithGradient.apply(x, self.num_segments, fold, False)
        return _shift(x, self.num_segments, fold)

    def extra_repr(self) -> str:
        return f"num_segments={self.num_segments}, shift_div={self.shift_div}"


def _shift(x: torch.Tensor, num_segments: int, fold: int, backwards: bool = False) -> torch.Tensor:
    frames = x.unflatten(0, (-1, num_segments))  # (N, T, C, H, W)
    out = torch.empty_like(frames)
    from_next, from_previous = slice(0, fold), slice(fold, 2 * fold)
    if backwards:
        from_next, from_previous = from_previous, from_next
    out[:, :-1, from_next] = frames[:, 1:, from_next]
    out[:, -1, from_next] = 0
    out[:, 1:, from_previous] = frames[:, :-1, from_previous]
    out[:, 0, from_previous] = 0
    out[:, :, 2 * fold :] = frames[:, :, 2 * fold :]
    return out.flatten(0, 1)  # (N·T, C, H, W)


class _ShiftWithGradient(torch.autograd.Function):
    """The shift's transpose is the shift the other way: one pass, where autograd's copies would take five."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, num_segments: int, fold: int, backwards: bool) -> torch.Tensor:
        ctx.arguments = (num_segments, fold, backwards)
        return _shift(x, num_segments, fold, backwards)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        num_segments, fold, backwards = ctx.arguments
        return _ShiftWithGradient.apply(grads[0], num_segments, fold, not backwards), None, None, None


class WithTemporal(nn.Module):
    """`net`, preceded by an operator that mixes frames. Stands in the place of `net` inside a residual block."""

    def __init__(self, temporal: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.temporal = temporal
        self.net = net  # published checkpoints have this name too

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to whatever `net` makes of that shape."""
        return self.net(self.temporal(x))
