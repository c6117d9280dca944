"""tools/make_lists.py: lists from the official files, of made downloads in the official formats."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from made_downloads import DOWNLOADS, frame_folders, write
from programs import python

from ops.data.catalog import CATALOG, resolve
from ops.data.records import read_categories, read_list
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from tools import make_lists
from tools.official_labels import READERS, read_official

# What the lists of each made download must say: classes, then a line for each video.
FRAMES = {
    "something": (
        ["Pulling something from left to right", "Pulling something from right to left"],
        {"train": ["1 3 0", "2 4 0"], "val": ["3 5 1"], "test": ["4 6 -1"]},
    ),
    "jester": (["Swiping Left", "Swiping Right"], {"train": ["10 3 1", "11 4 0"], "val": ["12 5 0"]}),
}
VIDEOS = {
    "somethingv2": (
        ["Approaching something with your camera", "Holding something in front of something"],
        {"train": ["77.webm 1", "78.webm 0"], "val": ["79.webm 0"], "test": ["80.webm -1"]},
    ),
    "kinetics": (
        ["eating, fast", "tai chi"],
        {
            "train": ["tai chi/-abc_DEF123_000005_000015.mp4 1", "eating,_fast/xyzXYZ00000_000120_000130.mkv 0"],
            "val": ["tai_chi/qwertyuiop0.mp4 1"],
            "test": ["nolabel0000_000003_000013.mp4 -1"],
        },
    ),
    "diving48": (
        ["Back_15som_05Twis_FREE", "Forward_Dive_PIKE"],
        {"train": ["dive_00000.mp4 0", "dive_00001.mp4 1"], "val": ["dive_00002.mp4 0"]},
    ),
}


def run(root: Path, dataset: str, *more: object, media: str = "") -> int:
    """Makes the lists of a download in `root`/media."""
    kind = media or ("videos" if dataset in VIDEOS or dataset in ("ucf101", "hmdb51") else "frames")
    flags = ["--labels", root / "labels", f"--{kind}", root / "media", "--root_dataset", root / "dataset", "-j", 1]
    return make_lists.main([dataset, *map(str, [*flags, *more])])


def download(root: Path, dataset: str) -> Path:
    DOWNLOADS[dataset](root / "labels", root / "media")
    return root


def lines(root: Path, dataset: str, name: str) -> list[str]:
    return (root / "dataset" / dataset / name).read_text(encoding="utf-8").splitlines()


def test_every_known_data_set_has_a_reader_and_a_made_download() -> None:
    families = {entry.family or name for name, entry in CATALOG.items()} - {"demo"}
    assert set(READERS) == set(DOWNLOADS) == families


@pytest.mark.parametrize("dataset", FRAMES)
def test_lists_of_frames(tmp_path: Path, dataset: str) -> None:
    assert run(download(tmp_path, dataset), dataset) == 0
    categories, lists = FRAMES[dataset]
    assert read_categories(tmp_path / "dataset" / dataset / "category.txt") == categories
    for name, expected in lists.items():
        assert lines(tmp_path, dataset, f"{name}_videofolder.txt") == expected
    assert read_list(tmp_path / "dataset" / dataset / "train_videofolder.txt", 2)
    assert resolve(dataset, tmp_path / "dataset").root == tmp_path / "media"  # as dataset.toml notes


@pytest.mark.parametrize("dataset", VIDEOS)
def test_lists_of_videos(tmp_path: Path, dataset: str) -> None:
    assert run(download(tmp_path, dataset), dataset) == 0
    categories, lists = VIDEOS[dataset]
    assert read_categories(tmp_path / "dataset" / dataset / "category.txt") == categories
    for name, expected in lists.items():
        assert lines(tmp_path, dataset, f"{name}_videos.txt") == expected
    assert resolve(dataset, tmp_path / "dataset", storage="video").root == tmp_path / "media"


def test_ucf101_has_three_splits(tmp_path: Path) -> None:
    assert run(download(tmp_path, "ucf101"), "ucf101") == 0
    for split, mark in ((1, ""), (2, "_split2"), (3, "_split3")):
        val = lines(tmp_path, "ucf101", f"val_videos{mark}.txt")
        assert val == [f"{n}/v_{n}_g0{split}_c01.avi {k}" for k, n in enumerate(("ApplyEyeMakeup", "ApplyLipstick"))]
        assert len(lines(tmp_path, "ucf101", f"train_videos{mark}.txt")) == 4
        data = resolve(f"ucf101{mark}", tmp_path / "dataset", storage="video")
        assert data.val_list.name == f"val_videos{mark}.txt" and data.family == "ucf101"


def test_hmdb51_uses_one_to_train_two_to_test_and_zero_for_neither(tmp_path: Path) -> None:
    assert run(download(tmp_path, "hmdb51"), "hmdb51") == 0
    expected = {"": ("a_brush (1)", "b"), "_split2": ("c", "a_brush (1)"), "_split3": ("b", "c")}  # train, val
    for mark, (train, val) in expected.items():
        assert lines(tmp_path, "hmdb51", f"train_videos{mark}.txt")[0] == f"brush_hair/{train}.avi 0"
        assert lines(tmp_path, "hmdb51", f"val_videos{mark}.txt")[0] == f"brush_hair/{val}.avi 0"
        assert len(lines(tmp_path, "hmdb51", f"val_videos{mark}.txt")) == 2


def test_what_is_missing_is_left_out_and_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    download(tmp_path, "something")
    (tmp_path / "media" / "3" / "00002.jpg").unlink()  # a gap
    shutil.rmtree(tmp_path / "media" / "2")
    for picture in (tmp_path / "media" / "4").iterdir():
        picture.unlink()
    assert run(tmp_path, "something") == 1
    folder = tmp_path / "dataset" / "something"
    assert (folder / "missing.txt").read_text().splitlines() == [
        "2: missing",
        "3: has 4 frames but no 00002.jpg",
        "4: has no frame like 00001.jpg",
    ]
    assert lines(tmp_path, "something", "train_videofolder.txt") == ["1 3 0"]
    assert "missing or damaged: 3" in capfd.readouterr().err
    shutil.rmtree(tmp_path / "media")
    frame_folders(tmp_path / "media", ["1", "2", "3", "4"])
    assert run(tmp_path, "something") == 0  # again, once they are there
    assert not (folder / "missing.txt").exists()
    assert lines(tmp_path, "something", "train_videofolder.txt") == ["1 3 0", "2 4 0"]


def test_nothing_found_writes_nothing(tmp_path: Path) -> None:
    download(tmp_path, "something")
    (tmp_path / "media").rename(tmp_path / "frames")
    (tmp_path / "media" / "frames").mkdir(parents=True)
    with pytest.raises(InputError, match=r"none of the 4 videos is there.*media/1; the folder holds frames"):
        run(tmp_path, "something")
    assert not (tmp_path / "dataset").exists()


def test_frames_in_the_data_sets_own_folder_need_no_note(tmp_path: Path) -> None:
    own = tmp_path / "dataset" / "jester"
    DOWNLOADS["jester"](tmp_path / "labels", own / "frames")
    (own / "dataset.toml").write_text('frames = "elsewhere"\nmirror = "plain"\n')
    flags = ["--labels", tmp_path / "labels", "--frames", own / "frames", "--root_dataset", tmp_path / "dataset"]
    assert make_lists.main(["jester", *map(str, flags)]) == 0
    assert (own / "dataset.toml").read_text() == 'mirror = "plain"\n'
    assert resolve("jester", tmp_path / "dataset").root == own / "frames"


def test_another_template(tmp_path: Path) -> None:
    download(tmp_path, "jester")
    for picture in sorted((tmp_path / "media").rglob("*.jpg")):
        picture.rename(picture.with_name(f"img_{picture.stem}.jpg"))
    assert run(tmp_path, "jester", "--template", "img_{:05d}.jpg") == 0
    assert resolve("jester", tmp_path / "dataset").template == "img_{:05d}.jpg"
    assert lines(tmp_path, "jester", "val_videofolder.txt") == ["12 5 0"]


def test_a_template_noted_by_hand_stays_and_is_taken(tmp_path: Path) -> None:
    download(tmp_path, "jester")
    for picture in sorted((tmp_path / "media").rglob("*.jpg")):
        picture.rename(picture.with_name(f"img_{picture.stem}.jpg"))
    own = tmp_path / "dataset" / "jester"
    own.mkdir(parents=True)
    (own / "dataset.toml").write_text('template = "img_{:05d}.jpg"\n')
    assert run(tmp_path, "jester") == 0
    assert lines(tmp_path, "jester", "val_videofolder.txt") == ["12 5 0"]
    assert resolve("jester", tmp_path / "dataset").template == "img_{:05d}.jpg"
    (own / "dataset.toml").write_text('template = "img.jpg"\n')
    with pytest.raises(InputError, match=r"dataset.toml: template = 'img.jpg': expected a frame's file name"):
        run(tmp_path, "jester")


@pytest.mark.parametrize(("dataset", "kind"), [("kinetics", "videos"), ("jester", "frames")])
def test_media_in_folders_of_splits(tmp_path: Path, dataset: str, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    download(tmp_path, dataset)
    expected = (VIDEOS | FRAMES)[dataset][1]
    for split, folder in (("train", "train"), ("val", "Validation"), ("test", "test")):
        for line in expected.get(split, []):
            path = line.rsplit(" ", 1 if kind == "videos" else 2)[0]
            (tmp_path / "media" / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "media" / path).rename(tmp_path / "media" / folder / path)
    assert run(tmp_path, dataset) == 0
    assert "in its folders Validation, " in capfd.readouterr().err
    name = "videos" if kind == "videos" else "videofolder"
    assert lines(tmp_path, dataset, f"val_{name}.txt") == [f"Validation/{line}" for line in expected["val"]]
    assert lines(tmp_path, dataset, f"train_{name}.txt") == [f"train/{line}" for line in expected["train"]]


def test_what_is_there_instead_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    media = download(tmp_path, "something") / "media"
    for number in range(1, 5):
        (media / "2" / f"{number:05d}.jpg").rename(media / "2" / f"frame{number}.png")
    (media / "1" / "Thumbs.db").touch()
    (media / "1" / "flow_x_00001.jpg").touch()
    assert run(tmp_path, "something") == 1
    said = capfd.readouterr().err
    assert "2: has no frame like 00001.jpg" in said
    assert "passed over in folders of frames, as not named like 00001.jpg: 4 .png, 1 .db, 1 .jpg" in said

    media = download(tmp_path / "v2", "somethingv2") / "media"
    (media / "77.webm").rename(media / "77.mxf")
    (media / "78.webm").rename(media / "78")
    assert run(tmp_path / "v2", "somethingv2") == 1
    missing = lines(tmp_path / "v2", "somethingv2", "missing.txt")
    assert missing[0].startswith("77: missing, but 77.mxf is there (not read: `ffmpeg")
    assert missing[1].startswith("78: missing, but 78 is there (of what kind is not known")


def test_frames_called_otherwise_are_found_by_what_is_said(tmp_path: Path) -> None:
    """Numbered from 0, and of another ending."""
    download(tmp_path, "jester")
    for folder in (tmp_path / "media").iterdir():
        for number, picture in enumerate(sorted(folder.iterdir())):
            picture.rename(folder / f"i{number}.JPG")
    with pytest.raises(InputError) as caught:
        run(tmp_path, "jester")
    flags = shlex.split(str(caught.value).partition(": give ")[2])
    assert flags == ["--template", "i{:d}.JPG", "--first", "0"]
    assert run(tmp_path, "jester", *flags) == 0
    data = resolve("jester", tmp_path / "dataset")
    assert (data.template, data.first) == ("i{:d}.JPG", 0)
    (record,) = listed(data, open_storage(data), data.val_list)
    assert record.num_frames == 5 and len(open_storage(data).read(record, [1, 5])) == 2
    with pytest.raises(InputError, match="--first -1: the number of the first frame"):
        run(tmp_path, "jester", "--first", "-1")


@pytest.mark.parametrize(
    ("dataset", "file", "text", "words"),
    [
        (
            "something",
            "something-something-v1-train.csv",
            "1;Pulling\n2\n",
            r":1: class 'Pulling' .*\n.*:2: exp",
        ),
        ("something", "something-something-v1-labels.csv", "a\n\nb\n", "labels.csv:2: blank line"),
        ("somethingv2", "train.json", '[{"id": "1"}]', "train.json:1: expected an object with id and template"),
        ("somethingv2", "train.json", "[", "train.json: cannot be read as JSON"),
        ("somethingv2", "labels.json", '{"a": "0", "b": "2"}', "numbers are not 0 to 1"),
        ("kinetics", "train.csv", "a,b\n1,2\n", "expected the header label,youtube_id"),
        ("kinetics", "validate.csv", "label,youtube_id,time_start,time_end,split\nx,y,1,2,v\n", "class 'x' is not in"),
        ("kinetics", "train.csv", "label,youtube_id,time_start,time_end,split\nx,y,soon,2,v\n", "train.csv:2: time_st"),
        ("ucf101", "classInd.txt", "1 A\n3 B\n", "classInd.txt:2: expected `2 class name`"),
        ("ucf101", "testlist02.txt", "Nothing/v.avi\n", "testlist02.txt:1: expected `class/video.avi`"),
        ("hmdb51", "wave_test_split2.txt", "x.avi 3\n", "split2.txt:1: expected `video.avi` and 0, 1 or 2"),
        ("hmdb51", "other_test_split2.txt", "x.avi 1\n", "splits 1 and 2 differ in their classes: other"),
        ("diving48", "Diving48_V2_test.json", '[{"vid_name": "x", "label": 48}]', r"label in 0\.\.1"),
    ],
)
def test_malformed_files_are_named_and_nothing_is_written(
    tmp_path: Path, dataset: str, file: str, text: str, words: str
) -> None:
    download(tmp_path, dataset)
    write(tmp_path / "labels" / file, text)
    with pytest.raises(InputError, match=words):
        run(tmp_path, dataset)
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("dataset", DOWNLOADS)
def test_missing_label_files_are_named(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(InputError, match=r"no .*in it. Give the folder of the official files; download"):
        read_official(dataset, tmp_path)


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"demo: has no official files; python tools/make_demo_dataset.py"):
        run(tmp_path, "demo")
    with pytest.raises(InputError, match=r"hmdb: has no official files \(did you mean hmdb51\?\).*--frames .*no such"):
        run(tmp_path, "hmdb", media="frames")
    with pytest.raises(InputError, match=r"--template: names frames; --videos has none"):
        run(tmp_path, "hmdb51", "--template", "x{}.jpg")
    with pytest.raises(InputError, match=r"my_videos: has no official files.*tools/prepare_videos.py makes"):
        run(tmp_path, "my_videos")
    done = python("tools/make_lists.py", "jester", "--labels", str(tmp_path))
    assert done.returncode == 2 and done.stderr == "error: give one of --frames DIR and --videos DIR\n"
