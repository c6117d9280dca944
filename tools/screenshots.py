#!/usr/bin/env python3
"""Pictures of pages, for the documents: `python tools/screenshots.py NAME=PAGE… --output DIR`.

PAGE is an HTML file, or an address at which a server may still be starting. Each becomes two pictures, once the buttons
that --click names have been clicked: `NAME.webp`, the top of the page in a desktop's window in light colours, and
`NAME_phone.webp`, in a phone's in dark ones. `scripts/screenshots.sh` makes the pages first, and then all pictures.

Needs Playwright (requirements-dev.txt) and the system's Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from ops.files import atomic_write, check_writable
from ops.optional import need

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
STARTING = 90  # seconds that a server has to start


class Window(NamedTuple):
    """What a page is looked at in: added to the picture's name; pixels; light or dark."""

    suffix: str
    width: int
    height: int
    look: str


WINDOWS = (Window("", 1200, 1500, "light"), Window("_phone", 390, 844, "dark"))


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    pages = dict(args.pages)
    outputs = [args.output / f"{name}{window.suffix}.webp" for name in pages for window in WINDOWS]
    check_writable(outputs)
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise InputError("no browser to take pictures with: apt install chromium")
    playwright = need("playwright.sync_api", "pictures of pages")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=FLAGS)
        for name, address in pages.items():
            if not address.startswith("file:"):
                wait_for(address)
            for window in WINDOWS:
                file = args.output / f"{name}{window.suffix}.webp"
                save(file, picture(browser, address, window, args.click, args.wait))
                print(file)
        browser.close()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Take pictures of pages (see the head of this file).")
    page = "a name, and an HTML file or an address"
    parser.add_argument("pages", nargs="+", metavar="NAME=PAGE", help=page)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--click", nargs="+", default=[], metavar="BUTTON", help="click these first, one by one")
    wait = "after the page is loaded, and after each click (1)"
    parser.add_argument("--wait", type=float, default=1, metavar="SECONDS", help=wait)
    args = parser.parse_args(argv)
    args.pages = [pair_of(word) for word in args.pages]
    names = [name for name, _ in args.pages]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{min(twice)}: two pages have this name, and would be one picture")
    return args


def pair_of(word: str) -> tuple[str, str]:
    """`NAME=PAGE` as name and address; InputError for what is neither a file nor an address."""
    name, equals, page = word.partition("=")
    if not (name and equals and page) or Path(name).name != name:
        raise InputError(f"{word}: expected NAME=PAGE, as in report=report/quickstart/index.html")
    if page.startswith(("http://", "https://")):
        return name, page
    if not Path(page).is_file():
        raise InputError(f"{word}: there is no file {page}")
    return name, Path(page).resolve().as_uri()


def picture(browser: Any, address: str, window: Window, click: Sequence[str], wait: float) -> Image.Image:
    """The top of a page, as it is once it has come to rest."""
    size = {"width": window.width, "height": window.height}
    context = browser.new_context(viewport=size, color_scheme=window.look)
    page = context.new_page()
    page.goto(address)
    page.wait_for_timeout(1000 * wait)
    for name in click:
        button = page.get_by_role("button", name=name)
        if not button.count():
            raise InputError(f"{address}: it has no button {name!r} in a window of {window.width} pixels")
        button.click()
        page.wait_for_timeout(1000 * wait)
    taken = page.screenshot()
    context.close()
    return Image.open(io.BytesIO(taken), formats=("PNG",)).convert("RGB")


def wait_for(address: str) -> None:
    """Returns once a server answers at the address. InputError if none does."""
    where = urlsplit(address)
    end = time.monotonic() + STARTING
    while True:
        try:
            with socket.create_connection((where.hostname, where.port or 80), timeout=STARTING):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(f"{address}: nobody answers there ({error})") from error
            time.sleep(1)


def save(file: Path, image: Image.Image) -> None:
    """As WebP: text stays sharp in a fifth of a PNG's bytes."""
    with atomic_write(file) as opened:
        image.save(opened, format="WEBP", quality=82, method=6)


if __name__ == "__main__":
    with reported():
        main()
