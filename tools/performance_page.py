"""The tables of docs/performance.md, from what tools/benchmark.py measured.

    python tools/benchmark.py model --json docs/performance/model.json
    python tools/performance_page.py

A table stands between `<!-- model -->` and `<!-- end -->`, made of docs/performance/model.json; other parts likewise.
What stands outside stays as it is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from tools.options import documented_parser
from tools.vid2img import write_whole

DOCS = Path(__file__).resolve().parents[1] / "docs"
TABLE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """The ratio of ours to theirs that is wanted."""

    limit: float
    lower_is_better: bool

    def __str__(self) -> str:
        return f"{'≤' if self.lower_is_better else '≥'} {self.limit:g}"

    def is_met(self, ratio: float) -> bool:
        """To the two digits that the page shows."""
        ratio = round(ratio, 2)
        return ratio <= self.limit if self.lower_is_better else ratio >= self.limit


TARGETS = {
    "tsm_eval_vs_plain": Target(1.03, True),
    "fex_eval_vs_plain": Target(1.15, True),
    "fex_eval_best_vs_literal": Target(4, False),
    "fex_eval_fp32_vs_literal": Target(1.8, False),
    "fex_train_vs_plain": Target(1.30, True),
    "fex_train_best_vs_literal": Target(2.5, False),
    "train_memory_vs_literal": Target(0.7, True),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Fill the page's tables."""
    parser = documented_parser(__doc__)
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR", help="where performance.md stands (docs)")
    docs = parser.parse_args(argv).docs
    page = docs / "performance.md"
    write_whole(page, filled(page.read_text(encoding="utf-8"), docs / "performance"))


def filled(page: str, folder: Path) -> str:
    """The page with every table made anew. Raises InputError for a table without measurements."""

    def fill(match: re.Match[str]) -> str:
        file = folder / f"{match[2]}.json"
        if not file.is_file():
            raise InputError(f"{file}: no such file; make it: python tools/benchmark.py {match[2]} --json {file}")
        return match[1] + table(json.loads(file.read_text(encoding="utf-8"))) + match[3]

    return TABLE.sub(fill, page)


def table(found: dict[str, Any]) -> str:
    """A benchmark's machine and rows as Markdown."""
    lines = ["", "| | ours | against | ratio | target |", "|---|---|---|---|---|"]
    for row in found["rows"]:
        target = TARGETS.get(row["name"])
        wanted = "" if target is None else f"{target} {'met' if target.is_met(row['ratio']) else '**missed**'}"
        ours, theirs = (
            f"{row[side]:.4g} ± {spread:.2g} {row['unit']}"
            for side, spread in zip(("ours", "against"), row["spread"], strict=True)
        )
        lines.append(f"| `{row['name']}` | {ours} | {theirs} | {row['ratio']:.2f} | {wanted} |")
    machine = found["machine"]
    where = ", ".join([*machine["gpus"], f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}"])
    return "\n".join([*lines, "", f"On {where}.", "", ""])


if __name__ == "__main__":
    with reported():
        main()
