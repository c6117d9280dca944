"""Optical flow of videos or of their frames, for the modality Flow.

    python tools/extract_flow.py something                     a data set: its frames/ to its flow/, with lists
    python tools/extract_flow.py --frames frames/ --flow flow/  folders of frames
    python tools/extract_flow.py --videos videos/ --flow flow/  videos

What is written. Flow k leads from frame k to frame k + 1, so that n frames have n - 1. Of each the motion to the
right (x) and downwards (y), in pixels, is cut off at --bound and stored as grey values: -bound is 0, no motion is
128, +bound is 255. --form pairs: flow_x_00001.jpg and flow_y_00001.jpg; packed: 00001.jpg with x in the red and y
in the green channel. For a data set, train_videofolder_flow.txt and val_videofolder_flow.txt are written beside
its lists (of a test list too), with the numbers of flow frames.

How. --method tvl1 is what published networks were trained on (Zach, Pock, Bischof 2007; OpenCV with its contrib
modules); dis (Kroeger et al. 2016) is many times faster and coarser. Frames are scaled down to --short_side first.

Interruption and damage. A folder is filled under the name .<name>.partial and renamed when complete; the same
command again continues. flow.json keeps the settings and the folder of the videos or frames; others are refused in the
same place. Where another file has taken the place of a video or of its first frame, the flow is made anew. A video
that cannot be read, or has one frame only, is reported and leaves nothing behind; the others go on, and the exit
status is 1. What is no video, or no frame, is counted. One extraction at a time works in a folder; another is refused.

Exit status: 0 all complete, 1 some failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.catalog import CATALOG, DESCRIPTION, TEMPLATE, DataSource, resolve, unknown
from ops.data.clips import NO_FLOW_BACKWARDS
from ops.data.decode import decode_group
from ops.data.frame_names import FLOW_PREFIXES
from ops.data.parallel import in_parallel, stop_if_told
from ops.data.passed_over import PassedOver
from ops.data.records import Records
from ops.data.storages import listed, open_storage
from ops.data.videofile import DamageError
from ops.errors import InputError, did_you_mean, explained, reported
from ops.files import check_writable, stays_below, write_text
from ops.locks import claimed
from ops.optional import MissingError
from tools.options import add_frame_format, add_jobs, add_root, common_faults, documented_parser
from tools.vid2img import name_fault, numbered, plan_jobs, read_settings
from tools.video_folders import find_videos
from tools.video_frames import (
    DISK_FAULTS,
    Outcome,
    made_of,
    partial_folder,
    put_in_place,
    scale_down,
    source_note,
    upright_frames,
)

METHODS, FORMS = ("tvl1", "dis"), ("pairs", "packed")
SETTINGS_FILE = "flow.json"
INSTALL = "pip install opencv-contrib-python-headless"

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]  # two grey frames (H, W) to motion (H, W, 2), in pixels


@dataclass(frozen=True)
class Settings:
    """What decides how the flow looks."""

    method: str
    bound: float
    form: str
    short_side: int
    quality: int


@dataclass(frozen=True)
class Job:
    """A video, or a folder of `frames` frames, and the folder that its flow goes to.

    template: a frame's file name from its number, which is `first` for the first.
    """

    source: Path
    folder: Path
    frames: int = 0  # 0: a video
    template: str = TEMPLATE
    first: int = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, extract; the exit status."""
    args = parse(argv)
    settings = Settings(args.method, args.bound, args.form, args.short_side, args.quality)
    optical_flow(settings.method)  # now, and not in every process, say what is missing
    with explained("Finished folders are kept; the same command continues"):
        if args.dataset:
            return of_data_set(args, settings)
        above = args.videos.parent if args.videos and args.videos.is_file() else args.videos or args.frames
        with claimed(args.flow):
            jobs = jobs_of_videos(args) if args.videos else jobs_of_frames(args)
            return finish(run(jobs, args.flow, settings, args.jobs, above.resolve()))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Raises one InputError that names every wrong option."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("dataset", nargs="?", help=f"a data set: {', '.join(CATALOG)}")
    add_root(parser)
    add("--videos", type=Path, metavar="DIR", help="folder of videos, or one video")
    add("--frames", type=Path, metavar="DIR", help="folder of folders of frames")
    add("--flow", type=Path, metavar="DIR", help="where the folders of flow go (a data set has its own)")
    add("--method", default="tvl1", help="tvl1 or dis (tvl1)")
    add("--form", default="pairs", help="pairs or packed (pairs)")
    add("--bound", type=float, default=20.0, metavar="PIXELS", help="the largest motion (20)")
    add_frame_format(parser)
    add_jobs(parser)
    args = parser.parse_args(argv)

    faults = [
        f"--{name} {value}: expected one of {', '.join(known)}{did_you_mean(value, known)}"
        for name, value, known in (("method", args.method, METHODS), ("form", args.form, FORMS))
        if value not in known
    ]
    if args.dataset and (fault := unknown(args.dataset, args.root_dataset)):
        faults.append(fault)
    if sum(map(bool, (args.dataset, args.videos, args.frames))) != 1:
        faults.append("give one of: a data set's name, --videos DIR, --frames DIR")
    if not (args.flow or args.dataset):
        faults.append("--flow DIR says where the flow of --videos or --frames goes")
    if not 0 < args.bound < float("inf"):
        faults.append(f"--bound {args.bound}: expected pixels, above 0")
    faults += common_faults(args)
    if faults:
        raise InputError("; ".join(faults))
    return args


def of_data_set(args: argparse.Namespace, settings: Settings) -> int:
    """The flow of a data set's frames, and the lists of it."""
    data = resolve(args.dataset, args.root_dataset, storage="frames")
    target = resolve(args.dataset, args.root_dataset, modality="Flow", storage="frames")
    own = target.root.is_relative_to(target.folder) and stays_below(str(target.root.relative_to(target.folder)))
    if (args.flow or target.root) != target.root or not (own or args.flow):  # where a stranger's file says, never
        raise InputError(
            f"--flow: the flow of {args.dataset} goes to {target.root}; leave the flag out, or where this is not in "
            "the data set's folder, give it to say that it may be written there"
        )
    pairs = {target.train_list: data.train_list, target.val_list: data.val_list, target.test_list: data.test_list}
    there = {ours: theirs for ours, theirs in pairs.items() if theirs == data.train_list or theirs.is_file()}
    storage = open_storage(data)
    lists = {
        ours: listed(data, storage, theirs, unlabelled_too=theirs != data.train_list) for ours, theirs in there.items()
    }
    if turned := next((record.name for records in lists.values() for record in records if record.backwards), ""):
        raise InputError(f"{turned} of the lists: {NO_FLOW_BACKWARDS}")
    frames = {record.path: record.num_frames for records in lists.values() for record in records}
    if (target.template, target.first) != (TEMPLATE, 1):
        raise InputError(f"{data.folder / DESCRIPTION}: flow_template and flow_first are for flow from elsewhere")
    naming = data.template, data.first
    if outside := next((path for path in frames if not stays_below(path)), None):
        raise InputError(f"{outside!r} of the lists: no path below {data.root}, where flow would lie in the same place")
    jobs = [Job(data.root / path, target.root / path, count, *naming) for path, count in frames.items()]
    check_writable(lists)
    with claimed(target.root):
        outcomes = run(jobs, target.root, settings, args.jobs)
    for path, records in lists.items():
        write_list(path, records, target, outcomes)
    return finish(outcomes)


def write_list(path: Path, records: Records, target: DataSource, outcomes: dict[Job, Outcome]) -> None:
    """`path flows label` of the videos that are complete."""
    made = {job.folder: outcome.frames for job, outcome in outcomes.items()}
    counted = [(record, made[target.root / record.path]) for record in records]
    lines = [f"{record.path} {count} {record.label}\n" for record, count in counted if count]
    if lines:
        write_text(path, "".join(lines))
    else:  # an empty list would be an error wherever it is read
        path.unlink(missing_ok=True)
    print(f"{path}: {sum(count > 0 for _, count in counted)} of {len(records)} videos", file=sys.stderr)


def jobs_of_videos(args: argparse.Namespace) -> list[Job]:
    """One for each video below --videos."""
    root = args.videos.parent if args.videos.is_file() else args.videos
    passed_over = PassedOver()
    planned = plan_jobs(find_videos(args.videos, passed_over), root, args.flow)
    if passed_over.counts:
        print(passed_over.in_words(), file=sys.stderr)
    return [Job(job.video, job.folder) for job in planned]


def jobs_of_frames(args: argparse.Namespace) -> list[Job]:
    """One for each folder below --frames that has frames in it, numbered from 1."""
    if not args.frames.is_dir():
        raise InputError(f"--frames {args.frames}: no such folder")
    jobs, without, others = [], [], Counter[str]()
    first, is_frame = TEMPLATE.format(1), numbered(TEMPLATE).fullmatch
    for name, subfolders, files in os.walk(args.frames):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        folder = Path(name).relative_to(args.frames)
        frames = [file for file in files if is_frame(file)] if first in files else []
        others.update(Path(file).suffix.lower() or "without ending" for file in sorted(set(files) - set(frames)))
        if frames:
            jobs.append(Job(Path(name), args.flow / folder, len(frames)))
        elif files:
            without.append(folder.as_posix())
    passed_over = [f"{len(without)} folders without a {first}, such as {without[0]}"] if without else []
    passed_over += [f"{count} {ending}" for ending, count in others.most_common()]
    if not jobs:
        there = ", ".join(passed_over) or "it is empty"
        raise InputError(f"--frames {args.frames}: no folder with a {first} in it ({there})")
    if passed_over:
        print(f"passed over: {', '.join(passed_over)}", file=sys.stderr)
    return jobs


def run(
    jobs: Sequence[Job], flow: Path, settings: Settings, processes: int, source: Path | None = None
) -> dict[Job, Outcome]:
    """Makes what is not there yet; every job's outcome. `source`: the folder of all, unless they are a data set's."""
    outcomes = {job: Outcome(error=fault) for job in jobs if (fault := name_fault(job.folder, "flow_x_" + TEMPLATE))}
    possible = [job for job in jobs if job not in outcomes]
    note_settings(flow, asdict(settings) | ({"videos": str(source)} if source else {}), possible)
    before = {job: done for job in possible if (done := finished(job, settings))}
    outcomes |= before
    if before:
        print(f"{len(before)} of {len(jobs)} videos were done before", file=sys.stderr)
    left = [job for job in jobs if job not in outcomes]
    with closing(in_parallel(partial(extract, settings=settings), left, processes)) as made:
        for job, outcome in made:
            outcomes[job] = outcome
            if outcome.error:
                tqdm.write(f"{job.source}: {outcome.error}", file=sys.stderr)
    return {job: outcomes[job] for job in jobs}


def note_settings(flow: Path, wanted: dict[str, object], jobs: Sequence[Job]) -> None:
    """Notes how the flow is made. InputError where what is there was made otherwise, or by an unknown program."""
    file = flow / SETTINGS_FILE
    present = read_settings(file)
    different = {key for key in wanted if present and present.get(key, wanted[key]) != wanted[key]}
    if different == {"videos"}:
        raise InputError(
            f"{flow}: made of {present['videos']}, not of {wanted['videos']}: give another --flow, or move that folder "
            f"away (if the same videos only moved, correct {SETTINGS_FILE} in it)"
        )
    if different:
        raise InputError(f"{flow}: made with other settings, {present}: give those, or move the folder away")
    if not present and (foreign := next((job.folder for job in jobs if job.folder.exists()), None)):
        raise InputError(f"{foreign} exists, but no {file} says how it was made: move it away")
    for job in jobs:
        shutil.rmtree(partial_folder(job.folder), ignore_errors=True)
    write_text(file, json.dumps({**present, **wanted}, indent=2) + "\n")


def source_file(job: Job) -> Path:
    """The file that stands for all: the video, or the first frame."""
    return job.source / job.template.format(job.first) if job.frames else job.source


def finished(job: Job, settings: Settings) -> Outcome | None:
    """The outcome of an earlier run, or None if the flow is still to be made, or was made of others than these."""
    prefixes = FLOW_PREFIXES if settings.form == "pairs" else ("",)
    if not (job.folder.is_dir() and made_of(job.folder / f"{prefixes[0]}{TEMPLATE.format(1)}", source_file(job))):
        return None
    names = {path.name for path in job.folder.iterdir()}
    count = len(names) // len(prefixes)
    expected = {prefix + TEMPLATE.format(k) for k in range(1, count + 1) for prefix in prefixes}
    if names != expected or not names or job.frames not in (0, count + 1):
        return Outcome(error=f"{job.folder} does not fit its frames: remove it to make it anew")
    return Outcome(count)


def extract(job: Job, settings: Settings) -> Outcome:
    """The flow of one video: complete under its final name, or not at all."""
    work, motion = partial_folder(job.folder), optical_flow(settings.method)
    count, before = -1, None
    try:
        note = source_note(source_file(job))
        work.mkdir(parents=True)
        for frame in grey_frames(job, settings.short_side):
            stop_if_told()
            count += 1
            if before is not None:
                if before.shape != frame.shape:
                    return Outcome(error=f"frame {count + 1} has another size than the one before")
                save(work, count, motion(before, frame), settings, note * (count == 1))
            before = frame
        if count < 1:
            return Outcome(error="it has one frame only, and so no flow")
        put_in_place(work, job.folder)
        return Outcome(count)
    except (DamageError, OSError, ValueError, RuntimeError, MemoryError) as fault:
        if isinstance(fault, OSError) and fault.errno in DISK_FAULTS:
            raise
        return Outcome(error=str(fault) or type(fault).__name__)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def grey_frames(job: Job, short_side: int) -> Iterator[np.ndarray]:
    """The frames in order, uint8 `(H, W)`."""
    if job.frames:
        numbers = range(job.first, job.first + job.frames)
        files = (job.source / job.template.format(number) for number in numbers)
        images: Iterator[Image.Image] = (
            Image.fromarray(decode_group([file], grey=True)[0, 0].numpy()) for file in files
        )
    else:
        images = (image.convert("L") for image in upright_frames(job.source))
    for image in images:
        yield np.asarray(scale_down(image, short_side))


def optical_flow(method: str) -> Flow:
    """OpenCV's `method`, on one thread, as videos are worked on in parallel. InputError where OpenCV lacks it."""
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError:
        raise MissingError(f"optical flow needs OpenCV: {INSTALL}", ["cv2"]) from None
    cv2.setNumThreads(1)
    if method == "dis":
        algorithm: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    elif hasattr(cv2, "optflow"):
        algorithm = cv2.optflow.DualTVL1OpticalFlow_create()
    else:
        raise InputError(f"--method tvl1 needs OpenCV with its contrib modules: {INSTALL}; or give --method dis")
    return lambda before, after: algorithm.calc(before, after, None)


def save(folder: Path, number: int, motion: np.ndarray, settings: Settings, note: str = "") -> None:
    """Writes one flow `(H, W, 2)` in pixels as grey values, with a comment."""
    look: dict[str, Any] = {"format": "JPEG", "quality": settings.quality, "comment": note}
    levels = np.clip(np.round(127.5 + motion * (127.5 / settings.bound) + 1e-4), 0, 255).astype(np.uint8)
    if settings.form == "pairs":
        for axis, prefix in enumerate(FLOW_PREFIXES):
            file = folder / (prefix + TEMPLATE.format(number))
            Image.fromarray(levels[..., axis]).save(file, **look)
    else:
        packed = np.concatenate((levels, np.full_like(levels[..., :1], 128)), axis=2)
        # Without subsampling of the colours, which are not colours here.
        Image.fromarray(packed).save(folder / TEMPLATE.format(number), subsampling=0, **look)


def finish(outcomes: dict[Job, Outcome]) -> int:
    """Says how many videos are complete; the exit status."""
    failed = [f"{job.source}: {outcome.error}" for job, outcome in outcomes.items() if outcome.error]
    flows = sum(outcome.frames for outcome in outcomes.values())
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} videos complete, {flows} flow frames", file=sys.stderr)
    if failed:
        print(f"failed: {len(failed)}", *failed, sep="\n  ", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's preemption: tidy up as for Ctrl-C
    with reported():
        sys.exit(main())
