"""Pages with tables that a script makes, between `<!-- name -->` and `<!-- end -->`; the rest stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

MARKED = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def parts_of(page: str) -> list[str]:
    """The names of the marked parts."""
    return [name for _, name, _ in MARKED.findall(page)]


def filled(page: str, make: Callable[[str], Sequence[str]]) -> str:
    """The page with `make(name)`, lines of Markdown, in each marked part."""

    def fill(match: re.Match[str]) -> str:
        return "\n".join([match[1], *make(match[2]), "", match[3]])

    return MARKED.sub(fill, page)
