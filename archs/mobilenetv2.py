"""MobileNetV2 (Sandler et al. 2018, table 2) under the tensors' names of published video networks.

Legend: `B` images, `C` channels, `H W` space, `D` = 1280 features.
"""

from __future__ import annotations

import re

import torch
from torch import nn

# (expansion, channels, blocks, stride of the first block)
SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FEATURES = 1280


class InvertedResidual(nn.Module):
    """Expansion (if any), depthwise 3x3, projection; a shortcut where the shape stays."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inside * expansion
        self.has_shortcut = stride == 1 and inside == outside
        self.conv = nn.Sequential(
            *(_convolution(inside, width, 1) if expansion > 1 else ()),
            *_convolution(width, width, 3, stride, groups=width),
            nn.Conv2d(width, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, C, H, W)` to `(B, C', H', W')`."""
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Width 1.0."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*_convolution(3, 32, 3, stride=2))]
        channels = 32
        for expansion, outside, blocks, first_stride in SETTINGS:
            for index in range(blocks):
                layers.append(InvertedResidual(channels, outside, first_stride if index == 0 else 1, expansion))
                channels = outside
        layers.append(nn.Sequential(*_convolution(channels, FEATURES, 1)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(FEATURES, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, 3, H, W)` to `(B, num_classes)`, or to `(B, D)` once `classifier` is replaced."""
        return self.classifier(self.features(x).mean(dim=(2, 3)))


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(outside), nn.ReLU6(inplace=True)


def from_torchvision(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's weights under the names here, where its nested sequences are flat; other weights as they are."""
    if "classifier.1.weight" not in state:
        return state
    # A block with expansion is there (0.0 0.1) (1.0 1.1) 2 3 and here 0 1 3 4 6 7; the first one, which has none,
    # is there (0.0 0.1) 1 2 and here 0 1 3 4.
    renamed = {}
    for name, value in state.items():
        name = name.replace("classifier.1.", "classifier.")
        if match := re.match(r"features\.(\d+)\.conv\.(\d+)\.(?:(\d)\.)?(\w+)$", name):
            block, place, inner, tensor = match.groups()
            last = int(place) + (4 if block != "1" else 2)
            index = 3 * int(place) + int(inner) if inner is not None else last
            name = f"features.{block}.conv.{index}.{tensor}"
        renamed[name] = value
    return renamed
