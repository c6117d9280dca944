"""tools/make_order_task.py: every video and its reversal, in opposite classes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_networks import save_network
from made_videos import write_video
from programs import evaluate

from ops.data.catalog import resolve
from ops.data.clips import ClipOptions, Sample, VideoClips
from ops.data.records import VideoRecord, read_list
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from ops.locks import claimed
from tools import check_dataset, extract_flow, make_order_task, pack_frames


def make(root: Path, name: str = "own") -> Path:
    assert make_order_task.main([name, "--root_dataset", str(root / "dataset")]) == 0
    return root / "dataset" / f"{name}_order"


def refusal(root: Path, name: str = "own") -> str:
    with pytest.raises(InputError) as caught:
        make_order_task.main([name, "--root_dataset", str(root / "dataset")])
    return str(caught.value)


def fill(root: Path, classes: str = "a\nb\n", name: str = "own", **files: str) -> Path:
    """A data set of which there are lists alone, or what `files` say."""
    folder = root / "dataset" / name
    folder.mkdir(parents=True)
    files = files or {"train_videofolder.txt": "v 1 9 0\nw 8 1\n", "val_videofolder.txt": "x 9 1\n"}
    for file, text in {"category.txt": classes, "dataset.toml": "", **files}.items():
        (folder / file).write_text(text)
    return folder


def test_a_video_and_its_reversal_have_opposite_classes_on_one_side(tmp_path: Path) -> None:
    fill(tmp_path)
    order = make(tmp_path)
    data = resolve("own_order", tmp_path / "dataset")
    assert data.categories == ("forwards", "backwards") and data.mirror == "plain"
    assert data.root.resolve() == tmp_path / "dataset" / "own" / "frames"
    assert read_list(data.train_list, 2) == [
        VideoRecord(path, frames, int(way), way) for path, frames in (("v 1", 9), ("w", 8)) for way in (False, True)
    ]
    assert read_list(data.val_list, 2) == [VideoRecord("x", 9, 0), VideoRecord("x", 9, 1, backwards=True)]
    assert {path.name for path in order.iterdir()} == {
        *("category.txt", "dataset.toml", "train_videofolder.txt", "val_videofolder.txt"),
    }


CLOCK, UP = "turning clockwise\nturning counterclockwise\n", "moving up\nwaiting\nmoving down\n"


@pytest.mark.parametrize(
    ("classes", "described", "ways", "mirror"),
    [
        ("a\nb\n", "", [0, 0], "plain"),
        ("a\nb\n", 'mirror = "none"\n', [0, 0], "none"),
        (UP, "", [0, 0, 1], "plain"),
        (CLOCK, 'mirror = "swap"\n', [0, 1], "none"),  # mirrored, it turns the other way
        ("looking left\nlooking right\na\n", "", [0, 1, 0], "none"),
        ("something left of it\nsomething right of it\n", 'mirror = "swap"\n', [0, 1], "none"),
        ("two left\nb\n", 'mirror = "swap"\n', [0, 0], "none"),
    ],
)
def test_which_way_the_videos_of_a_class_go_and_whether_they_are_mirrored(
    tmp_path: Path, classes: str, described: str, ways: list[int], mirror: str
) -> None:
    lines = "".join(f"v{label} 9 {label}\n" for label in range(len(ways)))
    fill(tmp_path, classes, **{"dataset.toml": described, "train_videofolder.txt": lines})
    make(tmp_path)
    data = resolve("own_order", tmp_path / "dataset")
    records = read_list(data.train_list, 2)
    assert data.mirror == mirror
    assert [record.label for record in records if not record.backwards] == ways
    assert all(
        a.path == b.path and {a.label, b.label} == {0, 1} for a, b in zip(records[::2], records[1::2], strict=True)
    )


def test_a_class_that_is_its_own_reverse_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(f"v{label} 9 {label}\n" for label in (1, 0, 2, 3, 4))
    classes = "moving up\npassing behind something\nmoving down\npassing in front of something\nspeeding\n"
    fill(tmp_path, classes, **{"train_videofolder.txt": lines, "val_videofolder.txt": "x 9 3\n"})
    order = make(tmp_path)
    written = (order / "train_videofolder.txt").read_text()
    assert written == "".join(f"v{n} 9 {way}\nbackwards:v{n} 9 {1 - way}\n" for n, way in ((0, 0), (2, 1), (4, 0)))
    assert not (order / "val_videofolder.txt").exists()
    said = capsys.readouterr().out
    assert "1 of 3 classes are the reverse of another" in said
    assert "2 of 5 classes are left out, as they are their own reverse" in said


def test_each_storage_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lists = {"train_videos.txt": "one.mp4 0\n", "val_videos.txt": "two.mp4 1\n"}
    folder = fill(tmp_path, **lists, **{"dataset.toml": 'storage = "video"\n'})
    for seed, name in enumerate(("one.mp4", "two.mp4")):
        write_video(folder / "videos" / name, 20, seed=seed)
    flags = ["--root_dataset", str(tmp_path / "dataset"), "-j", "1"]
    assert pack_frames.main(["own", *flags, "--short_side", "0"]) == 0  # and writes the lists of the frames
    shutil.unpack_archive(folder / "packed" / "frames-00000.tar", folder / "frames")
    make(tmp_path)
    assert resolve("own_order", tmp_path / "dataset").storage == "video"
    for storage in ("frames", "packed", "video"):
        data = resolve("own_order", tmp_path / "dataset", storage=storage)
        opened = open_storage(data)
        clips = VideoClips(listed(data, opened, data.train_list), opened, "test", ClipOptions(4, 32, test_mode="twice"))
        there, back = clips[0, 0], clips[0, 1]
        assert isinstance(there, Sample) and isinstance(back, Sample) and (there.label, back.label) == (0, 1)
        assert there.clip.equal(back.clip.flip(1)) and not there.clip.equal(back.clip)
    assert check_dataset.main(["own_order", "--storage", "frames", *flags]) == 0
    report = json.loads(Path("report/check_own_order/report.json").read_text())
    assert report["videos"] == {"train": 2, "val": 2} and not report["errors"] + report["warnings"]


def test_packing_the_videos_of_a_task_keeps_its_directions(tmp_path: Path) -> None:
    folder = fill(tmp_path, **{"train_videos.txt": "one.mp4 0\n"})
    write_video(folder / "videos" / "one.mp4", 8)
    order = make(tmp_path)
    flags = ["--root_dataset", str(tmp_path / "dataset"), "-j", "1", "--storage", "video"]
    for _ in range(2):
        assert pack_frames.main(["own_order", *flags]) == 0
        assert (order / "train_videofolder.txt").read_text() == "one 8 0\nbackwards:one 8 1\n"
    assert (folder / "packed" / "frames-00000.tar").is_file()


def test_a_network_without_time_gives_a_video_and_its_reversal_the_same_scores(demo: Path) -> None:
    """So that it is right for one of the two; the shift, tested together with what was saved, tells them apart."""
    few = demo / "dataset" / "demo" / "val_videofolder.txt"
    few.write_text("".join(few.read_text().splitlines(keepends=True)[:3]))
    make(demo, "demo")
    saved, result, page = demo / "tsn.npz", demo / "result.json", demo / "out"
    tsn, tsm = (
        save_network(demo / name, ("forwards", "backwards"), "demo_order", shift=shift, fex="off")
        for name, shift in (("tsn.pth", False), ("tsm.pth", True))
    )
    out = [f"--save_scores={saved}", f"--result_json={result}", f"--report={page}"]
    evaluate(demo, tsn, *out, dataset="demo_order")
    evaluate(demo, Path(f"{tsm},{saved}"), f"--save_scores={demo / 'both.npz'}", dataset="demo_order")
    apart = {}
    for file in (saved, demo / "both.npz"):
        with np.load(file) as found:
            scores, paths = found["scores"], found["paths"].tolist()
        assert paths[1::2] == [f"backwards:{path}" for path in paths[::2]]
        apart[file.stem] = np.abs(scores[::2] - scores[1::2]).max() / np.abs(scores).max()
    assert apart["tsn"] < 1e-6 and json.loads(result.read_text())["top1"] == 50
    assert apart["both"] > 1e-3
    assert "backwards:val_" in (page / "index.html").read_text() and len(list((page / "frames").iterdir())) == 6


def test_it_is_made_anew(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    order = make(tmp_path)
    (folder / "train_videofolder.txt").write_text("v 1 9 0\n")
    (folder / "val_videofolder.txt").unlink()
    (folder / "test_videofolder.txt").write_text("t 4 -1\nu 4 -1\n")  # videos without labels have no direction
    said = 'template = "{:d}.png"\nfirst = 0\nframes = "/elsewhere"\nvideos = "../own/v"\n'
    (folder / "dataset.toml").write_text(said)
    make(tmp_path)
    assert sorted(path.name for path in order.glob("*folder.txt")) == ["train_videofolder.txt"]
    assert (order / "train_videofolder.txt").read_text() == "v 1 9 0\nbackwards:v 1 9 1\n"
    data = resolve("own_order", tmp_path / "dataset")
    assert (data.template, data.first, data.root) == ("{:d}.png", 0, Path("/elsewhere"))
    videos = resolve("own_order", tmp_path / "dataset", storage="video").root
    assert videos.resolve() == folder / "v"


def test_a_split_becomes_a_data_set_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path, name="ucf101", **{"train_videofolder_split2.txt": "v 9 1\n", "train_videofolder.txt": "w 9 1\n"})
    make(tmp_path, "ucf101_split2")
    data = resolve("ucf101_split2_order", tmp_path / "dataset")
    assert data.train_list.read_text() == "v 9 0\nbackwards:v 9 1\n"
    assert data.root.resolve() == tmp_path / "dataset" / "ucf101" / "frames"


def test_what_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    order = folder.with_name("own_order")
    order.mkdir()
    (order / "mine.txt").write_text("mine")
    assert re.search(
        r"own_order: holds mine\.txt, and no \[order\] of 'own' in dataset\.toml: .*move it away", refusal(tmp_path)
    )
    (order / "dataset.toml").write_text('[order]\nof = "other"\n')
    assert "holds dataset.toml, mine.txt" in refusal(tmp_path)
    (order / "dataset.toml").write_text("order = 3\n")
    assert "own_order/dataset.toml: unknown key 'order'" in refusal(tmp_path)
    assert sorted(path.name for path in order.iterdir()) == ["dataset.toml", "mine.txt"]
    shutil.rmtree(order)
    with claimed(order):
        assert "another program is at work there" in refusal(tmp_path)
    assert not order.exists()
    make(tmp_path)
    assert "own_order/train_videofolder.txt: has videos backwards already: give" in refusal(tmp_path, "own_order")
    with pytest.raises(InputError, match=r"^backwards:v 1 of the lists: flow can't be played backwards"):
        (folder / "frames").mkdir()
        extract_flow.main(["own_order", "--root_dataset", str(tmp_path / "dataset"), "-j", "1"])
    for name in ("train", "val"):
        (folder / f"{name}_videofolder.txt").unlink()
    assert re.search("own: holds none of train_videofolder.txt, .*To make them: ", refusal(tmp_path))
    assert "unknown data set 'none'" in refusal(tmp_path, "none")
