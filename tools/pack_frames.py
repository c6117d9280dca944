"""Packs the frames of a data set into a few large files: for file systems that suffer from millions of small ones.

    python tools/pack_frames.py NAME
    python tools/pack_frames.py NAME --storage video
    python tools/pack_frames.py NAME --verify
    python main.py NAME RGB --storage packed …

What is written. The files of all videos in the lists, byte by byte as they are, into tar files of about --shard_mb in
<data set>/packed (with --modality Flow: packed_flow): frames-00000.tar and so on, a file in them as <path>/00001.jpg, a
video's frames one after the other in one of them; and an index, by which one frame is read without the others.
`tar tf` lists them, `tar xf` gives the folders back.

Videos. With --storage video, or where dataset.toml says so, the lists are those of videos, which are decoded into the
shards, without a folder of frames: the frames are the bytes that tools/vid2img.py writes with the same --short_side and
--quality, and are called the same. Beside train_videos.txt the list of the frames is written, train_videofolder.txt.

Verified. Before a shard gets its name it is read back as a tar file, and each file's name, size and CRC-32 are compared
with what was read from the folders. --verify does so again, with what the index says, for all shards.

Interruption. A shard is written under a name that starts with a dot; the same command again continues with the next.
When all is there, the index is written. Later, the command adds what the lists have got since, and what was in shards
that are gone or too short: to mend a damaged shard, remove it and run the command again. --reindex makes a damaged or
lost index anew from the shards; what it then takes for right is what they hold. One packing at a time works in a
folder; another is refused.

Damage. A video with a frame that is missing or empty ends the program with the file's name; with --bad_frames skip it
is left out and counted, and the exit status is 1.

Exit status: 0 all is packed, 1 videos were left out or --verify found faults, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops import names
from ops.data.catalog import CATALOG, DESCRIPTION, TEMPLATE, DataSource, resolve
from ops.data.packed_index import (
    ARRAY_NAME,
    INDEX_FILE,
    SHARD,
    SHARD_NAME,
    PackedIndex,
    Packing,
    Part,
    Shard,
    array_files,
    is_ours,
    load_part,
    save_part,
    write_index,
)
from ops.data.parallel import LINES, interrupts_held
from ops.data.records import VideoRecord, read_list
from ops.data.storages.packed import LARGEST_PICTURE
from ops.errors import InputError, explained, reported
from ops.files import atomic_write, open_regular, write_text
from ops.locks import claimed
from ops.machine import usable_cores
from tools.options import add_frame_format, add_root, common_faults, documented_parser
from tools.shard_sources import BadVideoError, Content, Folders, Source, Videos, spool_folder
from tools.tar_shards import Contents, add, compare, read_shard, taken, whole_size
from tools.video_frames import FrameFormat

SAMPLED = 16  # videos of which the space that all will take is estimated


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, pack or verify; the exit status."""
    args = parse(argv)
    lists = (args.train_list, args.val_list)
    packed = resolve(args.dataset, args.root_dataset, *lists, None, args.modality, "packed")
    if packed.url:
        raise InputError(f"{packed.url}: packing writes to a folder: name one in {DESCRIPTION}, and copy it there then")
    target = packed.root
    if args.verify:
        return verify(target)
    data = unpacked(args)
    form = FrameFormat(args.short_side, args.quality, TEMPLATE)
    source: Source = Videos(data.root, form) if data.storage == "video" else Folders(data)
    with explained("Finished shards are kept; the same command continues"), claimed(target):
        return pack(data, source, target, args)


def unpacked(args: argparse.Namespace) -> DataSource:
    """The data set's frames, flow or videos."""
    said = (args.dataset, args.root_dataset, args.train_list, args.val_list, args.root_path, args.modality)
    data = resolve(*said, args.storage)
    return resolve(*said, "frames") if data.storage == "packed" else data


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Raises one InputError that names every wrong option."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("dataset", help=f"{', '.join(CATALOG)}, or one of your own")
    add_root(parser)
    add("--modality", default="RGB", choices=names.MODALITIES, help="Flow packs the flow, the others the frames (RGB)")
    for flag, what in (("train_list", "FILE"), ("val_list", "FILE"), ("root_path", "DIR")):
        add(f"--{flag}", metavar=what, help="instead of the data set's own")
    what = "where the frames come from: frames, or video, which is decoded (as dataset.toml says, or frames)"
    add("--storage", choices=("frames", "video"), help=what)
    add_frame_format(parser)
    add("--shard_mb", type=int, default=1024, metavar="MB", help="a shard's size, in MiB (1024)")
    add("--bad_frames", default="error", choices=names.BAD_FRAMES, help="skip leaves such videos out (error)")
    add("--verify", action="store_true", help="compare the shards with the index, and pack nothing")
    add("--reindex", action="store_true", help="make the index anew from the shards")
    default = max(4, usable_cores())
    what = "videos that are read at a time, ahead of the writing (4, or one a processor)"
    add("-j", "--jobs", type=int, default=default, help=what)
    args = parser.parse_args(argv)
    faults = common_faults(args)
    if args.storage == "video" and args.modality == "Flow":
        faults.append("--storage video: flow is not in video files; leave one out")
    if args.shard_mb < 1:
        faults.append(f"--shard_mb {args.shard_mb}: at least 1")
    if args.verify and args.reindex:
        faults.append("--verify and --reindex: give one")
    if faults:
        raise InputError("; ".join(faults))
    return args


def pack(data: DataSource, source: Source, root: Path, args: argparse.Namespace) -> int:
    """Packs the videos of the lists that are not in a shard yet; the exit status."""
    packing, records = source.packing, wanted(data, source)
    if data.storage == "video":
        refuse_other_lists(data, source)
    index = PackedIndex(root) if (root / INDEX_FILE).exists() and not args.reindex else None
    number = index.number if index else last_index(root)
    parts = read_shards(root, packing) if args.reindex else present(root, packing, index)
    missing = lacking(records, parts)
    refuse_others(root, parts, source)
    faults: list[str] = []
    skip = args.bad_frames == "skip"
    if index and index.is_checked and not missing and [part.shard for part in parts] == index.shards:
        tidy_up(root, number)
        print(f"{root}: all {len(records)} videos are packed already, in {len(parts)} shards", file=sys.stderr)
    else:
        if missing:
            data.demand(lists_of(data)[0])
        source.note_settings(root, begun=bool(parts))
        with (
            spool_folder(root) as spool,
            closing(read_ahead(missing, source, spool, args.jobs, faults if skip else None)) as contents,
        ):
            demand_space(missing, source, root, spool)
            parts += write_shards(contents, root, packing, args.shard_mb << 20, 1 + last_shard(root, index))
        if not parts:
            raise InputError(f"{data.root}: none of the {len(records)} videos can be packed: {faults[0]}")
        write_index(root, packing, parts, number + 1)
        tidy_up(root, number + 1)
        report(root, parts, faults)
    if data.storage == "video":
        write_lists(data, source, parts)
    return 1 if faults else 0


def lists_of(data: DataSource) -> list[Path]:
    """Those of its lists that there are. Raises InputError if there is none."""
    lists = [file for file in (data.train_list, data.val_list, data.test_list) if file.exists()]
    if not lists:
        data.demand(data.train_list)
    return lists


def records_of(data: DataSource, source: Source, list_file: Path) -> Sequence[VideoRecord]:
    """Of one list."""
    return source.records(list_file, len(data.categories), unlabelled_too=list_file != data.train_list)


def list_of_frames(list_of_videos: Path) -> Path:
    """Where the list of the same videos' frames lies, as `train_videofolder.txt` beside `train_videos.txt`."""
    stem = list_of_videos.stem
    name = stem.replace("_videos", "_videofolder", 1) if "_videos" in stem else f"{stem}_videofolder"
    return list_of_videos.with_name(name + list_of_videos.suffix)


def refuse_other_lists(data: DataSource, source: Source) -> None:
    """Raises InputError where a list of frames, which is to be written, has other videos or labels than its videos'."""
    for file in lists_of(data):
        if not (there := list_of_frames(file)).exists():
            continue
        known = {(record.name, record.label) for record in records_of(data, source, file)}
        for record in read_list(there, len(data.categories), unlabelled_too=True):
            if (record.name, record.label) not in known:
                raise InputError(f"{there}: has {record.name} {record.label}, which {file} has not: move it away")


def write_lists(data: DataSource, source: Source, parts: Sequence[Part]) -> None:
    """For each list of videos that of their frames, which --storage packed reads, without those left out."""
    frames = {path: count for part in parts for path, count in zip(part.paths, part.counts, strict=True)}
    for file in lists_of(data):
        records = [record for record in records_of(data, source, file) if record.path in frames]
        text = "".join(f"{record.name} {frames[record.path]} {record.label}\n" for record in records)
        there = list_of_frames(file)
        if not there.exists() or there.read_text(encoding="utf-8") != text:
            write_text(there, text)
            print(f"{there}: {len(records)} videos", file=sys.stderr)


def report(root: Path, parts: Sequence[Part], faults: Sequence[str]) -> None:
    """Says what is packed, and what was left out."""
    frames = sum(n // k for part in parts for n, k in zip(part.counts, part.per_frame, strict=True))
    print(
        f"{root}: {sum(len(part.paths) for part in parts)} videos, {frames} frames in {len(parts)} shards, "
        f"{sum(part.shard.bytes for part in parts) / 2**20:.1f} MiB",
        file=sys.stderr,
    )
    if faults:
        print(f"left out: {len(faults)}", *faults, sep="\n  ", file=sys.stderr)


def wanted(data: DataSource, source: Source) -> list[VideoRecord]:
    """The videos of all lists that there are, each once, with the most frames that a list names."""
    found: dict[str, VideoRecord] = {}
    for file in lists_of(data):
        for record in records_of(data, source, file):
            if record.path not in found or found[record.path].num_frames < record.num_frames:
                found[record.path] = record
    for path in found:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise InputError(f"{path!r}: a path outside of {data.root}, which a tar file should not hold")
    return list(found.values())


def present(root: Path, packing: Packing, index: PackedIndex | None) -> list[Part]:
    """The shards that are there: those of the index, then those that are not in it yet.

    Raises InputError for frames of another kind, for shards of another size, and for those of which nothing is known.
    """
    if index and index.damage:
        raise InputError(index.damage)
    if index and index.packing != packing:
        raise InputError(f"{root}: holds {index.packing}, not {packing}: remove it to pack anew")
    parts = {shard.name: index.part(place) for place, shard in enumerate(index.shards)} if index else {}
    for file in sorted(root.glob("frames-*.tar")):
        part = parts.get(file.name) or load_part(root, file.name)
        if part is None:
            raise InputError(
                f"{file}: neither in {INDEX_FILE} nor with rows beside it: --reindex takes it in, or move it away"
            )
        if fault := part.shard.fault(root):
            raise InputError(f"{file} {fault}: remove it, and this command packs its videos anew")
        parts[file.name] = part
    if gone := [name for name in parts if not (root / name).exists()]:
        print(f"{root}: {', '.join(gone)} gone; what was in there is packed anew", file=sys.stderr)
    return [part for name, part in parts.items() if name not in gone]


def read_shards(root: Path, packing: Packing) -> list[Part]:
    """All that is in the shards that are there, read from themselves; their checksums are taken of what they hold."""
    files = sorted(root.glob("frames-*.tar"))
    if not files:
        raise InputError(f"--reindex: there are no shards in {root}")
    return [read_shard(file, packing) for file in tqdm(files, unit="shard", disable=None)]


def lacking(records: Sequence[VideoRecord], parts: Sequence[Part]) -> list[VideoRecord]:
    """The videos that are in no shard. Raises InputError where a list has more frames of one than were packed."""
    packed = {
        path: (count // per_frame, part.shard.name)
        for part in parts
        for path, count, per_frame in zip(part.paths, part.counts, part.per_frame, strict=True)
    }
    for record in records:
        frames, shard = packed.get(record.path, (record.num_frames, ""))
        if frames < record.num_frames:
            raise InputError(
                f"{record.path}: the list promises {record.num_frames} frames, {frames} are in {shard}; remove that "
                "shard, and this command packs its videos anew"
            )
    return [record for record in records if record.path not in packed]


def refuse_others(root: Path, parts: Sequence[Part], source: Source) -> None:
    """Raises InputError where what was packed is not what is there now, as frames extracted anew: by few videos.

    Their settings are compared, and the first video of a shard is looked at; one that is not there any more, as it need
    not be, tells nothing.
    """
    if parts:
        source.refuse_other_settings(root)
    for part in parts[:: max(1, len(parts) // SAMPLED)]:
        video = next(part.videos())
        offset, size, _ = video.files[0].item()
        record = VideoRecord(video.path, video.num_frames, 0)
        with suppress(OSError), open_regular(root / part.shard.name) as shard:
            shard.seek(offset)
            if not source.is_made_of(record, shard.read(min(size, LARGEST_PICTURE))):
                raise InputError(
                    f"{source.where(record)}: another than was packed in {part.shard.name}: it was made anew; remove "
                    "the shards that hold older ones, or all, and this command packs what is there"
                )


def read_ahead(
    records: Sequence[VideoRecord], source: Source, spool: Path, jobs: int, faults: list[str] | None
) -> Generator[Content, None, None]:
    """The content of the videos, in their order, while others are being read; on the way it says how far it is.

    What is wrong with a video goes to `faults`, or where there are none, is raised.
    """
    left = enumerate(records)
    waiting: deque[Future[Content]] = deque()
    if not records:
        return
    with source.workers(jobs) as pool, tqdm(total=len(records), unit="video", disable=None) as bar:
        try:
            for count in range(1, len(records) + 1):
                with interrupts_held():
                    for place, record in islice(left, jobs - len(waiting)):
                        waiting.append(pool.submit(source.read, record, source.where(record), spool / str(place)))
                try:
                    yield waiting.popleft().result()
                except BadVideoError as error:
                    if faults is None:
                        others = any(each.exception() is None for each in waiting) or count > 1
                        skip = "; --bad_frames skip leaves such videos out" * others
                        raise InputError(f"{error}{skip}") from None
                    faults.append(str(error))
                bar.update()
                if bar.disable and count * LINES // len(records) > (count - 1) * LINES // len(records):
                    print(f"{count} of {len(records)} videos", file=sys.stderr, flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def write_shards(contents: Iterator[Content], root: Path, packing: Packing, most: int, number: int) -> list[Part]:
    """Shards of at most so many bytes, or of one video, numbered from `number`."""
    parts: list[Part] = []
    content = next(contents, None)
    while content is not None:
        shard = root / SHARD.format(number + len(parts))
        with atomic_write(shard) as file:
            held = Contents()
            while content is not None and (not held.paths or file.tell() + taken(content) <= most):
                add(file, held, content)
                content.data.remove()
                content = next(contents, None)
            file.write(b"\0" * (whole_size(file.tell()) - file.tell()))
            file.flush()
            os.fsync(file.fileno())
            part = held.part(Shard(shard.name, file.tell()))
            evict(file)
            if faults := compare(Path(file.name), part, packing.template, packing.first):
                raise InputError(f"{shard}: what was written is not what is read back ({faults[0]}): a failing disk?")
            save_part(root, part)
        parts.append(part)
    return parts


def evict(file: IO[bytes]) -> None:
    """Leaves a file's content on the disk alone, so that it is read back from there."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def verify(root: Path) -> int:
    """Compares all shards with the index; the exit status."""
    index = PackedIndex(root)
    if index.damage:
        raise InputError(index.damage)
    faults = []
    for place in tqdm(range(len(index.shards)), unit="shard", disable=None):
        part = index.part(place)
        fault = part.shard.fault(root)
        packing = index.packing
        found = [fault] if fault else compare(root / part.shard.name, part, packing.template, packing.first)
        faults += [f"{root / part.shard.name}: {line}" for line in found]
    if faults:
        print(f"{len(faults)} faults:", *faults, sep="\n  ", file=sys.stderr)
        mend = "to mend a shard, remove it and run the command without --verify; --reindex takes all as they are"
        print(mend, file=sys.stderr)
        return 1
    print(f"{root}: {len(index)} videos in {len(index.shards)} shards are as they were packed", file=sys.stderr)
    return 0


def demand_space(records: Sequence[VideoRecord], source: Source, root: Path, spool: Path) -> None:
    """Raises InputError if the disk has less space than, by a sample of them, the videos will take."""
    weights = size = 0  # frames, or where these are not known, videos
    sampled = SAMPLED if all(record.num_frames for record in records) else 2  # videos are decoded, which takes its time
    for record in records[:: max(1, len(records) // sampled)][:sampled]:
        with suppress(OSError, BadVideoError):  # found when it is packed
            content = source.read(record, source.where(record), spool / "sample")
            content.data.remove()
            size += taken(content)
            weights += record.num_frames or 1
    needed = size * sum(record.num_frames or 1 for record in records) // max(1, weights)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise InputError(f"{root}: about {needed / 2**30:.1f} GiB are needed there, {free / 2**30:.1f} GiB are free")


def last_shard(root: Path, index: PackedIndex | None) -> int:
    """The highest number of a shard, also of one that is gone; -1 if there is none."""
    found = [file.name for file in root.glob("frames-*.tar")]
    known = [shard.name for shard in index.shards] if index else []
    return max((int(match[1]) for name in found + known if (match := SHARD_NAME.fullmatch(name))), default=-1)


def last_index(root: Path) -> int:
    """The highest number of an index whose arrays are there; 0 if there is none."""
    found = (ARRAY_NAME.fullmatch(file.name) for file in root.glob("index-*.npy"))
    return max((int(match[1]) for match in found if match), default=0)


def tidy_up(root: Path, number: int) -> None:
    """Removes the rows beside shards, which are in the index of this number now, and other indices.

    Whatever else lies there, as of a like name, is somebody else's and stays.
    """
    kept = set(array_files(root, number))
    for file in (*root.glob("index-*.npy"), *root.glob("frames-*.npz")):
        if file not in kept and is_ours(file):
            file.unlink()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's preemption: tidy up as for Ctrl-C
    with reported():
        sys.exit(main())
