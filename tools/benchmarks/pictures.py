"""Made frames that cost a decoder what photographed ones cost: pictures with the spectrum of natural scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ops.data.records import VideoRecord

SLOPE = 1.5  # of the spectrum's fall. At this one JPEG files are as large as those of real clips at the same size.
CONTRAST = 48  # grey levels
SHIFT = 2  # pixels from a frame to the next


def write_videos(root: Path, videos: int, frames: int, size: tuple[int, int], quality: int) -> list[VideoRecord]:
    """Folders of JPEG frames of `size` (width, height) below `root`, each a picture that moves."""
    width, height = size
    rng = np.random.default_rng(0)
    for video in range(videos):
        folder = root / f"{video:05d}"
        folder.mkdir(parents=True)
        wide = picture(rng, height, width + SHIFT * frames)
        for frame in range(frames):
            part = wide[:, SHIFT * frame :][:, :width]
            Image.fromarray(part).save(folder / f"{frame + 1:05d}.jpg", quality=quality)
    return [VideoRecord(f"{video:05d}", frames, video) for video in range(videos)]


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 `(height, width, 3)`: brightness and two weaker colours of random phase, falling as 1/f^SLOPE."""
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(down, right)
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(rng.standard_normal((3, height, width))) / frequency**SLOPE
    light, blue, red = (plane / plane.std() for plane in np.fft.irfft2(waves, s=(height, width)))
    colours = np.stack((light + 0.3 * red, light - 0.15 * red - 0.1 * blue, light + 0.35 * blue), axis=2)
    return np.clip(128 + CONTRAST * colours, 0, 255).astype(np.uint8)
