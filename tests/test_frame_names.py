"""Frame folders from elsewhere: what is said of how their files are called, and that saying so helps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from helpers_data import picture, write_flow, write_frames
from programs import train

from ops.data.catalog import read_description, resolve
from ops.data.clips import Sample, Unreadable
from ops.data.decode import FrameError
from ops.data.frame_names import longest_series
from ops.data.loader import readable
from ops.data.records import VideoRecord
from ops.data.storages import listed, open_storage
from ops.data.storages.frames import FrameFolders
from ops.errors import InputError
from tools import check_dataset, pack_frames

USUAL = ("{:05d}.jpg", 1)


@pytest.mark.parametrize(
    ("files", "words", "settings"),
    [
        (["00001.jpg", "00002.jpg"], "2 frames, 00001.jpg … 00002.jpg", {}),
        (["00001.jpg"], "1 frame, 00001.jpg", {}),
        (["00000.jpg", "00001.jpg"], "2 frames, 00000.jpg … 00001.jpg", {"first": 0}),
        (["img_00001.jpg", "img_00002.jpg"], "img_00002.jpg", {"template": "img_{:05d}.jpg"}),
        (["img_00000.jpg", "img_00001.jpg"], "img_00001.jpg", {"template": "img_{:05d}.jpg", "first": 0}),
        ([f"{n}.JPG" for n in (1, 2, 9, 10)], "without 3.JPG, 4.JPG, 5.JPG and 3 more", {"template": "{:d}.JPG"}),
        ([f"{n:04d}.png" for n in range(1, 30)], "29 frames, 0001.png … 0029.png", {"template": "{:04d}.png"}),
        ([f"frame{n:03d}.jpg" for n in (1, 3)], "frame003.jpg without frame002.jpg", {"template": "frame{:03d}.jpg"}),
        ([f"{n:05d}.jpg" for n in (3, 4)], "2 frames, 00003.jpg … 00004.jpg", {"first": 3}),
        ([f"{n:05d}.jpg" for n in (3, 5)], "2 frames, 00003.jpg … 00005.jpg without 00004.jpg", {}),
        (["v1{a}_7_x.JPEG", "v1{a}_8_x.JPEG"], "v1{a}_8_x.JPEG", {"template": "v1{{a}}_{:d}_x.JPEG", "first": 7}),
        ([*(f"flow_x_{n}.jpg" for n in (1, 2)), "00001.jpg", "t.txt"], "1 frame, 00001.jpg", {}),
        ([f"{n}.jpg" for n in range(98, 102)], "98.jpg … 101.jpg", {"template": "{:d}.jpg", "first": 98}),
        (["thumbs.db", "a.txt", "video.mp4"], "", {}),
    ],
)  # fmt: skip
def test_what_is_there(files: list[str], words: str, settings: dict[str, str | int]) -> None:
    series = longest_series(files)
    assert (series is None) == (not words)
    if series is not None:
        assert words in str(series)
        assert series.settings(*USUAL) == settings
        template, first = (settings.get(key, usual) for key, usual in zip(("template", "first"), USUAL, strict=True))
        assert str(template).format(int(first)) in files or "first" not in settings
        assert series.settings(str(template), int(first)) == {}


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        (["flow_x_0001.jpg", "flow_y_0001.jpg", "img_00001.jpg", "img_00002.jpg"], {"template": "{:04d}.jpg"}),
        (["flow_x_00000.jpg", "flow_y_00000.jpg"], {"first": 0}),
        (["00000.jpg"], {"first": 0}),
    ],
)
def test_what_is_there_of_flow(files: list[str], settings: dict[str, str | int]) -> None:
    series = longest_series(files, flow=True)
    assert series is not None and series.settings(*USUAL) == settings
    assert longest_series(["x_00001.jpg", "y_00001.jpg"], flow=True) is None  # x alone would be read for both


def renamed(folder: Path, name: Callable[[int], str]) -> None:
    """The frames of every video called otherwise."""
    for number, file in enumerate(sorted(folder.glob("*.jpg")), start=1):
        file.rename(folder / f".{name(number)}")
    for file in folder.iterdir():
        file.rename(folder / file.name[1:])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of `own`: four videos of 6 frames, and their flow."""
    folder = tmp_path / "dataset" / "own"
    paths = [f"run/v {k}" for k in range(4)]
    for place, path in enumerate(paths):
        write_frames(folder / "frames" / path, [picture(10 * place + n) for n in range(6)])
        write_flow(folder / "flow" / path, [(10 * k, 20 * place) for k in range(5)], packed=place == 1)
    for part in ("train", "val"):
        for mark, n in (("", 6), ("_flow", 5)):
            lines = (f"{path} {n} {place % 2}\n" for place, path in enumerate(paths))
            (folder / f"{part}_videofolder{mark}.txt").write_text("".join(lines))
    (folder / "category.txt").write_text("run\nsit\n")
    (folder / "dataset.toml").touch()
    return folder


def videos(own: Path, modality: str = "RGB", storage: str = "frames") -> list[torch.Tensor]:
    """All frames of every video."""
    data = resolve("own", own.parent, modality=modality, storage=storage)
    opened = open_storage(data)
    return [opened.read(r, range(1, r.num_frames + 1)) for r in listed(data, opened, data.train_list)]


def same(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


NAMES: dict[str, Callable[[int], str]] = {
    "from 0": lambda k: f"{k - 1:05d}.jpg",
    "prefix": lambda k: f"img_{k:05d}.jpg",
    "upper case": lambda k: f"{k}.JPG",
    "all three": lambda k: f"img_{k - 1:04d}.JPG",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_to_paste_helps(own: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same words from training and the checker, and no advice to leave out all videos; then it works."""
    before = videos(own)
    for folder in (own / "frames" / "run").iterdir():
        renamed(folder, NAMES[name])
    flags = ["--epochs=1", "-b", "4", "--num_segments=6"]
    with pytest.raises(InputError) as caught:
        train(own.parents[1], *flags, dataset="own")
    said = str(caught.value)
    assert "none of the first 4 videos can be read" in said and "--bad_frames" not in said
    check = ["own", "--root_dataset", str(own.parent), "--report", str(own / "report"), "-j", "1"]
    assert check_dataset.main(check) == 1
    needed = re.findall(r"dataset\.toml needs the lines? (.*?)(?:;|$)", said)
    assert len(needed) == 1 and needed[0] in capsys.readouterr().out
    (own / "dataset.toml").write_text(needed[0].replace(" and ", "\n"))
    assert len(read_description(own / "dataset.toml")) == 1 + (name == "all three")
    assert same(videos(own), before)
    assert check_dataset.main(check) == 0
    assert "warnings: 4" in capsys.readouterr().out  # of videos in both lists
    assert pack_frames.main(check[:3]) == pack_frames.main([*check[:3], "--verify"]) == 0
    assert same(videos(own, storage="packed"), before)


def test_flow_has_its_own_names(own: Path) -> None:
    before = videos(own, "Flow")
    (own / "dataset.toml").write_text('template = "img_{:05d}.jpg"\nfirst = 0\n')
    assert same(videos(own, "Flow"), before)  # extract_flow makes it in its own way, whatever frames are called
    for folder in (own / "flow" / "run").iterdir():
        for file in sorted(folder.iterdir()):
            start, number = file.stem[:-5], int(file.stem[-5:])
            file.rename(folder / f"{start}{number - 1:04d}.jpg")
    with pytest.raises(
        InputError, match=r'lines flow_template = "\{:04d\}\.jpg" and flow_first = 0; none of the first 4'
    ):
        train(own.parents[1], "--epochs=1", "-b", "4", "--num_segments=2", dataset="own", modality="Flow")
    (own / "dataset.toml").write_text('flow_template = "{:04d}.jpg"\nflow_first = 0\n')
    assert same(videos(own, "Flow"), before)


@pytest.mark.parametrize("line", ["first = -1", 'first = "0"', "first = true", "flow_first = 0.5", "template = 5"])
def test_wrong_keys(own: Path, line: str) -> None:
    (own / "dataset.toml").write_text(line)
    with pytest.raises(InputError, match=rf"{line.split()[0]} = .*: expected"):
        resolve("own", own.parent)


def test_frames_beyond_the_list(own: Path) -> None:
    """Also before the first: all numbered from 0, of which the last is out of the list."""
    storage = FrameFolders(own / "frames")
    record = VideoRecord("run/v 0", 6, 0)
    assert storage.check(record, decode=False).remark == ""
    (own / "frames" / "run" / "v 0" / "00000.jpg").write_bytes(b"")
    assert "more than the 6 frames" in storage.check(record, decode=False).remark


def test_a_folder_that_is_not_there(own: Path) -> None:
    storage = FrameFolders(own / "frames")
    several = storage.check(VideoRecord("run/v 1 30 3", 7, 0), decode=False).fault
    assert "several labels on its line? A video has one here" in several
    fault = storage.check(VideoRecord("walk/v 1", 7, 0), decode=False).fault
    assert fault.endswith("cannot be read (No such file or directory); " + f"{own / 'frames'} holds run")
    (own / "frames" / "walk").mkdir()
    (own / "frames" / "walk" / "clip.avi").touch()
    assert "holds clip.avi; frames are called like 00001.jpg" in storage.check(VideoRecord("walk", 1, 0), False).fault
    (own / "frames" / "walk" / "clip.avi").unlink()
    assert "holds nothing; frames are called like" in storage.check(VideoRecord("walk", 1, 0), False).fault


@pytest.mark.parametrize("modality", ["RGB", "Flow"])
def test_a_name_longer_than_file_systems_take(own: Path, modality: str) -> None:
    storage, record = FrameFolders(own / "frames", modality=modality), VideoRecord("v" * 300, 4, 0)
    with pytest.raises(FrameError, match=r"cannot be read \(File name too long\)"):
        storage.read(record, [1])
    assert "cannot be read (File name too long)" in storage.check(record, decode=False).fault


def bad(count: int) -> list[Unreadable]:
    return [Unreadable(f"v{k}", "gone", k) for k in range(count)]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([*bad(1), "fine"], "v0: gone; --bad_frames skip leaves such videos out and counts them"),
        ([*bad(7), "fine"], "v0: gone; --bad_frames skip leaves such videos out and counts them"),
        (["fine", *bad(9)], "v0: gone; --bad_frames skip leaves such videos out and counts them"),
        ([*bad(9), "fine"], "v0: gone; none of the first 8 videos can be read"),
        (bad(3), "v0: gone; none of the first 3 videos can be read"),
        (bad(1), "v0: gone"),
    ],
)
def test_to_leave_videos_out_is_advised_where_others_can_be_read(items: list[object], message: str) -> None:
    made = [Sample(torch.zeros(1), 0, 0) if item == "fine" else item for item in items]
    with pytest.raises(InputError) as caught:
        list(readable(made, "error"))
    assert str(caught.value) == message
    assert list(readable(made, "skip")) == made


def test_packing_advises_the_same(own: Path) -> None:
    for folder in (own / "frames" / "run").iterdir():
        renamed(folder, NAMES["prefix"])
    with pytest.raises(InputError, match=r'needs the line template = "img_\{:05d\}\.jpg"$'):
        pack_frames.main(["own", "--root_dataset", str(own.parent)])
