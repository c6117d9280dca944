"""Accuracy against coverage: how right a network is where it is sure. Legend: `N` videos, `K` classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

SHARES = (100, 95, 90, 80, 70, 50)  # percent of the videos


def coverage(
    probabilities: torch.Tensor, labels: torch.Tensor, shares: Sequence[float] = SHARES
) -> list[dict[str, float]]:
    """For each share in percent, of probabilities (N, K): the surest videos that make it up, and their accuracy.

    min_probability: the least probability of a top class among them, so that these are all videos at or above it
    (`--min_probability`); coverage: their share in percent, above the one asked for where several are alike; top1: in
    percent.
    """
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == labels).double()
    falling = confidence.sort(descending=True).values
    rows = []
    for share in shares:
        least = falling[max(1, math.ceil(share / 100 * len(labels))) - 1]
        kept = confidence >= least
        rows.append(
            {
                "coverage": 100 * float(kept.double().mean()),
                "min_probability": float(least),
                "top1": 100 * float(right[kept].mean()),
            }
        )
    return rows


def in_words(rows: Sequence[dict[str, float]]) -> str:
    """The table on one line."""
    parts = [f"{row['top1']:.1f} of {row['coverage']:.0f} (p ≥ {row['min_probability']:.2f})" for row in rows]
    return "top-1 in % of the surest videos, in %: " + ", ".join(parts)
