"""A run as its log folder tells of it: the table of its epochs, its options, the machine it ran on."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.files import read_regular
from ops.running.runlog import ENVIRONMENT, OPTIONS, TABLE

MOST_BYTES = 64 << 20  # of the options: a list of a million words has less
MOST_EPOCHS = 10_000_000  # no run has more
NEEDED = ("epoch", "lr", "train_loss", "train_top1")  # of the table's columns


@dataclass(frozen=True)
class LoggedRun:
    """rows: an epoch each, in order, the numbers of those columns that it has: without a validation not all.

    options, environment: empty where the folder does not tell.
    """

    folder: Path
    rows: list[dict[str, float]]
    options: dict[str, Any]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """As the run calls itself."""
        return str(self.options.get("name") or self.folder.resolve().name)

    def curve(self, column: str) -> list[tuple[float, float]]:
        """`(epoch, value)` of each epoch that has one; nothing if none is a finite number."""
        points = [(row["epoch"], row[column]) for row in self.rows if column in row]
        return points if any(math.isfinite(value) for _, value in points) else []

    @property
    def best(self) -> dict[str, float] | None:
        """The row of the epoch with the highest top-1 in validation, the last of several: that of ckptbest.pth."""
        validated = [row for row in self.rows if math.isfinite(row.get("val_top1", math.nan))]
        return max(validated, key=lambda row: (row["val_top1"], row["epoch"]), default=None)

    @property
    def last(self) -> dict[str, float] | None:
        """The row of the last epoch that was validated."""
        return next((row for row in reversed(self.rows) if math.isfinite(row.get("val_top1", math.nan))), None)

    @property
    def hours(self) -> list[float]:
        """Since the start, at the end of each epoch, validation and all."""
        spent, total = [], 0.0
        for row in self.rows:
            seconds = (row.get(f"{which}_seconds", math.nan) for which in ("train", "val"))
            total += sum(value for value in seconds if math.isfinite(value)) / 3600
            spent.append(total)
        return spent


def read_run(path: Path, begun: bool = True) -> LoggedRun:
    """The run whose log folder, or the table in it, `path` is. Raises InputError where it is none, or damaged.

    begun: it must have ended an epoch, and so have a table.
    """
    folder = path if path.is_dir() else path.parent
    table = folder / TABLE if path.is_dir() else path
    if not begun and not table.exists():
        return LoggedRun(folder, [], _read(folder / OPTIONS), _read(folder / ENVIRONMENT))
    if not table.is_file():
        raise InputError(f"{path}: no {TABLE} there: expected a run's log folder (log/NAME), which main.py writes")
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = _rows(list(csv.reader(file, strict=True)))
    except (ValueError, csv.Error, OSError) as error:
        raise InputError(f"{table}: not the table of a run (an epoch a line), or damaged ({error})") from error
    if not rows:
        raise InputError(f"{table}: no epoch in it yet")
    return LoggedRun(folder, rows, _read(folder / OPTIONS), _read(folder / ENVIRONMENT))


def _rows(lines: list[list[str]]) -> list[dict[str, float]]:
    """Raises ValueError that names the line."""
    head = lines[0] if lines else []
    if lacking := [column for column in NEEDED if column not in head]:
        raise ValueError(f"line 1: no column {', '.join(lacking)}")
    rows: list[dict[str, float]] = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(head):
            raise ValueError(f"line {number}: {len(line)} columns, expected {len(head)}")
        try:
            row = {name: float(value) for name, value in zip(head, line, strict=True) if value}
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if lacking := [name for name in NEEDED if name not in row]:
            raise ValueError(f"line {number}: no {', '.join(lacking)}")
        before = rows[-1]["epoch"] if rows else 0
        if not before < row["epoch"] <= MOST_EPOCHS or not row["epoch"].is_integer():
            raise ValueError(f"line {number}: epoch {line[head.index('epoch')]} is out of order")
        rows.append(row)
    return rows


def flat(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as text, those within others by names such as `data.train`."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": text for inner, text in flat(value).items()}
        else:
            found[name] = _as_text(value)
    return found


def _as_text(value: Any) -> str:
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(path: Path) -> dict[str, Any]:
    """A JSON file's facts; none if there is no file."""
    try:
        facts = json.loads(read_regular(path, MOST_BYTES).decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON, or damaged ({error}): move it away to go without it") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path}: expected an object of names and values: move it away to go without it")
    return facts
