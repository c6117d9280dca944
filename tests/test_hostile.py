"""Strangers' files: what would take all memory, wait for ever, start a program or write elsewhere is refused."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_data import picture, write_frames
from made_videos import write_video
from PIL import Image

from ops.data import bounds, decode, mp4_header, transforms, videofile
from ops.data.catalog import resolve
from ops.data.decode import FrameError, decode_group
from ops.data.frame_names import longest_series
from ops.data.records import VideoRecord, read_categories, read_list
from ops.data.storages.frames import FrameFolders
from ops.data.textfile import read_text
from ops.data.video_index import probe
from ops.data.videofile import DamageError
from ops.errors import InputError
from ops.evaluation.outcomes import Outcomes, read_outcomes, write_outcomes
from ops.evaluation.results import refuse_in_challenge
from ops.recognition.sources import find_sources
from ops.tables import as_csv, read_csv
from tools import extract_flow, vid2img

HERE = Path(__file__).resolve().parent
SECONDS = 10  # of a look that may not wait
MEMORY = 1 << 30  # bytes of address space, for a look in a process of its own, which has half of it before


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """What waits, as for a named pipe, fails."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"more than {SECONDS} s"))
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def look(video: Path) -> str:
    """What `videofile.scan` says of a video in a process of little memory, and its peak in MiB behind it."""
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(HERE.parent)!r})
        from pathlib import Path
        from ops.data import videofile
        resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
        try:
            print(videofile.scan(Path({str(video)!r})).num_frames)
        except videofile.DamageError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout.strip()


# --- pictures --------------------------------------------------------------------------------------------------------


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    )
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(FrameError, match=r"1\.jpg: it is PostScript, whatever its name says: frames may be JPEG, "):
        decode_group([tmp_path / "1.jpg"])


@pytest.mark.parametrize(
    ("format", "said"),
    [
        ("GIF", "it is GIF, whatever"),
        ("JPEG2000", "it is JPEG 2000, whatever"),
        *((f, "not an") for f in ("TGA", "PCX")),
    ],
)
def test_only_formats_that_frames_have_are_read(tmp_path: Path, format: str, said: str) -> None:
    """Each is another decoder in C for strangers' bytes."""
    Image.fromarray(picture(0)).save(tmp_path / "1.png", format=format)
    with pytest.raises(FrameError, match=rf"1\.png: {said}"):
        decode_group([tmp_path / "1.png"])


def test_every_picture_is_opened_with_a_list_of_formats() -> None:
    files = [file for part in ("ops", "tools") for file in (HERE.parent / part).rglob("*.py")]
    calls = [line for file in files for line in file.read_text().splitlines() if "Image.open(" in line]
    assert len(calls) >= 5
    assert [line for line in calls if "formats=" not in line] == []


@pytest.mark.parametrize(("size", "frames"), [((20_000, 1), 1), ((1, 20_000), 1), ((700, 1), 80)])
def test_a_strip_is_not_scaled_up_without_end(tmp_path: Path, size: tuple[int, int], frames: int) -> None:
    """99 bytes, that scaled to a short side of 256 would be 5,120,000 × 256 pixels; or many that are fewer."""
    strips = torch.zeros(frames, 3, size[1], size[0], dtype=torch.uint8)
    with pytest.raises(FrameError, match=rf"^frames of {size[0]} × {size[1]} pixels, scaled to a short side of 256: "):
        transforms.test_views(strips, 1, 256, 224)


@pytest.mark.parametrize("size", [(320, 9), (33, 1), (1, 33), (6600, 200)])
def test_long_pictures_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "1.png")
    assert transforms.test_views(decode_group([tmp_path / "1.png"]), 3, 256, 224).shape == (3, 1, 3, 224, 224)


@pytest.mark.parametrize(
    ("frames", "size"), [(480, (1920, 1080)), (960, (1920, 1080)), (160, (3840, 2160)), (40, (8000, 8000))]
)
def test_the_largest_tests_are_within_the_bounds(frames: int, size: tuple[int, int]) -> None:
    """Ten clips of 8 and of 16 segments of RGBDiff, six frames each; of 16 frames; of 4."""
    assert bounds.size_fault(*size, frames) == ""


def test_frames_held_at_once_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "1.jpg"
    Image.new("L", (7000, 7000)).save(file, quality=20)
    with pytest.raises(FrameError, match=r"60 frames of 7000 × 7000 pixels are more than the 8 GiB allowed"):
        decode_group([file] * 60)


def test_files_held_at_once_are_bounded(tmp_path: Path) -> None:
    """Files with holes, which take no place on the disk."""
    for name, size in (("1.jpg", bounds.MAX_HELD + 1), ("2.jpg", 10)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    with pytest.raises(FrameError, match=r"1\.jpg: cannot be read \(it has more than the 8,589,934,592 bytes"):
        decode_group([tmp_path / "1.jpg"])
    with pytest.raises(FrameError, match=r"2\.jpg: cannot be read \(it has more than the 4 bytes"):
        decode.read_file(tmp_path / "2.jpg", 4)


def progressive(side: int, scans: int) -> bytes:
    """A progressive JPEG with its last scan over and over."""
    file = io.BytesIO()
    Image.fromarray(picture(0, side, side)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_scans_of_a_progressive_jpeg_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.jpg").write_bytes(progressive(64, 3000))
    with pytest.raises(FrameError, match=r"1\.jpg: 300\d scans of 64 × 64 pixels, as no encoder makes them"):
        decode_group([tmp_path / "1.jpg"])
    (tmp_path / "2.jpg").write_bytes(progressive(64, 20))
    monkeypatch.setattr(decode, "MAX_SCANNED", 20 * 64 * 64)
    with pytest.raises(FrameError, match=r"2\.jpg: 2\d scans of 64 × 64 pixels"):
        decode_group([tmp_path / "2.jpg"])
    monkeypatch.setattr(decode, "simplejpeg", None)
    with pytest.raises(FrameError, match=r"2\.jpg: 2\d scans of 64 × 64 pixels"):
        decode_group([tmp_path / "2.jpg"])


def test_scans_are_counted_where_libjpeg_decodes_more_than_one(tmp_path: Path) -> None:
    """Not those of a preview inside a plain one; those of a sequential one whose first scan has not all colours."""
    file = io.BytesIO()
    Image.fromarray(picture(0, 64, 64)).save(file, "JPEG")
    plain = file.getvalue()
    preview = progressive(8, 300)
    inside = plain[:2] + struct.pack(">2sH", b"\xff\xe2", 2 + len(preview)) + preview + plain[2:]
    (tmp_path / "1.jpg").write_bytes(inside)
    assert (decode_group([tmp_path / "1.jpg"])[0].permute(1, 2, 0).numpy() == np.asarray(Image.open(file))).all()
    assert decode.jpeg_fault(inside, 64, 64) == ""
    at = plain.index(b"\xff\xda")
    one_colour = plain[:at] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + plain[at + 14 :]
    many = one_colour + plain[at:] * 200
    assert decode.jpeg_fault(many, 64, 64).startswith("201 scans of 64 × 64")
    # A decoder passes over bytes that fill; who takes them for a marker is led behind the end, to a plain picture.
    forged = progressive(8, 300).replace(b"\xff\xc2", b"\xff\xff\xc2")
    fill = forged.index(b"\xff\xff\xc2")
    led_to = fill + 2 + int.from_bytes(forged[fill + 2 : fill + 4], "big")
    assert len(forged) < led_to
    forged = forged.ljust(led_to, b"\0") + plain[plain.index(b"\xff\xc0") :]
    assert "scans of 8 × 8 pixels" in decode.jpeg_fault(forged, 8, 8)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_what_unfolds_beside_the_pixels_of_a_png_is_bounded(tmp_path: Path, kind: bytes) -> None:
    """80 MB of zeros; Pillow's own bound."""
    content = b"name\0\0" + zlib.compress(bytes(80_000_000), 1)
    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, "PNG")
    chunk = struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))
    (tmp_path / "1.png").write_bytes(file.getvalue()[:33] + chunk + file.getvalue()[33:])
    with pytest.raises(FrameError, match=r"(?i)decompressed data too large"):
        decode_group([tmp_path / "1.png"])


# --- what is no file -------------------------------------------------------------------------------------------------


def test_no_named_pipe_is_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "videos" / "run" / "x.mp4"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    with pytest.raises(FrameError, match="a named pipe or a device, not a file"):
        decode_group([pipe])
    with pytest.raises(InputError, match="a named pipe or a device, not a file"):
        read_text(pipe, "list file")
    assert probe("x.mp4", pipe.parent).fault == "cannot be read (a named pipe or a device, not a file)"
    with pytest.raises(OSError, match="a named pipe"):
        next(videofile.frames(pipe))
    assert find_sources([str(pipe)])[0].fault == "neither a file nor a folder"
    assert vid2img.main(["--videos", str(tmp_path / "videos"), "--frames", str(tmp_path / "frames"), "-j", "1"]) == 1
    assert "x.mp4: [Errno 22] a named pipe or a device, not a file" in capfd.readouterr().err


def test_a_device_is_no_picture() -> None:
    with pytest.raises(FrameError, match="a named pipe or a device, not a file"):
        decode_group([Path("/dev/zero")])


# --- videos ----------------------------------------------------------------------------------------------------------

MANY = 80_000_000


def claiming(folder: Path, box: bytes, places: dict[int, int]) -> Path:
    """An MP4 of 10 frames and 2 kB with numbers of a table overwritten, by place behind its name."""
    video = write_video(folder / "v.mp4", 10)
    content = bytearray(video.read_bytes())
    for place, number in places.items():
        struct.pack_into(">I", content, content.index(box) + place, number)
    video.write_bytes(content)
    return video


@pytest.mark.parametrize(
    ("box", "places"),
    [(b"stsz", {8: 1, 12: MANY}), (b"stts", {12: MANY}), (b"ctts", {12: MANY}), (b"elst", {8: MANY})],
    ids=["sizes", "times", "shifts", "edits"],
)
def test_samples_that_a_header_claims_are_counted_first(tmp_path: Path, box: bytes, places: dict[int, int]) -> None:
    assert look(claiming(tmp_path, box, places)).startswith("its header claims ")


def test_samples_claimed_by_a_fragment_or_in_a_compressed_header(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 10)
    whole = video.read_bytes()
    fragment = b"".join(struct.pack(">I4sIII", 20, b"trun", 0, MANY, 0) for _ in range(2))
    video.write_bytes(whole + struct.pack(">I4s", 8 + len(fragment), b"moof") + fragment)
    with pytest.raises(DamageError, match="its header claims 160,000,"):
        videofile.scan(video)
    header = bytearray(whole[whole.index(b"moov") - 4 :])
    struct.pack_into(">II", header, header.index(b"stsz") + 8, 1, MANY)
    packed = struct.pack(">I4sI", 0, b"cmvd", len(header)) + zlib.compress(bytes(header))
    video.write_bytes(struct.pack(">I4s", 8 + len(packed), b"moov") + packed)
    with pytest.raises(DamageError, match="its header claims 80,000,"):
        videofile.scan(video)
    packed = struct.pack(">I4sI", 0, b"cmvd", 1 << 30) + zlib.compress(bytes(1 << 20), 9)
    video.write_bytes(struct.pack(">I4s", 8 + len(packed), b"moov") + packed)
    assert mp4_header.MAX_HEADER > 1 << 20
    with pytest.raises(DamageError):
        videofile.scan(video)


def test_a_header_that_does_not_begin_the_file_is_not_looked_for(tmp_path: Path) -> None:
    """FFmpeg passes over what comes before it, and the claims in it would not be found."""
    video = claiming(tmp_path, b"stsz", {8: 1, 12: MANY})
    video.write_bytes(b"\0\0\0\4" + video.read_bytes())
    assert "a container that is not read" in look(video)


def test_hours_of_uncompressed_sound_are_no_claim() -> None:
    """172 million samples an hour, which FFmpeg takes by the thousand."""
    tables = {
        b"hdlr": b"\0\0\0\0soun",
        b"stts": struct.pack(">III", 1, 172_000_000, 1),
        b"stsz": struct.pack(">II", 4, 172_000_000),
        b"stsc": struct.pack(">IIII", 1, 1, 24_000, 1),
        b"stco": struct.pack(">I", 7200) + bytes(4 * 7200),
    }
    moov = header({name: bytes(4) + content for name, content in tables.items()})
    assert mp4_header.claims_fault(io.BytesIO(moov)) == ""
    assert mp4_header.claims_fault(io.BytesIO(moov.replace(b"soun", b"vide"))) != ""


def header(*tracks: dict[bytes, bytes]) -> bytes:
    """An MP4's, of tracks by their boxes, each of version 0 or as its content begins."""
    content = b""
    for tables in tracks:
        boxes = b"".join(struct.pack(">I4s", 8 + len(content), name) + content for name, content in tables.items())
        content += struct.pack(">I4s", 8 + len(boxes), b"trak") + boxes
    return struct.pack(">I4s", 8 + len(content), b"moov") + content


@pytest.mark.parametrize(
    "edits",
    [
        struct.pack(">IIIiIIiI", 0, 2, 1000, -1, 65536, 9, 1024, 65536),
        struct.pack(">IIQqIQqI", 1 << 24, 2, 1000, -1, 65536, 9, 1024, 65536),
    ],
    ids=["32 bits", "64 bits"],
)
def test_a_recording_of_days_is_read(edits: bytes) -> None:
    """Pictures at 30 a second, AAC at 48 kHz, both with an edit that delays them, which is no entry of FFmpeg's."""

    def claimed(hours: int, edits: bytes = edits) -> str:
        pictures, sounds = hours * 3600 * 30, hours * 3600 * 48_000 // 1024
        tables = [
            {b"elst": edits, b"hdlr": bytes(8) + kind, b"stts": struct.pack(">IIII", 0, 1, count, 1024)}
            for kind, count in ((b"vide", pictures), (b"soun", sounds))
        ]
        return mp4_header.claims_fault(io.BytesIO(header(*tables)))

    assert [claimed(hours) for hours in (24, 92)] == ["", ""]
    assert claimed(93) == "its header claims 10,044,000 frames, more than the 10,000,000 allowed"
    shown = struct.pack(">IIIiIIiI", 0, 2, 1000, 0, 65536, 9, 1024, 65536)
    assert claimed(60, shown).startswith("its header claims 12,960,000 frames")


def test_samples_of_sound_are_bounded_too() -> None:
    track = {b"hdlr": bytes(8) + b"soun", b"stts": struct.pack(">IIII", 0, 1, bounds.MAX_SOUND // 2 + 1, 1024)}
    assert mp4_header.claims_fault(io.BytesIO(header(track))) == ""
    assert "20,000,002 samples of sound" in mp4_header.claims_fault(io.BytesIO(header(track, track)))


def test_a_header_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, looks = write_video(tmp_path / "v.mp4", 10), list[object]()
    monkeypatch.setattr(videofile, "claims_fault", lambda file: looks.append(file) or "")
    for _ in range(2):
        videofile.scan(video)
    assert len(looks) == 2  # so new that another file of its size may have the same time
    os.utime(video, (1_000_000_000, 1_000_000_000))
    for _ in range(3):
        videofile.scan(video)
    assert len(looks) == 3
    os.utime(video, (1_000_000_001, 1_000_000_001))
    videofile.scan(video)
    assert len(looks) == 4


def test_packets_that_do_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "v.mp4", 10)
    monkeypatch.setattr(videofile, "MAX_FRAMES", 5)
    for read in (lambda: videofile.scan(video), lambda: list(videofile.frames(video))):
        with pytest.raises(DamageError, match="more than 5 packets"):
            read()


def test_frames_of_a_video_held_at_once_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, codec in (("v.mp4", "libx264"), ("v.avi", "mpeg4")):
        video = write_video(tmp_path / name, 10, codec=codec)
        table = videofile.scan(video)
        monkeypatch.setattr(bounds, "MAX_HELD", 5 * 64 * 48 * 3)
        assert len(videofile.read(video, table, [1, 2, 3, 4, 5])) == 5
        with pytest.raises(DamageError, match="6 frames of 64 × 48 pixels are more than"):
            videofile.read(video, table, [1, 2, 3, 4, 5, 6])


# --- lists and descriptions ------------------------------------------------------------------------------------------


def test_a_list_promises_no_frames_without_end(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("v 999999999 0\nv2 10000000 0\n")
    with pytest.raises(InputError, match=r"list\.txt:1: a video of more than 10,000,000 frames"):
        read_list(tmp_path / "list.txt", 1)


def test_missing_frames_are_counted_without_naming_them_all(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [picture(0)] * 3)
    (tmp_path / "v" / "00007.jpg").touch()
    (tmp_path / "v" / "99999999.jpg").touch()  # beyond what is promised
    checked = FrameFolders(tmp_path).check(VideoRecord("v", bounds.MAX_FRAMES, 0), decode=True)
    assert checked.fault.startswith(f"9999996 of its 10000000 frames are missing, first {tmp_path / 'v' / '00004.jpg'}")


def test_names_with_huge_numbers(tmp_path: Path) -> None:
    series = longest_series(["1" * 200 + ".jpg", "1" * 199 + "9.jpg", "٣.jpg"])
    assert series is not None
    assert "without" in str(series)
    assert series.template.format(series.numbers[0]) == "1" * 200 + ".jpg"


@pytest.mark.parametrize(
    "template",
    (
        *("{:02000000000d}.jpg", "{:100d}.jpg", "{0.__class__}.jpg", "{0[0]}.jpg", "{!r}.jpg", "{:05d}{:05d}.jpg"),
        *("a.jpg", "../{:05d}.jpg", "/tmp/{:05d}.jpg", "{:05d}\0.jpg", "{{:05d}}.jpg", "{:x<9}.jpg"),
    ),
)
def test_a_template_has_one_plain_number(tmp_path: Path, template: str) -> None:
    with pytest.raises(InputError, match="gives no name to a frame's number"):
        FrameFolders(tmp_path, template)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "category.txt").write_text("a\n")
    (folder / "dataset.toml").write_text(
        "template = '{}'\n".format(template.replace("\0", "\\u0000")).replace("'", '"')
    )
    with pytest.raises(InputError, match=r"template = .*: expected a frame's file name"):
        resolve("own", tmp_path)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("a = " + "[" * 100_000, "cannot be read as TOML"),
        ('frames = "a\\u0000b"', "frames = .*: expected a folder"),
        (f"first = {10**12}", "first = .*: expected the number of the first frame"),
        ("#" * (1 << 20), "more than the 1,048,576 bytes"),
        ("\0", "not UTF-8 text"),
    ],
)
def test_a_description_beyond_the_bounds(tmp_path: Path, description: str, words: str) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "category.txt").write_text("a\n")
    (folder / "dataset.toml").write_text(description + "\n")
    with pytest.raises(InputError, match=words):
        resolve("own", tmp_path)


def test_more_classes_than_any_data_set_has(tmp_path: Path) -> None:
    (tmp_path / "category.txt").write_text("".join(f"{k}\n" for k in range(100_001)))
    with pytest.raises(InputError, match="has 100,001 lines, expected a class name a line, 100,000 at most"):
        read_categories(tmp_path / "category.txt")


@pytest.mark.parametrize("line", [",", "1,", "1 ", " ", "v 1", ".a"])
def test_long_lines_are_refused_at_once(tmp_path: Path, line: str) -> None:
    """20,000 commas took 12 s."""
    (tmp_path / "list.txt").write_text("".join(f"v{k} 3 0\n{line * 4000}x\n{line * 100_000}x\n" for k in range(3)))
    for counted in (True, False):
        with pytest.raises(InputError, match=r"list\.txt:3: a line of [\d,]+ letters"):
            read_list(tmp_path / "list.txt", 1, unlabelled_too=True, counted=counted)


def test_paths_longer_than_any_systems(tmp_path: Path) -> None:
    for path in ("n" * 5000, "n/" * 2500, "v/" + "n" * 300):
        with pytest.raises(FrameError, match=r"cannot be read|no such file"):
            FrameFolders(tmp_path).read(VideoRecord(path, 1, 0), [1])
        assert FrameFolders(tmp_path).check(VideoRecord(path, 1, 0), decode=True).fault
        assert find_sources([path])[0].fault == "no such file or folder"


@pytest.mark.parametrize("path", ["../outside", "class/../../outside", "/outside"])
def test_no_flow_is_written_beside_the_data_set(tmp_path: Path, path: str) -> None:
    pytest.importorskip("cv2")
    folder = tmp_path / "sets" / "own"
    write_frames(folder / "frames" / "v", [picture(0)] * 2)
    (folder / "category.txt").write_text("a\n")
    (folder / "dataset.toml").write_text("")
    for name in ("train", "val"):
        (folder / f"{name}_videofolder.txt").write_text(f"v 2 0\n{path} 2 0\n")
    with pytest.raises(InputError, match="no path below"):
        extract_flow.main(["own", "--root_dataset", str(tmp_path / "sets"), "--method", "dis", "-j", "1"])
    assert not (folder / "flow").exists()


def test_flow_goes_where_a_description_says_only_if_that_is_in_its_folder_or_given(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    folder, elsewhere = tmp_path / "sets" / "own", tmp_path / "elsewhere"
    write_frames(folder / "frames" / "v", [picture(0)] * 2)
    (folder / "category.txt").write_text("a\n")
    for name in ("train", "val"):
        (folder / f"{name}_videofolder.txt").write_text("v 2 0\n")
    run = ["own", "--root_dataset", str(tmp_path / "sets"), "--method", "dis", "-j", "1"]
    for said in (str(elsewhere), "../../elsewhere"):
        (folder / "dataset.toml").write_text(f'flow = "{said}"\n')
        for more in ([], ["--flow", str(tmp_path / "third")]):
            with pytest.raises(InputError, match="to say that it may be written there"):
                extract_flow.main([*run, *more])
        assert not elsewhere.exists()
    (folder / "dataset.toml").write_text(f'flow = "{elsewhere}"\n')
    assert extract_flow.main([*run, "--flow", str(elsewhere)]) == 0
    assert (elsewhere / "v" / "flow_x_00001.jpg").is_file()


# --- what people open ------------------------------------------------------------------------------------------------

FORMULAS = ('=HYPERLINK("http://x","y")', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "＝1", "'=1", "''@a")


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    """And what is read again is as it was."""
    n = len(FORMULAS)
    outcomes = Outcomes("test", list(FORMULAS), list(FORMULAS), list(FORMULAS), np.full(n, 0.5), np.ones(n, int))
    write_outcomes(tmp_path / "videos.csv", outcomes)
    with (tmp_path / "videos.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in cells if cell[:1] in tuple("=+-@\t＝")] == []
    again = read_outcomes(tmp_path / "videos.csv")
    assert (again.paths, again.true, again.predicted) == (list(FORMULAS),) * 3


def test_numbers_and_names_of_a_table_stay_as_they_are() -> None:
    rows = [["a", "b"], ["-0.5", "it's"], ["+3e-5", "a=b"], ["", "-"]]
    assert as_csv([[*rows[0]], [-0.5, "it's"], ["+3e-5", "a=b"], ["", "-"]]) == "a,b\n-0.5,it's\n+3e-5,a=b\n,'-\n"
    assert read_csv(as_csv(rows)) == rows


def test_every_table_is_written_in_one_place() -> None:
    """But a run's log.csv, in which every cell is a number or a name of ours."""
    files = [file for part in ("ops", "tools") for file in (HERE.parent / part).rglob("*.py")]
    writers = {f.name for f in files if re.search(r"csv\.(?:Dict)?[wW]riter\(", f.read_text())}
    assert writers == {"tables.py", "runlog.py", "heatmap_quality.py"}


@pytest.mark.parametrize("name", ["a;b", "a\nb", "a\u2028b"])
def test_a_name_that_would_split_a_challenges_line(name: str) -> None:
    refuse_in_challenge(["turning left", "a, b"])
    with pytest.raises(InputError, match="the challenge's format has no place for"):
        refuse_in_challenge(["turning left", name])
