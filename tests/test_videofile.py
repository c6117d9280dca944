"""Frames of video files by number: the very pixels that decoding from the start gives, whatever the file is like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import SHARED
from made_videos import cut_by_edit_list, turn, write_sound, write_video

from ops.data import videofile
from ops.data.videofile import DamageError, FrameTable, frames, read, scan, upright

UNEVEN = np.cumsum([3, 4, 9, 1, 1, 30, 2, 4, 4, 17] * 6).tolist()  # hundredths of a second
VIDEOS: dict[str, Callable[[Path], Path]] = {
    "one key frame, B-frames": lambda d: write_video(d / "v.mp4", 60, bf="3", g="250", sc_threshold="0"),
    "short groups, B-frames": lambda d: write_video(d / "v.mp4", 60, bf="3", g="7", sc_threshold="0"),
    "open groups": lambda d: write_video(d / "v.mkv", 60, bf="2", g="10", x264opts="open-gop=1:no-scenecut"),
    "all key frames": lambda d: write_video(d / "v.mp4", 20, g="1"),
    "no B-frames": lambda d: write_video(d / "v.mp4", 40, bf="0", g="9"),
    "B-pyramid, many references": lambda d: write_video(d / "v.mp4", 60, bf="7", refs="5", g="30"),
    "variable rate": lambda d: write_video(d / "v.mp4", 60, times=UNEVEN, bf="2", g="12"),
    "variable rate, Matroska": lambda d: write_video(d / "v.mkv", 60, times=UNEVEN, bf="2", g="12"),
    "cut by an edit list": lambda d: cut_by_edit_list(write_video(d / "v.mp4", 40, bf="2", g="12"), 15),
    "turned": lambda d: turn(write_video(d / "v.mp4", 20, g="5")),
    "odd size": lambda d: write_video(d / "v.mp4", 20, (65, 49), pixel_format="yuv444p", g="5"),
    "HEVC": lambda d: write_video(d / "v.mp4", 40, codec="libx265", g="10", **{"x265-params": "log-level=none"}),
    "VP9": lambda d: write_video(d / "v.webm", 30, codec="libvpx-vp9", g="10"),
    "VP8, which hides frames": lambda d: write_video(
        d / "v.webm", 40, codec="libvpx", g="12", **{"auto-alt-ref": "1", "lag-in-frames": "16"}
    ),
    "AVI": lambda d: write_video(d / "v.avi", 40, codec="mpeg4", g="12"),
    "AVI, B-frames": lambda d: write_video(d / "v.avi", 40, codec="mpeg4", bf="2", g="12"),
    "MPEG-TS": lambda d: write_video(d / "v.ts", 40, bf="2", g="12"),
    "one frame": lambda d: write_video(d / "v.mp4", 1),
    "two frames": lambda d: write_video(d / "v.mp4", 2),
}


def all_frames(video: Path) -> list[np.ndarray]:
    return [upright(frame) for frame in frames(video)]


def assert_exact(video: Path, draws: int = 12) -> FrameTable:
    """Any choice of frames by number is what decoding from the start gives."""
    table, expected = scan(video), all_frames(video)
    assert table.num_frames == len(expected)
    rng = np.random.default_rng(0)
    n = len(expected)
    choices = [[1], [n], sorted({1, n}), list(range(1, n + 1))]
    choices += [sorted(rng.choice(n, min(n, k), replace=False) + 1) for k in range(1, draws)]
    for numbers in choices:
        found = read(video, table, numbers)
        assert len(found) == len(numbers)
        for number, picture in zip(numbers, found, strict=True):
            np.testing.assert_array_equal(picture, expected[number - 1], err_msg=f"frame {number} of {numbers}")
    return table


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_by_number_are_those_of_decoding_from_the_start(tmp_path: Path, name: str) -> None:
    table = assert_exact(VIDEOS[name](tmp_path))
    seekable = not name.startswith(("AVI", "MPEG-TS", "VP8", "cut"))
    assert bool(len(table.keys)) == seekable  # neither path is tested under the other's name


def test_frames_of_the_made_videos_differ(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    pictures = all_frames(VIDEOS["short groups, B-frames"](tmp_path))
    assert all((a != b).any() for k, a in enumerate(pictures) for b in pictures[:k])
    assert len(scan(tmp_path / "v.mp4").keys) == 9


def test_turned_videos_are_upright(tmp_path: Path) -> None:
    plain = all_frames(write_video(tmp_path / "plain.mp4", 3))
    turned = read(turn(write_video(tmp_path / "v.mp4", 3)), scan(tmp_path / "v.mp4"), [1, 3])
    np.testing.assert_array_equal(turned[1], np.rot90(plain[2], -1))


@pytest.mark.parametrize("name", ["apply_eye_makeup.avi", "arm_wrestling.mp4", "playing_basketball.mp4"])
def test_real_clips(name: str) -> None:
    if not (SHARED / "clips").is_dir():
        pytest.skip("the real clips are not beside the repository")
    table = assert_exact(SHARED / "clips" / name, draws=6)
    assert (table.num_frames, len(table.keys)) == {"app": (164, 0), "arm": (280, 4), "pla": (300, 2)}[name[:3]]


def test_what_is_not_wanted_and_not_needed_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "v.mp4", 60, bf="3", g="20", sc_threshold="0")
    decoded, original = [], videofile.upright
    monkeypatch.setattr(videofile, "upright", lambda frame: decoded.append(frame.pts) or original(frame))
    read(video, scan(video), [5, 50])
    assert len(decoded) == 2


def test_times_are_kept_small_where_they_are_even(tmp_path: Path) -> None:
    even = scan(write_video(tmp_path / "even.mp4", 50))
    uneven = scan(write_video(tmp_path / "uneven.mp4", 60, times=UNEVEN))
    assert (len(even.steps), len(uneven.steps)) == (1, 59)
    assert len(even.times()) == 50 and (np.diff(uneven.times()) > 0).all()


def truncated(folder: Path) -> Path:
    video = write_video(folder / "v.mkv", 100, times=list(range(0, 1000, 10)), g="10")
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.6)])
    return video


def cut_mp4(folder: Path) -> Path:
    video = write_video(folder / "v.mp4", 100, times=list(range(0, 1000, 10)), movflags="faststart")
    content = video.read_bytes()
    video.write_bytes(content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2])
    return video


def text_file(folder: Path) -> Path:
    (folder / "v.mp4").write_text("this is no video\n" * 20)
    return folder / "v.mp4"


def playlist(folder: Path) -> Path:
    """Names another file, which must not be opened."""
    write_video(folder / "other.ts", 30)
    (folder / "v.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9.0,\nother.ts\n#EXT-X-ENDLIST\n")
    return folder / "v.mp4"


def concatenation(folder: Path) -> Path:
    """FFmpeg's own list of files."""
    write_video(folder / "other.mp4", 30)
    (folder / "v.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    return folder / "v.mp4"


def vast(folder: Path) -> Path:
    """One frame of 10,000 × 10,000 pixels."""
    with av.open(str(folder / "v.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 10_000, 10_000, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame(10_000, 10_000, "yuvj420p")))
        container.mux(stream.encode())
    return folder / "v.mkv"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (truncated, "early, after|incomplete packet|Input/output|nvalid data"),
        (cut_mp4, "early, after|incomplete packet|Invalid data"),
        (text_file, "Invalid data"),
        (playlist, "Invalid data|Invalid argument"),
        (concatenation, "Invalid data|Invalid argument"),
        (lambda d: write_sound(d / "v.mp4"), "no video stream"),
        (vast, r"10000 × 10000 pixels, more than the 64,000,000 allowed"),
    ],
    ids=["truncated", "cut MP4", "text", "playlist", "concatenation", "sound", "vast"],
)
def test_what_is_no_whole_video_is_refused(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    video = make(tmp_path)
    for look in (scan, lambda v: list(frames(v))):
        with pytest.raises(DamageError, match=words):
            look(video)


def test_damage_inside_is_found_when_it_is_reached(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 60, g="10", sc_threshold="0", movflags="faststart")
    table, expected = scan(video), all_frames(video)
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat")
    at = start + int(0.75 * (len(content) - start))
    content[at : at + 600] = bytes(600)
    video.write_bytes(content)
    np.testing.assert_array_equal(read(video, table, [3])[0], expected[2])
    with pytest.raises(DamageError):
        read(video, table, list(range(1, 61)))
