"""What stands in a deployed network for an operator in time and the convolution behind it: matrix products, no copies.

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `K` output channels, `H W` space, `P = H·W`
places. In channels-last memory a feature map `(N·T, C, H, W)` is a matrix `(P, C)` a frame ("rows"), the frame before
lies P rows before, and some of the channels are a slice of the columns: a matrix product reads all of these as they lie.
"""

from __future__ import annotations

import torch
from torch import nn

from ops.model.fex import FEX
from ops.model.frames import replace_foreground
from ops.model.temporal_shift import TemporalShift


def as_rows(x: torch.Tensor) -> torch.Tensor:
    """`(N·T, C, H, W)` to `(N·T, P, C)`; a view of channels-last memory."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1, 2)


def as_maps(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`(N·T, P, K)` to `(N·T, K, H, W)`, H and W those of `like`; a view."""
    return rows.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def add_from_before(out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, num_segments: int) -> None:
    """Adds to each frame of `out` `(N·T, P, K)` what `weight` makes of the frame before in `rows` `(N·T, P, C)`.

    `weight`: `(C, K)`, or each frame's own `(N·T, C, K)`. A video's first frame gets nothing.
    """
    _add_neighbours(out, rows, weight, num_segments, slice(1, None), slice(None, -1))


def add_from_after(out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, num_segments: int) -> None:
    """Likewise of the frame after; a video's last frame gets nothing."""
    _add_neighbours(out, rows, weight, num_segments, slice(None, -1), slice(1, None))


def _add_neighbours(
    out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, num_segments: int, to: slice, of: slice
) -> None:
    out, rows = (each.unflatten(0, (-1, num_segments)) for each in (out, rows))  # (N, T, P, K or C)
    if weight.ndim == 2:
        pieces, sources = (_joined(each, part) for each, part in ((out, to), (rows, of)))  # (N, (T-1)·P, K or C)
        pieces.baddbmm_(sources, weight.expand(len(sources), *weight.shape))
        return
    for piece, source, own in zip(out, rows, weight.unflatten(0, (-1, num_segments)), strict=True):
        piece[to].baddbmm_(source[of], own[of])


def _joined(videos: torch.Tensor, part: slice) -> torch.Tensor:
    """Some frames of every video `(N, T, P, C)`, their rows one after the other: a view."""
    frames = videos[:, part]
    N, T, P, C = frames.shape
    return frames.as_strided((N, T * P, C), (frames.stride(0), *frames.stride()[2:]), frames.storage_offset())


class FoldedShift(nn.Module):
    """The temporal shift and the 1x1 convolution behind it (stride 1)."""

    def __init__(self, shift: TemporalShift, conv: nn.Conv2d) -> None:
        super().__init__()
        self.num_segments = shift.num_segments
        self.fold = conv.in_channels // shift.shift_div
        self.weight = nn.Parameter(conv.weight.flatten(1).t().contiguous())  # (C, K)
        self.bias = nn.Parameter(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to `(N·T, K, H, W)`."""
        fold, rows = self.fold, as_rows(x)
        from_after, from_before, own = self.weight.split((fold, fold, len(self.weight) - 2 * fold))
        out = torch.addmm(self.bias, rows[..., 2 * fold :].flatten(0, 1), own).unflatten(0, rows.shape[:2])
        add_from_after(out, rows[..., :fold], from_after, self.num_segments)
        add_from_before(out, rows[..., fold : 2 * fold], from_before, self.num_segments)
        return as_maps(out, x)


class FoldedFEX(nn.Module):
    """A FEX block and the layer behind it, in evaluation.

    SS is linear but for the scene's ReLU (see `fex.MergedFusion`), TIM is a sum over three frames; FE multiplies the
    channels of a frame, and so the rows of its weights. A 1x1 convolution behind the block folds into all of them. A
    larger one must not be folded, as its zero padding would not see the folded bias and map: there the foreground alone
    is such a sum. The BatchNorms of `fex` have been folded before.
    """

    def __init__(self, fex: FEX, net: nn.Module, conv: nn.Conv2d | None) -> None:
        """`conv`: `net`, where it is a 1x1 convolution of stride 1."""
        super().__init__()
        ss = fex.segregation
        self.enhancement = fex.enhancement
        self.num_segments, self.width = ss.num_segments, ss.width
        self.scene = nn.Sequential(ss.scene_conv, ss.scene_bn, nn.ReLU(inplace=True))
        self.net = None if conv else net
        merged = ss.merged(conv)
        frame, moving, still = (weight.flatten(1).t() for weight in merged[:3])  # (C, K), (F, K), (F, K)
        taps = ss.tim.conv.weight.flatten(1)  # (F, 3): t-1, t, t+1
        assert ss.tim.conv.bias is not None
        own = frame.clone()
        own[: self.width] += taps[:, 1:2] * moving
        self.own, self.still = nn.Parameter(own), nn.Parameter(still.contiguous())
        self.before, self.after = (nn.Parameter(taps[:, k : k + 1] * moving) for k in (0, 2))
        self.bias = nn.Parameter(merged.bias + ss.tim.conv.bias @ moving)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to what the layer behind the block makes of that shape."""
        if self.net is not None:
            x = x if self.enhancement is None else self.enhancement(x)
            fused = as_maps(self._fused(x, as_rows(x)[..., : self.width], None), x)
            return self.net(replace_foreground(x, fused))
        attention = None if self.enhancement is None else self.enhancement.attention(x).flatten(1)  # (N·T, C)
        return as_maps(self._fused(x, as_rows(x), attention), x)

    def _fused(self, x: torch.Tensor, rows: torch.Tensor, attention: torch.Tensor | None) -> torch.Tensor:
        """Of rows `(N·T, P, C)`, which `attention` `(N·T, C)` weighs: `(N·T, P, K)`."""
        foreground = rows[..., : self.width]
        own, before, after = self.own, self.before, self.after
        if attention is not None:
            whole, first = attention[:, :, None], attention[:, : self.width, None]
            own, before, after = own * whole, before * first, after * first  # (N·T, C, K), (N·T, F, K)
        scene = self.scene(as_maps(self._mean(foreground, attention), x))  # (N, F, H, W)
        base = self.bias - as_rows(scene) @ self.still  # (N, P, K)
        out = base[:, None].repeat(1, self.num_segments, 1, 1).flatten(0, 1)  # (N·T, P, K)
        if attention is None:
            out.flatten(0, 1).addmm_(rows.flatten(0, 1), own)
        else:
            out.baddbmm_(rows, own)
        add_from_before(out, foreground, before, self.num_segments)
        add_from_after(out, foreground, after, self.num_segments)
        return out

    def _mean(self, foreground: torch.Tensor, attention: torch.Tensor | None) -> torch.Tensor:
        """Over time, of rows `(N·T, P, F)`: `(N, P, F)`."""
        T = self.num_segments
        frames = foreground.unflatten(0, (-1, T)).unbind(1)  # T of (N, P, F)
        if attention is None:
            total = frames[0] + frames[-1] if T > 1 else frames[0]
            for frame in frames[1:-1]:
                total.add_(frame)
            return total / T
        shares = attention[:, None, : self.width].unflatten(0, (-1, T)).unbind(1)  # T of (N, 1, F)
        total = frames[0] * shares[0]
        for frame, share in zip(frames[1:], shares[1:], strict=True):
            total.addcmul_(frame, share)
        return total / T
