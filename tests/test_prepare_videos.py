"""tools/prepare_videos.py: one's own videos become a data set, again and again; what it refuses."""

from __future__ import annotations

import csv
import errno
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from made_videos import replace_video, write_sound, write_video
from PIL import Image
from programs import REPOSITORY, evaluate, train

from ops.data import video_index
from ops.data.catalog import resolve
from ops.data.parallel import in_parallel
from ops.data.records import read_categories
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from opts import training_options
from tools import prepare_videos
from tools.prepare_videos import Video, draw_splits, group_of, read_table


def prepare(root: Path, *more: object, name: str = "mine", videos: str = "videos") -> int:
    flags = ["--videos", root / videos, "--name", name, "--root_dataset", root / "dataset", "-j", 1, *more]
    return prepare_videos.main([str(flag) for flag in flags])


def refusal(root: Path, *more: object, **where: str) -> str:
    with pytest.raises(InputError) as caught:
        prepare(root, *more, **where)
    return str(caught.value)


def fill(root: Path, per_class: int = 5) -> Path:
    """Two classes of videos, with spaces, quotes and other alphabets in their names."""
    names = ("it's", 'a "quoted" one', "видео", "動画 1", "plain", "six", "seven")
    for k, label in enumerate(("waving hand", "κίνηση")):
        for i in range(per_class):
            write_video(root / "videos" / label / f"{names[i]}.mp4", 4 + i, seed=10 * k + i)
    return root


@pytest.mark.parametrize("storage", ["frames", "video"])
def test_a_video_replaced_by_one_of_the_same_size_is_taken_in(tmp_path: Path, storage: str) -> None:
    root = fill(tmp_path, per_class=2)
    video = write_video(root / "videos" / "waving hand" / "long.mp4", 20)
    assert prepare(root, "--storage", storage) == 0
    replace_video(video, 7)
    assert prepare(root, "--storage", storage) == 0
    data = resolve("mine", root / "dataset", storage=storage)
    records = [r for file in (data.train_list, data.val_list) for r in listed(data, open_storage(data), file)]
    assert [r.num_frames for r in records if r.path.startswith("waving hand/long")] == [7]
    if storage == "frames":
        assert len(list((data.root / "waving hand" / "long").iterdir())) == 7


def lines(root: Path, name: str) -> list[str]:
    return (root / "dataset" / "mine" / name).read_text(encoding="utf-8").splitlines()


def split_of(root: Path) -> dict[str, str]:
    with (root / "dataset" / "mine" / "videos.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["split"] for row in csv.DictReader(file)}


def test_a_folder_of_videos_becomes_a_data_set_that_trains(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert prepare(fill(tmp_path)) == 0
    folder = tmp_path / "dataset" / "mine"
    assert read_categories(folder / "category.txt") == ["waving hand", "κίνηση"]
    listed = lines(tmp_path, "train_videofolder.txt") + lines(tmp_path, "val_videofolder.txt")
    assert Counter(line.rsplit(" ", 1)[1] for line in lines(tmp_path, "val_videofolder.txt")) == {"0": 1, "1": 1}
    assert len(listed) == 10 and "waving hand/it's 4 0" in listed and "κίνηση/動画 1 7 1" in listed
    for line in listed:
        path, count, _ = line.rsplit(" ", 2)
        assert len(list((folder / "frames" / path).glob("*.jpg"))) == int(count)
    data = resolve("mine", tmp_path / "dataset")
    assert (data.mirror, data.storage, data.classes) == ("plain", "frames", 0)
    capfd.readouterr()
    flags = ["--shift", "--epochs=1", "--input_size=32", "--root_dataset", str(tmp_path / "dataset"), "-b", "4"]
    for storage in ("frames", "video"):
        run = train(tmp_path, *flags, "--store_name", storage, "--storage", storage, dataset="mine") / storage
        evaluate(tmp_path, run / "ckpt.pth", "--storage", storage, dataset="mine")
        assert "2 videos, 0 unreadable" in capfd.readouterr().out


def test_again_nothing_changes_and_new_videos_come_in(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(fill(tmp_path))
    before, pixels = split_of(tmp_path), sorted((tmp_path / "dataset").rglob("*.jpg"))
    stamps = [picture.stat().st_mtime_ns for picture in pixels]
    description = tmp_path / "dataset" / "mine" / "dataset.toml"
    description.write_text(description.read_text().replace('mirror = "auto"', 'mirror = "none"'))
    assert prepare(tmp_path, "--seed", 5) == 0  # the seed draws what is new, and nothing else
    assert split_of(tmp_path) == before
    assert [picture.stat().st_mtime_ns for picture in pixels] == stamps

    fill(tmp_path, 7)
    write_video(tmp_path / "videos" / "another" / "x.mp4", 3)
    write_video(tmp_path / "videos" / "another" / "y.mp4", 3)
    (tmp_path / "videos" / "κίνηση" / "plain.mp4").unlink()
    assert prepare(tmp_path) == 0
    after = split_of(tmp_path)
    assert {path: split for path, split in after.items() if path in before} == {
        path: split for path, split in before.items() if path != "κίνηση/plain.mp4"
    }
    assert lines(tmp_path, "category.txt") == ["waving hand", "κίνηση", "another"]  # old labels stay
    assert Counter(after[path] for path in ("another/x.mp4", "another/y.mp4")) == {"train": 1, "val": 1}
    assert not any("κίνηση/plain" in line for line in lines(tmp_path, "train_videofolder.txt"))
    assert "1 videos are no longer there" in capfd.readouterr().err
    assert 'mirror = "none"' in description.read_text()


def test_storage_video_extracts_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "videos" / "κίνηση" / "bad.mp4").write_text("no video")
    assert prepare(tmp_path, "--storage", "video") == 1  # the others are in
    folder = tmp_path / "dataset" / "mine"
    assert not (folder / "frames").exists() and not (folder / "train_videofolder.txt").exists()
    assert not any("bad" in line for name in ("train", "val") for line in lines(tmp_path, f"{name}_videos.txt"))
    data = resolve("mine", tmp_path / "dataset")
    assert (data.storage, data.root) == ("video", tmp_path / "videos")
    train(tmp_path, "--shift", "--epochs=1", "-b", "4", "--input_size=32", dataset="mine")
    assert prepare(tmp_path) == 1  # then frames too
    assert resolve("mine", tmp_path / "dataset").storage == "frames"


def test_storage_video_looks_by_so_many_processes_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def by(work: Any, tasks: Any, jobs: int, *more: Any) -> Any:
        asked.append(jobs)
        return in_parallel(work, tasks, 1, *more)

    monkeypatch.setattr(video_index, "in_parallel", by)
    monkeypatch.setattr(video_index, "WORTH_PROCESSES", 1)
    prepare(fill(tmp_path), "--storage", "video", "-j", 3)
    assert asked == [3, 3]


def test_a_csv(tmp_path: Path) -> None:
    for k in range(4):
        write_video(tmp_path / "all" / f"clip, {k}.mp4", 4 + k)
    table = 'path,label,split\n"all/clip, 0.mp4",run,train\n"all/clip, 1.mp4",run,validation\n'
    table += '"all/clip, 2.mp4",sit,train\n"all/clip, 3.mp4",sit,test\n'
    (tmp_path / "videos.csv").write_text(table)
    assert prepare(tmp_path, videos="videos.csv") == 0
    assert lines(tmp_path, "train_videofolder.txt") == ["all/clip, 0 4 0", "all/clip, 2 6 1"]
    assert lines(tmp_path, "val_videofolder.txt") == ["all/clip, 1 5 0"]
    assert lines(tmp_path, "test_videofolder.txt") == ["all/clip, 3 7 1"]
    (tmp_path / "bare.csv").write_text('"all/clip, 0.mp4",run\n"all/clip, 2.mp4",sit\n')
    assert prepare(tmp_path, name="bare", videos="bare.csv") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\na.mp4,\nb.mp4,x,train\n", r"csv:2: expected path,label: 'a.mp4,'\n.*csv:3: expected"),
        ("path,label,split\na.mp4,x,trian\n", r"csv:2: split 'trian': .*\(did you mean train\?\)"),
        ("a.mp4,x\na.mp4,x\n", "csv:2: a.mp4 stands there twice"),
        ("path,label,colour\na.mp4,x,red\n", "csv:1: unknown column 'colour'"),
        ("path,label\n", "lists no video"),
        (f"{'x' * 200_000},a\n", "v.csv:1: cannot be read as CSV"),
    ],
)
def test_faulty_csv(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_table(tmp_path / "v.csv")


@pytest.mark.parametrize(("encoding", "likeness"), [("utf-16", "UTF-16"), ("gbk", "GBK")])
def test_a_csv_of_another_encoding_is_named(tmp_path: Path, encoding: str, likeness: str) -> None:
    (tmp_path / "v.csv").write_text("path,label\n跑步.mp4,x\n", encoding=encoding)
    with pytest.raises(InputError, match=rf"v\.csv:\d: the table is not UTF-8 text: it looks like {likeness}; save it"):
        read_table(tmp_path / "v.csv")


def test_paths_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("../x.mp4,a\n")
    assert "paths must lie below the folder of the CSV" in refusal(tmp_path, videos="v.csv")


def made(counts: dict[str, int], groups: int = 0) -> list[Video]:
    """So many videos of each class, in `groups` recordings each (0: each its own)."""
    return [
        Video(f"{label}/{k}.mp4", label, "", f"{label}{k % groups}" if groups else f"{label}/{k}.mp4")
        for label, count in counts.items()
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "share", "in_val"),
    [
        ({"a": 10, "b": 10}, 0.2, {"a": 2, "b": 2}),
        ({"a": 100, "b": 2, "c": 1}, 0.2, {"a": 20, "b": 1, "c": 0}),
        ({"a": 10}, 0.0, {"a": 0}),
        ({"a": 3}, 0.9, {"a": 2}),
    ],
)
def test_the_draw_is_stratified(counts: dict[str, int], share: float, in_val: dict[str, int]) -> None:
    drawn = draw_splits(made(counts), {}, share, seed=0)
    found = Counter(video.label for video in drawn if video.split == "val")
    assert {label: found[label] for label in counts} == in_val


def test_the_draw_follows_the_seed_and_not_the_order() -> None:
    videos = made({"a": 30})
    chosen = [
        {video.path for video in draw_splits(given, {}, 0.2, seed) if video.split == "val"}
        for given, seed in ((videos, 0), (videos[::-1], 0), (videos, 1))
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_groups_stay_together_also_later() -> None:
    videos = made({"a": 40, "b": 40}, groups=8)
    first = draw_splits(videos[::2], {}, 0.25, seed=0)
    later = draw_splits(videos, {video.path: video.split for video in first}, 0.25, seed=0)
    for drawn in (first, later):
        sides: dict[str, set[str]] = {}
        for video in drawn:
            sides.setdefault(video.group, set()).add(video.split)
        assert all(len(side) == 1 for side in sides.values())
    assert Counter(v.label for v in later if v.split == "val") == {"a": 10, "b": 10}


@pytest.mark.parametrize(
    ("path", "pattern", "group"),
    [
        ("a/v_run_g07_c02.mp4", r"_g(\d+)_", "07"),
        ("a/v_run_g07_c02.mp4", r"g\d+", "g07"),
        ("a/other.mp4", r"_g(\d+)_", "a/other.mp4"),
    ],
)
def test_group_by(path: str, pattern: str, group: str) -> None:
    assert group_of(path, pattern) == group


def test_one_recording_on_one_side(tmp_path: Path) -> None:
    for label in ("run", "sit"):
        for k in range(6):
            write_video(tmp_path / "videos" / label / f"rec{k // 2}_{k}.mp4", 3, seed=k)
    assert prepare(tmp_path, "--group_by", r"\w+/rec\d", "--val_share", 0.3) == 0
    splits = split_of(tmp_path)
    for label in ("run", "sit"):
        assert all(splits[f"{label}/rec{k}_{2 * k}.mp4"] == splits[f"{label}/rec{k}_{2 * k + 1}.mp4"] for k in range(3))
    assert Counter(splits.values()) == {"train": 8, "val": 4}


def test_bad_videos_are_left_out_and_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path)
    bad = tmp_path / "videos" / "waving hand"
    (bad / "text.mp4").write_text("this is no video")
    write_sound(bad / "sound.mp4")
    write_video(bad / "short.mp4", 1)  # one frame is a video
    assert prepare(tmp_path) == 1
    shown = capfd.readouterr().err
    assert "text.mp4: Invalid data" in shown and "sound.mp4: no video stream" in shown
    listed = lines(tmp_path, "train_videofolder.txt") + lines(tmp_path, "val_videofolder.txt")
    assert len(listed) == 11 and "waving hand/short 1 0" in listed


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "videos" / "empty class").mkdir()
    assert "the class folder 'empty class' has no video in it" in refusal(tmp_path)
    (tmp_path / "videos" / "empty class").rmdir()
    write_video(tmp_path / "videos" / "loose.mp4", 3)
    assert "loose.mp4 lies in no class folder" in refusal(tmp_path)
    (tmp_path / "videos" / "loose.mp4").unlink()
    write_video(tmp_path / "videos" / "waving hand" / "it's.mkv", 3)
    assert "rename one video of each pair" in refusal(tmp_path)
    (tmp_path / "videos" / "waving hand" / "it's.mkv").rename(tmp_path / "videos" / "waving hand" / "# x.mkv")
    assert prepare(tmp_path) == 0  # a # within a path begins no comment
    shutil.rmtree(tmp_path / "dataset")
    (tmp_path / "videos" / "waving hand").rename(tmp_path / "videos" / "#1")
    assert "no name can" in refusal(tmp_path)
    assert "no such file or folder" in refusal(tmp_path, videos="elsewhere")
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--name", "kinetics"], "a known data set"),
        (["--name", "demo"], "tools/make_demo_dataset.py"),
        (["--name", "a/b"], "names a folder"),
        (["--val_share", "1"], "--val_share 1.0"),
        (["--group_by", "("], "not a regular expression"),
        (["--storage", "tape"], "--storage tape"),
    ],
)
def test_wrong_options(tmp_path: Path, flags: list[str], words: str) -> None:
    assert words in refusal(tmp_path, *flags)


def test_a_full_disk_ends_it_and_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    original, saved = Image.Image.save, []

    def save(self: Image.Image, *args: Any, **kwargs: Any) -> None:
        saved.append(1)
        if len(saved) == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", save)
    assert "No space left on device" in refusal(tmp_path)
    folder = tmp_path / "dataset" / "mine"
    assert not (folder / "train_videofolder.txt").exists() and not list(folder.rglob("*.partial"))
    monkeypatch.undo()
    assert prepare(tmp_path) == 0 and len(lines(tmp_path, "train_videofolder.txt")) == 8


def test_interrupted_twice_it_goes_on(tmp_path: Path) -> None:
    for k in range(12):
        write_video(tmp_path / "videos" / "ab"[k % 2] / f"{k}.mp4", 100, (320, 240), seed=k)
    command = [sys.executable, REPOSITORY / "tools" / "prepare_videos.py", "--videos", tmp_path / "videos"]
    command += ["--name", "mine", "--root_dataset", tmp_path / "dataset", "-j", "2"]
    frames = tmp_path / "dataset" / "mine" / "frames"
    for finished in (1, 4):
        process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while len(list(frames.glob("[ab]/[0-9]*"))) < finished and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)
        assert process.returncode == 130 and "Traceback" not in shown, shown
        assert not list(frames.rglob(".*.partial"))
        assert all(len(list(done.iterdir())) == 100 for done in frames.glob("[ab]/*"))
        assert not (tmp_path / "dataset" / "mine" / "train_videofolder.txt").exists()
    assert prepare(tmp_path) == 0
    assert len(lines(tmp_path, "train_videofolder.txt") + lines(tmp_path, "val_videofolder.txt")) == 12


# Other videos, other settings: what a command is given wins or is refused.


def description(root: Path) -> Path:
    return root / "dataset" / "mine" / "dataset.toml"


def said_by(root: Path, capfd: pytest.CaptureFixture[str], *more: object, **where: str) -> str:
    """What a run that succeeds says."""
    capfd.readouterr()
    assert prepare(root, *more, **where) == 0
    return capfd.readouterr().err


@pytest.mark.parametrize("storage", ["frames", "video"])
@pytest.mark.parametrize("copied", [False, True])
def test_videos_that_moved_are_taken(
    tmp_path: Path, storage: str, copied: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(fill(tmp_path), "--storage", storage)
    by_hand = '# my own line\nmirror = "none"  # not these'
    description(tmp_path).write_text(description(tmp_path).read_text().replace('mirror = "auto"', by_hand))
    before, sides = description(tmp_path).read_text().splitlines(), split_of(tmp_path)
    stamps = [picture.stat().st_mtime_ns for picture in sorted((tmp_path / "dataset").rglob("*.jpg"))]
    if copied:
        shutil.copytree(tmp_path / "videos", tmp_path / "faster disk")
    else:
        (tmp_path / "videos").rename(tmp_path / "faster disk")
    write_video(tmp_path / "faster disk" / "κίνηση" / "new.mp4", 3)
    said = said_by(tmp_path, capfd, "--storage", storage, videos="faster disk")
    assert f"{tmp_path / 'faster disk'}" in said and f"were in {tmp_path / 'videos'}" in said
    assert resolve("mine", tmp_path / "dataset", storage="video").root == tmp_path / "faster disk"
    after = description(tmp_path).read_text().splitlines()
    assert [line for line in after if "faster disk" not in line] == [line for line in before if "/videos" not in line]
    assert sides.items() < split_of(tmp_path).items()
    assert set(stamps) <= {picture.stat().st_mtime_ns for picture in (tmp_path / "dataset").rglob("*.jpg")}
    assert "were in" not in said_by(tmp_path, capfd, "--storage", storage, videos="faster disk")


@pytest.mark.parametrize("storage", ["frames", "video"])
@pytest.mark.parametrize("gone", [False, True])
def test_other_videos_are_refused(tmp_path: Path, storage: str, gone: bool) -> None:
    """Of the same names and, but for one, of as many frames."""
    prepare(fill(tmp_path), "--storage", storage)
    for video in sorted((tmp_path / "videos").rglob("*.mp4")):
        other = tmp_path / "camera 2" / video.relative_to(tmp_path / "videos")
        write_video(other, 4 + len(other.name) % 4, seed=99)
    if gone:
        shutil.rmtree(tmp_path / "videos")
    files = {path: path.read_bytes() for path in (tmp_path / "dataset").rglob("*") if path.is_file()}
    said = refusal(tmp_path, "--storage", storage, videos="camera 2")
    assert str(tmp_path / "camera 2") in said and str(tmp_path / "videos") in said
    assert "another --name" in said and "--overwrite" not in said and "\n" not in said
    assert files == {path: path.read_bytes() for path in (tmp_path / "dataset").rglob("*") if path.is_file()}
    assert prepare(tmp_path, "--storage", storage, videos="camera 2", name="other") == 0
    (tmp_path / "dataset" / "mine").rename(tmp_path / "away")  # the other remedy
    assert prepare(tmp_path, "--storage", storage, videos="camera 2") == 0


def test_other_videos_of_other_names_are_refused(tmp_path: Path) -> None:
    prepare(fill(tmp_path))
    write_video(tmp_path / "other" / "run" / "x.mp4", 3)
    assert "none of the 10 videos of before is there" in refusal(tmp_path, videos="other")


def test_where_the_videos_are_as_changed_by_hand_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(fill(tmp_path))
    shutil.copytree(tmp_path / "videos", tmp_path / "dataset" / "mine" / "small")
    text = description(tmp_path).read_text().replace(f'videos = "{tmp_path / "videos"}"\n\n', 'videos = "small"\n\n')
    description(tmp_path).write_text(text)
    assert prepare(tmp_path) == 0
    assert description(tmp_path).read_text() == text


def test_a_description_written_by_hand_before_is_completed(tmp_path: Path) -> None:
    description(tmp_path).parent.mkdir(parents=True)
    description(tmp_path).write_text('mirror = "none"\n\n[mine]\nvideos = "a note"\n')
    assert prepare(fill(tmp_path), "--storage", "video") == 0
    data = resolve("mine", tmp_path / "dataset")
    assert (data.root, data.storage, data.mirror) == (tmp_path / "videos", "video", "none")
    assert description(tmp_path).read_text().count('[mine]\nvideos = "a note"\n') == 1


def test_a_storage_chosen_by_hand_stays_unless_another_is_given(tmp_path: Path) -> None:
    prepare(fill(tmp_path))
    text = description(tmp_path).read_text().replace('storage = "frames"', 'storage = "packed"')
    description(tmp_path).write_text(text)
    assert prepare(tmp_path) == 0 and description(tmp_path).read_text() == text
    assert prepare(tmp_path, "--storage", "frames") == 0
    assert resolve("mine", tmp_path / "dataset").storage == "frames"


def test_other_frame_settings_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    prepare(fill(tmp_path, 2), "--short_side", 32)
    said = refusal(tmp_path, "--short_side", 40)
    assert "short_side 32, not 40" in said and "--overwrite" not in said and "--frames" not in said
    assert prepare(tmp_path) == 0  # what is left out is as it was
    frames = tmp_path / "dataset" / "mine" / "frames"
    assert f"move {frames} away" in said
    frames.rename(tmp_path / "away")
    assert prepare(tmp_path, "--short_side", 40) == 0
    with Image.open(next(frames.rglob("*.jpg"))) as picture:
        assert min(picture.size) == 40


def test_frames_of_unknown_origin_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    foreign = fill(tmp_path, 2) / "dataset" / "mine" / "frames" / "waving hand" / "it's"
    foreign.mkdir(parents=True)
    said = refusal(tmp_path)
    assert str(foreign) in said and "another --name" in said and "--overwrite" not in said
    (tmp_path / "dataset" / "mine" / "frames").rename(tmp_path / "away")
    assert prepare(tmp_path) == 0


def test_frame_settings_without_frames_are_refused(tmp_path: Path) -> None:
    assert "--quality, --short_side: nothing is extracted" in refusal(
        fill(tmp_path, 2), "--storage", "video", "--short_side", 32, "--quality", 9
    )


def test_another_share_is_refused_where_nothing_is_drawn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(fill(tmp_path))
    said = refusal(tmp_path, "--val_share", 0.5)
    assert "--val_share 0.5" in said and "0.2" in said and "videos.csv" in said
    before = split_of(tmp_path)
    fill(tmp_path, 7)
    assert "10 videos of before keep their side" in said_by(tmp_path, capfd, "--val_share", 0.5)
    assert before.items() < split_of(tmp_path).items() and Counter(split_of(tmp_path).values())["val"] == 6
    assert "keep their side" not in said_by(tmp_path, capfd, "--val_share", 0.5)  # the same command again
    (tmp_path / "dataset" / "mine" / "videos.csv").unlink()  # the remedy
    prepare(tmp_path, "--val_share", 0.3)
    assert Counter(split_of(tmp_path).values())["val"] == 4


def test_another_seed_is_said_to_draw_only_what_is_new(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(fill(tmp_path))
    assert "--seed 5: 10 videos of before keep their side" in said_by(tmp_path, capfd, "--seed", 5)


def test_recordings_given_later_are_kept_together_or_refused(tmp_path: Path) -> None:
    for label in ("run", "sit"):
        for k in range(6):
            write_video(tmp_path / "videos" / label / f"rec{k // 2}_{k}.mp4", 3, seed=k)
    flags = ("--group_by", r"\w+/rec\d")
    prepare(tmp_path)  # parts of a recording are on both sides
    said = refusal(tmp_path, *flags)
    assert "in train and in val" in said and "videos.csv" in said
    (tmp_path / "dataset" / "mine" / "videos.csv").unlink()
    assert prepare(tmp_path, *flags) == 0
    groups: dict[str, set[str]] = {}
    for k in range(6, 9):
        write_video(tmp_path / "videos" / "run" / f"rec2_{k}.mp4", 3, seed=k)
    assert prepare(tmp_path) == 0  # the recordings are as noted where the flag is left out
    for path, split in split_of(tmp_path).items():
        groups.setdefault(path.split("_")[0], set()).add(split)
    assert len(groups) == 6 and all(len(sides) == 1 for sides in groups.values())


def test_a_tables_recordings_are_not_those_noted_before(tmp_path: Path) -> None:
    for k in range(4):
        write_video(tmp_path / "a" / f"{k}.mp4", 2, seed=k)
    (tmp_path / "v.csv").write_text("".join(f"a/{k}.mp4,x\n" for k in range(4)))
    prepare(tmp_path, "--group_by", r"\d", videos="v.csv")
    (tmp_path / "v.csv").write_text("path,label,group\n" + "".join(f"a/{k}.mp4,x,g{k}\n" for k in range(4)))
    assert prepare(tmp_path, videos="v.csv") == 0
    assert [line.split(",")[-1] for line in lines(tmp_path, "videos.csv")[1:]] == ["g0", "g1", "g2", "g3"]


def test_recordings_that_a_table_puts_on_both_sides_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [f"{k}.mp4,run,{('train', 'val')[k % 2]},rec{k // 3}" for k in range(4)]
    for k in range(4):
        write_video(tmp_path / f"{k}.mp4", 2, seed=k)
    (tmp_path / "v.csv").write_text("\n".join(["path,label,split,group", *rows]))
    assert "warning: parts of one recording are in train and in val: 'rec0'" in said_by(tmp_path, capfd, videos="v.csv")


# Folders of splits, what is not taken, nothing to validate with.


def test_folders_of_splits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for k, name in enumerate(("Train/run/a", "Train/sit/b", "Validation/run/c", "test/sit/d")):
        write_video(tmp_path / "videos" / f"{name}.mp4", 2 + k, seed=k)
    (tmp_path / "videos" / "annotations").mkdir()  # of no class, as no class lies there
    (tmp_path / "videos" / "annotations" / "all.json").touch()
    said = said_by(tmp_path, capfd)
    assert "Train and Validation and test are taken for splits" in said and "2 classes: run, sit" in said
    assert "1 .json" in said
    assert lines(tmp_path, "category.txt") == ["run", "sit"]
    assert lines(tmp_path, "train_videofolder.txt") == ["Train/run/a 2 0", "Train/sit/b 3 1"]
    assert lines(tmp_path, "val_videofolder.txt") == ["Validation/run/c 4 0"]
    assert lines(tmp_path, "test_videofolder.txt") == ["test/sit/d 5 1"]
    (tmp_path / "videos" / "Train" / "nothing").mkdir()
    (tmp_path / "videos" / "Train" / "nothing" / "x.gif").touch()
    assert "the class folder 'Train/nothing' has no video in it (there are 1 .gif)" in refusal(tmp_path)


def test_what_is_no_video_is_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, 2)
    for name in ("notes.txt", "moving.gif", ".DS_Store"):
        (tmp_path / "videos" / "κίνηση" / name).touch()
    said = said_by(tmp_path, capfd)
    assert "3 files passed over:" in said and "κίνηση/moving.gif" in said and "ffmpeg -i" in said
    (tmp_path / "v.csv").write_text("videos/κίνηση/plain.mp4,a\nvideos/κίνηση/moving.gif,a\n")
    shutil.copy(tmp_path / "videos" / "κίνηση" / "it's.mp4", tmp_path / "videos" / "κίνηση" / "plain.mp4")
    assert prepare(tmp_path, name="other", videos="v.csv") == 1
    shown = capfd.readouterr().err
    assert "moving.gif: " in shown and "ffmpeg -i" in shown


@pytest.mark.parametrize("storage", ["frames", "video"])
def test_nothing_to_validate_with(tmp_path: Path, storage: str, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(fill(tmp_path, 2))
    prepare(tmp_path, "--storage", "video")
    folder = tmp_path / "dataset" / "mine"
    assert (folder / "val_videofolder.txt").exists() and (folder / "val_videos.txt").exists()
    (folder / "videos.csv").unlink()
    said = said_by(tmp_path, capfd, "--val_share", 0, "--storage", storage)
    assert not (folder / "val_videofolder.txt").exists() and not (folder / "val_videos.txt").exists()
    assert "no video to validate with" in said and "--eval-freq 0" in said
    assert re.search(r"next: .*\n.*main.py mine RGB .*--eval-freq 0", said)
    assert len(lines(tmp_path, "train_videos.txt")) == 4 == len(lines(tmp_path, "train_videofolder.txt"))
    said = refusal(tmp_path, "--val_share", 0.2)
    assert "videos.csv" in said
    (folder / "videos.csv").unlink()
    said = said_by(tmp_path, capfd, "--val_share", 0.2, "--storage", storage)
    assert (folder / "val_videos.txt").exists() and "--eval-freq" not in said


def test_one_video_a_class_cannot_be_validated_with(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = said_by(fill(tmp_path, 1), capfd)
    assert "no video to validate with" in said and "two videos" in said


def test_the_printed_command_is_one_that_trains(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = said_by(fill(tmp_path), capfd)
    command = next(line.split() for line in said.splitlines() if "main.py" in line)
    assert command[:4] == ["python", "main.py", "mine", "RGB"]
    arguments = training_options(command[2:])
    assert arguments.pretrain == "none" and arguments.root_dataset == str(tmp_path / "dataset")
    assert arguments.batch_size == len(lines(tmp_path, "train_videos.txt")) == 8  # a larger batch is refused


def test_lists_of_frames_follow_a_run_without_frames(tmp_path: Path) -> None:
    prepare(fill(tmp_path))
    (tmp_path / "videos" / "κίνηση" / "plain.mp4").unlink()
    write_video(tmp_path / "videos" / "κίνηση" / "new.mp4", 3)
    prepare(tmp_path, "--storage", "video")
    of_frames, of_videos = (
        {line.rsplit(" ", fields)[0] for split in ("train", "val") for line in lines(tmp_path, f"{split}_{kind}.txt")}
        for kind, fields in (("videofolder", 2), ("videos", 1))
    )
    assert of_frames == {path.removesuffix(".mp4") for path in of_videos} - {"κίνηση/new"} and len(of_frames) == 9


# Names.


def test_two_spellings_are_one_class(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nfc, nfd = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    for k, folder in enumerate((nfc, nfd, "bar")):
        for i in range(2):
            write_video(tmp_path / "videos" / folder / f"{k}{i}.mp4", 2, seed=k)
    assert "2 classes" in said_by(tmp_path, capfd)
    assert lines(tmp_path, "category.txt") == [nfc, "bar"]
    listed = lines(tmp_path, "train_videos.txt") + lines(tmp_path, "val_videos.txt")
    assert all((tmp_path / "videos" / line.rsplit(" ", 1)[0]).is_file() for line in listed)  # as it is on the disk
    assert Counter(line[-1] for line in listed) == {"0": 4, "1": 2}
    train(tmp_path, "--epochs=1", "--input_size=32", "-b", "4", dataset="mine")

    (tmp_path / "dataset" / "mine" / "category.txt").write_text(f"{nfd}\nbar\n", encoding="utf-8")  # of an older run
    assert resolve("mine", tmp_path / "dataset").categories == (nfc, "bar")
    before = split_of(tmp_path)
    shutil.move(tmp_path / "videos" / nfd / "10.mp4", tmp_path / "videos" / nfc / "10.mp4")  # unzipped elsewhere
    prepare(tmp_path)
    assert lines(tmp_path, "category.txt") == [nfc, "bar"]
    assert split_of(tmp_path)[f"{nfc}/10.mp4"] == before[f"{nfd}/10.mp4"]

    shutil.copy(tmp_path / "videos" / nfc / "10.mp4", tmp_path / "videos" / nfd / "10.mp4")
    for storage in ("frames", "video"):
        said = refusal(tmp_path, "--storage", storage)
        assert "rename one video of each pair" in said and "how their letters are encoded" in said


def test_a_table_finds_a_file_by_either_spelling(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    write_video(tmp_path / f"{nfd}.mp4", 2)
    write_video(tmp_path / "b.mp4", 2)
    (tmp_path / "v.csv").write_text(f"{nfc}.mp4,{nfc}\nb.mp4,{nfd}\n", encoding="utf-8")
    assert prepare(tmp_path, videos="v.csv") == 0
    assert lines(tmp_path, "category.txt") == [nfc]
    assert sorted(lines(tmp_path, "train_videos.txt") + lines(tmp_path, "val_videos.txt")) == [
        "b.mp4 0",
        f"{nfd}.mp4 0",
    ]
    (tmp_path / "v.csv").write_text(f"{nfc}.mp4,a\n{nfd}.mp4,a\n", encoding="utf-8")
    assert "stands there twice" in refusal(tmp_path, videos="v.csv")


@pytest.mark.parametrize("stem", ["x" * 250, "字" * 83, "é" * 125], ids=["ascii", "cjk", "accents"])
def test_long_names(tmp_path: Path, stem: str) -> None:
    for name in (stem, "short"):
        write_video(tmp_path / "videos" / "run" / f"{name}.mp4", 3)
    assert prepare(tmp_path) == 0
    assert {len(list(folder.iterdir())) for folder in (tmp_path / "dataset/mine/frames/run").iterdir()} == {3}
    assert f"run/{stem} 3 0" in lines(tmp_path, "train_videofolder.txt") + lines(tmp_path, "val_videofolder.txt")


def test_a_name_that_the_frames_cannot_have_fails_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    deep = tmp_path / "/".join(["d" * 200] * 19)  # frames/ and the file beside it add what is too much
    for name in ("run/" + "x" * 200, "run/short", "sit/" + "y" * 200):
        write_video(tmp_path / "videos" / f"{name}.mp4", 3)
    flags = ["--videos", tmp_path / "videos", "--name", "mine", "--root_dataset", deep, "--val_share", 0, "-j", 1]
    for _ in range(2):
        assert prepare_videos.main([str(flag) for flag in flags]) == 1
        shown = capfd.readouterr().err
        assert "failed: 2" in shown and shown.count("too long for the file system") == 2
    assert (deep / "mine" / "train_videofolder.txt").read_text() == "run/short 3 0\n"


@pytest.mark.parametrize(
    ("names", "mirror", "policy"),
    [
        (("turn left", "turn right"), "auto", "none"),
        (("run", "sit"), "auto", "plain"),
        (("turn left", "turn right"), "swap", "swap"),
    ],
)
def test_dataset_toml_decides_about_mirroring(tmp_path: Path, names: tuple[str, ...], mirror: str, policy: str) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "category.txt").write_text("\n".join(names))
    (tmp_path / "own" / "dataset.toml").write_text(f'mirror = "{mirror}"\n')
    data = resolve("own", tmp_path)
    assert data.mirror == policy
    assert ("'turn left' names a side" in data.mirror_because) == (policy == "none")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("miror = 'none'", r"unknown key 'miror' \(did you mean mirror\?\)"),
        ("mirror = 'both'\nstorage = 1", "mirror = 'both': expected none, plain, swap or auto; storage = 1"),
        ("mirror = none", "cannot be read as TOML"),
    ],
)
def test_faulty_dataset_toml(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "dataset.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        resolve("own", tmp_path)
