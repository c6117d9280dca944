"""Frames of video files by number: the very pixels that decoding from the start gives, whatever the file is like."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import SHARED
from made_videos import (
    add_cover,
    cut_by_edit_list,
    forget_lengths,
    show_by,
    splice,
    state_duration,
    turn,
    write_side_by_side,
    write_sound,
    write_video,
)
from PIL import Image

from ops.data.upright import Upright
from ops.data.videofile import DamageError, FrameTable, frames, read, rgb_frames, scan

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
    "VP9, another size in the middle": lambda d: splice(d / "v.webm", *two_sizes(d, "libvpx-vp9")),
    "VP9, another size in its header": lambda d: splice(d / "v.webm", *two_sizes(d, "libvpx-vp9"), header=1),
    "VP8, another size in the middle": lambda d: splice(d / "v.webm", *two_sizes(d, "libvpx")),
    "MPEG-TS, joined": lambda d: joined(d / "v.ts"),
    "MPEG-TS, joined, another size": lambda d: joined(d / "v.ts", (48, 32)),
    "MPEG-TS, joined, another time": lambda d: joined(d / "v.ts", times=[90_000 + 4 * k for k in range(12)]),
    "cover picture first": lambda d: add_cover(write_video(d / "v.mp4", 12, g="5")),
    "interlaced": lambda d: write_video(d / "v.mp4", 12, flags="+ildct+ilme", x264opts="tff=1", g="5"),
    "one frame": lambda d: write_video(d / "v.mp4", 1),
    "two frames": lambda d: write_video(d / "v.mp4", 2),
}


def two_sizes(folder: Path, codec: str) -> list[Path]:
    """Two videos of twelve frames, of 64×48 and 96×80."""
    sizes = enumerate([(64, 48), (96, 80)])
    return [write_video(folder / f"{k}.webm", 12, size, codec=codec, seed=k, g="5") for k, size in sizes]


def joined(path: Path, size: tuple[int, int] = (64, 48), times: list[int] | None = None) -> Path:
    """Two captures of MPEG-TS, twelve frames each, as `cat` joins them."""
    first = write_video(path.with_name("1.ts"), 12, bf="2", g="6")
    second = write_video(path.with_name("2.ts"), 12, size, times=times, seed=1, bf="2", g="6")
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def all_frames(video: Path) -> list[np.ndarray]:
    return list(rgb_frames(video))


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
    seekable = not name.startswith(("AVI", "MPEG-TS", "VP8", "cut by"))
    assert bool(len(table.keys)) == seekable  # neither path is tested under the other's name


@pytest.mark.parametrize(
    ("name", "sizes", "best"),
    [
        ("v.mkv", [(48, 32), (64, 48)], 1),
        ("v.mkv", [(64, 48), (64, 48)], 0),
        ("v.mp4", [(48, 32), (64, 48)], 0),  # where the first is marked as the default
    ],
)
def test_of_several_videos_in_a_file_ffmpegs_choice_is_taken(
    tmp_path: Path, name: str, sizes: list[tuple[int, int]], best: int
) -> None:
    found = all_frames(write_side_by_side(tmp_path / name, *sizes))
    assert len(found) == 3
    assert all(abs(picture.mean() - 60 * (best + 1)) < 4 for picture in found)


LENGTHS = {"joined": 24, "another size": 24, "cover": 12, "interlaced": 12}


@pytest.mark.parametrize("name", [name for name in VIDEOS if any(word in name for word in LENGTHS)])
def test_odd_videos_have_all_their_frames_of_the_first_ones_size(tmp_path: Path, name: str) -> None:
    found = all_frames(VIDEOS[name](tmp_path))
    assert len(found) == next(length for word, length in LENGTHS.items() if word in name)
    assert {picture.shape for picture in found} == {(48, 64, 3)}


def test_frames_of_the_made_videos_differ(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    pictures = all_frames(VIDEOS["short groups, B-frames"](tmp_path))
    assert all((a != b).any() for k, a in enumerate(pictures) for b in pictures[:k])
    assert len(scan(tmp_path / "v.mp4").keys) == 9


# A display matrix's a, b, c, d, and what FFmpeg's command line makes by it of a picture (H, W, 3).
MATRICES: dict[tuple[float, float, float, float], Callable[[np.ndarray], np.ndarray]] = {
    (1, 0, 0, 1): lambda picture: picture,
    (-1, 0, 0, 1): lambda picture: picture[:, ::-1],
    (1, 0, 0, -1): lambda picture: picture[::-1],
    (-1, 0, 0, -1): lambda picture: picture[::-1, ::-1],
    (0, 1, 1, 0): lambda picture: picture.transpose(1, 0, 2),
    (0, 1, -1, 0): lambda picture: picture.transpose(1, 0, 2)[:, ::-1],
    (0, -1, 1, 0): lambda picture: picture.transpose(1, 0, 2)[::-1],
    (0, -1, -1, 0): lambda picture: picture.transpose(1, 0, 2)[::-1, ::-1],
    (2, 0, 0, 1): lambda picture: picture,  # scaled
    (0, -3, 1, 0): lambda picture: picture.transpose(1, 0, 2)[::-1],
    (0.9999, 0.009, -0.009, 0.9999): lambda picture: picture,  # half a degree
    (1, 0, 1, 1): lambda picture: picture,  # sheared
    (0, 0, 0, 0): lambda picture: picture,
}


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_frames_are_shown_by_the_display_matrix(tmp_path: Path, matrix: tuple[float, float, float, float]) -> None:
    video = write_video(tmp_path / "v.mp4", 3)
    plain = all_frames(video)
    shown = read(show_by(video, *matrix), scan(video), [1, 3])
    expected = [MATRICES[matrix](plain[k]) for k in (0, 2)]
    assert [picture.shape for picture in shown] == [picture.shape for picture in expected]
    # Chroma is turned before it is spread over the pixels, so that a few differ a little.
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(shown, expected, strict=True)) < 1


def test_a_slanted_matrix_turns_within_the_frame(tmp_path: Path) -> None:
    plain = all_frames(write_video(tmp_path / "v.mp4", 1))[0]
    slanted = all_frames(show_by(tmp_path / "v.mp4", 0.866, 0.5, -0.5, 0.866))[0]
    by_angle = [np.asarray(Image.fromarray(plain).rotate(angle, Image.Resampling.BILINEAR)) for angle in (-30, 0, 30)]
    right, *wrong = (np.abs(slanted.astype(int) - expected).mean() for expected in by_angle)
    assert right < 20 < min(wrong) / 2  # of blocks of four pixels, their edges differ


def test_a_matrix_is_found_beside_what_pyav_does_not_know(tmp_path: Path) -> None:
    """Motion JPEG with EXIF data, whose orientation is a matrix, too: 5 is to be transposed."""
    plain, seen = write_jpegs(tmp_path / "plain.avi", 1), write_jpegs(tmp_path / "exif.avi", 5)
    difference = all_frames(seen)[1].astype(int) - all_frames(plain)[1].transpose(1, 0, 2)
    assert np.abs(difference).mean() < 1


def write_jpegs(path: Path, orientation: int) -> Path:
    """Motion JPEG of two frames, as a camera writes it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(2):
            file, noise = io.BytesIO(), np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
            Image.fromarray(np.kron(noise, np.ones((4, 4, 1), np.uint8))).save(file, "JPEG", exif=exif)
            packet = av.Packet(file.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["VP9, another size in the middle", "MPEG-TS, joined, another size"])
def test_frames_of_another_size_are_scaled(tmp_path: Path, name: str) -> None:
    found = all_frames(VIDEOS[name](tmp_path))[12:]
    second = all_frames(tmp_path / ("1.webm" if "VP9" in name else "2.ts"))
    scaled = np.stack([Image.fromarray(own).resize((64, 48), Image.Resampling.BICUBIC) for own in second]).astype(int)
    for number, picture in enumerate(found):
        difference = np.abs(scaled - picture).mean((1, 2, 3))
        assert difference.argmin() == number and difference[number] < 15  # colours are spread otherwise


def test_interlaced_frames_are_converted_as_whole_ones(tmp_path: Path) -> None:
    """As FFmpeg's command line does by default, whatever PyAV's own conversion does."""
    for frame in frames(VIDEOS["interlaced"](tmp_path)):
        assert frame.interlaced_frame
        whole = av.VideoFrame.from_ndarray(frame.to_ndarray(), "yuv420p")
        np.testing.assert_array_equal(Upright()(frame), Upright()(whole))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: write_video(d / "v.mkv", 10),
        lambda d: forget_lengths(write_video(d / "v.mkv", 10)),
        lambda d: write_video(d / "v.webm", 10, codec="libvpx"),
        lambda d: write_video(d / "v.flv", 10, codec="flv"),
        lambda d: write_video(d / "v.avi", 10, codec="mpeg4"),
    ],
    ids=["Matroska", "Matroska, live", "WebM", "FLV", "AVI"],
)
def test_a_duration_by_the_clock_is_no_early_end_but_a_cut_is(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    video = state_duration(make(tmp_path), 4)
    assert scan(video).num_frames == len(all_frames(video)) == 10
    content = video.read_bytes()
    for length in (len(content) - 600, len(content) // 2):
        video.write_bytes(content[:length])
        for look in (scan, all_frames):
            with pytest.raises(DamageError):
                look(video)


def test_a_loss_in_a_broadcast_is_not_taken_for_a_join(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.ts", 60, g="12", bf="0")
    assert scan(video).num_frames == 60
    packets = [video.read_bytes()[k : k + 188] for k in range(0, video.stat().st_size, 188)]
    video.write_bytes(b"".join(packets[: len(packets) // 2] + packets[len(packets) // 2 + 1 :]))
    with pytest.raises(DamageError, match="incomplete packet after"):
        scan(video)


# Of pixels of frame 10, from FFmpeg's command line: where another way to convert them gives something else.
CASES = {
    "hevc10.mp4": {
        (23, 33): (255, 251, 30),
        (28, 32): (255, 252, 28),
        (25, 32): (255, 249, 31),
        (26, 27): (231, 244, 117),
    },
    "interlaced.mp4": {
        (22, 32): (244, 252, 49),
        (22, 29): (244, 252, 49),
        (29, 29): (251, 243, 52),
        (29, 33): (251, 243, 52),
    },
}


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="the odd videos are not beside the repository")
@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_of_ffmpegs_command_line(name: str) -> None:
    picture = all_frames(SHARED / "cases" / name)[9]
    for (y, x), expected in CASES[name].items():
        assert np.abs(picture[y, x].astype(int) - expected).max() <= 2, (y, x)


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="the odd videos are not beside the repository")
@pytest.mark.parametrize(
    ("name", "count", "size"),
    [
        ("cover_first.mp4", 25, (64, 96)),
        ("duration_by_clock.mkv", 10, (64, 96)),
        ("hevc10.mp4", 20, (180, 320)),
        ("interlaced.mp4", 20, (180, 320)),
        ("matrix_hflip.mp4", 6, (48, 64)),
        ("matrix_rot90.mp4", 6, (64, 48)),
        ("matrix_transpose.mp4", 6, (64, 48)),
        ("size_changes.webm", 24, (120, 160)),
        ("two_captures.ts", 24, (120, 160)),
    ],
)
def test_odd_videos(name: str, count: int, size: tuple[int, int]) -> None:
    assert_exact(SHARED / "cases" / name, draws=3)
    assert [picture.shape[:2] for picture in rgb_frames(SHARED / "cases" / name)] == [size] * count


@pytest.mark.parametrize("name", ["apply_eye_makeup.avi", "arm_wrestling.mp4", "playing_basketball.mp4"])
def test_real_clips(name: str) -> None:
    if not (SHARED / "clips").is_dir():
        pytest.skip("the real clips are not beside the repository")
    table = assert_exact(SHARED / "clips" / name, draws=6)
    assert (table.num_frames, len(table.keys)) == {"app": (164, 0), "arm": (280, 4), "pla": (300, 2)}[name[:3]]


def test_what_is_not_wanted_and_not_needed_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "v.mp4", 60, bf="3", g="20", sc_threshold="0")
    decoded, original = [], Upright.__call__
    monkeypatch.setattr(Upright, "__call__", lambda self, frame: decoded.append(frame.pts) or original(self, frame))
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
        (playlist, "Invalid data"),
        (concatenation, "Invalid data"),
        (lambda d: write_sound(d / "v.mp4"), "no video stream"),
        (lambda d: add_cover(write_sound(d / "v.mp4")), "no video stream, only a cover picture"),
        (vast, r"more than the 64,000,000 pixels allowed"),
    ],
    ids=["truncated", "cut MP4", "text", "playlist", "concatenation", "sound", "sound and cover", "vast"],
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
