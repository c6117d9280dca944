"""What a test made of each video, in a table that people, spreadsheets and a comparison of two tests read.

Legend: `N` videos, `K` classes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ops.errors import InputError
from ops.evaluation.ensemble import Predictions, named_scores
from ops.files import read_regular, write_text
from ops.running.engine import ranks
from ops.tables import as_csv, read_csv

MOST_BYTES = 512 << 20  # of it: two million videos
VIDEOS = "videos.csv"  # in a report's folder
COLUMNS = ("path", "true", "predicted", "probability", "rank")
LOWEST = 1_000_000  # rank: of as many classes as nobody has


@dataclass(frozen=True)
class Outcomes:
    """Of N videos: paths, true and predicted class by name, the latter's probability `(N,)`, and the true one's rank.

    rank: `(N,)` int, 1 where the video is right, up to 5 where it is among the top five, and so on. left_out: paths of
    videos that could not be read. source: names them in messages.
    """

    source: str
    paths: list[str]
    true: list[str]
    predicted: list[str]
    probability: np.ndarray
    rank: np.ndarray
    left_out: tuple[str, ...] = ()

    @property
    def right(self) -> np.ndarray:
        """Bool `(N,)`."""
        return self.rank == 1

    @classmethod
    def of(cls, predictions: Predictions, probabilities: torch.Tensor, categories: Sequence[str]) -> Outcomes:
        """Of labelled predictions, and the probabilities (N, K) that their scores stand for.

        Of classes with the same score the first is the predicted one, and ranks before the others, as in the metrics.
        """
        scores, labels = predictions.scores, predictions.labels
        predicted = scores.argmax(dim=1)
        return cls(
            source=predictions.source,
            paths=predictions.paths,
            true=[categories[label] for label in labels.tolist()],
            predicted=[categories[label] for label in predicted.tolist()],
            probability=probabilities.gather(1, predicted[:, None])[:, 0].numpy(),
            rank=ranks(scores, labels).numpy(),
            left_out=predictions.left_out,
        )


def write_outcomes(path: Path, outcomes: Outcomes) -> None:
    """A row a video, in the order of the test; of one left out the path alone."""
    sure = (f"{value:.4f}" for value in outcomes.probability.tolist())
    judged = zip(outcomes.paths, outcomes.true, outcomes.predicted, sure, outcomes.rank.tolist(), strict=True)
    write_text(path, as_csv([COLUMNS, *judged, *((path, "", "", "", "") for path in outcomes.left_out)]))


def read_outcomes(path: Path) -> Outcomes:
    """What a test left behind: a report's folder, its `videos.csv`, or the scores of --save_scores (`.npz`).

    Raises InputError for anything else.
    """
    if path.suffix == ".npz":
        return _of_scores(path)
    file = path / VIDEOS if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise InputError(f"{path}: no {VIDEOS} in it: expected a folder that test_models.py --report DIR wrote")
    try:
        return _of_rows(str(path), read_csv(read_regular(file, MOST_BYTES).decode("utf-8-sig")))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; expected a report's folder (test_models.py --report DIR), or scores (--save_scores)"
        ) from None
    except (ValueError, csv.Error, OSError) as error:
        raise InputError(f"{file}: not the table of a test's videos, or damaged ({error})") from error


def _of_scores(path: Path) -> Outcomes:
    predictions, categories = named_scores(path)
    if not predictions.labelled:
        raise InputError(f"{path}: its videos have no labels, and so none is right or wrong")
    return Outcomes.of(predictions, predictions.as_probabilities().scores, categories)


def _of_rows(source: str, rows: Sequence[Sequence[str]]) -> Outcomes:
    """Raises ValueError that names the row."""
    if not rows or tuple(rows[0]) != COLUMNS:
        raise ValueError(f"row 1: expected {','.join(COLUMNS)}")
    judged: list[tuple[str, str, str, float, int]] = []
    left_out = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(COLUMNS):
            raise ValueError(f"row {number}: {len(row)} columns, expected {len(COLUMNS)}")
        path, true, predicted, probability, rank = row
        if not true:
            left_out.append(path)
            continue
        sure, place = float(probability), int(rank)
        if not (0 <= sure <= 1 and 1 <= place <= LOWEST and (place == 1) == (true == predicted)):
            raise ValueError(f"row {number}: {','.join(row[1:])} can't be an outcome")
        judged.append((path, true, predicted, sure, place))
    if not judged:
        raise ValueError("no video in it")
    paths, true_names, predicted_names, sures, places = (list(column) for column in zip(*judged, strict=True))
    return Outcomes(source, paths, true_names, predicted_names, np.array(sures), np.array(places), tuple(left_out))
