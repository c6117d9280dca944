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
import contextlib
import errno
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import av
import PIL
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ops.errors import InputError

EXTENSIONS = frozenset(
    {
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
    }
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
SETTINGS_FILE = "extraction.json"
DAMAGE_NOTE = "damaged.txt"
UPRIGHT = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # the disk's fault, not the video's: no use going on
WAITING_A_WORKER = 4  # videos handed out ahead of time; a data set has up to millions


@dataclass(frozen=True)
class Settings:
    """What decides how a frame folder looks. Kept in ``extraction.json``."""

    videos: str  # the resolved folder that the relative paths start from
    short_side: int  # pixels; 0 keeps the video's size
    quality: int
    template: str
    subsampling: str = "4:2:0"
    resampling: str = "bicubic"


@dataclass(frozen=True)
class Job:
    """One video and the folder that its frames go to."""

    video: Path
    folder: Path
    name: str  # the folder relative to --frames, with forward slashes
    category: str


@dataclass(frozen=True)
class Outcome:
    """What became of a video: frames > 0 for a complete folder, else `error` says why there is none."""

    frames: int = 0
    error: str = ""
    damage: str = ""  # with frames > 0: why they end early (--keep_damaged)
    fatal: bool = False


class StopFlag(Protocol):
    """Anything whose `is_set()` tells an extraction to stop: an Event of threads or of processes."""

    def is_set(self) -> bool: ...


class StoppedError(Exception):
    """The run was interrupted; the folder at hand is removed."""


# ----------------------------------------------------------------------------------------------------------
# What there is to do
# ----------------------------------------------------------------------------------------------------------


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
        links = [s for s in subfolders if (here / s).is_symlink()]
        above = {folder.resolve() for folder in (here, *here.parents)} if links else set()
        circles = {s for s in links if (here / s).resolve() in above}
        subfolders[:] = [s for s in subfolders if not s.startswith(".") and s not in circles]
        found += [here / f for f in files if not f.startswith(".") and Path(f).suffix.lower() in EXTENSIONS]
    if not found:
        raise InputError(f"--videos {source}: no videos found in it ({', '.join(sorted(EXTENSIONS))})")
    return sorted(found)


def _unreadable(fault: OSError) -> None:
    raise InputError(f"--videos: cannot look into {fault.filename}: {fault.strerror}")


def plan_jobs(videos: Sequence[Path], source: Path, frames: Path) -> list[Job]:
    """One job a video. Raises InputError where two would share a folder, or one lie inside another's."""
    root = source.parent if source.is_file() else source
    plain = all(video.parent == root for video in videos)
    jobs = []
    for video in videos:
        relative = video.relative_to(root).with_suffix("")
        category = video.stem if plain else ("" if video.parent == root else video.parent.name)
        jobs.append(Job(video, frames / relative, relative.as_posix(), category))

    problems = []
    taken: dict[str, Path] = {SETTINGS_FILE: frames / SETTINGS_FILE}
    for job in jobs:
        if job.name in taken:
            problems.append(f"{taken[job.name]} and {job.video} would both be {job.folder}")
        taken[job.name] = job.video
    for job in jobs:
        for parent in PurePosixPath(job.name).parents:
            if str(parent) in taken:
                problems.append(f"{job.video} would lie inside the frames of {taken[str(parent)]}: {job.folder}")
    if problems:
        raise InputError("rename one video of each pair:\n  " + "\n  ".join(problems))
    return jobs


def number_classes(jobs: Sequence[Job], classes: Path | None, list_file: Path) -> dict[str, int]:
    """Class name → label, in the order of the file `classes`, or sorted.

    Raises:
        InputError: some videos lie in class folders and some do not; `classes` is missing or faulty, or lacks
            a class; `category.txt` beside the list already says something else; a path fits in no line.
    """
    without = [job.video for job in jobs if not job.category]
    if without:
        raise InputError(
            f"--list needs every video in a class folder, or none: {without[0]} lies in none "
            f"({len(without)} of {len(jobs)} such)"
        )
    faulty = next((job for job in jobs if not _fits_a_line(job.name)), None)
    if faulty:
        raise InputError(
            f"rename {str(faulty.video)!r}: in a list no path can hold a line break, begin or end with a space, "
            "or be anything but UTF-8"
        )
    if classes is None:
        names = sorted({job.category for job in jobs})
        beside = list_file.parent / "category.txt"
        if beside.exists() and read_classes(beside) != names:
            raise InputError(
                f"{beside} lists other classes than the {len(names)} found; to number by it give "
                f"--classes {beside}, to number anew remove it"
            )
    else:
        names = read_classes(classes)
    numbers = {name: label for label, name in enumerate(names)}
    unknown = next((job for job in jobs if job.category not in numbers), None)
    if unknown:
        raise InputError(f"--classes {classes}: no line {unknown.category!r}, the class of {unknown.video}")
    return numbers


def _fits_a_line(name: str) -> bool:
    return name == name.strip() and not any(c in "\r\n" or "\ud800" <= c <= "\udfff" for c in name)


def read_classes(path: Path) -> list[str]:
    """The names in a class file, one a line. Raises InputError: no such file, an empty or a repeated line."""
    try:
        names = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"--classes {path}: {fault}") from None
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise InputError(f"{path}, line {number}: empty; every line is a class name")
        if name in seen:
            raise InputError(f"{path}, line {number}: class {name!r} is in line {seen[name]} already")
        seen[name] = number
    return names


# ----------------------------------------------------------------------------------------------------------
# The output folder
# ----------------------------------------------------------------------------------------------------------


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that it is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def partial_folder(job: Job) -> Path:
    """Where a video's frames are gathered until they are complete."""
    return job.folder.with_name(f".{job.folder.name}.partial")


def prepare_output(frames: Path, settings: Settings, jobs: Sequence[Job], overwrite: bool) -> None:
    """Check that earlier work in `frames` fits, remove an interrupted run's leftovers, note the settings.

    With `overwrite` the settings file goes first, then the folders of these videos, so that an interruption
    at any point leaves nothing that could be mistaken for finished work.

    Raises:
        InputError: other settings made what is there, or an unknown program did.
    """
    if frames.exists() and not frames.is_dir():
        raise InputError(f"--frames {frames}: is a file; give a folder")
    file = frames / SETTINGS_FILE
    wanted = asdict(settings)
    present = _read_settings(file)
    if not overwrite and present is not None:
        different = [f"{k} {present.get(k)!r}, not {v!r}" for k, v in wanted.items() if present.get(k) != v]
        if different:
            raise InputError(
                f"--frames {frames}: made with other settings ({'; '.join(different)}). Give another folder, "
                f"or --overwrite to make it anew. If the videos only moved, correct {SETTINGS_FILE}"
            )
    if not overwrite and present is None:
        foreign = next((job.folder for job in jobs if _occupied(job.folder)), None)
        if foreign:
            raise InputError(
                f"--frames {frames}: {foreign} exists, but no {SETTINGS_FILE} says how it was made. Give "
                "another folder, or --overwrite to replace it"
            )
    if overwrite and present is not None and any(present.get(k) != v for k, v in wanted.items()):
        kept = _other_frames(frames, jobs)
        if kept:
            raise InputError(
                f"--overwrite with other settings: {kept} belongs to a video that is not in --videos and "
                "would no longer match. Give another folder for --frames, or remove it"
            )
    if overwrite:
        file.unlink(missing_ok=True)
    for job in jobs:
        shutil.rmtree(partial_folder(job), ignore_errors=True)
        if overwrite and job.folder.is_dir():
            shutil.rmtree(job.folder)
    if overwrite or present is None:
        made_with = {"PyAV": av.__version__, "Pillow": PIL.__version__}
        write_atomically(file, json.dumps({**wanted, "made_with": made_with}, indent=2) + "\n")


def _read_settings(file: Path) -> dict[str, Any] | None:
    """The settings an earlier run wrote, or None."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        raise InputError(f"{file}: unreadable ({fault}); remove it with the frames, or give --overwrite") from None
    return content if isinstance(content, dict) else {}


def _occupied(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _other_frames(frames: Path, jobs: Sequence[Job]) -> Path | None:
    """The first folder with files in it, below `frames`, that belongs to none of `jobs`."""
    ours = {job.folder for job in jobs} | {partial_folder(job) for job in jobs}
    for folder, subfolders, files in os.walk(frames):
        here = Path(folder)
        subfolders[:] = [s for s in subfolders if here / s not in ours]
        if here != frames and files:
            return here
    return None


def finished(job: Job, template: str) -> Outcome | None:
    """The outcome of an earlier run, or None if the video is still to be done."""
    if not _occupied(job.folder):
        return None
    if not job.folder.is_dir():
        return Outcome(error=f"{job.folder} is in the way; it is no folder")
    names = {entry.name for entry in os.scandir(job.folder)}
    damaged = DAMAGE_NOTE in names
    count = len(names) - damaged
    missing = next((n for k in range(1, count + 1) if (n := template.format(k)) not in names), None)
    if missing or not count:
        return Outcome(error=f"{job.folder} was changed: no {missing or 'frames'}; remove it to make it anew")
    note = (job.folder / DAMAGE_NOTE).read_text(encoding="utf-8").strip() if damaged else ""
    return Outcome(count, damage=note)


# ----------------------------------------------------------------------------------------------------------
# One video
# ----------------------------------------------------------------------------------------------------------


class DamageError(Exception):
    """The video cannot be read (further)."""


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


def extract(job: Job, settings: Settings, keep_damaged: bool, stop: StopFlag) -> Outcome:
    """Make a video's folder of frames: complete under its final name, or not at all.

    Raises:
        StoppedError: `stop` was set meanwhile.
    """
    partial = partial_folder(job)
    count, damage = 0, ""
    try:
        partial.mkdir(parents=True)
        try:
            for image in upright_frames(job.video):
                if stop.is_set():
                    raise StoppedError
                scale_down(image, settings.short_side).save(
                    partial / settings.template.format(count + 1),
                    format="JPEG",
                    quality=settings.quality,
                    subsampling=settings.subsampling,
                )
                count += 1
        except DamageError as fault:
            if not (keep_damaged and count):
                return Outcome(error=str(fault))
            damage = str(fault)
            (partial / DAMAGE_NOTE).write_text(damage + "\n", encoding="utf-8")
        partial.replace(job.folder)
        return Outcome(count, damage=damage)
    except (OSError, ValueError, RuntimeError, MemoryError) as fault:
        return Outcome(
            error=str(fault) or type(fault).__name__,
            fatal=isinstance(fault, OSError) and fault.errno in FATAL,
        )
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# ----------------------------------------------------------------------------------------------------------
# All videos
# ----------------------------------------------------------------------------------------------------------

_stop: StopFlag = threading.Event()  # in a worker process: the event that all of them share


def _start_worker(stop: StopFlag) -> None:
    """Ctrl-C reaches every process of a terminal; the workers leave it to the main one, which sets `stop`."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _work(job: Job, settings: Settings, keep_damaged: bool) -> Outcome:
    return extract(job, settings, keep_damaged, _stop)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Put Ctrl-C off. Processes started meanwhile inherit that: none dies loudly before `_start_worker`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def extract_all(
    jobs: Sequence[Job], settings: Settings, keep_damaged: bool, workers: int
) -> Iterator[tuple[Job, Outcome]]:
    """Each job with its outcome, as they come. On an exception (Ctrl-C) the work at hand is undone first."""
    if min(workers, len(jobs)) <= 1:
        for job in jobs:
            yield job, extract(job, settings, keep_damaged, threading.Event())
        return
    context = multiprocessing.get_context("spawn")  # fork is not safe beside the decoder's threads
    stop = context.Event()
    workers = min(workers, len(jobs))
    with ProcessPoolExecutor(workers, context, _start_worker, (stop,)) as pool:
        waiting: dict[Future[Outcome], Job] = {}
        queue = iter(jobs)
        try:
            while True:
                with interrupts_held():
                    for job in itertools.islice(queue, WAITING_A_WORKER * workers - len(waiting)):
                        waiting[pool.submit(_work, job, settings, keep_damaged)] = job
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


class Progress:
    """A bar on a terminal, else a line now and then; what went wrong always gets its own line."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        self.every = max(1, total // 100)
        self.bar = tqdm(total=total, initial=done, unit="video", disable=not sys.stderr.isatty())

    def step(self, job: Job, outcome: Outcome) -> None:
        self.done += 1
        self.bar.update()
        if outcome.error:
            self.say(f"{job.video}: {outcome.error}")
        elif outcome.damage:
            self.say(f"{job.video}: kept {outcome.frames} frames; {outcome.damage}")
        if self.bar.disable and (self.done % self.every == 0 or self.done == self.total):
            self.say(f"[{self.done}/{self.total}] {job.name}: {outcome.frames} frames")

    def say(self, text: str) -> None:
        tqdm.write(printable(text), file=sys.stderr)
        sys.stderr.flush()


def printable(text: str) -> str:
    """The text as the terminal can show it: a file name need not be valid in its encoding."""
    encoding = sys.stderr.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status. Raises InputError."""
    check_options(args)
    # Resolved, so that the same videos given another way are the same; the name of a single file stays.
    source = args.videos.parent.resolve() / args.videos.name if args.videos.is_file() else args.videos.resolve()
    jobs = plan_jobs(find_videos(source), source, args.frames)
    root = source.parent if source.is_file() else source
    settings = Settings(str(root), args.short_side, args.quality, args.template)
    labels = number_classes(jobs, args.classes, args.list) if args.list else {}
    prepare_output(args.frames, settings, jobs, args.overwrite)

    outcomes = {job: outcome for job in jobs if (outcome := finished(job, settings.template))}
    for job, outcome in outcomes.items():
        if outcome.damage and not args.keep_damaged:
            outcomes[job] = Outcome(error=f"{outcome.damage} ({job.folder} is from a run with --keep_damaged)")
    if outcomes:
        print(f"{len(outcomes)} of {len(jobs)} videos were done before", file=sys.stderr)
    started, before = time.monotonic(), len(outcomes)
    progress = Progress(len(jobs), before)
    try:
        todo = [job for job in jobs if job not in outcomes]
        for job, outcome in extract_all(todo, settings, args.keep_damaged, args.jobs):
            outcomes[job] = outcome
            progress.step(job, outcome)
            if outcome.fatal:
                raise InputError(f"stopped: {outcome.error}. {len(outcomes)} of {len(jobs)} videos are dealt with")
    except BrokenProcessPool:
        raise InputError(
            "a worker process died: out of memory, or a video that crashes the decoder. Finished folders are "
            "kept; the same command with -j 1 continues and dies at the culprit"
        ) from None
    finally:
        progress.bar.close()
    made = len(outcomes) - before
    failed = {job: outcome for job, outcome in outcomes.items() if outcome.error}
    remove_empty_parents(failed, args.frames)
    if args.list:
        write_list(args.list, jobs, outcomes, labels, args.classes is None)
    report(jobs, outcomes, f"{made} now, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def write_list(
    path: Path, jobs: Sequence[Job], outcomes: dict[Job, Outcome], labels: dict[str, int], with_classes: bool
) -> None:
    """Write `path frames label` for every complete folder, and category.txt beside it if asked."""
    good = [job for job in jobs if not outcomes[job].error]
    if not good:
        print(f"{path} not written: no video is complete", file=sys.stderr)
        return
    if with_classes:
        write_atomically(path.parent / "category.txt", "".join(f"{name}\n" for name in labels))
    write_atomically(path, "".join(f"{j.name} {outcomes[j].frames} {labels[j.category]}\n" for j in good))
    print(f"{path}: {len(good)} of {len(jobs)} videos, {len(labels)} classes", file=sys.stderr)


def remove_empty_parents(failed: Iterable[Job], frames: Path) -> None:
    """A failed video leaves nothing behind, not even its class folder, if that is empty."""
    for job in failed:
        for parent in job.folder.parents:
            if parent == frames:
                break
            try:
                parent.rmdir()
            except OSError:  # not empty, or gone already
                break


def report(jobs: Sequence[Job], outcomes: dict[Job, Outcome], effort: str) -> None:
    """Say how many videos are complete and which are not."""
    total = sum(outcome.frames for outcome in outcomes.values())
    good = sum(not outcome.error for outcome in outcomes.values())
    print(f"{good} of {len(jobs)} videos complete, {total} frames ({effort})", file=sys.stderr)
    for heading, chosen in (
        ("kept up to the damage", [(j, outcomes[j].damage) for j in jobs if outcomes[j].damage]),
        ("failed", [(j, outcomes[j].error) for j in jobs if outcomes[j].error]),
    ):
        if chosen:
            print(f"{heading}: {len(chosen)}", file=sys.stderr)
            for job, why in chosen:
                print(printable(f"  {job.video}: {why}"), file=sys.stderr)


# ----------------------------------------------------------------------------------------------------------
# Command line
# ----------------------------------------------------------------------------------------------------------


def check_options(args: argparse.Namespace) -> None:
    """Raise one InputError that names every wrong option."""
    problems = []
    if args.short_side < 0:
        problems.append(f"--short_side {args.short_side}: pixels, or 0 to keep the size")
    if not 1 <= args.quality <= 100:
        problems.append(f"--quality {args.quality}: between 1 and 100")
    if args.jobs < 1:
        problems.append(f"-j {args.jobs}: at least 1")
    try:
        example = args.template.format(1)
        fits = example != args.template.format(2) and example == Path(example).name and example[0] != "."
    except (ValueError, LookupError, AttributeError):
        example, fits = "", False
    if not fits or Path(example).suffix.lower() not in {".jpg", ".jpeg"}:
        problems.append(f"--template {args.template!r}: a JPEG file name with one number in it, as {{:05d}}.jpg")
    if args.list and (args.list.is_dir() or args.list.name == "category.txt"):
        problems.append(f"--list {args.list}: a folder, or the name of the class file; give another file name")
    if args.classes and not args.list:
        problems.append("--classes: only numbers the classes of a --list; give one")
    if problems:
        raise InputError("\n  ".join(["wrong options:", *problems] if len(problems) > 1 else problems))


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    summary, details = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=details.strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="DIR", help="folder of videos, or one video")
    add("--frames", type=Path, required=True, metavar="DIR", help="where the folders of frames go")
    add(
        "--short_side",
        type=int,
        default=256,
        metavar="PIXELS",
        help="scale down to this; 0 keeps the size (256)",
    )
    add("--quality", type=int, default=95, help="of the JPEG files (95)")
    add("--template", default="{:05d}.jpg", help="name of a frame, counted from 1 ({:05d}.jpg)")
    add("--list", type=Path, metavar="FILE", help="write the list file for training here")
    add("--classes", type=Path, metavar="FILE", help="the order of the classes, one name a line")
    add("--keep_damaged", action="store_true", help="keep the frames before the damage of a damaged video")
    add("--overwrite", action="store_true", help="make the folders of these videos anew")
    add("-j", "--jobs", type=int, default=processors(), help="videos at a time (one a processor)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        return run(args)
    except InputError as fault:
        print(printable(f"error: {fault}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished folders are kept, the same command continues", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's preemption: tidy up as for Ctrl-C
    sys.exit(main())
