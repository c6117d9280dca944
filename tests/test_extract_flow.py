"""tools/extract_flow.py: motion in the right direction and size, resumable, nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from helpers_data import picture, write_frames
from made_videos import write_video
from PIL import Image

from ops.errors import InputError
from tools import extract_flow

cv2 = pytest.importorskip("cv2")


def moving(frames: int, right: int, down: int) -> list[np.ndarray]:
    """A textured picture seen through a window that moves left and up, so that what is seen moves right and down."""
    rng = np.random.default_rng(0)
    large = np.asarray(Image.fromarray(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)).resize((200, 160)))
    at = [(60 - right * k, 60 - down * k) for k in range(frames)]
    return [large[y : y + 48, x : x + 64] for x, y in at]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`demo` with two videos, one of which has a single frame."""
    folder = tmp_path / "demo"
    write_frames(folder / "frames" / "a b", moving(4, right=3, down=-2))
    write_frames(folder / "frames" / "c", [picture(1)])
    write_frames(folder / "frames" / "d", moving(3, right=-4, down=1))
    (folder / "category.txt").write_text("one\ntwo\n")
    (folder / "train_videofolder.txt").write_text("a b 4 0\nc 1 1\n")
    (folder / "val_videofolder.txt").write_text("d 3 1\n")
    return tmp_path


def extract(*flags: object) -> int:
    return extract_flow.main([*map(str, flags), "-j", "1"])


def values(folder: Path, number: int) -> tuple[float, float]:
    """The median motion in pixels of a stored flow frame."""
    x, y = (np.asarray(Image.open(folder / f"flow_{axis}_{number:05d}.jpg")) for axis in "xy")
    return tuple(float((np.median(part) - 127.5) * 20 / 127.5) for part in (x, y))  # type: ignore[return-value]


@pytest.mark.parametrize("method", ["tvl1", "dis"])
def test_a_data_sets_flow_and_lists(data: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract("demo", "--root_dataset", data, "--method", method) == 1
    assert "one frame only" in capsys.readouterr().err
    demo = data / "demo"
    assert (demo / "train_videofolder_flow.txt").read_text() == "a b 3 0\n"
    assert (demo / "val_videofolder_flow.txt").read_text() == "d 2 1\n"
    assert values(demo / "flow" / "a b", 2) == pytest.approx((3, -2), abs=0.3)
    assert values(demo / "flow" / "d", 1) == pytest.approx((-4, 1), abs=0.3)
    assert sorted(path.name for path in (demo / "flow").iterdir()) == ["a b", "d", "flow.json"]


def test_frames_called_otherwise(data: Path) -> None:
    """As dataset.toml says; the flow is called as ever."""
    assert extract("demo", "--root_dataset", data, "--method", "dis") == 1
    usual = {path.name: path.read_bytes() for path in (data / "demo" / "flow" / "a b").iterdir()}
    for file in sorted((data / "demo" / "frames").rglob("*.jpg")):
        file.rename(file.with_name(f"img_{int(file.stem) - 1}.jpg"))
    shutil.rmtree(data / "demo" / "flow")
    (data / "demo" / "dataset.toml").write_text('template = "img_{:d}.jpg"\nfirst = 0\n')
    assert extract("demo", "--root_dataset", data, "--method", "dis") == 1
    assert {path.name: path.read_bytes() for path in (data / "demo" / "flow" / "a b").iterdir()} == usual
    (data / "demo" / "dataset.toml").write_text("flow_first = 0\n")
    with pytest.raises(InputError, match="flow_template and flow_first are for flow from elsewhere"):
        extract("demo", "--root_dataset", data, "--method", "dis")


def test_stillness_is_128_and_the_bound_cuts(tmp_path: Path) -> None:
    settings = extract_flow.Settings("dis", 20.0, "pairs", 0, 100)
    motion = np.stack([np.full((8, 8), 99.0), np.zeros((8, 8))], axis=2)
    extract_flow.save(tmp_path, 1, motion, settings)
    assert np.asarray(Image.open(tmp_path / "flow_x_00001.jpg")).min() == 255
    assert set(np.unique(np.asarray(Image.open(tmp_path / "flow_y_00001.jpg")))) == {128}


def test_going_on_makes_only_what_is_missing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = data / "flow"
    flags = ("--frames", data / "demo" / "frames", "--flow", flow, "--method", "dis", "--form", "packed")
    assert extract(*flags) == 1
    kept = flow / "d" / "00002.jpg"
    assert Image.open(kept).mode == "RGB" and kept.exists()
    written = kept.stat().st_mtime_ns
    (flow / "a b" / "00001.jpg").rename(data / "elsewhere.jpg")
    assert extract(*flags) == 1 and "remove it to make it anew" in capsys.readouterr().err
    for path in (flow / "a b").iterdir():
        path.unlink()
    (flow / "a b").rmdir()
    (flow / ".a b.partial").mkdir()
    extract(*flags)
    assert "1 of 3 videos were done before" in capsys.readouterr().err
    assert len(list((flow / "a b").iterdir())) == 3 and kept.stat().st_mtime_ns == written
    assert not (flow / ".a b.partial").exists()
    with pytest.raises(InputError, match="other settings"):
        extract(*flags, "--bound", "10")


def test_flow_of_other_videos_is_refused(data: Path, tmp_path: Path) -> None:
    """Of the same names and numbers of frames."""
    for name, pixels in (("a b", moving(4, 1, 1)), ("d", moving(3, 1, 1))):
        write_frames(tmp_path / "other" / name, pixels)
    flags = ("--flow", data / "flow", "--method", "dis")
    extract("--frames", data / "demo" / "frames", *flags)
    with pytest.raises(InputError, match=r"made of .*demo/frames, not of .*other: give another --flow"):
        extract("--frames", tmp_path / "other", *flags)
    settings = data / "flow" / "flow.json"
    (data / "demo" / "frames").rename(data / "moved")
    settings.write_text(settings.read_text().replace("demo/frames", "moved"))  # the remedy
    assert extract("--frames", data / "moved", *flags) == 1
    settings.write_text("{")
    with pytest.raises(InputError, match=r"flow.json is unreadable .*move its folder away"):
        extract("--frames", data / "moved", *flags)


def test_a_data_set_without_validation(data: Path) -> None:
    demo = data / "demo"
    (demo / "val_videofolder.txt").rename(demo / "test_videofolder.txt")
    assert extract("demo", "--root_dataset", data, "--method", "dis") == 1
    assert (demo / "train_videofolder_flow.txt").read_text() == "a b 3 0\n"
    assert (demo / "test_videofolder_flow.txt").read_text() == "d 2 1\n"
    assert not (demo / "val_videofolder_flow.txt").exists()


def test_no_list_of_no_videos_is_left(data: Path) -> None:
    (data / "demo" / "val_videofolder.txt").write_text("c 1 1\n")
    (data / "demo" / "val_videofolder_flow.txt").write_text("of 1 0\n")  # an earlier one
    assert extract("demo", "--root_dataset", data, "--method", "dis") == 1
    assert not (data / "demo" / "val_videofolder_flow.txt").exists()


def test_what_is_passed_over_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = data / "demo" / "frames"
    (frames / "d" / "thumb.jpg").touch()
    (frames / "d" / "notes.txt").touch()
    write_frames(frames / "e", [picture(1), picture(2)])
    (frames / "e" / "00001.jpg").rename(frames / "e" / "00000.jpg")
    extract("--frames", frames, "--flow", data / "flow", "--method", "dis")
    said = capsys.readouterr().err
    assert "passed over: 1 folders without a 00001.jpg, such as e, 3 .jpg, 1 .txt" in said
    assert len(list((data / "flow" / "d").glob("flow_x_*"))) == 2
    (data / "videos").mkdir()
    write_video(data / "videos" / "v.mp4", 3)
    (data / "videos" / "moving.gif").touch()
    extract("--videos", data / "videos", "--flow", data / "flow 2", "--method", "dis")
    assert "moving.gif" in capsys.readouterr().err


def test_a_long_name(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / f"{'x' * 250}.mp4", 3)
    assert extract("--videos", tmp_path / "videos", "--flow", tmp_path / "flow", "--method", "dis") == 0
    assert len(list((tmp_path / "flow" / ("x" * 250)).iterdir())) == 4


def test_flow_of_other_frames_than_before_is_made_anew(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, flow = data / "demo" / "frames", data / "flow"
    for folder in ("a b", "c"):
        shutil.rmtree(frames / folder)
    flags = ("--frames", frames, "--flow", flow, "--method", "dis")
    for pictures, right in ((moving(3, right=4, down=0), 4), (moving(3, right=4, down=0)[::-1], -4)):
        shutil.rmtree(frames / "d")
        write_frames(frames / "d", pictures)
        assert extract(*flags) == 0
        assert values(flow / "d", 1)[0] == pytest.approx(right, abs=0.3)
    assert extract(*flags) == 0 and "1 of 1 videos were done before" in capsys.readouterr().err


def test_a_damaged_frame_leaves_nothing_behind_and_the_others_go_on(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = data / "demo" / "frames"
    (frames / "a b" / "00003.jpg").write_bytes(b"\xff\xd8 not a picture")
    assert extract("--frames", frames, "--flow", data / "flow", "--method", "dis") == 1
    assert "00003.jpg: " in capsys.readouterr().err
    assert sorted(path.name for path in (data / "flow").iterdir()) == ["d", "flow.json"]


def test_flow_of_a_video(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with av.open(str(tmp_path / "videos" / "v.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10, width=64, height=48, pix_fmt="bgr0")
        for pixels in moving(4, right=2, down=0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode(None))
    assert extract("--videos", tmp_path / "videos", "--flow", tmp_path / "flow", "--method", "dis") == 0
    assert values(tmp_path / "flow" / "v", 3)[0] == pytest.approx(2, abs=0.3)
    settings = json.loads((tmp_path / "flow" / "flow.json").read_text())
    assert settings["method"] == "dis" and settings["bound"] == 20


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give one of"),
        (["--videos", "x"], "--flow DIR says where"),
        (["dem"], "unknown data set"),
        (
            ["demo", "--method", "tvl", "--form", "pair", "--bound", "0"],
            "did you mean tvl1.*did you mean pairs.*--bound",
        ),
        (["--frames", "nowhere", "--flow", "x", "--method", "dis"], "no such folder"),
    ],
)
def test_wrong_options(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        extract(*flags)


def test_without_the_contrib_modules_or_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(InputError, match="pip install opencv-contrib-python-headless; or give --method dis"):
        extract_flow.optical_flow("tvl1")
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(InputError, match="needs OpenCV: pip install"):
        extract_flow.optical_flow("dis")
