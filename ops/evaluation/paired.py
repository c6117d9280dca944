"""Whether of two networks, tested on the same videos, one is better, or both are as good: paired proportions.

Legend: of N videos, `b` only the first network has right, `c` only the second. A difference is (c - b) / N, above 0
where the second is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05  # of the tests
Counts = np.ndarray | int
HALF_A_VIDEO = 0.5  # `c - b` is a whole number, which a normal distribution is not


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
    def difference(self) -> float:
        """By how many points (percent of the videos) the second is better."""
        return 100 * (self.second - self.first) / self.videos

    @property
    def drop(self) -> float:
        """By how many points the second is worse."""
        return 100 * (self.first - self.second) / self.videos

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Of the difference, in points: all those that the score test (see `score`) does not refuse."""
        from scipy.optimize import brentq  # SciPy takes half a second to import
        from scipy.stats import norm

        z = float(norm.isf((1 - confidence) / 2))

        def upper(b: int, c: int) -> float:
            def above(difference: float) -> float:
                return -float(score(b, c, self.videos, difference)) - z

            return 1.0 if above(1.0) <= 0 else float(brentq(above, (c - b) / self.videos, 1.0))

        return -100 * upper(self.only_second, self.only_first), 100 * upper(self.only_first, self.only_second)

    def equivalence(self, margin: float) -> float:
        """p of the test whether the networks differ by less than `margin` points; below `LEVEL` they are shown to.

        Two one-sided tests (Schuirmann 1987), by the score: p < 0.05 just where the 90 % interval lies between -margin
        and margin.
        """
        from scipy.stats import norm

        counts = self.only_first, self.only_second, self.videos
        nearer = min(float(score(*counts, -margin / 100)), -float(score(*counts, margin / 100)))
        return float(norm.sf(nearer))

    def __str__(self) -> str:
        first, second = (100 * hits / self.videos for hits in (self.first, self.second))
        return (
            f"top-1 {first:.2f} % and {second:.2f} % of {self.videos} videos; {self.only_first} the first alone has "
            f"right, {self.only_second} the second alone (McNemar's exact test: p = {self.p:.2g})"
        )


def mcnemar(first: np.ndarray, second: np.ndarray) -> Paired:
    """Of two networks' hits, bool `(N,)` each, on the same N > 0 videos (McNemar 1947, in its exact form)."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(exact_p(only_first, only_second))
    return Paired(len(first), int(first.sum()), int(second.sum()), only_first, only_second, p)


def exact_p(b: Counts, c: Counts) -> np.ndarray:
    """McNemar's: of b + c videos that differ, each falls to either side with probability one half; any shape."""
    from scipy.stats import binom

    return np.minimum(1.0, 2 * binom.cdf(np.minimum(b, c), np.add(b, c), 0.5))


def score(b: Counts, c: Counts, videos: int, difference: float) -> np.ndarray:
    """How many standard deviations the difference that was found lies above a supposed one (from -1 to 1); any shape.

    Tango's score for paired proportions (Statistics in Medicine 17, 1998): the deviation is that of the likeliest
    probabilities among those with the supposed difference. Half a video is taken off (a correction for continuity):
    without it the tests' false alarms and the interval's misses exceed what they promise by some hundredths.
    """
    b, c = np.asarray(b, float), np.asarray(c, float)
    rest = difference * (1 - difference)
    linear = (2 * videos + b - c) * difference - b - c
    # The likeliest probability of a video that only the first has right: 2N q² + linear·q - b·rest = 0.
    q = (np.sqrt(np.maximum(linear**2 + 8 * videos * b * rest, 0)) - linear) / (4 * videos)
    deviation = np.sqrt(np.maximum(videos * (2 * q + rest), np.finfo(float).tiny))
    found = c - b - videos * difference
    return np.sign(found) * np.maximum(np.abs(found) - HALF_A_VIDEO, 0) / deviation


def shown_better(b: Counts, c: Counts) -> np.ndarray:
    """Whether McNemar's test finds one of the networks better; any shape."""
    return exact_p(b, c) < LEVEL


def shown_equivalent(b: Counts, c: Counts, videos: int, margin: float) -> np.ndarray:
    """Whether the networks are found to differ by less than `margin` (from 0 to 1); any shape."""
    from scipy.stats import norm

    nearer = np.minimum(score(b, c, videos, -margin), -score(b, c, videos, margin))
    return nearer > norm.isf(LEVEL)


def covered(b: Counts, c: Counts, videos: int, difference: float) -> np.ndarray:
    """Whether the 95 % interval holds `difference`; any shape."""
    from scipy.stats import norm

    return np.abs(score(b, c, videos, difference)) <= norm.isf(LEVEL / 2)


def chance(
    answer: Callable[[np.ndarray, np.ndarray], np.ndarray], videos: int, difference: float, differing: float
) -> float:
    """How probable it is that `answer(b, c)` is true where two networks truly differ by `difference`, all from 0 to 1.

    differing: the share of the videos that one of them alone gets right. Summed over all outcomes but those of a
    probability below 1e-6 together.
    """
    from scipy.stats import binom

    only_first, only_second = (differing - difference) / 2, (differing + difference) / 2
    ranges = [np.arange(*binom.interval(1 - 1e-7, videos, p) + np.array([0, 1])) for p in (only_first, only_second)]
    b, c = np.meshgrid(*ranges, indexing="ij")  # all (b, c) that may be
    weight = binom.pmf(ranges[0], videos, only_first)[:, None]
    weight = weight * binom.pmf(c, videos - b, only_second / (1 - only_first))
    return float(weight[answer(b, c)].sum())
