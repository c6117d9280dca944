"""Videos made for tests, whose every frame can be told from the others."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def write_video(
    path: Path,
    frames: int = 30,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    seed: int = 0,
    **options: str,
) -> Path:
    """A video of moving noise; `times` in 1/100 s (4, 8, 12, … if not given), `options` of the encoder."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)

    def picture(k: int) -> np.ndarray:
        picture = np.kron(np.roll(noise, (k, 2 * k), (0, 1)), np.ones((4, 4, 1), np.uint8))[:height, :width]
        picture[:4, : 4 * (k % 16)] = 255 - picture[:4, : 4 * (k % 16)]
        return picture

    return write_pictures(path, map(picture, range(frames)), codec, pixel_format, times, **options)


def write_pictures(
    path: Path,
    pictures: Iterable[np.ndarray],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    **options: str,
) -> Path:
    """A video of pictures `(H, W, 3)`; `times` in 1/100 s (4, 8, 12, … if not given), `options` of the encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 100)
        for k, picture in enumerate(pictures):
            if not k:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24").reformat(format=pixel_format)
            frame.pts = times[k] if times else 4 * k
            frame.time_base = Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def replace_video(video: Path, frames: int, *, keep_times: bool = False) -> None:
    """Another video, of fewer frames, in the place of one that `write_video` made: of the same name and size."""
    before, other = video.stat(), write_video(video.with_name(f"other{video.suffix}"), frames, seed=99)
    with other.open("ab") as file:
        file.write(bytes(before.st_size - other.stat().st_size))
    if keep_times:
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(video)
    assert video.stat().st_size == before.st_size


def show_by(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Give an MP4 a display matrix: a picture's point (x, y) is shown at (ax + cy, bx + dy)."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    numbers = [round(number * (1 << 16)) for number in (a, b, 0, c, d, 0, 0, 0)]
    content[matrix : matrix + 36] = struct.pack(">9i", *numbers, 1 << 30)
    path.write_bytes(content)
    return path


def turn(path: Path) -> Path:
    """Mark an MP4 as filmed upright: to be shown turned 90 degrees clockwise."""
    return show_by(path, 0, 1, -1, 0)


def add_cover(path: Path) -> Path:
    """Put a cover picture into an MP4, before its video."""
    cover = io.BytesIO()
    Image.new("RGB", (48, 48), "red").save(cover, "JPEG")

    def box(kind: bytes, *content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)

    data = box(b"data", struct.pack(">II", 13, 0), cover.getvalue())
    handler = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    udta = box(b"udta", box(b"meta", bytes(4), handler, box(b"ilst", box(b"covr", data))))
    content = path.read_bytes()
    moov, track = content.index(b"moov"), content.index(b"trak") - 4
    assert moov > content.index(b"mdat")  # else the frames would move
    length = struct.unpack_from(">I", content, moov - 4)[0] + len(udta)
    path.write_bytes(content[: moov - 4] + struct.pack(">I", length) + content[moov:track] + udta + content[track:])
    return path


def state_duration(path: Path, seconds: float) -> Path:
    """Write another duration into the header of a Matroska, FLV or AVI file (25 frames a second), as by a clock."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".avi":
        for kind, place in ((b"avih", 16), (b"strh", 32)):
            struct.pack_into("<I", content, content.index(kind) + 8 + place, round(25 * seconds))
    elif path.suffix == ".flv":
        struct.pack_into(">d", content, content.index(b"duration\0") + 9, seconds)
    else:
        struct.pack_into(">d", content, content.index(b"\x44\x89\x88") + 3, 1000 * seconds)
    path.write_bytes(content)
    return path


def forget_lengths(path: Path) -> Path:
    """Make the lengths of a Matroska file's segment and clusters unknown, as those that are written live."""
    content = bytearray(path.read_bytes())
    for kind in (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"):
        at = content.index(kind) + 4
        width = 9 - content[at].bit_length()
        content[at : at + width] = ((1 << 7 * width + 1) - 1).to_bytes(width, "big")
    path.write_bytes(content)
    return path


def write_side_by_side(path: Path, *sizes: tuple[int, int]) -> Path:
    """Several video streams in a file, of three grey frames each; the first of level 60, the second 120 and so on."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in sizes]
        for stream, (width, height) in zip(streams, sizes, strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(3):
            for number, (stream, (width, height)) in enumerate(zip(streams, sizes, strict=True), start=1):
                grey = np.full((height, width, 3), 60 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    return path


def splice(path: Path, *videos: Path, header: int = 0) -> Path:
    """The frames of one video after those of another, as they are; the header is that of number `header`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container, av.open(str(videos[header])) as template:
        stream = container.add_stream_from_template(template.streams.video[0])
        time = 0
        for video in videos:
            with av.open(str(video)) as source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = time
                        packet.time_base, packet.stream = Fraction(1, 25), stream
                        container.mux(packet)
                        time += 1
    return path


def cut_by_edit_list(path: Path, frames: int) -> Path:
    """Marks the first frames of an MP4 as not to be shown, as a phone does that cuts without encoding anew."""
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
        ticks, milliseconds = first.duration, round(1000 * float(first.duration * first.time_base))
    content = bytearray(path.read_bytes())
    edit = content.index(b"elst") + 12  # after version and flags, and the number of edits
    duration, start = struct.unpack_from(">ii", content, edit)
    struct.pack_into(">ii", content, edit, duration - frames * milliseconds, start + frames * ticks)
    path.write_bytes(content)
    return path


def write_sound(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for k in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, 1024 * k
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
