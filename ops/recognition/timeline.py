"""What happens when in a long video: from the probabilities of its windows to segments of one class each.

Legend: `n` windows, `K` classes. Times are seconds since the video's first frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ops.data.clips import ClipOptions
from ops.data.videofile import DamageError
from ops.errors import InputError
from ops.recognition.ahead import ahead
from ops.recognition.contract import Contract
from ops.recognition.timeline_options import TimelineOptions
from ops.recognition.windows import VideoWindows, Window

OnWindow = Callable[[float, float], None]
SURENESS = 4
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
class Segment:
    """One class from `start` to `end`. probability: the mean of the smoothed ones in there."""

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
        entry: dict[str, Any] = {
            "path": self.path,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "views": self.views,
            "timeline": self.options.described(),
            "segments": [_as_json(s.start, s.end, s.label, s.name, s.probability) for s in self.segments],
            "windows": [],
        }
        if self.damage:
            entry["damage"] = self.damage
        for window, values in zip(self.windows, self.probabilities, strict=True):
            best = int(values.argmax())
            shown = _as_json(window.start, window.end, best, self.classes[best], float(values[best]))
            more = {"probabilities": [round(value, 6) for value in values.tolist()]} if scores else {}
            entry["windows"].append(shown | more)
        return entry


def timeline(
    recognizer: Scoring,
    video: Path,
    options: TimelineOptions,
    path: str | None = None,
    on_window: OnWindow = lambda *_: None,
) -> Timeline:
    """Of a video file, which results call `path`; its windows are decoded in a thread while others are computed.

    Of a damaged one, of what comes before the damage. on_window: told how many seconds are done, and of how many.
    Raises InputError for a file that is no video, or cannot be used.
    """
    try:
        windows = VideoWindows(video, recognizer.options, options.window, options.every, options.cuts)
        kept: list[Window] = []
        found: list[torch.Tensor] = []
        views = 0
        for batch in _batches(ahead(windows), recognizer.batch_size):
            kept += [window for window, _ in batch]
            found.append(recognizer.probabilities(recognizer.scores([clips for _, clips in batch])))
            views += sum(len(clips) for _, clips in batch)
            on_window(kept[-1].end, windows.timing.seconds)
    except DamageError as damage:
        raise InputError(f"{path or video}: {damage}") from None
    probabilities = torch.cat(found).double().cpu().numpy()
    segments = segments_of(probabilities, kept, recognizer.contract.classes, options)
    facts = (windows.frames, windows.seconds, windows.damage, views)
    return Timeline(
        path or str(video), options, recognizer.contract.classes, *facts, tuple(kept), probabilities, tuple(segments)
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
    smooth = [smoothed(part, options.around) for part in parts]
    labels = np.concatenate([hysteresis(part, options.enter, options.stay) for part in smooth])
    means = np.concatenate(smooth)
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
        Segment(float(bounds[a]), float(bounds[b]), label, classes[label], float(means[a:b, label].mean()))
        for label, a, b in runs
        if label != NONE
    ]


def smoothed(probabilities: np.ndarray, around: int) -> np.ndarray:
    """Averaged over `around` neighbours on each side, each weighed by how sure it is: SURENESS-th power of its largest.

    A window over a change sees a bit of either class, and is less sure than those that see one.
    """
    weights = np.maximum(probabilities.max(axis=1, keepdims=True), 1e-3) ** SURENESS  # never 0, to divide by
    return moving_average(probabilities * weights, around) / moving_average(weights, around)


def moving_average(values: np.ndarray, around: int) -> np.ndarray:
    """Of `(n, K)`, each with `around` neighbours on either side; fewer at the ends."""
    sums = np.concatenate((np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)))
    places = np.arange(len(values))
    starts, ends = np.maximum(places - around, 0), np.minimum(places + around + 1, len(values))
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


def _as_json(start: float, end: float, label: int, name: str, probability: float) -> dict[str, Any]:
    times = {"start": round(start, 3), "end": round(end, 3)}
    return {**times, "label": label, "class": name, "probability": round(probability, 6)}


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
