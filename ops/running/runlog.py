"""What a run leaves behind: `log/<name>/` with its options, environment, a CSV line an epoch, and TensorBoard."""

from __future__ import annotations

import csv
import io
import json
import logging
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboardX import SummaryWriter
from tqdm import tqdm

from ops.files import atomic_write

logger = logging.getLogger(__name__)


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

    def __init__(self, what: str, total: int, every: int = 20) -> None:
        self.what, self.total, self.every = what, total, every
        is_main = logging.getLogger().isEnabledFor(logging.INFO)
        self.bar = tqdm(total=total, desc=what, leave=False, disable=not (is_main and sys.stderr.isatty()))

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


class RunLog:
    """The log folder of one run. With `after`, a resumed run's finished epochs, later lines are dropped first."""

    def __init__(self, folder: Path, options: Mapping[str, Any], after: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table = folder / "log.csv"
        self.rows = self._read(after) if after is not None else []
        (folder / "options.json").write_text(json.dumps(dict(options), indent=1) + "\n", encoding="utf-8")
        (folder / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n", encoding="utf-8")
        if after is None:
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
        self.board = SummaryWriter(str(folder), purge_step=None if after is None else after + 1)

    def add(self, epoch: int, rate: float, trained: Mapping[str, float], checked: Mapping[str, float] | None) -> None:
        """A line of the table and a point of each curve: the learning rate, the two passes' statistics."""
        values: dict[str, float | None] = {"lr": rate, **{f"train_{k}": v for k, v in trained.items()}}
        values |= {f"val_{k}": checked[k] if checked else None for k in trained}
        row = {"epoch": str(epoch)} | {k: "" if v is None else f"{v:.6g}" for k, v in values.items()}
        self.rows.append(row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(row))
        writer.writeheader()
        writer.writerows(self.rows)
        with atomic_write(self.table) as file:
            file.write(text.getvalue().encode())
        for name, value in values.items():
            if value is not None:
                self.board.add_scalar(name.replace("_", "/", 1), value, epoch)
        self.board.flush()

    def _read(self, after: int) -> list[dict[str, str]]:
        if not self.table.is_file():
            return []
        with self.table.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if int(row["epoch"]) <= after]
