"""Spatio-temporal squeeze-and-excitation around residual blocks, the released FEXNet's `--add_se`.

Legend: `N` videos, `T` segments, `C` channels, `H W` space.
"""

from __future__ import annotations

import torch
from torch import nn

REDUCTION = 16


class SpatioTemporalSE(nn.Module):
    """`block`, its output's channels weighted by what the neighbouring frames show.

    The weights start at nought and the biases at one, so that a fresh one scales all by sigmoid(1).
    """

    def __init__(self, block: nn.Module, channels: int, num_segments: int) -> None:
        super().__init__()
        self.block = block
        self.num_segments = num_segments
        self.reduce = nn.Conv1d(channels, channels // REDUCTION, 3, padding=1)
        self.expand = nn.Conv1d(channels // REDUCTION, channels, 3, padding=1)
        for layer in (self.reduce, self.expand):
            nn.init.zeros_(layer.weight)
            nn.init.ones_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C', H, W)` to what `block` makes of that shape."""
        x = self.block(x)
        pooled = x.mean(dim=(2, 3)).unflatten(0, (-1, self.num_segments)).transpose(1, 2)  # (N, C, T)
        weights = self.expand(nn.functional.silu(self.reduce(pooled))).sigmoid()  # (N, C, T)
        return x * weights.transpose(1, 2).flatten(0, 1)[:, :, None, None]  # (N·T, C, 1, 1)
