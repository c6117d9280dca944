"""How well segments of a video are found: mean average precision at an overlap in time, and how far bounds are off.

Legend: spans are `(start, end)` in one unit of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """A span, its class, and how sure its finder is."""

    span: Span
    label: int
    score: float


def overlap(a: Span, b: Span) -> float:
    """The time that two spans share, of the time that either has."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared) if shared else 0.0


def matches(found: Sequence[Found], true: Sequence[tuple[Span, int]], least: float) -> list[int | None]:
    """For each found span the true one that it hits, or None: the surer choose first, each true one is hit once.

    It hits the one of its class, among those that are left, that it overlaps most, and by `least` or more.
    """
    hits: list[int | None] = [None] * len(found)
    left = set(range(len(true)))
    for place in sorted(range(len(found)), key=lambda k: -found[k].score):
        ours = {k: overlap(found[place].span, true[k][0]) for k in left if true[k][1] == found[place].label}
        best = max(ours, key=lambda k: (ours[k], -k), default=None)
        if best is not None and ours[best] >= least:
            hits[place] = best
            left.remove(best)
    return hits


def average_precision(hit: Sequence[bool], scores: Sequence[float], true: int) -> float:
    """The area under the precision by recall of found spans, of which there are `true` ones to find.

    At all points: at each recall the best precision at that or a higher one (Everingham et al. 2010, as from 2010 on).
    """
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    hits = np.asarray(hit, dtype=float)[order]
    if not len(hits):
        return 0.0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * hits).sum() / true)


def mean_average_precision(found: Sequence[Found], true: Sequence[tuple[Span, int]], least: float = 0.5) -> float:
    """The mean of the average precisions of the classes that there are, at an overlap of `least`, from 0 to 1."""
    hits = matches(found, true, least)
    precisions = []
    for label in sorted({label for _, label in true}):
        ours = [k for k, each in enumerate(found) if each.label == label]
        count = sum(each == label for _, each in true)
        precisions.append(average_precision([hits[k] is not None for k in ours], [found[k].score for k in ours], count))
    return float(np.mean(precisions))


def bound_errors(found: Sequence[Found], true: Sequence[tuple[Span, int]], least: float = 0.5) -> np.ndarray:
    """How far the starts and ends of the found spans that hit are off, `(2 · hits,)`, in the spans' unit."""
    hits = matches(found, true, least)
    pairs = [(each.span, true[hit][0]) for each, hit in zip(found, hits, strict=True) if hit is not None]
    return np.array([abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)])
