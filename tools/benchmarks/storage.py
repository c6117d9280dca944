"""Packed frames against folders of frames: 8 frames of each video, evenly spread, the videos in random order.

Of a data set of many small pictures that is made for it: the bytes alone, and decoded; with a warm page cache, and with
a cold one, out of which the files are dropped before each pass (folders and inodes stay, to the folders' advantage).
Then the numbers of files, what they take of the disk, and the calls to the system that reading takes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from ops.data.catalog import resolve
from ops.data.records import VideoRecord
from ops.data.sampling import val_indices
from ops.data.storages import open_storage
from ops.data.storages.frames import FrameFolders
from ops.data.storages.packed import PackedFrames
from ops.errors import InputError
from tools import pack_frames
from tools.benchmarks.findings import Findings, Row, in_turns, row
from tools.shard_sources import Folders

NAME = "small_frames"
FRAMES = 8  # read of a video
RESIDENT = 0.05  # share of the pages that may stay in a cache called cold
REPOSITORY = Path(__file__).resolve().parents[2]
# What reads files or looks for them; `?`: where there is such a call.
CALLS = "?open,openat,?stat,?lstat,?newfstatat,?statx,?fstat,?access,?getdents64,lseek,read,pread64,ioctl,close,mmap"
MARK = "/small-frames-read-by-"  # a path that is looked for, as a mark among the calls


def add_options(parser: argparse.ArgumentParser) -> None:
    """The size of the data set, and where it lies."""
    add = parser.add_argument
    add("--videos", type=int, default=400, help="(400)")
    add("--frames", type=int, default=40, help="of a video (40)")
    add("--size", default="176x100", help="of a frame (176x100)")
    add("--folder", type=Path, metavar="DIR", help="on the disk to measure; the temporary folder may be in memory")


def measure(args: argparse.Namespace) -> Findings:
    """Reading from shards against reading from folders."""
    if min(args.videos, args.frames) < 1 or not re.fullmatch(r"[1-9]\d*x[1-9]\d*", args.size):
        raise InputError("--videos, --frames: at least 1; --size: pixels, as 176x100")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        records = make(root / NAME, args.videos, args.frames, *map(int, args.size.split("x")))
        pack_frames.main([NAME, "--root_dataset", folder])
        os.sync()
        random.Random(0).shuffle(records)
        return Findings([*timed(root, records, args.repeats), *counted(root), *calls(root, len(records))])


def make(folder: Path, videos: int, frames: int, width: int, height: int) -> list[VideoRecord]:
    """A data set of noise over a ramp: 176 × 100 pixels are some 5 kB, as in Something-Something V1."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 160, width)[None, :, None]
    pictures = [(ramp + rng.integers(0, 64, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
                 [:height, :width]).astype(np.uint8) for _ in range(8)]  # fmt: skip
    for video in range(videos):
        place = folder / "frames" / f"{video:05d}"
        place.mkdir(parents=True)
        for number in range(1, frames + 1):
            moved = np.roll(pictures[video % 8], number, axis=1)
            Image.fromarray(moved).save(place / f"{number:05d}.jpg", quality=90)
    records = [VideoRecord(f"{video:05d}", frames, 0) for video in range(videos)]
    for name in ("train", "val"):
        lines = "".join(f"{record.path} {frames} 0\n" for record in records)
        (folder / f"{name}_videofolder.txt").write_text(lines)
    (folder / "category.txt").write_text("any\n")
    (folder / "dataset.toml").touch()
    return records


def storages(root: Path) -> tuple[FrameFolders, PackedFrames]:
    """Of the same frames."""
    folders, packed = (open_storage(resolve(NAME, root, storage=name)) for name in ("frames", "packed"))
    assert isinstance(folders, FrameFolders) and isinstance(packed, PackedFrames)
    return folders, packed


def timed(root: Path, records: Sequence[VideoRecord], repeats: int) -> list[Row]:
    """The rows of times."""
    folders, packed = storages(root)
    passes: dict[str, dict[str, Callable[[], object]]] = {
        "": {
            "packed": partial(each, packed.pictures, records),
            "frames": partial(each, folders.pictures, records),
        },
        "_decoded": {"packed": partial(each, packed.read, records), "frames": partial(each, folders.read, records)},
    }
    caches: dict[str, Callable[[], object]] = {"warm": lambda: None}
    if fault := cold_fault(root):
        print(f"cold caches are left out: {fault}", file=sys.stderr)
    else:
        caches = {"cold": partial(evict, root), **caches}
    rows = []
    for cache, before in caches.items():
        for what, sides in passes.items():
            taken = in_turns(sides, repeats, before)
            ours, theirs = ([1000 * t / len(records) for t in taken[name]] for name in ("packed", "frames"))
            rows.append(row(f"storage_{cache}{what}_vs_frames", ours, theirs, "µs a video"))
    return rows


def each(read: Callable[[VideoRecord, list[int]], object], records: Sequence[VideoRecord]) -> None:
    """Reads the frames of all videos."""
    for record in records:
        read(record, sorted(set(val_indices(record.num_frames, FRAMES, 1))))


def evict(root: Path) -> None:
    """Drops all files from the page cache; what is mapped (the small index) stays."""
    for name, _, found in os.walk(root):
        for file in found:
            with Path(name, file).open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cold_fault(root: Path) -> str:
    """Why the page cache can't be emptied of these files; empty if it can."""
    if not hasattr(os, "posix_fadvise"):
        return "this system has no posix_fadvise"
    looked_at = [next((root / NAME / "packed").glob("*.tar")), next((root / NAME / "frames").glob("*/*.jpg"))]
    for file in looked_at:
        file.read_bytes()
    evict(root)
    stays = [file.name for file in looked_at if resident(file) > RESIDENT]
    return f"the file system of {root} keeps {' and '.join(stays)} (it may be in memory); give another --folder" * bool(
        stays
    )


def resident(file: Path) -> float:
    """The share of a file's pages that is in the page cache."""
    mapped = np.memmap(file, mode="r")
    pages = (ctypes.c_ubyte * -(-mapped.size // os.sysconf("SC_PAGE_SIZE")))()
    if ctypes.CDLL(None).mincore(ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(mapped.size), pages):
        return 1.0
    return sum(page & 1 for page in pages) / len(pages)


def counted(root: Path) -> list[Row]:
    """The rows of files and of space, in blocks of the disk, folders' own included."""
    packed, folders = (list((root / NAME / name).rglob("*")) for name in ("packed", "frames"))
    number, space = (([sum(map(of, packed))], [sum(map(of, folders))]) for of in (Path.is_file, used))
    return [row("storage_files", *number, "files"), row("storage_disk", *space, "MiB")]


def used(path: Path) -> float:
    """MiB of the disk."""
    return path.stat().st_blocks * 512 / 2**20


def calls(root: Path, videos: int) -> list[Row]:
    """The row of calls to the system, as strace counts them; none where there is no strace."""
    if not shutil.which("strace"):
        print("calls to the system are left out: strace is not installed", file=sys.stderr)
        return []
    program = f"import sys; from tools.benchmarks import storage; storage.marked({str(root)!r}, {videos})"
    log = root / "calls.txt"
    done = subprocess.run(
        ["strace", "-f", "-o", log, "-e", f"trace={CALLS}", sys.executable, "-c", program],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"calls to the system are left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return []
    lines = [line for line in log.read_text(errors="replace").splitlines() if "resumed>" not in line]
    marks = [place for place, line in enumerate(lines) if MARK in line]
    theirs, ours = ([(end - start - 1) / videos] for start, end in pairwise(marks))
    return [row("storage_syscalls", ours, theirs, "calls a video")]


def marked(root: str, videos: int) -> None:
    """Reads the bytes of so many videos from folders, then from shards, with marks among the calls to the system."""
    folders, packed = storages(Path(root))
    data = resolve(NAME, root, storage="frames")
    records = pack_frames.wanted(data, Folders(data))[:videos]
    for name, read in (("folders", folders.pictures), ("shards", packed.pictures)):
        Path(MARK + name).exists()
        each(read, records)
    Path(f"{MARK}none").exists()
