"""Times our forms against others', both in one process, warmed up, taking turns.

    python tools/benchmark.py PART [options]

PART is one of those below; `python tools/benchmark.py PART --help` says what it measures.

A row gives the median of the repeats, half the distance between their quartiles, and the ratio of ours to theirs.
--json FILE writes the rows with the machine and the versions. Timings depend on what else the machine does; run it
alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from ops.files import check_writable, write_text
from ops.machine import wait_passively

wait_passively()  # as the programs do, before torch is loaded

from tools.benchmarks import decode, end2end, forms, growth, loader, model, options, storage, train  # noqa: E402
from tools.benchmarks.findings import Findings, machine  # noqa: E402
from tools.options import documented_parser  # noqa: E402

PARTS: dict[str, ModuleType] = {
    each.__name__.rsplit(".", 1)[1]: each
    for each in (decode, end2end, forms, growth, loader, model, options, storage, train)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, report; the exit status."""
    args = parse(argv)
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: at least 1")
    check_writable([args.json] if args.json else [])
    findings = PARTS[args.part].measure(args)
    show(findings)
    if args.json:
        threads = {"threads": args.threads} if "threads" in args else {}  # of the measuring processes
        content = {"machine": machine() | threads, **asdict(findings)}
        write_text(args.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The part and its options, with those that all have."""
    parser = documented_parser(__doc__)
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, module in PARTS.items():
        text = module.__doc__ or ""
        part = parts.add_parser(
            name, help=text.splitlines()[0], description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_options(part)
        part.add_argument("--repeats", type=int, default=15, help="of each measurement (15)")
        part.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    return parser.parse_args(argv)


def show(findings: Findings) -> None:
    """The rows and curves as a table."""
    for row in findings.rows:
        print(
            f"{row.name:60s} ours {row.ours:8.2f} ± {row.spread[0]:.2f}  theirs {row.against:8.2f} ± "
            f"{row.spread[1]:.2f} {row.unit}  ratio {row.ratio:.2f}"
        )
    for curve in findings.curves:
        points = "  ".join(f"{size:g}: {value:.4g}" for size, value in zip(curve.sizes, curve.values, strict=True))
        print(f"{curve.name} ({curve.unit} by {curve.size})  {points}")


if __name__ == "__main__":
    with reported():
        sys.exit(main())
