"""Temporal shift (TSM, Lin et al. 2019, section 3), and the wrapper that puts an operator before a layer.

Legend: `N` videos, `T` segments, `C` channels, `H W` space. Feature maps are `(N·T, C, H, W)`, the frames of a
video adjacent.
"""

from __future__ import annotations

from collections.abc import Callable
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
        return shift(x, self.num_segments, x.shape[1] // self.shift_div)

    def extra_repr(self) -> str:
        return f"num_segments={self.num_segments}, shift_div={self.shift_div}"


# An operator of its own, as torch.compile would make a slow loop over scattered channels of these copies.
@torch.library.custom_op("fexnet::temporal_shift", mutates_args=())
def shift(x: torch.Tensor, num_segments: int, fold: int, backwards: bool = False) -> torch.Tensor:
    """Channels `[0, fold)` of `x` `(N·T, C, H, W)` from the next frame, `[fold, 2·fold)` from the previous one.

    `backwards`: the other way round.
    """
    out = x.clone()  # of the whole, as memory lies, is cheaper than of the other channels
    frames, shifted = (each.unflatten(0, (-1, num_segments)) for each in (x, out))  # (N, T, C, H, W)
    from_next, from_previous = slice(0, fold), slice(fold, 2 * fold)
    if backwards:
        from_next, from_previous = from_previous, from_next
    shifted[:, :-1, from_next] = frames[:, 1:, from_next]
    shifted[:, -1, from_next] = 0
    shifted[:, 1:, from_previous] = frames[:, :-1, from_previous]
    shifted[:, 0, from_previous] = 0
    return out


@shift.register_fake
def _(x: torch.Tensor, num_segments: int, fold: int, backwards: bool = False) -> torch.Tensor:
    return torch.empty_like(x)


def _setup(ctx: Any, inputs: tuple[torch.Tensor, int, int, bool], output: torch.Tensor) -> None:
    ctx.arguments = inputs[1:]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
    """The shift's transpose is the shift the other way."""
    num_segments, fold, backwards = ctx.arguments
    return shift(grad, num_segments, fold, not backwards), None, None, None


shift.register_autograd(_backward, setup_context=_setup)


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
        if merged and isinstance(self.net, nn.Conv2d) and is_pointwise(self.net):
            return merged(x, self.net)
        return self.net(self.temporal(x))


def is_pointwise(conv: nn.Conv2d) -> bool:
    """True for a 1x1 convolution that reads nothing but its own place."""
    return conv.kernel_size == (1, 1) and conv.groups == 1 and conv.padding in (0, (0, 0))
