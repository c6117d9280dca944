#!/usr/bin/env python3
"""How good heat maps are: every method on validation videos of `demo`, whose moving objects are known.

    python tools/heatmap_quality.py --weights checkpoint/demo/ckpt.pth --videos 2 --csv docs/explain/methods.csv

Of each class the first videos are taken, and of these the ones that the network has right. What the columns mean is in
docs/explain.md. Printed is a table in Markdown; the same numbers go to --csv.
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

    hits: float = 0
    frames: int = 0
    passed: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, hits: float, frames: int, **values: float) -> None:
        """One video's."""
        self.hits, self.frames = self.hits + hits, self.frames + frames
        for name, value in values.items():
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
    if not explainer.network.fex_blocks():
        chosen = [name for name in chosen if not METHODS[name].own]
    rows, right = measured(explainer, videos, chosen)
    if not right:
        raise InputError(f"{args.weights}: has none of the {len(videos)} videos right, and there is nothing to explain")
    print(f"{right} of {len(videos)} videos are right; {rows['centre'].frames} frames with an object\n")
    print(markdown(rows))
    passed = ", ".join(f"{name} {row.passed}" for name, row in rows.items() if name in chosen)
    print(f"\nof {right} maps pass all their checks: {passed}")
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
) -> tuple[dict[str, Row], int]:
    """A row a method, and for the centre and random maps; of the videos that are right, whose number is the second."""
    from tqdm import tqdm

    rows = {name: Row() for name in (*methods, "centre", "random")}
    right = 0
    for path, label in tqdm(videos, "videos"):
        if explainer.explain(path, checked=False, method="differences").label != label:
            continue
        right += 1
        for name in methods:
            found = explainer.explain(path, label, name)
            add_found(rows[name], found)
        add_priors(rows, found)
    return rows, right


def add_found(row: Row, found: Explanation) -> None:
    """One map."""
    trust = found.trust
    assert trust is not None and trust.pointed is not None and trust.in_box is not None and found.boxes is not None
    frames = sum(map(bool, found.boxes))
    curves = trust.curves["map"]
    row.add(
        trust.pointed * frames, frames, in_box=trust.in_box, deletion=curves.deletion_area,
        insertion=curves.insertion_area, correlation=trust.correlation,
    )  # fmt: skip
    row.passed += trust.passed


def add_priors(rows: dict[str, Row], found: Explanation) -> None:
    """What maps that know nothing of the video have, of the same one."""
    from ops.explaining import trust

    assert found.trust is not None and found.boxes is not None
    T, side = found.heat.shape[:2]
    cell = side / trust.RANDOM_CELLS
    for name, heat in (("centre", trust.centre_prior(T, side)), ("random", trust.random_map(T, side, trust.SEED))):
        hits, frames = trust.pointing(heat, found.boxes, cell)
        curves = found.trust.curves[name]
        in_box, _ = trust.share_inside(heat, found.boxes)
        rows[name].add(hits, frames, in_box=in_box, deletion=curves.deletion_area, insertion=curves.insertion_area)


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
    writer.writerow(["method", "frames", *COLUMNS.values()])
    for name, row in rows.items():
        means = row.means()
        cells = [f"{means[column]:.4f}" if column in means else "" for column in COLUMNS.values()]
        writer.writerow([name, row.frames, *cells])
    return text.getvalue()


if __name__ == "__main__":
    with reported():
        sys.exit(main())
