"""A data set of one's own videos: frames, lists and a description, ready for main.py.

    python tools/prepare_videos.py --videos my_videos/ --name mine
    python main.py mine RGB --shift …

Which videos. --videos is a folder with a folder for each class, or a CSV of path,label[,split[,group]], with or
without these words as its first line; paths are relative to the CSV. The class of a video is the first folder of its
path; folders below it say nothing. What is no video is counted, with the reason. A video that cannot be used is
reported and left out; the others go on.

Training or validation. In each class --val_share of the videos goes to validation, at least one if there are two,
drawn by --seed. Videos of one group stay together, as the parts of one recording must not be on both sides: --group_by
is a regular expression, searched in the path of each video, and what it finds (its first bracket, if it has one)
names the group; in a CSV the column group does. The CSV's column split (train, val or test) decides by itself.

Folders of splits. train/, val/ and test/ (also training, valid, validation, testing; in capitals or not) are no
classes if every first folder with videos has such a name and the folders of the classes lie in it: then they decide
as the CSV's column does. So they do as second folders, in those of all classes. One of them alone has nothing to be
apart from: its videos are drawn as any others. A single such name beside other classes is a class; several beside
others are refused. What was taken for what is said at the start, with the names of the classes.

What is written. dataset/NAME/ with frames/, category.txt, train_videofolder.txt and val_videofolder.txt, the same as
train_videos.txt and val_videos.txt for --storage video, videos.csv (path, label, split and group of each video) and
dataset.toml, which describes it: whether clips may be mirrored, where the videos are, how the frames were made. With
--storage video no frames are extracted: training decodes the videos.

Again. The same command continues after an interruption, and takes in videos that came since: a video stays on its
side, new classes come after the old ones, and a video that is no longer there leaves the lists. The share, the seed,
the groups and the look of the frames are as before where they are not given. Another --seed or --val_share draws what
is new (the latter is refused where nothing is); other settings of the frames are refused, and another --videos too,
unless the videos only moved, which their frames or sizes tell. What was changed by hand in dataset.toml stays.

Exit status: 0 all videos are in, 1 some cannot be used, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import csv
import filecmp
import hashlib
import io
import os
import re
import shlex
import signal
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.catalog import CATALOG, DESCRIPTION, NAME, read_description
from ops.data.opposites import default_policy
from ops.data.passed_over import PassedOver
from ops.data.records import read_categories, read_list
from ops.data.textfile import read_text
from ops.data.video_index import Indexed, index_file, index_videos, read_index
from ops.errors import InputError, did_you_mean, explained, reported
from ops.files import stays_below, write_text
from ops.locks import claimed
from ops.tables import as_csv, unguarded
from tools.description import assignment, note
from tools.options import add_frame_format, add_jobs, add_root, common_faults, default_root, documented_parser
from tools.vid2img import (
    CLASS_FILE,
    FITS_A_LINE,
    SAMPLED,
    SETTINGS_FILE,
    Job,
    extract_jobs,
    read_settings,
    refuse_shared_folders,
    report,
    shows,
    spread,
    with_reason,
)
from tools.video_folders import SPLIT_NAMES, SPLITS, find_videos, in_short, sort_into_classes
from tools.video_frames import FrameFormat

COLUMNS = ("path", "label", "split", "group")
TABLE = "videos.csv"
TEMPLATE = "{:05d}.jpg"
MADE = "made"  # the table of dataset.toml that keeps what a command was given
HEAD = """\
# Made by tools/prepare_videos.py; change what does not suit.
# mirror: none, plain (a mirrored clip keeps its label), swap (left and right change places in the label),
# auto (none where a class name has a side in it, else plain)."""
DRAW = {"val_share": 0.2, "seed": 0, "group_by": ""}
FRAMES = {"short_side": 256, "quality": 95}


@dataclass(frozen=True)
class Video:
    """A user's video: its path below the videos' folder, its class, its split (empty: to be drawn), its group."""

    path: str
    label: str
    split: str
    group: str

    @property
    def stem(self) -> str:
        """Its folder of frames, below that of all."""
        return Path(self.path).with_suffix("").as_posix()


@dataclass(frozen=True)
class Before:
    """What earlier runs left: each video's side by its path in the form NFC, and what dataset.toml says."""

    sides: Mapping[str, str]
    said: Mapping[str, Any]

    @property
    def made(self) -> Mapping[str, Any]:
        """What a command was given."""
        return self.said.get(MADE, {})

    def side(self, video: Video) -> str:
        """Empty if the video is new."""
        return self.sides.get(_nfc(video.path), "")


def _nfc(text: str) -> str:
    """A name as it is compared: "é" is one letter or two on disks of different systems."""
    return unicodedata.normalize("NFC", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, prepare; the exit status."""
    args = parse(argv)
    folder = Path(args.root_dataset) / args.name
    with explained("What is finished is kept; the same command continues"), claimed(folder):
        return run(args)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what is not given is None. Raises one InputError that names every wrong option."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="DIR|CSV", help="folder of class folders, or a CSV")
    add("--name", required=True, help="of the data set")
    add_root(parser)
    add("--val_share", type=float, help="of the videos of a class, for validation (0.2)")
    add("--seed", type=int, help="of the draw (0)")
    add("--group_by", metavar="REGEX", help="what names a video's recording, in its path")
    add("--storage", help="frames, or video: extract nothing (frames)")
    add_frame_format(parser)
    add_jobs(parser)
    parser.set_defaults(**dict.fromkeys(FRAMES))
    args = parser.parse_args(argv)

    faults = common_faults(args)
    if args.name in CATALOG:
        how = CATALOG[args.name].how_to_get
        faults.append(f"--name {args.name}: a known data set ({how}); choose another name for your own")
    elif not NAME.fullmatch(args.name):
        faults.append(f"--name {args.name!r}: expected letters, digits, _ . or -, as it names a folder")
    if args.storage not in (None, "frames", "video"):
        faults.append(f"--storage {args.storage}: expected frames or video (tools/pack_frames.py packs frames)")
    if args.storage == "video" and (idle := [f"--{key}" for key in FRAMES if getattr(args, key) is not None]):
        faults.append(f"{', '.join(sorted(idle))}: nothing is extracted with --storage video; leave it out")
    given = {key: getattr(args, key) for key in DRAW if getattr(args, key) is not None}
    faults += [f"--{fault}" for fault in draw_faults(given)]
    if faults:
        raise InputError("; ".join(faults))
    return args


def draw_faults(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with what decides the draw."""
    faults = []
    share, seed, pattern = (given.get(key, default) for key, default in DRAW.items())
    if not (isinstance(share, int | float) and 0 <= share < 1):
        faults.append(f"val_share {share}: expected a number from 0 to below 1")
    if not isinstance(seed, int):
        faults.append(f"seed {seed}: expected a whole number")
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        faults.append(f"group_by {pattern!r}: not a regular expression: {error}")
    return faults


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status."""
    folder = Path(args.root_dataset) / args.name
    passed_over = PassedOver()
    root, videos = find(args, passed_over)
    before = read_before(folder)
    draw = settled(args, DRAW, before.made)
    if faults := draw_faults(draw):
        raise InputError(f"{folder / DESCRIPTION}: [{MADE}] {'; '.join(faults)}")
    videos = grouped(videos, draw["group_by"], all_of_them=args.group_by is not None)
    refuse_other_videos(args, folder, root, videos, before)
    refuse_idle_draw(args, folder, videos, before)
    given = {video.path for video in videos if video.split}
    videos = draw_splits(videos, before.sides, draw["val_share"], draw["seed"])
    look_at_groups(videos, given, folder / TABLE)
    categories = classes(videos, folder / CLASS_FILE)

    storage = args.storage or "frames"
    prepare = extract_frames if storage == "frames" else index_video_files
    counts, failed = prepare(args, folder, root, videos)
    usable = [video for video in videos if counts[video.path]]
    if not usable:
        raise InputError(f"--videos {args.videos}: none of its {len(videos)} videos can be used (see above)")
    of_frames = {v.stem: counts[v.path] for v in usable} if storage == "frames" else counted_before(folder, categories)
    write_lists(folder, usable, categories, of_frames)
    write_table(folder / TABLE, videos)
    describe(args, folder, root, storage, draw, before)
    if passed_over.counts:
        print(passed_over.in_words(), file=sys.stderr)
    summarise(folder, usable, categories, set(before.sides) - {_nfc(video.path) for video in videos})
    advise(args, folder, usable, why_none(videos, given, draw["val_share"], folder / TABLE), before)
    return 1 if failed else 0


def find(args: argparse.Namespace, passed_over: PassedOver) -> tuple[Path, list[Video]]:
    """The folder that all videos lie below, and the videos; says of which classes they are."""
    is_table = args.videos.is_file()
    root = args.videos.parent.resolve() if is_table else args.videos.resolve()
    videos = videos_of_table(args.videos, root) if is_table else videos_of_folders(root, passed_over)
    refuse_unfit(root, videos)
    refuse_shared_folders([Job(root / video.path, Path(video.stem), video.stem) for video in videos])
    print(f"{args.videos}: {len(videos)} videos, {in_short(sorted({v.label for v in videos}))}", file=sys.stderr)
    return root, videos


def read_before(folder: Path) -> Before:
    """What earlier runs left in the data set's folder."""
    table = folder / TABLE
    sides = {_nfc(video.path): video.split for video in read_table(table)} if table.exists() else {}
    return Before(sides, read_description(folder / DESCRIPTION))


def settled(args: argparse.Namespace, defaults: Mapping[str, Any], noted: Mapping[str, Any]) -> dict[str, Any]:
    """Of these settings what is given, else what was noted before, else the default."""
    return {
        key: noted.get(key, default) if getattr(args, key) is None else getattr(args, key)
        for key, default in defaults.items()
    }


def videos_of_folders(root: Path, passed_over: PassedOver) -> list[Video]:
    """The videos of class folders (see `sort_into_classes`). InputError for an empty one."""
    paths = [video.relative_to(root).as_posix() for video in find_videos(root, passed_over)]
    layout = sort_into_classes(root, paths)
    for line in layout.notes:
        print(f"note: {line}", file=sys.stderr)
    labels = set(layout.labels)
    for empty in (each for each in layout.class_folders if _nfc(each.name) not in labels):
        inside = PassedOver()
        with suppress(InputError):
            find_videos(empty, inside)
        there = f" (there are {inside.in_short()})" * bool(inside.counts)
        raise InputError(
            f"--videos {root}: the class folder {empty.relative_to(root).as_posix()!r} has no video in it{there}: "
            "move it elsewhere, or put videos there"
        )
    rows = zip(paths, layout.labels, layout.splits, strict=True)
    return [Video(path, label, split, path) for path, label, split in rows]


def videos_of_table(file: Path, root: Path) -> list[Video]:
    """The videos of a CSV, their paths as they are on the disk: the same letters may be encoded otherwise there."""
    videos = []
    for video in read_table(file):
        spellings = (video.path, *(unicodedata.normalize(form, video.path) for form in ("NFC", "NFD")))
        there = (path for path in spellings if os.path.exists(root / path))  # noqa: PTH110 (which never raises)
        path = next(there, video.path)
        videos.append(replace(video, path=path, group=path if video.group == video.path else video.group))
    return videos


def read_table(file: Path) -> list[Video]:
    """The videos of a CSV of path,label[,split[,group]]. Raises one InputError with every faulty line."""
    reader = csv.reader(io.StringIO(read_text(file, "table"), newline=""))
    try:
        rows = [(reader.line_num, [unguarded(cell.strip()) for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise InputError(f"{file}:{reader.line_num}: cannot be read as CSV: {error}") from error
    columns = list(COLUMNS)
    if rows and {"path", "label"} <= set(rows[0][1]):
        columns = rows.pop(0)[1]
        if unknown := set(columns) - set(COLUMNS):
            raise InputError(f"{file}:1: unknown column {sorted(unknown)[0]!r}; known are {', '.join(COLUMNS)}")
    videos, faults = {}, []
    for number, row in rows:
        said = dict(zip(columns, row, strict=False))
        path, label, split = (said.get(key, "") for key in ("path", "label", "split"))
        split = SPLIT_NAMES.get(split.lower(), split)
        if len(row) > len(columns) or not path or not label:
            faults.append(f"  {file}:{number}: expected {','.join(columns)}: {','.join(row)!r}")
        elif split not in ("", *SPLITS):
            faults.append(
                f"  {file}:{number}: split {split!r}: expected {', '.join(SPLITS)}{did_you_mean(split, SPLITS)}"
            )
        elif _nfc(path) in videos:
            faults.append(f"  {file}:{number}: {path} stands there twice")
        videos[_nfc(path)] = Video(path, _nfc(label), split, said.get("group") or path)
    if faults or not videos:
        raise InputError("\n".join([f"{file} is malformed:", *faults]) if faults else f"{file} lists no video")
    return list(videos.values())


def refuse_unfit(root: Path, videos: Sequence[Video]) -> None:
    """Raises InputError for names that cannot stand in a list, in dataset.toml or in the data set's folder."""
    if re.search("[\ud800-\udfff]", str(root)):
        raise InputError(f"--videos {str(root)!r}: rename it: dataset.toml, which notes it, is UTF-8 text")
    unfit = [v for v in videos if not (FITS_A_LINE.fullmatch(v.path) and FITS_A_LINE.fullmatch(v.label))]
    if unfit:
        raise InputError(
            f"rename {unfit[0].path!r} ({unfit[0].label!r}): in a list no name can hold a line break, begin with #, "
            "begin or end with a space, or be anything but UTF-8"
        )
    if outside := [v.path for v in videos if not stays_below(v.path)]:
        raise InputError(f"{outside[0]}: paths must lie below the folder of the CSV; move the CSV above the videos")


def grouped(videos: Sequence[Video], pattern: str, all_of_them: bool) -> list[Video]:
    """The videos with the recordings that `pattern` finds; unless it is for all, of those that are of no group."""
    chosen = {video.path for video in videos if pattern and (all_of_them or video.group == video.path)}
    return [replace(v, group=group_of(v.path, pattern)) if v.path in chosen else v for v in videos]


def group_of(path: str, pattern: str) -> str:
    """What `pattern` finds in a path: its first bracket, or all of it; the path itself where it finds nothing."""
    found = re.search(pattern, path)
    return path if found is None else (found.group(1) or path) if found.re.groups else found.group(0)


def refuse_other_videos(
    args: argparse.Namespace, folder: Path, root: Path, videos: Sequence[Video], before: Before
) -> None:
    """Raises InputError where the data set was made of other videos than these; says where they only moved."""
    old = earlier_root(folder, before)
    if not before.sides or old in (None, root) or before.made.get("videos") == str(args.videos.resolve()):
        return
    known = [video for video in videos if before.side(video)]
    index = {
        p: entry for split in SPLITS for p, entry in read_index(index_file(folder / f"{split}_videos.txt")).items()
    }
    different = (video.path for video in spread(known, SAMPLED) if not is_same(video, folder, root, old, index))
    fault = next(different, "") if known else f"none of the {len(before.sides)} videos of before is there"
    if fault:
        raise InputError(
            f"--videos {args.videos}: {args.name} was made of the videos in {old}, and those in {root} are others "
            f"({fault}). Give another --name, or move {folder} away to make it anew"
        )
    print(f"{folder}: its videos are in {root} now (they were in {old})", file=sys.stderr)


def earlier_root(folder: Path, before: Before) -> Path | None:
    """Where dataset.toml says that the videos are."""
    return (folder / before.said["videos"]).resolve() if "videos" in before.said else None


def is_same(video: Video, folder: Path, root: Path, old: Path, index: Mapping[str, Indexed]) -> bool:
    """Whether a video is the one of before: by its frames, by what the index keeps, or by what still lies in `old`."""
    frames = folder / "frames"
    job, settings = Job(root / video.path, frames / video.stem, video.stem), read_settings(frames / SETTINGS_FILE)
    if settings and job.folder.is_dir():
        return shows(job, FrameFormat(*(settings[key] for key in ("short_side", "quality", "template"))))
    if video.path in index:
        return job.video.is_file() and index[video.path].state.today(job.video) is not None
    return (old / video.path).is_file() and filecmp.cmp(old / video.path, job.video)


def refuse_idle_draw(args: argparse.Namespace, folder: Path, videos: Sequence[Video], before: Before) -> None:
    """Says what another share or seed than before does. Raises InputError for a share that would change nothing."""
    drawn = [video for video in videos if not video.split]
    kept = sum(1 for video in drawn if before.side(video))
    for key in ("val_share", "seed"):
        given, noted = getattr(args, key), before.made.get(key)
        if given is not None and not drawn:
            print(f"note: --{key} {given}: nothing is drawn, as the split of every video is given", file=sys.stderr)
        if not kept or given is None or noted in (None, given):
            continue
        said = f"--{key} {given}: {kept} videos of before keep their side, drawn with {noted}, and {len(drawn) - kept} "
        said += f"are new. To draw all anew, remove {folder / TABLE}"
        if key == "val_share" and kept == len(drawn):
            raise InputError(said)
        print(f"note: {said}", file=sys.stderr)


def look_at_groups(videos: Sequence[Video], given: Collection[str], table: Path) -> None:
    """A warning of parts of one recording on several sides where these are given; InputError where they were drawn."""
    parts = defaultdict(list)
    for video in videos:
        parts[video.group].append(video)
    for group, members in parts.items():
        sides = " and in ".join(split for split in SPLITS if split in {video.split for video in members})
        if " and " not in sides:
            continue
        if any(video.path not in given for video in members):
            raise InputError(
                f"parts of one recording are in {sides}: {group!r}. The videos of before keep their side; to draw all "
                f"anew, remove {table}"
            )
        print(f"warning: parts of one recording are in {sides}: {group!r}", file=sys.stderr)


def draw_splits(videos: Sequence[Video], before: Mapping[str, str], share: float, seed: int) -> list[Video]:
    """Every video with its split: the one it has, or had before, else drawn.

    Groups are gone through in an order that `seed` decides. A group that has a side keeps to it. Any other goes to
    validation if this brings the counts of its classes nearer to `share` of each, and leaves each a training video.
    """
    members = defaultdict(list)
    for video in videos:
        members[video.group].append(replace(video, split=video.split or before.get(_nfc(video.path), "")))
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
    jobs = {v.path: Job(root / v.path, frames / v.stem, v.stem) for v in videos}
    settings = settled(args, FRAMES, read_settings(frames / SETTINGS_FILE))
    remedy = f"Give another --name, or move {frames} away to make them anew"
    frame_format = FrameFormat(**settings, template=TEMPLATE)
    with claimed(frames):
        outcomes = extract_jobs(list(jobs.values()), frames, root, frame_format, args.jobs, remedy)
    report(outcomes)
    return {path: outcomes[job].frames for path, job in jobs.items()}, sum(bool(o.error) for o in outcomes.values())


def index_video_files(
    args: argparse.Namespace, folder: Path, root: Path, videos: Sequence[Video]
) -> tuple[dict[str, int], int]:
    """Nothing is extracted; the same as `extract_frames` of the video files themselves."""
    known: dict[str, Indexed] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        paths = [video.path for video in videos if video.split == split]
        if paths:
            known |= index_videos(folder / f"{split}_videos.txt", root, paths, args.jobs)
    failed = [f"{path}: {with_reason(path, entry.fault)}" for path, entry in known.items() if not entry.table]
    if failed:
        print(f"failed: {len(failed)}", *failed, sep="\n  ", file=sys.stderr)
    return {path: entry.num_frames for path, entry in known.items()}, len(failed)


def counted_before(folder: Path, categories: Sequence[str]) -> dict[str, int]:
    """The numbers of frames that the lists of an earlier run say, by the folder."""
    lists = (file for split in SPLITS if (file := folder / f"{split}_videofolder.txt").is_file())
    return {r.path: r.num_frames for file in lists for r in read_list(file, len(categories), unlabelled_too=True)}


def write_lists(folder: Path, videos: Sequence[Video], categories: Sequence[str], counts: Mapping[str, int]) -> None:
    """category.txt and, for each split, the list of video files and that of the folders of frames in `counts`."""
    label = {name: number for number, name in enumerate(categories)}
    write_text(folder / CLASS_FILE, "".join(f"{name}\n" for name in categories))
    for split in SPLITS:
        chosen = [video for video in videos if video.split == split]
        extracted = [video for video in chosen if video.stem in counts]
        lists = {
            f"{split}_videos.txt": [f"{v.path} {label[v.label]}\n" for v in chosen],
            f"{split}_videofolder.txt": [f"{v.stem} {counts[v.stem]} {label[v.label]}\n" for v in extracted],
        }
        for name, lines in lists.items():
            if lines:
                write_text(folder / name, "".join(lines))
            else:  # one of an earlier run must not stay
                (folder / name).unlink(missing_ok=True)


def write_table(file: Path, videos: Sequence[Video]) -> None:
    """videos.csv, from which the next run knows every video's side."""
    write_text(file, as_csv([COLUMNS, *(astuple(video) for video in videos)]))


def describe(
    args: argparse.Namespace, folder: Path, root: Path, storage: str, draw: Mapping[str, Any], before: Before
) -> None:
    """dataset.toml; in one that is there, only what this command gives otherwise."""
    file = folder / DESCRIPTION
    made = {"videos": str(args.videos.resolve()), **draw}
    if not file.exists():
        said = {"mirror": "auto", "storage": storage, "videos": str(root)}
        lines = [assignment(key, value) for key, value in said.items()]
        notes = [assignment(key, value) for key, value in made.items() if value != ""]
        write_text(file, "\n".join([HEAD, *lines, f"\n[{MADE}]", *notes, ""]))
        return
    if args.storage or before.said.get("storage") != "packed":
        note(file, "storage", storage)
    if (old := earlier_root(folder, before)) is None or (old != root and before.made.get("videos") != made["videos"]):
        note(file, "videos", str(root))
    for key, value in made.items():
        note(file, key, value, MADE)


def summarise(folder: Path, videos: Sequence[Video], categories: Sequence[str], gone: set[str]) -> None:
    """What the data set is now, and what to know of it."""
    counts = Counter((video.split, video.label) for video in videos)
    parts = {split: sum(video.split == split for video in videos) for split in SPLITS}
    policy, because = default_policy(categories)
    said = ", ".join(f"{count} {split}" for split, count in parts.items())
    print(f"{folder}: {in_short(categories)}; videos: {said}", file=sys.stderr)
    print(f"mirroring by default: {policy} ({because})", file=sys.stderr)
    if len(categories) == 1:
        print("warning: with one class there is nothing to tell apart", file=sys.stderr)
    for split in (split for split in SPLITS[:2] if parts[split]):
        if without := [name for name in categories if not counts[split, name]]:
            some = ", ".join(without[:5]) + ", …" * (len(without) > 5)
            print(f"warning: no {split} video of {len(without)} classes: {some}", file=sys.stderr)
    if gone:
        print(f"{len(gone)} videos are no longer there and left the lists, e.g. {min(gone)}", file=sys.stderr)


def why_none(videos: Sequence[Video], given: Collection[str], share: float, table: Path) -> str:
    """Why there is no video to validate with, where there is none."""
    if any(video.split == "val" for video in videos):
        return "those for it cannot be used"
    if len(given) == len(videos):
        return "the folders, or the CSV, name none"
    return "that takes two videos of a class" if share else f"--val_share is 0 (for another, remove {table} too)"


def advise(args: argparse.Namespace, folder: Path, videos: Sequence[Video], why: str, before: Before) -> None:
    """The next commands, and what they need where something is missing: `why` there is nothing to validate with."""
    sides = {video.split for video in videos}
    if "train" not in sides:
        print("warning: no video to train with", file=sys.stderr)
    if "val" not in sides:
        print(f"warning: no video to validate with: {why}. Train with --eval-freq 0", file=sys.stderr)
    where = ["--root_dataset", str(args.root_dataset)] if args.root_dataset != default_root() else []
    if before.said.get("storage") == "packed" and not args.storage:
        packing = shlex.join(["python", "tools/pack_frames.py", args.name, *where])
        print(f'storage = "packed" stays in {folder / DESCRIPTION}: {packing} adds what is new', file=sys.stderr)
    if any(folder.glob("*_videofolder_flow.txt")):
        flow = shlex.join(["python", "tools/extract_flow.py", args.name, *where])
        print(f"the lists of flow are those of before: {flow} makes them anew", file=sys.stderr)
    trained = sum(video.split == "train" for video in videos)
    network = f"--arch resnet18 --pretrain none --num_segments 8 --shift --npb -b {min(8, trained)} --lr 0.005".split()
    check = ["python", "tools/check_dataset.py", args.name, *where]
    train = ["python", "main.py", args.name, "RGB", *network, *where, *["--eval-freq", "0"] * ("val" not in sides)]
    print(f"next: {shlex.join(check)}", *[f"      {shlex.join(train)}"] * bool(trained), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's preemption: tidy up as for Ctrl-C
    with reported():
        sys.exit(main())
