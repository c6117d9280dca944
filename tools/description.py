"""Changes in a data set's dataset.toml that leave everything else in it as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ops.data.catalog import tomllib
from ops.errors import InputError
from ops.files import write_text


def note(file: Path, key: str, value: str | int | float, table: str = "") -> None:
    """Sets a key, before all tables or in `table`; an empty text takes it away. Other lines stay as they are."""
    before = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    start, end = _section(before, table)
    at = next((k for k in range(start, end) if re.match(rf"""\s*["']?{key}["']?\s*=""", before[k])), None)
    line = [] if value == "" else [assignment(key, value)]
    if at is not None:
        after = before[:at] + line + before[at + 1 :]
    elif start > len(before):  # there is no such table
        after = before + (["", f"[{table}]", *line] if line else [])
    else:
        after = before[:start] + line + before[start:]
    if after == before:
        return
    text = "".join(f"{line}\n" for line in after)
    try:
        tomllib.loads(text)
    except ValueError as error:
        raise InputError(f"{file}: set {key} = {value!r} in it by hand; its form is too rare ({error})") from error
    write_text(file, text)


def assignment(key: str, value: str | int | float) -> str:
    """The line that sets a key, in TOML."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _section(lines: list[str], table: str) -> tuple[int, int]:
    """The lines of a table, or before all tables; behind the end where there is no such table."""
    heads = [k for k, line in enumerate(lines) if line.lstrip().startswith("[")]
    head = -1 if not table else next((k for k in heads if re.match(rf"\s*\[\s*{table}\s*\]", lines[k])), len(lines))
    return head + 1, next((k for k in heads if k > head), len(lines))
