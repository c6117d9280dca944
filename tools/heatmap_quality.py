#!/usr/bin/env python3
"""How good heat maps are: every method on validation videos of `demo`, whose moving objects are known.

    python tools/heatmap_quality.py --weights checkpoint/demo/ckpt.pth --videos 2 --csv docs/explain/methods.csv

Of each class the first videos are taken, and of these the ones that the network has right and in whose clip an object
is seen. What the columns mean is in docs/explain.md. Printed is a table in Markdown; the same numbers go to --csv, with
how many videos there were, in how many all checks were passed, and the share of the pictures that boxes take.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, did_you_mean, reported
from ops.files import check_writable, write_text
from ops.machine import prepare_process
from tools.options import add_root, documented_parser

if TYPE_CHECKING:
    from ops.explaining.explain import Explainer, Explanation
    from ops.explaining.trust import OnObjects

COLUMNS = {
    "hottest place on the object": "pointed",
    "heat on the object": "in_box",
    "deletion": "deletion",
    "insertion": "insertion",
    "like random weights": "correlation",
}


@dataclass
class Row:
    """Of one method: sums and lists over videos."""

    hits: int = 0
    frames: int = 0
    videos: int = 0
    passed: int | None = None  # of maps that are not judged
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, objects: OnObjects, **values: float) -> None:
        """One video's."""
        self.hits, self.frames, self.videos = self.hits + objects.hits, self.frames + objects.frames, self.videos + 1
        for name, value in {"in_box": objects.in_box, "box_area": objects.box_area, **values}.items():
            self.values.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """Of the frames with an object, the share whose hottest place is on it; of all else the mean over videos."""
        return {"pointed": self.hits / self.frames} | {name: float(np.mean(v)) for name, v in self.values.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print."""
    args = parse(argv)
    check_writable([args.csv] if args.csv else [])
    prepare_process()
    from ops.explaining.explain import Explainer  # here, as it loads torch
    from ops.explaining.methods import METHODS

    chosen = args.methods or list(METHODS)
    if wrong := [name for name in chosen if name not in METHODS]:
        raise InputError(
            f"--methods {wrong[0]}: expected some of {', '.join(METHODS)}{did_you_mean(wrong[0], METHODS)}"
        )
    explainer = Explainer.from_checkpoint(args.weights)
    videos = videos_of(Path(args.root_dataset) / "demo", args.videos)
    if not explainer.network.segregating_blocks():
        chosen = [name for name in chosen if not METHODS[name].own]
    if not chosen:
        raise InputError(f"--methods {' '.join(args.methods)}: {args.weights} has no SS of FEX: give other methods")
    rows, right, empty = measured(explainer, videos, chosen)
    if right == empty:
        raise InputError(
            f"{args.weights}: has {right} of the {len(videos)} videos right, and in the clips of {empty} of these no "
            "object is seen: there is nothing to explain"
        )
    without = f", {empty} of these without an object in the clip and left out" if empty else ""
    print(f"{right} of {len(videos)} videos are right{without}; {rows['centre'].frames} frames with an object\n")
    print(markdown(rows))
    passed = ", ".join(f"{name} {row.passed}" for name, row in rows.items() if row.passed is not None)
    print(f"\nof {right - empty} maps pass all their checks: {passed}")
    print(f"boxes are {rows['centre'].means()['box_area']:.1%} of the pictures")
    if args.csv:
        write_text(args.csv, as_csv(rows))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--weights", required=True, type=Path, metavar="FILE", help="a checkpoint trained on demo")
    add_root(parser)
    add("--videos", type=int, default=2, metavar="N", help="of each class (2)")
    add("--methods", nargs="+", metavar="NAME", help="some of those of tools/visualize.py (all)")
    add("--csv", type=Path, metavar="FILE", help="write the table here")
    args = parser.parse_args(argv)
    if args.videos < 1:
        raise InputError(f"--videos {args.videos}: expected 1 or more")
    return args


def videos_of(folder: Path, count: int) -> list[tuple[Path, int]]:
    """The first `count` validation videos of each class, with their labels. InputError without boxes."""
    file = folder / "val_videofolder.txt"
    if not file.is_file() or not (folder / "boxes.json").is_file():
        raise InputError(
            f"{folder}: no videos with boxes: python tools/make_demo_dataset.py makes them, or adds the boxes"
        )
    found: dict[int, list[Path]] = {}
    for line in file.read_text().splitlines():
        name, _, label = line.split()
        found.setdefault(int(label), []).append(folder / "frames" / name)
    return [(path, label) for label, paths in found.items() for path in paths[:count]]


def measured(
    explainer: Explainer, videos: Sequence[tuple[Path, int]], methods: Sequence[str]
) -> tuple[dict[str, Row], int, int]:
    """A row a method, and for the centre and random maps.

    Of the videos that are right, whose number is the second; the third: how many of these show no object, and are left
    out.
    """
    from tqdm import tqdm

    rows = {name: Row() for name in (*methods, "centre", "random")}
    right = empty = 0
    for path, label in tqdm(videos, "videos"):
        first = explainer.explain(path, checked=False, method="differences")
        if first.label != label:
            continue
        right += 1
        if not any(first.boxes or ()):
            empty += 1
            continue
        for name in methods:
            found = explainer.explain(path, label, name)
            add_found(rows[name], found)
        add_priors(rows, found)
    return rows, right, empty


def add_found(row: Row, found: Explanation) -> None:
    """One map."""
    trust = found.trust
    assert trust is not None and trust.objects is not None
    curves = trust.curves["map"]
    alike = {} if trust.correlation is None else {"correlation": abs(trust.correlation)}
    row.add(trust.objects, deletion=curves.deletion_area, insertion=curves.insertion_area, **alike)
    row.passed = (row.passed or 0) + trust.passed


def add_priors(rows: dict[str, Row], found: Explanation) -> None:
    """What maps that know nothing of the video have, of the same one."""
    from ops.explaining import trust

    assert found.trust is not None and found.boxes is not None
    T, side = found.heat.shape[:2]
    cell = side / trust.RANDOM_CELLS
    for name, heat in (("centre", trust.centre_prior(T, side)), ("random", trust.random_map(T, side, trust.SEED))):
        curves, objects = found.trust.curves[name], trust.on_objects(heat, found.boxes, cell)
        rows[name].add(objects, deletion=curves.deletion_area, insertion=curves.insertion_area)


def markdown(rows: dict[str, Row]) -> str:
    """The table."""
    lines = [f"| method | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in rows.items():
        means = row.means()
        lines.append(f"| {name} | {' | '.join(shown(column, means.get(column)) for column in COLUMNS.values())} |")
    return "\n".join(lines)


def shown(column: str, value: float | None) -> str:
    """A number as the table has it."""
    if value is None:
        return "–"
    return f"{value:.1%}" if column in ("pointed", "in_box") else f"{value:.2f}"


def as_csv(rows: dict[str, Row]) -> str:
    """The same with all digits that mean something."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [*COLUMNS.values(), "box_area"]
    writer.writerow(["method", "videos", "passed", "frames", *columns])
    for name, row in rows.items():
        means = row.means()
        cells = [f"{means[column]:.4f}" if column in means else "" for column in columns]
        writer.writerow([name, row.videos, "" if row.passed is None else row.passed, row.frames, *cells])
    return text.getvalue()


if __name__ == "__main__":
    with reported():
        sys.exit(main())
