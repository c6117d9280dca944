"""What a segment is made of in each modality, how it is read and how it is mirrored.

Legend: a group is uint8 `(L, c, H, W)`: L stored frames of one video, c = 3 colours or 2 directions of flow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ops.data.decode import MissingFrameError, decode_group
from ops.data.transforms import MOTION_SCALES, RGB_SCALES, mirror, mirror_flow

FLOW_PREFIXES = ("flow_x_", "flow_y_")


def read_frames(folder: Path, template: str, numbers: Sequence[int]) -> torch.Tensor:
    """Frames of a video by their numbers, uint8 `(L, 3, H, W)`. Raises FrameError."""
    return decode_group([folder / template.format(number) for number in numbers])


def read_flow(folder: Path, template: str, numbers: Sequence[int]) -> torch.Tensor:
    """Flow from a frame to the next, uint8 `(L, 2, H, W)`: x and y, 128 where nothing moves. Raises FrameError.

    Stored as pairs of grey pictures, `flow_x_00001.jpg` and `flow_y_00001.jpg`, or packed into one of three
    channels, `00001.jpg`: x in the first, y in the second.
    """
    pairs = [[folder / (prefix + template.format(number)) for number in numbers] for prefix in FLOW_PREFIXES]
    if pairs[0][0].exists():
        return torch.cat([decode_group(paths, grey=True) for paths in pairs], dim=1)
    packed = folder / template.format(numbers[0])
    if not packed.exists():
        raise MissingFrameError(f"{pairs[0][0]}: no such file, nor the packed {packed.name}")
    return read_frames(folder, template, numbers)[:, :2]


@dataclass(frozen=True, slots=True)
class Modality:
    """frames: how many consecutive stored frames make a segment. channels: of each. scales: of the training crops."""

    frames: int
    channels: int
    scales: tuple[float, ...]
    read: Callable[[Path, str, Sequence[int]], torch.Tensor]
    mirror: Callable[[torch.Tensor], torch.Tensor]


MODALITIES = {
    "RGB": Modality(1, 3, RGB_SCALES, read_frames, mirror),
    "Flow": Modality(5, 2, MOTION_SCALES, read_flow, mirror_flow),
    "RGBDiff": Modality(6, 3, MOTION_SCALES, read_frames, mirror),  # six frames have five differences
}
