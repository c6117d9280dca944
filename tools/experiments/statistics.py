"""Means over seeds, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """Of n values, with half the width of its 95 % interval; None of a single value, which says nothing of others."""

    value: float
    half: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1f}" if self.half is None else f"{self.value:.1f} ± {self.half:.1f}"

    @property
    def is_beyond_zero(self) -> bool:
        """Zero lies outside of the interval."""
        return self.half is not None and abs(self.value) > self.half


def mean(values: Sequence[float]) -> Mean:
    """Of at least one value; the interval by Student's t."""
    from scipy.stats import t  # SciPy takes half a second to import

    n = len(values)
    if n < 2:
        return Mean(fmean(values), None, n)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(values) / n**0.5
    return Mean(fmean(values), half, n)


def paired(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> Mean | None:
    """Of the differences, second less first, key by key; None where no key is in both."""
    differences = [second[key] - first[key] for key in first if key in second]
    return mean(differences) if differences else None
