"""tools/compare_reports.py: videos matched, what is refused, flips as table and pictures, the page in a browser."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from browser import NARROW, WIDE, OpenPage, not_isolated
from helpers_data import write_videos

from ops.data.clips import ClipOptions
from ops.data.records import VideoRecord
from ops.data.showing import ShownVideos
from ops.data.videofile import video_names
from ops.errors import InputError
from ops.evaluation.comparison import compare, in_words
from ops.evaluation.ensemble import Predictions
from ops.evaluation.outcomes import VIDEOS, Outcomes, write_outcomes
from ops.evaluation.results import write_scores
from tools.compare_reports import main, parse

EVIL = '"><img src=x onerror=alert(1)></script><b>'
CLASSES = (EVIL, "تحريك شيء", "x" * 120)


def outcomes(right: str, source: str = "a", paths: list[str] | None = None, left_out: tuple[str, ...] = ()) -> Outcomes:
    """A video a letter, `1` where it is right; classes in turn."""
    true = [CLASSES[n % 3] for n in range(len(right))]
    hits = np.array([letter == "1" for letter in right])
    others = [CLASSES[(n + 1) % 3] for n in range(len(right))]
    return Outcomes(
        source,
        paths or [f"video {n}" for n in range(len(right))],
        true,
        [t if hit else other for t, other, hit in zip(true, others, hits, strict=True)],
        np.linspace(0.4, 0.9, len(right)),
        np.where(hits, 1, 2),
        left_out,
    )


def report(folder: Path, of: Outcomes) -> Path:
    """As test_models.py --report leaves it."""
    write_outcomes(folder / VIDEOS, of)
    return folder


def scores(file: Path, right: str, value: float = 3.0) -> Path:
    """The same outcomes as saved scores."""
    labels = torch.arange(len(right)) % 3
    wrong = torch.tensor([letter == "0" for letter in right])
    values = torch.nn.functional.one_hot((labels + wrong) % 3, 3) * value
    write_scores(file, Predictions(str(file), [f"video {n}.mp4" for n in range(len(right))], labels, values), CLASSES)
    return file


def test_frames_and_video_files_are_the_same_videos() -> None:
    first, second = outcomes("1100"), outcomes("1010", paths=[f"video {n}.mp4" for n in (0, 1, 2, 3)])
    shuffled = replace(
        second,
        **{name: [getattr(second, name)[n] for n in (3, 1, 0, 2)] for name in ("paths", "true", "predicted")},
        **{name: getattr(second, name)[[3, 1, 0, 2]] for name in ("probability", "rank")},
    )
    for other in (second, shuffled):
        found = compare(first, other, video_names)
        assert (found.paired.videos, found.paired.only_first, found.paired.only_second) == (4, 1, 1)
        assert [(flip.name, flip.gained) for flip in found.flips] == [("video 1", False), ("video 2", True)]
        assert found.gained[0].paths == ("video 2", "video 2.mp4")
        assert found.by_class() == [
            (EVIL, 2, 1, 1, 0, 0), (CLASSES[2], 1, 0, 1, 0, 1), (CLASSES[1], 1, 1, 0, 1, 0)
        ]  # fmt: skip


def test_what_one_could_not_read_is_left_out() -> None:
    lost = outcomes("11", paths=["video 0", "video 1"], left_out=("video 2", "video 3"))
    found = compare(outcomes("1100"), lost, video_names)
    assert found.paired.videos == 2 and found.left_out == ("video 2", "video 3")
    assert "2 left out that one or both could not read" in "\n".join(in_words(found))


def test_a_video_that_is_listed_twice_counts_twice() -> None:
    paths = ["video 0", "video 0", "video 1"]
    found = compare(outcomes("101", paths=paths), outcomes("011", paths=paths), video_names)
    assert found.paired.videos == 3 and [flip.gained for flip in found.flips] == [False, True]


def test_other_videos_are_refused_or_left_out() -> None:
    first, second = outcomes("1" * 6, "reports/a"), outcomes("1" * 3, "reports/b")
    third = replace(second, paths=["video 0", "video 1", "other"])
    relabelled = replace(first, source="c", true=[*first.true[:5], CLASSES[1]])
    for other, words in (
        (second, r"reports/b lacks 3 videos of the other \(video 3, video 4, video 5\)"),
        (third, r"reports/b lacks 4 .*, …\); reports/a lacks 1 .*\(other\)\. --common"),
        (relabelled, r"video 5 is of class .* in reports/a, of .* in c \(1 such\)"),
    ):
        with pytest.raises(InputError, match=words):
            compare(first, other, video_names)
    found = compare(first, third, video_names, common=True)
    assert found.paired.videos == 2 and found.others == (4, 1)
    assert "2 videos in both; not compared (--common): 4 that only A has, 1 that only B has" in in_words(found)
    with pytest.raises(InputError, match="no video that both"):
        compare(first, replace(second, paths=["x", "y", "z"]), video_names, common=True)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("1" * 40, "1" * 40, ["+0.00 points", "neither is shown to be better", "not shown to differ by less than 0.5"]),
        ("0" * 40, "1" * 40, ["+100.00 points", "B is better", "p = 1.8e-12"]),
        ("1", "0", ["-100.00 points", "neither is shown"]),
        ("1" * 3000, "1" * 3000, ["equivalent: they differ by less than 0.5 points"]),
    ],
    ids=["the same", "all wrong and all right", "one video", "many"],
)
def test_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], a: str, b: str, says: list[str]) -> None:
    """Of a report's folder, its table and of scores alike."""
    first, second = report(tmp_path / "a", outcomes(a)), scores(tmp_path / "b.npz", b)
    main([str(first), str(second), "--margin", "0.5"])
    said = capsys.readouterr().out
    assert all(words in said for words in says), said
    main([str(first / VIDEOS), str(second), "--margin", "0.5"])
    assert capsys.readouterr().out == said.replace(f"A: {first}", f"A: {first / VIDEOS}")


def test_bad_input(tmp_path: Path) -> None:
    good, nan = report(tmp_path / "a", outcomes("10")), scores(tmp_path / "nan.npz", "10", float("nan"))
    (tmp_path / "empty").mkdir()
    (good / "index.html").write_text("the report of a test")
    before, page = (good / VIDEOS).read_bytes(), tmp_path / "page"
    for flags, words in (
        ([tmp_path / "empty"], "no videos.csv in it"),
        ([nan], "infinite or no numbers"),
        ([tmp_path / "nowhere"], "no such file"),
        ([good, "--margin", "0"], "--margin 0"),
        ([good, "--margin", "nan"], "--margin nan"),
        ([good, "--dataset", "demo"], "give --html DIR"),
        ([good, "--storage", "film"], "--storage film"),
        (
            [good, "--test_list", "l.txt", "--storage", "video"],
            "--storage video: says where the flips' frames are",
        ),
        ([good, "--test_list", "l.txt"], "--test_list l.txt: says where the flips' frames are: needs --dataset NAME"),
        ([good, "--csv", good], "a folder or a device"),
        ([good, "--csv", good / "videos.csv"], "videos.csv: it is one of the two tests"),
        ([good, "--csv", good / ".." / "a" / "videos.csv"], "videos.csv: it is one of the two tests"),
        ([good, "--html", page, "--csv", page / "flips.csv"], "flips.csv: it is one of the two tests, or two outputs"),
        (
            [good, "--html", page, "--csv", page / "index.html"],
            "index.html: it is one of the two tests, or two",
        ),
        ([good, "--html", good], 'no page "FEXNet: two tests compared", and would be lost: name another place'),
        ([tmp_path / "nowhere", "--html", page, "--dataset", "nowhere either"], "no such file"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            main([str(good), *map(str, flags)])
    assert (good / "index.html").read_text() == "the report of a test" and (good / VIDEOS).read_bytes() == before
    assert not page.exists()
    page.mkdir()
    (page / "frames").touch()
    with pytest.raises(InputError, match=r"frames.*can't be made"):
        main([str(good), str(good), "--html", str(page), "--dataset", "demo"])
    assert parse(["a", "b"]).margin is None


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """A comparison whose flips are in a data set, one of them no longer, and one not in its list."""
    folder = tmp_path / "dataset" / "mine"
    write_videos(folder / "frames", [5, 12, 3])
    (folder / "dataset.toml").touch()
    (folder / "category.txt").write_text("a\nb\nc\n")
    (folder / "val_videofolder.txt").write_text("video 0 5 0\nvideo 1 12 1\nvideo 2 3 2\n")
    for frame in (folder / "frames" / "video 1").iterdir():
        frame.unlink()
    reports = [report(tmp_path / name, outcomes(right)) for name, right in (("a", "00011"), ("b", "11101"))]
    data = ["--dataset", "mine", "--root_dataset", str(tmp_path / "dataset")]
    page = tmp_path / "page"
    for those in (reports[::-1], reports[:1] * 2, reports):  # later ones replace the earlier, pictures and all
        main([*map(str, those), "--margin", "5", "--html", str(page), *data])
        shown = set(re.findall(r'"(frames/[^"]*)"', (page / "index.html").read_text()))
        assert shown == {f"frames/{file.name}" for file in page.glob("frames/*")}
        assert len(shown) == (0 if those[0] == those[1] else 2)
    return page


def test_the_page(pictured: Path, open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    with (pictured / "flips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["right"], row["path"]) for row in rows] == [
        ("only B", "video 0"), ("only B", "video 1"), ("only B", "video 2"), ("only A", "video 3")
    ]  # fmt: skip
    assert rows[0]["true"] == rows[0]["predicted_b"] == EVIL and rows[0]["predicted_a"] == CLASSES[1]
    opened = open_page(pictured / "index.html")
    assert not not_isolated((pictured / "index.html").read_text())
    page = opened.page
    expect(page.locator(".player[data-frames]")).to_have_count(2)
    assert page.locator(".player img").first.evaluate("image => image.naturalWidth") > 0
    faults = page.locator(".player.missing").all_inner_texts()
    assert len(faults) == 2 and any("the list does not name it" in fault for fault in faults)
    assert any("video 1" in fault or "missing" in fault for fault in faults)
    page.get_by_label("flips with").fill("video 3")
    assert page.locator('[data-counts="all-flips"]').inner_text() == "1 of 4"
    page.locator("#by-class").get_by_role("button", name="only B").click()
    first = page.locator("#by-class tbody tr").first
    assert first.locator("td").last.inner_text() == "1"
    page.get_by_role("button", name="play").first.click()
    expect(page.locator(".player input").first).not_to_have_value("1")
    for size, look in ((WIDE, "light"), (NARROW, "dark")):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme=look)
        assert opened.fits() and not opened.faults(), (size, look)
    assert not opened.requests_elsewhere("file:") and not opened.errors


@pytest.mark.parametrize(
    ("listed", "paths", "place"),
    [
        (["c", "c.mp4"], ["c"], 0),
        (["c", "c.mp4"], ["c.mp4"], 1),
        (["a.mp4", "a.avi"], ["a.avi"], 1),
        (["c.mp4.avi"], ["c.mp4.avi"], 0),
        (["c.mp4.avi"], ["c.mp4"], 0),  # of extracted frames
        (["c.mp4", "c.mp4.avi"], ["c.mp4"], 0),
        (["c.mp4", "c.mp4.avi"], ["c.mp4.avi"], 1),
        (["v", "w"], ["w.mp4"], 1),
        (["v.mp4", "w.mp4"], ["w"], 1),
        (["v.mp4", "w.mp4"], ["w.webm"], 1),
        (["v.mp4", "w"], ["x", "w"], 1),  # of two tests
        (["a.mp4", "a.avi"], ["a", "a.avi"], 1),
    ],
    ids=str,
)
def test_frames_are_found_by_what_a_video_is_called_elsewhere(listed: list[str], paths: list[str], place: int) -> None:
    def read(record: VideoRecord, numbers: list[int]) -> torch.Tensor:
        return torch.full((len(numbers), 3, 2, 2), record.label, dtype=torch.uint8)

    records = [VideoRecord(path, 3, n) for n, path in enumerate(listed)]
    storage: Any = SimpleNamespace(read=read)
    videos = ShownVideos(records, storage, ClipOptions(2))
    assert videos(*paths).shape == (2, 2, 2, 3) and (videos(*paths) == place).all()
    with pytest.raises(InputError, match="does not name it"):
        videos("other", "another.mp4")
