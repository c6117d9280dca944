"""The tables of an experiment: NAME.csv, a row for each arm, seed and test; learning curves and mistakes beside it.

A row holds the mark of the settings that it was made with (`Experiment.settings`): other settings, and it is made anew.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ops.data.textfile import read_text
from ops.errors import InputError
from ops.files import write_text
from ops.tables import as_csv, read_csv
from tools.experiments.plan import Arm, Experiment, Run, Test

MOST_BYTES = 2**26


@dataclass(frozen=True)
class Time:
    """The median of an arm's milliseconds a clip, in float32; half of the times lie between `low` and `high`."""

    arm: str
    ms: float
    low: float
    high: float
    threads: int
    device: str
    torch: str
    settings: str


@dataclass(frozen=True)
class Row:
    """What a test of a trained arm gave.

    Accuracies in percent; changed: the percentage of predictions that differ from another test's; losses of the last
    epoch; billions of multiply-accumulates a clip; millions of parameters; seconds of the training, commit of its code;
    inputs: a mark of the files from elsewhere that it took.
    """

    arm: str
    seed: int
    test: str
    top1: float
    top5: float
    videos: int
    changed: float | None
    train_loss: float
    val_loss: float | None
    gmacs: float
    mparams: float
    seconds: float
    commit: str
    torch: str
    device: str
    threads: int
    precision: str
    inputs: str
    settings: str


@dataclass(frozen=True)
class Epoch:
    """A point of a learning curve; of the validation nothing where there was none."""

    arm: str
    seed: int
    epoch: int
    train_loss: float
    train_top1: float
    val_loss: float | None
    val_top1: float | None
    settings: str


@dataclass(frozen=True)
class Mistake:
    """How many videos of one class the experiment's first test has taken for another."""

    arm: str
    seed: int
    label: str
    predicted: str
    videos: int
    settings: str


TABLES: dict[str, type[Any]] = {".csv": Row, ".curves.csv": Epoch, ".mistakes.csv": Mistake}  # by a file's ending


def read_rows(file: Path, kind: type[Any]) -> list[Any]:
    """The rows of a table of this kind; none if there is no file. Raises InputError that names file and line."""
    if not file.exists():
        return []
    names = [field.name for field in fields(kind)]
    readers = [_READERS[str(field.type)] for field in fields(kind)]
    try:
        lines = read_csv(read_text(file, "table", MOST_BYTES))
    except (csv.Error, ValueError) as error:
        raise InputError(f"{file}: no table: {error}") from error
    if lines[:1] != [names]:
        raise InputError(f"{file}: line 1: expected {','.join(names)}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            rows.append(kind(*(read(cell) for read, cell in zip(readers, line, strict=True))))
        except ValueError as error:
            raise InputError(f"{file}: line {number}: {error}; expected {','.join(names)}") from error
    return rows


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "float | None": lambda cell: float(cell) if cell else None,
}


def write_rows(file: Path, kind: type[Any], rows: Iterable[Any]) -> None:
    """The table, whole or not at all."""
    names = [field.name for field in fields(kind)]
    lines = [["" if value is None else value for value in asdict(row).values()] for row in rows]
    write_text(file, as_csv([names, *lines]))


def row_of(rows: Sequence[Row], experiment: Experiment, arm: Arm, seed: int, test: Test) -> Row | None:
    """The row of a test, if there is one of today's settings."""
    wanted = arm.name, seed, test.name, experiment.settings(arm, test)
    return next((row for row in rows if (row.arm, row.seed, row.test, row.settings) == wanted), None)


def write_merged(run: Run, ending: str, rows: Sequence[Any]) -> None:
    """Puts all rows of a run into its table of this ending, in place of earlier ones; arm by arm, as described."""
    file, kind = run.table.with_suffix(ending), TABLES[ending]
    others = [row for row in read_rows(file, kind) if (row.arm, row.seed) != (run.arm.name, run.seed)]
    arms = {arm.name: place for place, arm in enumerate(run.experiment.arms)}
    # Stable, so that tests and epochs stay in their order; what is described no more comes last.
    merged = sorted([*others, *rows], key=lambda row: (arms.get(row.arm, len(arms)), row.arm, row.seed))
    write_rows(file, kind, merged)


def values(rows: Iterable[Row], arm: str, test: str, what: str = "top1") -> dict[Hashable, float]:
    """An arm's numbers in a test, by the seed, the kind of device and the torch: a pair has all in common.

    The same seed elsewhere rounds otherwise, and after a few hundred steps is as far off as another seed.
    """
    own = (row for row in rows if (row.arm, row.test) == (arm, test))
    return {(row.seed, row.device, row.torch, row.threads): getattr(row, what) for row in own}
