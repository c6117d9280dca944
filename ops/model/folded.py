"""What stands in a deployed network for a FEX block and the layer behind it.

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `K` output channels, `H W` space.
"""

from __future__ import annotations

import torch
from torch import nn

from ops.model.fex import ForegroundEnhancement, SceneSegregation
from ops.model.frames import add_over_time, mean_over_time, replace_foreground, with_foreground


class FoldedFEX(nn.Module):
    """A FEX block and the layer behind it, in evaluation: sums of convolutions.

    SS is a sum of linear maps but for the scene's ReLU (see `fex.MergedFusion`); a 1x1 convolution behind the block
    folds into all of them. A larger convolution must not be folded, as its zero padding would not see the folded bias
    and map: there the foreground alone is such a sum. The block's BatchNorms have been folded before.
    """

    def __init__(
        self, enhancement: ForegroundEnhancement | None, ss: SceneSegregation, net: nn.Module, conv: nn.Conv2d | None
    ) -> None:
        """`conv`: `net`, where it is a 1x1 convolution of stride 1."""
        super().__init__()
        self.enhancement = enhancement
        self.num_segments, self.width = ss.num_segments, ss.width
        self.tim = ss.tim
        self.scene = nn.Sequential(ss.scene_conv, ss.scene_bn, nn.ReLU())
        self.net = None if conv else net
        merged = ss.merged(conv)
        self.frame = pointwise(merged.frame, merged.bias)  # C to K, or F to F
        self.moving, self.still = pointwise(merged.moving), pointwise(merged.scene)  # F to K each

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to what the layer behind the block makes of that shape."""
        x = x if self.enhancement is None else self.enhancement(x)
        x, foreground = with_foreground(x, self.width)
        frames = self.frame(x if self.net is None else foreground)  # (N·T, K, H, W)
        scene = self.still(self.scene(mean_over_time(foreground, self.num_segments)))  # (N, K, H, W)
        fused = add_over_time(frames, self.moving(self.tim(foreground)), scene)
        return fused if self.net is None else self.net(replace_foreground(x, fused))


def pointwise(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Conv2d:
    """The 1x1 convolution of these weights `(K, C, 1, 1)` and bias `(K,)`, in memory of their own."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.clone())
    conv.bias = None if bias is None else nn.Parameter(bias)
    return conv
