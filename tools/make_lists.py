"""The lists of a known data set, from its official label files.

    python tools/make_lists.py something --labels labels/ --frames dataset/something/frames
    python tools/make_lists.py ucf101 --labels ucfTrainTestlist/ --videos dataset/ucf101/videos

What is written, in <root>/<data set>/: category.txt; with --frames train_videofolder.txt and val_videofolder.txt, "path
frames label" a line; with --videos train_videos.txt and val_videos.txt, "path label" a line, for --storage video. A
test part becomes test_videofolder.txt (label -1 where it is not known), further splits train_videofolder_split2.txt
and so on. Frames are counted, in parallel; folders train, val and test in --frames or --videos are looked into too. A
folder other than the data set's own, and a --template and --first other than the usual, are noted in dataset.toml, so
that training finds the frames.

What is missing. A video that is not there, or whose frames have a gap, is left out of the lists and named in
missing.txt, with what is there instead. If nothing at all is found, nothing is written.

Official files: Something-Something V1 and Jester *labels.csv, *train.csv, *validation.csv; V2 *labels.json,
*train.json, *validation.json; Kinetics *train*.csv, *val*.csv, or .json; UCF101 classInd.txt, trainlist01.txt,
testlist01.txt; HMDB51 CLASS_test_split1.txt; Diving48 *vocab*.json, *train.json, *test.json.

Exit status: 0 all found, 1 some missing, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cache, partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.catalog import CATALOG, DESCRIPTION, TEMPLATE, read_description
from ops.data.frame_names import FRAME_NAME, longest_series
from ops.data.parallel import in_parallel
from ops.data.passed_over import MAYBE_VIDEOS
from ops.data.videofile import EXTENSIONS
from ops.errors import InputError, did_you_mean, explained, reported
from ops.files import write_text
from ops.locks import claimed
from tools.description import note
from tools.official_labels import READERS, Clip, read_official
from tools.options import add_jobs, add_root, common_faults, documented_parser
from tools.vid2img import CLASS_FILE, numbered
from tools.video_folders import SPLIT_NAMES

CHUNK = 256  # folders counted by a process at a time
EXPECTED = "a picture's file name with one number in it, as {:05d}.jpg"
SHOWN = 10  # missing videos that are named on the terminal; all are in missing.txt

Names = tuple[str, ...]  # that a clip may have
Naming = tuple[str, int]  # a frame's file name from its number, and the first frame's number
USUAL: Naming = (TEMPLATE, 1)
# A clip's name in the list and its number of frames (0: a video file), or why it is left out.
Found = tuple[str, int] | str
Others = Counter[str]  # the files in folders of frames that are no frames, by their endings


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, look, write; the exit status."""
    args = parse(argv)
    folder = Path(args.root_dataset) / args.dataset
    with explained("Mend it and give the same command again"), claimed(folder):
        return run(args)


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status."""
    folder = Path(args.root_dataset) / args.dataset
    naming = naming_of(args, folder / DESCRIPTION)  # a fault is said before anything is counted or written
    official = read_official(args.dataset, args.labels)
    key, kind, media = ("frames", "videofolder", args.frames) if args.frames else ("videos", "videos", args.videos)
    found, others = look_for(official.lists, media, naming, args.jobs)
    if not any(isinstance(result, tuple) for results in found.values() for result in results):
        raise InputError(f"--{key} {media}: {nothing_found(media, official.lists, found)}")
    write_text(folder / CLASS_FILE, "".join(f"{name}\n" for name in official.categories))
    for name, clips in official.lists.items():
        split, line, mark = name.partition("_")
        write_list(folder / f"{split}_{kind}{line}{mark}.txt", clips, found[name])
    note(folder / DESCRIPTION, key, "" if media.resolve() == (folder / key).resolve() else str(media.resolve()))
    if naming:
        template, first = naming
        note(folder / DESCRIPTION, "template", "" if template == TEMPLATE else template)
        note(folder / DESCRIPTION, "first", "" if first == 1 else first)
    if naming and others:
        some = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in others.most_common())
        print(f"passed over in folders of frames, as not named like {named(naming)}: {some}", file=sys.stderr)
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
    add("--template", help="name of a frame (as dataset.toml says, or {:05d}.jpg)")
    add("--first", type=int, metavar="NUMBER", help="number of the first frame (as dataset.toml says, or 1)")
    add_jobs(parser, "processes that count frames")
    args = parser.parse_args(argv)

    faults = common_faults(args)
    if args.dataset not in READERS:
        own = f"known are {', '.join(READERS)}; tools/prepare_videos.py makes a data set of your own videos"
        how = CATALOG[args.dataset].how_to_get if args.dataset in CATALOG else own
        faults.append(f"data set {args.dataset}: has no official files{did_you_mean(args.dataset, READERS)}; {how}")
    if bool(args.frames) == bool(args.videos):
        faults.append("give one of --frames DIR and --videos DIR")
    faults += [
        f"--{flag} {value}: no such folder"
        for flag, value in (("labels", args.labels), ("frames", args.frames), ("videos", args.videos))
        if value and not value.is_dir()
    ]
    if args.template is not None and not FRAME_NAME.fullmatch(args.template):
        faults.append(f"--template {args.template!r}: {EXPECTED}")
    if args.first is not None and args.first < 0:
        faults.append(f"--first {args.first}: the number of the first frame, as 0 or 1")
    for flag in ("template", "first"):
        if args.videos and getattr(args, flag) is not None:
            faults.append(f"--{flag}: names frames; --videos has none, leave it out")
    if faults:
        raise InputError("; ".join(faults))
    return args


def naming_of(args: argparse.Namespace, file: Path) -> Naming | None:
    """How frames are called: as options say, else dataset.toml, else as usual; None if videos are looked for."""
    said = read_description(file)
    noted, first = (said.get(key, usual) for key, usual in zip(("template", "first"), USUAL, strict=True))
    if args.videos:
        return None
    if args.template is None and not FRAME_NAME.fullmatch(noted):
        raise InputError(f"{file}: template = {noted!r}: {EXPECTED}")
    return args.template or noted, first if args.first is None else args.first


def named(naming: Naming) -> str:
    """What the first frame is called."""
    template, first = naming
    return template.format(first)


def look_for(
    lists: dict[str, list[Clip]], media: Path, naming: Naming | None, jobs: int
) -> tuple[dict[str, list[Found]], Others]:
    """What became of every clip of every list, and what else is beside frames. Without `naming`, of video files."""
    parts = [entry.name for entry in os.scandir(media) if entry.name.lower() in SPLIT_NAMES and entry.is_dir()]
    if parts:
        print(f"{media}: looked for in it and in its folders {', '.join(sorted(parts))}", file=sys.stderr)
    prefixes = ("", *(f"{part}/" for part in sorted(parts)))
    asked = {
        clip.names: tuple(p + n for n in clip.names for p in prefixes) for clips in lists.values() for clip in clips
    }
    names, others = list(dict.fromkeys(asked.values())), Counter[str]()
    looking = look_for_frames(names, media, naming, jobs, others) if naming else look_for_videos(names, media)
    found = dict(looking)
    return {name: [found[asked[clip.names]] for clip in clips] for name, clips in lists.items()}, others


def look_for_frames(
    names: Sequence[Names], media: Path, naming: Naming, jobs: int, others: Others
) -> Iterator[tuple[Names, Found]]:
    """Each clip's names with its folder and number of frames, counted by several processes; adds to `others`."""
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    with closing(in_parallel(partial(count_chunk, media=media, naming=naming), chunks, jobs, "chunk")) as counted:
        for chunk, (results, beside) in counted:
            others.update(beside)
            yield from zip(chunk, results, strict=True)


def look_for_videos(names: Sequence[Names], media: Path) -> Iterator[tuple[Names, Found]]:
    """Each clip's names with its file. A folder is listed once, instead of every extension tried."""
    listed = cache(partial(files_in, media))
    for candidates in names:
        parts = (name.rpartition("/") for name in candidates)
        there = [folder + slash + file for folder, slash, stem in parts if (file := listed(folder).get(stem))]
        endings = {file: Path(file).suffix.lower() for file in there}
        video = next((file for file in there if endings[file] in EXTENSIONS), None)
        other = next((file for file in there if endings[file] in MAYBE_VIDEOS), None)
        instead = f", but {other} is there ({MAYBE_VIDEOS[endings[other]]})" if other else ""
        yield candidates, (video, 0) if video else f"{candidates[0]}: missing{instead}"


def files_in(media: Path, folder: str) -> dict[str, str]:
    """The files of a folder below `media`, videos first, by their names without extension; none if it is not there."""
    try:
        files = sorted((entry.name for entry in os.scandir(media / folder) if entry.is_file()), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    files.sort(key=lambda file: Path(file).suffix.lower() in EXTENSIONS)
    return {Path(file).stem: file for file in files}  # the last of a name


def count_chunk(chunk: Sequence[Names], media: Path, naming: Naming) -> tuple[list[Found], Others]:
    """Of each clip the first of its names that is there; and what lies beside the frames."""
    others = Counter[str]()
    find = partial(count_frames, naming=naming, others=others)
    found = [next((r for name in names if (r := find(media, name))), f"{names[0]}: missing") for names in chunk]
    return found, others


def count_frames(media: Path, name: str, naming: Naming, others: Others) -> Found:
    """A folder's name and number of frames; empty if it is not there. Counts its other files in `others`."""
    try:
        files = {entry.name for entry in os.scandir(media / name)}
    except (FileNotFoundError, NotADirectoryError):
        return ""
    template, first = naming
    is_frame = numbered(template).fullmatch
    beside = sorted(file for file in files if not is_frame(file))
    others.update(Path(file).suffix.lower() for file in beside)
    count = len(files) - len(beside)
    gap = next((file for k in range(first, first + count) if (file := template.format(k)) not in files), None)
    if count and not gap:
        return name, count
    missing = f"has {count} frames but no {gap}" if gap else f"has no frame like {named(naming)}"
    return f"{name}: {missing}{called_otherwise(files, naming)}"


def called_otherwise(files: Iterable[str], naming: Naming) -> str:
    """What is there, and by which options it is found; empty if by none."""
    series = longest_series(files)
    if not series or not (said := series.settings(*naming)):
        return ""
    flags = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in said.items())
    return f", but {series}: give {flags}"


def nothing_found(media: Path, lists: dict[str, list[Clip]], found: dict[str, list[Found]]) -> str:
    """Where it was looked, and what is there instead; or what is wrong with what was found."""
    results = [result for results in found.values() for result in results if isinstance(result, str)]
    if damaged := [result for result in results if not result.endswith(": missing")]:
        said = any(words in damaged[0] for words in (": missing, but", ": give --"))
        mend = "" if said else ". Make the frames anew, or give --template"
        return f"none of the {len(results)} videos is usable: {damaged[0]}{mend}"
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


if __name__ == "__main__":
    with reported():
        sys.exit(main())
