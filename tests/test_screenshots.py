"""Pictures of pages, for the documents."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import program
from PIL import Image
from programs import python

from ops.errors import InputError
from tools import screenshots


def test_pictures_of_a_page_once_its_button_has_been_clicked(tmp_path: Path) -> None:
    program()
    pytest.importorskip("playwright.sync_api", reason="pip install -r requirements-dev.txt")
    script = "document.querySelector('button').onclick = () => { document.body.style.background = '#0000ff' }"
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>a page</title><button>paint</button><script>{script}</script>")
    # As a program: Playwright works once in a process, and other tests here have begun.
    command = ["tools/screenshots.py", f"a={page}", f"--output={tmp_path}", "--wait=0.1", "--click"]
    missing = python(*command, "print")
    assert missing.returncode == 2 and "it has no button 'print'" in missing.stderr
    done = python(*command, "paint")
    assert done.returncode == 0, done.stderr
    for name, width in (("a", 1200), ("a_phone", 390)):
        with Image.open(tmp_path / f"{name}.webp") as image:
            red, _, blue = image.convert("RGB").getpixel((width - 5, 500))  # type: ignore[misc]
            assert image.width == width and red < 20 and blue > 230


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (["report/index.html"], "expected NAME=PAGE"),
        (["../a=page.html"], "expected NAME=PAGE"),
        (["a=nowhere.html"], "there is no file nowhere.html"),
        (["a=http://127.0.0.1/", "a=http://127.0.0.1/"], "a: two pages have this name"),
    ],
)
def test_what_is_no_page(pages: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        screenshots.parse([*pages, "--output", "shots"])
