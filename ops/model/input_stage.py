"""From what the loader delivers to what the first convolution takes, on the device.

Legend: `B` frames (or stacks of frames, for Flow and RGBDiff), `C` channels, `H W` space.
"""

from __future__ import annotations

import torch
from torch import nn

from archs.backbone import Backbone, InputConvention
from ops.errors import InputError
from ops.model.layers import is_convolution

FLOW_PAIRS, DIFFERENCES = 5, 5


def input_channels(modality: str, keep_rgb: bool = False) -> int:
    """Of the first convolution: RGB 3; Flow 10, five pairs x, y; RGBDiff 15, and 3 more with `keep_rgb`."""
    return {"RGB": 3, "Flow": 2 * FLOW_PAIRS, "RGBDiff": 3 * DIFFERENCES + 3 * keep_rgb}[modality]


class InputStage(nn.Module):
    """Makes the network's input of uint8 pixels in the backbone's convention; floating point passes as it is.

    RGB is normalised, Flow too, by a mean of a half and the mean deviation of the colours. RGBDiff makes five
    differences of six consecutive frames, in the backbone's scale but not normalised; with `keep_rgb` the first
    frame, normalised, precedes them.
    """

    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, convention: InputConvention, modality: str = "RGB", keep_rgb: bool = False) -> None:
        super().__init__()
        self.modality, self.keep_rgb, self.bgr = modality, keep_rgb, convention.bgr
        self.channels = input_channels(modality, keep_rgb)
        self.unit = convention.white / 255
        own = convention.mean, convention.std
        self.mean, self.std = flow_statistics(convention) if modality == "Flow" else own
        means, stds = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (self.mean, self.std))
        # (pixel / 255 · white - mean) / std = pixel · scale + offset
        self.register_buffer("scale", (self.unit / stds).to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("offset", (-means / stds).to(torch.get_default_dtype()), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 `(B, C', H, W)`, C' = 3, 10 or (RGBDiff) 18, to `(B, C, H, W)` of the network's dtype, channels last.

        Raises TypeError for other integers, ValueError for floating point that has not C channels.
        """
        frames = frames.contiguous(memory_format=torch.channels_last)
        if frames.is_floating_point():
            if frames.shape[1] != self.channels:
                raise ValueError(f"expected {self.channels} normalised channels a segment, got {frames.shape[1]}")
            return frames.to(self.scale.dtype)
        if frames.dtype != torch.uint8:
            raise TypeError(f"expected uint8 pixels or normalised floating point, got {frames.dtype}")
        pixels = frames.to(self.scale.dtype)
        return self._differences(pixels) if self.modality == "RGBDiff" else self._normalised(pixels)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.bgr and self.modality != "Flow":
            pixels = pixels.flip(1)
        return torch.addcmul(self.offset, pixels, self.scale)

    def _differences(self, pixels: torch.Tensor) -> torch.Tensor:
        """`(B, 18, H, W)`, six frames, to their differences, each frame minus the one before."""
        steps = (pixels[:, 3:] - pixels[:, :-3]) * self.unit  # (B, 15, H, W)
        if self.bgr:
            steps = steps.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)  # the colours of each: (B, 5, 3, H, W)
        if self.keep_rgb:
            steps = torch.cat((self._normalised(pixels[:, :3]), steps), dim=1)
        return steps.contiguous(memory_format=torch.channels_last)


def flow_statistics(convention: InputConvention) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of flow: no motion is 128 of 255, the deviation is the mean of the colours'."""
    # As published: 0.5 where white is 1, 128 where it is 255.
    mean = 0.5 if convention.white == 1.0 else 128.0
    return (mean,), (sum(convention.std) / len(convention.std),)


@torch.no_grad()
def adapt_first_convolution(backbone: Backbone, arch: str, modality: str, keep_rgb: bool = False) -> None:
    """Gives the first convolution the modality's inputs, each with the mean of its kernels over the colours.

    With 18 (RGBDiff beside RGB) the colours' own kernels stay in front. Raises InputError where its weights are not
    the kernels that it applies.
    """
    conv = backbone.net.get_submodule(backbone.first_conv)
    if not is_convolution(conv):
        raise InputError(
            f"--modality {modality}: the first convolution of {arch} is a {type(conv).__name__}, which does not apply "
            "its weights as they are, so that their mean over the colours would be another start; give --modality RGB, "
            "or another --arch"
        )
    conv.in_channels = input_channels(modality, keep_rgb)
    conv.weight = nn.Parameter(adapted_kernels(conv.weight, conv.in_channels))


def adapted_kernels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Kernels `(K, C, h, w)` for another number of input channels: `(K, channels, h, w)`."""
    mean = weight.mean(dim=1, keepdim=True)
    if channels == input_channels("RGBDiff", keep_rgb=True) and weight.shape[1] == 3:
        return torch.cat((weight, mean.expand(-1, channels - 3, -1, -1)), dim=1).contiguous()
    return mean.expand(-1, channels, -1, -1).contiguous()
