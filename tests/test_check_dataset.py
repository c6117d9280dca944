"""tools/check_dataset.py finds what is planted; a data set's fingerprint tells when it has changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_data import picture, write_flow, write_frames
from made_videos import write_video
from PIL import Image
from programs import evaluate, python, train

from ops.data.catalog import resolve
from ops.data.fingerprint import differences, fingerprint
from ops.data.records import VideoRecord
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from tools import check_dataset

CLASSES = ("run", "sit")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`own`: two classes of three training videos and one validation video each, 4 frames a video."""
    folder = tmp_path / "dataset" / "own"
    listed: dict[str, list[str]] = {"train": [], "val": []}
    for label, name in enumerate(CLASSES):
        for k in range(4):
            write_frames(folder / "frames" / name / f"v {k}", [picture(100 * label + 10 * k + n) for n in range(4)])
            listed["val" if k == 3 else "train"].append(f"{name}/v {k} 4 {label}\n")
    for part, rows in listed.items():
        (folder / f"{part}_videofolder.txt").write_text("".join(rows))
    (folder / "category.txt").write_text("run\nsit\n")
    (folder / "dataset.toml").touch()
    return tmp_path


def check(root: Path, *flags: object) -> tuple[int, dict[str, Any]]:
    """The exit status and the report."""
    words = ["own", "--root_dataset", root / "dataset", "--report", root / "report", "-j", 1, *flags]
    status = check_dataset.main([str(word) for word in words])
    return status, json.loads((root / "report" / "report.json").read_text(encoding="utf-8"))


def test_a_sound_data_set(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = check(root, "--decode")
    assert (status, report["errors"], report["warnings"]) == (0, [], [])
    assert report["videos"] == {"train": 6, "val": 2}
    assert report["frames_min_median_max"]["train"] == [4, 4, 4]
    assert "errors: 0\nwarnings: 0\n" in capsys.readouterr().out
    assert "videos: {'train': 6, 'val': 2}" in (root / "report" / "report.txt").read_text()
    for name in ("contact_sheet.png", "balance.png"):
        with Image.open(root / "report" / name) as image:
            assert image.width > 300 and len(set(image.convert("L").tobytes())) > 20  # something is drawn


def frames_of(root: Path) -> Path:
    return root / "dataset" / "own" / "frames"


def append(root: Path, name: str, line: str) -> None:
    with (root / "dataset" / "own" / name).open("a") as file:
        file.write(line)


def damage(root: Path) -> None:
    file = frames_of(root) / "run" / "v 1" / "00003.jpg"
    file.write_bytes(file.read_bytes()[:200])


PLANTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda r: shutil.rmtree(frames_of(r) / "sit" / "v 2"), "train: sit/v 2: its folder .* cannot be read"),
    "frame": (
        lambda r: (frames_of(r) / "sit" / "v 3" / "00002.jpg").unlink(),
        "val: sit/v 3: 1 of its 4 frames are missing, first .*00002.jpg",
    ),
    "line": (lambda r: append(r, "train_videofolder.txt", "run/v 1 0 0\n"), "train_videofolder.txt:7: a video of no"),
    "label": (lambda r: append(r, "val_videofolder.txt", "run/v 1 4 2\n"), "label 2 outside 0..1"),
    "list": (lambda r: (r / "dataset/own/val_videofolder.txt").unlink(), "val: The list file .* is missing"),
    "two labels": (
        lambda r: append(r, "val_videofolder.txt", "run/v 0 4 1\n"),
        "run/v 0 has label 0 in train and 1 in val: a video has one here",
    ),
    "damage": (damage, "train: run/v 1: .*00003.jpg: damaged"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_errors_are_found_and_make_the_exit_status(root: Path, name: str) -> None:
    plant, words = PLANTED[name]
    plant(root)
    if name == "damage":
        assert check(root)[0] == 0  # found by decoding only
    status, report = check(root, *["--decode"] * (name == "damage"))
    assert status == 1 and len(report["errors"]) == 1
    assert re.search(words, report["errors"][0]), report["errors"]


FAULTY: dict[str, tuple[bytes, str]] = {
    "commas": (b"run/v 0,4,0\n", r":1: commas or semicolons"),
    "a count that is no number": (b"run/v 0 four 0\n", ":1: the last two fields are not whole numbers"),
    "nan": (b"run/v 0 4 0\nrun/v 1 nan 0\n", ":2: the last two fields are not whole numbers"),
    "several labels": (b"run/v 0 4 0,1\n", ":1: several labels; a video has one here"),
    "two labels": (b"run/v 0 4 0\nrun/v 1 4 0\nrun/v 0 4 1\n", ":3: label 1, but line 1 gives this video label 0"),
    "GBK": ("跑步/v0 4 0\n".encode("gbk"), ":1: .*looks like GBK"),
    "UTF-16": ("run/v 0 4 0\n".encode("utf-16"), ":1: .*looks like UTF-16"),
    "UTF-16 without a mark": ("run/v 0 4 0\n".encode("utf-16-le"), ":1: .*looks like UTF-16LE"),
    "a zero byte": (b"run/v 0 4 0\nrun/v\0 1 4 0\n", ":2: .*holds zero bytes"),
    "empty": (b"", "lists no video"),
    "label outside": (b"run/v 0 4 99999999999\n", ":1: label 99999999999 outside 0..1"),
    "too many frames": (b"run/v 0 4294967300 0\n", ":1: a video of more than"),
    "thousands of digits": (b"run/v 0 " + b"4" * 5000 + b" 0\n", ":1: a video of more than"),
}


@pytest.mark.parametrize(
    ("name", "part"), [*((name, "train") for name in FAULTY), ("commas", "val"), ("UTF-16", "val")]
)
def test_a_faulty_list_is_named_and_the_other_checked(
    root: Path, name: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_dataset, "save_picture", lambda *_, **__: None)  # drawing is slow
    content, words = FAULTY[name]
    (root / "dataset" / "own" / f"{part}_videofolder.txt").write_bytes(content)
    status, report = check(root)
    assert status == 1 and len(report["errors"]) == 1
    assert re.search(rf"^{part}: .*{part}_videofolder\.txt(?s:.*){words}", report["errors"][0]), report["errors"]
    assert report["videos"] == ({"val": 2} if part == "train" else {"train": 6})
    assert report["fingerprint"]["content"] == ("missing" if part == "train" else marks(root)["content"])


def test_a_folder_where_a_list_should_be(root: Path) -> None:
    file = root / "dataset" / "own" / "train_videofolder.txt"
    file.unlink()
    file.mkdir()
    status, report = check(root)
    assert status == 1 and re.search("train_videofolder.txt cannot be read: Is a directory", report["errors"][0])


def test_the_fingerprint_of_a_list_read_before_is_the_same(root: Path) -> None:
    data = resolve("own", root / "dataset")
    storage = open_storage(data)
    append(root, "train_videofolder.txt", "# a comment\n\n" + "run/v 0 4 0\n" * 40)
    assert fingerprint(data, storage, listed(data, storage, data.train_list)) == marks(root)
    shutil.rmtree(frames_of(root) / "run" / "v 0")
    assert fingerprint(data, storage, listed(data, storage, data.train_list)) == marks(root)


def copy(root: Path, source: str, target: str) -> None:
    shutil.copytree(frames_of(root) / source, frames_of(root) / target)


def more_runs(root: Path) -> None:
    for k in range(10, 40):
        write_frames(frames_of(root) / "run" / f"v {k}", [picture(1000 + 4 * k + n, 16, 16) for n in range(4)])
        append(root, "train_videofolder.txt", f"run/v {k} 4 0\n")


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "same content in both lists": (
        lambda r: (copy(r, "run/v 0", "run/copied"), append(r, "val_videofolder.txt", "run/copied 4 0\n")),
        "the same content in different lists: train: run/v 0; val: run/copied",
    ),
    "same name in both lists": (
        lambda r: append(r, "val_videofolder.txt", "run/v 0 4 0\n"),
        "run/v 0 is listed 2 times: in train, val",
    ),
    "more frames than listed": (
        lambda r: shutil.copy(frames_of(r) / "run/v 0/00001.jpg", frames_of(r) / "run/v 0/00005.jpg"),
        "train: run/v 0: .* holds more than the 4 frames of the list",
    ),
    "same content of two classes": (
        lambda r: (copy(r, "run/v 0", "run/copied"), append(r, "train_videofolder.txt", "run/copied 4 1\n")),
        "the same content in one list, with different labels: train: run/v 0; train: run/copied",
    ),
    "class without videos": (
        lambda r: append(r, "category.txt", "jump\n"), "train: no video of class 'jump'",
    ),
    "imbalance": (more_runs, "train: the classes are out of balance: 'run' has 33 videos, 'sit' 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_warnings_are_no_errors(root: Path, name: str) -> None:
    plant, words = ODD[name]
    plant(root)
    status, report = check(root)
    assert (status, report["errors"]) == (0, [])
    assert any(re.search(words, line) for line in report["warnings"]), report["warnings"]


def test_in_parallel_and_as_a_program(root: Path) -> None:
    damage(root)
    (frames_of(root) / "sit" / "v 3" / "00002.jpg").unlink()
    words = ["own", "--root_dataset", root / "dataset", "--report", root / "report", "-j", 2, "--decode"]
    done = python("tools/check_dataset.py", *map(str, words))
    assert done.returncode == 1 and "errors: 2" in done.stdout and "Traceback" not in done.stderr
    done = python("tools/check_dataset.py", "owl", "--root_dataset", str(root / "dataset"))
    assert done.returncode == 2 and "did you mean own?" in done.stderr


def test_videos(root: Path) -> None:
    folder = root / "dataset" / "own"
    names = [f"{name}/{k}.mp4" for name in CLASSES for k in range(3)]
    for k, name in enumerate(names):
        write_video(folder / "videos" / name, 30, seed=k, g="10", sc_threshold="0")
    for part, chosen in (("train", names[:2] + names[3:5]), ("val", [names[2], names[5]])):
        lines = "".join(f"{name} {CLASSES.index(name[:3])}\n" for name in chosen)
        (folder / f"{part}_videos.txt").write_text(lines)
    assert check(root, "--storage", "video", "--decode")[0] == 0
    content = bytearray((folder / "videos" / names[0]).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    (folder / "videos" / names[0]).write_bytes(content)
    shutil.copy(folder / "videos" / names[1], folder / "videos" / names[5])
    assert check(root, "--storage", "video")[0] == 0
    status, report = check(root, "--storage", "video", "--decode")
    assert status == 1 and len(report["errors"]) == 1 and "run/0.mp4" in report["errors"][0]
    assert report["warnings"] == ["the same content in different lists: train: run/1.mp4; val: sit/2.mp4"]
    write_video(folder / "videos" / names[0], 12)  # replaced: counted anew
    assert check(root, "--storage", "video")[1]["frames_min_median_max"]["train"][0] == 12


def test_flow(root: Path) -> None:
    folder = root / "dataset" / "own"
    for part in ("train", "val"):
        lines = (folder / f"{part}_videofolder.txt").read_text()
        (folder / f"{part}_videofolder_flow.txt").write_text(lines)
        for line in lines.splitlines():
            write_flow(folder / "flow" / line.rsplit(" ", 2)[0], [(k, len(line) + k) for k in range(4)], "run" in line)
    assert check(root, "--modality", "Flow", "--decode")[0] == 0
    (folder / "flow" / "sit" / "v 0" / "flow_y_00002.jpg").unlink()
    assert "1 of its 4 frames are missing" in check(root, "--modality", "Flow")[1]["errors"][0]


def marks(root: Path) -> dict[str, str]:
    data = resolve("own", root / "dataset")
    return fingerprint(data, open_storage(data))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda r: append(r, "category.txt", "jump\n"), "classes"),
        (lambda r: append(r, "train_videofolder.txt", "run/v 0 4 0\n"), "train"),
        (lambda r: append(r, "val_videofolder.txt", "run/v 0 4 0\n"), "val"),
        (lambda r: Image.new("RGB", (64, 48)).save(frames_of(r) / "run/v 0/00002.jpg"), "content"),
        (lambda r: (frames_of(r) / "extraction.json").write_text('{"videos": "x", "quality": 90}'), "made"),
    ],
)
def test_the_fingerprint_tells_what_changed(root: Path, change: Callable[[Path], object], key: str) -> None:
    before = marks(root)
    assert marks(root) == before
    change(root)
    after = marks(root)
    assert key in {name for name in before if before[name] != after[name]}
    assert len(differences(before, after)) == sum(before[name] != after[name] for name in before)
    assert differences(before, before) == []


def test_where_videos_lay_is_no_part_of_it(root: Path) -> None:
    for place in ("/here", "/there"):
        (frames_of(root) / "extraction.json").write_text(json.dumps({"videos": place, "quality": 95}))
        assert marks(root)["made"] == '{"quality": 95}'


def test_checkpoints_and_logs_carry_it_and_differences_are_shown(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = ["--shift", "--input_size=32", "-b", "4", "--store_name=r"]
    run = train(root, *flags, "--epochs=1", dataset="own") / "r"
    said = json.loads((root / "log" / "r" / "options.json").read_text())
    assert said["data"] == marks(root)
    evaluate(root, run / "ckpt.pth", f"--result_json={root / 'r.json'}", dataset="own")
    assert json.loads((root / "r.json").read_text())["data"] == marks(root)
    assert "data have changed" not in caplog.text and "other data" not in caplog.text
    Image.new("RGB", (64, 48)).save(frames_of(root) / "run/v 0/00002.jpg")
    (frames_of(root) / "extraction.json").write_text('{"quality": 80}')
    evaluate(root, run / "ckpt.pth", dataset="own")
    assert "trained on other data: frames or videos" in caplog.text
    caplog.clear()
    train(root, *flags, "--epochs=2", "--resume", str(run / "ckpt.pth"), dataset="own")
    assert "the data have changed: frames or videos" in caplog.text
    assert 'how the frames were made:  then, {"quality": 80} now' in caplog.text


def test_wrong_options(root: Path) -> None:
    with pytest.raises(InputError, match="--jobs 0"):
        check(root, "--jobs", 0)


@pytest.mark.parametrize(
    ("labels", "most", "chosen"),
    [
        ([0, 0, 0, 1, 2], 4, [0, 3, 4, 1]),
        (range(10), 5, [0, 2, 4, 6, 8]),
        ([0, 0], 5, [0, 1]),
        ([], 5, []),
    ],
)
def test_the_contact_sheet_shows_as_many_classes_as_it_can(labels: list[int], most: int, chosen: list[int]) -> None:
    records = [VideoRecord(f"v{place}", 1, label) for place, label in enumerate(labels)]
    assert check_dataset.spread_over_classes(records, most) == [records[place] for place in chosen]
