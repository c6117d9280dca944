"""What a report says of single classes, and which of them are confused. Legend: `K` classes."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from ops.evaluation.metrics import wilson_interval
from ops.files import write_text
from ops.tables import as_csv

COLUMNS = ("class", "videos", "right", "accuracy", "low", "high", "precision", "most_confused_with", "times")
MOST_ORDERED = 1000  # classes: of so many it takes two seconds, of three times as many minutes
# A name's words: "PlayingGuitar", "playing guitar", "playing_guitar" and "playing-guitar" have two.
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W_A-Z]+|\d+")


@dataclass(frozen=True)
class ClassRow:
    """A class: how many of its videos are right, in percent with the 95 % interval (Wilson), NaN where it has none.

    precision: of the videos taken for it, how many percent are; NaN where there are none. confused_with: what its other
    videos are taken for most often, so many `times`; empty where there are none. group: see `groups`.
    """

    name: str
    group: str
    videos: int
    right: int
    accuracy: float
    low: float
    high: float
    precision: float
    confused_with: str
    times: int


@dataclass(frozen=True)
class Pair:
    """Classes by their places: so many videos of `true`, of `videos`, are taken for `predicted`, and `back` so many."""

    true: int
    predicted: int
    times: int
    videos: int
    back: int


def class_rows(confusion: np.ndarray, categories: Sequence[str]) -> list[ClassRow]:
    """Of confusion counts (K, K), a row a true class."""
    rows = []
    for place, (name, group) in enumerate(zip(categories, groups(categories), strict=True)):
        videos, right, taken = int(confusion[place].sum()), int(confusion[place, place]), int(confusion[:, place].sum())
        low, high = wilson_interval(right, videos) if videos else (math.nan, math.nan)
        others = np.where(np.arange(len(confusion)) == place, 0, confusion[place])
        most = int(others.argmax())
        rows.append(
            ClassRow(
                name=name,
                group=group,
                videos=videos,
                right=right,
                accuracy=_percent(right, videos),
                low=100 * low,
                high=100 * high,
                precision=_percent(right, taken),
                confused_with=categories[most] if others[most] else "",
                times=int(others[most]),
            )
        )
    return rows


def write_classes(path: Path, rows: Sequence[ClassRow]) -> None:
    """A table for spreadsheets, in the order of the classes; a percentage that there is none of is left empty."""
    table: list[Sequence[object]] = [COLUMNS]
    for row in rows:
        percent = ("" if math.isnan(v) else f"{v:.2f}" for v in (row.accuracy, row.low, row.high, row.precision))
        table.append([row.name, row.videos, row.right, *percent, row.confused_with, row.times])
    write_text(path, as_csv(table))


def confused_pairs(confusion: np.ndarray, most: int) -> list[Pair]:
    """The pairs of a true class and another that it is most often taken for; the larger share first of equal counts."""
    videos = confusion.sum(axis=1)
    found = [
        Pair(true, predicted, int(confusion[true, predicted]), int(videos[true]), int(confusion[predicted, true]))
        for true, predicted in np.argwhere(confusion > 0).tolist()
        if true != predicted
    ]
    return sorted(found, key=lambda p: (-p.times, p.videos, p.true, p.predicted))[:most]


def similarity_order(confusion: np.ndarray) -> list[int]:
    """The classes such that those that are confused stand together.

    Clusters by average linkage of how often two are taken for each other; their leaves in the order in which neighbours
    differ least (Bar-Joseph et al., Bioinformatics 17, 2001), which is left out where there are too many.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if len(confusion) < 3:
        return list(range(len(confusion)))
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0)
    condensed = squareform(distance, checks=False)
    tree = linkage(condensed, "average")
    return leaves_list(optimal_leaf_ordering(tree, condensed) if len(confusion) <= MOST_ORDERED else tree).tolist()


def groups(categories: Sequence[str]) -> list[str]:
    """For each class the words that its name and those of its group begin with; empty where it is in none.

    A group are classes that share a first word, or the first after those that all classes share.
    """
    found = [list(WORD.finditer(name)) for name in categories]
    words = [[match.group().lower() for match in own] for own in found]
    common = len(_beginning(words)) + 1
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, own in enumerate(words):
        if len(own) >= common:
            members[tuple(own[:common])].append(place)
    labels = [""] * len(categories)
    for those in members.values():
        if len(those) > 1:
            last = found[those[0]][len(_beginning([words[place] for place in those])) - 1]
            for place in those:
                labels[place] = categories[those[0]][: last.end()]
    return labels


def _beginning(lists: Sequence[Sequence[str]]) -> list[str]:
    """What they all begin with."""
    return [words[0] for words in takewhile(lambda words: len(set(words)) == 1, zip(*lists, strict=False))]


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan
