"""What a test leaves behind: the confusion matrix as a picture and a table, the result, every video's scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ops.errors import InputError
from ops.evaluation.drawing import as_written, save_picture
from ops.evaluation.ensemble import Predictions
from ops.files import atomic_write, write_text
from ops.tables import as_csv


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """The result as JSON."""
    with atomic_write(path) as file:
        file.write((json.dumps(dict(result), indent=1) + "\n").encode())


def write_scores(path: Path, predictions: Predictions, categories: Sequence[str]) -> None:
    """An `.npz` that `ensemble.read_scores` reads: `paths` (N,), `labels` (N,), `scores` (N, K), `categories` (K,).

    `softmax` says whether the scores are probabilities, `left_out` which videos were unreadable. No objects.
    """
    arrays: dict[str, Any] = {
        "paths": np.array(predictions.paths),
        "labels": predictions.labels.numpy(),
        "scores": predictions.scores.numpy(),
        "categories": np.array(categories),
        "softmax": np.array(predictions.softmax),
        "left_out": np.array(predictions.left_out, dtype=str),
    }
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def write_confusion(folder: Path, confusion: np.ndarray, categories: Sequence[str]) -> None:
    """`confusion_matrix.csv`, then `.png` of counts (K, K): a row is a true class, a column a predicted one."""
    rows = zip(categories, confusion.tolist(), strict=True)
    table = [["true \\ predicted", *categories], *([name, *row] for name, row in rows)]
    write_text(folder / "confusion_matrix.csv", as_csv(table))
    picture = folder / "confusion_matrix.png"
    try:
        save_picture(_draw(confusion, categories), picture, dpi=100)
    except Exception as error:  # matplotlib's are of many kinds
        raise InputError(f"{picture} cannot be drawn ({error}); its table and all other results are written") from error


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
        names = [as_written(name) for name in categories]
        axes.set_xticks(range(K), names, rotation=90, fontsize=8)
        axes.set_yticks(range(K), names, fontsize=8)
        for row, column in np.argwhere(confusion > 0):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, confusion[row, column], ha="center", va="center", fontsize=7, color=colour)
    return figure


def refuse_in_challenge(names: Iterable[str]) -> None:
    """InputError for a class or a video whose name would split its line in `write_challenge`'s file."""
    if unfit := next((name for name in names if ";" in name or len(name.splitlines()) > 1), None):
        raise InputError(f"--csv_file: {unfit!r}: the challenge's format has no place for ; or a line break in a name")


def write_challenge(path: Path, paths: Sequence[str], scores: np.ndarray, categories: Sequence[str], top: int) -> None:
    """Predictions as the Something-Something challenges want them, a line a video.

    `top` 1: `name;category` (V1, Jester). `top` 5: `name;c1;…;c5` with class indices (V2).
    """
    best = np.argsort(-scores, axis=1)[:, :top]  # (N, top)
    named = (([categories[c] for c in row] if top == 1 else map(str, row)) for row in best.tolist())
    with atomic_write(path) as file:
        file.write("".join(";".join([name, *row]) + "\n" for name, row in zip(paths, named, strict=True)).encode())
