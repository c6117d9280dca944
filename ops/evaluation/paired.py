"""Whether of two networks, tested on the same videos, one is better: McNemar's test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paired:
    """Of N videos, how many the first, the second, and either alone got right; p of the exact test, two-sided."""

    videos: int
    first: int
    second: int
    only_first: int
    only_second: int
    p: float

    @property
    def drop(self) -> float:
        """By how many points (percent of the videos) the second is worse."""
        return 100 * (self.first - self.second) / self.videos

    def __str__(self) -> str:
        first, second = (100 * hits / self.videos for hits in (self.first, self.second))
        return (
            f"top-1 {first:.2f} % and {second:.2f} % of {self.videos} videos; {self.only_first} the first alone has "
            f"right, {self.only_second} the second alone (McNemar's exact test: p = {self.p:.2g})"
        )


def mcnemar(first: np.ndarray, second: np.ndarray) -> Paired:
    """Of two networks' hits, bool `(N,)` each, on the same N > 0 videos (McNemar 1947, in its exact form)."""
    from scipy.stats import binomtest  # takes half a second to import

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    return Paired(len(first), int(first.sum()), int(second.sum()), only_first, only_second, p)
