"""One video to its folder of frames: every decoded frame once, in order and upright, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from ops.data.filestate import FileState
from ops.data.parallel import stop_if_told
from ops.data.videofile import DamageError, rgb_frames
from ops.files import open_regular

DAMAGE_NOTE = "damaged.txt"
LONGEST = 100  # bytes of a name that is taken as it is; file systems have limits from 143 on
SOURCE_NOTE = "made of {} bytes, ends {:08x}"  # the comment in the first picture of a folder; of a file's state
NOTED = re.compile(rb"made of (\d+) bytes, ends ([0-9a-f]{8})")
HEAD = 4096  # bytes: a picture's comment lies in its first ones
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no use going on with other videos


@dataclass(frozen=True)
class FrameFormat:
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
    """Where frames are gathered until `folder` is complete. A long name would be too long with what is added to it."""
    name = os.fsencode(folder.name)
    short = folder.name if len(name) <= LONGEST else hashlib.sha256(name).hexdigest()[:32]
    return folder.with_name(f".{short}.partial")


def extract(video: Path, folder: Path, frame_format: FrameFormat, keep_damaged: bool = False) -> Outcome:
    """Make a video's folder of frames: complete under its final name, or not at all; an earlier one is replaced.

    `keep_damaged` keeps the frames before a damage and notes it in `damaged.txt` beside them. Raises OSError if
    the disk is full or read-only; any other fault is in the outcome.
    """
    partial = partial_folder(folder)
    count, damage = 0, ""
    try:
        note = source_note(video)
        partial.mkdir(parents=True)
        try:
            for image in upright_frames(video):
                stop_if_told()
                count += 1
                save_frame(image, partial / frame_format.template.format(count), frame_format, note)
                note = ""
        except DamageError as fault:
            damage = str(fault)
            if not (keep_damaged and count):
                return Outcome(error=damage)
            (partial / DAMAGE_NOTE).write_text(damage + "\n", encoding="utf-8")
        put_in_place(partial, folder)
        return Outcome(count, damage=damage)
    except (OSError, ValueError, RuntimeError, MemoryError) as fault:
        if isinstance(fault, OSError) and fault.errno in DISK_FAULTS:
            raise
        return Outcome(error=str(fault) or type(fault).__name__)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def finished(video: Path, folder: Path, frame_format: FrameFormat, keep_damaged: bool) -> Outcome | None:
    """The outcome of an earlier run, or None if the video is still to be done, or was another file then."""
    if not (folder.is_dir() and made_of(folder / frame_format.template.format(1), video)):
        return None
    names = {path.name for path in folder.iterdir()}
    damage = (folder / DAMAGE_NOTE).read_text(encoding="utf-8").strip() if DAMAGE_NOTE in names else ""
    count = len(names - {DAMAGE_NOTE})
    missing = [name for k in range(1, count + 1) if (name := frame_format.template.format(k)) not in names]
    if missing or not count:
        return Outcome(error=f"{folder} was changed: no {[*missing, 'frames'][0]}; remove it to make it anew")
    if damage and not keep_damaged:
        return Outcome(error=f"{damage} ({folder} was kept up to there by tools/vid2img.py; remove it to make it anew)")
    return Outcome(count, damage=damage)


def source_note(source: Path) -> str:
    """What the first picture of a folder says of the file that the folder is made of. Raises OSError."""
    state = FileState.of(source)
    return SOURCE_NOTE.format(state.size, state.ends)


def made_of(picture: Path, source: Path) -> bool:
    """Whether what a folder's first picture says of the file that it was made of is true of this file.

    True, too, where it says nothing (as those of other programs), and where one of the two cannot be read.
    """
    try:
        with open_regular(picture) as opened:
            said = NOTED.search(opened.read(HEAD))
        return not said or FileState(int(said[1]), ends=int(said[2], 16)).today(source) is not None
    except OSError:
        return True


def put_in_place(made: Path, folder: Path) -> None:
    """Gives a folder its final name, instead of one that was made of another file."""
    if folder.is_dir():
        shutil.rmtree(folder)
    made.replace(folder)


def upright_frames(video: Path) -> Iterator[Image.Image]:
    """Every frame of a video as an upright RGB image, in order of display. Raises DamageError (see `videofile`)."""
    yield from map(Image.fromarray, rgb_frames(video))


def save_frame(image: Image.Image, file: Path | IO[bytes], frame_format: FrameFormat, note: str = "") -> None:
    """Writes a frame as the JPEG file that it is in a folder of frames, with a comment in it."""
    small = scale_down(image, frame_format.short_side)
    small.save(file, format="JPEG", quality=frame_format.quality, subsampling="4:2:0", comment=note)


def scale_down(image: Image.Image, short_side: int) -> Image.Image:
    """The image with its short side at most `short_side` pixels (0: any), its shape to the nearest pixel."""
    short = min(image.size)
    if not short_side or short <= short_side:
        return image
    width, height = (max(1, round(side * short_side / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)
