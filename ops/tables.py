"""CSV files that people open in a spreadsheet, where a cell that begins with `=` is a formula and may start a program.

What is text and begins so gets an apostrophe before it, which spreadsheets' own advice is; numbers stay as they are.
Tables that are read again lose it there, so that names come back as they were.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?", re.ASCII)


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """The text of a table, a line a row, its first one of the columns' names."""
    lines = _Lines()  # ended by \r\n at first, without which Python before 3.13 does not quote a cell with \r in it
    csv.writer(lines, lineterminator="\r\n").writerows([_guarded(cell) for cell in row] for row in rows)
    return "".join(f"{line[:-2]}\n" for line in lines)


class _Lines(list[str]):
    """What a csv.writer writes."""

    write = list.append


def read_csv(text: str) -> list[list[str]]:
    """The rows of a table that `as_csv` made, or a person. Raises csv.Error, or ValueError."""
    return [[unguarded(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]


def unguarded(cell: str) -> str:
    """A cell as it was given to `as_csv`."""
    return cell[1:] if cell[:1] == "'" and _is_formula(cell[1:]) else cell


def _guarded(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def _is_formula(cell: str) -> bool:
    """Of cells that begin with apostrophes, too, so that what is taken off is what was put on."""
    return FORMULA.match(cell) is not None and NUMBER.fullmatch(cell) is None
