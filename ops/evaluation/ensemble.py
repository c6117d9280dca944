"""Predictions of one network or of several together, from networks or from files of scores.

Legend: `N` videos, `K` classes, `M` members.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ops.errors import InputError


@dataclass(frozen=True)
class Predictions:
    """Scores (N, K) of the videos at `paths`, their labels (N,), -1 where unknown, and what could not be read.

    `source` names them in messages. `softmax`: the scores are probabilities.
    """

    source: str
    paths: list[str]
    labels: torch.Tensor
    scores: torch.Tensor
    softmax: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """The labels are known (they are for all videos, or for none)."""
        return bool((self.labels >= 0).all())

    def as_probabilities(self) -> Predictions:
        """Each video's scores through softmax, unless they have been already."""
        return self if self.softmax else replace(self, scores=self.scores.softmax(dim=1), softmax=True)

    def first(self, count: int) -> Predictions:
        """Those of the first `count` videos."""
        return replace(self, paths=self.paths[:count], labels=self.labels[:count], scores=self.scores[:count])

    def of_videos(self, paths: list[str]) -> Predictions:
        """Those of the videos at `paths`, in that order. InputError if a video stands twice and the order differs."""
        if self.paths == paths:
            return self
        place = {path: i for i, path in enumerate(self.paths)}
        if len(place) < len(self.paths):
            raise InputError(f"{self.source} names a video twice: an ensemble's lists must then have the same order")
        order = torch.tensor([place[path] for path in paths], dtype=torch.int64)
        return replace(self, paths=paths, labels=self.labels[order], scores=self.scores[order])


def combine(members: Sequence[Predictions], coefficients: Sequence[float]) -> Predictions:
    """The weighted sum of the members' scores, divided by M. Videos are matched by their paths.

    A video that one member could not read is left out. Raises InputError where members predict other videos,
    labels or classes, or where some scores are probabilities and some are not.
    """
    first = members[0]
    left_out = {path for member in members for path in member.left_out}
    paths = [path for path in first.paths if path not in left_out]
    for member in members[1:]:
        _refuse_other_videos(first, member, left_out)
        if member.softmax != first.softmax:
            which = member if member.softmax else first
            raise InputError(f"{which.source} holds probabilities, others logits: give --softmax, to have all alike")
        if member.scores.shape[1] != first.scores.shape[1]:
            counts = f"{member.scores.shape[1]} classes and {first.source} {first.scores.shape[1]}"
            raise InputError(f"{member.source} has {counts}: they are not of one data set")
    if not paths:
        raise InputError("there is no video that all members could read")
    aligned = [member.of_videos(paths) for member in members]
    for member in aligned[1:]:
        if differ := [p for p, a, b in zip(paths, aligned[0].labels, member.labels, strict=True) if a != b]:
            raise InputError(
                f"{member.source} and {first.source} give {differ[0]} different labels ({len(differ)} such)"
            )
    weighted = [coefficient * member.scores for coefficient, member in zip(coefficients, aligned, strict=True)]
    scores = torch.stack(weighted).sum(dim=0) / len(members)  # (N, K)
    return replace(aligned[0], source="the ensemble", scores=scores, left_out=tuple(sorted(left_out)))


def _refuse_other_videos(first: Predictions, member: Predictions, left_out: set[str]) -> None:
    for a, b in ((first, member), (member, first)):
        if missing := sorted(set(a.paths) - set(b.paths) - left_out):
            raise InputError(
                f"{b.source} has no scores of {missing[0]} ({len(missing)} such), which {a.source} has: "
                "an ensemble's lists must name the same videos"
            )


def read_scores(path: Path, categories: Sequence[str]) -> Predictions:
    """What `report.write_scores` wrote, whose classes must be `categories`. InputError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = ("paths", "labels", "scores", "categories", "softmax", "left_out")
            paths, labels, scores, theirs, softmax, left_out = (file[name] for name in names)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; --save_scores writes one") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not scores that --save_scores wrote, or damaged ({error})") from error
    if scores.ndim != 2 or scores.shape != (len(paths), len(theirs)) or labels.shape != (len(paths),):
        raise InputError(f"{path}: damaged: {len(paths)} videos, {len(theirs)} classes, scores {scores.shape}")
    if theirs.tolist() != list(categories):
        differ = next((f"{a!r}, not {b!r}" for a, b in zip(theirs, categories, strict=False) if a != b), "their number")
        raise InputError(f"{path}: scores of other classes than this data set's (first difference: {differ})")
    values = (torch.from_numpy(labels), torch.from_numpy(scores))
    return Predictions(str(path), paths.tolist(), *values, bool(softmax), tuple(left_out.tolist()))
