"""Small frame folders for the tests of the data half."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ops.data.catalog import DataSource
from ops.data.records import VideoRecord
from ops.data.storages import listed, open_storage


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth colour picture, uint8 `(height, width, 3)`; smooth, so that JPEG hardly changes it."""
    rng = np.random.default_rng(seed)
    y, x, c = np.ogrid[:height, :width, :3]
    fx, fy, phase = rng.uniform(0.02, 0.1, 3), rng.uniform(0.02, 0.1, 3), rng.uniform(0, 6, 3)
    return (127.5 + 120 * np.sin(fx[c] * x + fy[c] * y + phase[c])).astype(np.uint8)


def flat(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture of one grey value, which survives JPEG exactly: frame k can carry its number."""
    return np.full((height, width, 3), value, np.uint8)


def write_frames(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Write 00001.jpg, 00002.jpg, … into `folder`."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(pictures, start=1):
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=95)
    return folder


def write_videos(root: Path, lengths: Sequence[int], height: int = 48, width: int = 64) -> list[VideoRecord]:
    """One folder of flat frames for each length, frame k of grey value 10·k; labels 0, 1, 2, …"""
    for place, length in enumerate(lengths):
        frames = [flat(10 * number, height, width) for number in range(1, length + 1)]
        write_frames(root / f"video {place}", frames)
    return [VideoRecord(f"video {place}", length, place) for place, length in enumerate(lengths)]


def grey(value: int, height: int = 48, width: int = 64) -> Image.Image:
    """A grey picture of one value."""
    return Image.fromarray(np.full((height, width), value, np.uint8))


def write_flow(folder: Path, values: Sequence[tuple[int, int]], packed: bool) -> None:
    """Flow frames of one x and one y everywhere, as pairs of grey pictures or packed into one."""
    folder.mkdir(parents=True)
    for number, (x, y) in enumerate(values, start=1):
        if packed:
            both = Image.merge("RGB", [grey(x), grey(y), grey(7)])
            both.save(folder / f"{number:05d}.jpg", quality=100, subsampling=0)
        else:
            grey(x).save(folder / f"flow_x_{number:05d}.jpg", quality=100)
            grey(y).save(folder / f"flow_y_{number:05d}.jpg", quality=100)


def train_records(data: DataSource) -> list[VideoRecord]:
    """The videos of the training list."""
    return listed(data, open_storage(data), data.train_list)


def val_records(data: DataSource) -> list[VideoRecord]:
    """The videos of the validation list."""
    return listed(data, open_storage(data), data.val_list)
