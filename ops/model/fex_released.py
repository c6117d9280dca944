"""The FEX block as the released network computes it, which is not what the paper draws.

Its reshapes mix axes that are not adjacent in memory: time with channels, and one video with another. A prediction
therefore depends on which videos share its batch. It is kept, bit for bit, so that the released checkpoint scores as
published; new work wants `fex.FEX`.

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `r` FE's reduction, `H W` space. Feature
maps are `(N·T, C, H, W)`, the frames of a video adjacent.
"""

from __future__ import annotations

import torch
from torch import nn

from ops.model.fex import REDUCTION, SceneSegregation, fill_bias


class ReleasedForegroundEnhancement(nn.Module):
    """FE with time and channels mixed, and the background convolved from the full map instead of the reduced."""

    def __init__(self, channels: int, num_segments: int) -> None:
        super().__init__()
        reduced = channels // REDUCTION
        self.num_segments = num_segments
        self.reduce = nn.Conv3d(channels, reduced, 1)
        self.background_temporal = nn.Conv3d(channels, reduced, (3, 1, 1), padding=(1, 0, 0))
        self.background_spatial = nn.Conv2d(reduced, reduced, 3, padding=1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        T, (C, H, W) = self.num_segments, x.shape[1:]
        mixed = x.contiguous().view(-1, C, T, H, W)  # (N·T, C, …) read as (N, C, T, …): mixes T and C
        reduced = self.reduce(mixed)  # (N, C/r, T, H, W)
        background = self.background_spatial(self.background_temporal(mixed).mean(dim=2))  # (N, C/r, H, W)
        background = background.repeat(T, 1, 1, 1).view_as(reduced)  # (T·N, C/r, …) as (N, C/r, T, …): mixes videos
        foreground = (reduced - background).view(-1, reduced.shape[1], H, W)  # as (N·T, C/r, H, W)
        return x * self.expand(foreground.mean(dim=(2, 3), keepdim=True))  # (N·T, C, 1, 1)

    def start_as_identity(self) -> None:
        """From here the attention is one everywhere."""
        nn.init.zeros_(self.expand.weight)
        fill_bias(self.expand, 1)


class ReleasedSceneSegregation(SceneSegregation):
    """SS whose scene has a bias, no BatchNorm and no ReLU, and is handed to the wrong frames when N > 1."""

    def __init__(self, channels: int, num_segments: int, shift_div: int) -> None:
        super().__init__(channels, num_segments, shift_div)
        self.scene_conv = nn.Conv2d(self.width, self.width, 3, padding=1)
        del self.scene_bn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        foreground = x[:, : self.width]  # (N·T, F, H, W)
        scene = self._each_frame(self.scene(foreground))  # (N·T, F, H, W)
        fused = self.fusion(torch.cat((self.tim(foreground), foreground - scene), dim=1))
        return torch.cat((fused, x[:, self.width :]), dim=1)

    def scene(self, foreground: torch.Tensor) -> torch.Tensor:
        """`(N·T, F, H, W)` to one map a video, `(N, F, H, W)`."""
        mean = foreground.unflatten(0, (-1, self.num_segments)).mean(dim=1)  # (N, F, H, W)
        return self.scene_conv(mean)

    def _each_frame(self, scene: torch.Tensor) -> torch.Tensor:
        T, (F, H, W) = self.num_segments, scene.shape[1:]
        mixed = scene.contiguous().repeat(T, 1, 1, 1).view(-1, F, T, H, W)  # (T·N, F, …) read as (N, F, T, …)
        return mixed.transpose(1, 2).flatten(0, 1)  # (N·T, F, H, W)


class ReleasedFEX(nn.Module):
    """The released block: FE's weights exist in every block and are used in a stage's first only."""

    def __init__(self, channels: int, num_segments: int, shift_div: int, enhance: bool) -> None:
        super().__init__()
        self.enhance = enhance
        self.enhancement = ReleasedForegroundEnhancement(channels, num_segments)
        self.segregation = ReleasedSceneSegregation(channels, num_segments, shift_div)
        # The published code's only initialisation of its own.
        nn.init.zeros_(self.segregation.tim.conv.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        if self.enhance:
            x = self.enhancement(x)
        return self.segregation(x)

    def start_as_shift(self) -> None:
        """Sets the weights so that the block computes `TemporalShift` in evaluation mode, and learns from there."""
        self.enhancement.start_as_identity()
        self.segregation.start_as_shift()
