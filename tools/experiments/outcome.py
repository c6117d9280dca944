"""What a run's programs have left in its folder, as lines of the tables."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.evaluation.ensemble import named_scores
from ops.model.tsn import options_from_flags
from ops.running.runlog import ENVIRONMENT, OPTIONS, TABLE
from tools.complexity import complexity, on_meta
from tools.experiments.plan import Run
from tools.experiments.table import Epoch, Mistake, Row

TRAINING = "training.json"  # how far a training is, and of which code


@dataclass(frozen=True)
class Outcome:
    """A line for each test, one for each epoch, one for each two classes that the first test has taken for another."""

    rows: list[Row]
    epochs: list[Epoch]
    mistakes: list[Mistake]


def files_of(place: Path, test: str) -> tuple[Path, Path]:
    """Where a test of a run leaves its result and its scores."""
    return place / f"test.{test}.json", place / f"test.{test}.npz"


def outcome_of(run: Run, place: Path, classes: int) -> Outcome:
    """All that the tables keep of a run whose programs are done."""
    return Outcome(rows_of(run, place, classes), curve_of(run, place), mistakes_of(run, place))


def rows_of(run: Run, place: Path, classes: int) -> list[Row]:
    """What the programs have left in `place`."""
    log = place / "log" / "run"
    files = log / OPTIONS, log / ENVIRONMENT, place / TRAINING
    options, about, training = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    parameters, macs = complexity(on_meta(options_from_flags(options, classes)), options["input_size"])
    last = lines_of(place)[-1]
    rows = []
    for test in run.experiment.tests:
        result = json.loads(files_of(place, test.name)[0].read_text(encoding="utf-8"))
        rows.append(
            Row(
                arm=run.arm.name,
                seed=run.seed,
                test=test.name,
                top1=round(result["top1"], 3),
                top5=round(result["top5"], 3),
                videos=result["videos"],
                changed=None if test.changed_from is None else changed(place, test.changed_from, test.name),
                train_loss=round(float(last["train_loss"]), 5),
                val_loss=_number(last["val_loss"], 5),
                gmacs=round(macs / 1e9, 4),
                mparams=round(parameters / 1e6, 3),
                seconds=training["seconds"],
                commit=training["commit"],
                torch=about["torch"],
                device=about["gpus"][0] if about["gpus"] else "cpu",
                threads=about["threads"],
                precision=options["precision"],
                inputs=run.inputs,
                settings=run.experiment.settings(run.arm, test),
            )
        )
    return rows


def changed(place: Path, before: str, after: str) -> float:
    """How many of a hundred videos two tests of the same videos give another class."""
    first, second = (named_scores(files_of(place, name)[1])[0] for name in (before, after))
    if first.paths != second.paths:
        raise InputError(f"{place}: the tests {before} and {after} are not of the same videos")
    differ = first.scores.argmax(dim=1) != second.scores.argmax(dim=1)
    return round(100 * float(differ.double().mean()), 3)


def mistakes_of(run: Run, place: Path) -> list[Mistake]:
    """Which classes the first test has taken for which, the commonest first."""
    test = run.experiment.tests[0]
    predictions, classes = named_scores(files_of(place, test.name)[1])
    pairs = zip(predictions.labels.tolist(), predictions.scores.argmax(dim=1).tolist(), strict=True)
    mistaken = Counter((label, predicted) for label, predicted in pairs if label != predicted)
    settings = run.experiment.settings(run.arm, test)
    return [
        Mistake(run.arm.name, run.seed, classes[label], classes[predicted], videos, settings)
        for (label, predicted), videos in sorted(mistaken.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def curve_of(run: Run, place: Path) -> list[Epoch]:
    """The learning curve that main.py has left."""
    return [
        Epoch(
            arm=run.arm.name,
            seed=run.seed,
            epoch=int(line["epoch"]),
            train_loss=round(float(line["train_loss"]), 5),
            train_top1=round(float(line["train_top1"]), 3),
            val_loss=_number(line["val_loss"], 5),
            val_top1=_number(line["val_top1"], 3),
            settings=run.experiment.training(run.arm),
        )
        for line in lines_of(place)
    ]


def lines_of(place: Path) -> list[dict[str, Any]]:
    """Of the training's log, an epoch each."""
    with (place / "log" / "run" / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(cell: str, digits: int) -> float | None:
    return round(float(cell), digits) if cell else None
