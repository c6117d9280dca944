"""Clips: their frames, the order of their views, the labels of mirrored ones, what is said of bad videos."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_data import flat, picture, write_frames, write_videos

from ops.data.clips import ClipMode, ClipOptions, Sample, Unreadable, VideoClips
from ops.data.decode import Pictures, decode_group, decode_images
from ops.data.records import VideoRecord
from ops.data.sampling import TEST_MODES
from ops.data.storages import frames
from ops.data.storages.frames import FrameFolders
from ops.data.transforms import mirror
from ops.data.transforms import test_views as make_views
from ops.errors import InputError

TEMPLATE = "{:05d}.jpg"
SMALL = ClipOptions(segments=4, input_size=28)  # short side scaled to 32


def sample(
    root: Path, record: VideoRecord, mode: ClipMode, options: ClipOptions, key: tuple[int, int] = (0, 0)
) -> Sample:
    item = VideoClips([record], FrameFolders(root, TEMPLATE), mode, options)[key]
    assert isinstance(item, Sample), item
    return item


def unreadable(root: Path, record: VideoRecord, mode: ClipMode = "val") -> Unreadable:
    item = VideoClips([record], FrameFolders(root, TEMPLATE), mode, SMALL)[0, 0]
    assert isinstance(item, Unreadable)
    assert item.path == record.path
    assert item.index == 0
    return item


def frame_numbers(clip: torch.Tensor) -> list[list[int]]:
    """Numbers of the flat frames of each view: (V, T, C, H, W) → V lists of T·L."""
    return (clip[..., ::3, 0, 0].flatten(1).float() / 10).round().int().tolist()


@pytest.fixture
def video(tmp_path: Path) -> tuple[Path, VideoRecord]:
    return tmp_path, write_videos(tmp_path, [20])[0]


def test_validation_takes_the_middles(video: tuple[Path, VideoRecord]) -> None:
    item = sample(*video, "val", SMALL)
    assert item.clip.shape == (1, 4, 3, 28, 28)
    assert item.clip.dtype == torch.uint8
    assert frame_numbers(item.clip) == [[3, 8, 13, 18]]
    assert (item.label, item.index) == (0, 0)


def test_validation_is_the_centre_crop_of_the_scaled_frame(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", [picture(seed) for seed in range(6)])
    item = sample(tmp_path, VideoRecord("v", 6, 0), "val", replace(SMALL, segments=2))
    group = decode_group([folder / "00002.jpg", folder / "00005.jpg"])
    assert torch.equal(item.clip[0], make_views(group, 1, 32, 28)[0])


def test_training_frames_lie_in_their_parts_and_change_with_epoch(video: tuple[Path, VideoRecord]) -> None:
    drawn = set()
    for epoch in range(20):
        item = sample(*video, "train", SMALL, (epoch, 0))
        assert item.clip.shape == (1, 4, 3, 28, 28)
        (numbers,) = frame_numbers(item.clip)
        assert [(number - 1) // 5 for number in numbers] == [0, 1, 2, 3]
        drawn.add(tuple(numbers))
    assert len(drawn) > 10


def test_training_depends_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [picture(seed) for seed in range(12)])
    records = [VideoRecord("v", 12, 0)] * 3
    dataset = VideoClips(records, FrameFolders(tmp_path, TEMPLATE), "train", SMALL)
    other_seed = VideoClips(records, FrameFolders(tmp_path, TEMPLATE), "train", replace(SMALL, seed=1))

    def clip(clips: VideoClips, epoch: int, index: int) -> torch.Tensor:
        item = clips[epoch, index]
        assert isinstance(item, Sample)
        return item.clip

    first = clip(dataset, 3, 1)
    torch.manual_seed(99)
    clip(dataset, 0, 0)
    assert torch.equal(clip(dataset, 3, 1), first)
    for other in (clip(dataset, 4, 1), clip(dataset, 3, 2), clip(other_seed, 3, 1)):
        assert not torch.equal(other, first)


def test_test_views_are_ordered_crop_by_crop_and_within_a_crop_clip_by_clip(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", [picture(seed) for seed in range(8)])
    options = replace(SMALL, segments=2, test_mode="twice", crops=10)
    item = sample(tmp_path, VideoRecord("v", 8, 0), "test", options)
    assert item.clip.shape == (20, 2, 3, 28, 28)

    def views(*numbers: int) -> torch.Tensor:  # (10, 2, 3, 28, 28)
        return make_views(decode_group([folder / TEMPLATE.format(number) for number in numbers]), 10, 32, 28)

    middles, starts = views(3, 7), views(1, 5)
    expected = [clip for pair in zip(middles, starts, strict=True) for clip in pair]
    assert torch.equal(item.clip, torch.stack(expected))
    assert torch.equal(item.clip[2], mirror(item.clip[0]))  # the crop, then its mirror


@pytest.mark.parametrize(
    ("options", "views", "size"),
    [
        (SMALL, 1, 28),
        (replace(SMALL, test_mode="dense"), 10, 28),
        (replace(SMALL, test_mode="ten_sparse"), 3, 28),
        (replace(SMALL, test_mode="ten_sparse", sparse_clips=10, crops=5), 50, 28),
        (replace(SMALL, test_mode="twice", crops=3, full_res=True), 6, 32),
    ],
)
def test_shapes_in_testing(video: tuple[Path, VideoRecord], options: ClipOptions, views: int, size: int) -> None:
    assert sample(*video, "test", options).clip.shape == (views, 4, 3, size, size)


def test_scale_for_the_usual_input_is_256() -> None:
    assert ClipOptions(segments=8).scale_size == 256


def test_each_frame_is_decoded_once(video: tuple[Path, VideoRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def counting(pictures: Pictures) -> torch.Tensor:
        asked.extend(map(Path, pictures.names))
        return decode_images(pictures)

    monkeypatch.setattr(frames, "decode_images", counting)
    item = sample(*video, "test", replace(SMALL, segments=8, test_mode="dense"))
    assert item.clip.shape[0] == 10
    assert sorted(path.name for path in asked) == [TEMPLATE.format(k) for k in (1, 5, 9, 13, 17)]
    assert frame_numbers(item.clip)[0] == [1, 9, 17, 5, 13, 1, 9, 17]


def test_reverse_time(video: tuple[Path, VideoRecord]) -> None:
    options = replace(SMALL, test_mode="twice", reverse_time=True)
    assert frame_numbers(sample(*video, "test", options).clip) == [[18, 13, 8, 3], [16, 11, 6, 1]]
    assert frame_numbers(sample(*video, "val", options).clip) == [[18, 13, 8, 3]]
    forward = sample(*video, "train", SMALL).clip
    backward = sample(*video, "train", replace(SMALL, reverse_time=True)).clip
    assert torch.equal(backward, forward.flip(1))


@pytest.mark.parametrize("modality", ["RGB", "RGBDiff"])
def test_a_video_listed_backwards_has_the_same_frames_in_reverse_order(
    video: tuple[Path, VideoRecord], modality: str
) -> None:
    """Of whichever length and sampling; not those that its frames in reverse order would be sampled to."""
    root, record = video
    modes: list[tuple[ClipMode, dict[str, Any]]] = [("train", {}), ("train", {"dense": True}), ("val", {})]
    modes += [("test", {"test_mode": mode}) for mode in TEST_MODES]
    for length in (3, 19, 20):
        one = replace(record, num_frames=length)
        for mode, options in modes:
            how = replace(SMALL, modality=modality, **options)
            there = frame_numbers(sample(root, one, mode, how).clip)
            back = frame_numbers(sample(root, replace(one, backwards=True), mode, how).clip)
            assert back == [clip[::-1] for clip in there]
            again = sample(root, replace(one, backwards=True), mode, replace(how, reverse_time=True)).clip
            assert frame_numbers(again) == there


def test_flow_of_a_video_listed_backwards_is_refused(video: tuple[Path, VideoRecord]) -> None:
    root, record = video
    records = [record, replace(record, backwards=True)]
    with pytest.raises(InputError, match=r"^backwards:video 0: flow can't be played backwards"):
        VideoClips(records, FrameFolders(root, modality="Flow"), "val", replace(SMALL, modality="Flow"))


def test_an_unreadable_video_is_called_as_its_list_has_it(tmp_path: Path) -> None:
    item = VideoClips([VideoRecord("none", 9, 0, backwards=True)], FrameFolders(tmp_path), "val", SMALL)[0, 0]
    assert isinstance(item, Unreadable) and item.path == "backwards:none" and f"{tmp_path / 'none'} does" in item.reason


def test_several_frames_a_segment_follow_each_other_in_the_channels(video: tuple[Path, VideoRecord]) -> None:
    item = sample(*video, "val", replace(SMALL, modality="RGBDiff"))
    assert item.clip.shape == (1, 4, 18, 28, 28)
    assert frame_numbers(item.clip) == [[*range(2, 8), *range(6, 12), *range(10, 16), *range(14, 20)]]


def test_dense_clip_with_segments_beyond_the_end_repeats_the_last_frame(tmp_path: Path) -> None:
    record = write_videos(tmp_path, [9])[0]
    options = replace(SMALL, segments=2, modality="RGBDiff", test_mode="dense")
    assert frame_numbers(sample(tmp_path, record, "test", options).clip)[0] == [*range(1, 7), 6, 7, 8, 9, 9, 9]
    options = replace(options, segments=8)  # published indices 1, 9, 8, 7, …
    assert frame_numbers(sample(tmp_path, record, "test", options).clip)[0][6:14] == [9] * 6 + [8, 9]


def half_white(root: Path) -> VideoRecord:
    """A video whose left half is white: a mirrored clip shows it at once."""
    pixels = flat(0)
    pixels[:, :32] = 255
    write_frames(root / "v", [pixels] * 4)
    return VideoRecord("v", 4, 1)


def is_mirrored(clip: torch.Tensor) -> bool:
    return bool(clip[..., -8:].float().mean() > clip[..., :8].float().mean())


def mirrored_and_labels(root: Path, record: VideoRecord, options: ClipOptions) -> set[tuple[bool, int]]:
    items = [sample(root, record, "train", options, (epoch, 0)) for epoch in range(40)]
    # A square crop at the far right or left shows one half only; look at those that show both.
    both = [item for item in items if 0.1 < item.clip.float().mean() / 255 < 0.9]
    assert len(both) > 10
    return {(is_mirrored(item.clip), item.label) for item in both}


def test_a_mirrored_clip_takes_its_new_label(tmp_path: Path) -> None:
    record = half_white(tmp_path)
    swap = replace(SMALL, mirror_labels=(0, 2, 1))
    assert mirrored_and_labels(tmp_path, record, swap) == {(False, 1), (True, 2)}
    plain = replace(SMALL, mirror_labels=(0, 1, 2))
    assert mirrored_and_labels(tmp_path, record, plain) == {(False, 1), (True, 1)}


def test_some_clips_are_never_mirrored(tmp_path: Path) -> None:
    record = half_white(tmp_path)
    assert mirrored_and_labels(tmp_path, record, SMALL) == {(False, 1)}
    assert mirrored_and_labels(tmp_path, record, replace(SMALL, mirror_labels=(0, None, 2))) == {(False, 1)}


def test_half_of_the_training_clips_are_mirrored_and_none_in_evaluation(tmp_path: Path) -> None:
    record = half_white(tmp_path)
    swap = replace(SMALL, mirror_labels=(0, 2, 1))
    labels = [sample(tmp_path, record, "train", swap, (epoch, 0)).label for epoch in range(200)]
    assert 70 < labels.count(2) < 130
    for mode in ("val", "test"):
        items = [sample(tmp_path, record, mode, swap, (epoch, 0)) for epoch in range(5)]
        assert {(is_mirrored(item.clip), item.label) for item in items} == {(False, 1)}


def test_missing_folder(tmp_path: Path) -> None:
    item = unreadable(tmp_path, VideoRecord("gone", 20, 0))
    assert item.reason == f"its folder {tmp_path / 'gone'} does not exist"


@pytest.mark.parametrize("mode", ["train", "val", "test"])
def test_missing_frame_says_what_the_list_promises(tmp_path: Path, mode: ClipMode) -> None:
    write_frames(tmp_path / "v", [flat(10)] * 2)
    item = unreadable(tmp_path, VideoRecord("v", 40, 0), mode)
    assert "no such file" in item.reason
    assert str(tmp_path / "v") in item.reason
    assert "the list promises 40 frames, the folder holds 2 files" in item.reason


def test_damaged_frame_and_odd_sizes(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", [flat(10)] * 4)
    record = VideoRecord("v", 4, 0)
    test = VideoClips([record], FrameFolders(tmp_path, TEMPLATE), "test", SMALL)
    assert isinstance(test[0, 0], Sample)
    (folder / "00002.jpg").write_bytes(b"no picture")
    damaged = test[0, 0]
    assert isinstance(damaged, Unreadable)
    assert damaged.reason == f"{folder / '00002.jpg'}: not an image, or of an unknown format"
    write_frames(tmp_path / "w", [flat(10), flat(10), flat(10, 40, 40), flat(10)])
    odd = unreadable(tmp_path, VideoRecord("w", 4, 0), "test")
    assert "00003.jpg is 40 × 40 but" in odd.reason


def test_options_that_cannot_work_are_reported_together() -> None:
    options = ClipOptions(segments=65, test_mode="dense", crops=4, sparse_clips=0)
    with pytest.raises(InputError) as caught:
        VideoClips([], FrameFolders(Path()), "test", options)
    message = str(caught.value)
    for part in ("4 test crops", "at most 64 segments, not 65", "sparse_clips is 0"):
        assert part in message
    with pytest.raises(InputError, match=r"template 'frame\.jpg' gives no name"):
        FrameFolders(Path(), "frame.jpg")
    with pytest.raises(InputError, match=r"unknown mode 'exam'.*unknown test sampling 'often'"):
        VideoClips([], FrameFolders(Path(), TEMPLATE), "exam", replace(SMALL, test_mode="often"))  # type: ignore[arg-type]
