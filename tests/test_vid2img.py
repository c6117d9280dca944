"""tools/vid2img.py: which frames come out, what interrupts it, what it refuses, what it leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import SHARED
from made_videos import replace_video, turn, write_video
from PIL import Image
from programs import python

from ops.data.records import read_categories
from ops.errors import InputError
from tools import vid2img
from tools.video_frames import partial_folder

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "vid2img.py"
SIZE = (66, 50)  # width, height


def make_video(
    path: Path,
    frames: int = 6,
    size: tuple[int, int] = SIZE,
    codec: str = "mpeg4",
    noise: bool = False,
) -> Path:
    """A video whose frame k has brightness 20 + 10 (k mod 20), its upper left quarter white; or noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    generator = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 4_000_000
        for k in range(frames):
            image = np.full((height, width, 3), 20 + 10 * (k % 20), np.uint8)
            image[: height // 2, : width // 2] = 255
            if noise:
                image = generator.integers(0, 256, image.shape, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


def wreck(path: Path, start: float = 0.6, stop: float = 0.7) -> Path:
    """Overwrite a part of a file with zeros."""
    content = bytearray(path.read_bytes())
    a, b = int(len(content) * start), int(len(content) * stop)
    content[a:b] = bytes(b - a)
    path.write_bytes(content)
    return path


def tool(videos: Path, frames: Path, *more: object) -> int:
    return vid2img.main(["--videos", str(videos), "--frames", str(frames), "-j", "1", *map(str, more)])


def refusal(videos: Path, frames: Path, *more: object) -> str:
    """Why the tool refuses these options."""
    with pytest.raises(InputError) as caught:
        tool(videos, frames, *more)
    return str(caught.value)


def files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def brightness(path: Path) -> float:
    """Of the lower right corner, where a made video shows its frame number."""
    return float(np.asarray(Image.open(path).convert("L"))[-8:, -8:].mean())


def test_every_frame_once_and_in_order(tmp_path: Path) -> None:
    make_video(tmp_path / "v" / "a" / "one.mp4", 9)
    assert tool(tmp_path / "v", tmp_path / "f") == 0
    folder = tmp_path / "f" / "a" / "one"
    assert files_below(folder) == [f"{k:05d}.jpg" for k in range(1, 10)]
    for k in range(9):
        assert brightness(folder / f"{k + 1:05d}.jpg") == pytest.approx(20 + 10 * k, abs=4)
    settings = json.loads((tmp_path / "f" / "extraction.json").read_text())
    assert settings["videos"] == str(tmp_path / "v") and settings["short_side"] == 256
    assert settings["made_with"] == f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((66, 50), 256, (66, 50)),  # never up
        ((66, 50), 25, (33, 25)),
        ((50, 66), 25, (25, 33)),
        ((66, 50), 0, (66, 50)),
        ((67, 51), 256, (67, 51)),  # odd
        ((67, 51), 17, (22, 17)),
    ],
)
def test_size(tmp_path: Path, size: tuple[int, int], short_side: int, expected: tuple[int, int]) -> None:
    make_video(tmp_path / "v" / "one.mp4", 2, size)
    assert tool(tmp_path / "v", tmp_path / "f", "--short_side", short_side, "--template", "img_{:03d}.jpg") == 0
    with Image.open(tmp_path / "f" / "one" / "img_002.jpg") as image:
        assert image.size == expected and image.mode == "RGB"
        assert image.layer[0][1:3] == (2, 2) and image.layer[1][1:3] == (1, 1)  # 4:2:0


def test_rotation_is_applied(tmp_path: Path) -> None:
    turn(make_video(tmp_path / "v" / "phone.mp4", 2))
    assert tool(tmp_path / "v", tmp_path / "f") == 0
    image = np.asarray(Image.open(tmp_path / "f" / "phone" / "00001.jpg").convert("L"))
    assert image.shape == (SIZE[0], SIZE[1])
    assert image[:20, -20:].mean() > 240 and image[:20, :15].mean() < 40  # upper left went to the upper right


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="the odd videos are not beside the repository")
def test_odd_videos(tmp_path: Path) -> None:
    """All their frames, of one size each, as FFmpeg's command line gives them."""
    assert tool(SHARED / "cases", tmp_path / "f", "--list", tmp_path / "l.txt", "-j", "2") == 0
    counts = {line.split()[0]: int(line.split()[1]) for line in (tmp_path / "l.txt").read_text().splitlines()}
    expected = {"cover_first": 25, "duration_by_clock": 10, "size_changes": 24, "two_captures": 24, "matrix_hflip": 6}
    assert expected.items() <= counts.items()
    for name in expected:
        sizes = {Image.open(file).size for file in (tmp_path / "f" / name).iterdir()}
        assert len(sizes) == 1, name
    plain, mirrored = (
        np.asarray(Image.open(tmp_path / "f" / f"matrix_{name}" / "00003.jpg")).astype(int)
        for name in ("transpose", "hflip")
    )
    assert plain.shape == (64, 48, 3) and mirrored.shape == (48, 64, 3)


def test_list_of_class_folders(tmp_path: Path) -> None:
    for name, frames in (("b/y.mp4", 3), ("a/x.mp4", 2), ("b/deep er.avi", 4)):
        make_video(tmp_path / "v" / name, frames)
    assert tool(tmp_path / "v", tmp_path / "f", "--list", tmp_path / "l" / "train.txt") == 0
    assert (tmp_path / "l" / "train.txt").read_text() == "a/x 2 0\nb/deep er 4 1\nb/y 3 1\n"
    assert (tmp_path / "l" / "category.txt").read_text() == "a\nb\n"
    assert files_below(tmp_path / "l") == ["category.txt", "train.txt"]

    order = tmp_path / "order.txt"
    order.write_text("b\nelse\na\n")
    assert tool(tmp_path / "v", tmp_path / "f", "--list", tmp_path / "m" / "t.txt", "--classes", order) == 0
    assert (tmp_path / "m" / "t.txt").read_text() == "a/x 2 2\nb/deep er 4 0\nb/y 3 0\n"
    assert files_below(tmp_path / "m") == ["t.txt"]


def test_two_spellings_are_one_class(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    for k, folder in enumerate((nfc, nfd)):
        make_video(tmp_path / "v" / folder / f"{k}.mp4", 2)
    assert tool(tmp_path / "v", tmp_path / "f", "--list", tmp_path / "l.txt") == 0
    assert read_categories(tmp_path / "category.txt") == [nfc]
    assert sorted((tmp_path / "l.txt").read_text().splitlines()) == sorted([f"{nfc}/0 2 0", f"{nfd}/1 2 0"])
    for spelling in (nfc, nfd):
        (tmp_path / "order.txt").write_text(f"x\n{spelling}\n", encoding="utf-8")
        listed = tmp_path / "m" / "l.txt"
        assert tool(tmp_path / "v", tmp_path / "f", "--list", listed, "--classes", tmp_path / "order.txt") == 0
        assert all(line.endswith(" 1") for line in listed.read_text().splitlines())


def test_list_without_class_folders_takes_file_names(tmp_path: Path) -> None:
    for name in ("jump", "archery"):
        make_video(tmp_path / "v" / f"{name}.mp4", 2)
    assert tool(tmp_path / "v", tmp_path / "f", "--list", tmp_path / "f" / "l.txt") == 0
    assert (tmp_path / "f" / "l.txt").read_text() == "archery 2 0\njump 2 1\n"


def test_names(tmp_path: Path) -> None:
    names = [
        "a b  c.mp4",
        'it\'s "so".MP4',
        "классе/видео.mp4",
        "動画/走る 01.mp4",
        "x:y.mp4",
        "v1.5%d{}.mp4",
    ]
    for name in names:
        make_video(tmp_path / "v" / "class" / name, 2)
    make_video(tmp_path / "v" / "class" / "._a b  c.mp4", 2)  # what macOS leaves beside files
    assert tool(tmp_path / "v", tmp_path / "f", "--list", tmp_path / "l.txt") == 0
    lines = (tmp_path / "l.txt").read_text(encoding="utf-8").splitlines()
    assert {line.rsplit(" ", 2)[0] for line in lines} == {f"class/{n.rsplit('.', 1)[0]}" for n in names}
    for line in lines:
        folder, frames, _ = line.rsplit(" ", 2)
        assert len(list((tmp_path / "f" / folder).iterdir())) == int(frames) == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["c/a.mp4", "c/a.avi"], ["c/a.mp4", "c/a.avi"]),
        (["c/a.mp4", "c/a/b.mp4"], ["c/a.mp4", "c/a/b.mp4"]),
    ],
)
def test_name_clash(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    for name in names:
        make_video(tmp_path / "v" / name, 2)
    said = refusal(tmp_path / "v", tmp_path / "f")
    assert all(str(tmp_path / "v" / name) in said for name in expected)
    assert not (tmp_path / "f").exists()


def test_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a/one", "a/two"):
        make_video(tmp_path / "v" / f"{name}.mp4", 3)
    assert tool(tmp_path / "v", tmp_path / "f") == 0
    first = (tmp_path / "f" / "a" / "one" / "00001.jpg").stat().st_mtime_ns
    # as a killed run leaves it
    (tmp_path / "f" / "a" / "two").rename(tmp_path / "f" / "a" / ".two.partial")
    (tmp_path / "f" / "a" / ".two.partial" / "00003.jpg").unlink()
    capsys.readouterr()
    assert tool(tmp_path / "v", tmp_path / "f", "--list", tmp_path / "l.txt") == 0
    assert "1 of 2 videos were done before" in capsys.readouterr().err
    assert (tmp_path / "l.txt").read_text() == "a/one 3 0\na/two 3 0\n"
    assert (tmp_path / "f" / "a" / "one" / "00001.jpg").stat().st_mtime_ns == first
    assert sorted(p.name for p in (tmp_path / "f" / "a").iterdir()) == ["one", "two"]


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_replaced_video_is_extracted_anew(
    tmp_path: Path, keep_times: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, frames = tmp_path / "v", tmp_path / "f"
    for name in ("one", "two"):
        write_video(videos / "c" / f"{name}.mp4", 9)
    assert tool(videos, frames, "--list", tmp_path / "l.txt") == 0
    kept = (frames / "c" / "two" / "00001.jpg").stat().st_mtime_ns
    replace_video(videos / "c" / "one.mp4", 4, keep_times=keep_times)
    for _ in range(2):
        assert tool(videos, frames, "--list", tmp_path / "l.txt") == 0
        assert (tmp_path / "l.txt").read_text() == "c/one 4 0\nc/two 9 0\n"
    said = capsys.readouterr().err
    assert said.count("1 videos are other files than before") == 1 and "2 of 2 videos were done before" in said
    assert len(list((frames / "c" / "one").iterdir())) == 4
    assert (frames / "c" / "two" / "00001.jpg").stat().st_mtime_ns == kept


def test_a_replacement_that_cannot_be_read_takes_nothing_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video(tmp_path / "v" / "one.mp4", 5)
    assert tool(tmp_path / "v", tmp_path / "f") == 0
    video.write_text("a placeholder")
    for _ in range(2):
        assert tool(tmp_path / "v", tmp_path / "f", "--list", tmp_path / "l.txt") == 1
        assert len(list((tmp_path / "f" / "one").iterdir())) == 5 and not (tmp_path / "l.txt").exists()
    assert "other files than before" in capsys.readouterr().err


def test_what_only_has_other_times_or_says_nothing_is_left_alone(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v" / "one.mp4", 9)
    assert tool(tmp_path / "v", tmp_path / "f") == 0
    first = tmp_path / "f" / "one" / "00001.jpg"
    os.utime(video)
    for content in (first.read_bytes(), (tmp_path / "f" / "one" / "00002.jpg").read_bytes()):  # an earlier version's
        first.write_bytes(content)
        written = first.stat().st_mtime_ns
        assert tool(tmp_path / "v", tmp_path / "f") == 0
        assert first.stat().st_mtime_ns == written


def test_other_settings_are_refused(tmp_path: Path) -> None:
    make_video(tmp_path / "v" / "one.mp4", 2)
    make_video(tmp_path / "v" / "two.mp4", 2)
    make_video(tmp_path / "w" / "one.mp4", 3)
    frames = tmp_path / "f"
    assert tool(tmp_path / "v", frames) == 0
    assert "short_side 256, not 20" in refusal(tmp_path / "v", frames, "--short_side", 20)
    assert str(tmp_path / "w") in refusal(tmp_path / "w", frames)  # another video of the same name
    # a part of the videos, otherwise than the rest
    assert str(frames / "two") in refusal(tmp_path / "v" / "one.mp4", frames, "--short_side", 20, "--overwrite")
    assert tool(tmp_path / "v", frames, "--short_side", 20, "--overwrite") == 0
    with Image.open(frames / "one" / "00001.jpg") as image:
        assert min(image.size) == 20
    assert tool(tmp_path / "v", frames, "--short_side", 20) == 0


def test_videos_that_moved_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, name in enumerate(("a/one", "a/two")):
        make_video(tmp_path / "v" / f"{name}.mp4", 3 + k)
    assert tool(tmp_path / "v", tmp_path / "f", "--short_side", 32) == 0
    (tmp_path / "v").rename(tmp_path / "w")
    make_video(tmp_path / "w" / "a" / "new.mp4", 2)
    capsys.readouterr()
    assert tool(tmp_path / "w", tmp_path / "f", "--short_side", 32) == 0
    said = capsys.readouterr().err
    assert f"in {tmp_path / 'w'} now" in said and "2 of 3 videos were done before" in said
    settings = json.loads((tmp_path / "f" / "extraction.json").read_text())
    assert (
        settings["videos"] == str(tmp_path / "w") and settings["short_side"] == 32 and "PyAV" in settings["made_with"]
    )
    make_video(tmp_path / "u" / "a" / "one.mp4", 5)  # of another length
    said = refusal(tmp_path / "u", tmp_path / "f", "--short_side", 32)
    assert "does not show" in said and "Give another folder for --frames, or --overwrite" in said
    make_video(tmp_path / "t" / "a" / "one.mp4", 3, noise=True)  # of other pictures
    assert "does not show" in refusal(tmp_path / "t", tmp_path / "f", "--short_side", 32)
    make_video(tmp_path / "s" / "a" / "three.mp4", 3)
    assert "none of them has frames there" in refusal(tmp_path / "s", tmp_path / "f", "--short_side", 32)


def test_a_mistaken_folder_of_which_nothing_was_made_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "one.mp4").write_text("no video")
    assert tool(tmp_path / "v", tmp_path / "f") == 1
    make_video(tmp_path / "w" / "two.mp4", 2)
    assert tool(tmp_path / "w", tmp_path / "f") == 0


@pytest.mark.parametrize("name", ["x" * 250, "字" * 85, "short"], ids=["ascii", "cjk", "short"])
def test_temporary_folders_have_names_that_any_file_system_takes(tmp_path: Path, name: str) -> None:
    partial = partial_folder(tmp_path / name)
    assert partial.parent == tmp_path and partial.name.startswith(".") and partial.name.endswith(".partial")
    assert len(os.fsencode(partial.name)) <= 143 and partial != partial_folder(tmp_path / f"{name[:-1]}y")


def test_what_is_no_video_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "v" / "one.mp4", 2)
    for name in ("notes.txt", "moving.gif", ".hidden.mp4"):
        (tmp_path / "v" / name).touch()
    assert tool(tmp_path / "v", tmp_path / "f") == 0
    said = capsys.readouterr().err
    assert "3 files passed over" in said and "moving.gif" in said and "1 hidden" in said


def test_foreign_or_changed_folders_are_not_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "v" / "one.mp4", 3)
    frames = tmp_path / "f"
    (frames / "one").mkdir(parents=True)
    (frames / "one" / "00001.jpg").write_bytes(b"")
    assert str(frames / "one") in refusal(tmp_path / "v", frames)
    assert tool(tmp_path / "v", frames, "--overwrite") == 0
    (frames / "one" / "00002.jpg").unlink()
    assert tool(tmp_path / "v", frames) == 1
    assert "00002.jpg" in capsys.readouterr().err


def test_bad_videos_are_reported_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, frames = tmp_path / "v", tmp_path / "f"
    make_video(videos / "good" / "one.mp4", 3)
    wreck(make_video(videos / "bad" / "middle.avi", 60, noise=True))
    cut = make_video(videos / "bad" / "cut.mkv", 60, noise=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (videos / "bad" / "text.mp4").write_text("no video at all\n" * 100)
    (videos / "bad" / "empty.webm").write_bytes(b"")
    with av.open(str(videos / "bad" / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    make_video(videos / "bad" / "nothing.mkv", 0)
    bad = sorted((videos / "bad").iterdir())
    assert tool(videos, frames, "--list", tmp_path / "l.txt") == 1
    said = capsys.readouterr().err
    summary = said[said.index("failed: ") :]
    assert summary.startswith(f"failed: {len(bad)}\n") and all(f"{path}: " in summary for path in bad)
    assert "no video stream" in summary
    assert "Traceback" not in said
    assert (tmp_path / "l.txt").read_text() == "good/one 3 1\n"  # the failed ones' class keeps its number
    assert files_below(frames) == ["extraction.json", *(f"good/one/{k:05d}.jpg" for k in (1, 2, 3))]


def test_damaged_tail_is_kept_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, frames = tmp_path / "v", tmp_path / "f"
    wreck(make_video(videos / "c" / "damaged.avi", 60, noise=True))
    assert tool(videos, frames) == 1
    assert files_below(frames) == ["extraction.json"]
    assert tool(videos, frames, "--list", tmp_path / "l.txt", "--keep_damaged") == 0
    said = capsys.readouterr().err
    kept = int((tmp_path / "l.txt").read_text().split()[1])
    assert 10 < kept < 45
    assert len(list((frames / "c" / "damaged").glob("*.jpg"))) == kept
    assert f"kept {kept} frames" in said and "kept up to the damage: 1" in said
    assert (frames / "c" / "damaged" / "damaged.txt").exists()
    assert tool(videos, frames, "--keep_damaged") == 0
    assert "kept up to the damage: 1" in capsys.readouterr().err
    assert tool(videos, frames) == 1  # what was kept is not silently taken later


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [
        ([], [], "no such file or folder"),
        (["v/readme.txt"], [], "no videos found"),
        (["v/a.mp4"], ["--template", "frame.jpg", "--quality", "0"], "--template 'frame.jpg'"),
        (["v/a.mp4"], ["--template", "{:05d}.png"], "--template"),
        (["v/a.mp4"], ["--template", "{name}.jpg"], "--template"),
        (["v/a.mp4"], ["--template", "x/{}.jpg"], "--template"),
        (["v/a.mp4"], ["--short_side", "-1", "--quality", "200"], "--quality 200"),
        (["v/a.mp4"], ["--classes", "none.txt"], "--list"),
        (["v/a.mp4"], ["--list", "l.txt", "--classes", "none.txt"], "none.txt"),
        (["v/a.mp4", "v/c/b.mp4"], ["--list", "l.txt"], "v/a.mp4"),
        (["v/c/b.mp4", "category.txt"], ["--list", "l.txt"], "category.txt"),
        (["v/c/b.mp4", "category.txt"], ["--list", "l.txt", "--classes", "category.txt"], "'c'"),
        (["v/train/a.mp4", "v/val/b.mp4"], ["--list", "l.txt"], "train and val look like splits"),
        (["v/c/b.mp4", "twice.txt"], ["--list", "l.txt", "--classes", "twice.txt"], "twice.txt:2"),
        (["v/a\nb.mp4"], ["--list", "l.txt"], "line break"),
        (["v/c/a .mp4"], ["--list", "l.txt"], "begin or end with a space"),
        (["v/#1.mp4"], ["--list", "l.txt"], "begin with #"),
    ],
)
def test_wrong_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: list[str],
    options: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in make:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("same\nsame\n" if name == "twice.txt" else "other\n")
    assert expected in refusal(Path("v"), Path("f"), *options)
    assert not (tmp_path / "f").exists()  # before any work


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    make_video(tmp_path / "elsewhere" / "one.mp4", 2)
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "v")
    found = vid2img.find_videos(tmp_path / "v")
    assert found == [tmp_path / "v" / "linked" / "one.mp4"]


def test_command_line_in_parallel(tmp_path: Path) -> None:
    for k in range(5):
        make_video(tmp_path / "v" / "c" / f"{k}.mp4", 3 + k)
    (tmp_path / "v" / "c" / "text.mp4").write_text("text")
    words = ["tools/vid2img.py", "--videos", str(tmp_path / "v"), "--frames", str(tmp_path / "f"), "-j", "2"]
    done = python(*words, "--list", str(tmp_path / "l.txt"))
    assert done.returncode == 1, done.stderr
    assert "6 of 6 videos" in done.stderr and "text.mp4" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "l.txt").read_text() == "".join(f"c/{k} {3 + k} 0\n" for k in range(5))


def test_an_error_is_one_line_and_status_2(tmp_path: Path) -> None:
    done = python("tools/vid2img.py", "--videos", str(tmp_path / "none"), "--frames", str(tmp_path / "f"))
    assert done.returncode == 2
    assert done.stderr == f"error: --videos {tmp_path / 'none'}: no such file or folder\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c(tmp_path: Path, workers: int) -> None:
    """Interrupted in the middle of a video: no half folder, no leftovers, and it can go on."""
    first = make_video(tmp_path / "v" / "0.mp4", 200, (320, 240))
    for k in range(1, 4):
        shutil.copy(first, first.with_name(f"{k}.mp4"))
    command = [sys.executable, TOOL, "--videos", tmp_path / "v", "--frames", tmp_path / "f"]
    command += ["-j", str(workers)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background of a script inherit an ignored Ctrl-C; a user's terminal has it on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 30
    while not list((tmp_path / "f").glob(".*.partial/*.jpg")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said and "stopped" in said
    assert not list((tmp_path / "f").glob(".*.partial"))
    for folder in (p for p in (tmp_path / "f").iterdir() if p.is_dir()):
        assert len(list(folder.iterdir())) == 200
    assert tool(tmp_path / "v", tmp_path / "f", "--short_side", "256") == 0
    assert len(files_below(tmp_path / "f")) == 4 * 200 + 1


CLIPS = SHARED / "clips"


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")
def test_real_clips(tmp_path: Path) -> None:
    assert tool(CLIPS, tmp_path / "f", "--list", tmp_path / "l.txt", "--short_side", "64") == 0
    expected = []
    for label, path in enumerate(vid2img.find_videos(CLIPS)):
        with av.open(str(path)) as container:
            expected.append(f"{path.stem} {sum(1 for _ in container.decode(video=0))} {label}")
    assert (tmp_path / "l.txt").read_text().splitlines() == expected
    with Image.open(tmp_path / "f" / "arm_wrestling" / "00280.jpg") as image:
        assert image.size == (85, 64)
