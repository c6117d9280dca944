"""Mixup and CutMix on clips: a pair of clips becomes two mixed ones, their labels shares.

Zhang et al. 2018 and Yun et al. 2019. All frames of a clip are mixed alike. As torchvision's transforms, but for who is
mixed with whom: there each clip with the one before it in a process's batch, so that the number of processes decides.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn.functional import one_hot


class Mixing:
    """Mixes the clips of a batch in pairs, by mixup or CutMix; where both are asked for, by either half the time.

    `alpha` of each is its beta distribution's; 0 leaves it out. `normalise` turns pixels `(B, C, H, W)` into what
    the network's first convolution takes, as blending needs floating point. The first clip of a batch is mixed with the
    second, the third with the fourth, and so on; one that is left over stays as it is. Shares of a batch with even
    numbers of clips so become what the whole does.
    """

    def __init__(self, normalise: nn.Module, num_classes: int, mixup: float, cutmix: float) -> None:
        self.normalise = normalise
        self.num_classes = num_classes
        self.kinds = [(mix, alpha) for mix, alpha in ((blended, mixup), (pasted, cutmix)) if alpha]

    def __call__(
        self, clips: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips `(N, T, C, H, W)`, uint8 or normalised, and labels `(N,)` to normalised clips and shares `(N, K)`."""
        clips = self.normalise(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        shares = one_hot(labels, self.num_classes).to(clips.dtype)
        mix, alpha = self.kinds[rng.integers(len(self.kinds))]
        partners = torch.arange(len(clips)) ^ 1
        partners[partners == len(clips)] = len(clips) - 1
        return mix(clips, shares, partners.to(clips.device), float(rng.beta(alpha, alpha)), rng)


def blended(
    clips: torch.Tensor, shares: torch.Tensor, partners: torch.Tensor, own: float, _rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup: `own` of each clip and the rest of its partner."""
    return clips.lerp(clips[partners], 1 - own), shares.lerp(shares[partners], 1 - own)


def pasted(
    clips: torch.Tensor, shares: torch.Tensor, partners: torch.Tensor, own: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """CutMix: a box of the partner, which takes 1 - `own` of the area but for what lies beyond the edges."""
    height, width = clips.shape[-2:]
    half = 0.5 * math.sqrt(1 - own)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    rows = slice(max(0, y - int(half * height)), min(height, y + int(half * height)))
    columns = slice(max(0, x - int(half * width)), min(width, x + int(half * width)))
    mixed = clips.clone()
    mixed[..., rows, columns] = clips[partners][..., rows, columns]
    own = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed, shares.lerp(shares[partners], 1 - own)
