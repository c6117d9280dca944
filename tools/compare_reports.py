#!/usr/bin/env python3
"""Whether of two networks tested on the same videos one is better, and which videos one of them alone gets right.

    python tools/compare_reports.py report/tsm report/fexnet --margin 0.5

A and B are each the folder that test_models.py --report wrote, its videos.csv, or the scores of --save_scores (.npz).
Videos are matched by their paths without the ending of a video file, so that a test of video files can be compared with
one of extracted frames. Said are the difference in top-1 with its 95 % interval, McNemar's exact test and, with
--margin, whether the two are shown to differ by less than so many points. docs/comparing.md tells how to read it.

--html DIR writes it as a page, with pictures of the flips if --dataset says where their frames are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.console import start_logging
from ops.data.catalog import resolve
from ops.errors import InputError, did_you_mean, reported
from ops.files import check_writable, refuse_to_overwrite
from ops.names import STORAGES
from tools.options import add_root, documented_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, compare, print, write."""
    start_logging()
    args = parse(argv)
    from ops.data.showing import ShownVideos  # torch takes seconds
    from ops.data.videofile import video_names
    from ops.evaluation.comparison import compare, in_words, write_flips
    from ops.evaluation.outcomes import VIDEOS, read_outcomes
    from ops.evaluation.report.comparison_page import KIND, PAGE, outputs, write_comparison
    from ops.evaluation.report.page import refuse_other_page

    to_come = [args.csv] if args.csv else []
    if args.html:
        refuse_other_page(args.html / PAGE, KIND)
        to_come += outputs(args.html, pictured=bool(args.dataset))
    inputs = [path / VIDEOS if path.is_dir() else path for path in (args.a, args.b)]
    refuse_to_overwrite(to_come, inputs, "one of the two tests")
    tests = read_outcomes(args.a), read_outcomes(args.b)
    check_writable(to_come)
    videos = None
    if args.dataset:
        data = resolve(args.dataset, args.root_dataset, val_list=args.test_list, storage=args.storage)
        videos = ShownVideos.of_list(data)
    compared = compare(*tests, video_names, args.common)
    print(*in_words(compared, args.margin), sep="\n")
    if args.csv:
        write_flips(args.csv, compared)
        print(f"flips: {args.csv}")
    if args.html:
        write_comparison(args.html, compared, args.margin, videos)
        print(f"page: {args.html / PAGE}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises InputError that names all that are wrong."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("a", type=Path, metavar="A", help="a test's report or scores")
    add("b", type=Path, metavar="B", help="the other's")
    add("--margin", type=float, metavar="POINTS", help="test whether they differ by less than this, in points")
    add("--common", action="store_true", help="compare the videos that both have, if they do not have the same ones")
    add("--csv", type=Path, metavar="FILE", help="write the flips here, a row each")
    add("--html", type=Path, metavar="DIR", help="write the page index.html here, the flips and their pictures")
    pictures = parser.add_argument_group("pictures, for --html")
    pictures.add_argument("--dataset", metavar="NAME", help="the data set that was tested on")
    add_root(parser)
    pictures.add_argument("--storage", help=f"{', '.join(STORAGES)} (what dataset.toml says, or frames)")
    pictures.add_argument("--test_list", type=Path, metavar="FILE", help="another list than the validation list")
    args = parser.parse_args(argv)
    faults = []
    if args.margin is not None and not 0 < args.margin < 100:
        faults.append(f"--margin {args.margin:g}: points of top-1, above 0 and below 100, as 0.5")
    if args.dataset and not args.html:
        faults.append("--dataset: shows the flips' frames on the page: give --html DIR too")
    for flag, value in (("--storage", args.storage), ("--test_list", args.test_list)):
        if value and not args.dataset:
            faults.append(f"{flag} {value}: says where the flips' frames are: needs --dataset NAME")
    if args.storage and args.storage not in STORAGES:
        faults.append(f"--storage {args.storage}: one of {', '.join(STORAGES)}{did_you_mean(args.storage, STORAGES)}")
    if faults:
        raise InputError("; ".join(faults))
    return args


if __name__ == "__main__":
    with reported():
        main()
