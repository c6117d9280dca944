"""The FEX block of Shen et al. 2022: Foreground Enhancement (FE) and Scene Segregation (SS).

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `r` FE's reduction, `H W` space. Feature
maps are `(N·T, C, H, W)`, the frames of a video adjacent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ops.model.frames import add_over_time, as_rows, mean_over_time, replace_foreground, with_foreground
from ops.model.temporal_shift import TemporalShift
from ops.names import FEX_NORMS, FEX_PARTS

REDUCTION = 16
CENTRE = 4  # of the nine taps of a 3x3 convolution: the one that reads its own place


class Attention(NamedTuple):
    """What FE multiplies a channel by, of what its last convolution gives, and where that starts."""

    factor: Callable[[torch.Tensor], torch.Tensor]
    start: float


ATTENTIONS = {
    "linear": Attention(lambda a: a, 1.0),  # the paper's figure
    "sigmoid": Attention(torch.sigmoid, 4.0),  # squeeze-and-excitation's; 0.982, as it never reaches one
    "residual": Attention(lambda a: 1 + a.tanh(), 0.0),
}


def foreground_channels(channels: int, shift_div: int) -> int:
    """How many of `channels` Scene Segregation treats as foreground: two shift folds."""
    return 2 * (channels // shift_div)


def fill_bias(layer: nn.Conv2d | nn.Conv3d, value: float) -> None:
    """Sets a layer's bias to one value."""
    assert layer.bias is not None
    nn.init.constant_(layer.bias, value)


class TemporalInformationModule(nn.Module):
    """TIM: a depthwise convolution over three frames, then BatchNorm (paper, Scene Segregation)."""

    def __init__(self, channels: int, num_segments: int, norm: bool = True) -> None:
        super().__init__()
        self.num_segments = num_segments
        self.conv = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels)
        self.bn = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, F, H, W)` to the same shape."""
        return self.bn(self.convolve(x))

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution alone. In channels-last memory neither reshape moves data."""
        H, W = x.shape[2:]
        x = x.contiguous(memory_format=torch.channels_last)
        clips = x.permute(0, 2, 3, 1).unflatten(0, (-1, self.num_segments))  # (N, T, H, W, F)
        y = self.conv(clips.flatten(2, 3).permute(0, 3, 1, 2))  # over (N, F, T, H·W)
        y = y.permute(0, 2, 3, 1).unflatten(2, (H, W))  # (N, T, H, W, F)
        return y.flatten(0, 1).permute(0, 3, 1, 2)  # (N·T, F, H, W)

    @torch.no_grad()
    def start_as_shift(self) -> None:
        """Frame t reads the first half of the channels from t+1, the other from t-1; BatchNorm is the identity."""
        half = self.conv.out_channels // 2
        self.conv.weight.zero_()  # (F, 1, 3, 1), taps t-1, t, t+1
        self.conv.weight[:half, :, 2] = 1
        self.conv.weight[half:, :, 0] = 1
        fill_bias(self.conv, 0)
        if self.has_norm:
            self.start_as_identity(torch.zeros(2 * half), torch.ones(2 * half))

    def start_at_zero(self) -> None:
        """Nothing comes through, as in the released network's first step."""
        nn.init.zeros_(self.conv.weight)
        fill_bias(self.conv, 0)

    @property
    def has_norm(self) -> bool:
        """Whether a BatchNorm is behind the convolution, of whatever kind (see `synced_norm`)."""
        return not isinstance(self.bn, nn.Identity)

    @torch.no_grad()
    def start_as_identity(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """BatchNorm's scale and bias undo its standardisation by `mean` and `variance`, each `(F,)`."""
        assert isinstance(self.bn, nn.modules.batchnorm._BatchNorm)
        scale = (variance + self.bn.eps).sqrt()
        values = {"running_mean": mean, "running_var": variance, "weight": scale, "bias": mean}
        self.bn.load_state_dict(self.bn.state_dict() | values)


class MergedFusion(NamedTuple):
    """SS's fusion, and a 1x1 convolution behind it to K channels, as the sum of three 1x1 convolutions and a bias.

    They act on each frame `(K, C, 1, 1)`, on TIM's result `(K, F, 1, 1)`, and on the scene `(K, F, 1, 1)`, whose
    result is subtracted; bias `(K,)`.
    """

    frame: torch.Tensor
    moving: torch.Tensor
    scene: torch.Tensor
    bias: torch.Tensor


class SceneSegregation(nn.Module):
    """SS: keeps what moves in the foreground channels and takes the scene out of them (paper, SS figure).

    Of `C` channels the first `F = 2·(C // shift_div)` are the foreground; the rest passes through. `norms`: behind
    which of its convolutions a BatchNorm is, `tim` and `scene`; the scene's has a bias instead, where there is none.

    The fusion of TIM and SR = foreground - scene is linear, so that it is computed as a sum over TIM, the foreground
    and the scene (see `MergedFusion`), with nothing concatenated or repeated over time.
    """

    def __init__(self, channels: int, num_segments: int, shift_div: int, norms: Sequence[str] = FEX_NORMS) -> None:
        super().__init__()
        width, scene_norm = foreground_channels(channels, shift_div), "scene" in norms
        self.num_segments = num_segments
        self.width = width
        self.tim = TemporalInformationModule(width, num_segments, norm="tim" in norms)
        self.scene_conv = nn.Conv2d(width, width, 3, padding=1, bias=not scene_norm)
        self.scene_bn = nn.BatchNorm2d(width) if scene_norm else nn.Identity()
        self.fusion = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        x, foreground = with_foreground(x, self.width)
        weights = self.merged()
        frames = F.conv2d(foreground, weights.frame, weights.bias)
        return replace_foreground(x, self._fused(frames, foreground, weights))

    def before_pointwise(self, x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
        """`conv(self(x))` of a 1x1 convolution (C to K channels): `(N·T, C, H, W)` to `(N·T, K, H', W')`.

        Neither the foreground nor the block's output is ever put together.
        """
        x, foreground = with_foreground(x, self.width)
        weights = self.merged(conv)
        frames = F.conv2d(x, weights.frame, weights.bias, conv.stride)
        return self._fused(frames, foreground, weights, conv.stride)

    def scene(self, foreground: torch.Tensor) -> torch.Tensor:
        """`(N·T, F, H, W)` to one map a video, `(N, F, H, W)`: what SR subtracts from every frame."""
        return F.relu(self.scene_bn(self.scene_conv(mean_over_time(foreground, self.num_segments))))

    def merged(self, conv: nn.Conv2d | None = None) -> MergedFusion:
        """The fusion as a sum of 1x1 convolutions; with the 1x1 convolution `conv` behind it, if one is given.

        Without `conv` the sum takes the foreground alone: K = C = F.
        """
        assert self.fusion.bias is not None
        moving, still = self.fusion.weight.flatten(1).tensor_split(2, dim=1)  # (F, F) each
        frame, bias = still, self.fusion.bias
        if conv is not None:
            own, rest = conv.weight.flatten(1).tensor_split([self.width], dim=1)  # (K, F), (K, C - F)
            moving, still, bias = own @ moving, own @ still, own @ bias  # (K, F), (K, F), (K,)
            frame = torch.cat((still, rest), dim=1)  # (K, C)
            bias = bias if conv.bias is None else bias + conv.bias
        return MergedFusion(frame[:, :, None, None], moving[:, :, None, None], still[:, :, None, None], bias)

    def _fused(
        self, frames: torch.Tensor, foreground: torch.Tensor, weights: MergedFusion, stride: Any = 1
    ) -> torch.Tensor:
        """Adds to `frames` `(N·T, K, H', W')`, in place, what comes by TIM and the scene."""
        moving = F.conv2d(self.tim(foreground), weights.moving, stride=stride)
        return add_over_time(frames, moving, F.conv2d(self.scene(foreground), weights.scene, stride=stride))

    @torch.no_grad()
    def start_as_shift(self) -> None:
        """From here SS computes the temporal shift: TIM shifts, and the fusion reads TIM alone."""
        self.tim.start_as_shift()
        self.fusion.weight.zero_()
        self.fusion.weight[:, : self.width, 0, 0].fill_diagonal_(1)
        fill_bias(self.fusion, 0)


class ForegroundEnhancement(nn.Module):
    """FE: channel attention from what differs between each frame and the video's background (paper, FE figure).

    Computed by pooled algebra, exactly: of the attention only the mean over space is wanted, and all before it is
    linear. The mean of a zero-padded 3x3 convolution needs its input's sums over nine windows (taps miss a border),
    the mean over T of a zero-padded three-tap one those of all frames, of the first and of the last. So one pass over
    the feature map is enough.

    `attention`: a key of `ATTENTIONS`.
    """

    def __init__(self, channels: int, num_segments: int, attention: str = "linear") -> None:
        super().__init__()
        reduced = channels // REDUCTION
        self.num_segments = num_segments
        self.kind = attention
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.background_temporal = nn.Conv2d(reduced, reduced, (3, 1), padding=(1, 0))
        self.background_spatial = nn.Conv2d(reduced, reduced, 3, padding=1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape, every frame's channels weighted by its attention."""
        return x * self.attention(x)

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, 1, 1)`."""
        windows = _windows(x)
        return self.attention_of(windows @ as_rows(x), windows.sum(dim=1, keepdim=True))

    def attention_of(self, sums: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Of a map's sums over the nine windows `(N·T, 9, C)`; the windows' `sizes` `(9, 1)` are parts of the whole."""
        T = self.num_segments
        reduced = _linear(sums, self.reduce.weight.flatten(1), self.reduce.bias, sizes)  # (N·T, 9, C/r)
        background = self._background(reduced.unflatten(0, (-1, T)), sizes)  # (N, C/r)
        foreground = reduced[:, CENTRE] - background.repeat_interleave(T, dim=0)  # (N·T, C/r)
        return self.expanded(foreground[:, :, None, None])

    def expanded(self, foreground: torch.Tensor) -> torch.Tensor:
        """The attention `(N·T, C, 1, 1)` of the foreground's mean over space `(N·T, C/r, 1, 1)`."""
        return ATTENTIONS[self.kind].factor(self.expand(foreground))

    def _background(self, reduced: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """The background's mean over space, `(N, C/r)`, of the reduced maps' sums over the windows `(N, T, 9, C/r)`."""
        T = self.num_segments
        mean, first, last = reduced.mean(dim=1), reduced[:, 0] / T, reduced[:, -1] / T  # (N, 9, C/r)
        # Taps t-1, t, t+1 each miss one end of the clip: there the padding's zero stands in.
        parts = torch.cat((mean - last, mean, mean - first), dim=2)  # (N, 9, 3·C/r)
        taps = self.background_temporal.weight.squeeze(3).permute(0, 2, 1).flatten(1)  # (C/r, 3·C/r)
        encoded = _linear(parts, taps, self.background_temporal.bias, sizes)  # (N, 9, C/r)
        spatial = self.background_spatial.weight.flatten(2).permute(0, 2, 1).flatten(1)  # (C/r, 9·C/r)
        return F.linear(encoded.flatten(1), spatial, self.background_spatial.bias)

    def start_as_identity(self) -> None:
        """From here the attention is one everywhere, or as near to it as its kind comes."""
        nn.init.zeros_(self.expand.weight)
        fill_bias(self.expand, ATTENTIONS[self.kind].start)


class FEX(nn.Module):
    """The FEX block: FE where `enhance` says so (the first block of a stage), then SS.

    `parts`: without `fe` no block has FE; without `ss` the temporal shift, as which SS starts, stands in its place.
    """

    def __init__(
        self,
        channels: int,
        num_segments: int,
        shift_div: int,
        enhance: bool,
        parts: Sequence[str] = FEX_PARTS,
        attention: str = "linear",
        norms: Sequence[str] = FEX_NORMS,
    ) -> None:
        super().__init__()
        self.enhance = enhance  # the first of its stage, even where `parts` leaves FE out
        with_fe = enhance and "fe" in parts
        self.enhancement = ForegroundEnhancement(channels, num_segments, attention) if with_fe else None
        self.segregation: SceneSegregation | TemporalShift = (
            SceneSegregation(channels, num_segments, shift_div, norms)
            if "ss" in parts
            else TemporalShift(num_segments, shift_div)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        return self.segregation(self._enhanced(x))

    def before_pointwise(self, x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
        """`conv(self(x))` of a 1x1 convolution, faster; see `SceneSegregation.before_pointwise`."""
        return self.segregation.before_pointwise(self._enhanced(x), conv)

    def _enhanced(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.enhancement is None else self.enhancement(x)

    def start_as_shift(self) -> None:
        """Sets the weights so that the block computes `TemporalShift` in evaluation mode, and learns from there."""
        if self.enhancement is not None:
            self.enhancement.start_as_identity()
        if isinstance(self.segregation, SceneSegregation):
            self.segregation.start_as_shift()


def _linear(sums: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, sizes: torch.Tensor) -> torch.Tensor:
    """A linear layer of maps, of whose sums over windows of these sizes it makes those of its results."""
    assert bias is not None
    return F.linear(sums, weight) + sizes * bias


def _windows(x: torch.Tensor) -> torch.Tensor:
    """Which of the H·W places of `x` each tap of a zero-padded 3x3 convolution reads: `(9, H·W)`, 1/(H·W) or 0."""
    sides = []
    for size in x.shape[2:]:
        places = torch.arange(size, device=x.device)
        taps = places < size - 1, places >= 0, places > 0  # before, at and after a place: the border is missed
        sides.append(torch.stack(taps).to(x.dtype) / size)
    down, right = sides
    return (down[:, None, :, None] * right[None, :, None, :]).view(9, -1)


@torch.no_grad()
def initialise_from_data(model: nn.Module, clips: torch.Tensor, fresh: Sequence[str] | None = None) -> int:
    """Makes every TIM's BatchNorm the identity on `clips` (N, T, C, H, W), in training mode as in evaluation.

    A fresh BatchNorm would standardise the foreground on the first step and so undo the shift a FEX block
    starts as. One forward pass in training mode sets each one's scale to √(σ²+ε), its bias to μ and its running
    statistics to both, as ActNorm does (Kingma & Dhariwal 2018). Nothing else of the model changes. `fresh`: the
    tensors that no file gave; a BatchNorm whose scale is not among them stays as it is. Returns the number set.
    """
    moments: dict[TemporalInformationModule, tuple[torch.Tensor, torch.Tensor]] = {}

    def pass_through(tim: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> torch.Tensor:
        assert isinstance(tim, TemporalInformationModule)
        y = tim.convolve(inputs[0])
        moments[tim] = torch.var_mean(y, dim=(0, 2, 3), correction=0)
        return y  # what later layers will see once this BatchNorm is the identity

    handles = [
        module.register_forward_hook(pass_through)
        for name, module in model.named_modules()
        if isinstance(module, TemporalInformationModule) and module.has_norm
        if fresh is None or f"{name}.bn.weight" in fresh
    ]
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    try:
        # Dropout draws here, and must not shift what training draws.
        with torch.random.fork_rng([clips.device] if clips.is_cuda else []):
            model.train()(clips)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
    for tim, (variance, mean) in moments.items():
        tim.start_as_identity(mean, variance)
    return len(moments)
