"""What lies below a folder of videos: the files, and why some of them are passed over."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ops.errors import InputError

HIDDEN = "hidden"
SHOWN_KINDS, SHOWN_NAMES = 12, 3

# Why files of these endings are not taken, although they may be videos, and what can be done.
CONVERT = "`ffmpeg -i FILE FILE.mp4` makes a video of it that is read"
MAYBE_VIDEOS = {
    **dict.fromkeys((".gif", ".webp", ".apng"), f"pictures, some of which move: {CONVERT}"),
    **dict.fromkeys(
        ".amv .bik .dav .dv .ivf .mjpeg .mjpg .mxf .nut .obu .rm .rmvb .swf .wtv .y4m".split(), f"not read: {CONVERT}"
    ),
    **dict.fromkeys((".dat", ".vid"), "a video perhaps: then give it the ending of its kind, such as .mpg"),
    **dict.fromkeys((".crdownload", ".download", ".part", ".ytdl"), "an unfinished download"),
    "": "of what kind is not known: a video needs its ending, such as .mp4",
}
REASONS = {
    **MAYBE_VIDEOS,
    **dict.fromkeys(".7z .bz2 .gz .rar .tar .tgz .xz .zip".split(), "an archive: unpack it"),
    **dict.fromkeys(".bmp .jpeg .jpg .png .tif .tiff".split(), "pictures"),
    **dict.fromkeys(".aac .flac .m4a .mp3 .ogg .wav .wma".split(), "sound"),
    HIDDEN: "names that begin with a dot",
}


@dataclass
class PassedOver:
    """Files that are not taken: how many of each kind (their ending, or HIDDEN), and the names of the first."""

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, name: str) -> None:
        """One more, by its path below the folder that is looked through."""
        self.counts[kind] += 1
        if len(self.names[kind]) < SHOWN_NAMES:
            self.names[kind].append(name)

    def in_words(self) -> str:
        """A line for each kind with the reason; empty if there are none."""
        if not self.counts:
            return ""
        lines = [f"{self.counts.total()} files passed over:"]
        for kind, count in self.counts.most_common(SHOWN_KINDS):
            names = ", ".join(self.names[kind]) + ", …" * (count > SHOWN_NAMES)
            lines.append(f"  {count} {_called(kind)} ({reason(kind)}): {names}")
        if others := self.counts.total() - sum(n for _, n in self.counts.most_common(SHOWN_KINDS)):
            lines.append(f"  {others} of {len(self.counts) - SHOWN_KINDS} other kinds")
        return "\n".join(lines)

    def in_short(self) -> str:
        """The kinds with their numbers; empty if there are none."""
        return ", ".join(f"{count} {_called(kind)}" for kind, count in self.counts.most_common(SHOWN_KINDS))


def _called(kind: str) -> str:
    return kind or "without ending"


def reason(kind: str) -> str:
    """Why files of this ending, or HIDDEN ones, are not taken."""
    return REASONS.get(kind, "not a video's ending")


def files_below(source: Path, hidden: PassedOver) -> Iterator[tuple[Path, list[str]]]:
    """Each folder that is not hidden, with the names of its files, sorted; links to folders are followed.

    Hidden folders are counted in `hidden`. Raises InputError for a folder that cannot be looked into.
    """
    for name, subfolders, files in os.walk(source, followlinks=True, onerror=_unreadable):
        here = Path(name)
        if here.is_symlink() and here.resolve() in {folder.resolve() for folder in here.parents}:  # a circle
            subfolders.clear()
            continue
        for folder in (s for s in subfolders if s.startswith(".")):
            hidden.add(HIDDEN, f"{(here / folder).relative_to(source).as_posix()}/")
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        yield here, sorted(files)


def _unreadable(fault: OSError) -> None:
    raise InputError(f"{fault.filename}: cannot look into it: {fault.strerror}")
