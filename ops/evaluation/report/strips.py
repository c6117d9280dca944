"""The frames of a video side by side in one small JPEG, which a page plays: one file a video, of a bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ops.files import atomic_write

SIDE = 128  # pixels: of a frame's longer side
MOST_FRAMES = 8
QUALITY = 80


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
