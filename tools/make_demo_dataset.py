#!/usr/bin/env python3
"""Render `demo`, a small video data set that needs no download and is about the order of the frames.

    python tools/make_demo_dataset.py [--root_dataset DIR]
    python tools/make_demo_dataset.py --root_dataset harder --difficulty medium --background moving --strength 2

Twelve classes in six pairs. The second class of a pair is the first one played backwards: same objects, same
paths, same camera, so that whatever ignores the order of the frames scores about one half, and no single
frame is enough. One or two objects act before a textured background, beside small objects at rest, seen by a
slowly drifting camera. The harder forms have eighteen classes and more to overlook. Of the six more, passing
behind and passing in front can be told apart by single frames, and the bucket of one pair and what is passed in
another give the pair away; see docs/data.md.

    <root>/demo/category.txt            the class names, one a line
    <root>/demo/train_videofolder.txt   `folder number_of_frames label`, one video a line
    <root>/demo/val_videofolder.txt
    <root>/demo/frames/<video>/00001.jpg ...
    <root>/demo/boxes.json              where the objects that act are: for each video of frames/ the width and height
                                        of its frames, and for each frame the boxes [left, top, right, bottom] in
                                        pixels (the last two are outside); what stands still has none, and what
                                        something at rest hides is not in its box
    <root>/demo/finished.json           the settings; of those that came later only what is not easy
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.parallel import in_parallel
from ops.errors import InputError, reported
from ops.files import in_words, write_text
from ops.locks import claimed
from ops.machine import usable_cores
from tools.demo_footage import footage_of
from tools.demo_looks import HEIGHT
from tools.demo_nuisances import BACKGROUNDS, CAMERAS, STRONGEST, UNMOVED, Nuisance
from tools.demo_scenes import DIFFICULTIES, EASY, SPLITS, VERSION, Style, boxes, render, scene, style

JPEG_QUALITY = 85
MARKER = "finished.json"
BOXES = "boxes.json"
CONTENT = frozenset({"category.txt", "train_videofolder.txt", "val_videofolder.txt", "frames", BOXES, MARKER})
MADE_BY = "tools/make_demo_dataset.py"

UNSAID = EASY.described()  # settings that MARKER leaves out, as before there were others

Video = tuple[int, str, int, int]  # seed, split, label, number: what `scene` takes


@dataclass(frozen=True)
class Settings:
    """What decides the content of the data set."""

    seed: int
    videos_per_class: int
    val_videos_per_class: int
    style: Style = EASY

    def marker(self) -> dict[str, object]:
        """What MARKER holds; of the UNSAID only what is not so."""
        numbers = {name: getattr(self, name) for name in ("seed", "videos_per_class", "val_videos_per_class")}
        said = {key: value for key, value in self.style.described().items() if value != UNSAID[key]}
        return {"made_by": MADE_BY, "version": VERSION, **numbers, **said}

    def videos(self) -> list[Video]:
        """All videos in the order of the lists."""
        counts = zip(SPLITS, (self.videos_per_class, self.val_videos_per_class), strict=True)
        labels = range(len(self.style.difficulty.classes))
        return [(self.seed, split, label, k) for split, count in counts for label in labels for k in range(count)]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    make(args.root_dataset, settings_of(args), args.jobs, args.force)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Raises InputError that lists every number out of range, or that nothing takes."""
    parser = argparse.ArgumentParser(description="Render the demo data set (see the head of this file).")
    root = Path(os.environ.get("FEXNET_DATASETS") or "dataset")
    where = "folder of all data sets; demo/ is made in it (default: $FEXNET_DATASETS, else ./dataset)"
    parser.add_argument("--root_dataset", type=Path, default=root, metavar="DIR", help=where)
    parser.add_argument("--videos_per_class", type=int, default=80, help="for training (default: %(default)s)")
    parser.add_argument("--val_videos_per_class", type=int, default=25, help="for validation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seed, other videos (default: %(default)s)")
    parser.add_argument(
        "--difficulty", choices=DIFFICULTIES, default="easy", help="the harder ones have 18 classes (default: easy)"
    )
    parser.add_argument(
        "--background", choices=BACKGROUNDS, help=f"what it does behind the objects ({own('background')})"
    )
    parser.add_argument("--camera", choices=CAMERAS, help=f"how it moves ({own('camera')})")
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="of what --background and --camera name, or where they name nothing of the difficulty's own; "
        "0: none of it (default: %(default)s)",
    )
    parser.add_argument(
        "--backgrounds",
        type=Path,
        metavar="DIR",
        help="take the backgrounds from the videos in this folder: one picture for each rendered video or, with "
        "--background moving, as many in a row (--strength is the speed)",
    )
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: the cores, %(default)s)")
    parser.add_argument("--force", action="store_true", help="render again what is complete already")
    args = parser.parse_args(argv)
    least = {"videos_per_class": 1, "val_videos_per_class": 1, "seed": 0, "jobs": 1}
    given = {name: getattr(args, name) for name in least}
    faults = [f"--{name} {given[name]}: must be {low} or more" for name, low in least.items() if given[name] < low]
    if not 0.0 <= args.strength <= STRONGEST:
        faults.append(f"--strength {args.strength}: must be from 0 to {STRONGEST:g}")
    elif args.strength != 1.0 and not scaled(args):
        faults.append(
            f"--strength {args.strength:g}: {' and '.join(named(args))} have none: name what it is of (--background "
            "moving or flicker, --camera pan or shake), or leave it out"
        )
    if faults:
        raise InputError("; ".join(faults))
    return args


def own(nuisance: str) -> str:
    """What a nuisance is by default, in words for the help."""
    by_default = (f"{name}: {getattr(its, nuisance)}" for name, its in DIFFICULTIES.items())
    return f"default: of {', '.join(by_default)}"


def named(args: argparse.Namespace) -> list[str]:
    """The kinds of nuisances that `--strength` may be of: those named, or where none is the difficulty's own."""
    its = DIFFICULTIES[args.difficulty]
    return [kind for kind in (args.background, args.camera) if kind] or [its.background, its.camera]


def scaled(args: argparse.Namespace) -> list[str]:
    """Of `named` those that have a strength."""
    return [kind for kind in named(args) if kind not in UNMOVED]


def settings_of(args: argparse.Namespace) -> Settings:
    """What the command line asks for."""
    its = style(args.difficulty)

    def chosen(kind: str) -> Nuisance:
        return Nuisance(kind, args.strength) if kind in scaled(args) else Nuisance(kind)

    drawn = replace(
        its,
        background=chosen(args.background or its.background.kind),
        camera=chosen(args.camera or its.camera.kind),
        footage=footage_of(args.backgrounds) if args.backgrounds else None,
    )
    numbers = args.seed, args.videos_per_class, args.val_videos_per_class
    return Settings(*numbers, drawn)


def make(root: Path, settings: Settings, jobs: int, force: bool = False) -> Path:
    """Render the data set to `root`/demo unless it is there; returns that folder.

    Everything is written in a temporary folder beside it, which takes the final name when it is complete.

    Raises:
        InputError: the folder is not this tool's, was made with other settings, or cannot be written.
    """
    final = root / "demo"
    try:
        if is_complete(final, settings, force):
            if not (final / BOXES).exists():
                add_boxes(final, settings)
            print(f"demo: {final} is complete, nothing to do (--force renders it again)", flush=True)
            return final
        print(f"demo: rendering {len(settings.videos())} videos into {final}", flush=True)
        if footage := settings.style.footage:
            print(f"demo: {footage.in_words()}", flush=True)
        root.mkdir(parents=True, exist_ok=True)
        with claimed(root, name=".demo.lock"), tempfile.TemporaryDirectory(prefix=".demo.", dir=root) as workshop:
            write_dataset(Path(workshop, "new"), settings, jobs)
            put_in_place(Path(workshop, "new"), final, Path(workshop, "old"))
    except OSError as error:
        raise InputError(f"{final} cannot be read or written: {error}") from error
    print(f"demo: {final} is complete", flush=True)
    return final


def is_complete(folder: Path, settings: Settings, force: bool) -> bool:
    """Whether `folder` already is the data set asked for, perhaps without its boxes; not so with `force`.

    Raises:
        InputError: it is something else, that this tool did not make or that only `force` may replace.
    """
    content = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not content:
        return False
    found, wanted = UNSAID | read_marker(folder), UNSAID | settings.marker()
    if force:
        if others := sorted(content - CONTENT):
            raise InputError(
                f"{folder} also holds {', '.join(others)}, not made by this tool, and --force would delete it: "
                "move it away first"
            )
        return False
    if missing := sorted(CONTENT - content - {BOXES}):  # which former versions did not write
        raise InputError(f"{folder} is incomplete, {', '.join(missing)} is missing: --force renders it again")
    if differing := [in_short(k, found.get(k), v) for k, v in wanted.items() if found.get(k) != v]:
        raise InputError(
            f"{folder} was rendered with other settings ({', '.join(differing)}): --force renders it again, "
            "another --root_dataset keeps both"
        )
    return True


def in_short(name: str, found: object, wanted: object) -> str:
    """How a setting differs; of the videos of a folder, all with their digests, only that they do."""
    whole_folder = isinstance(found, dict) or isinstance(wanted, dict)
    return f"other {name}" if whole_folder else f"{name} {found} instead of {wanted}"


def read_marker(folder: Path) -> dict[str, object]:
    """The marker in `folder`. Raises InputError when there is none of ours: then the folder is not ours."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("made_by") != MADE_BY:
        raise InputError(
            f"{folder} exists and was not made by this tool (it has no valid {MARKER}): "
            "nothing in it was touched. Move it away or choose another --root_dataset"
        )
    return found


def write_dataset(folder: Path, settings: Settings, jobs: int) -> None:
    """Write the whole data set into `folder`, which must not exist."""
    frames = folder / "frames"
    frames.mkdir(parents=True)
    videos = settings.videos()
    with closing(in_parallel(partial(write_video, frames, settings.style), videos, jobs)) as rendered:
        lines = dict(rendered)
    write_lines(folder / "category.txt", settings.style.difficulty.classes)
    for split in SPLITS:
        write_lines(folder / f"{split}_videofolder.txt", [lines[video] for video in videos if video[1] == split])
    write_boxes(folder, settings)
    write_lines(folder / MARKER, [json.dumps(settings.marker(), indent=2)])


def write_video(frames: Path, style: Style, video: Video) -> str:
    """Render one video into its folder of JPEG frames below `frames`; returns its line in the list."""
    name = video_name(*video[1:])
    (frames / name).mkdir()
    pictures = render(scene(*video, style))
    for number, picture in enumerate(pictures, start=1):
        Image.fromarray(picture).save(frames / name / f"{number:05d}.jpg", quality=JPEG_QUALITY)
    return f"{name} {len(pictures)} {video[2]}"


def add_boxes(folder: Path, settings: Settings) -> None:
    """What a former version did not write; a folder that takes nothing more is as good without."""
    try:
        write_boxes(folder, settings)
    except OSError as error:
        print(f"demo: {folder} stays without {BOXES}: {in_words(error)}", flush=True)
    else:
        print(f"demo: added {BOXES}, which {folder} did not have", flush=True)


def write_boxes(folder: Path, settings: Settings) -> None:
    """Where the actors of all videos are, a line a video."""
    lines = ",\n".join(boxes_line(video, settings.style) for video in settings.videos())
    write_text(folder / BOXES, f"{{\n{lines}\n}}\n")


def boxes_line(video: Video, style: Style) -> str:
    what = scene(*video, style)
    content = {"width": what.width, "height": HEIGHT, "frames": boxes(what)}
    return f"{json.dumps(video_name(*video[1:]))}: {json.dumps(content)}"


def video_name(split: str, label: int, number: int) -> str:
    return f"{split}_{label:02d}_{number:04d}"


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")


def put_in_place(new: Path, final: Path, old: Path) -> None:
    """Give `new` the name `final`; what stood there goes to `old`, and comes back if that fails."""
    if final.exists():
        final.rename(old)
    try:
        new.replace(final)
    except BaseException:
        if old.exists():
            old.rename(final)
        raise


if __name__ == "__main__":
    with reported():
        main()
