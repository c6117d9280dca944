"""What docs/results.md shows of no single experiment: FEX beside TSM in all of them, and what others report."""

from __future__ import annotations

from pathlib import Path

from ops.errors import InputError
from ops.tables import read_csv
from tools.experiments import page, plots
from tools.experiments.statistics import Mean, paired
from tools.experiments.table import values

PUBLISHED = "published"  # the part, and the table, of what others report
OTHERS = ("network", "data", "frames", "protocol", "top1", "reported_by", "source", "command")  # its columns

GAINS = "gains"  # the part that has FEX beside TSM
TRAINED = ("medium", "parts", "demo", "background", "order", "hard", "long", "pretrained")  # with weights of their own
COMPARED = {  # arms, the first less the second
    ("fex", "tsm"): "FEX less TSM, as published",
    ("fex", "tsm3"): "FEX less the plain shift in its own stages",
    ("fex_layer1", "tsm"): "FEX, the plain shift in layer1, less TSM",
}


def part(folder: Path, name: str) -> list[str]:
    """A marked part of docs/results.md in Markdown."""
    if name == PUBLISHED:
        return published(folder)
    return gains(folder) if name == GAINS else page.part(folder, name)


def draw(folder: Path, name: str) -> None:
    """Draws the pictures of a part beside the tables."""
    if name == GAINS:
        plots.draw_gains(gained(folder), COMPARED, folder / f"{GAINS}.png")
    elif name != PUBLISHED:
        page.draw(folder, name)


def gains(folder: Path) -> list[str]:
    """What is `COMPARED`, table by table."""
    heads = [f"{words}: points (n pairs)" for words in COMPARED.values()]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for title, differences in gained(folder).items():
        found = [differences.get(arms) for arms in COMPARED]
        cells = [f"{page.signed(difference)}, n = {difference.n}" if difference else "" for difference in found]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return [*lines, "", f"![FEX beside TSM]({folder.name}/{GAINS}.png)"]


def gained(folder: Path) -> dict[str, dict[tuple[str, str], Mean]]:
    """By a table's title and two arms: how many points the first is ahead in the table's first test."""
    found: dict[str, dict[tuple[str, str], Mean]] = {}
    for name in TRAINED:
        if (folder / f"{name}.csv").exists():
            experiment, rows = page.read(folder, name)
            test = experiment.tests[0].name
            pairs = {arms: paired(*(values(rows, arm, test) for arm in reversed(arms))) for arms in COMPARED}
            found[experiment.title] = {arms: difference for arms, difference in pairs.items() if difference}
    return found


def published(folder: Path) -> list[str]:
    """What others report, with their sources, and the command here that would give it."""
    file = folder / f"{PUBLISHED}.csv"
    heads, *rows = read_csv(file.read_text(encoding="utf-8"))
    lines = ["| network | data | frames | views | top-1 % (theirs) | reported by | command here |", "|---" * 7 + "|"]
    if tuple(heads) != OTHERS:
        raise InputError(f"{file}: line 1: expected {','.join(OTHERS)}")
    for number, line in enumerate(rows, 2):
        if len(line) != len(OTHERS):
            raise InputError(f"{file}: line {number}: {len(line)} cells, expected {len(OTHERS)}")
        row = dict(zip(OTHERS, line, strict=True))
        command = f"`{row['command']}`" if row["command"] else "none"
        by = f"[{row['reported_by']}]({row['source']})"
        shown = [row["network"], row["data"], row["frames"], row["protocol"], row["top1"], by, command]
        lines.append(f"| {' | '.join(shown)} |")
    return lines
