"""One video to its folder of frames: every decoded frame once, in order and upright, whole or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from PIL import Image

from tools.parallel import stop_if_told

DAMAGE_NOTE = "damaged.txt"
UPRIGHT = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no use going on with other videos


class DamageError(Exception):
    """The video cannot be read (further)."""


@dataclass(frozen=True)
class Look:
    """What decides how a frame folder looks."""

    short_side: int  # pixels; 0 keeps the video's size
    quality: int
    template: str


@dataclass(frozen=True)
class Outcome:
    """What became of a video: frames > 0 for a complete folder, else `error` says why there is none."""

    frames: int = 0
    error: str = ""
    damage: str = ""  # with frames > 0: why they end early


def partial_folder(folder: Path) -> Path:
    """Where frames are gathered until `folder` is complete."""
    return folder.with_name(f".{folder.name}.partial")


def extract(video: Path, folder: Path, look: Look, keep_damaged: bool = False) -> Outcome:
    """Make a video's folder of frames: complete under its final name, or not at all.

    `keep_damaged` keeps the frames before a damage and notes it in `damaged.txt` beside them. Raises OSError if
    the disk is full or read-only; any other fault is in the outcome.
    """
    partial = partial_folder(folder)
    count, damage = 0, ""
    try:
        partial.mkdir(parents=True)
        try:
            for image in upright_frames(video):
                stop_if_told()
                count += 1
                file = partial / look.template.format(count)
                small = scale_down(image, look.short_side)
                small.save(file, format="JPEG", quality=look.quality, subsampling="4:2:0")
        except DamageError as fault:
            damage = str(fault)
            if not (keep_damaged and count):
                return Outcome(error=damage)
            (partial / DAMAGE_NOTE).write_text(damage + "\n", encoding="utf-8")
        partial.replace(folder)
        return Outcome(count, damage=damage)
    except (OSError, ValueError, RuntimeError, MemoryError) as fault:
        if isinstance(fault, OSError) and fault.errno in DISK_FAULTS:
            raise
        return Outcome(error=str(fault) or type(fault).__name__)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def finished(folder: Path, look: Look, keep_damaged: bool) -> Outcome | None:
    """The outcome of an earlier run, or None if the video is still to be done."""
    if not folder.is_dir():
        return None
    names = {path.name for path in folder.iterdir()}
    damage = (folder / DAMAGE_NOTE).read_text(encoding="utf-8").strip() if DAMAGE_NOTE in names else ""
    count = len(names - {DAMAGE_NOTE})
    missing = [name for k in range(1, count + 1) if (name := look.template.format(k)) not in names]
    if missing or not count:
        return Outcome(error=f"{folder} was changed: no {[*missing, 'frames'][0]}; remove it to make it anew")
    if damage and not keep_damaged:
        return Outcome(error=f"{damage} ({folder} is from a run with --keep_damaged)")
    return Outcome(count, damage=damage)


def upright_frames(video: Path) -> Iterator[Image.Image]:
    """Every frame of a video as an upright RGB image, in order of display.

    Raises:
        DamageError: it is no video or has no frames, a packet or frame is corrupt, or it ends long before the
            duration it declares. Frames before the damage have been given out by then.
    """
    count, end = 0, 0.0
    try:
        # An absolute path, because "a:b.mp4" would be taken for a protocol; tags may be in any encoding.
        with av.open(str(video.absolute()), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DamageError("no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # the videos themselves are worked on in parallel
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise DamageError(f"incomplete packet after {count} frames")
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise DamageError(f"corrupt frame after {count} frames")
                    count += 1
                    end = max(end, _end_of(frame, stream))
                    yield _upright(frame)
            missing = _declared_duration(container, stream) - end
    except av.error.FFmpegError as fault:
        if isinstance(fault, OSError):  # the disk's or the network's fault, not damage
            raise
        raise DamageError(f"{fault.strerror} after {count} frames" if count else str(fault.strerror)) from None
    if not count:
        raise DamageError("no frames")
    if missing > max(0.5, 0.05 * (end + missing)):
        raise DamageError(f"ends {missing:.1f} s early, after {count} frames ({end:.1f} s)")


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    turn = UPRIGHT.get(round(getattr(frame, "rotation", 0)) % 360)  # degrees counterclockwise
    return image.transpose(turn) if turn is not None else image


def _end_of(frame: Any, stream: Any) -> float:
    """When a frame stops being shown, in seconds; 0 where the file does not say."""
    if frame.time is None:
        return 0.0
    duration = getattr(frame, "duration", 0)
    if duration and frame.time_base:
        return float(frame.time + duration * frame.time_base)
    return float(frame.time + (1 / stream.average_rate if stream.average_rate else 0))


def _declared_duration(container: Any, stream: Any) -> float:
    """When the stream ends according to the file's header, in seconds; 0 where it does not say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base) + min(0.0, float((stream.start_time or 0) * stream.time_base))
    if container.duration and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return 0.0


def scale_down(image: Image.Image, short_side: int) -> Image.Image:
    """The image with its short side at most `short_side` pixels (0: any), its shape to the nearest pixel."""
    short = min(image.size)
    if not short_side or short <= short_side:
        return image
    width, height = (max(1, round(side * short_side / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)
