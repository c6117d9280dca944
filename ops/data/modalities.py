"""What a segment is made of in each modality, of which pictures, and how it is mirrored.

Legend: a group is uint8 `(L, c, H, W)`: L stored frames of one video, c = 3 colours or 2 directions of flow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ops.data.frame_names import FLOW_PREFIXES
from ops.data.transforms import MOTION_SCALES, RGB_SCALES, mirror, mirror_flow


def picture_names(template: str, numbers: Sequence[int], pairs: bool, first: int = 1) -> list[str]:
    """The files of the frames of these numbers, from 1; of flow in pairs all x, then all y.

    `first` is the number in the name of the first.
    """
    prefixes = FLOW_PREFIXES if pairs else ("",)
    return [prefix + template.format(number - 1 + first) for prefix in prefixes for number in numbers]


def group_frames(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures `(L, 3, H, W)` are the frames."""
    return pictures


def group_flow(pictures: torch.Tensor) -> torch.Tensor:
    """Flow from a frame to the next, uint8 `(L, 2, H, W)`: x and y, 128 where nothing moves.

    Stored as pairs of grey pictures, `flow_x_00001.jpg` and `flow_y_00001.jpg`, here `(2·L, 1, H, W)`, all x before all
    y; or packed into one of three channels, `00001.jpg`, `(L, 3, H, W)`: x in the first, y in the second.
    """
    pairs = pictures.shape[1] == 1
    return torch.cat(pictures.chunk(2), dim=1) if pairs else pictures[:, :2]


def picture_frames(segments: torch.Tensor) -> torch.Tensor:
    """Frames `(T, L, 3, H, W)`: the first of each segment."""
    return segments[:, 0]


def picture_flow(segments: torch.Tensor) -> torch.Tensor:
    """Flow `(T, L, 2, H, W)`: the first of each segment, x as red, y as green; grey where nothing moves."""
    first = segments[:, 0]
    return torch.cat((first, torch.full_like(first[:, :1], 128)), dim=1)  # (T, 2, H, W) to (T, 3, H, W)


def picture_differences(segments: torch.Tensor) -> torch.Tensor:
    """Frames `(T, L, 3, H, W)` as the network sees them: each segment's first difference; grey where nothing moves."""
    difference = segments[:, 1].int() - segments[:, 0].int()  # from -255 to 255
    return ((difference + 256) // 2).clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Modality:
    """frames: how many consecutive stored frames make a segment. channels: of each. scales: of the training crops.

    group: of decoded pictures (see `picture_names`), those of flow in pairs grey. picture: of a clip's segments, uint8
    `(T, L, c, H, W)`, one for people to look at each, uint8 `(T, 3, H, W)`.
    """

    frames: int
    channels: int
    scales: tuple[float, ...]
    group: Callable[[torch.Tensor], torch.Tensor]
    mirror: Callable[[torch.Tensor], torch.Tensor]
    picture: Callable[[torch.Tensor], torch.Tensor]


MODALITIES = {
    "RGB": Modality(1, 3, RGB_SCALES, group_frames, mirror, picture_frames),
    "Flow": Modality(5, 2, MOTION_SCALES, group_flow, mirror_flow, picture_flow),
    # Six frames have five differences.
    "RGBDiff": Modality(6, 3, MOTION_SCALES, group_frames, mirror, picture_differences),
}
