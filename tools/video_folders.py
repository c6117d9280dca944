"""What lies below a folder of videos: the videos, which folder is the class of each, and what is passed over."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.data.passed_over import HIDDEN, PassedOver, files_below
from ops.data.videofile import EXTENSIONS
from ops.errors import InputError

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"} | {s: s for s in SPLITS}
SHOWN_CLASSES = 8


def find_videos(source: Path, passed_over: PassedOver | None = None, flag: str = "--videos") -> list[Path]:
    """All videos below the folder `source` (links to folders are followed), sorted; or the one file it names.

    What else lies there is counted in `passed_over`; a hidden folder is not looked into and counts as one. Errors
    name the option `flag`.

    Raises:
        InputError: `source` does not exist, or there is no video in it.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"{flag} {source}: no such file or folder")
    others = PassedOver() if passed_over is None else passed_over
    found = []
    for here, names in files_below(source, others):
        for name in names:
            ending = HIDDEN if name.startswith(".") else Path(name).suffix.lower()
            if ending in EXTENSIONS:
                found.append(here / name)
            else:
                others.add(ending, (here / name).relative_to(source).as_posix())
    if not found:
        raise InputError(f"{flag} {source}: no videos found in it (.mp4, .avi, .mkv, …)\n{others.in_words()}".rstrip())
    return sorted(found)


@dataclass(frozen=True)
class Layout:
    """Of each video, in their order, its class and its split (empty where the folders do not say); what to tell."""

    labels: list[str]
    splits: list[str]
    notes: list[str]
    class_folders: list[Path]  # all, also those without videos


def sort_into_classes(root: Path, paths: Sequence[str]) -> Layout:
    """What the folders say of videos at these paths below `root`, for every tool alike.

    The class of a video is the first folder of its path. Known names of splits (SPLIT_NAMES, in capitals or not) are
    none: where all first folders have such names, and each holds folders of classes, the class is the second. They
    are the videos' splits if there are two at least; beside a single one nothing would be left to validate with. In
    the same way where all second folders are splits, below those of the classes.

    Class names are in the normal form NFC: "é" is one letter or two on disks of different systems, and one class.

    Raises:
        InputError: a video lies in no class folder; first folders are splits in part, or hold videos and no classes.
    """
    folders = [tuple(path.split("/")[:-1]) for path in paths]
    split_at, class_at, notes = _levels(root, folders)
    if loose := [path for path, above in zip(paths, folders, strict=True) if len(above) <= class_at]:
        raise InputError(f"--videos: {root / loose[0]} lies in no class folder: make a folder for each class")
    labels = [unicodedata.normalize("NFC", above[class_at]) for above in folders]
    splits = ["" if split_at is None else _split(above[split_at]) for above in folders]
    notes += _one_class(root, folders, class_at)
    return Layout(labels, splits, notes, _class_folders(root, folders, class_at))


def _split(folder: str) -> str:
    """The split that a folder's name stands for; empty if none."""
    return SPLIT_NAMES.get(folder.lower(), "")


def _levels(root: Path, folders: Sequence[tuple[str, ...]]) -> tuple[int | None, int, list[str]]:
    """Which folder of a path names the split, which the class, and what to tell of it."""
    tops = list(dict.fromkeys(above[0] for above in folders if above))
    named, others = [top for top in tops if _split(top)], [top for top in tops if not _split(top)]
    names, several = " and ".join(named), len({_split(top) for top in named}) > 1
    flat = next((above[0] for above in folders if len(above) == 1 and above[0] in named), "")
    if named and not others and not flat:
        if several:
            return 0, 1, [f"{names} are taken for splits, the folders in them for classes"]
        return None, 1, [f"{names} is not taken for a class, as the folders of the classes lie in it"]
    if several and not (others and flat):
        but = f"{others[0]} beside them does not" if others else f"{flat} holds videos that lie in no class folder"
        raise InputError(
            f"--videos {root}: {names} look like splits, but {but}. Sort the videos as {named[0]}/CLASS/…, give the "
            "folders other names, or give tools/prepare_videos.py a CSV that says the class of each video"
        )
    notes = [f"{names}: taken for the name of a class, as {others[0]} stands beside it"] if named and others else []
    seconds = sorted({above[1] if len(above) > 1 else "" for above in folders})
    known = [second for second in seconds if _split(second)]
    if len({_split(second) for second in known}) < 2:
        return None, 0, notes
    if known == seconds:
        return 1, 0, [*notes, f"{' and '.join(known)}, in the folders of the classes, are taken for splits"]
    return None, 0, [*notes, f"{' and '.join(known)}: no splits, as not every video lies in such a folder"]


def _one_class(root: Path, folders: Sequence[tuple[str, ...]], class_at: int) -> list[str]:
    """What to tell where the folders of the classes seem to lie one deeper."""
    below = {above[: class_at + 2] for above in folders}
    if len({above[class_at] for above in folders}) > 1 or len(below) < 2 or any(len(b) < class_at + 2 for b in below):
        return []
    only = "/".join(folders[0][: class_at + 1])
    return [f"all videos are of one class, {only!r}; if the folders in it are the classes, give --videos {root / only}"]


def _class_folders(root: Path, folders: Sequence[tuple[str, ...]], class_at: int) -> list[Path]:
    above = sorted({root.joinpath(*parents[:class_at]) for parents in folders})
    found = [entry for folder in above for entry in folder.iterdir() if entry.is_dir()]
    return sorted(entry for entry in found if not entry.name.startswith("."))


def in_short(classes: Sequence[str]) -> str:
    """How many there are, and the first of them."""
    some = ", ".join(classes[:SHOWN_CLASSES]) + ", …" * (len(classes) > SHOWN_CLASSES)
    return f"{len(classes)} class{'es' * (len(classes) != 1)}: {some}"
