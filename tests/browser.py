"""Pages in a real browser: Debian's Chromium (`apt install chromium`) or another one, driven by Playwright.

A test asks for the fixture `open_page` (conftest.py) and gives it a file or an address.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = (1280, 900), (375, 740)  # a desktop's window, a phone's
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 30_000  # milliseconds for what is expected of a page: tests side by side share the cores


class Opened:
    """A page, and what must not have happened on it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []  # all but those for the page's own files
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def requests_elsewhere(self, own: str) -> list[str]:
        """Those addresses asked for that do not start with `own`."""
        return [url for url in self.requests if not url.startswith((own, "data:", "blob:"))]

    def faults(self) -> list[str]:
        """What axe-core finds that is serious or critical: its rule and the first place."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]

    def fits(self) -> bool:
        """Whether nothing makes the page itself scroll sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


OpenPage = Callable[..., Opened]


def not_isolated(html: str) -> list[str]:
    """The texts with letters that run from right to left but in no <bdi>, and so reorder what is beside them."""
    return re.findall(r"(?<!<bdi)>([^<>]*[\u0590-\u06ff][^<>]*)", html)


def program() -> str:
    """Where the browser is; skips, saying how to get it, where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser: apt install chromium (or another system's Chromium or Chrome)")
    return found


@contextmanager
def started() -> Iterator[Any]:
    """The browser (see `program`)."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r requirements-dev.txt")
    executable = program()
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opener(browser: Any) -> Iterator[OpenPage]:
    """Opens pages, each in a new profile, and closes them at the end."""
    contexts = []

    def open_page(where: Path | str, size: tuple[int, int] = WIDE, dark: bool = False) -> Opened:
        look = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=look)
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.goto(where.resolve().as_uri() if isinstance(where, Path) else where)
        return opened

    try:
        yield open_page
    finally:
        for context in contexts:
            context.close()
