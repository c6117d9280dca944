"""Crops, scales and mirrors of a group of frames, all frames alike, in uint8.

Legend: a group is uint8 `(L, C, H, W)`, L frames of one video. Resizing is bilinear with antialiasing, within
one grey level of Pillow's. In channels-last memory it is eight times as fast as in planes, and decoded frames
lie so.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from ops.data.bounds import size_fault
from ops.data.decode import FrameError
from ops.errors import InputError
from ops.names import TEST_CROPS

RGB_SCALES = (1.0, 0.875, 0.75, 0.66)
MOTION_SCALES = RGB_SCALES[:3]  # Flow and RGBDiff
SNAP = 3  # pixels: a crop side nearer than this to the input size becomes it, which saves a resize

# In quarters of the free room (down, right): corners, centre, edge middles, quarter points.
CROP_POSITIONS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((0, 2), (2, 0), (2, 4), (4, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)
FIVE_CROPS = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))


class Box(NamedTuple):
    """A rectangle of a frame, in pixels from its top left corner."""

    top: int
    left: int
    height: int
    width: int


def training_crop(height: int, width: int, input_size: int, scales: Sequence[float], rng: np.random.Generator) -> Box:
    """Draw a training crop of a `height` × `width` frame.

    Its sides are scales of the short side, at most one step apart; it lies at one of 13 fixed positions.
    """
    short = min(height, width)
    sides = [_snapped(max(1, int(short * scale)), input_size, short) for scale in scales]
    pairs = [(i, j) for i in range(len(sides)) for j in range(len(sides)) if abs(i - j) <= 1]
    i, j = pairs[rng.integers(len(pairs))]
    down, right = CROP_POSITIONS[rng.integers(len(CROP_POSITIONS))]
    return _place(height, width, sides[i], sides[j], down, right)


def crop_and_resize(group: torch.Tensor, box: Box, size: int) -> torch.Tensor:
    """Cut `box` from every frame and resize it: `(L, C, H, W)` → `(L, C, size, size)`."""
    return _resize(_crop(group, box), size, size)


def mirror(group: torch.Tensor) -> torch.Tensor:
    """Exchange left and right."""
    return group.flip(-1)


def mirror_flow(group: torch.Tensor) -> torch.Tensor:
    """Exchange left and right of flow `(L, 2, H, W)`: what moved to the right moves to the left.

    As published x becomes 255 - x, though no motion is 128.
    """
    mirrored = mirror(group)
    return torch.cat((255 - mirrored[:, :1], mirrored[:, 1:]), dim=1)


def shrunk(group: torch.Tensor, short_side: int) -> torch.Tensor:
    """`(L, C, H, W)` with its short side at most `short_side` pixels (0: any), as `tools/vid2img.py` scales frames.

    Bicubic with antialiasing, the shape to the nearest pixel.
    """
    height, width = shrunk_size(group.shape[-2], group.shape[-1], short_side)
    return _resize(group, height, width, mode="bicubic")


def shrunk_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """What `shrunk` makes of it."""
    short = min(height, width)
    if not short_side or short <= short_side:
        return height, width
    return max(1, round(height * short_side / short)), max(1, round(width * short_side / short))


def test_views(
    group: torch.Tensor,
    crops: int,
    scale_size: int,
    crop_size: int,
    mirror: Callable[[torch.Tensor], torch.Tensor] = mirror,
) -> torch.Tensor:
    """Scale the short side and cut the test crops: `(L, C, H, W)` → `(crops, L, C, crop_size, crop_size)`.

    1: the centre. 3: both ends and the centre along the longer axis (left, right, centre). 5: the corners and
    the centre. 10: those, each followed by its mirror. Raises InputError for another number, or if a crop is
    larger than the scaled frame, and FrameError where the scaled frames, as of a strip, are beyond the bounds.
    """
    if crops not in TEST_CROPS:
        raise InputError(f"{crops} test crops are not defined; expected one of {', '.join(map(str, TEST_CROPS))}.")
    scaled = _scale_short_side(group, scale_size)
    height, width = scaled.shape[-2:]
    if crop_size > min(height, width):
        raise InputError(
            f"A test crop of {crop_size} × {crop_size} does not fit a frame scaled to {width} × {height}; "
            f"take a larger scale than {scale_size} or a smaller crop."
        )
    views = [_crop(scaled, box) for box in test_boxes(height, width, crops, crop_size)]
    if crops == 10:
        views = [view for crop in views for view in (crop, mirror(crop))]
    # Stacked as (crops, L, H, W, C), so that the memory stays channels-last.
    return torch.stack([view.permute(0, 2, 3, 1) for view in views]).permute(0, 1, 4, 2, 3)


def test_boxes(height: int, width: int, crops: int, size: int) -> list[Box]:
    if crops == 1:  # rounded to the nearest pixel, where the others step in whole quarters
        return [Box(round((height - size) / 2), round((width - size) / 2), size, size)]
    if crops == 3:
        ends = ((2, 0), (2, 4)) if width >= height else ((0, 2), (4, 2))
        return [_place(height, width, size, size, *position) for position in (*ends, (2, 2))]
    return [_place(height, width, size, size, *position) for position in FIVE_CROPS]


def _snapped(side: int, input_size: int, short: int) -> int:
    return input_size if abs(side - input_size) < SNAP and input_size <= short else side


def _place(height: int, width: int, crop_height: int, crop_width: int, down: int, right: int) -> Box:
    """A crop `down` and `right` quarters of the free room away from the top left corner."""
    top, left = (height - crop_height) // 4 * down, (width - crop_width) // 4 * right
    return Box(top, left, crop_height, crop_width)


def _crop(group: torch.Tensor, box: Box) -> torch.Tensor:
    return group[..., box.top : box.top + box.height, box.left : box.left + box.width]


def _scale_short_side(group: torch.Tensor, size: int) -> torch.Tensor:
    frames, channels, *stored = group.shape
    height, width = scaled_size(stored[0], stored[1], size)
    if fault := size_fault(width, height, frames, channels):
        raise FrameError(f"frames of {stored[1]} × {stored[0]} pixels, scaled to a short side of {size}: {fault}")
    return _resize(group, height, width)


def scaled_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Of a frame once its short side is `size`, as before test crops."""
    return (size, int(size * width / height)) if height <= width else (int(size * height / width), size)


def _resize(group: torch.Tensor, height: int, width: int, mode: str = "bilinear") -> torch.Tensor:
    """`(L, C, H, W)` → `(L, C, height, width)`; a group of that size already is returned as it is."""
    if group.shape[-2:] == (height, width):
        return group
    group = group.contiguous(memory_format=torch.channels_last)
    # PyTorch resizes bytes on the CPU only.
    pixels = group if group.device.type == "cpu" else group.float()
    resized = F.interpolate(pixels, (height, width), mode=mode, antialias=True)
    return resized if resized.dtype == torch.uint8 else resized.round_().clamp_(0, 255).to(torch.uint8)
