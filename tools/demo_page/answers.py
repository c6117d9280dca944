"""What the page answers: of a video file, HTML and files to download. Keeps nothing from one question to the next."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ops.data.videofile import DamageError, opened
from ops.errors import InputError
from ops.recognition import subtitles
from ops.recognition.frame_times import Timing
from ops.recognition.recognizer import Prediction, Recognizer
from ops.recognition.results import shown
from ops.recognition.sources import Source, as_source
from ops.recognition.timeline import OnWindow, Timeline

TOP = 5  # classes that are named
MOST_ROWS = 20  # of the picture of a timeline
MOST_PIXELS = 3840 * 2160  # of a frame: a decoder keeps up to seventeen of them

templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Answers:
    """What one network says of video files. longest: seconds; longer videos are refused."""

    def __init__(self, recognizer: Recognizer, longest: float) -> None:
        self.recognizer, self.longest = recognizer, longest

    def answer(self, video: Path, window: float, least: float, on_window: OnWindow = lambda *_: None) -> str:
        """As a part of a page: the most probable classes, "none of these" if none has `least`; a timeline of windows.

        window: seconds. The subtitles, too, are in it, as files to save. Raises InputError: of a file that is no video
        with the words of `tools/predict.py`, and for one that is too long.
        """
        source = self.source(video)
        return html_of(self.recognizer(source), self.recognizer.timeline(source, window, on_window), least)

    def source(self, video: Path) -> Source:
        """The file by its name alone: its folder is the server's.

        Raises InputError for a video that is too long, or whose frames are too large.
        """
        source = replace(as_source(video), path=video.name)
        if source.fault:
            return source
        refuse_large(video)
        if (seconds := stated_seconds(video)) > self.longest:
            raise InputError(
                f"{shown(video.name)}: {seconds:.0f} s long; this page takes up to {self.longest:g} s "
                "(tools/demo_app.py --longest SECONDS), tools/predict.py videos of any length"
            )
        return source


def refuse_large(video: Path) -> None:
    """Raises InputError for a video file that states larger frames than this page decodes."""
    try:
        with opened(video) as (_, stream):
            width, height = stream.codec_context.width, stream.codec_context.height
    except (DamageError, OSError):
        return  # which recognition says better
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{shown(video.name)}: frames of {width} × {height} pixels; this page takes up to 3840 × 2160, as many as "
            "that in any shape: make them smaller (ffmpeg -i IN -vf scale=1280:-2 OUT), or ask tools/predict.py"
        )


def stated_seconds(video: Path) -> float:
    """How long a video file is, by its packets; 0 for one that cannot be opened, which recognition says better."""
    try:
        return Timing.of(video).seconds
    except (DamageError, OSError):
        return 0.0


def html_of(prediction: Prediction, timeline: Timeline, least: float) -> str:
    """The answer as a part of a page."""
    return templates.get_template("answer.html").render(
        name=shown(prediction.path),
        frames=prediction.frames,
        seconds=prediction.seconds,
        damage=prediction.damage or timeline.damage,
        known=prediction.answer(least),
        least=least,
        top=prediction.top[:TOP],
        segments=timeline.segments,
        windows=len(timeline.windows),
        window=timeline.options.window,
        rows=rows_of(timeline),
        end=timeline.seconds,
        stem=Path(shown(prediction.path)).stem,
        subtitles={
            "srt": data_address(subtitles.srt(timeline.segments).encode(), "application/x-subrip"),
            "vtt": data_address(subtitles.vtt(timeline.segments).encode(), "text/vtt"),
        },
    )


def fault_html(message: str) -> str:
    """What is wrong, in the answer's place."""
    return templates.get_template("fault.html").render(message=message)


@dataclass(frozen=True)
class Row:
    """One class in the picture of a timeline, 100 wide and 100 high, 0 at the top.

    spans: where its segments begin, and how wide they are. curve: its probability over time, as SVG has points.
    """

    name: str
    spans: list[tuple[float, float]]
    curve: str


def rows_of(timeline: Timeline) -> list[Row]:
    """A row for each class that has a segment, in the order in which they begin, MOST_ROWS at most."""
    bounds = timeline.bounds
    start, scale = bounds[0], 100 / (bounds[-1] - bounds[0])
    middles = [((window.start + window.end) / 2 - start) * scale for window in timeline.windows]
    rows = []
    for label in list(dict.fromkeys(segment.label for segment in timeline.segments))[:MOST_ROWS]:
        own = [segment for segment in timeline.segments if segment.label == label]
        spans = [((each.start - start) * scale, (each.end - each.start) * scale) for each in own]
        heights = 100 - 100 * timeline.probabilities[:, label]
        curve = " ".join(f"{x:.1f},{y:.0f}" for x, y in zip(middles, heights, strict=True))
        rows.append(Row(own[0].name, spans, curve))
    return rows


def data_address(content: bytes, kind: str) -> str:
    """A file as the address of itself, so that no other is asked for. kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
