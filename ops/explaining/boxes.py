"""Where a video's moving objects are, for data sets that know it: read from `boxes.json`, and put into a clip's pixels.

The file lies beside the data set's `frames`; `tools/make_demo_dataset.py` says what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ops.data.clips import ClipOptions
from ops.data.transforms import scaled_size, shrunk_size, test_boxes
from ops.errors import InputError

FILE = "boxes.json"
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels; the last two are outside


@dataclass(frozen=True)
class Boxes:
    """Of a video whose frames have these sides in pixels: the boxes of each frame."""

    width: int
    height: int
    frames: tuple[tuple[Box, ...], ...]

    def in_clip(self, numbers: Sequence[int], options: ClipOptions) -> tuple[tuple[Box, ...], ...]:
        """In the pixels of the test's centre crop, of the frames with these 1-based numbers.

        Scaled and cropped by the numbers by which frames are (see `ops.data.clips.evaluation_crops`).
        """
        height, width = scaled_size(
            *shrunk_size(self.height, self.width, options.stored_short_side), options.scale_size
        )
        (crop,) = test_boxes(height, width, 1, options.input_size)
        right, down = width / self.width, height / self.height

        def moved(box: Box) -> Box:
            left, top, end, bottom = box
            corners = left * right - crop.left, top * down - crop.top, end * right - crop.left, bottom * down - crop.top
            left, top, end, bottom = (min(max(value, 0.0), options.input_size) for value in corners)
            return left, top, end, bottom

        each = ([moved(box) for box in self.frames[number - 1]] for number in numbers)
        return tuple(tuple(box for box in boxes if box[0] < box[2] and box[1] < box[3]) for boxes in each)


def boxes_beside(video: Path) -> Boxes | None:
    """Those of a folder of frames, if its data set knows them; None if not.

    Raises InputError for a file that is not what it should be.
    """
    file = video.absolute().parent.parent / FILE
    if not video.is_dir() or not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get(video.absolute().name)
        if found is None:
            return None
        frames = tuple(tuple(_box(box) for box in boxes) for boxes in found["frames"])
        return Boxes(int(found["width"]), int(found["height"]), frames)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{file}: not the boxes of a data set's videos, as tools/make_demo_dataset.py writes them ({error}): "
            "move it away, or have it written anew"
        ) from error


def inside(boxes: Sequence[Box], side: int) -> np.ndarray:
    """Which of `(side, side)` pixels have their middle in one of the boxes: booleans."""
    middles = np.arange(side) + 0.5
    mask = np.zeros((side, side), bool)
    for left, top, right, bottom in boxes:
        rows, columns = (middles >= top) & (middles < bottom), (middles >= left) & (middles < right)
        mask |= rows[:, None] & columns[None, :]
    return mask


def _box(values: Sequence[float]) -> Box:
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom
