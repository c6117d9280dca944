"""Whole passes: JPEG frames to trained steps, and to scores, beside Pillow's loader and the literal form.

Both sides take turns in one process with as many loader processes. The other side is what loader.py and model.py take
as theirs, together: floats made by Pillow in the worker, the literal form in float32, planes (NCHW) and eager.
The rows of waiting are the shares of their time that passes wait for data.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ops.data.clips import ClipMode, ClipOptions, Sample, VideoClips
from ops.data.loader import Batch, EpochSampler, train_loader, video_loader
from ops.data.records import VideoRecord
from ops.data.storages.frames import FrameFolders
from ops.evaluation.scores import Scorer, default_views_per_forward, score_videos
from ops.machine import computing_with
from ops.model.deploy import deploy
from ops.running.clock import Clock
from ops.running.distributed import DistributedContext
from ops.running.engine import Step, train_one_epoch
from ops.running.optimizer import build_optimizer
from ops.running.precision import InPrecision
from tools.benchmarks import networks
from tools.benchmarks.findings import WARM_UP, Findings, Row, row
from tools.benchmarks.loader import FRAMES, SIZES, PillowClips
from tools.benchmarks.pictures import write_videos


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's, and how much is loaded."""
    networks.add_network_options(parser)
    parser.add_argument("--videos", type=int, default=8, help="of a pass (8)")
    parser.add_argument("--size", choices=SIZES, default="427x240", help="of the frames (427x240)")
    parser.add_argument("-j", "--workers", type=int, default=1, help="loader processes (1)")
    parser.set_defaults(batch_size=4)


@dataclass
class Side:
    """A network and its loaders."""

    network: nn.Module
    step: Step
    training: Any
    testing: Any


def measure(args: argparse.Namespace) -> Findings:
    """Training and testing, each as clips a second and as waiting."""
    with computing_with(args.threads), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        records = write_videos(root, args.videos, FRAMES, SIZES[args.size], quality=75)
        train, test = (made_clips(args, root, records, mode) for mode in ("train", "test"))
        sides = ours(args, train, test), literal(args, train, test)
        context = DistributedContext(networks.device())
        return Findings(
            [
                *compare(args, "train", sides, lambda side: trained(side, context)),
                *compare(args, "test", sides, lambda side: tested(args, side, context)),
            ]
        )


def compare(
    args: argparse.Namespace, what: str, sides: tuple[Side, Side], work: Callable[[Side], tuple[int, Clock]]
) -> list[Row]:
    """Clips a second and percent of waiting of both sides, in turns."""
    speed: list[list[float]] = [[], []]
    waiting: list[list[float]] = [[], []]
    for turn in range(args.repeats + WARM_UP):
        for number, side in enumerate(sides):
            clips, clock = work(side)
            if turn >= WARM_UP:
                speed[number].append(clips / clock.total)
                waiting[number].append(clock.waiting_percent)
    # A side that never waits has no ratio to it.
    pairs = row(f"end2end_{what}_vs_literal", speed[0], speed[1], "clips/s")
    share = max(statistics.median(waiting[1]), 1e-9)
    mine = statistics.median(waiting[0])
    return [pairs, Row(f"end2end_{what}_waiting", mine, share, "% of the time", mine / share, (0.0, 0.0))]


def made_clips(args: argparse.Namespace, root: Path, records: list[VideoRecord], mode: ClipMode) -> VideoClips:
    """Training clips, or two test clips of the centre."""
    options = ClipOptions(args.num_segments, args.input_size, test_mode="twice", crops=1)
    return VideoClips(records, FrameFolders(root), mode, options)


def ours(args: argparse.Namespace, train: VideoClips, test: VideoClips) -> Side:
    """The programs' defaults: --amp auto in training, the form for evaluation in testing."""
    precision = networks.start("auto", kept=True)
    network = networks.network(args, "fex")
    step = Step(nn.CrossEntropyLoss(), build_optimizer(network, 0.001, 0.9, 5e-4), precision.scaler(), 20.0)
    loaders = train_loader(train, args.batch_size, args.workers), video_loader(test, args.workers)
    return Side(InPrecision(network, precision), step, *loaders)


def literal(args: argparse.Namespace, train: VideoClips, test: VideoClips) -> Side:
    """The literal form, fed by Pillow."""
    network = networks.literal_form(networks.network(args, "fex"))
    step = Step(nn.CrossEntropyLoss(), build_optimizer(network, 0.001, 0.9, 5e-4), torch.amp.GradScaler(enabled=False))
    return Side(network, step, PillowBatches(args, train), PillowVideos(args, test))


def trained(side: Side, context: DistributedContext) -> tuple[int, Clock]:
    """A pass of training: its clips and its times."""
    found = train_one_epoch(side.network, side.training, side.step, context)
    return int(found["videos"]), Clock(found["seconds"] * found["waiting_percent"] / 100, found["seconds"])


@torch.inference_mode()
def tested(args: argparse.Namespace, side: Side, context: DistributedContext) -> tuple[int, Clock]:
    """A pass of testing: its clips and its times."""
    network = side.network.eval()
    if isinstance(network, InPrecision):
        network = deploy(network.network)  # type: ignore[arg-type]
    views = default_views_per_forward(context.device, args.num_segments, mixes_videos=False)
    found = score_videos([Scorer(network, views)], side.testing, context, batch_size=1)
    return 2 * len(found.labels), found.clock


class PillowBatches:
    """Training batches by Pillow, in the form of ours."""

    def __init__(self, args: argparse.Namespace, clips: VideoClips) -> None:
        sampler = EpochSampler(len(clips), args.batch_size, shuffle=True)
        self.loader = DataLoader(
            PillowClips(clips), args.batch_size, sampler=sampler, num_workers=args.workers,
            persistent_workers=args.workers > 0,
        )  # fmt: skip
        self.segments = args.num_segments

    def __iter__(self) -> Iterator[Batch]:
        for clips, labels in self.loader:
            yield Batch(clips.unflatten(1, (1, self.segments, 3)), labels, torch.arange(len(labels)), [])


class PillowVideos:
    """Videos to test by Pillow, in the form of ours."""

    def __init__(self, args: argparse.Namespace, clips: VideoClips) -> None:
        self.loader = DataLoader(
            PillowClips(clips), batch_size=None, sampler=EpochSampler(len(clips)), num_workers=args.workers,
            persistent_workers=args.workers > 0,
        )  # fmt: skip
        self.segments = args.num_segments

    def __iter__(self) -> Iterator[Sample]:
        for index, (clip, label) in enumerate(self.loader):
            yield Sample(clip.unflatten(0, (-1, self.segments, 3)), int(label), index)
