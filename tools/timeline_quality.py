#!/usr/bin/env python3
"""How well a timeline finds what happens when: videos of `demo` glued to a long one, whose segments are known.

    python tools/timeline_quality.py --weights FILE --cuts [--seeds 0 1 2] [--vary]

Videos of the validation list are drawn in an order that --seeds say, neighbours of different classes, and glued until
--seconds are full, at the 12 frames a second of Something-Something. Printed are the mean average precision at an
overlap of 0.5 (a segment's score is its mean probability), how far the bounds of the segments that are found are off,
in frames, and how many are found. --vary also changes each number of the timeline alone, to see how much it matters.

The numbers are the defaults of timelines; what was chosen for this experiment, --window, was chosen on other videos of
the kind (make_demo_dataset.py --seed 7). Glued videos have a hard cut at every bound: with --cuts that is used, as it
would be of any edited film; without, the network alone must find the bounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.machine import wait_passively

wait_passively()  # as the programs do, before torch is loaded

import av  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402

from ops.data.catalog import resolve  # noqa: E402
from ops.data.decode import decode_group  # noqa: E402
from ops.data.records import VideoRecord  # noqa: E402
from ops.data.storages import listed, open_storage  # noqa: E402
from ops.errors import InputError, reported  # noqa: E402
from ops.evaluation.detection import Found, Span, bound_errors, matches, mean_average_precision  # noqa: E402
from ops.files import check_writable, write_text  # noqa: E402
from ops.recognition.recognizer import Recognizer  # noqa: E402
from ops.recognition.timeline import Timeline, segments_of, timeline  # noqa: E402
from ops.recognition.timeline_options import TimelineOptions  # noqa: E402
from tools.options import add_root, documented_parser  # noqa: E402

RATE = 12  # frames a second
SIZE = (140, 100)  # pixels, to which all videos are scaled and cut
OVERLAP = 0.5
# What --vary tries, each alone.
OTHERS: dict[str, tuple[float, ...]] = {
    "window": (1.0, 1.5, 2.0, 2.5),
    "stride": (0.25, 0.75),
    "smooth": (0.0, 0.75, 1.0, 2.0, 3.0),
    "enter": (0.3, 0.4, 0.6, 0.7),
    "stay": (0.1, 0.2, 0.4),
    "shortest": (0.0, 0.5, 1.0),
}


@dataclass(frozen=True)
class Glued:
    """A long video, and what is in it: spans in seconds, with their labels."""

    file: Path
    true: list[tuple[Span, int]]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    args = parse(argv)
    check_writable([args.json] if args.json else [])
    options = TimelineOptions(args.window, args.stride, args.smooth, args.enter, args.stay, args.shortest, args.cuts)
    recognizer = Recognizer.from_checkpoint(args.weights, protocol=args.protocol, batch_size=args.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        glued = [glue(args, seed, Path(folder) / f"{seed}.mp4") for seed in args.seeds]
        rows = [{"changed": "", **measured(recognizer, glued, options)}]
        show(rows[0])
        for name, value in varied(options) if args.vary else ():
            rows.append({"changed": f"{name} {value:g}"})
            rows[-1] |= measured(recognizer, glued, changed(options, name, value))
            show(rows[-1])
    if args.json:
        write_text(args.json, json.dumps({"options": options.described(), "rows": rows}, indent=1) + "\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--weights", default="checkpoint/demo/ckpt.pth", metavar="FILE", help="of a network of demo (%(default)s)")
    add_root(parser)
    add("--list", choices=("train", "val"), default="val", help="whose videos are glued (%(default)s)")
    add("--seeds", type=int, nargs="+", default=[0], help="a glued video each (0)")
    add("--seconds", type=float, default=120, help="of each (%(default)s)")
    add("--protocol", choices=("efficient", "accurate"), default="efficient", help="views of a window (%(default)s)")
    add("--batch_size", type=int, default=8, help="windows at a time (%(default)s)")
    add("--vary", action="store_true", help="also change each of the numbers below alone")
    add("--window", type=float, default=1.5, help="seconds (%(default)s)")
    add("--stride", type=float, help="seconds (a fifth of --window)")
    add("--smooth", type=float, help="seconds (as long as --window)")
    add("--enter", type=float, default=TimelineOptions.enter, help="probability (%(default)s)")
    add("--stay", type=float, default=TimelineOptions.stay, help="probability (%(default)s)")
    add("--shortest", type=float, help="seconds (half of --window)")
    add("--cuts", action="store_true", help="windows end where a shot does")
    add("--json", type=Path, metavar="FILE", help="write what is printed")
    return parser.parse_args(argv)


def glue(args: argparse.Namespace, seed: int, file: Path) -> Glued:
    """Writes the video of a seed."""
    data = resolve("demo", args.root_dataset)
    records = listed(data, open_storage(data), data.train_list if args.list == "train" else data.val_list)
    chosen = in_order(records, seed, round(args.seconds * RATE))
    true, start = [], 0
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for record in chosen:
            for picture in pictures(data.root / record.path, data.template, record.num_frames):
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            true.append(((start / RATE, (start + record.num_frames) / RATE), record.label))
            start += record.num_frames
        container.mux(stream.encode())
    return Glued(file, true)


def in_order(records: Sequence[VideoRecord], seed: int, frames: int) -> list[VideoRecord]:
    """Videos with `frames` in all, as far as whole ones go, drawn without repeating, none beside one of its class."""
    left = [records[k] for k in np.random.default_rng(seed).permutation(len(records))]
    chosen: list[VideoRecord] = []
    while True:
        other = next((each for each in left if not chosen or each.label != chosen[-1].label), None)
        if other is None or sum(each.num_frames for each in chosen) + other.num_frames > frames:
            break
        left.remove(other)
        chosen.append(other)
    if not chosen:
        raise InputError(f"--seconds {frames / RATE:g}: no video is as short")
    return chosen


def pictures(folder: Path, template: str, count: int) -> Iterator[Image.Image]:
    """A video's frames at SIZE: scaled to cover it, and cut around their middle."""
    for number in range(1, count + 1):
        pixels = decode_group([folder / template.format(number)])[0].permute(1, 2, 0).numpy()  # (H, W, 3)
        yield ImageOps.fit(Image.fromarray(pixels), SIZE, Image.Resampling.BICUBIC)


_known: dict[tuple[Path, float, float, bool], Timeline] = {}


def measured(recognizer: Recognizer, glued: Sequence[Glued], options: TimelineOptions) -> dict[str, Any]:
    """Over all glued videos; a video's windows are computed once."""
    precisions, errors, hits, found_in_all = [], [], 0, 0
    for video in glued:
        key = (video.file, options.window, options.every, options.cuts)
        if key not in _known:
            _known[key] = timeline(recognizer, video.file, options)
        windows = _known[key]
        classes = recognizer.contract.classes
        segments = segments_of(windows.probabilities, windows.windows, classes, options)
        found = [Found((each.start, each.end), each.label, each.probability) for each in segments]
        precisions.append(mean_average_precision(found, video.true, OVERLAP))
        errors.append(bound_errors(found, video.true, OVERLAP) * RATE)
        hits += sum(hit is not None for hit in matches(found, video.true, OVERLAP))
        found_in_all += len(found)
    frames = np.concatenate(errors)
    return {
        "map": float(np.mean(precisions)),
        "of_each": precisions,
        "median_frames": float(np.median(frames)) if len(frames) else None,
        "mean_frames": float(np.mean(frames)) if len(frames) else None,
        "true": sum(len(video.true) for video in glued),
        "found": found_in_all,
        "hits": hits,
    }


def varied(options: TimelineOptions) -> Iterator[tuple[str, float]]:
    """A number and its value, for all in OTHERS that go with the rest."""
    for name, values in OTHERS.items():
        for value in values:
            try:
                changed(options, name, value)
            except InputError:
                continue
            if value != getattr(options, name):
                yield name, value


def changed(options: TimelineOptions, name: str, value: float) -> TimelineOptions:
    """With another number. Raises InputError where it does not go with the rest."""
    other: dict[str, Any] = {name: value}
    return replace(options, **other)


def show(row: dict[str, Any]) -> None:
    """A line."""
    of_each = ", ".join(f"{value:.3f}" for value in row["of_each"])
    errors = "none found" if row["median_frames"] is None else "median {median_frames:.1f}, mean {mean_frames:.2f}"
    print(
        f"{row['changed'] or 'as given':16s}  mAP@{OVERLAP:g} {row['map']:.3f} ({of_each})  bounds off by frames: "
        f"{errors.format(**row)}  true {row['true']}, found {row['found']}, hit {row['hits']}"
    )


if __name__ == "__main__":
    with reported():
        main()
