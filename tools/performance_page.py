"""The tables and plots of docs/performance.md, from what tools/benchmark.py measured.

    python tools/benchmark.py model --json docs/performance/model.json
    python tools/performance_page.py

A table stands between `<!-- model -->` and `<!-- end -->`, made of docs/performance/model.json; other parts likewise.
Curves become pictures beside that file, and a table below each. What stands outside stays as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from ops.files import write_text
from tools import marked_page
from tools.benchmarks import plots
from tools.benchmarks.findings import Curve
from tools.options import documented_parser

DOCS = Path(__file__).resolve().parents[1] / "docs"


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
    "loader_427x240_vs_pillow": Target(2.5, False),
    "loader_176x100_vs_pillow": Target(5, False),
    "loader_test_fullres_vs_pillow": Target(4, False),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the page's pictures, fill its tables."""
    parser = documented_parser(__doc__)
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR", help="where performance.md stands (docs)")
    docs = parser.parse_args(argv).docs
    page, folder = docs / "performance.md", docs / "performance"
    if not page.is_file():
        raise InputError(f"{page}: no such file; --docs names the folder where it stands")
    text = page.read_text(encoding="utf-8")
    write_text(page, filled(text, folder))
    for part in marked_page.parts_of(text):
        for size, curves in plots.by_size(curves_of(measured(part, folder))).items():
            plots.draw(curves, folder / plots.file_name(part, size))


def filled(page: str, folder: Path) -> str:
    """The page with every table made anew. Raises InputError for a table without measurements."""

    def lines(part: str) -> list[str]:
        found = measured(part, folder)
        machine = found["machine"]
        cpu = f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}"
        made = [*(table(found) if found["rows"] else []), *growth(part, curves_of(found), folder.name)]
        return [*made, f"On {', '.join([*machine['gpus'], cpu])}."]

    return marked_page.filled(page, lines)


def measured(part: str, folder: Path) -> dict[str, Any]:
    """What a part of the benchmark found. Raises InputError if it has not been run."""
    file = folder / f"{part}.json"
    if not file.is_file():
        raise InputError(f"{file}: no such file; make it: python tools/benchmark.py {part} --json {file}")
    return json.loads(file.read_text(encoding="utf-8"))


def curves_of(found: dict[str, Any]) -> list[Curve]:
    """The curves of what was found."""
    return [Curve(**curve) for curve in found.get("curves", [])]


def growth(part: str, curves: Sequence[Curve], folder: str) -> list[str]:
    """The curves as Markdown: for each kind of size the picture in `folder`, and the numbers that are drawn in it."""
    lines = []
    for size, group in plots.by_size(curves).items():
        titles = "; ".join(plots.title(unit, size) for unit in plots.by_unit(group))
        sizes = sorted({value for curve in group for value in curve.sizes})
        lines += [f"![{titles}]({folder}/{plots.file_name(part, size)})", ""]
        lines += [f"| {size} | {' | '.join(f'{value:,.0f}' for value in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
        for curve in group:
            values = dict(zip(curve.sizes, curve.values, strict=True))
            cells = [in_digits(values[value]) if value in values else "" for value in sizes]
            lines.append(f"| {curve.name}, {curve.unit} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def in_digits(value: float) -> str:
    """To three digits that count, or to the whole."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(found: dict[str, Any]) -> list[str]:
    """A benchmark's rows as Markdown."""
    lines = ["| | ours | against | ratio | target |", "|---|---|---|---|---|"]
    for row in found["rows"]:
        target = TARGETS.get(row["name"])
        wanted = "" if target is None else f"{target} {'met' if target.is_met(row['ratio']) else '**missed**'}"
        ours, theirs = (
            f"{row[side]:.4g} ± {spread:.2g} {row['unit']}"
            for side, spread in zip(("ours", "against"), row["spread"], strict=True)
        )
        lines.append(f"| `{row['name']}` | {ours} | {theirs} | {row['ratio']:.2f} | {wanted} |")
    return [*lines, ""]


if __name__ == "__main__":
    with reported():
        main()
