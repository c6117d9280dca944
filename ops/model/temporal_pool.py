"""Temporal pooling (TSM's `--temporal_pool`): half the frames from `layer2` on.

Legend: `N` videos, `T` segments, `C` channels, `H W` space.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def pooled_segments(num_segments: int) -> int:
    """How many frames of T are left: T/2, rounded up."""
    return (num_segments + 1) // 2


class TemporalPool(nn.Module):
    """The maximum over 3 frames at every second frame, beginning with the first."""

    def __init__(self, num_segments: int) -> None:
        super().__init__()
        self.num_segments = num_segments

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to `(N·⌈T/2⌉, C, H, W)`."""
        clips = x.unflatten(0, (-1, self.num_segments)).transpose(1, 2)  # (N, C, T, H, W)
        # Over two axes, as on GPUs the gradient of pooling over three is not the same from run to run.
        pooled = F.max_pool2d(clips.flatten(3), (3, 1), (2, 1), (1, 0))  # of (N, C, T, H·W) to (N, C, T', H·W)
        return pooled.unflatten(3, x.shape[2:]).transpose(1, 2).flatten(0, 1)  # (N·T', C, H, W)

    def extra_repr(self) -> str:
        return f"num_segments={self.num_segments}"
