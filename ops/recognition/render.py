"""A video with its timeline drawn on it: the class of the moment, how probable it is, and a bar for that."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ops.data.upright import Upright
from ops.files import atomic_write
from ops.recognition.frame_times import TimedFrames, Timing
from ops.recognition.timeline import Timeline
from ops.recognition.timeline_options import FORMATS, check_format

FINEST = 65535  # parts of a second that MPEG-4 part 2 can count; H.264 counts any
HEIGHT = 1 / 12  # of the strip, as a share of the picture's
SMALLEST = 14  # pixels, of the strip's
INK, PAPER, BAR = (255, 255, 255), (24, 28, 34), (91, 132, 196)


def render(timeline: Timeline, video: Path, file: Path) -> None:
    """Writes `video` upright, each frame at its own time, without sound, with what `timeline` says of it.

    H.264 where this FFmpeg has an encoder for it, else MPEG-4 part 2, whose times are rounded to 1/65535 s or to a
    millisecond. A damaged video ends before the damage. Raises InputError for the ending of another container.
    """
    check_format(file)
    frames = iter(TimedFrames(video, timing := Timing.of(video)))
    first = next(frames)
    upright = Upright()
    shown = ((time, drawn(even(upright(frame)), timeline, time)) for time, frame in chain([first], frames))
    write_pictures(file, shown, timing.period, Fraction(first[1].time_base or Fraction(1, 1000)))


def write_pictures(
    file: Path, shown: Iterable[tuple[float, np.ndarray]], period: float, unit: Fraction = Fraction(1, 1000)
) -> None:
    """Pictures `(H, W, 3)` uint8 of one size, each with its time in seconds, as a video that ends in one of FORMATS.

    period: seconds from one to the next on the average; unit: of the times in the file, in seconds. H.264 where this
    FFmpeg has an encoder for it, else MPEG-4 part 2, which may have a coarser unit.
    """
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    unit = _unit(unit, codec)
    with atomic_write(file) as written, av.open(written, "w", format=FORMATS[file.suffix.lower()]) as container:
        stream = None
        for time, picture in shown:
            picture = even(picture)
            stream = stream or _stream(container, codec, unit, picture, period)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def drawn(picture: np.ndarray, timeline: Timeline, time: float) -> np.ndarray:
    """A frame `(H, W, 3)` with the strip of that time at its lower edge."""
    segment, probabilities = timeline.at(time)
    if segment is None:
        return picture
    height, width = picture.shape[:2]
    tall = min(height, max(SMALLEST, round(height * HEIGHT)))
    percent = round(100 * float(probabilities[segment.label]))
    return np.concatenate((picture[: height - tall], _strip(segment.name, percent, width, tall)))


def even(picture: np.ndarray) -> np.ndarray:
    """With its last row and column twice where their number is odd: encoders halve the colours' resolution."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


@lru_cache(maxsize=128)
def _strip(name: str, percent: int, width: int, height: int) -> np.ndarray:
    """`(height, width, 3)`: the class and its probability, and under them the bar."""
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    bar = max(2, height // 8)
    draw.rectangle((0, height - bar, round(width * percent / 100), height), fill=BAR)
    text = f"{''.join(letter if letter.isprintable() else ' ' for letter in name)}  {percent} %"
    size = 0.7 * (height - bar)
    if (wide := ImageFont.load_default(size).getlength(text)) > width - 8:
        size *= max(1, width - 8) / wide
    middle = (height - bar) / 2
    draw.text((4, middle), text, fill=INK, font=ImageFont.load_default(max(size, 6)), anchor="lm")
    return np.asarray(image)


def _unit(unit: Fraction, codec: str) -> Fraction:
    """Of the times in the file: the given one, so that they are the same, where the codec has that."""
    return unit if codec != "mpeg4" or (unit.denominator <= FINEST and unit.numerator == 1) else Fraction(1, 1000)


def _stream(container: Any, codec: str, unit: Fraction, picture: np.ndarray, period: float) -> Any:
    stream = container.add_stream(codec, rate=Fraction(1 / period).limit_denominator(1001))
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = unit
    return stream
