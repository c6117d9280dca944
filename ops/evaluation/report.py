"""What a test leaves behind: the confusion matrix as a picture and a table, the result, every video's scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ops.errors import InputError


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """The result as JSON."""
    _write(path, lambda file: file.write((json.dumps(dict(result), indent=1) + "\n").encode()))


def write_scores(
    path: Path, paths: Sequence[str], labels: np.ndarray, scores: np.ndarray, categories: Sequence[str]
) -> None:
    """An `.npz` with `paths` (N,), `labels` (N,), `scores` (N, K) and `categories` (K,); holds no objects."""
    arrays: dict[str, Any] = {"paths": np.array(paths), "labels": labels, "scores": scores}
    _write(path, lambda file: np.savez(file, **arrays, categories=np.array(categories)))


def write_confusion(folder: Path, confusion: np.ndarray, categories: Sequence[str]) -> None:
    """`confusion_matrix.csv` and `.png` of counts (K, K): a row is a true class, a column a predicted one."""

    def table(file: IO[bytes]) -> None:
        lines = _CsvLines(file)
        csv.writer(lines).writerows([["true \\ predicted", *categories]])
        csv.writer(lines).writerows([name, *row] for name, row in zip(categories, confusion.tolist(), strict=True))

    _write(folder / "confusion_matrix.csv", table)
    figure = _draw(confusion, categories)
    _write(folder / "confusion_matrix.png", lambda file: figure.savefig(file, format="png", dpi=100))


def _draw(confusion: np.ndarray, categories: Sequence[str]) -> Figure:
    K = len(categories)
    side = min(4 + 0.35 * K, 16)
    figure = Figure(figsize=(side + 1.5, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(picture, ax=axes, label="% of the true class", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    if K <= 40:  # more names or numbers would not be readable
        axes.set_xticks(range(K), categories, rotation=90, fontsize=8)
        axes.set_yticks(range(K), categories, fontsize=8)
        for row, column in np.argwhere(confusion > 0):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, confusion[row, column], ha="center", va="center", fontsize=7, color=colour)
    return figure


class _CsvLines:
    """Text for csv.writer, on a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def write(self, text: str) -> None:
        self.file.write(text.encode())


def _write(path: Path, fill: Callable[[IO[bytes]], Any]) -> None:
    """Writes through a temporary file beside `path`, so that nothing half-written has its name."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            fill(file)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} could not be written: {error}") from error
