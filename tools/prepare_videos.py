"""A data set of one's own videos: frames, lists and a description, ready for main.py.

    python tools/prepare_videos.py --videos my_videos/ --name mine
    python main.py mine RGB --shift …

Which videos. --videos is a folder with a folder for each class, or a CSV of path,label[,split[,group]], with or
without these words as its first line; paths are relative to the CSV. A video that cannot be used is reported and left
out; the others go on.

Training or validation. In each class --val_share of the videos goes to validation, at least one if there are two,
drawn by --seed. Videos of one group stay together, as the parts of one recording must not be on both sides: --group_by
is a regular expression, searched in the path of each video, and what it finds (its first bracket, if it has one)
names the group; in a CSV the column group does. The CSV's column split (train, val or test) decides by itself.

What is written. dataset/NAME/ with frames/, category.txt, train_videofolder.txt and val_videofolder.txt, the same as
train_videos.txt and val_videos.txt for --storage video, videos.csv (path, label, split and group of each video) and
dataset.toml, which describes it: whether clips may be mirrored, where the videos are, how the frames were made. With
--storage video no frames are extracted: training decodes the videos.

Again. The same command continues after an interruption, and takes in videos that came since: a video stays on its
side, new classes come after the old ones, and a video that is no longer there leaves the lists. What was changed by
hand in dataset.toml stays.

Exit status: 0 all videos are in, 1 some cannot be used, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.catalog import CATALOG, DESCRIPTION, NAME
from ops.data.opposites import default_policy
from ops.data.records import read_categories
from ops.data.video_index import Indexed, index_videos
from ops.data.videofile import EXTENSIONS
from ops.errors import InputError, did_you_mean, reported
from ops.files import write_text
from tools.options import add_frame_format, add_jobs, add_root, common_faults, documented_parser
from tools.vid2img import (
    CLASS_FILE,
    FITS_A_LINE,
    Job,
    extract_jobs,
    find_videos,
    refuse_shared_folders,
    report,
)
from tools.video_frames import FrameFormat

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}
COLUMNS = ("path", "label", "split", "group")
TABLE = "videos.csv"


@dataclass(frozen=True)
class Video:
    """A user's video: its path below the videos' folder, its class, its split (empty: to be drawn), its group."""

    path: str
    label: str
    split: str
    group: str


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, prepare; the exit status."""
    args = parse(argv)
    try:
        return run(args)
    except OSError as fault:
        raise InputError(f"{fault}. What is finished is kept; the same command continues") from fault


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Raises one InputError that names every wrong option."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="DIR|CSV", help="folder of class folders, or a CSV")
    add("--name", required=True, help="of the data set")
    add_root(parser)
    add("--val_share", type=float, default=0.2, help="of the videos of a class, for validation (0.2)")
    add("--seed", type=int, default=0, help="of the draw (0)")
    add("--group_by", metavar="REGEX", help="what names a video's recording, in its path")
    add("--storage", default="frames", help="frames, or video: extract nothing (frames)")
    add_frame_format(parser)
    add_jobs(parser)
    args = parser.parse_args(argv)

    faults = common_faults(args)
    if args.name in CATALOG:
        faults.append(f"--name {args.name}: a known data set; choose another name, or see tools/make_lists.py for it")
    elif not NAME.fullmatch(args.name):
        faults.append(f"--name {args.name!r}: expected letters, digits, _ . or -, as it names a folder")
    if not 0 <= args.val_share < 1:
        faults.append(f"--val_share {args.val_share}: expected a number from 0 to below 1")
    if args.storage not in ("frames", "video"):
        faults.append(f"--storage {args.storage}: expected frames or video (tools/pack_frames.py packs frames)")
    try:
        re.compile(args.group_by or "")
    except re.error as error:
        faults.append(f"--group_by {args.group_by!r}: not a regular expression: {error}")
    if faults:
        raise InputError("; ".join(faults))
    return args


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status."""
    folder = Path(args.root_dataset) / args.name
    is_table = args.videos.is_file()
    root = args.videos.parent.resolve() if is_table else args.videos.resolve()
    videos = read_table(args.videos) if is_table else videos_of_folders(root)
    refuse_unfit(videos)
    if args.group_by:
        videos = [replace(video, group=group_of(video.path, args.group_by)) for video in videos]
    before = {video.path: video.split for video in read_table(folder / TABLE)} if (folder / TABLE).exists() else {}
    videos = draw_splits(videos, before, args.val_share, args.seed)
    categories = classes(videos, folder / CLASS_FILE)

    prepare = extract_frames if args.storage == "frames" else index_video_files
    counts, failed = prepare(args, folder, root, videos)
    usable = [video for video in videos if counts[video.path]]
    if not usable:
        raise InputError(f"--videos {args.videos}: none of its {len(videos)} videos can be used (see above)")
    write_lists(folder, usable, categories, counts if args.storage == "frames" else None)
    write_table(folder / TABLE, videos)
    describe(args, folder, root)
    summarise(folder, usable, categories, set(before) - {video.path for video in videos})
    return 1 if failed else 0


def videos_of_folders(root: Path) -> list[Video]:
    """The videos of class folders: a video's class is the first folder of its path. InputError for an empty one."""
    found = [video.relative_to(root).as_posix() for video in find_videos(root)]
    if loose := [path for path in found if "/" not in path]:
        raise InputError(f"--videos {root}: {loose[0]} lies in no class folder: make a folder for each class")
    labels = {path.split("/")[0] for path in found}
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if empty := [name for name in folders if name not in labels]:
        raise InputError(
            f"--videos {root}: the class folder {empty[0]!r} has no video in it ({', '.join(sorted(EXTENSIONS))}): "
            "remove it, or put videos there"
        )
    return [Video(path, path.split("/")[0], "", path) for path in found]


def read_table(file: Path) -> list[Video]:
    """The videos of a CSV of path,label[,split[,group]]. Raises one InputError with every faulty line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    columns = list(COLUMNS)
    if rows and {"path", "label"} <= set(rows[0][1]):
        columns = rows.pop(0)[1]
        if unknown := set(columns) - set(COLUMNS):
            raise InputError(f"{file}:1: unknown column {sorted(unknown)[0]!r}; known are {', '.join(COLUMNS)}")
    videos, faults = {}, []
    for number, row in rows:
        said = dict(zip(columns, row, strict=False))
        path, label, split = (said.get(key, "") for key in ("path", "label", "split"))
        split = SPLIT_NAMES.get(split, split)
        if len(row) > len(columns) or not path or not label:
            faults.append(f"  {file}:{number}: expected {','.join(columns)}: {','.join(row)!r}")
        elif split not in ("", *SPLITS):
            faults.append(
                f"  {file}:{number}: split {split!r}: expected {', '.join(SPLITS)}{did_you_mean(split, SPLITS)}"
            )
        elif path in videos:
            faults.append(f"  {file}:{number}: {path} stands there twice")
        videos[path] = Video(path, label, split, said.get("group") or path)
    if faults or not videos:
        raise InputError("\n".join([f"{file} is malformed:", *faults]) if faults else f"{file} lists no video")
    return list(videos.values())


def refuse_unfit(videos: Sequence[Video]) -> None:
    """Raises InputError for names that cannot stand in a list or in the data set's folder."""
    unfit = [v for v in videos if not (FITS_A_LINE.fullmatch(v.path) and FITS_A_LINE.fullmatch(v.label))]
    if unfit:
        raise InputError(
            f"rename {unfit[0].path!r} ({unfit[0].label!r}): in a list no name can hold a line break, begin with #, "
            "begin or end with a space, or be anything but UTF-8"
        )
    if outside := [v.path for v in videos if Path(v.path).is_absolute() or ".." in Path(v.path).parts]:
        raise InputError(f"{outside[0]}: paths must lie below the folder of the CSV; move the CSV above the videos")


def group_of(path: str, pattern: str) -> str:
    """What `pattern` finds in a path: its first bracket, or all of it; the path itself where it finds nothing."""
    found = re.search(pattern, path)
    return path if found is None else (found.group(1) or path) if found.re.groups else found.group(0)


def draw_splits(videos: Sequence[Video], before: Mapping[str, str], share: float, seed: int) -> list[Video]:
    """Every video with its split: the one it has, or had before, else drawn.

    Groups are gone through in an order that `seed` decides. A group that has a side keeps to it. Any other goes to
    validation if this brings the counts of its classes nearer to `share` of each, and leaves each a training video.
    """
    members = defaultdict(list)
    for video in videos:
        members[video.group].append(replace(video, split=video.split or before.get(video.path, "")))
    in_all, in_val = Counter(video.label for video in videos), Counter[str]()
    wanted = {label: min(count - 1, max(1, round(share * count))) if share else 0 for label, count in in_all.items()}
    sides = {group: next((v.split for v in parts if v.split), "") for group, parts in members.items()}
    in_val.update(v.label for group, parts in members.items() if sides[group] == "val" for v in parts)
    drawn = sorted((g for g in members if not sides[g]), key=lambda g: hashlib.sha256(f"{seed} {g}".encode()).digest())
    for group in drawn:
        own = Counter(video.label for video in members[group])
        nearer = sum(abs(in_val[c] + n - wanted[c]) - abs(in_val[c] - wanted[c]) for c, n in own.items())
        leaves_some = all(in_val[c] + n < in_all[c] for c, n in own.items())
        sides[group] = "val" if nearer < 0 and leaves_some else "train"
        in_val.update(own if sides[group] == "val" else {})
    split_of = {v.path: v.split or sides[group] for group, parts in members.items() for v in parts}
    return [replace(video, split=split_of[video.path]) for video in videos]


def classes(videos: Sequence[Video], file: Path) -> list[str]:
    """The class names: those of before in their order, then the new ones, sorted."""
    before = read_categories(file) if file.exists() else []
    return before + sorted({video.label for video in videos} - set(before))


def extract_frames(
    args: argparse.Namespace, folder: Path, root: Path, videos: Sequence[Video]
) -> tuple[dict[str, int], int]:
    """Folders of frames; the number of frames of each video, 0 where there are none, and how many failed."""
    frames = folder / "frames"
    stems = {video.path: Path(video.path).with_suffix("").as_posix() for video in videos}
    jobs = {v.path: Job(root / v.path, frames / stems[v.path], stems[v.path], v.label) for v in videos}
    refuse_shared_folders(list(jobs.values()))
    frame_format = FrameFormat(args.short_side, args.quality, "{:05d}.jpg")
    outcomes = extract_jobs(list(jobs.values()), frames, root, frame_format, args.jobs)
    report(outcomes)
    return {path: outcomes[job].frames for path, job in jobs.items()}, sum(bool(o.error) for o in outcomes.values())


def index_video_files(
    args: argparse.Namespace, folder: Path, root: Path, videos: Sequence[Video]
) -> tuple[dict[str, int], int]:
    """Nothing is extracted; the same as `extract_frames` of the video files themselves."""
    known: dict[str, Indexed] = {}
    for split in SPLITS:
        paths = [video.path for video in videos if video.split == split]
        folder.mkdir(parents=True, exist_ok=True)
        known |= index_videos(folder / f"{split}_videos.txt", root, paths) if paths else {}
    failed = [f"{path}: {entry.fault}" for path, entry in known.items() if not entry.table]
    if failed:
        print(f"failed: {len(failed)}", *failed, sep="\n  ", file=sys.stderr)
    return {path: entry.num_frames for path, entry in known.items()}, len(failed)


def write_lists(
    folder: Path, videos: Sequence[Video], categories: Sequence[str], counts: Mapping[str, int] | None
) -> None:
    """category.txt and, for each split, the list of video files and, with `counts`, of folders of frames."""
    label = {name: number for number, name in enumerate(categories)}
    write_text(folder / CLASS_FILE, "".join(f"{name}\n" for name in categories))
    for split in SPLITS:
        chosen = [video for video in videos if video.split == split]
        lists = {f"{split}_videos.txt": [f"{v.path} {label[v.label]}\n" for v in chosen]}
        if counts:
            stems = [Path(v.path).with_suffix("").as_posix() for v in chosen]
            pairs = zip(chosen, stems, strict=True)
            lists[f"{split}_videofolder.txt"] = [f"{s} {counts[v.path]} {label[v.label]}\n" for v, s in pairs]
        for name, lines in lists.items():
            if lines:
                write_text(folder / name, "".join(lines))
            else:
                (folder / name).unlink(missing_ok=True)


def write_table(file: Path, videos: Sequence[Video]) -> None:
    """videos.csv, from which the next run knows every video's side."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(video) for video in videos)
    write_text(file, text.getvalue())


def describe(args: argparse.Namespace, folder: Path, root: Path) -> None:
    """dataset.toml, unless there is one; then only the storage of this run is noted in it."""
    file = folder / DESCRIPTION
    storage = f'storage = "{args.storage}"'
    if file.exists():
        text = file.read_text(encoding="utf-8")
        write_text(file, re.sub(r"^storage *=.*$", storage, text, count=1, flags=re.MULTILINE))
        return
    made = {"videos": str(args.videos.resolve()), "seed": args.seed, "val_share": args.val_share}
    made |= {"group_by": args.group_by} if args.group_by else {}
    notes = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in made.items())
    write_text(
        file,
        f"# Made by tools/prepare_videos.py; change what does not suit.\n"
        f"# mirror: none, plain (a mirrored clip keeps its label), swap (left and right change places in the label),\n"
        f"# auto (none where a class name has a side in it, else plain).\n"
        f'mirror = "auto"\n{storage}\nvideos = {json.dumps(str(root), ensure_ascii=False)}\n\n[made]\n{notes}',
    )


def summarise(folder: Path, videos: Sequence[Video], categories: Sequence[str], gone: set[str]) -> None:
    """What the data set is now, and what to know of it."""
    counts = Counter((video.split, video.label) for video in videos)
    parts = [f"{sum(video.split == split for video in videos)} {split}" for split in SPLITS]
    policy, because = default_policy(categories)
    print(f"{folder}: {len(categories)} classes; videos: {', '.join(parts)}", file=sys.stderr)
    print(f"mirroring by default: {policy} ({because})", file=sys.stderr)
    for split in SPLITS[:2]:
        if without := [name for name in categories if not counts[split, name]]:
            some = ", ".join(without[:5]) + ", …" * (len(without) > 5)
            print(f"warning: no {split} video of {len(without)} classes: {some}", file=sys.stderr)
    if gone:
        print(f"{len(gone)} videos are no longer there and left the lists, e.g. {min(gone)}", file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's preemption: tidy up as for Ctrl-C
    with reported():
        sys.exit(main())
