"""How far the probabilities that a network gives and its accuracy lie apart. Legend: `N` videos, `K` classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Videos sorted into equal parts of (0, 1], by the probability of their top class; of each part `(bins,)` float64.

    videos: how many. confidence: the sum of those probabilities. right: how many of the videos are right.
    """

    videos: torch.Tensor
    confidence: torch.Tensor
    right: torch.Tensor

    @property
    def error(self) -> float:
        """The expected calibration error, from 0 to 1.

        The mean over the videos of the distance between their part's mean probability and its accuracy (Guo et al.,
        "On Calibration of Modern Neural Networks", ICML 2017, section 2).
        """
        return float((self.confidence - self.right).abs().sum() / self.videos.sum())


def reliability(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = BINS) -> Reliability:
    """Of probabilities (N, K) and labels (N,)."""
    confidence, predicted = probabilities.double().max(dim=1)
    part = (confidence * bins).ceil().long().clamp(1, bins) - 1

    def summed(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, part, values)

    return Reliability(summed(torch.ones_like(confidence)), summed(confidence), summed((predicted == labels).double()))


def expected_calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = BINS) -> float:
    """See `Reliability.error`."""
    return reliability(probabilities, labels, bins).error
