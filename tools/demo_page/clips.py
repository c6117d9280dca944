"""Labelled clips, kept in the folders that `tools/prepare_videos.py` makes a data set of."""

from __future__ import annotations

import secrets
import shlex
import shutil
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ops.data.video_index import probe
from ops.data.videofile import EXTENSIONS
from ops.errors import InputError
from ops.files import atomic_write
from ops.recognition.results import shown
from tools.demo_page.answers import refuse_large, templates
from tools.vid2img import FITS_A_LINE
from tools.video_folders import SPLIT_NAMES

LONGEST_NAME = 200  # bytes of a class's name; a folder's may have 255
FORBIDDEN = '/\\:*?"<>|'  # what some system has no file names with


@dataclass(frozen=True)
class Collection:
    """A folder with a folder for each class. Several people, and several programs, may add to it at a time."""

    folder: Path

    def add(self, video: Path, label: str) -> Path:
        """Copies a video file into its class's folder, whole and under a name that nothing else has; where it is.

        Raises InputError for a file that is not a whole video, or too large, and for what is no name of a class.
        """
        name = class_name(label)
        if near := next((k for k in self.counts() if k != name and k.casefold() == name.casefold()), None):
            raise InputError(f"class {name!r}: there is {near!r}: write it so, or give the new class another name")
        ending = video.suffix.lower()
        if ending not in EXTENSIONS:
            raise InputError(f"{shown(video.name)}: not a video's ending; expected .mp4, .webm or another video")
        refuse_large(video)
        if fault := probe(video.name, video.parent).fault:
            raise InputError(f"{shown(video.name)}: {fault}")
        unique = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        target = self.folder / name / f"{unique}{ending}"
        with video.open("rb") as source, atomic_write(target) as file:
            shutil.copyfileobj(source, file)
        return target

    def counts(self) -> dict[str, int]:
        """How many videos each class has, sorted by its name."""
        if not self.folder.is_dir():
            return {}
        folders = [entry for entry in self.folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        return {folder.name: sum(_is_video(file) for file in folder.iterdir()) for folder in sorted(folders)}

    @property
    def name(self) -> str:
        """The folder's name alone, which is all that a page says of where it is."""
        return self.folder.resolve().name

    def next_command(self, folder: str) -> str:
        """What makes a data set of it."""
        return shlex.join(["python", "tools/prepare_videos.py", "--videos", folder, "--name", "mine"])

    def html(self, added: str = "") -> str:
        """What there is, and how to go on, as a part of a page; `added` is said first."""
        return templates.get_template("collected.html").render(
            added=added, counts=self.counts(), folder=self.name, command=self.next_command(self.name)
        )


def class_name(label: str) -> str:
    """What was typed as the name of a folder and of a class, in the normal form NFC.

    Raises InputError, saying what a name may be.
    """
    name = unicodedata.normalize("NFC", " ".join(label.split()))
    if not name:
        raise InputError("no class: type what the clip shows")
    fault = ""
    if found := next((letter for letter in name if letter in FORBIDDEN or not letter.isprintable()), None):
        fault = f"a folder's name has no {found!r}"
    elif name.startswith(".") or name.endswith("."):
        fault = "a folder's name neither begins nor ends with a dot"
    elif len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        fault = f"longer than {LONGEST_NAME} bytes: give a shorter name"
    elif name.lower() in SPLIT_NAMES:
        fault = "that names a part of a data set (tools/prepare_videos.py): give the class another name"
    elif not FITS_A_LINE.fullmatch(name):
        fault = "a line of a list cannot begin with #"
    if fault:
        raise InputError(f"class {shown(name[:LONGEST_NAME])!r}: {fault}")
    return name


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file()
