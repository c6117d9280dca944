"""What the tools' command lines have in common."""

from __future__ import annotations

import argparse
import os

from ops.machine import usable_cores


def documented_parser(text: str | None) -> argparse.ArgumentParser:
    """A parser that shows a tool's own documentation."""
    summary, details = (text or "").split("\n", 1)
    return argparse.ArgumentParser(
        description=summary, epilog=details.strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )


def default_root() -> str:
    """Where data sets live unless --root_dataset says otherwise."""
    return os.environ.get("FEXNET_DATASETS", "dataset")


def add_root(parser: argparse.ArgumentParser) -> None:
    """--root_dataset."""
    where = "where data sets live (FEXNET_DATASETS)"
    parser.add_argument("--root_dataset", default=default_root(), metavar="DIR", help=where)


def add_frame_format(parser: argparse.ArgumentParser) -> None:
    """How extracted pictures look: --short_side and --quality."""
    add = parser.add_argument
    add("--short_side", type=int, default=256, metavar="PIXELS", help="scale down to this; 0 keeps the size (256)")
    add("--quality", type=int, default=95, help="of the JPEG files (95)")


def add_jobs(parser: argparse.ArgumentParser, what: str = "videos at a time") -> None:
    """--jobs."""
    parser.add_argument("-j", "--jobs", type=int, default=usable_cores(), help=f"{what} (one a processor)")


def common_faults(args: argparse.Namespace) -> list[str]:
    """What is wrong with those of the options above that a tool has."""
    faults = []
    if (getattr(args, "short_side", None) or 0) < 0:
        faults.append(f"--short_side {args.short_side}: pixels, or 0 to keep the size")
    if (quality := getattr(args, "quality", None)) is not None and not 1 <= quality <= 100:
        faults.append(f"--quality {args.quality}: between 1 and 100")
    if args.jobs < 1:
        faults.append(f"--jobs {args.jobs}: at least 1")
    return faults
