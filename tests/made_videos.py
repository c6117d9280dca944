"""Videos made for tests, whose every frame can be told from the others."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


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
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = Fraction(1, 100)
        for k in range(frames):
            picture = np.kron(np.roll(noise, (k, 2 * k), (0, 1)), np.ones((4, 4, 1), np.uint8))[:height, :width]
            picture[:4, : 4 * (k % 16)] = 255 - picture[:4, : 4 * (k % 16)]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24").reformat(format=pixel_format)
            frame.pts = times[k] if times else 4 * k
            frame.time_base = Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path) -> Path:
    """Mark an MP4 as filmed upright: to be shown turned 90 degrees clockwise."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
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
