"""What stands in a deployed network for an operator in time and the convolution behind it, with little that is copied.

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `K` output channels, `H W` space, `P = H·W`
places. In channels-last memory a feature map `(N·T, C, H, W)` is a matrix `(P, C)` a frame ("rows"), some of the
channels a slice of its columns: a matrix product reads that as it lies.

torch.compile cannot write a product into a part of a tensor without copying the rest, but puts sums and ReLUs into a
convolution. So, where it compiles, both modules are sums of convolutions, and FE and the shift are one pass each.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ops.model.fex import FEX
from ops.model.frames import as_rows, mean_over_time, replace_foreground
from ops.model.temporal_shift import TemporalShift, shift


def add_from_before(out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, num_segments: int) -> None:
    """Adds to each frame of `out` `(N·T, P, K)` what `weight` `(C, K)` makes of the one before in `rows` `(N·T, P, C)`.

    A video's first frame gets nothing.
    """
    to, of = _neighbours(out, rows, num_segments)
    to[1].baddbmm_(of[0], weight.expand(len(of[0]), *weight.shape))


def add_from_after(out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, num_segments: int) -> None:
    """Likewise of the frame after; a video's last frame gets nothing."""
    to, of = _neighbours(out, rows, num_segments)
    to[0].baddbmm_(of[1], weight.expand(len(of[1]), *weight.shape))


def as_pointwise(weight: torch.Tensor) -> torch.Tensor:
    """The weights `(K, C, 1, 1)` of the 1x1 convolution that multiplies by `weight` `(C, K)`."""
    return weight.t()[:, :, None, None]


Views = tuple[torch.Tensor, torch.Tensor]


def _neighbours(out: torch.Tensor, rows: torch.Tensor, num_segments: int) -> tuple[Views, Views]:
    """Of both, the rows of each video `(N, (T-1)·P, …)` without the last frame and without the first: views."""
    videos = [each.unflatten(0, (-1, num_segments)).flatten(1, 2) for each in (out, rows)]  # (N, T·P, …)
    P = out.shape[1]
    before, after = ((video[:, : video.shape[1] - P], video[:, P:]) for video in videos)
    return before, after


class FoldedShift(nn.Module):
    """The temporal shift and the 1x1 convolution behind it (stride 1): the sum of three on unshifted channels."""

    def __init__(self, operator: TemporalShift, conv: nn.Conv2d) -> None:
        super().__init__()
        self.num_segments = operator.num_segments
        self.fold = conv.in_channels // operator.shift_div
        self.weight = nn.Parameter(conv.weight.flatten(1).t().contiguous())  # (C, K)
        self.bias = nn.Parameter(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to `(N·T, K, H, W)`."""
        if torch.compiler.is_compiling():
            return F.conv2d(shift(x, self.num_segments, self.fold), as_pointwise(self.weight), self.bias)
        fold, rows = self.fold, as_rows(x.to(self.weight.dtype))
        from_after, from_before, own = self.weight.split((fold, fold, len(self.weight) - 2 * fold))
        out = torch.addmm(self.bias, rows[..., 2 * fold :].flatten(0, 1), own).unflatten(0, rows.shape[:2])
        add_from_after(out, rows[..., :fold], from_after, self.num_segments)
        add_from_before(out, rows[..., fold : 2 * fold], from_before, self.num_segments)
        return out.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)  # (N·T, P, K) → (N·T, K, H, W)


class FoldedFEX(nn.Module):
    """A FEX block and the layer behind it, in evaluation.

    SS is a sum of linear maps but for the scene's ReLU (see `fex.MergedFusion`); a 1x1 convolution behind the block
    folds into all of them, and FE, which multiplies a frame's channels, into each frame's weights. A larger convolution
    must not be folded, as its zero padding would not see the folded bias and map: there the foreground alone is such a
    sum. The BatchNorms of `fex` have been folded before.
    """

    def __init__(self, fex: FEX, net: nn.Module, conv: nn.Conv2d | None) -> None:
        """`conv`: `net`, where it is a 1x1 convolution of stride 1."""
        super().__init__()
        ss = fex.segregation
        self.enhancement = fex.enhancement
        self.num_segments, self.width = ss.num_segments, ss.width
        self.tim = ss.tim
        self.scene = nn.Sequential(ss.scene_conv, ss.scene_bn, nn.ReLU(inplace=True))
        self.net = None if conv else net
        merged = ss.merged(conv)
        self.frame, self.bias = nn.Parameter(merged.frame), nn.Parameter(merged.bias)  # (K, C, 1, 1), (K,)
        self.moving, self.still = (nn.Parameter(w.flatten(1).t().contiguous()) for w in merged[1:3])  # (F, K) each

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to what the layer behind the block makes of that shape."""
        x = x.contiguous(memory_format=torch.channels_last)
        if self.enhancement is not None and self.net is None and not torch.compiler.is_compiling():
            return self._with_attention(x, self.enhancement.attention(x))
        x = x if self.enhancement is None else self.enhancement(x)
        foreground = self._foreground(x)
        frames = F.conv2d(x if self.net is None else foreground, self.frame, self.bias)
        fused = self._fused(frames, foreground)
        return fused if self.net is None else self.net(replace_foreground(x, fused))

    def _with_attention(self, x: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        """Of x `(N·T, C, H, W)` multiplied by `attention` `(N·T, C, 1, 1)`, which goes into each frame's weights."""
        weights = self.frame.flatten(1).t() * attention.flatten(2)  # (N·T, C, K)
        frames = as_rows(x).new_empty(len(x), *x.shape[2:], len(self.bias))  # (N·T, H, W, K)
        for own, weight, out in zip(as_rows(x), weights, frames, strict=True):
            torch.addmm(self.bias, own, weight, out=out.flatten(0, 1))
        return self._fused(frames.permute(0, 3, 1, 2), self._foreground(x) * attention[:, : self.width])

    def _foreground(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : self.width].contiguous(memory_format=torch.channels_last)

    def _fused(self, frames: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        """Adds to `frames` `(N·T, K, H, W)`, in place, what comes by TIM and the scene from `(N·T, F, H, W)`."""
        moving = self.tim(foreground)  # (N·T, F, H, W)
        scene = self.scene(mean_over_time(foreground, self.num_segments))  # (N, F, H, W)
        if torch.compiler.is_compiling():
            scene = F.conv2d(scene, as_pointwise(self.still)).repeat_interleave(self.num_segments, dim=0)
            return frames + F.conv2d(moving, as_pointwise(self.moving)) - scene
        rows = as_rows(frames)  # of `frames` itself
        rows.flatten(0, 1).addmm_(as_rows(moving).flatten(0, 1), self.moving)
        rows.unflatten(0, (-1, self.num_segments)).sub_((as_rows(scene) @ self.still)[:, None])  # (N, T, P, K)
        return frames
