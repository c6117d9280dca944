"""The shell of every page: escaping, charts, strips, tables and players, and what the browser makes of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from browser import NARROW, WIDE, OpenPage
from jinja2 import ChoiceLoader, DictLoader
from PIL import Image

from ops.errors import InputError
from ops.evaluation.report import page
from ops.evaluation.report.charts import Chart, Series
from ops.evaluation.report.strips import MOST_FRAMES, SIDE, Album, Strip, write_strip

EVIL = '"><img src=x onerror=alert(1)></script><b>'
TEMPLATE = """{% extends "base.html" %}{% from "macros.html" import chart, player, sortable, fact_list, figure_card %}
{% block content %}<h2>all parts</h2>
<div class="cards">{{ figure_card("top-1", "94.3 %", "95 %: 91.1 to 96.4") }}</div>
{{ fact_list({evil: evil}) }}{{ chart(drawn) }}
{{ player(strip, evil) }}{{ player(gone, evil) }}{{ player(faulty, evil) }}
{% call sortable("t", "classes", [("class", "text"), ("videos", "number")], filter="with") %}
<tr><td>b</td><td class="number">3</td></tr><tr><td>{{ evil }}</td><td class="number">11</td></tr>
<tr><td>c</td><td class="number"></td></tr>{% endcall %}{% endblock %}
{% block data %}<script type="application/json" id="data">{{ [evil] | tojson }}</script>{% endblock %}"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    environment = page._environment()
    monkeypatch.setattr(environment, "loader", ChoiceLoader([environment.loader, DictLoader({"all.html": TEMPLATE})]))
    frames = np.random.default_rng(0).integers(0, 255, (12, 100, 140, 3), np.uint8)
    values = {
        "evil": EVIL,
        "drawn": Chart("loss", "epoch", "loss", [Series(EVIL, [(0, 1), (1, 0.5)]), Series("b", [(0, 2)], "bars", 1)]),
        "strip": write_strip(tmp_path, "a.jpg", frames),
        "gone": Strip("not there.jpg", 4),
        "faulty": Strip(fault=EVIL),
    }
    page.write_page(tmp_path / "index.html", "all.html", EVIL, "made", **values)
    return tmp_path / "index.html"


def test_a_strip_is_of_bounded_size(tmp_path: Path) -> None:
    frames = np.zeros((30, 300, 400, 3), np.uint8)
    frames[-1] = 255
    strip = write_strip(tmp_path, "s.jpg", frames)
    assert (strip.frames, strip.width, strip.height) == (MOST_FRAMES, SIDE, 96)
    with Image.open(tmp_path / "s.jpg") as image:
        assert image.size == (MOST_FRAMES * SIDE, 96)
        assert image.getpixel((10, 10)) == (0, 0, 0) and image.getpixel((image.width - 10, 10)) == (255, 255, 255)
    assert write_strip(tmp_path, "t.jpg", frames[:1, :7, :9]) == Strip("t.jpg", 1, 9, 7)


def test_an_album_is_of_the_videos_that_it_was_asked_for(tmp_path: Path) -> None:
    """And of these alone once its page is written; what is not a strip stays."""
    asked: list[tuple[str, ...]] = []

    def frames(*paths: str) -> np.ndarray:
        asked.append(paths)
        if "gone" in paths:
            raise InputError("it is gone")
        return np.zeros((2, 9, 9, 3), np.uint8)

    folder = tmp_path / "frames"
    first, again, gone = (album := Album(tmp_path, frames)).strip("a", "a.mp4"), album.strip("a"), album.strip("gone")
    assert first is again and gone == Strip(fault="it is gone") and asked == [("a", "a.mp4"), ("gone",)]
    (folder / "mine.jpg").touch()
    later = Album(tmp_path, frames)
    other = later.strip("b")
    assert {file.name for file in folder.iterdir()} == {"mine.jpg", Path(first.file).name, Path(other.file).name}
    later.remove_others()
    assert {file.name for file in folder.iterdir()} == {"mine.jpg", Path(other.file).name}
    (folder / "mine.jpg").unlink()
    Album(tmp_path, frames).remove_others()
    assert not folder.exists()


def test_a_page_replaces_its_own_kind_alone(written: Path) -> None:
    page.refuse_other_page(written, "made")
    page.refuse_other_page(written.parent / "nothing there", "made")
    whole = written.read_text()
    claims = whole.replace("FEXNet: made", "something else").replace("<p", "<p>FEXNet: made</p><p", 1)
    for content, kind in ((whole, "mad"), (whole, "report of a test"), (claims, "made"), ("", "made")):
        written.write_text(content)
        with pytest.raises(InputError, match=rf'index\.html: .*"FEXNet: {kind}".*name another place, or move it away'):
            page.write_page(written, "base.html", "b", kind)
        assert written.read_text() == content
    written.write_text(whole)
    page.write_page(written, "base.html", '<meta name="generator" content="FEXNet: mad">', "made")
    with pytest.raises(InputError):
        page.refuse_other_page(written, "mad")


def test_what_comes_from_files_is_text(written: Path) -> None:
    html = written.read_text()
    assert "<img src=x" not in html and html.count("</script>") == 2  # of the data, of the page


@pytest.mark.parametrize("points", [[], [(3, 2)], [(0, float("nan"))], [(0, 5), (1, 5)]], ids=str)
def test_charts_of_little(points: list[tuple[float, float]]) -> None:
    drawn = Chart("a", "x", "y", [Series("s", points)])
    left, top, right, bottom = drawn.frame
    assert all(left <= x <= right and top <= y <= bottom for s in drawn.series for x, y, _ in drawn.dots(s))
    assert len(drawn.x_ticks) >= 2 and len(drawn.y_ticks) >= 2


@pytest.mark.parametrize(("values", "low", "high"), [((100, 100), 96, 100), ((0, 50), 0, 52), ((0, 0), 0, 0.04)])
def test_a_percentages_axis_ends_at_0_and_100(values: tuple[float, float], low: float, high: float) -> None:
    drawn = Chart("a", "x", "%", [Series("s", list(enumerate(values)))])
    _, top, _, bottom = drawn.frame
    assert (drawn.down(low), drawn.down(high)) == (bottom, top)


def test_a_gap_divides_a_line() -> None:
    drawn = Chart("a", "x", "y", [Series("s", [(0, 1), (1, 2), (2, float("nan")), (3, 1)])])
    assert [len(line.split()) for line in drawn.lines(drawn.series[0])] == [2, 1]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_in_a_browser(written: Path, open_page: OpenPage, size: tuple[int, int], dark: bool) -> None:
    from playwright.sync_api import expect

    opened = open_page(written, size, dark)
    page = opened.page
    expect(page.locator(".player.missing")).to_have_count(2)  # one whose file is gone
    opened.errors = [error for error in opened.errors if "ERR_FILE_NOT_FOUND" not in error]
    first = "() => document.querySelector('#t tbody tr').cells[0].textContent"
    page.get_by_role("button", name="videos").click()
    assert page.evaluate(first) == EVIL
    page.get_by_role("button", name="videos").press("Enter")
    assert page.evaluate(first) == "b"  # and what has no number stays last
    page.get_by_label("with").fill("B")
    assert page.get_by_role("status").inner_text() == "2 of 3"
    page.get_by_role("button", name=re.compile("play")).first.click()
    expect(page.locator(".player input").first).not_to_have_value("1")
    assert page.evaluate("document.querySelector('.player img').style.transform") != ""
    assert not opened.requests_elsewhere("file:") and not opened.errors
    assert not opened.faults() and opened.fits()
