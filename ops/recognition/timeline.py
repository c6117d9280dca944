"""What happens when in a long video: from the probabilities of its windows to segments of one class each.

Legend: `n` windows, `K` classes. Times are seconds since the video's first frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ops.data.clips import ClipOptions
from ops.data.videofile import DamageError
from ops.errors import InputError
from ops.recognition.ahead import ahead
from ops.recognition.contract import Contract
from ops.recognition.windows import VideoWindows, Window

NONE = -1  # the label of a time at which no class is probable enough


class Scoring(Protocol):
    """What a timeline needs of a `Recognizer`."""

    contract: Contract
    options: ClipOptions
    batch_size: int

    def scores(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `Recognizer.scores`."""

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """See `Recognizer.probabilities`."""


@dataclass(frozen=True)
class TimelineOptions:
    """How a video is cut into windows, and segments are made of their probabilities.

    window, stride: seconds; stride None: a quarter of the window. smooth: over how many windows the probabilities are
    averaged. A class begins once it is the most probable and at least `enter`. It goes on as long as it has at least
    `stay`, and no other that has `enter` is more probable. shortest: seconds; None: half of the window; shorter
    segments are dropped. cuts: windows end where a shot does (see `cuts`); then smoothing, too, keeps to a shot.
    Raises InputError that lists every number that cannot be.
    """

    window: float
    stride: float | None = None
    smooth: int = 3
    enter: float = 0.5
    stay: float = 0.3
    shortest: float | None = None
    cuts: bool = False

    def __post_init__(self) -> None:
        faults = []
        if not 0 < self.window < math.inf:
            faults.append(f"--window {self.window:g}: seconds, more than 0")
        elif not 0 < self.every <= self.window:
            faults.append(
                f"--stride {self.every:g}: seconds, more than 0 and at most --window {self.window:g}, or parts of the "
                "video would be in no window"
            )
        if self.smooth < 1:
            faults.append(f"--smooth {self.smooth}: windows, at least 1, which smooths nothing")
        if not 0 <= self.stay <= self.enter <= 1:
            faults.append(f"--stay {self.stay:g} --enter {self.enter:g}: probabilities, --stay not above --enter")
        if not 0 <= self.least < math.inf:
            faults.append(f"--shortest {self.least:g}: seconds, 0 or more")
        if faults:
            raise InputError("; ".join(faults))

    @property
    def every(self) -> float:
        """The stride in seconds."""
        return self.window / 4 if self.stride is None else self.stride

    @property
    def least(self) -> float:
        """How short a segment may be, in seconds."""
        return self.window / 2 if self.shortest is None else self.shortest


@dataclass(frozen=True)
class Segment:
    """One class from `start` to `end`. probability: its mean over the windows in there."""

    start: float
    end: float
    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Timeline:
    """Of one video. bounds: see `bounds_of`. probabilities: float64 `(n, K)`, of each window alone.

    frames, seconds, damage: see `VideoWindows`. views: how many the network has seen.
    """

    path: str
    options: TimelineOptions
    classes: tuple[str, ...]
    frames: int
    seconds: float
    damage: str
    views: int
    windows: tuple[Window, ...]
    probabilities: np.ndarray
    segments: tuple[Segment, ...]

    @property
    def bounds(self) -> np.ndarray:
        """See above."""
        return bounds_of(self.windows)

    def at(self, time: float) -> tuple[Segment | None, np.ndarray]:
        """The segment of a time, and the probabilities `(K,)` of the window that stands for it."""
        place = int(np.searchsorted(self.bounds[1:-1], time, side="right"))
        segment = next((each for each in self.segments if each.start <= time < each.end), None)
        return segment, self.probabilities[place]

    def to_json(self, scores: bool = False) -> dict[str, Any]:
        """As JSON has it; of each window the most probable class, with `scores` the probabilities of all."""
        best = self.probabilities.argmax(axis=1).tolist()
        windows = [
            {
                **asdict(window),
                **_class_as_json(label, self.classes[label], float(values[label])),
                **({"probabilities": values.tolist()} if scores else {}),
            }
            for window, label, values in zip(self.windows, best, self.probabilities, strict=True)
        ]
        segments = [
            {"start": each.start, "end": each.end, **_class_as_json(each.label, each.name, each.probability)}
            for each in self.segments
        ]
        facts = {"path": self.path, "frames": self.frames, "seconds": self.seconds, "views": self.views}
        damage = {"damage": self.damage} if self.damage else {}
        return {**facts, **damage, "segments": segments, "windows": windows}

    def rows(self) -> Iterator[dict[str, Any]]:
        """A line of CSV for each segment."""
        for each in self.to_json()["segments"]:
            yield {"path": self.path, **each}


def timeline(recognizer: Scoring, path: str | Path, options: TimelineOptions) -> Timeline:
    """Of a video file; its windows are decoded in a thread while others are computed.

    Of a damaged one, of what comes before the damage. Raises InputError for a file that is none.
    """
    try:
        windows = VideoWindows(Path(path), recognizer.options, options.window, options.every, options.cuts)
        kept: list[Window] = []
        found: list[torch.Tensor] = []
        views = 0
        for batch in _batches(ahead(windows), recognizer.batch_size):
            kept += [window for window, _ in batch]
            found.append(recognizer.probabilities(recognizer.scores([clips for _, clips in batch])))
            views += sum(len(clips) for _, clips in batch)
    except DamageError as damage:
        raise InputError(f"{path}: {damage}") from None
    probabilities = torch.cat(found).double().cpu().numpy()
    segments = segments_of(probabilities, kept, recognizer.contract.classes, options)
    facts = (windows.frames, windows.seconds, windows.damage, views)
    return Timeline(
        str(path), options, recognizer.contract.classes, *facts, tuple(kept), probabilities, tuple(segments)
    )


def bounds_of(windows: Sequence[Window]) -> np.ndarray:
    """`(n + 1,)`: window i stands for the time from `bounds[i]` to `bounds[i + 1]`, that nearest to its middle.

    From one shot to the next, the bound is the cut.
    """
    inner = [
        (a.start + a.end + b.start + b.end) / 4 if a.shot == b.shot else b.start for a, b in itertools.pairwise(windows)
    ]
    return np.array([windows[0].start, *inner, windows[-1].end])


def segments_of(
    probabilities: np.ndarray, windows: Sequence[Window], classes: Sequence[str], options: TimelineOptions
) -> list[Segment]:
    """From probabilities `(n, K)` of windows: smoothed and labelled within each shot, joined, short ones dropped.

    What follows a dropped one of the same class as what is before it is joined to that, the gap included.
    """
    shots = np.array([window.shot for window in windows])
    parts = np.split(probabilities, np.flatnonzero(np.diff(shots)) + 1)
    smooth = [moving_average(part, options.smooth) for part in parts]
    labels = np.concatenate([hysteresis(part, options.enter, options.stay) for part in smooth])
    bounds = bounds_of(windows)
    runs: list[list[int]] = []  # label, first window, window behind the last
    for label, places in itertools.groupby(range(len(labels)), key=lambda place: int(labels[place])):
        first, *others = places
        end = first + len(others) + 1
        if bounds[end] - bounds[first] < options.least and end - first < len(labels):
            continue
        if runs and runs[-1][0] == label:
            runs[-1][2] = end
        else:
            runs.append([label, first, end])
    return [
        Segment(float(bounds[a]), float(bounds[b]), label, classes[label], float(probabilities[a:b, label].mean()))
        for label, a, b in runs
        if label != NONE
    ]


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """Over `width` neighbours of `(n, K)`, itself in the middle (of an even width one more follows); fewer at ends."""
    sums = np.concatenate((np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)))
    places = np.arange(len(values))
    starts = np.maximum(places - (width - 1) // 2, 0)
    ends = np.minimum(places + width // 2 + 1, len(values))
    return (sums[ends] - sums[starts]) / (ends - starts)[:, None]


def hysteresis(probabilities: np.ndarray, enter: float, stay: float) -> np.ndarray:
    """The label, or NONE, at each of `n` times, from `(n, K)`: see `TimelineOptions`."""
    labels, label = [], NONE
    for values in probabilities:
        best = int(values.argmax())
        if values[best] >= enter and (label == NONE or values[best] > values[label]):
            label = best
        elif label != NONE and values[label] < stay:
            label = NONE
        labels.append(label)
    return np.array(labels)


def _class_as_json(label: int, name: str, probability: float) -> dict[str, Any]:
    return {"label": label, "class": name, "probability": probability}


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
