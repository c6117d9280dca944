"""What a run leaves behind: `log/<name>/` with its options, environment, a CSV line an epoch, and TensorBoard."""

from __future__ import annotations

import csv
import io
import json
import logging
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ops.errors import InputError
from ops.files import write_text
from ops.running.board import Board

logger = logging.getLogger(__name__)

TABLE, OPTIONS, ENVIRONMENT = "log.csv", "options.json", "environment.json"

# An epoch's line of the table: its number, the rate, the two passes' statistics (None: there was no validation).
Row = dict[str, Any]


def environment() -> dict[str, Any]:
    """The versions and the machine that a number depends on."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": np.__version__,
        **{package: _version(package) for package in ("pillow", "simplejpeg")},  # which decode frames
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if gpus else None,
        "gpus": gpus,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class Progress:
    """A pass's progress on the main process: a bar on a terminal, a line every `every` batches elsewhere."""

    def __init__(self, what: str, total: int, every: int = 20, done: int = 0) -> None:
        self.what, self.total, self.every = what, total, every
        is_main = logging.getLogger().isEnabledFor(logging.INFO)
        shown = is_main and sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=done, desc=what, leave=False, disable=not shown)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def update(self, number: int, state: object) -> None:
        """Batch `number` (from 0) is done; `state` says what to show."""
        if self.bar.disable:
            if (number + 1) % self.every == 0:
                logger.info("  %s, %d/%d %s", self.what, number + 1, self.total, state)
        else:
            self.bar.set_postfix_str(str(state), refresh=False)
            self.bar.update()


def row_of(epoch: int, rate: float, trained: Mapping[str, float]) -> Row:
    """An epoch's line as it is before the validation, which `with_validation` adds."""
    row: Row = {"epoch": epoch, "lr": rate} | {f"train_{name}": value for name, value in trained.items()}
    return row | {f"val_{name}": None for name in trained}


def with_validation(row: Row, checked: Mapping[str, float]) -> Row:
    """The line with the statistics of its epoch's validation."""
    return row | {f"val_{name}": value for name, value in checked.items()}


class RunLog:
    """The log folder of one run.

    Of a resumed run, which goes on `after` so many epochs, the checkpoint holds their `rows`. The table and the last
    point of each curve are made of them again: the run may have been killed before it could write them. Of epochs
    before these (an older checkpoint holds none) the lines are kept, of later ones dropped.
    """

    def __init__(
        self, folder: Path, options: Mapping[str, Any], after: int | None = None, rows: Sequence[Row] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table = folder / TABLE
        first = rows[0]["epoch"] if rows else (after or 0) + 1
        self.earlier = self._read(first)
        write_text(folder / OPTIONS, json.dumps(dict(options), indent=1) + "\n")
        write_text(folder / ENVIRONMENT, json.dumps(environment(), indent=1) + "\n")
        self.board = Board(folder)
        if rows:
            self.add(rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Writes the table of these rows, and a point of each curve for the last."""
        lines = self.earlier + [{name: _written(value) for name, value in row.items()} for row in rows]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for line in lines for name in line)))
        writer.writeheader()
        writer.writerows(lines)
        write_text(self.table, text.getvalue())
        last = {name.replace("_", "/", 1): value for name, value in rows[-1].items() if value is not None}
        epoch = last.pop("epoch")
        self.board.add(epoch, last)

    def _read(self, first: int) -> list[dict[str, str]]:
        """The table's lines of the epochs before `first`."""
        if first == 1 or not self.table.is_file():
            return []
        try:
            with self.table.open(newline="", encoding="utf-8") as file:
                return [line for line in csv.DictReader(file) if int(line["epoch"]) < first]
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(f"{self.table}: not the table of a run (an epoch a line): move it away") from error


def _written(value: Any) -> str:
    """As it stands in the table."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"
