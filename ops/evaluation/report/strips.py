"""The frames of a video side by side in one small JPEG, which a page plays: one file a video, of a bounded size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ops.errors import InputError
from ops.files import atomic_write

SIDE = 128  # pixels: of a frame's longer side
MOST_FRAMES = 8
QUALITY = 80
FRAMES = "frames"  # the folder of an album's strips
STRIP = re.compile(r"[0-9a-f]{16}\.jpg")  # what is in it

Frames = Callable[..., np.ndarray]  # of a video, by its paths: uint8 (n, H, W, 3); raises InputError where it has none


@dataclass(frozen=True)
class Strip:
    """A file of frames side by side, named as the page beside it does; `width`, `height`: of one frame in pixels.

    fault: why there are no frames, in words; then there is no file.
    """

    file: str = ""
    frames: int = 0
    width: int = SIDE
    height: int = SIDE
    fault: str = ""


def write_strip(folder: Path, file: str, frames: np.ndarray) -> Strip:
    """Writes `folder`/`file` of frames `(n, H, W, 3)` of uint8, of which at most eight are taken, spread evenly."""
    count = min(len(frames), MOST_FRAMES)
    chosen = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    height, width = chosen.shape[1:3]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    whole = Image.new("RGB", (count * size[0], size[1]))
    for place, frame in enumerate(chosen):
        whole.paste(
            Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=2), (place * size[0], 0)
        )
    with atomic_write(folder / file) as opened:
        whole.save(opened, format="JPEG", quality=QUALITY)
    return Strip(file, count, *size)


class Album:
    """The strips of the videos that a page shows, each read and written once, in `frames` beside it."""

    def __init__(self, folder: Path, frames: Frames) -> None:
        self.folder = folder
        self.frames = frames
        self.strips: dict[str, Strip] = {}

    def strip(self, path: str, *others: str) -> Strip:
        """That of the video at `path`, which names its file, and at `others` in other lists; written if it is not."""
        if path not in self.strips:
            name = f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.jpg"
            try:
                self.strips[path] = write_strip(self.folder, f"{FRAMES}/{name}", self.frames(path, *others))
            except InputError as error:
                self.strips[path] = Strip(fault=str(error))
        return self.strips[path]

    def remove_others(self) -> None:
        """Those of an earlier page, once the new one is written; nothing else."""
        own = {self.folder / strip.file for strip in self.strips.values()}
        for file in (self.folder / FRAMES).glob("*.jpg"):
            if STRIP.fullmatch(file.name) and file not in own:
                file.unlink()
        with suppress(OSError):  # it is not empty, or not there
            (self.folder / FRAMES).rmdir()
