"""Where a video's moving objects are, for data sets that know it: read from `boxes.json`, and put into a clip's pixels.

The file lies beside the data set's `frames`; `tools/make_demo_dataset.py` says what is in it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ops.data.clips import ClipOptions
from ops.data.records import UNLABELLED, VideoRecord
from ops.data.transforms import scaled_size, shrunk_size, test_boxes
from ops.errors import InputError
from ops.recognition.sources import SeriesFolder, series_in

logger = logging.getLogger(__name__)

FILE = "boxes.json"
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels; the last two are outside


@dataclass(frozen=True)
class Boxes:
    """Of a video whose frames have these sides in pixels: the boxes of each frame. Raises InputError for no sides."""

    width: int
    height: int
    frames: tuple[tuple[Box, ...], ...]

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InputError(f"boxes of frames of {self.width} × {self.height} pixels: expected sides of 1 or more")

    def in_clip(self, numbers: Sequence[int], options: ClipOptions) -> tuple[tuple[Box, ...], ...]:
        """In the pixels of the test's centre crop, of the frames with these 1-based numbers.

        Scaled and cropped by the numbers by which frames are (see `ops.data.clips.evaluation_crops`). Raises InputError
        for boxes of fewer frames.
        """
        if max(numbers) > len(self.frames):
            raise InputError(f"boxes of {len(self.frames)} frames: expected those of frame {max(numbers)} too")
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


def boxes_beside(video: Path, modality: str = "RGB") -> Boxes | None:
    """Those of a folder of frames, if its data set knows them; None if not.

    Those that do not fit the frames, and a file of that name that holds something else, are left out with a warning.
    """
    file = video.absolute().parent.parent / FILE
    if not video.is_dir():
        return None
    try:
        boxes = _read(file, video.absolute().name)
        if boxes is not None:
            _check_fits(boxes, video, modality)
        return boxes
    except InputError as error:
        logger.warning("%s is left out: %s", file, error)
        return None


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


def _read(file: Path, name: str) -> Boxes | None:
    """Those of a video; None where the file, or the video in it, is not there. Raises InputError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get(name)
        if found is None:
            return None
        frames = tuple(tuple(_box(box) for box in boxes) for boxes in found["frames"])
        return Boxes(int(found["width"]), int(found["height"]), frames)
    except FileNotFoundError:
        return None
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"not the boxes of a data set's videos, as tools/make_demo_dataset.py writes them ({error})"
        ) from error


def _check_fits(boxes: Boxes, folder: Path, modality: str) -> None:
    """Raises InputError for boxes of other frames than those in a folder, or if the first of these cannot be read."""
    series = series_in(folder, modality)
    count = len(series.numbers)
    first = SeriesFolder(folder.parent, series, modality).read(VideoRecord(folder.name, count, UNLABELLED), [1])
    own, given = (count, *first.shape[:-3:-1]), (len(boxes.frames), boxes.width, boxes.height)
    if own != given:
        words = ["{} frames of {} × {} pixels".format(*facts) for facts in (given, own)]
        raise InputError(f"its boxes are of {words[0]}, and {folder} has {words[1]}")
