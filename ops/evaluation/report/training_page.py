"""The page of a training: its curves so far, the clips that it learns from, its options and machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ops.evaluation.report.charts import Chart, Series
from ops.evaluation.report.page import write_page
from ops.evaluation.report.strips import Strip
from ops.running.logged import LoggedRun, flat

PAGE = "index.html"
KIND = "report of a training"
TRAIN, VAL = 0, 1  # colours
# Title, what is measured, its name in the table.
BOTH = (
    ("Loss", "loss", "loss"),
    ("Top-1", "%", "top1"),
    ("Top-5", "%", "top5"),
    ("Time spent waiting for data", "% of the time", "waiting_percent"),
    ("Time of an epoch", "seconds", "seconds"),
    ("Unreadable videos left out", "videos", "skipped"),
)
COLUMNS = (
    "epoch",
    "lr",
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "val_top5",
    "train_seconds",
    "train_waiting_percent",
)


@dataclass(frozen=True)
class ShownClip:
    """A training clip: its frames as the network sees them, its video, its label there and in the list."""

    strip: Strip
    path: str
    label: str
    listed: str
    mirrored: bool

    @property
    def swapped(self) -> bool:
        """Mirroring has changed the label."""
        return self.label != self.listed


@dataclass(frozen=True)
class Sheet:
    """Training clips, and in words how they were made of their videos; `fault`: why there are none."""

    clips: Sequence[ShownClip] = ()
    made: Sequence[str] = ()
    fault: str = ""


def write_training_page(run: LoggedRun, sheet: Sheet) -> None:
    """`index.html` in the run's log folder."""
    write_page(
        run.folder / PAGE,
        "training.html",
        run.name,
        KIND,
        run=run,
        cards=_cards(run),
        charts=_charts(run),
        sheet=sheet,
        columns=[(column.replace("_", " "), "number") for column in COLUMNS],
        table=[[_number(row.get(column, math.nan)) for column in COLUMNS] for row in run.rows],
        options=flat(run.options),
        environment=flat(run.environment),
    )


def _number(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else ""


def _charts(run: LoggedRun) -> list[Chart]:
    charts = []
    for title, unit, column in BOTH:
        pairs = (("training", "train", TRAIN), ("validation", "val", VAL))
        series = [Series(name, run.curve(f"{part}_{column}"), colour=colour) for name, part, colour in pairs]
        series = [one for one in series if one.points]
        if not series:
            continue
        if column == "skipped" and not any(y > 0 for one in series for _, y in one.points):
            continue
        note = "of mixed clips the larger share's label counts" if column == "top1" and _mixes(run) else ""
        charts.append(Chart(title, "epoch", unit, series, epochs_range([run]), note=note))
    rate = [Series("learning rate", run.curve("lr"))]
    charts.insert(3, Chart("Learning rate", "epoch", "learning rate", rate, epochs_range([run])))
    return charts


def epochs_range(runs: Sequence[LoggedRun]) -> tuple[float, float]:
    """From the start to a little after the last epoch of all runs."""
    return 0, 1.04 * max([2, *(row["epoch"] for run in runs for row in run.rows)])


def _mixes(run: LoggedRun) -> bool:
    return bool(run.options.get("mixup") or run.options.get("cutmix"))


def _cards(run: LoggedRun) -> list[tuple[str, str, str]]:
    """Name, value, and a line below."""
    done, epochs = int(run.rows[-1]["epoch"]) if run.rows else 0, run.options.get("epochs")
    cards = [("epochs", f"{done} of {epochs}" if epochs else str(done), "")]
    if run.rows:
        spent = run.hours[-1]
        left = spent / len(run.rows) * max(0, (epochs or done) - done)
        cards.append(("time", in_hours(spent), f"about {in_hours(left)} to go" if left else ""))
        cards.append(("training loss", f"{run.rows[-1]['train_loss']:.3f}", f"epoch {done}"))
    if run.last and run.best:
        for name, row in (("last top-1", run.last), ("best top-1", run.best)):
            cards.append((name, f"{row['val_top1']:.2f} %", f"validation, epoch {row['epoch']:.0f}"))
    return cards


def in_hours(hours: float) -> str:
    """As `2 h 05 min`; below an hour minutes, below a minute seconds."""
    minutes = round(60 * hours)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{3600 * hours:.0f} s"
