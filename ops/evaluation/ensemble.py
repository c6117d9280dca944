"""Predictions of one network or of several together, from networks or from files of scores.

Legend: `N` videos, `K` classes, `M` members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from archs.zip_records import check_records
from ops.errors import InputError
from ops.files import open_regular

ARRAYS = ("paths", "labels", "scores", "categories", "softmax", "left_out")  # in a file of scores
SHOWN = 5  # videos, of many in a message
Names = Callable[[Sequence[str]], list[str]]  # what videos are known by, of their paths as a list has them


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

    def known_by(self, names: Names) -> Predictions:
        """The same, the videos' names in place of their paths."""
        known = names([*self.paths, *self.left_out])
        return replace(self, paths=known[: len(self.paths)], left_out=tuple(known[len(self.paths) :]))

    def of_videos(self, paths: list[str]) -> Predictions:
        """Those of the videos at `paths`, in that order. InputError if a video stands twice and the order differs."""
        wanted = set(paths)
        places = [i for i, path in enumerate(self.paths) if path in wanted]
        if [self.paths[i] for i in places] != paths:
            place = {self.paths[i]: i for i in places}
            if len(place) < len(places):
                raise InputError(
                    f"{self.source} names a video twice: an ensemble's lists must then have the same order"
                )
            places = [place[path] for path in paths]
        order = torch.tensor(places, dtype=torch.int64)
        return replace(self, paths=paths, labels=self.labels[order], scores=self.scores[order])


def expected(source: str, paths: list[str], labels: torch.Tensor, classes: int, softmax: bool) -> Predictions:
    """Predictions before there are any: the scores have a shape and no content (torch's meta device)."""
    return Predictions(source, paths, labels, torch.empty(len(paths), classes, device="meta"), softmax)


def refuse_what_cannot_be_combined(members: Sequence[Predictions], names: Names = list) -> None:
    """Raises the InputError that `combine` would, of members some of whom are only `expected`."""
    bare = [replace(member, scores=member.scores.to("meta")) for member in members]
    combine(bare, [1.0] * len(bare), names)


def combine(members: Sequence[Predictions], coefficients: Sequence[float], names: Names = list) -> Predictions:
    """The weighted sum of the members' scores, divided by M. Videos are matched by their `names`.

    A video that one member could not read is left out; the rest is in the first member's order, under its paths.
    Raises InputError where members predict other videos, labels or classes, or where some scores are probabilities and
    some are not, and where a score is infinite or no number.
    """
    listed, members = members, [member.known_by(names) for member in members]
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
        raise InputError(f"there is no video that all members could read: one or another lacks {len(left_out)}")
    for member in members:
        if not member.scores.is_meta:
            refuse_no_numbers(member.source, member.paths, member.scores)
    aligned = [member.of_videos(paths) for member in members]
    for member in aligned[1:]:
        if differ := (aligned[0].labels != member.labels).nonzero().flatten().tolist():
            a, b = int(member.labels[differ[0]]), int(aligned[0].labels[differ[0]])
            raise InputError(
                f"{member.source} and {first.source} give {paths[differ[0]]} different labels, {a} and {b} "
                f"({len(differ)} such; -1: none)"
            )
    weighted = [coefficient * member.scores for coefficient, member in zip(coefficients, aligned, strict=True)]
    scores = torch.stack(weighted).sum(dim=0) / len(members)  # (N, K)
    if not scores.is_meta:  # of finite scores, coefficients can make others
        refuse_no_numbers("the ensemble", paths, scores)
    path_of: dict[str, str] = {}
    for member, known in zip(reversed(listed), reversed(members), strict=True):  # the first has the last word
        path_of |= zip((*known.paths, *known.left_out), (*member.paths, *member.left_out), strict=True)
    kept, lost = [path_of[name] for name in paths], tuple(sorted(path_of[name] for name in left_out))
    return replace(aligned[0], source="the ensemble", paths=kept, scores=scores, left_out=lost)


def refuse_no_numbers(source: str, paths: Sequence[str], scores: torch.Tensor) -> None:
    """InputError where some of the scores (N, K) of the videos at `paths` are infinite or no numbers."""
    bad = (~scores.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad:
        some = ", ".join(paths[place] for place in bad[:SHOWN]) + ", …" * (len(bad) > SHOWN)
        raise InputError(
            f"{source}: scores of {len(bad)} of {len(paths)} videos are infinite or no numbers (NaN), which says "
            f"nothing of them: {some}. A training that has diverged gives such, or --amp fp16, where --amp off helps"
        )


def _refuse_other_videos(first: Predictions, member: Predictions, left_out: set[str]) -> None:
    for a, b in ((first, member), (member, first)):
        if missing := sorted(set(a.paths) - set(b.paths) - left_out):
            raise InputError(
                f"{b.source} has no scores of {missing[0]} ({len(missing)} such), which {a.source} has: "
                "an ensemble's lists must name the same videos"
            )


def read_scores(path: Path, categories: Sequence[str]) -> Predictions:
    """What `results.write_scores` wrote, whose classes must be `categories`. InputError for any other file."""
    predictions, given = named_scores(path)
    if given != list(categories):
        differ = next((f"{a!r}, not {b!r}" for a, b in zip(given, categories, strict=False) if a != b), "their number")
        raise InputError(f"{path}: scores of other classes than this data set's (first difference: {differ})")
    return predictions


def named_scores(path: Path) -> tuple[Predictions, list[str]]:
    """What `results.write_scores` wrote, and the class names in it. InputError for any other file."""
    try:
        arrays = _arrays(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; --save_scores writes one") from None
    except Exception as error:  # NumPy's, of a damaged file, are of many kinds
        raise InputError(f"{path}: not scores that --save_scores wrote, or damaged ({error})") from error
    paths, labels, scores, theirs, softmax, left_out = arrays
    words = all(array.ndim == 1 and (array.dtype.kind == "U" or not len(array)) for array in (paths, theirs, left_out))
    right = words and scores.dtype.kind == "f" and scores.shape == (len(paths), len(theirs)) and softmax.shape == ()
    if not right or not len(theirs) or labels.dtype.kind != "i" or labels.shape != paths.shape or not len(paths):
        shapes = ", ".join(f"{array.dtype}{array.shape}" for array in (paths, labels, scores, theirs))
        raise InputError(f"{path}: damaged: its paths, labels, scores and classes do not go together: {shapes}")
    if not (labels.min() >= -1 and labels.max() < len(theirs)):
        raise InputError(f"{path}: damaged: labels from {labels.min()} to {labels.max()} of {len(theirs)} classes")
    kind = np.float64 if scores.dtype.itemsize > 4 else np.float32  # of any byte order
    values = (torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(scores.astype(kind)))
    refuse_no_numbers(str(path), paths.tolist(), values[1])
    return Predictions(str(path), paths.tolist(), *values, bool(softmax), tuple(left_out.tolist())), theirs.tolist()


def _arrays(path: Path) -> list[np.ndarray]:
    """Those in a file of scores. ValueError for more in it than its size allows; NumPy's for whatever else is wrong."""
    with open_regular(path) as opened:
        sizes = check_records(opened)
        with np.load(opened, allow_pickle=False) as file:
            arrays = [file[name] for name in ARRAYS]
    if not all(isinstance(array, np.ndarray) and array.size <= max(sizes.values()) for array in arrays):
        raise ValueError("arrays of other sizes than are in it")
    return arrays
