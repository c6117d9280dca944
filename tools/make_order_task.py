"""The order-only task of a data set: is a clip played forwards or backwards?

    python tools/make_order_task.py demo
    python main.py demo_order RGB --arch resnet18 --num_segments 8 --shift

Every video stands in the lists of the new data set, NAME_order, twice: as it is and backwards, in opposite classes. A
clip and its reversal have the same frames, so that a network that does not see their order gives both the same scores,
and is right for one of the two: 50 %, whatever it has learned. Both are on the side (train, val, test) of their video.

Directions. A video as it is goes forwards, in reverse order backwards. Where a class's reverse is a class too, by the
words of their names ("moving up", "moving down"), the two look the same but for that order: the first of such a pair
goes forwards as it is and the second backwards, or else no network could tell. Where mirroring would change the
direction, as of left and right, clips are not mirrored. A class that is its own reverse ("passing behind something")
is left out: nobody could tell.

What is written, in <root>/NAME_order/: dataset.toml, category.txt, and the lists that the data set has of frames and of
videos, for every --storage. Frames and videos stay where they are: `backwards:` before a path in a list has its frames
read in reverse order. Videos without a label are left out. Given again, the command makes the lists anew.

Exit status: 0 made, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.data.catalog import DESCRIPTION, DataSource, read_description, resolve
from ops.data.opposites import mirror_labels, reversed_labels
from ops.data.records import BACKWARDS, Records, read_list
from ops.data.urls import is_url
from ops.errors import InputError, explained, reported
from ops.files import exists, write_text
from ops.locks import claimed
from tools.description import assignment
from tools.options import add_root, documented_parser
from tools.vid2img import CLASS_FILE

CLASSES = ("forwards", "backwards")
HEAD = "# Made by tools/make_order_task.py, which writes it anew when it is given again."
TABLE = "order"  # of dataset.toml: which data set's task this is
KINDS = {"frames": "videofolder", "video": "videos"}  # of lists, by the storage that reads them


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, read, write; the exit status."""
    parser = documented_parser(__doc__)
    parser.add_argument("dataset", help="any data set; see docs/data.md")
    add_root(parser)
    args = parser.parse_args(argv)
    data = resolve(args.dataset, args.root_dataset, storage="frames")
    lists, ways = read_lists(args.dataset, args.root_dataset), directions(data.categories)
    folder = Path(args.root_dataset) / f"{args.dataset}_order"
    with explained("Mend it and give the same command again"), claimed(folder):
        refuse_others(folder, args.dataset)
        write_text(folder / DESCRIPTION, description(data, ways))  # first, as it says whose folder this is
        write_text(folder / CLASS_FILE, "".join(f"{name}\n" for name in CLASSES))
        for name, records in lists.items():
            write_list(folder / name, records, ways)
    turned = sum(ways.values())
    print(f"{turned} of {len(ways)} classes are the reverse of another: as they are, their videos go backwards")
    if left := len(data.categories) - len(ways):
        print(f"{left} of {len(data.categories)} classes are left out, as they are their own reverse")
    return 0


def read_lists(name: str, root_dataset: str) -> dict[str, Records | None]:
    """The lists that the task can have, by their names; None for one that the data set has not. InputError for none."""
    lists: dict[str, Records | None] = {}
    for storage, kind in KINDS.items():
        data = resolve(name, root_dataset, storage=storage)
        for side, file in (("train", data.train_list), ("val", data.val_list), ("test", data.test_list)):
            there, counted = exists(file), storage == "frames"
            records = read_list(file, len(data.categories), unlabelled_too=True, counted=counted) if there else None
            if records and records.backwards.any():
                raise InputError(f"{file}: has videos backwards already: give the data set that it was made of")
            lists[f"{side}_{kind}.txt"] = records
    if not any(lists.values()):
        raise InputError(f"{data.folder}: holds none of {', '.join(lists)}. To make them: {data.how_to_get}")
    return lists


def directions(categories: Sequence[str]) -> dict[int, int]:
    """By class the label of its videos as they are: 1, backwards, where an earlier class is its reverse.

    Without the classes that are their own reverse.
    """
    reverses = enumerate(reversed_labels(categories))
    return {label: int(other is not None and other < label) for label, other in reverses if other != label}


def description(data: DataSource, ways: Mapping[int, int]) -> str:
    """dataset.toml: frames and videos are where the data set has them; what is relative there is so here."""
    said = read_description(data.folder / DESCRIPTION)
    twins = mirror_labels(data.categories, data.mirror)
    keeps = all((twin := twins[label]) is not None and ways.get(twin) == way for label, way in ways.items())
    keys = {"mirror": "plain" if keeps else "none"}
    keys |= {key: said[key] for key in ("storage", "template", "first") if key in said}
    for key in ("frames", "videos", "packed"):
        place = said.get(key, key)
        fixed = is_url(place) or Path(place).is_absolute()
        keys[key] = place if fixed else f"../{data.folder.name}/{place}"
    lines = [assignment(key, value) for key, value in keys.items()]
    return "\n".join([HEAD, *lines, f"\n[{TABLE}]", assignment("of", data.name), ""])


def write_list(file: Path, records: Records | None, ways: Mapping[int, int]) -> None:
    """Each video of these classes as it is, and backwards; without any, no list, and none of an earlier run."""
    labelled = [record for record in records or () if record.label in ways]
    if not labelled:
        file.unlink(missing_ok=True)
        return
    counted = labelled[0].num_frames > 0  # of video files nothing is counted
    lines = []
    for record in labelled:
        path = f"{record.path} {record.num_frames}" if counted else record.path
        way = ways[record.label]
        lines += [f"{path} {way}\n", f"{BACKWARDS}{path} {1 - way}\n"]
    write_text(file, "".join(lines))
    print(f"{file}: {len(labelled)} videos and their reversals")


def refuse_others(folder: Path, name: str) -> None:
    """InputError where there is something in the folder, and not the task of this data set."""
    if read_description(folder / DESCRIPTION).get(TABLE, {}).get("of") == name:
        return
    if others := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise InputError(
            f"{folder}: holds {', '.join(others[:5])}, and no [{TABLE}] of {name!r} in {DESCRIPTION}: it was not made "
            "by this command; move it away"
        )


if __name__ == "__main__":
    with reported():
        sys.exit(main())
