"""What `tools/predict.py` does with `--window`: its options, and a timeline of each video."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.errors import InputError
from ops.files import write_text
from ops.recognition.timeline_options import TimelineOptions, check_format
from ops.tables import as_csv

if TYPE_CHECKING:
    from ops.recognition.recognizer import Recognizer
    from ops.recognition.sources import Source
    from ops.recognition.timeline import Timeline

logger = logging.getLogger("fexnet")

FILES = ("srt", "vtt", "plot", "render")  # of one video each
COLUMNS = ("path", "start", "end", "label", "class", "probability")


def add_options(parser: argparse.ArgumentParser) -> None:
    """--window and what goes with it; what is not given is None, and then as `TimelineOptions` has it."""
    group = parser.add_argument_group(
        "long videos", "what happens when: windows are scored, and segments of one class each made of them"
    )
    add = group.add_argument
    add("--window", type=float, metavar="SECONDS", help="length of a window; switches timelines on; try 2 to 4")
    add("--stride", type=float, metavar="SECONDS", help="from one window to the next (a fifth of --window)")
    add("--smooth", type=float, metavar="SECONDS", help="probabilities are averaged over (as long as --window)")
    add("--enter", type=float, metavar="P", help="a class begins at this probability (0.5)")
    add("--stay", type=float, metavar="P", help="and goes on down to this one (0.3)")
    add("--shortest", type=float, metavar="SECONDS", help="shorter segments are dropped (half of --window)")
    add("--cuts", action="store_true", default=None, help="windows end where a shot does; decodes a video twice")
    add("--srt", type=Path, metavar="FILE", help="write the segments as subtitles")
    add("--vtt", type=Path, metavar="FILE", help="write the segments as subtitles for web pages")
    add("--plot", type=Path, metavar="FILE", help="draw them (PNG)")
    add("--render", type=Path, metavar="FILE", help="write the video with them drawn on it (.mp4, .mov, .mkv)")


def options_of(args: argparse.Namespace) -> TimelineOptions | None:
    """What was asked for; None: no timeline. Raises InputError for what does not go together, or cannot be."""
    given = {field.name: value for field in fields(TimelineOptions) if (value := getattr(args, field.name)) is not None}
    files = [name for name in FILES if getattr(args, name)]
    if args.window is None:
        if others := [f"--{name}" for name in (*given, *files)]:
            raise InputError(f"{', '.join(others)}: of timelines: give --window SECONDS too")
        return None
    if args.protocol == "dense":
        raise InputError("--protocol dense: of 64 frames whatever the rate; with --window give efficient or accurate")
    if args.min_probability is not None:
        raise InputError("--min_probability: with --window, --enter and --stay say which times have no class")
    if args.render:
        check_format(args.render)
    return TimelineOptions(**given)


def outputs_of(args: argparse.Namespace) -> list[Path]:
    """The files that a timeline goes to, but --json and --csv."""
    return [file for name in FILES if (file := getattr(args, name))]


def run(recognizer: Recognizer, sources: Sequence[Source], options: TimelineOptions, args: argparse.Namespace) -> int:
    """Of every video in turn: printed, and written as it comes; 0, or 1 if some could not be read."""
    from tqdm import tqdm

    from ops.recognition.results import shown

    if outputs_of(args) and len(sources) != 1:
        raise InputError(f"--{', --'.join(FILES)}: of one video each; {len(sources)} videos are given")
    for file in (args.json, args.csv):
        if file and file.exists() and not args.overwrite:
            raise InputError(f"{file}: is there, and timelines are not gone on with: name another, or give --overwrite")
    taken = {source.content.resolve() for source in sources if isinstance(source.content, Path)}
    if own := [file for file in (args.json, args.csv, *outputs_of(args)) if file and file.resolve() in taken]:
        raise InputError(f"{own[0]}: it is the video; name another file")
    entries: list[dict[str, Any]] = []
    for source in sources:
        try:
            with tqdm(desc=shown(source.path), unit="s", leave=False, disable=None) as bar:
                found = recognizer.timeline(source, **vars(options), on_window=partial(_advance, bar))
        except InputError as error:
            logger.warning("left out: %s", shown(str(error)))
            continue
        entries.append(found.to_json(args.scores))
        write(entries, args)
        write_files(found, source, args)
        print(in_words(found), flush=True)
    if len(entries) < len(sources):
        logger.warning("%d of %d videos could not be read", len(sources) - len(entries), len(sources))
    return int(len(entries) < len(sources))


def _advance(bar: Any, done: float, seconds: float) -> None:
    bar.total = round(seconds)
    bar.update(round(done) - bar.n)


def write(entries: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    """--json, and --csv: a line a segment."""
    from ops.recognition import results

    if args.json:
        results.write(args.json, "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n")
    if args.csv:
        found = ({"path": entry["path"], **segment} for entry in entries for segment in entry["segments"])
        results.write(args.csv, as_csv([COLUMNS, *([row[name] for name in COLUMNS] for row in found)]))


def write_files(found: Timeline, source: Source, args: argparse.Namespace) -> None:
    """What is written of one video."""
    from ops.recognition import render, subtitles, timeline_picture

    if args.srt:
        write_text(args.srt, subtitles.srt(found.segments))
    if args.vtt:
        write_text(args.vtt, subtitles.vtt(found.segments))
    if args.plot:
        timeline_picture.draw(found, args.plot)
    if args.render:
        assert isinstance(source.content, Path)
        render.render(found, source.content, args.render)


def in_words(found: Timeline) -> str:
    """For the terminal."""
    from ops.recognition.results import shown

    lines = [f"{shown(found.path)} ({found.frames} frames, {found.seconds:.1f} s, {len(found.windows)} windows)"]
    if found.damage:
        lines.append(f"   of what could be read: {found.damage}")
    for each in found.segments:
        lines.append(f"  {each.start:8.2f} s – {each.end:8.2f} s  {100 * each.probability:5.1f} %  {each.name}")
    return "\n".join(lines if found.segments else [*lines, "   no segment: no class was probable enough"])
