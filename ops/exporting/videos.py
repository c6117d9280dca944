"""The clips that exported forms are checked on, tried by and calibrated with.

Legend: `N` clips, `T` segments, `C` channels of a segment, `H W` space.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ops.data.clips import Sample, VideoClips
from ops.data.loader import video_loader
from ops.data.records import VideoRecord
from ops.data.storages import Storage
from ops.errors import InputError
from ops.exporting.form import Probabilities
from ops.recognition.contract import Contract, Views
from ops.recognition.sources import SourceClips, find_sources

logger = logging.getLogger(__name__)

STEP = 8  # pixels: of the squares of noise


def clips_of_sources(words: Sequence[str], contract: Contract, count: int) -> tuple[np.ndarray, str]:
    """Clips uint8 `(N, T, C, H, W)` of at most `count` videos, spread over those that `words` name; and what they are.

    Those that cannot be read are named and left out. Raises InputError if none can.
    """
    sources = spread(find_sources(words), count)
    items = list(video_loader(SourceClips(sources, contract.clip_options(Views())), 0))
    for item in items:
        if not isinstance(item, Sample):
            logger.warning("left out: %s: %s", item.path, item.reason)
    clips = [item.clip[0].numpy() for item in items if isinstance(item, Sample)]
    if not clips:
        raise InputError(f"--videos {' '.join(words)}: {items[0].path}: {items[0].reason}")
    return np.stack(clips), f"{len(clips)} videos of {' '.join(words)}"


def clips_of_noise(form: Probabilities, count: int) -> tuple[np.ndarray, str]:
    """Squares of noise that wander, another way in each clip; the same in every run. And what they are."""
    T, C, H, W = form.clip
    clips = np.empty((count, *form.clip), np.uint8)
    for index, clip in enumerate(clips):
        rng = np.random.default_rng([7, index])
        scene = (
            rng.integers(0, 256, (C, -(-2 * H // STEP), -(-2 * W // STEP)), np.uint8).repeat(STEP, 1).repeat(STEP, 2)
        )
        down, right = rng.integers(0, min(H, W) // T + 1, 2)
        for t in range(T):
            clip[t] = scene[:, t * down : t * down + H, t * right : t * right + W]
    return clips, f"{count} clips of moving noise"


def default_videos(root: Path, modality: str) -> list[str]:
    """The list of the demonstration data set's test videos (or of their flow), if it has been made below `root`."""
    file = root / "demo" / f"val_videofolder{'_flow' * (modality == 'Flow')}.txt"
    return [str(file)] if file.is_file() else []


def labelled_clips(
    records: Sequence[VideoRecord], storage: Storage, contract: Contract, workers: int = 0
) -> Iterator[tuple[np.ndarray, int]]:
    """The clip `(T, C, H, W)` and the label of each video of a list. Raises InputError for one that cannot be read."""
    videos = VideoClips(records, storage, "test", contract.clip_options(Views()))
    for item in video_loader(videos, workers):
        if not isinstance(item, Sample):
            raise InputError(f"{item.path}: {item.reason}")
        yield item.clip[0].numpy(), item.label


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, at even distances, so that a list sorted by classes gives of all."""
    if len(items) <= count:
        return list(items)
    return [items[k * len(items) // count] for k in range(count)]
