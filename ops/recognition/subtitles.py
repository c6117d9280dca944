"""Segments as subtitles, in SubRip (SRT) and WebVTT, of text that no player takes for its own signs."""

from __future__ import annotations

from collections.abc import Iterable

from ops.recognition.timeline import Segment

JOINER = "\u2060"  # word joiner: invisible, without width


def srt(segments: Iterable[Segment]) -> str:
    """SubRip. It has no escapes: what would begin a tag or be an arrow is parted by an invisible letter."""
    cues = []
    for number, segment in enumerate(segments, 1):
        text = _one_line(segment)
        for sign in ("<", "{", "--"):
            text = text.replace(sign, sign + JOINER)
        cues.append(f"{number}\n{_times(segment, ',')}\n{text}\n\n")
    return "".join(cues)


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT, https://www.w3.org/TR/webvtt1/: its text has HTML's escapes."""
    cues = []
    for segment in segments:
        text = _one_line(segment).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{_times(segment, '.')}\n{text}\n\n")
    return "WEBVTT\n\n" + "".join(cues)


def _one_line(segment: Segment) -> str:
    """A line break in a name would end the cue."""
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in segment.name).split())
    return f"{name} ({100 * segment.probability:.0f} %)"


def _times(segment: Segment, point: str) -> str:
    """`00:00:01,500 --> 00:00:02,000`; at least a millisecond."""
    start = round(1000 * segment.start)
    end = max(round(1000 * segment.end), start + 1)
    return f"{_clock(start, point)} --> {_clock(end, point)}"


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{rest:03d}"
