"""The commands of docs/data.md, run on made downloads of the official form and on real clips cut into pieces."""

from __future__ import annotations

import re
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from conftest import SHARED
from made_downloads import DOWNLOADS
from programs import REPOSITORY

import main
import test_models
from ops.data.catalog import resolve
from ops.data.storages import listed, open_storage
from ops.data.videofile import frames
from tools import check_dataset, make_lists, pack_frames, prepare_videos, vid2img

PROGRAMS: dict[str, Any] = {
    "tools/make_lists.py": make_lists.main,
    "tools/check_dataset.py": check_dataset.main,
    "tools/vid2img.py": vid2img.main,
    "tools/prepare_videos.py": prepare_videos.main,
    "tools/pack_frames.py": pack_frames.main,
    "main.py": main.main,
    "test_models.py": test_models.main,
}


def blocks() -> list[list[list[str]]]:
    """The commands of each block between fences."""
    text = (REPOSITORY / "docs" / "data.md").read_text()
    return [
        [shlex.split(line) for line in block.splitlines()]
        for block in re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    ]


def of_download(block: list[list[str]]) -> str:
    """The data set that a block is about; empty if it is about one's own."""
    return next((words[2] for words in block if words[1] == "tools/make_lists.py"), "")


def test_every_known_data_set_is_led_from_its_download_to_a_check() -> None:
    covered = {of_download(block) for block in blocks()} - {""}
    assert covered == set(DOWNLOADS) - {"kinetics600", "kinetics700"}  # the same form as kinetics
    assert all(block[-1][1] == "tools/check_dataset.py" for block in blocks() if of_download(block))


@pytest.mark.parametrize("block", [b for b in blocks() if of_download(b)], ids=lambda b: f"{of_download(b)}-{len(b)}")
def test_documented_commands(block: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEXNET_DATASETS", raising=False)
    name = of_download(block)
    media = "frames" if name in ("something", "jester") else "videos"
    DOWNLOADS[name](tmp_path / "downloads" / name / "labels", tmp_path / "downloads" / name / media)
    for words in block:
        assert words[0] == "python" and PROGRAMS[words[1]](words[2:]) == 0, words
    checked = block[-1][2:]
    data = resolve(checked[0], "dataset", storage="video" if "video" in checked else None)
    storage = open_storage(data)
    for list_file in (data.train_list, data.val_list):
        for record in listed(data, storage, list_file):
            assert storage.read(record, [1, record.num_frames]).shape[:2] == (2, 3)


def test_documented_packing(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    monkeypatch.delenv("FEXNET_DATASETS", raising=False)
    (demo / "dataset" / "demo").rename(demo / "dataset" / "mine")
    (demo / "dataset" / "mine" / "dataset.toml").touch()
    _, packing, *_ = (block for block in blocks() if not of_download(block))
    assert [words[1] for words in packing] == ["tools/pack_frames.py"] * 2 + ["tools/check_dataset.py"]
    for words in packing:
        assert PROGRAMS[words[1]](words[2:]) == 0, words


def write_pieces(source: Path, folder: Path, length: int = 24) -> None:
    """A real clip as short videos."""
    pictures = list(frames(source))
    folder.mkdir(parents=True)
    for start in range(0, len(pictures) - length + 1, length):
        with av.open(str(folder / f"{source.stem} part {start // length:02d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
            for number, picture in enumerate(pictures[start : start + length]):
                frame = picture.reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


@pytest.mark.slow
def test_a_newcomers_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Four commands from a folder of videos to a trained and tested model, of the real clips in pieces."""
    if not (SHARED / "clips").is_dir():
        pytest.skip("the real clips are not beside the repository")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEXNET_DATASETS", raising=False)
    for clip in vid2img.find_videos(SHARED / "clips"):
        write_pieces(clip, tmp_path / "my_videos" / clip.stem)
    walk, *_ = (block for block in blocks() if not of_download(block))
    assert len(walk) == 4
    for words in walk:
        assert not PROGRAMS[words[1]](words[2:]), words
    shown = capfd.readouterr().out
    assert "errors: 0" in shown
    top1 = float(re.findall(r"top1 ([\d.]+) %", shown)[-1])
    assert top1 >= 60  # of five videos of three classes: by chance two at most, as a rule
