"""Mixup and CutMix on clips: a pair of clips becomes one, its label two shares.

Zhang et al. 2018 and Yun et al. 2019, by torchvision's transforms. All frames of a clip are mixed alike.
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2


class Mixing:
    """Mixes the clips of a batch in pairs, by mixup or CutMix; where both are asked for, by either half the time.

    `alpha` of each is its beta distribution's; 0 leaves it out. `normalise` turns pixels `(B, C, H, W)` into what
    the network's first convolution takes, as blending needs floating point.
    """

    def __init__(self, normalise: nn.Module, num_classes: int, mixup: float, cutmix: float) -> None:
        kinds = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        self.normalise = normalise
        self.choose = v2.RandomChoice([kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha])

    def __call__(self, clips: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips `(N, T, C, H, W)`, uint8 or normalised, and labels `(N,)` to normalised clips and shares `(N, K)`."""
        frames = self.normalise(clips.flatten(0, 1))  # (N·T, C, H, W)
        mixed, shares = self.choose(tv_tensors.Video(frames.unflatten(0, clips.shape[:2])), labels)
        return mixed.as_subclass(torch.Tensor), shares
