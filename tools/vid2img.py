"""Videos to folders of frames, and the list file that training reads.

    python tools/vid2img.py --videos videos/ --frames frames/ --list train.txt

Which frames, where. Videos are found below --videos by extension; names that start with a dot are skipped.
videos/archery/v1.mp4 becomes frames/archery/v1/00001.jpg and so on: every decoded frame once, in order and
upright (rotation metadata is applied), scaled down if its short side is over --short_side, as JPEG with
4:2:0 chroma.

Classes. The class of a video is the folder it lies in. If none lies in a class folder (all of them directly
in --videos, or one video), each is its own class, named as the file without extension. A mixture is an
error. --classes FILE (one name a line) gives the order; without it the names are sorted and written to
category.txt beside the list. A line of the list is "path frames label": the folder relative to --frames,
the number of frames, the class's line number counted from 0. A path may contain spaces: read a line from
its right end.

Interruption. A folder is filled under the name .<name>.partial and renamed when complete: whatever has its
final name is whole. The same command again continues. extraction.json in --frames keeps the settings; other
settings, or videos from elsewhere, are refused in the same place. To renew one folder (a repaired video),
remove it. Run one extraction at a time for the same videos.

Damage. A video that cannot be read to its end is reported and leaves nothing behind; the others go on, and
the exit status is 1. --keep_damaged keeps the frames before the damage and says so, in damaged.txt beside
them.

Exit status: 0 all complete, 1 some failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.parallel import in_parallel
from ops.data.records import read_categories
from ops.data.videofile import EXTENSIONS
from ops.errors import InputError, reported
from ops.files import write_text
from tools.options import add_frame_format, add_jobs, common_faults, documented_parser
from tools.video_frames import FrameFormat, Outcome, extract, finished, partial_folder

SETTINGS_FILE = "extraction.json"
CLASS_FILE = "category.txt"
TEMPLATE = re.compile(r"(?!\.)[^/{}]*\{0?(:0?\d*d)?\}[^/{}]*\.jpe?g", re.IGNORECASE)
FITS_A_LINE = re.compile(r"(?![\s#])[^\r\n\ud800-\udfff]+(?<!\s)")  # neither comment nor stripped nor unwritable


@dataclass(frozen=True)
class Job:
    """One video and the folder that its frames go to."""

    video: Path
    folder: Path
    name: str  # the folder relative to --frames, with forward slashes
    category: str  # empty: the video lies beside class folders


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, extract; the exit status."""
    args = parse(argv)
    try:
        return run(args)
    except OSError as fault:
        raise InputError(f"{fault}. Finished folders are kept; the same command continues") from fault


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Raises one InputError that names every wrong option."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="DIR", help="folder of videos, or one video")
    add("--frames", type=Path, required=True, metavar="DIR", help="where the folders of frames go")
    add_frame_format(parser)
    add("--template", default="{:05d}.jpg", help="name of a frame, counted from 1 ({:05d}.jpg)")
    add("--list", type=Path, metavar="FILE", help="write the list file for training here")
    add("--classes", type=Path, metavar="FILE", help="the order of the classes, one name a line")
    add("--keep_damaged", action="store_true", help="keep the frames before the damage of a damaged video")
    add("--overwrite", action="store_true", help="make the folders of these videos anew")
    add_jobs(parser)
    args = parser.parse_args(argv)

    faults = common_faults(args)
    if not TEMPLATE.fullmatch(args.template):
        faults.append(f"--template {args.template!r}: a JPEG file name with one number in it, as {{:05d}}.jpg")
    if args.list and (args.list.is_dir() or args.list.name == CLASS_FILE):
        faults.append(f"--list {args.list}: a folder, or the name of the class file; give another file name")
    if args.classes and not args.list:
        faults.append("--classes: only numbers the classes of a --list; give one")
    if faults:
        raise InputError("; ".join(faults))
    return args


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status."""
    # Resolved, so that the same videos given another way are the same; the name of a single file stays.
    source = args.videos.parent.resolve() / args.videos.name if args.videos.is_file() else args.videos.resolve()
    root = source.parent if source.is_file() else source
    jobs = plan_jobs(find_videos(source), root, args.frames)
    labels = number_classes(jobs, args.classes, args.list) if args.list else {}
    frame_format = FrameFormat(args.short_side, args.quality, args.template)
    outcomes = extract_jobs(jobs, args.frames, root, frame_format, args.jobs, args.keep_damaged, args.overwrite)
    if args.list:
        write_list(args.list, outcomes, labels, with_classes=args.classes is None)
    report(outcomes)
    return 1 if any(outcome.error for outcome in outcomes.values()) else 0


def extract_jobs(
    jobs: Sequence[Job],
    frames: Path,
    root: Path,
    frame_format: FrameFormat,
    processes: int,
    keep_damaged: bool = False,
    overwrite: bool = False,
) -> dict[Job, Outcome]:
    """Makes the folders of frames, all below `frames`, that are not there yet; every job's outcome.

    Raises InputError where what is there was made otherwise, or from other videos than those below `root`.
    """
    prepare_output(frames, {"videos": str(root), **asdict(frame_format)}, jobs, overwrite)
    outcomes = {job: done for job in jobs if (done := finished(job.folder, frame_format, keep_damaged))}
    if outcomes:
        print(f"{len(outcomes)} of {len(jobs)} videos were done before", file=sys.stderr)
    work = partial(extract_job, frame_format=frame_format, keep_damaged=keep_damaged)
    with closing(in_parallel(work, [job for job in jobs if job not in outcomes], processes)) as made:
        for job, outcome in made:
            outcomes[job] = outcome
            if outcome.error or outcome.damage:
                tqdm.write(in_words(job, outcome), file=sys.stderr)
    return {job: outcomes[job] for job in jobs}


def find_videos(source: Path) -> list[Path]:
    """All videos below the folder `source` (links to folders are followed), sorted; or the one file it names.

    Raises:
        InputError: `source` does not exist, or there is no video in it.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"--videos {source}: no such file or folder")
    found = []
    for name, subfolders, files in os.walk(source, followlinks=True, onerror=_unreadable):
        here = Path(name)
        if here.is_symlink() and here.resolve() in {folder.resolve() for folder in here.parents}:  # a circle
            subfolders.clear()
            continue
        subfolders[:] = [s for s in subfolders if not s.startswith(".")]
        found += [here / f for f in files if not f.startswith(".") and Path(f).suffix.lower() in EXTENSIONS]
    if not found:
        raise InputError(f"--videos {source}: no videos found in it ({', '.join(sorted(EXTENSIONS))})")
    return sorted(found)


def _unreadable(fault: OSError) -> None:
    raise InputError(f"--videos: cannot look into {fault.filename}: {fault.strerror}")


def plan_jobs(videos: Sequence[Path], root: Path, frames: Path) -> list[Job]:
    """One job a video. Raises InputError where two would share a folder, or one lie inside another's."""
    plain = all(video.parent == root for video in videos)
    jobs = []
    for video in videos:
        name = video.relative_to(root).with_suffix("")
        category = video.stem if plain else ("" if video.parent == root else video.parent.name)
        jobs.append(Job(video, frames / name, name.as_posix(), category))
    refuse_shared_folders(jobs)
    return jobs


def refuse_shared_folders(jobs: Sequence[Job]) -> None:
    """Raises InputError where two videos would share a folder of frames, or one lie inside another's."""
    clashes = []
    owner: dict[Path, Path] = {}
    for job in jobs:
        if job.folder in owner:
            clashes.append(f"{owner[job.folder]} and {job.video} would share {job.folder}")
        owner[job.folder] = job.video
    for job in jobs:
        outer = [owner[folder] for folder in job.folder.parents if folder in owner]
        clashes += [f"{job.video} would lie inside the frames of {video}" for video in outer]
    if clashes:
        raise InputError("rename one video of each pair:\n  " + "\n  ".join(clashes))


def number_classes(jobs: Sequence[Job], classes: Path | None, list_file: Path) -> dict[str, int]:
    """Class name → label, in the order of the file `classes`, or sorted.

    Raises:
        InputError: some videos lie in class folders and some do not; `classes` is missing or faulty, or lacks
            a class; `category.txt` beside the list already says something else; a path fits in no line.
    """
    if without := [job.video for job in jobs if not job.category]:
        raise InputError(
            f"--list needs every video in a class folder, or none: {without[0]} lies in none "
            f"({len(without)} of {len(jobs)} such)"
        )
    if unfit := [j.video for j in jobs if not (FITS_A_LINE.fullmatch(j.name) and FITS_A_LINE.fullmatch(j.category))]:
        raise InputError(
            f"rename {str(unfit[0])!r}: in a list no path can hold a line break, begin with #, begin or end with "
            "a space, or be anything but UTF-8"
        )
    found = sorted({job.category for job in jobs})
    beside = list_file.parent / CLASS_FILE
    if classes is None and beside.exists() and read_categories(beside) != found:
        raise InputError(
            f"{beside} lists other classes than the {len(found)} found; to number by it give "
            f"--classes {beside}, to number anew remove it"
        )
    numbers = {name: label for label, name in enumerate(read_categories(classes) if classes else found)}
    if unknown := [job for job in jobs if job.category not in numbers]:
        raise InputError(f"--classes {classes}: no line {unknown[0].category!r}, the class of {unknown[0].video}")
    return numbers


def prepare_output(frames: Path, wanted: dict[str, Any], jobs: Sequence[Job], overwrite: bool) -> None:
    """Check that earlier work in `frames` fits, remove an interrupted run's leftovers, note the settings.

    With `overwrite` the settings file goes first, then the folders of these videos, so that an interruption
    at any point leaves nothing that could be mistaken for finished work.

    Raises:
        InputError: other settings made what is there, or an unknown program did.
    """
    file = frames / SETTINGS_FILE
    present = read_settings(file)
    different = [f"{k} {present.get(k)!r}, not {v!r}" for k, v in wanted.items() if present and present.get(k) != v]
    if overwrite and different:
        ours = {job.folder for job in jobs}
        others = (p.parent for p in frames.rglob("*.jp*g") if p.parent not in ours and p.parent.name[0] != ".")
        if kept := next(others, None):
            raise InputError(
                f"--overwrite with other settings: {kept} belongs to a video that is not in --videos and "
                "would no longer match. Give another folder for --frames, or remove it"
            )
    elif different:
        raise InputError(
            f"--frames {frames}: made with other settings ({'; '.join(different)}). Give another folder, "
            f"or --overwrite to make it anew. If the videos only moved, correct {SETTINGS_FILE}"
        )
    elif not (overwrite or present) and (foreign := next((j.folder for j in jobs if j.folder.exists()), None)):
        raise InputError(
            f"--frames {frames}: {foreign} exists, but no {SETTINGS_FILE} says how it was made. Give "
            "another folder, or --overwrite to replace it"
        )
    if overwrite:
        file.unlink(missing_ok=True)
    for job in jobs:
        shutil.rmtree(partial_folder(job.folder), ignore_errors=True)
        if overwrite and job.folder.is_dir():
            shutil.rmtree(job.folder)
    if overwrite or not present:
        write_text(file, json.dumps({**wanted, "made_with": f"PyAV {av.__version__}"}, indent=2) + "\n")


def read_settings(file: Path) -> dict[str, Any]:
    """The settings an earlier run wrote; empty if there was none."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as fault:
        raise InputError(f"{file} is unreadable ({fault}): remove it and the frames") from None


def extract_job(job: Job, frame_format: FrameFormat, keep_damaged: bool) -> Outcome:
    return extract(job.video, job.folder, frame_format, keep_damaged)


def write_list(path: Path, outcomes: dict[Job, Outcome], labels: dict[str, int], with_classes: bool) -> None:
    """Write `path frames label` for every complete folder, and category.txt beside it if asked."""
    lines = [f"{job.name} {done.frames} {labels[job.category]}" for job, done in outcomes.items() if not done.error]
    if not lines:
        print(f"{path} not written: no video is complete", file=sys.stderr)
        return
    if with_classes:
        write_text(path.parent / CLASS_FILE, "".join(f"{name}\n" for name in labels))
    write_text(path, "".join(f"{line}\n" for line in lines))
    print(f"{path}: {len(lines)} of {len(outcomes)} videos, {len(labels)} classes", file=sys.stderr)


def report(outcomes: dict[Job, Outcome]) -> None:
    """Say how many videos are complete and which are not."""
    frames, good = sum(o.frames for o in outcomes.values()), sum(not o.error for o in outcomes.values())
    print(f"{good} of {len(outcomes)} videos complete, {frames} frames", file=sys.stderr)
    for heading, kind in (("kept up to the damage", "damage"), ("failed", "error")):
        if chosen := [in_words(job, outcome) for job, outcome in outcomes.items() if getattr(outcome, kind)]:
            print(f"{heading}: {len(chosen)}", *chosen, sep="\n  ", file=sys.stderr)


def in_words(job: Job, outcome: Outcome) -> str:
    """What went wrong with a video."""
    return f"{job.video}: " + (outcome.error or f"kept {outcome.frames} frames; {outcome.damage}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's preemption: tidy up as for Ctrl-C
    with reported():
        sys.exit(main())
