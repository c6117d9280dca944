"""Flow and RGBDiff as the loader gives them, RandAugment on clips, lists without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_data import flat, picture, val_records, write_flow, write_frames, write_videos
from PIL import Image

from ops.data.catalog import resolve
from ops.data.clips import ClipMode, ClipOptions, Sample, Unreadable, VideoClips
from ops.data.modalities import MODALITIES
from ops.data.records import UNLABELLED, VideoRecord, read_list
from ops.data.storages.frames import FrameFolders
from ops.errors import InputError

FLOW = ClipOptions(segments=2, input_size=28, modality="Flow")


def sample(root: Path, record: VideoRecord, mode: ClipMode, options: ClipOptions, epoch: int = 0) -> Sample:
    item = VideoClips([record], FrameFolders(root, modality=options.modality), mode, options)[epoch, 0]
    assert isinstance(item, Sample), item
    return item


@pytest.mark.parametrize("packed", [False, True])
def test_flow_pairs_follow_each_other_x_before_y(tmp_path: Path, packed: bool) -> None:
    write_flow(tmp_path / "v", [(10 * k, 200 - 10 * k) for k in range(1, 13)], packed)
    clip = sample(tmp_path, VideoRecord("v", 12, 0), "val", FLOW).clip
    assert clip.shape == (1, 2, 10, 28, 28) and clip.dtype == torch.uint8
    values = clip[0, :, :, 14, 14].int()  # of places 1..8 the middles are 3 and 7
    expected = [[v for k in range(first, first + 5) for v in (10 * k, 200 - 10 * k)] for first in (3, 7)]
    assert (values - torch.tensor(expected)).abs().max() <= 2 * packed  # the packed form goes through colours


def test_mirrored_flow_turns_x_about(tmp_path: Path) -> None:
    write_flow(tmp_path / "v", [(60, 90)] * 6, packed=False)
    record = VideoRecord("v", 6, 0)
    values = set()
    for epoch in range(12):
        clip = sample(tmp_path, record, "train", replace(FLOW, mirror_labels=(0,)), epoch).clip
        values.add((int(clip[0, 0, 0].float().mean()), int(clip[0, 0, 1].float().mean())))
    assert values == {(60, 90), (195, 90)}
    ten = sample(tmp_path, record, "test", replace(FLOW, crops=10)).clip
    assert [int(view[0, 0, 0, 0]) for view in ten] == [60, 195] * 5


def test_a_flow_picture_that_is_not_there(tmp_path: Path) -> None:
    write_flow(tmp_path / "v", [(60, 90)] * 5, packed=False)
    (tmp_path / "v" / "flow_y_00003.jpg").unlink()
    (tmp_path / "empty").mkdir()
    for name, words in (("v", "flow_y_00003.jpg: no such file"), ("empty", "nor the packed 00001.jpg")):
        item = VideoClips([VideoRecord(name, 5, 0)], FrameFolders(tmp_path, modality="Flow"), "val", FLOW)[0, 0]
        assert isinstance(item, Unreadable) and words in item.reason


def test_grey_values_are_read_as_they_are(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(100, 156, (32, 40)).astype(np.uint8)
    (tmp_path / "v").mkdir()
    for axis in "xy":
        Image.fromarray(noise).save(tmp_path / "v" / f"flow_{axis}_00001.jpg", quality=95)
    stored = np.asarray(Image.open(tmp_path / "v" / "flow_x_00001.jpg"))
    group = FrameFolders(tmp_path, modality="Flow").read(VideoRecord("v", 1, 0), [1])
    assert group.shape == (1, 2, 32, 40)
    assert np.abs(group[0, 0].numpy().astype(int) - stored).max() <= 1  # decoders may round apart


def test_flow_has_its_own_lists_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "category.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"val_videofolder_flow\.txt.*python tools/extract_flow\.py demo"):
        val_records(resolve("demo", tmp_path, modality="Flow"))
    (folder / "val_videofolder_flow.txt").write_text("v 5 0\n")
    write_flow(folder / "flow" / "v", [(1, 2)] * 5, packed=False)
    data = resolve("demo", tmp_path, modality="Flow")
    assert data.root == folder / "flow" and val_records(data) == [VideoRecord("v", 5, 0)]


@pytest.mark.parametrize("modality", ["Flow", "RGBDiff"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("frames", [1, 4, 9, 70])
def test_no_segment_reaches_beyond_a_short_video(tmp_path: Path, modality: str, dense: bool, frames: int) -> None:
    if modality == "Flow":
        write_flow(tmp_path / "video 0", [(1, 2)] * frames, packed=False)
    else:
        write_frames(tmp_path / "video 0", [flat(9)] * frames)
    options = ClipOptions(4, 28, modality, dense=dense, test_mode="dense" if dense else "twice")
    for mode in ("train", "val", "test"):
        clip = sample(tmp_path, VideoRecord("video 0", frames, 0), mode, options).clip
        assert clip.shape[1:3] == (4, {"Flow": 10, "RGBDiff": 18}[modality])


def test_randaugment_does_the_same_to_all_frames_of_a_clip_and_follows_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "v", [picture(1)] * 8)
    reseeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    record, options = VideoRecord("v", 8, 0), ClipOptions(4, 28, randaugment=True)
    before = torch.random.get_rng_state()
    clips = [sample(tmp_path, record, "train", options, epoch).clip[0] for epoch in range(6)]
    assert torch.equal(torch.random.get_rng_state(), before)  # what training draws does not shift
    assert not reseeded  # nor what it draws on a GPU
    plain = [sample(tmp_path, record, "train", replace(options, randaugment=False), e).clip[0] for e in range(6)]
    assert all(torch.equal(clip[0], frame) for clip in clips for frame in clip)
    assert sum(not torch.equal(a, b) for a, b in zip(clips, plain, strict=True)) >= 4
    torch.manual_seed(1)
    assert torch.equal(sample(tmp_path, record, "train", options, 3).clip[0], clips[3])
    assert torch.equal(  # in evaluation it is not applied
        sample(tmp_path, record, "val", options).clip,
        sample(tmp_path, record, "val", replace(options, randaugment=False)).clip,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modality": "Flow", "randaugment": True}, "not for Flow"),
        ({"modality": "Flow", "reverse_time": True}, "backwards"),
        ({"modality": "Depth"}, "expected one of RGB, Flow, RGBDiff"),
    ],
)
def test_clips_that_cannot_be(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        VideoClips([], FrameFolders(tmp_path), "val", replace(ClipOptions(2), **changes))  # type: ignore[arg-type]


def test_motion_is_cropped_at_three_scales() -> None:
    assert MODALITIES["RGB"].scales == (1.0, 0.875, 0.75, 0.66)
    assert MODALITIES["Flow"].scales == MODALITIES["RGBDiff"].scales == (1.0, 0.875, 0.75)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 5\nmy video 7\n", [("a", 5, -1), ("my video", 7, -1)]),
        ("a 5 -1\nvideo 3 7 -1\n", [("a", 5, -1), ("video 3", 7, -1)]),
        ("a 5 1\nvideo 3 7 0\n", [("a", 5, 1), ("video 3", 7, 0)]),
    ],
)
def test_lists_with_and_without_labels(tmp_path: Path, text: str, expected: list[tuple[str, int, int]]) -> None:
    (tmp_path / "list.txt").write_text(text)
    assert read_list(tmp_path / "list.txt", 2, unlabelled_too=True) == [VideoRecord(*values) for values in expected]
    if expected[0][2] == UNLABELLED:
        with pytest.raises(InputError, match=r"list\.txt:1"):
            read_list(tmp_path / "list.txt", 2)


def test_a_list_of_which_some_lines_have_labels(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a 5 1\nb 6\n")
    with pytest.raises(InputError, match=r"list\.txt:2: 2 fields instead of 3"):
        read_list(tmp_path / "list.txt", 2, unlabelled_too=True)
    (tmp_path / "list.txt").write_text("a 5 -2\n")
    with pytest.raises(InputError, match="label -2 outside"):
        read_list(tmp_path / "list.txt", 2, unlabelled_too=True)


def test_rgbdiff_reads_the_frames_of_rgb(tmp_path: Path) -> None:
    record = write_videos(tmp_path, [12])[0]
    clip = sample(tmp_path, record, "val", ClipOptions(1, 28, "RGBDiff")).clip
    assert clip[0, 0, ::3, 0, 0].tolist() == [10 * k for k in range(4, 10)]  # of 7 places the middle is the fourth
