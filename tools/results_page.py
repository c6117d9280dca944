"""The tables and pictures of docs/results.md and of the README, from docs/experiments/*.csv.

    python tools/run_experiments.py docs/experiments/*.toml
    python tools/results_page.py

A part between `<!-- medium -->` and `<!-- end -->` is made of docs/experiments/medium.toml and medium.csv; `published`
of published.csv, `gains` of all tables that have FEX beside TSM. What stands outside, what was found and what
surprised, people write.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from ops.files import write_text
from tools import marked_page
from tools.experiments import overview, page
from tools.options import documented_parser

TOP = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the pictures, fill the tables."""
    parser = documented_parser(__doc__)
    parser.add_argument("--top", type=Path, default=TOP, metavar="DIR", help="where README.md and docs/ stand")
    top = parser.parse_args(argv).top
    folder = top / "docs" / "experiments"

    for file, make in ((top / "docs" / "results.md", overview.part), (top / "README.md", page.brief)):
        if not file.is_file():
            raise InputError(f"{file}: no such file; --top names the folder where README.md and docs/ stand")
        text = file.read_text(encoding="utf-8")
        write_text(file, marked_page.filled(text, partial(make, folder)))
        for name in marked_page.parts_of(text):
            overview.draw(folder, name)


if __name__ == "__main__":
    with reported():
        main()
