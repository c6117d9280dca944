"""Times our forms against others', both in one process, warmed up, taking turns.

    python tools/benchmark.py decode --videos DIR

decode: 8 frames of each video, evenly spread, opening included, by ours and every other decoder that is installed
(TorchCodec, decord), and by decoding from the start; one thread each; of the videos as they are and re-encoded with a
key frame a second.

A row gives the median of the repeats, half the distance between their quartiles, and the ratio to ours. --json FILE
writes the rows with the machine and the versions. Timings depend on what else the machine does; run it alone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.sampling import val_indices
from ops.data.storages.video import decode_pyav, decode_torchcodec, torchcodec_fault
from ops.data.videofile import FrameTable, frames, scan
from ops.errors import InputError, reported
from ops.running.runlog import environment
from tools.options import documented_parser
from tools.vid2img import find_videos, write_whole

FRAMES = 8


@dataclass(frozen=True)
class Row:
    """Ours against another: medians in `unit`, `spread` of ours and theirs, and the ratio of ours to theirs."""

    name: str
    ours: float
    against: float
    unit: str
    ratio: float
    spread: tuple[float, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, report; the exit status."""
    parser = documented_parser(__doc__)
    parser.add_argument("what", choices=["decode"], help="decode")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of videos, or one video")
    parser.add_argument("--repeats", type=int, default=15, help="of each measurement (15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: at least 1")
    rows = decoders(args)
    for row in rows:
        print(
            f"{row.name:60s} ours {row.ours:8.2f} ± {row.spread[0]:.2f}  theirs {row.against:8.2f} ± "
            f"{row.spread[1]:.2f} {row.unit}  ratio {row.ratio:.2f}"
        )
    if args.json:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        write_whole(args.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0


def decoders(args: argparse.Namespace) -> list[Row]:
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
    return rows


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


def in_turns(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each, `repeats` times, in turns, after two rounds to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 2):
        for name, each in work.items():
            start = time.perf_counter()
            each()
            if turn >= 2:
                taken[name].append(1000 * (time.perf_counter() - start))
    return taken


def row(name: str, ours: Sequence[float], theirs: Sequence[float], unit: str) -> Row:
    """Medians, spreads and their ratio."""
    a, b = statistics.median(ours), statistics.median(theirs)
    return Row(name, a, b, unit, a / b, (spread(ours), spread(theirs)))


def spread(values: Sequence[float]) -> float:
    """Half the distance between the quartiles."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


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


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    versions: dict[str, str | None] = {}
    for name in ("av", "torchcodec", "decord"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {**environment(), **versions}


if __name__ == "__main__":
    with reported():
        sys.exit(main())
