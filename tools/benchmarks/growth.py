"""Growth: time and memory by the frames of a clip, the videos of a list, the crops of a video.

Frames and crops: FEXNet beside the plain 2D network, both in the form for evaluation; each in a process of its own,
whose memory is the peak beyond what there was before the first step. Crops are cut from frames decoded before.
Videos: what training does with its lists (of a tenth as many for validation) before the first video, without the
loading of Python's modules, in a fresh process; the peak of that process in all; and the memory that a worker process
does not share, once it has been asked for many videos.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import torch

from ops.data.catalog import resolve
from ops.data.clips import ClipOptions, Sample, VideoClips
from ops.data.fingerprint import fingerprint
from ops.data.loader import train_loader
from ops.data.storages import listed, open_storage
from ops.data.transforms import test_views
from ops.errors import InputError
from ops.evaluation.scores import Scorer, default_views_per_forward, score_videos
from ops.model.deploy import deploy
from ops.names import TEST_CROPS
from ops.running.distributed import DistributedContext
from ops.running.precision import InPrecision
from tools.benchmarks import networks, sides
from tools.benchmarks.findings import Curve, Findings
from tools.benchmarks.model import evaluation
from tools.benchmarks.sides import Side

REPOSITORY = Path(__file__).resolve().parents[2]
NETWORKS = {"fex": "FEXNet", "plain": "plain"}
FRAMES, VIDEOS, CROPS = "frames a clip", "videos in the training list", "crops a video"
BATCH = 100  # videos


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's, and the sizes."""
    networks.add_network_options(parser)

    def add_sizes(flag: str, default: Sequence[int], what: str, **more: Any) -> None:
        words = f"{what} ({' '.join(map(str, default))}; nothing leaves them out)"
        parser.add_argument(flag, type=int, nargs="*", default=default, metavar="N", help=words, **more)

    add_sizes("--frames", [2**k for k in range(7)], "frames a clip")
    add_sizes("--videos", [10**k for k in range(3, 7)], "videos in a training list")
    add_sizes("--crops", TEST_CROPS, "crops a video, of clips of --num_segments frames", choices=TEST_CROPS)
    parser.add_argument("--asked", type=int, default=50_000, help="videos a worker is asked for (50000)")


def measure(args: argparse.Namespace) -> Findings:
    """Curve by curve. Raises InputError for a size below 1."""
    for flag in ("frames", "videos", "crops"):
        if any(size < 1 for size in getattr(args, flag)):
            raise InputError(f"--{flag} {' '.join(map(str, getattr(args, flag)))}: each at least 1")
    curves = []
    if args.frames:
        curves += of_networks(args, FRAMES, "ms a clip", args.frames, _clips)
    if args.videos:
        curves += of_lists(args.videos, args.asked)
    if args.crops:
        curves += of_networks(args, CROPS, "ms a video", args.crops, _crops)
    return Findings(curves=curves)


def of_networks(
    args: argparse.Namespace,
    size: str,
    unit: str,
    sizes: Sequence[int],
    side: Callable[[argparse.Namespace, int, str], Side],
) -> list[Curve]:
    """Time in `unit` and memory of each network, at each size."""
    times, peaks = ([[0.0] * len(sizes) for _ in NETWORKS] for _ in range(2))
    for place, value in enumerate(sizes):
        print(f"{value} {size} …", file=sys.stderr)
        taken, most = sides.taking_turns([side(args, value, kind) for kind in NETWORKS], args.repeats, args.threads)
        for network, seconds in enumerate(taken):
            times[network][place] = 1000 * statistics.median(seconds)
            peaks[network][place] = most[network]
    names, points = NETWORKS.values(), [float(value) for value in sizes]
    return [
        Curve(name, size, what, points, values)
        for what, found in ((unit, times), ("MiB", peaks))
        for name, values in zip(names, found, strict=True)
    ]


def _clips(args: argparse.Namespace, frames: int, kind: str) -> Side:
    changed = argparse.Namespace(**{**vars(args), "num_segments": frames, "batch_size": 1})
    return partial(evaluation, changed, kind, "off", False, True)


def _crops(args: argparse.Namespace, crops: int, kind: str) -> Side:
    return partial(testing, args, kind, crops)


def testing(args: argparse.Namespace, kind: str, crops: int) -> Callable[[], Any]:
    """One video's crops, cut and scored by a network that is made ready here."""
    precision = networks.start("off", kept=True)
    network = deploy(networks.network(args, kind).eval(), precision.dtype)
    context = DistributedContext(networks.device())
    at_once = default_views_per_forward(context.device, args.num_segments, network.options.mixes_videos)
    options = ClipOptions(args.num_segments, args.input_size, crops=crops)
    height = options.scale_size
    noise = torch.Generator().manual_seed(0)
    frames = torch.randint(  # (T, H, W, 3), 4:3
        0, 256, (args.num_segments, height, height * 4 // 3, 3), dtype=torch.uint8, generator=noise
    ).permute(0, 3, 1, 2)  # (T, 3, H, W)
    return partial(_score, Scorer(InPrecision(network, precision), at_once), context, frames, options)


def _score(scorer: Scorer, context: DistributedContext, frames: torch.Tensor, options: ClipOptions) -> torch.Tensor:
    views = test_views(frames, options.crops, options.scale_size, options.input_size)  # (V, T, 3, H, W)
    return score_videos([scorer], [Sample(views, 0, 0)], context, 1).scores[0]


def of_lists(sizes: Sequence[int], asked: int) -> list[Curve]:
    """A start of training with each number of videos."""
    found = []
    for videos in sizes:
        print(f"{videos} {VIDEOS} …", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            write_lists(Path(folder), videos)
            found.append(in_a_fresh_process(Path(folder), asked))
    seconds, peaks, private = (list(values) for values in zip(*found, strict=True))
    points = [float(videos) for videos in sizes]
    return [
        Curve("lists, fingerprint, an epoch's order", VIDEOS, "s", points, seconds),
        Curve("the main process, in all", VIDEOS, "MiB", points, peaks),
        Curve("a worker's own", VIDEOS, "MiB", points, private),
    ]


def write_lists(root: Path, videos: int) -> None:
    """A data set in `root`, of which only the lists and the classes exist."""
    folder = root / "something"
    (folder / "frames").mkdir(parents=True)
    (folder / "category.txt").write_text("".join(f"Doing {label}\n" for label in range(networks.CLASSES)))
    for name, videos_of in (("train", videos), ("val", max(1, videos // 10))):
        with (folder / f"{name}_videofolder.txt").open("w") as file:
            for place in range(videos_of):
                label = place * 7 % networks.CLASSES
                file.write(f"class {label:03d}/{name}_{place:07d} {20 + place % 280} {label}\n")


def in_a_fresh_process(root: Path, asked: int) -> tuple[float, float, float]:
    """What `start` finds. (A process that multiprocessing spawns would spawn its workers too, where programs fork.)"""
    command = [sys.executable, "-m", __name__, str(root), str(asked)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak, private = json.loads(done.stdout)
    return seconds, peak, private


def start(root: Path, asked: int) -> tuple[float, float, float]:
    """Seconds until training could ask for its first video; the peak of memory then; a worker's own memory, in MiB."""
    before = time.perf_counter()
    data = resolve("something", root)
    storage = open_storage(data)
    clips = VideoClips(listed(data, storage, data.train_list), storage, "train", ClipOptions(8))
    loader = train_loader(clips, min(BATCH, len(clips)), workers=1, pin_memory=False)
    validation = listed(data, storage, data.val_list)
    fingerprint(data, storage, clips.records)
    next(iter(loader.sampler))
    assert validation
    seconds, peak = time.perf_counter() - before, sides.memory("VmHWM")
    batches = (batch for _ in count() for batch in loader)  # of videos that are not there, which is found at once
    for _ in islice(batches, max(1, asked // len(next(batches).unreadable))):
        pass
    (worker,) = active_children()
    return seconds, peak, private_memory(worker.pid)


def private_memory(process: int | None) -> float:
    """MiB that a process has written to and so shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


if __name__ == "__main__":  # in the fresh process
    print(json.dumps(start(Path(sys.argv[1]), int(sys.argv[2]))))
