"""Real pixels behind the objects of the demo data set: backgrounds taken from given videos.

A background is of a random place in a random video, forwards or backwards with equal chance. Training and validation
take different videos or, where there are fewer than FEWEST_TO_PART, different halves in time of each. Those for
validation are the last by name: clips cut from one recording, whose names are side by side, are parted at one place at
most. Decoders and scaling may differ in the last bits from machine to machine, so these pixels are not the same on all
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.data.videofile import DamageError, FrameTable, read, scan
from ops.errors import InputError
from ops.files import sha256_of
from tools.demo_looks import Floats, between, pick
from tools.demo_nuisances import Nuisance, mirrored
from tools.video_folders import find_videos

FEWEST_TO_PART = 4  # videos; of these one is for validation
ONE_IN = 4  # of more videos so many are for validation
SECOND_HALVES = "the second half of each"
FEWEST_FRAMES = 28  # of a video, or where halves are taken of each half: as many as a rendered video may have


@dataclass(frozen=True, eq=False)
class Stretch:
    """A video from which backgrounds may be taken, from frame `first` on, 1-based, `frames` of them."""

    video: Path
    table: FrameTable
    first: int
    frames: int


@dataclass(frozen=True, eq=False)
class Footage:
    """What each split may take its backgrounds from.

    digests: the videos' SHA-256 by their paths below the folder. held_out: those of them that are for validation alone;
    none where that takes the second half of each.
    """

    train: tuple[Stretch, ...]
    val: tuple[Stretch, ...]
    digests: dict[str, str]
    held_out: list[str]

    def described(self) -> dict[str, object]:
        """As it stands among the settings."""
        return {"validation": self.held_out or SECOND_HALVES, "sha256": self.digests}

    def in_words(self) -> str:
        """How many videos there are, and what of them is for validation alone."""
        kept = str(len(self.held_out)) if self.held_out else SECOND_HALVES
        return f"backgrounds of {len(self.digests)} videos, {kept} for validation alone"


def footage_of(folder: Path) -> Footage:
    """Of all videos below `folder`, which are looked through.

    Raises:
        InputError: it is no folder, there is no video, one is there twice, cannot be read, or is too short.
    """
    if folder.is_file():
        raise InputError(f"--backgrounds {folder}: is a file; give a folder of videos")
    videos = find_videos(folder, flag="--backgrounds")
    digests = digests_of(folder, videos)
    halves = len(videos) < FEWEST_TO_PART
    stretches = [whole(video) for video in videos]
    least = FEWEST_FRAMES * (2 if halves else 1)
    if short := [stretch for stretch in stretches if stretch.frames < least]:
        said = ", ".join(f"{stretch.video} has {stretch.frames}" for stretch in short)
        why = f", as of fewer than {FEWEST_TO_PART} videos the halves are taken apart" if halves else ""
        raise InputError(f"--backgrounds {folder}: every video needs {least} frames{why}; {said}")
    if halves:
        first = [replace(each, frames=each.frames // 2) for each in stretches]
        second = [
            replace(each, first=1 + each.frames // 2, frames=each.frames - each.frames // 2) for each in stretches
        ]
        return Footage(tuple(first), tuple(second), digests, held_out=[])
    cut = len(videos) - len(videos) // ONE_IN
    return Footage(tuple(stretches[:cut]), tuple(stretches[cut:]), digests, held_out=list(digests)[cut:])


def digests_of(folder: Path, videos: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each by its path below `folder`. Raises InputError for two that are the same."""
    digests: dict[str, str] = {}
    first: dict[str, str] = {}
    for video in videos:
        name = video.relative_to(folder).as_posix()
        digests[name] = sha256_of(video)
        if (other := first.setdefault(digests[name], name)) != name:
            raise InputError(f"--backgrounds {folder}: {other} and {name} are the same video; take one away")
    return digests


def whole(video: Path) -> Stretch:
    """All of a video. Raises InputError if it cannot be read."""
    try:
        table = scan(video)
    except (DamageError, OSError) as fault:
        raise InputError(f"--backgrounds: {video} cannot be read: {fault}; mend it, or take it away") from fault
    return Stretch(video, table, 1, table.num_frames)


@dataclass(frozen=True, eq=False)
class Film:
    """The background of one rendered video: `numbers`, (F,), says which frame of the real one is shown when.

    place: what part of the picture it is, each 0 to 1: how far to the right, how far down, and its size, 1 for the
    largest part of that shape. size: width and height to which it is scaled.
    """

    stretch: Stretch
    numbers: NDArray[np.intp]
    place: tuple[float, float, float]
    size: tuple[int, int]

    def picture(self, index: int) -> Floats:
        """What is behind frame `index`, (height, width, 3) in grey levels. Raises InputError for a damaged video."""
        return self._pictures[int(self.numbers[index])].astype(np.float64)

    @cached_property
    def _pictures(self) -> dict[int, NDArray[np.uint8]]:
        numbers = np.unique(self.numbers).tolist()
        try:
            frames = read(self.stretch.video, self.stretch.table, numbers)
        except (DamageError, OSError) as fault:
            raise InputError(f"{self.stretch.video} cannot be read: {fault}; mend it, or take it away") from fault
        return {number: self._part(frame) for number, frame in zip(numbers, frames, strict=True)}

    def _part(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        right, down, share = self.place
        height, width = frame.shape[:2]
        scale = share * min(width / self.size[0], height / self.size[1])
        across, along = scale * self.size[0], scale * self.size[1]
        left, top = right * (width - across), down * (height - along)
        region = (left, top, min(left + across, width), min(top + along, height))
        return np.asarray(Image.fromarray(frame).resize(self.size, Image.Resampling.BILINEAR, box=region))


def film_of(
    rng: np.random.Generator, stretches: Sequence[Stretch], background: Nuisance, frames: int, size: tuple[int, int]
) -> Film:
    """Draw the background of a video of so many frames: one picture or, of a moving one, as many in a row.

    The strength is the speed. Where a stretch ends, it goes on backwards.
    """
    stretch = pick(rng, stretches)
    middle = between(rng, 0.5 * FEWEST_FRAMES, stretch.frames - 0.5 * FEWEST_FRAMES)
    speed = pick(rng, (-1.0, 1.0)) * background.strength * (background.kind == "moving")
    way = speed * (np.arange(frames, dtype=np.float64) - 0.5 * (frames - 1))
    at = mirrored(middle + way, stretch.frames)
    numbers = stretch.first + np.floor(at + 0.5).astype(np.intp)
    return Film(stretch, numbers, (rng.random(), rng.random(), between(rng, 0.6, 1.0)), size)
