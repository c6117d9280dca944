"""Every program tries its outputs before its work, and two that write to one place are told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_videos import write_video

import test_models
from ops.errors import InputError
from ops.locks import claimed
from tools import benchmark, check_dataset, extract_flow, make_demo_dataset, make_lists, prepare_videos, vid2img

Program = Callable[[list[str]], object]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with a video; another in a folder of its own, and a data set that has neither frames nor lists."""
    write_video(tmp_path / "videos" / "a" / "one.mp4", 2)
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "dataset.toml").touch()
    (tmp_path / "data" / "mine" / "category.txt").write_text("a\n")
    (tmp_path / "file").write_text("in the way")
    return tmp_path


# What a program is given, with the name of an output that lies below a file; all else may be missing.
TESTED = "demo --root_dataset data --weights x.pth"
OUTPUTS: dict[str, tuple[Program, str]] = {
    "test_models.py --result_json": (test_models.main, f"{TESTED} --result_json file/out"),
    "test_models.py --save_scores": (test_models.main, f"{TESTED} --save_scores file/out.npz"),
    "test_models.py --csv_file": (test_models.main, f"{TESTED} --csv_file file/out"),
    "test_models.py --report": (test_models.main, f"{TESTED} --report file/out"),
    "check_dataset.py": (check_dataset.main, "mine --root_dataset data --report file/out"),
    "benchmark.py": (benchmark.main, "model --json file/out"),
    "vid2img.py --frames": (vid2img.main, "--videos videos --frames file/out"),
    "vid2img.py --list": (vid2img.main, "--videos videos --frames frames --list file/out"),
    "extract_flow.py": (extract_flow.main, "--videos videos --flow file/out --method dis"),
    "prepare_videos.py": (prepare_videos.main, "--videos videos --name out --root_dataset file"),
    "make_lists.py": (make_lists.main, "ucf101 --labels videos --videos videos --root_dataset file"),
    "make_demo_dataset.py": (make_demo_dataset.main, "--root_dataset file/out"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    videos: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos)
    program, words = OUTPUTS[name]
    with pytest.raises(InputError, match=r"^file.*(can't be|cannot be) (made|written|read)") as caught:
        program(words.split())
    assert "\n" not in str(caught.value)
    assert not (videos / "frames").exists() or not any((videos / "frames").rglob("*.jpg"))


# The same with an output that another program holds.
HELD: dict[str, tuple[Program, str, str]] = {
    "vid2img.py": (vid2img.main, "out", "--videos videos --frames out"),
    "extract_flow.py": (extract_flow.main, "out", "--videos videos --flow out --method dis"),
    "prepare_videos.py": (prepare_videos.main, "data/new", "--videos videos --name new --root_dataset data"),
    "prepare_videos.py, beside vid2img.py": (
        prepare_videos.main,
        "data/new/frames",
        "--videos videos --name new --root_dataset data -j 1",
    ),
    "make_lists.py": (
        make_lists.main,
        "data/ucf101",
        "ucf101 --labels videos --videos videos --root_dataset data",
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_two_that_write_to_one_place_are_told_apart(videos: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(videos)
    program, folder, words = HELD[name]
    with claimed(Path(folder)), pytest.raises(InputError, match=rf"^{folder}: another program is at work there.*wait"):
        program(words.split())
    assert not any(videos.rglob("*.jpg"))


def test_two_that_render_the_demo_are_told_apart(tmp_path: Path) -> None:
    with claimed(tmp_path, name=".demo.lock"), pytest.raises(InputError, match="another program is at work there"):
        make_demo_dataset.main(["--root_dataset", str(tmp_path), "--videos_per_class", "1"])
    assert not list(tmp_path.iterdir())
