#!/usr/bin/env python3
"""Several trainings side by side: their curves over each other, and the options and machines that differ.

    python tools/compare_runs.py log/NAME log/OTHER --out compared.html

RUN is a run's log folder, or the log.csv in it. The comparison is printed, and written as a page of one file, which
needs nothing beside it. docs/comparing.md tells how to read it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.console import start_logging
from ops.errors import InputError, reported
from ops.files import check_writable
from tools.options import documented_parser

DEFAULT = Path("compare_runs.html")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, read, print, write."""
    start_logging()
    args = parse(argv)
    from ops.evaluation.report.page import refuse_other_page
    from ops.evaluation.report.runs_page import KIND, write_runs_page  # torch takes seconds
    from ops.evaluation.report.training_page import PAGE
    from ops.evaluation.runs import in_words, read_runs

    runs = read_runs(args.runs)
    if args.out.resolve() in [(run.folder / PAGE).resolve() for run in runs]:
        raise InputError(f"--out {args.out}: it is the page of one of the runs; name another file")
    refuse_other_page(args.out, KIND)
    check_writable([args.out])
    print(*in_words(runs), sep="\n")
    write_runs_page(args.out, runs)
    print(f"page: {args.out}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises InputError for a page's name that is none."""
    parser = documented_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="log/NAME, or its log.csv")
    parser.add_argument("--out", type=Path, default=DEFAULT, metavar="FILE", help=f"the page ({DEFAULT})")
    args = parser.parse_args(argv)
    if args.out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {args.out}: a page: its name must end in .html")
    return args


if __name__ == "__main__":
    with reported():
        main()
