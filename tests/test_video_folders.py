"""tools/video_folders.py: which folder is the class and which the split, for every tool; what is passed over."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_videos import write_video

from ops.data.passed_over import PassedOver
from ops.data.records import read_categories
from ops.data.videofile import CONTAINERS, EXTENSIONS, frames
from ops.errors import InputError
from tools import prepare_videos, vid2img
from tools.video_folders import find_videos, sort_into_classes

NFC, NFD = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


def make(root: Path, names: Sequence[str]) -> Path:
    """Empty files of these names, and folders of those that end in a slash."""
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return root


@pytest.mark.parametrize(
    ("paths", "labels", "splits", "words"),
    [
        (["run/a", "sit/b"], "run sit", ["", ""], ""),
        (["run/x/a", "run/y/z/b", "sit/c"], "run run sit", ["", "", ""], ""),  # folders below a class say nothing
        (["train/run/a", "val/run/b", "val/sit/x/c"], "run run sit", ["train", "val", "val"], "taken for splits"),
        (["Training/run/a", "VALID/run/b", "testing/run/c"], "run run run", ["train", "val", "test"], "for splits"),
        (["train/train/a", "test/sit/b"], "train sit", ["train", "test"], "train and test are taken for splits"),
        (["train/run/a", "train/sit/b"], "run sit", ["", ""], "train is not taken for a class"),
        (["val/run/a", "validation/sit/b"], "run sit", ["", ""], "val and validation is not taken for a class"),
        (["test/a", "run/b"], "test run", ["", ""], "test: taken for the name of a class, as run stands beside it"),
        (["test/x/a", "run/y/b"], "test run", ["", ""], "test: taken for the name of a class"),
        (["test/a", "train/b", "run/c"], "test train run", ["", "", ""], "test and train: taken for the name"),
        (["run/train/a", "run/test/b", "sit/train/c"], "run run sit", ["train", "test", "train"], "for splits"),
        (["run/train/a", "run/test/b", "sit/c"], "run run sit", ["", "", ""], "test and train: no splits"),
        (["run/train/a", "sit/train/b"], "run sit", ["", ""], ""),
        (["UCF/run/a", "UCF/sit/b"], "UCF UCF", ["", ""], "all videos are of one class, 'UCF'.*give --videos /v/UCF"),
        (["run/a", "run/b"], "run run", ["", ""], ""),
        ([f"{NFC}/a", f"{NFD}/b"], f"{NFC} {NFC}", ["", ""], ""),
    ],
)
def test_which_folder_is_what(
    paths: list[str], labels: str, splits: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.video_folders._class_folders", lambda *_: [])
    layout = sort_into_classes(Path("/v"), [f"{path}.mp4" for path in paths])
    assert (layout.labels, layout.splits) == (labels.split(), splits)
    assert bool(layout.notes) == bool(words)
    assert re.search(words, "\n".join(layout.notes))


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["a", "run/b"], "/v/a.mp4 lies in no class folder"),
        (["train/run/a", "val/run/b", "c"], "/v/c.mp4 lies in no class folder"),
        (["train/a", "val/b"], r"train and val look like splits, but train holds videos.*as train/CLASS.*a CSV"),
        (["train/run/a", "val/b"], "val holds videos that lie in no class folder"),
        (["train/run/a", "val/run/b", "extra/run/c"], "train and val look like splits, but extra beside them does not"),
    ],
)
def test_what_cannot_be_told_is_refused(paths: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sort_into_classes(Path("/v"), [f"{path}.mp4" for path in paths])


@pytest.mark.parametrize(
    "names",
    [
        ["train/run/a", "train/sit/b", "val/run/c", "val/sit/d"],
        ["run/deep/er/a", "run/b", "sit/deep/c", "sit/deep/d"],
        ["run/train/a", "run/val/b", "sit/train/c", "sit/val/d"],
    ],
)
def test_both_tools_agree(tmp_path: Path, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(names):
        write_video(tmp_path / "v" / f"{name}.mp4", 2, seed=seed)
    where = ["--videos", str(tmp_path / "v"), "-j", "1"]
    assert prepare_videos.main([*where, "--name", "mine", "--root_dataset", str(tmp_path)]) == 0
    assert "2 classes: run, sit" in capsys.readouterr().err
    listing = tmp_path / "l" / "list.txt"
    assert vid2img.main([*where, "--frames", str(tmp_path / "f"), "--list", str(listing)]) == 0
    assert "2 classes: run, sit" in capsys.readouterr().err
    assert read_categories(tmp_path / "mine" / "category.txt") == read_categories(tmp_path / "l" / "category.txt")
    lists = [(tmp_path / "mine" / f"{split}_videofolder.txt").read_text() for split in ("train", "val")]
    assert sorted("".join(lists).splitlines()) == sorted(listing.read_text().splitlines())
    assert all(f"{name} 2 {int('sit' in name)}" in listing.read_text() for name in names)


def test_what_is_passed_over_is_counted_with_the_reason(tmp_path: Path) -> None:
    names = ["a/x.MP4", "a/x.txt", "b/y.TXT", "b/moving.gif", "b/film.mxf", "b/download.mp4.part", "b/id", "a/._x.mp4"]
    make(tmp_path, [*names, "empty/", ".git/objects/x.mp4", ".DS_Store"])
    others = PassedOver()
    assert find_videos(tmp_path, others) == [tmp_path / "a/x.MP4"]
    said = others.in_words().splitlines()
    assert said[0] == "9 files passed over:"
    assert "  3 hidden (names that begin with a dot): .git/, .DS_Store, a/._x.mp4" in said
    assert "  2 .txt (not a video's ending): a/x.txt, b/y.TXT" in said
    reasons = {line.split(" (")[0].strip(): line for line in said[1:]}
    assert "ffmpeg -i" in reasons["1 .gif"] and "b/moving.gif" in reasons["1 .gif"]
    assert "ffmpeg -i" in reasons["1 .mxf"] and "unfinished" in reasons["1 .part"]
    assert "b/id" in reasons["1 without ending"]
    assert others.counts.total() == sum(int(key.split()[0]) for key in reasons)


def test_few_lines_for_many_kinds(tmp_path: Path) -> None:
    make(tmp_path, ["a.mp4", *(f"x.{k}" for k in range(40)), *(f"{k}.txt" for k in range(40))])
    others = PassedOver()
    find_videos(tmp_path, others)
    said = others.in_words().splitlines()
    assert len(said) == 14 and said[0].startswith("80 files") and said[-1] == "  29 of 29 other kinds"
    assert said[1].endswith("0.txt, 1.txt, 10.txt, …")


def test_nothing_but_other_files_says_which(tmp_path: Path) -> None:
    make(tmp_path, ["a/1.gif", "a/2.jpg"])
    with pytest.raises(InputError, match=r"no videos found in it.*\n2 files passed over:\n.*1 \.gif .*a/1\.gif"):
        find_videos(tmp_path)


# Endings that are less usual: the usual one of the same container, and a codec for it.
OTHER_ENDINGS = {
    **dict.fromkeys((".264",), (".h264", "libx264")),
    **dict.fromkeys((".3g2", ".f4v", ".mqv", ".qt"), (".mov", "libx264")),
    **dict.fromkeys((".m1v", ".mpv"), (".m2v", "mpeg2video")),
    **dict.fromkeys((".m2p", ".mod", ".mpe", ".vro"), (".mpg", "mpeg2video")),
    **dict.fromkeys((".m2t", ".tod", ".tp", ".trp"), (".ts", "mpeg2video")),
    **dict.fromkeys((".mk3d",), (".mkv", "libx264")),
    **dict.fromkeys((".wm",), (".wmv", "wmv2")),
    **dict.fromkeys((".xvid",), (".avi", "mpeg4")),
}


@pytest.mark.parametrize("ending", OTHER_ENDINGS)
def test_less_usual_endings_are_videos_too(tmp_path: Path, ending: str) -> None:
    usual, codec = OTHER_ENDINGS[ending]
    video = write_video(tmp_path / f"clip{usual}", 5, codec=codec).rename(tmp_path / f"clip{ending}")
    assert find_videos(tmp_path) == [video]
    assert sum(1 for _ in frames(video)) == 5


def test_an_ending_stands_for_a_container_that_is_opened() -> None:
    assert not EXTENSIONS & {".gif", ".webp", ".mxf", ".rm", ".ivf"}
    assert "gif" not in CONTAINERS
