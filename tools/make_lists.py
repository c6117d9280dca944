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

Official files: Something-Something V1 and Jester *labels.csv, *train.csv, *validation.csv; V2 *labels.json,
*train.json, *validation.json; Kinetics *train*.csv, *val*.csv, or .json; UCF101 classInd.txt, trainlist01.txt,
testlist01.txt; HMDB51 CLASS_test_split1.txt; Diving48 *vocab*.json, *train.json, *test.json.

Exit status: 0 all found, 1 some missing, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cache, partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.catalog import CATALOG, DESCRIPTION, read_description
from ops.data.parallel import in_parallel
from ops.data.videofile import EXTENSIONS
from ops.errors import InputError, did_you_mean, reported
from ops.files import write_text
from tools.official_labels import READERS, Clip, read_official
from tools.options import add_jobs, add_root, common_faults, documented_parser
from tools.vid2img import CLASS_FILE, TEMPLATE

CHUNK = 256  # folders counted by a process at a time
SHOWN = 10  # missing videos that are named on the terminal; all are in missing.txt

Names = tuple[str, ...]  # that a clip may have
# A clip's name in the list and its number of frames (0: a video file), or why it is left out.
Found = tuple[str, int] | str


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, look, write; the exit status."""
    args = parse(argv)
    try:
        return run(args)
    except OSError as fault:
        raise InputError(f"{fault}. Mend it and give the same command again") from fault


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status."""
    folder = Path(args.root_dataset) / args.dataset
    read_description(folder / DESCRIPTION)  # what is wrong with it is said before anything is counted or written
    official = read_official(args.dataset, args.labels)
    key, kind, media = ("frames", "videofolder", args.frames) if args.frames else ("videos", "videos", args.videos)
    found = look_for(official.lists, media, args.template if args.frames else "", args.jobs)
    if not any(isinstance(result, tuple) for results in found.values() for result in results):
        raise InputError(f"--{key} {media}: {nothing_found(media, official.lists, found)}")
    write_text(folder / CLASS_FILE, "".join(f"{name}\n" for name in official.categories))
    for name, clips in official.lists.items():
        split, line, mark = name.partition("_")
        write_list(folder / f"{split}_{kind}{line}{mark}.txt", clips, found[name])
    note(folder, key, "" if media.resolve() == (folder / key).resolve() else str(media.resolve()))
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
    add_root(parser)
    add("--template", default="{:05d}.jpg", help="name of a frame, counted from 1 ({:05d}.jpg)")
    add_jobs(parser, "processes that count frames")
    args = parser.parse_args(argv)

    faults = common_faults(args)
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
    if faults:
        raise InputError("; ".join(faults))
    return args


def look_for(lists: dict[str, list[Clip]], media: Path, template: str, jobs: int) -> dict[str, list[Found]]:
    """What became of every clip of every list. Without `template`, video files are looked for."""
    names = list(dict.fromkeys(clip.names for clips in lists.values() for clip in clips))
    found = dict(look_for_frames(names, media, template, jobs) if template else look_for_videos(names, media))
    return {name: [found[clip.names] for clip in clips] for name, clips in lists.items()}


def look_for_frames(names: Sequence[Names], media: Path, template: str, jobs: int) -> Iterator[tuple[Names, Found]]:
    """Each clip's names with its folder and number of frames, counted by several processes."""
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    with closing(in_parallel(partial(count_chunk, media=media, template=template), chunks, jobs, "chunk")) as counted:
        for chunk, results in counted:
            yield from zip(chunk, results, strict=True)


def look_for_videos(names: Sequence[Names], media: Path) -> Iterator[tuple[Names, Found]]:
    """Each clip's names with its file. A folder is listed once, instead of every extension tried."""
    listed = cache(partial(videos_in, media))
    for candidates in names:
        parts = (name.rpartition("/") for name in candidates)
        there = ((folder + slash + file, 0) for folder, slash, stem in parts if (file := listed(folder).get(stem)))
        yield candidates, next(there, f"{candidates[0]}: missing")


def videos_in(media: Path, folder: str) -> dict[str, str]:
    """The video files of a folder below `media`, by their names without extension; none if there is no such folder."""
    try:
        files = sorted((entry.name for entry in os.scandir(media / folder) if entry.is_file()), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {Path(file).stem: file for file in files if Path(file).suffix.lower() in EXTENSIONS}


def count_chunk(chunk: Sequence[Names], media: Path, template: str) -> list[Found]:
    """Of each clip the first of its names that is there."""
    find = partial(count_frames, template=template)
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


def nothing_found(media: Path, lists: dict[str, list[Clip]], found: dict[str, list[Found]]) -> str:
    """Where it was looked, and what is there instead; or what is wrong with what was found."""
    results = [result for results in found.values() for result in results if isinstance(result, str)]
    if damaged := [result for result in results if not result.endswith(": missing")]:
        return f"none of the {len(results)} videos is usable: {damaged[0]}. Make the frames anew, or give --template"
    wanted = next(clip for clips in lists.values() for clip in clips)
    there = sorted(entry.name for entry in islice(os.scandir(media), 1000))[:3]
    return (
        f"none of the {len(results)} videos is there. Looked for "
        f"{' or '.join(str(media / name) for name in wanted.names)}; the folder holds {', '.join(there) or 'nothing'}. "
        "Give the folder that they lie in"
    )


def write_list(path: Path, clips: Sequence[Clip], found: Sequence[Found]) -> None:
    """The lines of those that are there."""
    there = [(clip, result) for clip, result in zip(clips, found, strict=True) if isinstance(result, tuple)]
    lines = (f"{in_list(name)} {f'{count} ' * bool(count)}{clip.label}\n" for clip, (name, count) in there)
    if there:
        write_text(path, "".join(lines))
    else:  # an empty list would be an error wherever it is read
        path.unlink(missing_ok=True)
    print(f"{path}: {len(there)} of {len(clips)} videos", file=sys.stderr)


def in_list(name: str) -> str:
    """A path as it stands in a list, where a line that begins with # is a comment. HMDB51 has such names."""
    return f"./{name}" if name.startswith("#") else name


def report_missing(file: Path, found: Iterable[Found]) -> int:
    """Names what is not there; the exit status."""
    missing = list(dict.fromkeys(result for result in found if isinstance(result, str)))
    if not missing:
        file.unlink(missing_ok=True)
        return 0
    write_text(file, "".join(f"{line}\n" for line in missing))
    shown = [*missing[:SHOWN], "…"] if len(missing) > SHOWN else missing
    print(f"missing or damaged: {len(missing)}, all in {file}", *shown, sep="\n  ", file=sys.stderr)
    return 1


def note(folder: Path, key: str, value: str) -> None:
    """Notes in dataset.toml what differs from the usual; an empty `value` takes the note away. Other lines stay."""
    file = folder / DESCRIPTION
    before = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    tables = next((at for at, line in enumerate(before) if line.lstrip().startswith("[")), len(before))
    at = next((at for at, line in enumerate(before[:tables]) if re.match(rf'\s*"?{key}"?\s*=', line)), None)
    line = [f"{key} = {json.dumps(value, ensure_ascii=False)}"] if value else []
    after = line + before if at is None else before[:at] + line + before[at + 1 :]
    if after != before:
        write_text(file, "".join(f"{line}\n" for line in after))


if __name__ == "__main__":
    with reported():
        sys.exit(main())
