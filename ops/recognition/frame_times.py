"""When the frames of a video file are shown, in seconds since the first one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from ops.data.videofile import TIMED_CONTAINERS, DamageError, frames, opened

SLACK = 1e-3  # seconds: containers such as Matroska keep times in milliseconds, rounded
LONGEST_STILL = 3600.0  # seconds: a longer step from a frame to the next is no time, but a clock that leaps
# Containers that have a rate and no times: those that FFmpeg makes up for their frames are wrong where frames are
# stored in another order than they are shown.
UNTIMED_CONTAINERS = {"avi", "h264", "hevc", "m4v", "mpegvideo"}
USUAL_PERIOD = 1 / 25  # seconds, of a file that tells neither times nor a rate


@dataclass(frozen=True, slots=True)
class Timing:
    """What a video's packets say of its times, in seconds.

    seconds: how long its frames are shown; a guess where the file is damaged or has no times. period: the mean time of
    a frame. timed: whether the file has times; exact: whether it also says how long a frame is shown.
    """

    seconds: float
    period: float
    timed: bool = True
    exact: bool = True

    @classmethod
    def of(cls, video: Path) -> Timing:
        """Without decoding. Raises DamageError as `opened` does."""
        shown: list[tuple[float, float]] = []
        with opened(video) as (container, stream):
            timed = container.format.name not in UNTIMED_CONTAINERS
            exact = container.format.name in TIMED_CONTAINERS
            rate = stream.average_rate or stream.guessed_rate
            period = float(1 / rate) if rate else USUAL_PERIOD
            with suppress(av.error.FFmpegError):  # decoding meets it too
                for packet in container.demux(stream):
                    if packet.size and not packet.is_discard:
                        timed = timed and packet.pts is not None
                        time = float(packet.pts * packet.time_base) if timed else len(shown) * period
                        shown.append((time, _duration_of(packet)))
        if not timed or not shown:
            return cls(len(shown) * period, period, timed, exact)
        shown.sort()
        (start, _), (last, duration) = shown[0], shown[-1]
        step = last - shown[-2][0] if len(shown) > 1 else 0.0
        return cls(last - start + ((duration if exact else 0.0) or step or period), period, timed, exact)


class TimedFrames:
    """Every frame of a video, as PyAV's, with the time at which it comes to be shown, in seconds since the first.

    The times are those of the file. Where it has none, or where they go back or leap (joined captures), a frame comes
    as long after the one before as that did. The last is shown as long as the file says, or likewise. A damaged video
    ends at the damage. Raises DamageError if no frame comes.

    count, seconds: how many frames have been given out, and when the last one is over. damage: in words, or empty.
    """

    def __init__(self, video: Path, timing: Timing) -> None:
        self.video, self.timing = video, timing
        self.count, self.seconds, self.damage = 0, 0.0, ""

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        step = self.timing.period
        time, shift = -step, None
        try:
            for frame in frames(self.video):
                due, said = time + step, frame.time
                if said is None or not self.timing.timed:
                    said = due - (shift or 0.0)
                if shift is None or not 0 < said + shift - time <= LONGEST_STILL:
                    shift = due - said
                step, time = said + shift - time, said + shift
                self.count += 1
                self.seconds = time + ((_duration_of(frame) if self.timing.exact else 0.0) or step)
                yield time, frame
        except DamageError as damage:
            if not self.count:
                raise
            self.damage = str(damage)


def _duration_of(timed: Any) -> float:
    """For how long a frame, or a packet's frame, is shown, in seconds; 0 where the file does not say."""
    ticks = getattr(timed, "duration", 0)
    return float(ticks * timed.time_base) if ticks and timed.time_base else 0.0


def with_ends(timed: TimedFrames) -> Iterator[tuple[Any, float]]:
    """Each frame, and when the next one takes its place; infinity for the last."""
    before = None
    for time, frame in timed:
        if before is not None:
            yield before, time
        before = frame
    if before is not None:
        yield before, float("inf")
