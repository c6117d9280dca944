"""Video decoders: 8 frames of each video, evenly spread, opening included.

By ours and every other decoder that is installed (TorchCodec, decord), and by decoding from the start; one thread
each; of the videos as they are and re-encoded with a key frame a second.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av

from ops.data.sampling import val_indices
from ops.data.storages.video import decode_pyav, decode_torchcodec, torchcodec_fault
from ops.data.videofile import FrameTable, frames, scan
from tools.benchmarks.findings import Findings, Row, in_turns, row
from tools.video_folders import find_videos

FRAMES = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """--videos."""
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of videos, or one video")


def measure(args: argparse.Namespace) -> Findings:
    """Our decoder against each that is installed."""
    others: dict[str, Callable[[Path, FrameTable, Sequence[int]], object]] = {"from the start": decode_all}
    if fault := torchcodec_fault():
        print(f"TorchCodec is left out: {fault}", file=sys.stderr)
    else:
        others["torchcodec"] = decode_torchcodec
    try:
        others["decord"] = partial(decode_decord, importlib.import_module("decord"))
    except ImportError:
        print("decord is left out: it is not installed (pip install decord)", file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for video in find_videos(args.videos):
            copy = Path(folder) / f"{video.stem} (a key frame a second).mp4"
            keyed(video, copy)
            for file in (video, copy):
                rows += compare(file, {"pyav": decode_pyav, **others}, args.repeats)
    return Findings(rows)


def compare(video: Path, decode: Mapping[str, Callable[..., object]], repeats: int) -> list[Row]:
    """One video by every decoder, in turns."""
    table = scan(video)
    numbers = sorted(set(val_indices(table.num_frames, FRAMES, 1)))
    # Where the file's times cannot be trusted, TorchCodec gives other frames than those of these numbers.
    fit = {name: each for name, each in decode.items() if len(table.keys) or name != "torchcodec"}
    milliseconds = in_turns({name: partial(each, video, table, numbers) for name, each in fit.items()}, repeats)
    ours = milliseconds.pop("pyav")
    keys = f"{len(table.keys)} key frames" if len(table.keys) else "no times"
    return [row(f"{video.name}, {keys}: {name}", ours, theirs, "ms") for name, theirs in milliseconds.items()]


def decode_all(video: Path, table: FrameTable, numbers: Sequence[int]) -> object:
    """The same frames by PyAV, decoding everything from the start up to the last of them."""
    return decode_pyav(video, FrameTable.untimed(table.num_frames), numbers)


def decode_decord(decord: Any, video: Path, _table: FrameTable, numbers: Sequence[int]) -> object:
    """The same frames by decord, on one thread."""
    return decord.VideoReader(str(video), num_threads=1).get_batch([number - 1 for number in numbers]).asnumpy()


def keyed(video: Path, target: Path) -> None:
    """The video re-encoded (H.264) with a key frame a second."""
    with av.open(str(video)) as source:
        rate = round(source.streams.video[0].average_rate or 25)
    with av.open(str(target), "w") as container:
        stream: Any = None
        for number, frame in enumerate(frames(video)):
            if stream is None:
                stream = container.add_stream(
                    "libx264", rate=rate, options={"g": str(rate), "crf": "20", "sc_threshold": "0"}
                )
                stream.width, stream.height, stream.pix_fmt = frame.width // 2 * 2, frame.height // 2 * 2, "yuv420p"
            picture = frame.reformat(stream.width, stream.height, "yuv420p")
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, rate), 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
