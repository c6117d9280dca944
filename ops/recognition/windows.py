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
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import torch

from ops.data.clips import ClipOptions, assembled, evaluation_crops
from ops.data.sampling import places_in_parts
from ops.data.upright import Upright
from ops.data.videofile import DamageError, frames, opened
from ops.errors import InputError

SLACK = 1e-3  # seconds: containers such as Matroska keep times in milliseconds, rounded
LONGEST_STILL = 3600.0  # seconds: a longer step from a frame to the next is no time, but a clock that leaps
# Containers that have a rate and no times: those that FFmpeg makes up for their frames are wrong where frames are
# stored in another order than they are shown.
UNTIMED_CONTAINERS = {"avi", "h264", "hevc", "m4v", "mpegvideo"}
USUAL_PERIOD = 1 / 25  # seconds, of a file that tells neither times nor a rate


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end`, in seconds since the video's first frame."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows of a video of `duration`: every `stride` one of `length`, and one more that ends where it ends.

    A video that is shorter than `length` is one window. All in seconds; made when asked for, as there can be many.
    """

    duration: float
    length: float
    stride: float

    @property
    def regular(self) -> int:
        """How many begin at a multiple of the stride."""
        room = self.duration - self.length + SLACK
        return int(room // self.stride) + 1 if room >= 0 else 0

    @property
    def count(self) -> int:
        """How many there are."""
        covered = (self.regular - 1) * self.stride + self.length if self.regular else 0.0
        return self.regular + (self.duration > covered + SLACK)

    def __getitem__(self, number: int) -> Window:
        if number < self.regular:
            return Window(number * self.stride, number * self.stride + self.length)
        return Window(max(0.0, self.duration - self.length), self.duration)


@dataclass(frozen=True, slots=True)
class Timing:
    """What a video's packets say of its times, in seconds.

    seconds: how long its frames are shown; a guess where the file is damaged or has no times. period: the mean time of
    a frame. timed: whether the file has times.
    """

    seconds: float
    period: float
    timed: bool

    @classmethod
    def of(cls, video: Path) -> Timing:
        """Without decoding. Raises DamageError as `opened` does."""
        first, end, count = float("inf"), 0.0, 0
        with opened(video) as (container, stream):
            timed = container.format.name not in UNTIMED_CONTAINERS
            rate = stream.average_rate or stream.guessed_rate
            period = float(1 / rate) if rate else USUAL_PERIOD
            with suppress(av.error.FFmpegError):  # decoding meets it too
                for packet in container.demux(stream):
                    if not packet.size or packet.is_discard:
                        continue
                    count += 1
                    if packet.pts is None:
                        timed = False
                        continue
                    time = float(packet.pts * packet.time_base)
                    first, end = min(first, time), max(end, time + (_duration_of(packet) or period))
        return cls(end - first if timed and count else count * period, period, timed)


class TimedFrames:
    """Every frame of a video, as PyAV's, with the time at which it comes to be shown, in seconds since the first.

    The times are those of the file. Where it has none, or where they go back or leap (joined captures), a frame comes
    a period after the one before. A damaged video ends at the damage. Raises DamageError if no frame comes.

    count, seconds: how many frames have been given out, and when the last one is over. damage: in words, or empty.
    """

    def __init__(self, video: Path, timing: Timing) -> None:
        self.video, self.timing = video, timing
        self.count, self.seconds, self.damage = 0, 0.0, ""

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        period = self.timing.period
        time, shift = -period, None
        try:
            for frame in frames(self.video):
                due, said = time + period, frame.time
                if said is None or not self.timing.timed:
                    said = due - (shift or 0.0)
                if shift is None or not 0 < said + shift - time <= LONGEST_STILL:
                    shift = due - said
                time = said + shift
                self.count += 1
                self.seconds = time + (_duration_of(frame) or period)
                yield time, frame
        except DamageError as damage:
            if not self.count:
                raise
            self.damage = str(damage)


@dataclass(slots=True)
class _Filling:
    """A window that waits for frames: each one's crops, uint8 `(crops, H, W, c)`, in the order of its clips."""

    window: Window
    crops: list[torch.Tensor | None] = field(repr=False)
    missing: int

    def put(self, place: int, crops: torch.Tensor) -> None:
        self.crops[place] = crops
        self.missing -= 1


class VideoWindows:
    """A video's windows in order, each with its clips, uint8 `(V, T, C, H, W)`.

    T segments lie in a window as they do in a video that is tested: `uniform` shows the frames at the middles of T
    equal parts of its time, `twice` also those at the parts' starts. With L > 1, L consecutive frames follow from
    there; then the parts are of the time less L - 1 frames, and beyond the video's end the last frame repeats.

    seconds, frames, damage: known once all windows have been given out. Of a damaged video these are the windows of
    what comes before the damage. Raises DamageError if there is no frame, and InputError for dense sampling and flow.
    """

    def __init__(self, video: Path, options: ClipOptions, length: float, stride: float) -> None:
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
        self.video, self.options, self.length, self.stride = video, options, length, stride
        self.seconds, self.frames, self.damage = 0.0, 0, ""
        self.timing = Timing.of(video)

    def __iter__(self) -> Iterator[tuple[Window, torch.Tensor]]:
        """Decodes the video; a second time only where its end is not where its packets say."""
        done, seen = yield from self._given(Plan(self.timing.seconds, self.length, self.stride), 0)
        self.seconds, self.frames, self.damage = seen.seconds, seen.count, seen.damage
        plan = Plan(seen.seconds, self.length, self.stride)
        if done < plan.count and abs(seen.seconds - self.timing.seconds) > SLACK:
            yield from self._given(plan, done)

    def _given(
        self, plan: Plan, following: int
    ) -> Generator[tuple[Window, torch.Tensor], None, tuple[int, TimedFrames]]:
        """Those of a plan from number `following` on that lie in what is decoded; how many, with those before it.

        The one that ends with the video only if that ends where the plan has it.
        """
        decoded = TimedFrames(self.video, self.timing)
        waiting: deque[_Filling] = deque()
        wanted: list[tuple[float, int, int, _Filling]] = []  # a heap: time, number of the window, place in it
        running: list[tuple[_Filling, int, int]] = []  # place of the next frame, and how many are still to come
        given, L = following, self.options.frames_per_segment
        upright, crops = None, torch.empty(0)
        for frame, until in _with_ends(decoded):
            upright = upright or Upright((frame.width, frame.height))
            last = until == float("inf")
            while following < plan.count and plan[following].start < (decoded.seconds if last else until):
                waiting.append(filling := self._empty(plan[following]))
                for number, time in enumerate(self.times(filling.window)):
                    heapq.heappush(wanted, (time, following, number * L, filling))
                following += 1
            while wanted and wanted[0][0] + SLACK < until:
                _, _, place, filling = heapq.heappop(wanted)
                running.append((filling, place, L))
            if running:
                crops = self._crops(upright(frame))
            for filling, place, _ in running:
                filling.put(place, crops)
            running = [(filling, place + 1, left - 1) for filling, place, left in running if left > 1]
            while not last and given < plan.regular and waiting and self._whole(waiting[0], until):
                yield self._clips(waiting.popleft())
                given += 1
        for filling, place, left in running:
            for k in range(left):
                filling.put(place + k, crops)
        whole = plan.count if abs(plan.duration - decoded.seconds) <= SLACK else plan.regular
        while given < whole and waiting and self._whole(waiting[0], decoded.seconds):
            yield self._clips(waiting.popleft())
            given += 1
        return given, decoded

    def times(self, window: Window) -> list[float]:
        """When the first frames of all segments of all clips are shown, clip by clip."""
        T, L = self.options.segments, self.options.frames_per_segment
        room = max(window.end - window.start - (L - 1) * self.timing.period, 0.0)
        clips = places_in_parts(self.options.test_mode, self.options.sparse_clips)
        return [window.start + room * (t * shifts + shift) / (T * shifts) for shift, shifts in clips for t in range(T)]

    def _empty(self, window: Window) -> _Filling:
        count = len(self.times(window)) * self.options.frames_per_segment
        return _Filling(window, [None] * count, count)

    @staticmethod
    def _whole(filling: _Filling, until: float) -> bool:
        return not filling.missing and filling.window.end <= until + SLACK

    def _crops(self, picture: Any) -> torch.Tensor:
        """Of a frame `(h, w, 3)`: `(crops, H, W, 3)`."""
        group = torch.from_numpy(picture).permute(2, 0, 1)[None]  # (1, 3, h, w)
        return evaluation_crops(group, self.options)[:, 0].permute(0, 2, 3, 1).contiguous()

    def _clips(self, filling: _Filling) -> tuple[Window, torch.Tensor]:
        crops = [each for each in filling.crops if each is not None]  # that is, all
        order = torch.arange(len(crops)).view(-1, self.options.segments, self.options.frames_per_segment)
        order = order.flip(1, 2) if self.options.reverse_time else order
        group = torch.stack(crops, dim=1).permute(0, 1, 4, 2, 3)  # (crops, clips·T·L, c, H, W), channels last
        return filling.window, assembled(group, order.flatten(), self.options)


def _duration_of(timed: Any) -> float:
    """For how long a frame, or a packet's frame, is shown, in seconds; 0 where the file does not say."""
    ticks = getattr(timed, "duration", 0)
    return float(ticks * timed.time_base) if ticks and timed.time_base else 0.0


def _with_ends(timed: TimedFrames) -> Iterator[tuple[Any, float]]:
    """Each frame, and when the next one takes its place; infinity for the last."""
    before = None
    for time, frame in timed:
        if before is not None:
            yield before, time
        before = frame
    if before is not None:
        yield before, float("inf")
