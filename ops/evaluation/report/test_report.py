"""The report of a test: a page, the tables beside it, and the frames of the videos that it shows.

Legend: `N` videos, `K` classes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ops.evaluation import coverage
from ops.evaluation.metrics import mean_class_interval, wilson_interval
from ops.evaluation.motion import ORDERS, Motion
from ops.evaluation.outcomes import VIDEOS, Outcomes, write_outcomes
from ops.evaluation.reliability import BINS, Reliability, reliability
from ops.evaluation.report.charts import Chart, Series
from ops.evaluation.report.classes import (
    ClassRow,
    class_rows,
    confused_pairs,
    groups,
    similarity_order,
    write_classes,
)
from ops.evaluation.report.page import write_page
from ops.evaluation.report.strips import FRAMES, Album, Frames, Strip
from ops.evaluation.results import write_confusion
from ops.files import write_text
from ops.tables import as_csv

PAGE, CLASSES, MOTION = "index.html", "classes.csv", "motion.csv"
KIND = "report of a test"
# So that the page stays small, however many videos there are.
PAIRS, EXAMPLES, SHOWN, LEFT_OUT = 12, 2, 24, 200


@dataclass(frozen=True)
class Findings:
    """What a report is made of.

    outcomes: of the N videos. probabilities: (N, K). confusion: counts (K, K), a row a true class. accuracies: in
    percent, `top1`, `top5` and `mean_class_accuracy`. facts: headings, and below each names and values. left_out: why,
    of each video that could not be read. about_frames: which frames of a video are shown, in words.
    """

    title: str
    outcomes: Outcomes
    probabilities: torch.Tensor
    labels: torch.Tensor
    confusion: np.ndarray
    categories: Sequence[str]
    accuracies: Mapping[str, float]
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    motion: Motion | None = None
    about_frames: str = ""


@dataclass(frozen=True)
class Example:
    """A video on the page. probability: of the predicted class, in percent; rank: of the true one."""

    path: str
    true: str
    predicted: str
    probability: float
    rank: int
    strip: Strip


def outputs(folder: Path) -> list[Path]:
    """The files that a report of a test writes or removes, and a strip, to be tried before the test."""
    names = ("confusion_matrix.csv", "confusion_matrix.png", VIDEOS, CLASSES, MOTION, PAGE)
    return [*(folder / name for name in names), folder / FRAMES / "0.jpg"]


def write_report(folder: Path, tested: Findings, frames: Frames) -> None:
    """Writes or renews the report in `folder`: the page once all that it shows is there, the picture last.

    What is not of a report there stays. A video without frames, as `frames` says why, is shown without.
    """
    rows = class_rows(tested.confusion, tested.categories)
    write_outcomes(folder / VIDEOS, tested.outcomes)
    write_classes(folder / CLASSES, rows)
    if tested.motion is not None:
        write_motion(folder / MOTION, tested.motion, tested.categories)
    album = Album(folder, frames)
    values = _values(tested, rows, album)
    write_page(folder / PAGE, "test_report.html", tested.title, KIND, ("matrix.js",), **values)
    album.remove_others()
    if tested.motion is None:
        (folder / MOTION).unlink(missing_ok=True)
    write_confusion(folder, tested.confusion, tested.categories)


def write_motion(path: Path, found: Motion, categories: Sequence[str]) -> None:
    """A row a class: its accuracy in percent with the frames in each order; empty where it has no videos."""
    table: list[Sequence[object]] = [["class", "videos", *ORDERS]]
    for place, (name, videos) in enumerate(zip(categories, found.videos.tolist(), strict=True)):
        shares = (f"{100 * found.right[order][place] / videos:.2f}" if videos else "" for order in ORDERS)
        table.append([name, videos, *shares])
    write_text(path, as_csv(table))


def _example(place: int, of: Outcomes, album: Album) -> Example:
    """The video number `place`, its strip written."""
    path, sure, rank = of.paths[place], 100 * float(of.probability[place]), int(of.rank[place])
    return Example(path, of.true[place], of.predicted[place], sure, rank, album.strip(path))


def _values(tested: Findings, rows: Sequence[ClassRow], album: Album) -> dict[str, Any]:
    """What the template asks for."""
    outcomes, probability = tested.outcomes, tested.outcomes.probability
    wrong, right = (np.flatnonzero(which) for which in (~outcomes.right, outcomes.right))
    surest_wrong, surest_right = (those[np.argsort(-probability[those], kind="stable")] for those in (wrong, right))
    pairs = []
    for pair in confused_pairs(tested.confusion, PAIRS):
        names = tested.categories[pair.true], tested.categories[pair.predicted]
        pairs.append((*names, pair, _examples(names, outcomes, surest_wrong, album)))
    of_a_class = math.ceil(SHOWN / max(1, len({outcomes.true[place] for place in right.tolist()})))
    hits = _of_every_class(surest_right, outcomes.true, of_a_class)
    bins = reliability(tested.probabilities, tested.labels)
    return {
        "cards": _cards(tested),
        "facts": tested.facts,
        "rows": rows,
        "has_groups": any(row.group for row in rows),
        "data": _matrix(tested),
        "pairs": pairs,
        "mistakes": [_example(place, outcomes, album) for place in surest_wrong[:SHOWN]],
        "hits": [_example(place, outcomes, album) for place in hits],
        "hits_of_a_class": of_a_class,
        "counts": {"videos": len(outcomes.paths), "wrong": len(wrong), "right": len(right)},
        "ece": 100 * bins.error,
        "charts": [_reliability_chart(bins), _histogram(bins), _coverage_chart(tested)],
        "left_out": list(tested.left_out.items())[:LEFT_OUT],
        "left_out_count": len(tested.left_out),
        "motion": _motion(tested.motion, tested.categories) if tested.motion is not None else None,
        "about_frames": tested.about_frames,
        "tables": [VIDEOS, CLASSES, "confusion_matrix.csv", *([MOTION] if tested.motion is not None else [])],
    }


def _of_every_class(places: np.ndarray, true: Sequence[str], most: int) -> list[int]:
    """Of places in order the first so many, of no class more than `most`: one alone could fill the page."""
    shown: list[int] = []
    of_class: Counter[str] = Counter()
    for place in places.tolist():
        of_class[true[place]] += 1
        if of_class[true[place]] <= most and len(shown) < SHOWN:
            shown.append(place)
    return shown


def _cards(tested: Findings) -> list[tuple[str, str, str]]:
    """Name, value and interval."""
    videos, confusion = len(tested.outcomes.paths), tested.confusion
    counts = confusion.sum(axis=1)
    has = counts > 0
    intervals = {
        "top1": ("top-1", wilson_interval(int((tested.outcomes.rank == 1).sum()), videos)),
        "top5": ("top-5", wilson_interval(int((tested.outcomes.rank <= 5).sum()), videos)),
        "mean_class_accuracy": ("mean class accuracy", mean_class_interval(np.diag(confusion)[has], counts[has])),
    }
    return [
        (name, f"{tested.accuracies[key]:.2f} %", f"95 %: {100 * low:.2f} to {100 * high:.2f}")
        for key, (name, (low, high)) in intervals.items()
    ]


def _matrix(tested: Findings) -> dict[str, Any]:
    """For the script: the confusions that there are, one after the other: true, predicted, count."""
    cells = np.argwhere(tested.confusion > 0)  # (cells, 2)
    counts = tested.confusion[tested.confusion > 0]
    return {
        "names": list(tested.categories),
        "groups": groups(tested.categories),
        "similar": similarity_order(tested.confusion),
        "cells": np.column_stack([cells, counts]).flatten().tolist(),
    }


def _examples(pair: tuple[str, str], of: Outcomes, surest_wrong: np.ndarray, album: Album) -> list[Example]:
    """Those videos of a true and a predicted class that the network is surest of."""
    places = (place for place in surest_wrong if (of.true[place], of.predicted[place]) == pair)
    return [_example(place, of, album) for place, _ in zip(places, range(EXAMPLES), strict=False)]


def _reliability_chart(bins: Reliability) -> Chart:
    shares = (100 * bins.right / bins.videos).tolist()
    middles = [100 * (part + 0.5) / BINS for part in range(BINS)]
    return Chart(
        "Reliability",
        "probability of the top class, %",
        "accuracy, %",
        [
            Series("accuracy", list(zip(middles, shares, strict=True)), "bars"),
            Series("what the probability promises", [(0, 0), (100, 100)], "dashes", 1),
        ],
        x_range=(0, 100),
        y_range=(0, 100),
        note="A bar below the line: the network is surer than it is right. Above: less sure than it could be.",
    )


def _histogram(bins: Reliability) -> Chart:
    share = (100 * bins.videos / bins.videos.sum()).tolist()
    middles = [100 * (part + 0.5) / BINS for part in range(BINS)]
    return Chart(
        "How sure it is",
        "probability of the top class, %",
        "videos, %",
        [Series("videos", list(zip(middles, share, strict=True)), "bars")],
        x_range=(0, 100),
        y_range=(0, 100),
        note="How many of the videos stand behind each bar of the reliability: one of few means little.",
    )


def _coverage_chart(tested: Findings) -> Chart:
    rows = coverage.coverage(tested.probabilities, tested.labels, range(100, 0, -2))
    points = sorted({(row["coverage"], row["top1"]) for row in rows})
    return Chart(
        "Accuracy against coverage",
        "videos answered, the surest first, %",
        "top-1 of these, %",
        [Series("top-1", points, "dots")],
        x_range=(0, 100),
        note="What is left right if the unsurest videos are left to somebody else: the steeper it falls to the right, "
        "the better its probability tells its mistakes.",
    )


def _motion(found: Motion, categories: Sequence[str]) -> dict[str, Any]:
    """Cards as `_cards`; a row a class: its name, its videos and its accuracies in percent in each order."""
    totals = {order: found.total(order) for order in ORDERS}
    cards = [
        (order, f"{share:.2f} %", f"95 %: {low:.2f} to {high:.2f}") for order, (share, low, high) in totals.items()
    ]
    rows = []
    for place, (name, videos) in enumerate(zip(categories, found.videos.tolist(), strict=True)):
        if videos:
            shares = [100 * int(found.right[order][place]) / videos for order in ORDERS]
            ends = [wilson_interval(int(found.right[order][place]), videos) for order in ORDERS]
            rows.append((name, videos, shares, [(100 * low, 100 * high) for low, high in ends]))
    return {"orders": ORDERS, "cards": cards, "rows": rows}
