"""The shell of every page: one self-contained file, from the templates beside it, that sends no request anywhere.

What comes from files (class names, paths, options) is text wherever it stands: Jinja2 escapes it, the data for scripts
are JSON in which no tag can end, and a browser runs the page's own script alone, which the page names by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ops.errors import InputError
from ops.files import write_text

TEMPLATES = Path(__file__).parent / "templates"
ALL = ("common.js",)  # the scripts of every page: tables that sort and filter, players of frames
HEAD = 4096  # bytes of a page in which it says what it is


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment


def page(template: str, title: str, kind: str, scripts: Sequence[str] = (), **values: Any) -> str:
    """The HTML of `template`, which extends `base.html`; `scripts` are files beside it that run after the shared ones.

    kind: what the page says that it is, which `refuse_other_page` reads. values: what the template asks for, where
    `{{ data | tojson }}` is how data come to a script.
    """
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in (*ALL, *scripts))
    content = f"\n{script}\n"  # what stands between the tags, to the last letter: that is what the hash is of
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    shell = {"title": title, "style": style, "script": content, "script_hash": f"sha256-{digest}"}
    return _environment().get_template(template).render(**values, **shell, generator=_generator(kind))


def write_page(path: Path, template: str, title: str, kind: str, scripts: Sequence[str] = (), **values: Any) -> None:
    """Writes what `page` makes, whole or not at all. Raises InputError as `refuse_other_page` does."""
    refuse_other_page(path, kind)
    write_text(path, page(template, title, kind, scripts, **values))


def refuse_other_page(path: Path, kind: str) -> None:
    """InputError where a file would be replaced that is no page of this kind: to be called before long work, too."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        beginning = file.read(HEAD)
    if f'<meta name="generator" content="{_generator(kind)}">'.encode() not in beginning:
        raise InputError(
            f'{path}: a file is there that is no page "{_generator(kind)}", and would be lost: name another place, or '
            "move it away"
        )


def _generator(kind: str) -> str:
    return f"FEXNet: {kind}"
