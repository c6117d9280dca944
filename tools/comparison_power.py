#!/usr/bin/env python3
"""How many videos it takes to tell two networks apart, or to show that they are as good: a table in Markdown.

    python tools/comparison_power.py --videos 300 3000 25000 --differing 10

Two networks are tested on so many videos, of which one of them alone gets --differing percent right (the flips that
tools/compare_reports.py counts). The table says how often its tests find what is true, for differences and margins of
--points; the last three rows how often they, and the interval, are wrong or right where they promise at most 5 % and
at least 95 %. All probabilities are sums over the possible outcomes; nothing is drawn at random.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from tools.options import documented_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, sum up, print."""
    args = parse(argv)
    print(*table(args.videos, args.points, args.differing), sep="\n")


def table(videos: Sequence[int], points: Sequence[float], differing: float) -> list[str]:
    """The lines, with a column for each number of videos."""
    from ops.evaluation.paired import chance, covered, shown_better, shown_equivalent  # SciPy takes half a second

    share = differing / 100

    def row(title: str, percent: Callable[[int], float]) -> str:
        return " | ".join([f"| {title}", *(f"{100 * percent(n):.1f} %" for n in videos)]) + " |"

    def better(apart: float) -> Callable[[int], float]:
        return lambda n: chance(lambda b, c: shown_better(b, c) & (c > b), n, apart / 100, share)

    def equivalent(n: int, margin: float, apart: float) -> float:
        return chance(lambda b, c: shown_equivalent(b, c, n, margin / 100), n, apart / 100, share)

    def held(n: int, apart: float) -> float:
        return chance(lambda b, c: covered(b, c, n, apart / 100), n, apart / 100, share)

    return [
        " | ".join([f"| on {differing:g} % one alone is right", *(f"{n:,} videos" for n in videos)]) + " |",
        "|---" * (1 + len(videos)) + "|",
        *(row(f"{p:g} points better, and found so", better(p)) for p in points),
        *(row(f"alike, and found equivalent at {p:g} points", partial(equivalent, margin=p, apart=0)) for p in points),
        row("alike, but one found better", lambda n: chance(shown_better, n, 0, share)),
        row(
            "as far apart as the margin, but found equivalent (the most)",
            lambda n: max(equivalent(n, p, p) for p in points),
        ),
        row("the 95 % interval holds the true difference (the least)", lambda n: min(held(n, p) for p in (0, *points))),
    ]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises InputError that names all that are wrong."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--videos", type=int, nargs="+", default=[300, 3000, 25000], metavar="N", help="tested on (300 3000 25000)")
    add("--points", type=float, nargs="+", default=[0.5, 1, 2, 3], metavar="P", help="differences (0.5 1 2 3)")
    add("--differing", type=float, default=10, metavar="PERCENT", help="videos one alone gets right (10)")
    args = parser.parse_args(argv)
    faults = [f"--videos {n}: from 1 to 1,000,000" for n in args.videos if not 1 <= n <= 1_000_000]
    if not 0 < args.differing <= 50:
        faults.append(f"--differing {args.differing:g}: percent of the videos, above 0 and at most 50")
    too_far = [p for p in args.points if not 0 < p < args.differing]
    faults += [f"--points {p:g}: above 0, and below --differing ({args.differing:g})" for p in too_far]
    if faults:
        raise InputError("; ".join(faults))
    return args


if __name__ == "__main__":
    with reported():
        main()
