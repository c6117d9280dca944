"""Non-local blocks (Wang et al. 2018, section 3.2 and figure 2), as TSM's `--non_local` places them.

Legend: `N` videos, `T` segments, `C` channels, `H W` space. Tensors are named as in published checkpoints.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# After which blocks of which stages of ResNet-50.
PLACES = (("layer2", 0), ("layer2", 2), ("layer3", 0), ("layer3", 2), ("layer3", 4))


class NonLocal(nn.Module):
    """Attention of every place of a video to all places: embedded Gaussian of inner width C/2, and a residual.

    Keys and values are halved in space. The last BatchNorm's scale starts at nought, so that a fresh block
    changes nothing.
    """

    def __init__(self, channels: int, num_segments: int) -> None:
        super().__init__()
        inner = channels // 2
        self.num_segments = num_segments
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv3d(channels, inner, 1))
        self.g = nn.Sequential(nn.Conv3d(channels, inner, 1))
        norm = nn.BatchNorm3d(channels)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv3d(inner, channels, 1), norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        clips = x.unflatten(0, (-1, self.num_segments)).transpose(1, 2)  # (N, C, T, H, W)
        maps = self.theta(clips), _halved(self.phi(clips)), _halved(self.g(clips))  # (N, C/2, T, H, W), H/2, W/2
        # each (N, C/2, T, H, W) to (N, 1, T·H·W, C/2): one head
        query, key, value = (m.flatten(2).transpose(1, 2)[:, None] for m in maps)
        mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)  # (N, 1, T·H·W, C/2)
        mixed = mixed[:, 0].transpose(1, 2).unflatten(2, clips.shape[2:])  # (N, C/2, T, H, W)
        return (self.W(mixed) + clips).transpose(1, 2).flatten(0, 1)  # (N·T, C, H, W)


def _halved(x: torch.Tensor) -> torch.Tensor:
    """The maximum over 2x2 places: `(N, C, T, H, W)` to `(N, C, T, H/2, W/2)`.

    Over two axes, as on GPUs the gradient of pooling over three is not the same from run to run.
    """
    return F.max_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])  # of (N, C·T, H, W)


class WithNonLocal(nn.Module):
    """A residual block with a non-local one behind it."""

    def __init__(self, block: nn.Module, nl: NonLocal) -> None:
        super().__init__()
        self.block = block
        self.nl = nl

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to what `block` makes of that shape."""
        return self.nl(self.block(x))
