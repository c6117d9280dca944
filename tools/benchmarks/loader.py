"""The loader: JPEG frames to batches, by one worker, beside the same clips made with Pillow, one frame at a time.

The Pillow side decodes, crops, resizes, stacks, makes floats and normalises them in the worker, as TSM-style code does.
Ours delivers uint8; the device makes floats. The frames are made pictures whose files are as large as real ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from archs.backbone import InputConvention
from ops.data import sampling
from ops.data.clips import ClipMode, ClipOptions, VideoClips
from ops.data.decode import FORMATS
from ops.data.loader import EpochSampler, Loader, train_loader, video_loader
from ops.data.storages.frames import FrameFolders
from ops.data.transforms import RGB_SCALES, test_boxes, training_crop
from tools.benchmarks.findings import Findings, Row, in_turns, row
from tools.benchmarks.pictures import write_videos

SIZES = {"427x240": (427, 240), "176x100": (176, 100)}  # width, height
FRAMES = 24  # of a video


def add_options(parser: argparse.ArgumentParser) -> None:
    """How much is loaded."""
    add = parser.add_argument
    add("--videos", type=int, default=48, help="of each size (48)")
    add("--num_segments", type=int, default=8, help="frames a clip (8)")
    add("--input_size", type=int, default=224, help="pixels (224)")
    add("--batch_size", type=int, default=16, help="videos a batch in training (16)")
    add("--quality", type=int, nargs="+", default=[75, 95], help="of the JPEG files (75, Pillow's own default, and 95)")
    add("-j", "--workers", type=int, default=1, help="loader processes (1)")


def measure(args: argparse.Namespace) -> Findings:
    """Training at both sizes, testing at the larger one."""
    rows = []
    for quality in args.quality:
        note = f", quality {quality}" if quality != args.quality[0] else ""
        for name, size in SIZES.items():
            with tempfile.TemporaryDirectory() as folder:
                clips = partial(
                    videos, args, Path(folder), write_videos(Path(folder), args.videos, FRAMES, size, quality)
                )
                rows.append(compare(args, f"loader_{name}_vs_pillow{note}", clips("train")))
                if name == "427x240":
                    rows.append(compare(args, f"loader_test_fullres_vs_pillow{note}", clips("test")))
    return Findings(rows)


def videos(args: argparse.Namespace, root: Path, records: Any, mode: ClipMode) -> VideoClips:
    """Training clips, or three crops of two clips at full resolution."""
    options = ClipOptions(
        args.num_segments, args.input_size, test_mode="twice", crops=3, full_res=True,
        mirror_labels=tuple(range(len(records))),
    )  # fmt: skip
    return VideoClips(records, FrameFolders(root), mode, options)


def compare(args: argparse.Namespace, name: str, clips: VideoClips) -> Row:
    """Frames a second of both."""
    if clips.mode == "train":
        ours: Loader = train_loader(clips, args.batch_size, args.workers)
        sampler = EpochSampler(len(clips), args.batch_size, shuffle=True)
        frames = len(sampler) * args.num_segments
    else:
        ours = video_loader(clips, args.workers)
        sampler = EpochSampler(len(clips))
        frames = len(sampler) * args.num_segments * 2
    theirs = DataLoader(
        PillowClips(clips), args.batch_size if clips.mode == "train" else None, sampler=sampler,
        num_workers=args.workers, persistent_workers=args.workers > 0,
    )  # fmt: skip
    taken = in_turns({"ours": partial(drain, ours), "theirs": partial(drain, theirs)}, args.repeats)
    mine, others = ([1000 * frames / ms for ms in taken[side]] for side in ("ours", "theirs"))
    return row(name, mine, others, "frames/s")


def drain(loader: Iterable[Any]) -> None:
    """An epoch, as fast as it comes."""
    for _ in loader:
        pass


class PillowClips(Dataset[tuple[torch.Tensor, int]]):
    """The same clips, frame by frame: floats `(T·3, H, W)` in training, `(V·T·3, H, W)` in testing, and the label."""

    def __init__(self, clips: VideoClips) -> None:
        self.clips = clips
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (InputConvention.mean, InputConvention.std))

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        epoch, index = key
        record, o = self.clips.records[index], self.clips.options
        if self.clips.mode == "train":
            rng = np.random.default_rng([o.seed, epoch, index])
            images = self._read(record.path, sampling.train_indices(record.num_frames, o.segments, 1, rng))
            images = self._training(images, rng)
        else:
            clips = sampling.test_clips(record.num_frames, o.segments, 1, o.test_mode)
            images = self._views([self._read(record.path, numbers) for numbers in clips])
        return torch.cat([self._normalised(image) for image in images]), record.label

    def _read(self, path: str, numbers: list[int]) -> list[Image.Image]:
        storage = self.clips.storage
        assert isinstance(storage, FrameFolders)
        files = (storage.root / path / storage.template.format(n) for n in numbers)
        return [Image.open(file, formats=FORMATS).convert("RGB") for file in files]

    def _training(self, images: list[Image.Image], rng: np.random.Generator) -> list[Image.Image]:
        size = self.clips.options.input_size
        box = training_crop(images[0].height, images[0].width, size, RGB_SCALES, rng)
        edges = (box.left, box.top, box.left + box.width, box.top + box.height)
        images = [image.crop(edges).resize((size, size), Image.Resampling.BILINEAR) for image in images]
        if rng.random() < 0.5:
            images = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
        return images

    def _views(self, clips: list[list[Image.Image]]) -> list[Image.Image]:
        short = self.clips.options.scale_size
        width, height = clips[0][0].size
        scaled = (short * width // height, short) if height <= width else (short, short * height // width)
        clips = [[image.resize(scaled, Image.Resampling.BILINEAR) for image in clip] for clip in clips]
        boxes = test_boxes(scaled[1], scaled[0], self.clips.options.crops, short)
        return [
            image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
            for box in boxes for clip in clips for image in clip
        ]  # fmt: skip

    def _normalised(self, image: Image.Image) -> torch.Tensor:
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # (H, W, 3) → (3, H, W)
        return planes.float().div_(255).sub_(self.mean).div_(self.std)
