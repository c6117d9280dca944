"""The lists of a known data set, from its official label files.

    python tools/make_lists.py something --labels labels/ --frames dataset/something/frames
    python tools/make_lists.py ucf101 --labels ucfTrainTestlist/ --videos dataset/ucf101/videos

What is written, in <root>/<data set>/: category.txt; with --frames train_videofolder.txt and val_videofolder.txt, "path
frames label" a line; with --videos train_videos.txt and val_videos.txt, "path label" a line, for --storage video. A
test part becomes test_videofolder.txt (label -1 where it is not known), further splits train_videofolder_split2.txt
and so on. Frames are counted, in parallel. A folder other than the data set's own
and a --template other than the usual are noted in dataset.toml, so that training finds the frames.

What is missing. A video that is not there, or whose frames have a gap, is left out of the lists and named in
missing.txt. If nothing at all is found, nothing is written.

Official files: Something-Something V1 and Jester *-labels.csv, *-train.csv, *-validation.csv; V2 *labels.json,
*train.json, *validation.json; Kinetics *train*.csv, *val*.csv; UCF101 classInd.txt, trainlist01.txt, testlist01.txt;
HMDB51 CLASS_test_split1.txt; Diving48 *vocab*.json, *train.json, *test.json.

Exit status: 0 all found, 1 some missing, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.catalog import CATALOG, DESCRIPTION
from ops.data.parallel import in_parallel, usable_cores
from ops.data.videofile import EXTENSIONS
from ops.errors import InputError, did_you_mean, reported
from tools.official_labels import READERS, Clip, read_official
from tools.vid2img import CLASS_FILE, TEMPLATE, documented_parser, write_whole

CHUNK = 256  # folders counted by a process at a time
SHOWN = 10  # missing videos that are named on the terminal; all are in missing.txt

# A clip's name in the list and its number of frames (0: a video file), or why it is left out.
Found = tuple[str, int] | str


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, look, write; the exit status."""
    args = parse(argv)
    official = read_official(args.dataset, args.labels)
    folder = Path(args.root_dataset) / args.dataset
    media = args.frames or args.videos
    found = look_for(official.lists, media, args.template if args.frames else "", args.jobs)
    if not any(isinstance(result, tuple) for results in found.values() for result in results):
        raise InputError(nothing_found(media, official.lists))
    write_whole(folder / CLASS_FILE, "".join(f"{name}\n" for name in official.categories))
    for name, clips in official.lists.items():
        split, _, mark = name.partition("_")
        kind = "videofolder" if args.frames else "videos"
        write_list(folder / f"{split}_{kind}{'_' * bool(mark)}{mark}.txt", clips, found[name])
    kind = "frames" if args.frames else "videos"
    note(folder, kind, "" if media.resolve() == (folder / kind).resolve() else str(media.resolve()))
    if args.frames:
        note(folder, "template", "" if args.template == CATALOG[args.dataset].template else args.template)
    return report_missing(folder / "missing.txt", [r for results in found.values() for r in results])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Raises one InputError that names every wrong option."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("dataset", help=", ".join(READERS))
    add("--labels", type=Path, required=True, metavar="DIR", help="folder of the official label files")
    add("--frames", type=Path, metavar="DIR", help="folder of the folders of frames")
    add("--videos", type=Path, metavar="DIR", help="folder of the video files")
    root = os.environ.get("FEXNET_DATASETS", "dataset")
    add("--root_dataset", default=root, metavar="DIR", help="where data sets live (FEXNET_DATASETS)")
    add("--template", default="{:05d}.jpg", help="name of a frame, counted from 1 ({:05d}.jpg)")
    add("-j", "--jobs", type=int, default=usable_cores(), help="processes that count frames (one a processor)")
    args = parser.parse_args(argv)

    faults = []
    if args.dataset not in READERS:
        how = CATALOG[args.dataset].how_to_get if args.dataset in CATALOG else f"known are {', '.join(READERS)}"
        faults.append(f"data set {args.dataset}: has no official files{did_you_mean(args.dataset, READERS)}; {how}")
    if bool(args.frames) == bool(args.videos):
        faults.append("give one of --frames DIR and --videos DIR")
    faults += [
        f"--{flag} {value}: no such folder"
        for flag, value in (("labels", args.labels), ("frames", args.frames), ("videos", args.videos))
        if value and not value.is_dir()
    ]
    if not TEMPLATE.fullmatch(args.template):
        faults.append(f"--template {args.template!r}: a JPEG file name with one number in it, as {{:05d}}.jpg")
    if args.jobs < 1:
        faults.append(f"--jobs {args.jobs}: at least 1")
    if faults:
        raise InputError("; ".join(faults))
    return args


def look_for(lists: dict[str, list[Clip]], media: Path, template: str, jobs: int) -> dict[str, list[Found]]:
    """What became of every clip of every list. Without `template`, video files are looked for."""
    names = iter(dict.fromkeys(clip.names for clips in lists.values() for clip in clips))
    chunks = list(iter(lambda: tuple(islice(names, CHUNK)), ()))
    found: dict[tuple[str, ...], Found] = {}
    with closing(in_parallel(partial(look, media=media, template=template), chunks, jobs, "chunk")) as seen:
        for chunk, results in seen:
            found.update(zip(chunk, results, strict=True))
    return {name: [found[clip.names] for clip in clips] for name, clips in lists.items()}


def look(chunk: Sequence[tuple[str, ...]], media: Path, template: str) -> list[Found]:
    """The first of each clip's names that is there."""
    find = partial(count_frames, template=template) if template else find_file
    return [next((r for name in names if (r := find(media, name))), f"{names[0]}: missing") for names in chunk]


def count_frames(media: Path, name: str, template: str) -> Found:
    """A folder's name and number of frames; empty if it is not there."""
    try:
        files = {entry.name for entry in os.scandir(media / name)}
    except (FileNotFoundError, NotADirectoryError):
        return ""
    before, after = re.split(r"\{[^}]*\}", template)
    frames = re.compile(rf"{re.escape(before)}\d+{re.escape(after)}")
    count = sum(frames.fullmatch(file) is not None for file in files)
    gap = next((file for k in range(1, count + 1) if (file := template.format(k)) not in files), None)
    if gap or not count:
        return f"{name}: " + (f"has {count} frames but no {gap}" if gap else f"has no frame like {template.format(1)}")
    return name, count


def find_file(media: Path, name: str) -> Found:
    """A video file's name with its extension; empty if it is not there."""
    for extension in sorted(EXTENSIONS):
        if (media / (name + extension)).is_file():
            return name + extension, 0
    return ""


def nothing_found(media: Path, lists: dict[str, list[Clip]]) -> str:
    """Where it was looked, and what is there instead."""
    wanted = next(clip for clips in lists.values() for clip in clips)
    there = sorted(entry.name for entry in islice(os.scandir(media), 1000))[:3]
    return (
        f"{media}: none of the {sum(map(len, lists.values()))} videos is there. Looked for "
        f"{' or '.join(str(media / name) for name in wanted.names)}; the folder holds {', '.join(there) or 'nothing'}"
    )


def write_list(path: Path, clips: Sequence[Clip], found: Sequence[Found]) -> None:
    """The lines of those that are there."""
    there = [(clip, result) for clip, result in zip(clips, found, strict=True) if isinstance(result, tuple)]
    write_whole(path, "".join(f"{name} {f'{count} ' * bool(count)}{c.label}\n" for c, (name, count) in there))
    print(f"{path}: {len(there)} of {len(clips)} videos", file=sys.stderr)


def report_missing(file: Path, found: Iterable[Found]) -> int:
    """Names what is not there; the exit status."""
    missing = list(dict.fromkeys(result for result in found if isinstance(result, str)))
    if not missing:
        file.unlink(missing_ok=True)
        return 0
    write_whole(file, "".join(f"{line}\n" for line in missing))
    shown = [*missing[:SHOWN], "…"] if len(missing) > SHOWN else missing
    print(f"missing or damaged: {len(missing)}, all in {file}", *shown, sep="\n  ", file=sys.stderr)
    return 1


def note(folder: Path, key: str, value: str) -> None:
    """Notes in dataset.toml what differs from the usual; an empty `value` takes the note away."""
    file = folder / DESCRIPTION
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    kept = [line for line in lines if not re.match(rf"\s*{key}\s*=", line)]
    if value:
        kept.insert(0, f"{key} = {json.dumps(value, ensure_ascii=False)}")
    if kept != lines:
        write_whole(file, "".join(f"{line}\n" for line in kept))


if __name__ == "__main__":
    with reported():
        sys.exit(main())
