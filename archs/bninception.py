"""BNInception (Ioffe & Szegedy 2015, figure 5): the backbone that TSN was published with.

Legend: `B` images, `C` channels, `H W` space, `D` = 1024 features. Tensors are named as in the weights that were
converted from Caffe.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# Widths of a stage's branches: 1x1; 3x3 reduced, 3x3; double 3x3 reduced, both its 3x3; projection of the pooling.
# A stage without 1x1 branch has stride 2 and passes its pooling through.
STAGES: dict[str, tuple[int, tuple[int, int], tuple[int, int], int]] = {
    "3a": (64, (64, 64), (64, 96), 32),
    "3b": (64, (64, 96), (64, 96), 64),
    "3c": (0, (128, 160), (64, 96), 0),
    "4a": (224, (64, 96), (96, 128), 128),
    "4b": (192, (96, 128), (96, 128), 128),
    "4c": (160, (128, 160), (128, 160), 128),
    "4d": (96, (128, 192), (160, 192), 128),
    "4e": (0, (128, 192), (192, 256), 0),
    "5a": (352, (192, 320), (160, 224), 128),
    "5b": (352, (192, 320), (192, 224), 128),
}
FEATURES = 1024


class BNInception(nn.Module):
    """Twelve stages: two of the stem (`1`, `2`) and those of `STAGES`.

    `before[stage]`, where there is one, is applied to what enters a stage: the place for an operator in time. It
    must have no tensors of its own, as they would have a name.
    """

    stage_names = ("1", "2", *STAGES)

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.before = nn.ModuleDict()
        self._add("conv1_7x7_s2", 3, 64, 7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64, 1)
        self._add("conv2_3x3", 64, 192, 3)
        channels = 192
        for stage, (single, (reduce, three), (double_reduce, double), projection) in STAGES.items():
            name, stride = f"inception_{stage}", 1 if single else 2
            if single:
                self._add(f"{name}_1x1", channels, single, 1)
            self._add(f"{name}_3x3_reduce", channels, reduce, 1)
            self._add(f"{name}_3x3", reduce, three, 3, stride)
            self._add(f"{name}_double_3x3_reduce", channels, double_reduce, 1)
            self._add(f"{name}_double_3x3_1", double_reduce, double, 3)
            self._add(f"{name}_double_3x3_2", double, double, 3, stride)
            if projection:
                self._add(f"{name}_pool_proj", channels, projection, 1)
            self.add_module(f"{name}_output", nn.Identity())  # for whoever looks at the whole map
            channels = single + three + double + (projection or channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, 3, H, W)` to `(B, num_classes)`, or to `(B, D)` once `fc` is replaced."""
        x = self._convolve("conv1_7x7_s2", self._enter("1", x))
        x = self._enter("2", F.max_pool2d(x, 3, 2, ceil_mode=True))
        x = self._convolve("conv2_3x3", self._convolve("conv2_3x3_reduce", x))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for stage in STAGES:
            x = self._inception(stage, self._enter(stage, x))
        return self.fc(x.mean(dim=(2, 3)))  # the published 7x7 average, at any size

    def _inception(self, stage: str, x: torch.Tensor) -> torch.Tensor:
        """`(B, C, H, W)` to the concatenated branches `(B, C', H', W')`: 1x1, 3x3, double 3x3, pooling."""
        name, (single, _, _, projection) = f"inception_{stage}", STAGES[stage]
        branches = [self._convolve(f"{name}_1x1", x)] if single else []
        branches.append(self._convolve(f"{name}_3x3", self._convolve(f"{name}_3x3_reduce", x)))
        double = self._convolve(f"{name}_double_3x3_1", self._convolve(f"{name}_double_3x3_reduce", x))
        branches.append(self._convolve(f"{name}_double_3x3_2", double))
        if not projection:
            branches.append(_halved(x))
        else:
            pooled = F.max_pool2d(x, 3, 1, padding=1) if stage == "5b" else F.avg_pool2d(x, 3, 1, padding=1)
            branches.append(self._convolve(f"{name}_pool_proj", pooled))
        return self.get_submodule(f"{name}_output")(torch.cat(branches, dim=1))

    def _enter(self, stage: str, x: torch.Tensor) -> torch.Tensor:
        return self.before[stage](x) if stage in self.before else x

    def _add(self, name: str, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outside))

    def _convolve(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)))


def _halved(x: torch.Tensor) -> torch.Tensor:
    """Maximum over 3x3 at every second place, `(B, C, H, W)` to `(B, C, ⌈H/2⌉, ⌈W/2⌉)`.

    Of even sizes it is the published pooling in ceiling mode; of odd ones that would give less than the
    convolutions beside it.
    """
    H, W = x.shape[2:]
    return F.max_pool2d(F.pad(x, (0, 1 + W % 2, 0, 1 + H % 2), value=-torch.inf), 3, 2)


def from_caffe(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Converted weights as they are passed around: BatchNorm's values as rows `(1, C)`, `fc` as `last_linear`."""
    return {
        name.replace("last_linear.", "fc."): value.squeeze(0) if "_bn." in name and value.ndim == 2 else value
        for name, value in state.items()
    }
