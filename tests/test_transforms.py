"""Crops and scales: the published test views, Pillow as the literal form, the places of training crops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_data import picture
from PIL import Image

from ops.data import transforms
from ops.data.transforms import RGB_SCALES, Box, crop_and_resize, mirror, training_crop
from ops.errors import InputError

MEAN = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)


def wave_group(height: int, width: int) -> torch.Tensor:
    """The two-frame group of the golden numbers, uint8 (2, 3, height, width)."""
    y, x, c = np.ogrid[:height, :width, :3]
    frames = [127.5 + 127.5 * np.sin((x * (1 + c) + y * (2 - c)) / (9 + 3 * c) + 0.7 * frame) for frame in range(2)]
    return torch.from_numpy(np.stack(frames).astype(np.uint8)).permute(0, 3, 1, 2)


def random_group(height: int, width: int, frames: int = 3) -> torch.Tensor:
    pictures = np.stack([picture(seed, height, width) for seed in range(frames)])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def position_group(height: int, width: int) -> torch.Tensor:
    """One frame whose red is its row and green its column: a crop tells where it was cut."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x, torch.zeros_like(x)]).to(torch.uint8)[None]


def corners(views: torch.Tensor) -> list[tuple[int, int]]:
    """(row, column) of the top left pixel of each view of a position group."""
    return [(int(view[0, 0, 0, 0]), int(view[0, 1, 0, 0])) for view in views]


def test_published_test_views(golden: Path) -> None:
    with np.load(golden / "test_transforms.npz") as stored:
        expected = dict(stored)
    assert len(expected) == 18
    for key, values in expected.items():
        size, crops, kind = key.split("_")
        height, width = map(int, size[1:].split("w"))
        views = transforms.test_views(wave_group(height, width), int(crops[5:]), 256, 256 if kind == "full" else 224)
        assert views.dtype == torch.uint8
        sampled = views[..., 8::16, 8::16].numpy()
        assert sampled.shape == values.shape
        assert np.abs(sampled - 255 * (values * DEVIATION + MEAN)).max() < 1.5, key


@pytest.mark.parametrize(("height", "width"), [(100, 176), (240, 427), (300, 200)])
def test_scaling_is_pillows(height: int, width: int) -> None:
    group = random_group(height, width)
    short = min(height, width)
    size = (int(256 * width / short), int(256 * height / short))
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    views = transforms.test_views(group, 1, 256, 224)[0]
    for frame, view in zip(group, views, strict=True):
        scaled = Image.fromarray(frame.permute(1, 2, 0).numpy()).resize(size, Image.Resampling.BILINEAR)
        expected = np.asarray(scaled.crop((left, top, left + 224, top + 224)), dtype=int)
        assert np.abs(view.permute(1, 2, 0).numpy() - expected).max() < 1.5


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("box", [Box(3, 10, 160, 180), Box(0, 0, 240, 320), Box(20, 30, 100, 90)])
def test_crop_and_resize_is_pillows(box: Box, channels_last: bool) -> None:
    group = random_group(240, 320)
    group = group.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    result = crop_and_resize(group, box, 112)
    assert result.dtype == torch.uint8
    assert result.shape == (3, 3, 112, 112)
    for frame, cropped in zip(group, result, strict=True):
        image = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
        image = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
        expected = np.asarray(image.resize((112, 112), Image.Resampling.BILINEAR), dtype=int)
        assert np.abs(cropped.permute(1, 2, 0).numpy() - expected).max() < 1.5


def test_crop_of_the_right_size_is_exact() -> None:
    group = random_group(60, 80)
    assert torch.equal(crop_and_resize(group, Box(5, 7, 32, 32), 32), group[:, :, 5:37, 7:39])


def test_all_frames_of_a_group_get_the_same_crop() -> None:
    group = random_group(60, 80, frames=1).repeat(4, 1, 1, 1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        result = crop_and_resize(group, training_crop(60, 80, 32, RGB_SCALES, rng), 32)
        assert all(torch.equal(frame, result[0]) for frame in result)
    views = transforms.test_views(group, 5, 40, 32)
    assert all(torch.equal(views[:, frame], views[:, 0]) for frame in range(4))


def test_training_crops_take_all_allowed_sides_and_places_and_no_others() -> None:
    height, width = 240, 320  # sides 240, 210, 180, 158; none near 112
    sides = [240, 210, 180, 158]
    rng = np.random.default_rng(0)
    boxes = {training_crop(height, width, 112, RGB_SCALES, rng) for _ in range(5000)}
    assert {(box.height, box.width) for box in boxes} == {
        (sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1
    }
    places = {(box.top, box.left) for box in boxes if (box.height, box.width) == (180, 180)}
    quarters = {(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (0, 2), (4, 2), (2, 0), (2, 4)}
    quarters |= {(1, 1), (1, 3), (3, 1), (3, 3)}
    assert places == {(15 * down, 35 * right) for down, right in quarters}


def test_training_crop_snaps_to_the_input_size() -> None:
    rng = np.random.default_rng(0)
    sides = {training_crop(256, 340, 224, RGB_SCALES, rng).height for _ in range(300)}
    assert sides == {256, 224, 192, 168}
    sides = {training_crop(258, 340, 224, RGB_SCALES, rng).height for _ in range(300)}  # 258·0.875 = 225
    assert sides == {258, 224, 193, 170}
    sides = {training_crop(222, 340, 224, RGB_SCALES, rng).height for _ in range(300)}  # 224 would not fit
    assert sides == {222, 194, 166, 146}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (37, 23), (224, 224), (223, 500), (1000, 226)])
def test_training_crops_lie_inside(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, crop_height, crop_width = training_crop(height, width, 224, RGB_SCALES, rng)
        assert top >= 0
        assert left >= 0
        assert 1 <= crop_height <= height - top
        assert 1 <= crop_width <= width - left


def test_mirror_twice_is_nothing_and_once_is_not() -> None:
    group = random_group(20, 30)
    assert torch.equal(mirror(group)[..., 0], group[..., -1])
    assert not torch.equal(mirror(group), group)
    assert torch.equal(mirror(mirror(group)), group)


def test_places_of_test_crops() -> None:
    wide = position_group(100, 141)  # free room beside a crop of 80: 20 down, 61 right
    assert corners(transforms.test_views(wide, 1, 100, 80)) == [(10, 30)]
    assert corners(transforms.test_views(wide, 3, 100, 80)) == [(10, 0), (10, 60), (10, 30)]
    five = [(0, 0), (0, 60), (20, 0), (20, 60), (10, 30)]
    assert corners(transforms.test_views(wide, 5, 100, 80)) == five
    ten = transforms.test_views(wide, 10, 100, 80)
    assert corners(ten[::2]) == five
    assert torch.equal(ten[1::2], mirror(ten[::2]))


def test_three_crops_follow_the_longer_axis() -> None:
    tall = position_group(140, 100)
    assert corners(transforms.test_views(tall, 3, 100, 100)) == [(0, 0), (40, 0), (20, 0)]


def test_a_crop_that_does_not_fit() -> None:
    with pytest.raises(InputError, match=r"224 × 224 does not fit a frame scaled to 133 × 100"):
        transforms.test_views(random_group(60, 80), 3, 100, 224)


@pytest.mark.parametrize("crops", [0, 2, 4, 30])
def test_undefined_number_of_crops(crops: int) -> None:
    with pytest.raises(InputError, match=f"^{crops} test crops are not defined; expected one of 1, 3, 5, 10"):
        transforms.test_views(random_group(60, 80), crops, 60, 50)
