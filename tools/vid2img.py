"""Videos to folders of frames, and the list file that training reads.

    python tools/vid2img.py --videos videos/ --frames frames/ --list train.txt

Which frames, where. Videos are found below --videos by extension; what else lies there is counted, with the reason.
videos/archery/v1.mp4 becomes frames/archery/v1/00001.jpg and so on: every decoded frame once, in order and
upright (rotation metadata is applied), scaled down if its short side is over --short_side, as JPEG with
4:2:0 chroma.

Classes. The class of a video is the first folder below --videos, as for tools/prepare_videos.py, which also says
when folders such as train and val are no classes. (A list holds the videos of all such parts; prepare_videos.py
writes one for each.) If none lies in a class folder (all of them directly in --videos, or one video), each is its own
class, named as the file without extension. A mixture is an error. --classes FILE (one name a line) gives the order;
without it the names are sorted and written to category.txt beside the list. A line of the list is "path frames
label": the folder relative to --frames, the number of frames, the class's line number counted from 0. A path may
contain spaces: read a line from its right end.

Interruption. A folder is filled under the name .<name>.partial and renamed when complete: whatever has its
final name is whole. The same command again continues. extraction.json in --frames keeps the settings; other
settings, or other videos, are refused in the same place (videos that only moved are recognised by their frames).
A video whose file another one has taken the place of (a repaired video) is extracted anew: a comment in the first
frame keeps the file's size and a checksum of both ends. One extraction at a time works in --frames; another is refused.

Damage. A video that cannot be read to its end is reported and leaves nothing behind; the others go on, and
the exit status is 1. --keep_damaged keeps the frames before the damage and says so, in damaged.txt beside
them.

Exit status: 0 all complete, 1 some failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import re
import shutil
import signal
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import av
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.decode import FrameError, Pictures, decode_images, read_file
from ops.data.frame_names import FIELD
from ops.data.parallel import in_parallel
from ops.data.passed_over import REASONS, PassedOver, reason
from ops.data.records import read_categories
from ops.data.textfile import read_text
from ops.data.videofile import DamageError, scan
from ops.errors import InputError, explained, reported
from ops.files import check_writable, write_text
from ops.locks import claimed
from tools.options import add_frame_format, add_jobs, common_faults, documented_parser
from tools.video_folders import find_videos, in_short, sort_into_classes
from tools.video_frames import FrameFormat, Outcome, extract, finished, partial_folder, save_frame, upright_frames

SETTINGS_FILE = "extraction.json"
CLASS_FILE = "category.txt"
TEMPLATE = re.compile(rf"(?!\.)[^/{{}}]*{FIELD}[^/{{}}]*\.jpe?g", re.IGNORECASE)
SAMPLED = 16  # videos of which is looked whether what was made before is theirs
ALIKE = 1.0  # grey levels, on the average
FITS_A_LINE = re.compile(r"(?![\s#])[^\r\n\ud800-\udfff]+(?<!\s)")  # neither comment nor stripped nor unwritable

Item = TypeVar("Item")


@dataclass(frozen=True)
class Job:
    """One video and the folder that its frames go to."""

    video: Path
    folder: Path
    name: str  # the folder relative to --frames, with forward slashes


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, extract; the exit status."""
    args = parse(argv)
    with explained("Finished folders are kept; the same command continues"), claimed(args.frames):
        check_writable([args.list] if args.list else [])
        return run(args)


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
    passed_over = PassedOver()
    jobs = plan_jobs(find_videos(source, passed_over), root, args.frames)
    labels, names = number_classes(jobs, root, args.classes, args.list) if args.list else ({}, [])
    frame_format = FrameFormat(args.short_side, args.quality, args.template)
    remedy = "Give another folder for --frames, or --overwrite to make it anew"
    outcomes = extract_jobs(
        jobs,
        args.frames,
        root,
        frame_format,
        args.jobs,
        remedy,
        keep_damaged=args.keep_damaged,
        overwrite=args.overwrite,
    )
    if args.list:
        write_list(args.list, outcomes, labels, names, with_classes=args.classes is None)
    report(outcomes)
    if passed_over.counts:
        print(passed_over.in_words(), file=sys.stderr)
    return 1 if any(outcome.error for outcome in outcomes.values()) else 0


def extract_jobs(
    jobs: Sequence[Job],
    frames: Path,
    root: Path,
    frame_format: FrameFormat,
    processes: int,
    remedy: str,
    *,
    keep_damaged: bool = False,
    overwrite: bool = False,
) -> dict[Job, Outcome]:
    """Makes the folders of frames, all below `frames`, that are not there yet; every job's outcome.

    Raises InputError where what is there was made otherwise, or from other videos than those below `root`; `remedy`
    says what the calling program offers then.
    """
    outcomes = {job: Outcome(error=fault) for job in jobs if (fault := name_fault(job.folder, frame_format.template))}
    possible = [job for job in jobs if job not in outcomes]
    prepare_output(frames, root, frame_format, possible, remedy, overwrite)
    before = {job: done for job in possible if (done := finished(job.video, job.folder, frame_format, keep_damaged))}
    outcomes |= before
    if before:
        print(f"{len(before)} of {len(jobs)} videos were done before", file=sys.stderr)
    if replaced := [job for job in possible if job not in before and job.folder.is_dir()]:
        print(f"{len(replaced)} videos are other files than before, as {replaced[0].video}", file=sys.stderr)
    work = partial(extract_job, frame_format=frame_format, keep_damaged=keep_damaged)
    with closing(in_parallel(work, [job for job in jobs if job not in outcomes], processes)) as made:
        for job, outcome in made:
            outcomes[job] = outcome
            if outcome.error or outcome.damage:
                tqdm.write(in_words(job, outcome), file=sys.stderr)
    return {job: outcomes[job] for job in jobs}


def plan_jobs(videos: Sequence[Path], root: Path, frames: Path) -> list[Job]:
    """One job a video. Raises InputError where two would share a folder, or one lie inside another's."""
    names = [video.relative_to(root).with_suffix("") for video in videos]
    jobs = [Job(video, frames / name, name.as_posix()) for video, name in zip(videos, names, strict=True)]
    refuse_shared_folders(jobs)
    return jobs


def refuse_shared_folders(jobs: Sequence[Job]) -> None:
    """Raises InputError where two videos would share a folder of frames, or one lie inside another's.

    So would two whose names differ in their Unicode normal form alone, on other disks, and in a list to the eye.
    """
    clashes = []
    owner: dict[str, Job] = {}
    for job in jobs:
        name = unicodedata.normalize("NFC", job.name)
        if other := owner.get(name):
            alike = " (the names differ in how their letters are encoded alone)" * (other.name != job.name)
            clashes.append(f"{other.video} and {job.video} would share {job.folder}{alike}")
        owner[name] = job
    for name, job in owner.items():
        outer = [owner[folder] for folder in map(str, PurePosixPath(name).parents) if folder in owner]
        clashes += [f"{job.video} would lie inside the frames of {other.video}" for other in outer]
    if clashes:
        raise InputError("rename one video of each pair:\n  " + "\n  ".join(clashes))


def name_fault(folder: Path, template: str) -> str:
    """Why the file system can hold no such folder of frames; empty if it can."""
    file = folder / template.format(1)
    there = next(parent for parent in file.parents if os.path.isdir(parent))  # noqa: PTH112 (which never raises)
    for path in (file, *(there / name for name in file.relative_to(there).parts)):
        try:
            path.lstat()
        except OSError as fault:
            if fault.errno == errno.ENAMETOOLONG:
                return f"its name is too long for the file system of {there}: rename it"
    return ""


def number_classes(
    jobs: Sequence[Job], root: Path, classes: Path | None, list_file: Path
) -> tuple[dict[Job, int], list[str]]:
    """Every video's label, and the class names, in the order of the file `classes`, or sorted.

    Raises:
        InputError: some videos lie in class folders and some do not; `classes` is missing or faulty, or lacks
            a class; `category.txt` beside the list already says something else; a path fits in no line.
    """
    class_of = classes_of(jobs, root)
    if unfit := [j.video for j in jobs if not (FITS_A_LINE.fullmatch(j.name) and FITS_A_LINE.fullmatch(class_of[j]))]:
        raise InputError(
            f"rename {str(unfit[0])!r}: in a list no path can hold a line break, begin with #, begin or end with "
            "a space, or be anything but UTF-8"
        )
    found = sorted(set(class_of.values()))
    beside = list_file.parent / CLASS_FILE
    if classes is None and beside.exists() and read_categories(beside) != found:
        raise InputError(
            f"{beside} lists other classes than the {len(found)} found; to number by it give "
            f"--classes {beside}, to number anew remove it"
        )
    names = read_categories(classes) if classes else found
    number = {name: label for label, name in enumerate(names)}
    if unknown := [job for job in jobs if class_of[job] not in number]:
        job = unknown[0]
        raise InputError(
            f"--classes {classes}: no line {class_of[job]!r}, the class of {job.video}: add it, at the end"
        )
    return {job: number[class_of[job]] for job in jobs}, names


def classes_of(jobs: Sequence[Job], root: Path) -> dict[Job, str]:
    """Every video's class, by its folder; its own name where all lie in `root` itself. Says what is taken for what."""
    paths = [job.video.relative_to(root).as_posix() for job in jobs]
    if not any("/" in path for path in paths):
        return {job: unicodedata.normalize("NFC", job.video.stem) for job in jobs}
    layout = sort_into_classes(root, paths)
    for line in layout.notes:
        print(f"note: {line}", file=sys.stderr)
    return dict(zip(jobs, layout.labels, strict=True))


def prepare_output(
    frames: Path, root: Path, frame_format: FrameFormat, jobs: Sequence[Job], remedy: str, overwrite: bool
) -> None:
    """Check that earlier work in `frames` fits, remove an interrupted run's leftovers, note the settings.

    With `overwrite` the settings file goes first, then the folders of these videos, so that an interruption
    at any point leaves nothing that could be mistaken for finished work.

    Raises:
        InputError: other settings or other videos made what is there, or an unknown program did.
    """
    file = frames / SETTINGS_FILE
    present, wanted = read_settings(file), {"videos": str(root), **asdict(frame_format)}
    different = {key for key, value in wanted.items() if present and present.get(key) != value}
    if overwrite and different:
        refuse_to_mix(frames, jobs)
    elif different == {"videos"} and not (fault := other_videos(frames, jobs, frame_format)):
        print(f"{frames}: its videos are in {root} now (they were in {present['videos']})", file=sys.stderr)
        write_text(file, json.dumps({**present, "videos": str(root)}, indent=2) + "\n")
    elif different == {"videos"}:
        raise InputError(
            f"{frames}: made of the videos in {present.get('videos')}; those in {root} are others: {fault}. {remedy}"
        )
    elif different:
        said = "; ".join(f"{key} {present.get(key)!r}, not {wanted[key]!r}" for key in wanted if key in different)
        raise InputError(f"{frames}: made with other settings ({said}). {remedy}")
    elif not (overwrite or present) and (foreign := next((j.folder for j in jobs if j.folder.exists()), None)):
        raise InputError(f"{frames}: {foreign} exists, but no {SETTINGS_FILE} says how it was made. {remedy}")
    if overwrite:
        file.unlink(missing_ok=True)
    for job in jobs:
        shutil.rmtree(partial_folder(job.folder), ignore_errors=True)
        if overwrite and job.folder.is_dir():
            shutil.rmtree(job.folder)
    if overwrite or not present:
        made_with = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
        write_text(file, json.dumps({**wanted, "made_with": made_with}, indent=2) + "\n")


def refuse_to_mix(frames: Path, jobs: Sequence[Job]) -> None:
    """Raises InputError for frames of other videos than these, which no longer match what is made anew beside them."""
    ours = {job.folder for job in jobs}
    others = (p.parent for p in frames.rglob("*.jp*g") if p.parent not in ours and p.parent.name[0] != ".")
    if kept := next(others, None):
        raise InputError(
            f"--overwrite with other settings: {kept} belongs to a video that is not in --videos and "
            "would no longer match. Give another folder for --frames, or remove it"
        )


def other_videos(frames: Path, jobs: Sequence[Job], frame_format: FrameFormat) -> str:
    """By what folders of frames are seen to be made of other videos than these; empty if they are not."""
    done = [job for job in jobs if job.folder.is_dir()]
    if not done and next(frames.rglob("*.jp*g"), None):
        return "none of them has frames there"
    different = (job for job in spread(done, SAMPLED) if not shows(job, frame_format))
    return f"{job.folder} does not show {job.video}" if (job := next(different, None)) else ""


def shows(job: Job, frame_format: FrameFormat) -> bool:
    """Whether a folder of frames is a video's: as many of them, and the first as extraction makes it."""
    done = finished(job.video, job.folder, frame_format, keep_damaged=True)
    if done is None:
        return False
    if done.error:
        return True  # that is another fault, of which is said what it is
    anew = io.BytesIO()
    try:
        save_frame(next(upright_frames(job.video)), anew, frame_format)
        same = alike(anew.getvalue(), read_file(job.folder / frame_format.template.format(1)))
        return same and (bool(done.damage) or scan(job.video).num_frames == done.frames)
    except (DamageError, FrameError, OSError):
        return False


def alike(*files: bytes) -> bool:
    """Whether two JPEG files are one picture, but for what another version of a decoder or encoder changes."""
    first, second = (decode_images(Pictures(["picture"], [file]))[0].float() for file in files)  # (3, H, W)
    return first.shape == second.shape and bool((first - second).abs().mean() < ALIKE)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, spread over all."""
    return list(items[:: max(1, len(items) // most)][:most])


def numbered(template: str) -> re.Pattern[str]:
    """Matches the names that a template, which TEMPLATE matches, gives to frames."""
    before, after = re.split(r"\{[^}]*\}", template)
    return re.compile(rf"{re.escape(before)}\d+{re.escape(after)}")


def read_settings(file: Path) -> dict[str, Any]:
    """The settings an earlier run wrote; empty if there was none."""
    try:
        return dict(json.loads(read_text(file, "settings file"))) if os.path.lexists(file) else {}
    except (ValueError, TypeError, RecursionError) as fault:
        raise InputError(f"{file} is unreadable ({fault}): move its folder away, to make all in it anew") from None


def extract_job(job: Job, frame_format: FrameFormat, keep_damaged: bool) -> Outcome:
    return extract(job.video, job.folder, frame_format, keep_damaged)


def write_list(
    path: Path, outcomes: dict[Job, Outcome], labels: dict[Job, int], names: Sequence[str], with_classes: bool
) -> None:
    """Write `path frames label` for every complete folder, and category.txt beside it if asked."""
    lines = [f"{job.name} {done.frames} {labels[job]}" for job, done in outcomes.items() if not done.error]
    if not lines:
        print(f"{path} not written: no video is complete", file=sys.stderr)
        return
    if with_classes:
        write_text(path.parent / CLASS_FILE, "".join(f"{name}\n" for name in names))
    write_text(path, "".join(f"{line}\n" for line in lines))
    print(f"{path}: {len(lines)} of {len(outcomes)} videos, {in_short(names)}", file=sys.stderr)


def report(outcomes: dict[Job, Outcome]) -> None:
    """Say how many videos are complete and which are not."""
    frames, good = sum(o.frames for o in outcomes.values()), sum(not o.error for o in outcomes.values())
    print(f"{good} of {len(outcomes)} videos complete, {frames} frames", file=sys.stderr)
    for heading, kind in (("kept up to the damage", "damage"), ("failed", "error")):
        if chosen := [in_words(job, outcome) for job, outcome in outcomes.items() if getattr(outcome, kind)]:
            print(f"{heading}: {len(chosen)}", *chosen, sep="\n  ", file=sys.stderr)


def in_words(job: Job, outcome: Outcome) -> str:
    """What went wrong with a video."""
    return f"{job.video}: " + (
        with_reason(job.video.name, outcome.error) or f"kept {outcome.frames} frames; {outcome.damage}"
    )


def with_reason(name: str, error: str) -> str:
    """Why a video cannot be read, and what can be done where its ending is no video's (a CSV may name such a file)."""
    ending = Path(name).suffix.lower()
    return f"{error} ({reason(ending)})" if error and ending in REASONS else error


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's preemption: tidy up as for Ctrl-C
    with reported():
        sys.exit(main())
