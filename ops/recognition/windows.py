"""A long video as windows of time, each made into the clips of a network.

A clip's frames are those that are *shown at* its times, so that the rate of the frames, constant or variable, changes
nothing. The video is decoded once, from start to end. A frame that some window wants is turned, scaled and cropped at
once, the others are only decoded, so that the memory does not grow with the video's length: of a window that is open,
only the crops are kept.

Legend: V views of a window (clips × crops), T segments, L frames a segment, c colours, C = c·L, H W pixels.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch

from ops.data.clips import ClipOptions, assembled, evaluation_crops
from ops.data.sampling import places_in_parts
from ops.data.upright import Upright
from ops.errors import InputError
from ops.recognition.cuts import cuts_of
from ops.recognition.frame_times import SLACK, TimedFrames, Timing, with_ends


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end`, in seconds since the video's first frame. shot: the number of the one that it is of."""

    start: float
    end: float
    shot: int = 0


def planned(start: float, end: float, length: float, stride: float, shot: int = 0) -> Iterator[Window]:
    """Of a video, or a shot, from `start` to `end`: every `stride` a window of `length`, and a last one up to the end.

    One that is shorter than `length` is one window. All in seconds; made when asked for, as there can be many.
    """
    room = end - start - length + SLACK
    regular = int(room // stride) + 1 if room >= 0 else 0
    for number in range(regular):
        yield Window(start + number * stride, start + number * stride + length, shot)
    covered = start + ((regular - 1) * stride + length if regular else 0.0)
    if end > covered + SLACK:
        yield Window(max(start, end - length), end, shot)


class VideoWindows:
    """A video's windows in order, each with its clips, uint8 `(V, T, C, H, W)`.

    T segments lie in a window as they do in a video that is tested: `uniform` shows the frames at the middles of T
    equal parts of its time, `twice` also those at the parts' starts. With L > 1, L consecutive frames follow from
    there; then the parts are of the time less L - 1 frames, and beyond the video's end the last frame repeats.

    at_cuts: no window goes beyond a cut (see `cuts`); the shots between are planned each for itself. The video is
    decoded once more for that.

    seconds, frames, damage: known once all windows have been given out. Of a damaged video these are the windows of
    what comes before the damage. Raises DamageError if there is no frame, and InputError for dense sampling and flow.
    """

    def __init__(self, video: Path, options: ClipOptions, length: float, stride: float, at_cuts: bool = False) -> None:
        if options.test_mode == "dense":
            raise InputError(
                "--protocol dense: its clips are of 64 frames whatever the rate, and windows are of time; "
                "with --window give efficient or accurate"
            )
        if options.modality == "Flow":
            raise InputError(
                f"{video}: the network looks at optical flow, which is not in a video file, and windows are made of "
                "video files only"
            )
        self.video, self.options, self.length, self.stride, self.at_cuts = video, options, length, stride, at_cuts
        self.cuts: list[float] = []
        self.timing = Timing(0.0, 0.0)
        self.seconds, self.frames, self.damage = 0.0, 0, ""

    def __iter__(self) -> Iterator[tuple[Window, torch.Tensor]]:
        """Decodes the video; once more only where its end is not where its packets say."""
        self.timing = Timing.of(self.video)
        if self.at_cuts:
            self.cuts, seconds = cuts_of(self.video, self.timing)
            self.timing = replace(self.timing, seconds=seconds)
        given = 0
        for each in self._given(self._planned(self.timing.seconds)):
            given += 1
            yield each
        if abs(self.seconds - self.timing.seconds) > SLACK:
            yield from self._given(islice(self._planned(self.seconds), given, None))

    def _planned(self, seconds: float) -> Iterator[Window]:
        for shot, (start, end) in enumerate(pairwise([0.0, *self.cuts, seconds])):
            yield from planned(start, end, self.length, self.stride, shot)

    def _given(self, windows: Iterator[Window]) -> Iterator[tuple[Window, torch.Tensor]]:
        """Those that lie in what is decoded. If the video does not end where the last one does, that is not given."""
        decoded = TimedFrames(self.video, self.timing)
        waiting = _Waiting(windows, self.times, self.options.frames_per_segment)
        upright = None
        for frame, until in with_ends(decoded):
            upright = upright or Upright((frame.width, frame.height))
            waiting.begin(min(until, decoded.seconds))
            if waiting.wants(until):
                waiting.put(self._crops(upright(frame)))
            for filled in waiting.filled(min(until, decoded.seconds), last_too=False):
                yield self._clips(filled)
        waiting.repeat()
        self.seconds, self.frames, self.damage = decoded.seconds, decoded.count, decoded.damage
        for filled in waiting.filled(decoded.seconds, last_too=True):
            yield self._clips(filled)

    def times(self, window: Window) -> list[float]:
        """When the first frames of all segments of all clips are shown, clip by clip."""
        T, L = self.options.segments, self.options.frames_per_segment
        room = max(window.end - window.start - (L - 1) * self.timing.period, 0.0)
        clips = places_in_parts(self.options.test_mode, self.options.sparse_clips)
        return [window.start + room * (t * shifts + shift) / (T * shifts) for shift, shifts in clips for t in range(T)]

    def _crops(self, picture: Any) -> torch.Tensor:
        """Of a frame `(h, w, 3)`: `(crops, H, W, 3)`."""
        group = torch.from_numpy(picture).permute(2, 0, 1)[None]  # (1, 3, h, w)
        return evaluation_crops(group, self.options)[:, 0].permute(0, 2, 3, 1).contiguous()

    def _clips(self, filled: _Filling) -> tuple[Window, torch.Tensor]:
        crops = [each for each in filled.crops if each is not None]  # that is, all
        order = torch.arange(len(crops)).view(-1, self.options.segments, self.options.frames_per_segment)
        order = order.flip(1, 2) if self.options.reverse_time else order
        group = torch.stack(crops, dim=1).permute(0, 1, 4, 2, 3)  # (crops, clips·T·L, c, H, W), channels last
        return filled.window, assembled(group, order.flatten(), self.options)


class _Filling:
    """A window that waits for `count` frames: each one's crops, uint8 `(crops, H, W, c)`, in the order of its clips."""

    def __init__(self, window: Window, last: bool, count: int) -> None:
        self.window, self.last, self.missing = window, last, count
        self.crops: list[torch.Tensor | None] = [None] * count

    def put(self, place: int, crops: torch.Tensor) -> None:
        self.crops[place] = crops
        self.missing -= 1


class _Waiting:
    """The windows that have begun, and which frames they want. `times`: of a window's segments, each of `L` frames."""

    def __init__(self, windows: Iterator[Window], times: Callable[[Window], list[float]], L: int) -> None:
        self.windows, self.times, self.L = windows, times, L
        self.coming = next(windows, None)
        self.begun: deque[_Filling] = deque()
        self.wanted: list[tuple[float, int, int, _Filling]] = []  # a heap: time, number of the window, place in it
        self.running: list[tuple[_Filling, int, int]] = []  # place of the next frame, and how many are still to come
        self.number = 0
        self.latest = torch.empty(0)

    def begin(self, before: float) -> None:
        """Those that start before that time."""
        while self.coming is not None and self.coming.start < before:
            window, self.coming = self.coming, next(self.windows, None)
            times = self.times(window)
            self.begun.append(_Filling(window, self.coming is None, len(times) * self.L))
            for segment, time in enumerate(times):
                heapq.heappush(self.wanted, (time, self.number, segment * self.L, self.begun[-1]))
            self.number += 1

    def wants(self, until: float) -> bool:
        """Whether some want the frame that is shown up to that time."""
        while self.wanted and self.wanted[0][0] + SLACK < until:
            _, _, place, filling = heapq.heappop(self.wanted)
            self.running.append((filling, place, self.L))
        return bool(self.running)

    def put(self, crops: torch.Tensor) -> None:
        """That frame's, for those."""
        self.latest = crops
        for filling, place, _ in self.running:
            filling.put(place, crops)
        self.running = [(filling, place + 1, left - 1) for filling, place, left in self.running if left > 1]

    def repeat(self) -> None:
        """No frame follows: the last one stands for those that are still to come."""
        while self.running:
            self.put(self.latest)

    def filled(self, until: float, last_too: bool) -> Iterator[_Filling]:
        """Those that end before that time; the very last of all only if it ends just then, and is asked for."""
        while self.begun and not self.begun[0].missing and self.begun[0].window.end <= until + SLACK:
            if self.begun[0].last and not (last_too and self.begun[0].window.end >= until - SLACK):
                return
            yield self.begun.popleft()
