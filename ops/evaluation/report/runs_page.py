"""The page of several trainings: their curves over each other, and what differs between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ops.evaluation.report.charts import Chart, Series
from ops.evaluation.report.page import write_page
from ops.evaluation.report.training_page import epochs_range
from ops.evaluation.runs import MARKS, differing_environment, differing_options, summary, warnings
from ops.running.logged import LoggedRun

KIND = "trainings compared"
COLOURS = 8  # further runs are drawn dashed
CURVES = (
    ("Top-1 in validation", "%", "val_top1"),
    ("Loss in validation", "loss", "val_loss"),
    ("Top-1 in training", "%", "train_top1"),
    ("Loss in training", "loss", "train_loss"),
    ("Learning rate", "learning rate", "lr"),
    ("Time spent waiting for data, in training", "% of the time", "train_waiting_percent"),
)


def write_runs_page(path: Path, runs: Sequence[LoggedRun]) -> None:
    """The page, one file."""
    write_page(
        path,
        "runs.html",
        "Trainings compared",
        KIND,
        runs=[(mark, run.name, run.folder, summary(run)) for mark, run in zip(MARKS, runs, strict=False)],
        warnings=warnings(runs),
        charts=_charts(runs),
        differences={"Options": differing_options(runs), "Environment": differing_environment(runs)},
        colours=COLOURS,
    )


def _charts(runs: Sequence[LoggedRun]) -> list[Chart]:
    charts = []
    for title, unit, column in CURVES:
        curves = [run.curve(column) for run in runs]
        if any(curves):
            charts.append(Chart(title, "epoch", unit, _series(curves), epochs_range(runs)))
    by_time = [
        [(hour, row["val_top1"]) for hour, row in zip(run.hours, run.rows, strict=True) if "val_top1" in row]
        for run in runs
    ]
    if any(math.isfinite(y) for curve in by_time for _, y in curve):
        charts.insert(1, Chart("Top-1 in validation, by time", "hours", "%", _series(by_time)))
    return charts


def _series(curves: Sequence[Sequence[tuple[float, float]]]) -> list[Series]:
    return [
        Series(mark, curve, "dots" if place < COLOURS else "dashes dots", place % COLOURS)
        for place, (mark, curve) in enumerate(zip(MARKS, curves, strict=False))
        if curve
    ]
