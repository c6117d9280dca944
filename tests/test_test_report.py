"""The report of a test: its statistics, what odd results make of it, what is in the folder, and in a browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from browser import NARROW, WIDE, OpenPage
from helpers_data import write_videos
from made_networks import save_network
from programs import evaluate

from ops.data import sampling
from ops.data.clips import ClipOptions
from ops.data.records import read_list
from ops.data.showing import ShownVideos
from ops.data.storages import FrameFolders
from ops.errors import InputError
from ops.evaluation.ensemble import Predictions
from ops.evaluation.metrics import accuracies, mean_class_interval, wilson_interval
from ops.evaluation.motion import ORDERS, Motion, motion
from ops.evaluation.outcomes import Outcomes, read_outcomes
from ops.evaluation.report.classes import class_rows, confused_pairs, groups, similarity_order
from ops.evaluation.report.test_report import EXAMPLES, PAIRS, SHOWN, Findings, outputs, write_report
from ops.programs import reporting
from opts import testing_options as read_testing_options

EVIL = '"><img src=x onerror=alert(1)></script><b>'
NAMES = [EVIL, "x" * 120, "הזזת חפץ משמאל לימין", 'it\'s “quoted”, "twice" & <more>', "move left", "move right"]


def frames(path: str) -> np.ndarray:
    """A video's frames, told apart by its name."""
    seed = sum(path.encode())
    return np.random.default_rng(seed).integers(0, 255, (4, 6, 8, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)


def made(names: list[str], labels: list[int], scores: torch.Tensor, **changes: Any) -> Findings:
    """A test of videos with these labels and scores."""
    paths = [f"{names[label]}/{place}" for place, label in enumerate(labels)]
    predictions = Predictions("made", paths, torch.tensor(labels), scores)
    found, confusion = accuracies(scores, predictions.labels)
    probabilities = scores.double().softmax(dim=1)
    outcomes = Outcomes.of(predictions, probabilities, names)
    return Findings("made", outcomes, probabilities, predictions.labels, confusion, names, found, **changes)


def random_test(names: list[str], videos: int, seed: int = 0, **changes: Any) -> Findings:
    """One that is right more often than not, of every class if there are videos enough."""
    generator = torch.Generator().manual_seed(seed)
    labels = [place % len(names) for place in range(videos)]
    scores = torch.randn(videos, len(names), generator=generator)
    return made(names, labels, scores + 2 * torch.eye(len(names))[labels], **changes)


def made_motion(tested: Findings) -> Motion:
    """Of scores that have nothing to do with the test."""
    drawn = [torch.randn(tested.probabilities.shape, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    return motion(Predictions("made", tested.outcomes.paths, tested.labels, drawn[0]), drawn)


@pytest.mark.parametrize(
    ("shares", "videos"),
    [
        (np.full(12, 0.95), np.full(12, 25)),
        (np.linspace(0.3, 1, 12), np.full(12, 25)),
        (np.linspace(0.2, 1, 174), 1 + np.arange(174) % 10),
        (np.linspace(0.2, 1, 174), np.full(174, 1)),
        (np.linspace(0.9, 1, 174), np.full(174, 50)),
        (np.array([0.9, 0.6]), np.array([5, 5])),
        (np.full(12, 0.5), np.full(12, 1)),
        (np.full(50, 0.5), np.full(50, 2)),
    ],
)
def test_the_interval_of_the_mean_class_accuracy_covers_it(shares: np.ndarray, videos: np.ndarray) -> None:
    drawn = np.random.default_rng(0).binomial(videos, shares, size=(1000, len(shares)))
    ends = [mean_class_interval(right, videos) for right in drawn]
    assert 0.925 <= np.mean([low <= shares.mean() <= high for low, high in ends]) <= 0.985


def test_the_interval_of_the_mean_class_accuracy_at_its_ends() -> None:
    assert mean_class_interval(np.array([7]), np.array([9])) == wilson_interval(7, 9)
    low, high = mean_class_interval(np.array([5, 5]), np.array([5, 5]))
    assert (low, high) == (pytest.approx(1 - 1.959964 * np.sqrt(2 * 6 / 7 * 1 / 7 / 5) / 2), 1)
    assert mean_class_interval(np.array([0, 0]), np.array([5, 1]))[0] == 0


CONFUSION = np.array([[6, 3, 1, 0], [0, 4, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]])


def test_the_table_of_classes() -> None:
    rows = class_rows(CONFUSION, list("abcd"))
    assert [(r.videos, r.right, r.confused_with, r.times) for r in rows] == [
        (10, 6, "b", 3), (4, 4, "", 0), (5, 0, "a", 5), (0, 0, "", 0),
    ]  # fmt: skip
    assert (rows[0].accuracy, rows[0].precision) == pytest.approx((60, 100 * 6 / 11))
    assert (rows[0].low, rows[0].high) == pytest.approx([100 * end for end in wilson_interval(6, 10)])
    assert np.isnan([rows[3].accuracy, rows[3].low, rows[3].precision]).all()
    assert [(p.true, p.predicted, p.times, p.videos, p.back) for p in confused_pairs(CONFUSION, 2)] == [
        (2, 0, 5, 5, 1), (0, 1, 3, 10, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["push it left", "push it right", "pull it"], ["push it", "push it", ""]),
        (["PlayingGuitar", "PlayingPiano", "YoYo"], ["Playing", "Playing", ""]),
        (["shoot_ball", "shoot_bow", "sit"], ["shoot", "shoot", ""]),
        (["move a up", "move a down", "move b up"], ["move a", "move a", ""]),  # all share the first word
        (["dive", "dive in", "Dive out", "sit"], ["dive", "dive", "dive", ""]),
        (["move left", "move right"], ["", ""]),
        (["one"], [""]),
        (["", "…", "跳 一", "跳 二"], ["", "", "跳", "跳"]),
    ],
)
def test_groups_of_names_that_begin_alike(names: list[str], expected: list[str]) -> None:
    assert groups(names) == expected


def test_classes_that_are_confused_stand_together() -> None:
    confusion = 50 * np.eye(8, dtype=int)
    for one, other in ((0, 7), (3, 5)):
        confusion[one, other] = 20
    order = similarity_order(confusion)
    assert sorted(order) == list(range(8))
    assert all(abs(order.index(one) - order.index(other)) == 1 for one, other in ((0, 7), (3, 5)))
    for few in (np.zeros((1, 1), int), np.eye(2, dtype=int)):
        assert similarity_order(few) == list(range(len(few)))


# Results that are odd, and words on their page.
ODD: dict[str, tuple[Findings, list[str]]] = {
    "one video": (random_test(["a", "b"], 1), ["1 of 1"]),
    "one class": (random_test(["a"], 5), ["No video was taken for another class", "0 of 0 mistakes"]),
    "two classes": (random_test(["a", "b"], 30), ["a", "b"]),
    "all right": (made(["a", "b"], [0, 1], torch.eye(2)), ["100.00 %", "0 of 0 mistakes", "95 %: 34.24 to 100.00"]),
    "all wrong": (made(["a", "b"], [1, 0], torch.eye(2)), ["0.00 %", "0 of 0 hits", "the true class is number 2"]),
    "names": (random_test(NAMES, 60), NAMES),
    "400 classes": (random_test([f"class {k}" for k in range(400)], 900), ["class 399"]),
    "left out": (
        random_test(["a", "b"], 3, left_out={"x/1": EVIL, "x/2": ""}),
        ["2 videos could not be read", f"x/1: {EVIL}", "2 left out"],
    ),
    "more left out than fit": (
        random_test(["a", "b"], 3, left_out={f"x/{k}": "gone" for k in range(999)}),
        ["999 videos could not be read and count nowhere above; the first:", "x/199"],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_the_page_of_an_odd_result(tmp_path: Path, name: str) -> None:
    tested, words = ODD[name]
    write_report(tmp_path, tested, frames)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in html and html.count("</script>") == 2
    assert ">nan" not in html and "nan," not in html.split("<script>")[0]
    text = unescape(re.sub(r"<[^>]*>", "", html.split("<main")[1].replace("</td>", " ")) + html.split("<main")[0])
    assert all(word in text for word in words)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])  # type: ignore[index]
    assert data["names"] == list(tested.categories) and sum(data["cells"][2::3]) == len(tested.outcomes.paths)
    with (tmp_path / "classes.csv").open(newline="", encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == list(tested.categories)
    read = read_outcomes(tmp_path)
    assert read.paths == tested.outcomes.paths and np.array_equal(read.rank, tested.outcomes.rank)
    assert len(list((tmp_path / "frames").iterdir())) <= PAIRS * EXAMPLES + 2 * SHOWN
    assert all(file.is_file() for file in outputs(tmp_path)[:-1] if file.name != "motion.csv")


def test_the_most_telling_examples_are_shown(tmp_path: Path) -> None:
    tested = random_test(["a", "b", "c"], 300)
    write_report(tmp_path, tested, frames)
    html = (tmp_path / "index.html").read_text()
    sections = re.split(r'<h2 id="(\w+)"', html)
    shown = {
        name: re.findall(r"<bdi>(\w/\d+)</bdi>", text)
        for name, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    of = tested.outcomes
    place = {path: k for k, path in enumerate(of.paths)}
    for name, right in (("mistakes", False), ("hits", True)):
        ranked = sorted((k for k in range(300) if of.right[k] == right), key=lambda k: -of.probability[k])
        if right:  # of every class as many, so that none fills the page
            surest = [[k for k in ranked if of.true[k] == name][: SHOWN // 3] for name in "abc"]
            ranked = [k for k in ranked if any(k in those for those in surest)]
        assert [place[path] for path in shown[name]] == ranked[:SHOWN]
        assert all(of.right[place[path]] == right for path in shown[name])
    assert len(shown["pairs"]) == 6 * EXAMPLES and not any(of.right[place[path]] for path in shown["pairs"])
    distinct = {path for paths in shown.values() for path in paths}
    assert len(list((tmp_path / "frames").iterdir())) == len(distinct) < sum(map(len, shown.values()))


def test_a_folder_that_exists_is_renewed_and_others_files_stay(tmp_path: Path) -> None:
    tested = random_test(["a", "b"], 20)
    write_report(tmp_path, replace(tested, motion=made_motion(tested)), frames)
    assert (tmp_path / "motion.csv").is_file() and 'id="motion"' in (tmp_path / "index.html").read_text()
    others = [tmp_path / "notes.txt", tmp_path / "frames" / "holiday.jpg"]
    for file in others:
        file.write_text("mine")
    before = {file.name for file in (tmp_path / "frames").iterdir()}
    write_report(tmp_path, random_test(["c", "d"], 3, seed=1), frames)
    html, now = (tmp_path / "index.html").read_text(), {file.name for file in (tmp_path / "frames").iterdir()}
    assert now & before == {"holiday.jpg"} and set(re.findall(r"frames/(\w+\.jpg)", html)) == now - {"holiday.jpg"}
    assert not (tmp_path / "motion.csv").exists() and 'id="motion"' not in html
    assert all(file.read_text() == "mine" for file in others)


def test_a_report_that_fails_leaves_the_former_page_whole(tmp_path: Path) -> None:
    write_report(tmp_path, random_test(["a", "b"], 20), frames)
    page = (tmp_path / "index.html").read_text()

    def fails(path: str) -> np.ndarray:
        raise KeyboardInterrupt if path.endswith("2") else InputError("gone")

    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path, random_test(["c", "d"], 20, seed=1), fails)
    assert (tmp_path / "index.html").read_text() == page
    assert all((tmp_path / file).is_file() for file in re.findall(r'src="(frames/\w+\.jpg)"', page))


def test_videos_without_frames_are_shown_without(tmp_path: Path) -> None:
    def gone(path: str) -> np.ndarray:
        raise InputError(f"{path}: {EVIL}")

    write_report(tmp_path, random_test(["a", "b"], 9), gone)
    html = (tmp_path / "index.html").read_text()
    assert html.count('class="player missing"') >= 9 and "<img" not in html and not (tmp_path / "frames").exists()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose scores tell videos apart."""
    return save_network(tmp_path_factory.mktemp("network") / "ckpt.pth")


def test_a_test_leaves_its_report(demo: Path, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = (demo / "dataset" / "demo" / "val_videofolder.txt").read_text().splitlines()
    folders = [demo / "dataset" / "demo" / "frames" / line.rsplit(" ", 2)[0] for line in listed]
    shutil.rmtree(folders[3])
    out, scores = demo / "out", demo / "s.npz"
    flags = ["--bad_frames=skip", "--batch_size=5", f"--result_json={demo / 'r.json'}"]
    evaluate(demo, network, *flags, "--motion", f"--report={out}", f"--save_scores={scores}")
    assert f"report {out / 'index.html'}" in capsys.readouterr().out.splitlines()[-1]
    result, html = json.loads((demo / "r.json").read_text()), (out / "index.html").read_text()
    assert f"{folders[3].name}</bdi>: its folder" in html and "does not exist" in html
    text = unescape(re.sub(r"<[^>]*>", " ", html))
    assert "efficient" in text and result["environment"]["torch"] in text and result["data"]["val"] in text
    assert re.search(r"sha256 +[0-9a-f]{64}", text)
    assert result["motion"]["in order"]["top1"] == result["top1"]
    assert "top-1 with the frames in order" not in text and set(result["motion"]) == {"seed", *ORDERS}
    strips = {file.name: file.read_bytes() for file in (out / "frames").iterdir()}
    assert len(strips) == 11 and read_outcomes(out).left_out == (folders[3].name,)

    # From the saved scores alone, which know of no segments, after one more video has gone and one was damaged.
    shutil.rmtree(folders[5])
    for file in folders[6].iterdir():
        file.write_text("no picture")
    evaluate(demo, scores, f"--report={out}")
    html = (out / "index.html").read_text()
    assert re.search(rf"no frames: its folder [^<]*{folders[5].name} does not exist", html)
    assert re.search(rf"no frames: [^<]*{folders[6].name}/\d+\.jpg", html) and 'data-frames="8"' in html
    assert len(list((out / "frames").iterdir())) == 9


@pytest.mark.parametrize(("modality", "reverse"), [("RGB", False), ("RGB", True), ("RGBDiff", False)])
def test_the_frames_that_the_network_saw(tmp_path: Path, modality: str, reverse: bool) -> None:
    (record,) = write_videos(tmp_path, [24])  # frame k is of the grey value 10·k
    options = ClipOptions(4, modality=modality, reverse_time=reverse)
    shown = ShownVideos([record, replace(record, backwards=True)], FrameFolders(tmp_path), options)
    (firsts,) = sampling.test_clips(24, 4, options.frames_per_segment, "uniform")
    for name, backwards in ((record.path, reverse), (f"backwards:{record.path}", not reverse)):
        found = shown(name)
        assert found.shape == (4, 48, 64, 3)
        assert (found[:, 9, 9, 0] // 10).tolist() == (firsts[::-1] if backwards else firsts)


def test_where_no_network_saw_pictures_they_are_the_data_sets(demo: Path) -> None:
    args = read_testing_options(
        ["demo", "--weights=flow.pth", f"--root_dataset={demo / 'dataset'}", "--root_path=flow"]
    )
    flow: Any = SimpleNamespace(clips=SimpleNamespace(options=ClipOptions(8, modality="Flow")))
    found, which = reporting.frames_of(args, [flow])
    assert which.startswith("8 of each video")
    path = read_list(demo / "dataset" / "demo" / "val_videofolder.txt", 12)[0].path
    assert found(path).shape[0] == 8 and np.array_equal(found(path), found(f"{path}.mp4"))  # by whichever name
    with pytest.raises(InputError, match="the list does not name it"):
        found("other")
    (demo / "dataset" / "demo" / "val_videofolder.txt").unlink()
    without, _ = reporting.frames_of(args, [flow])
    with pytest.raises(InputError, match=r"val_videofolder\.txt"):
        without(path)


def test_a_report_without_labels_is_refused(demo: Path, network: Path) -> None:
    listed = demo / "dataset" / "demo" / "val_videofolder.txt"
    listed.write_text("".join(line.rsplit(" ", 1)[0] + " -1\n" for line in listed.read_text().splitlines()))
    for flag in (f"--report={demo / 'out'}", "--motion"):
        with pytest.raises(InputError, match=rf"^{flag.split('=')[0]}.*no labels.*leave it out, or give a list"):
            evaluate(demo, network, flag)
    assert not (demo / "out" / "index.html").exists()


@pytest.mark.parametrize("file", ["index.html", "videos.csv", "motion.csv"])
def test_no_other_output_is_a_file_of_the_report(tmp_path: Path, file: str) -> None:
    flags = [f"--report={tmp_path}", f"--result_json={tmp_path / file}"]
    with pytest.raises(InputError, match=rf"{re.escape(file)}: .*two outputs are this file"):
        evaluate(tmp_path, tmp_path / "none.pth", *flags)
    assert not list(tmp_path.iterdir())


def test_a_report_replaces_no_other_page(tmp_path: Path) -> None:
    """Which is found before the network is read."""
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InputError, match=r'index\.html: .*no page "FEXNet: report of a test", and would be lost'):
        evaluate(tmp_path, tmp_path / "none.pth", f"--report={tmp_path}")
    assert (tmp_path / "index.html").read_text() == "mine"


def test_in_a_browser(tmp_path: Path, open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    tested = random_test(NAMES, 90, left_out={EVIL: EVIL})
    facts = {"The test": {EVIL: EVIL}, "More": {"x" * 120: "y" * 300}}
    write_report(tmp_path, replace(tested, motion=made_motion(tested), facts=facts, title=EVIL), frames)
    opened = open_page(tmp_path / "index.html")
    page = opened.page
    rows = class_rows(tested.confusion, NAMES)
    shown = sum("move" in row.name + row.confused_with for row in rows)
    page.get_by_label("classes with").first.fill("move")
    expect(page.locator('[data-counts="class-table"]')).to_have_text(f"{shown} of 6")
    page.locator("#class-table button", has_text="interval").click()
    expect(page.locator("#class-table th[aria-sort=descending]")).to_have_text("95 % interval")
    matrix, status = page.locator("#matrix"), page.locator("#matrix-status")
    page.locator("#matrix-order").select_option("listed")
    matrix.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    count = int(tested.confusion[1, 0])
    expect(status).to_have_text(re.compile(rf"x{{120}}\W*, taken for \W*{re.escape(EVIL[3:])}\W*: {count} of 15"))
    page.keyboard.press("+")
    page.keyboard.press("0")
    box = matrix.bounding_box()
    matrix.hover(position={"x": box["width"] - 3, "y": box["height"] - 3})
    expect(status).to_contain_text(f"right: {tested.confusion[5, 5]} of 15")
    page.locator("#matrix-level").select_option("groups (names that begin alike)")
    box = matrix.bounding_box()
    matrix.hover(position={"x": box["width"] - 3, "y": box["height"] - 3})
    expect(status).to_contain_text(f"move\u2069: right: {tested.confusion[4:, 4:].sum()} of 30")
    page.get_by_role("button", name=re.compile("play")).first.click()
    expect(page.locator(".player input").first).not_to_have_value("1")
    for size in (WIDE, NARROW):
        for look in ("light", "dark"):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme=look)
            assert not opened.faults() and opened.fits(), (size, look)
    box = matrix.bounding_box()
    matrix.hover(position={"x": box["width"] - 3, "y": box["height"] - 3})  # narrow, and drawn anew
    expect(status).to_contain_text("move\u2069: right:")
    assert not opened.requests_elsewhere("file:") and not opened.errors


def test_zoomed_and_moved_among_400_classes(tmp_path: Path, open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    write_report(tmp_path, random_test([f"{'abcdefgh'[k % 8]} {k}" for k in range(400)], 4000), frames)
    assert (tmp_path / "index.html").stat().st_size < 600_000  # however many videos
    page = open_page(tmp_path / "index.html").page
    matrix, status = page.locator("#matrix"), page.locator("#matrix-status")
    page.locator("#matrix-order").select_option("name")
    box = matrix.bounding_box()
    corner = {"x": box["width"] - 2, "y": box["height"] - 2}
    matrix.hover(position=corner)
    expect(status).to_contain_text("h 95")  # sorted as letters are: "h 7" < … < "h 95"
    matrix.click(position=corner)
    page.mouse.wheel(0, -1200)
    matrix.hover(position={"x": corner["x"] - 40, "y": corner["y"] - 40})
    expect(status).to_contain_text("h 87")
    before = status.inner_text()
    for _ in range(30):
        page.keyboard.press("ArrowUp")
    expect(status).not_to_have_text(before)
    page.get_by_role("button", name="whole").click()
    matrix.hover(position=corner)
    expect(status).to_contain_text("h 95")


@pytest.mark.slow
def test_25_000_videos(tmp_path: Path, open_page: OpenPage) -> None:
    names = (Path(__file__).parent / "class_names" / "something.txt").read_text().splitlines()
    write_report(tmp_path, random_test(names, 25_000), frames)
    assert sum(file.stat().st_size for file in tmp_path.iterdir() if file.is_file()) < 5_000_000
    begin = time.perf_counter()
    page = open_page(tmp_path / "index.html").page
    page.locator("#class-table button", has_text="interval").click()
    page.locator("#matrix").press("ArrowDown")
    assert "right: " in page.locator("#matrix-status").inner_text() and time.perf_counter() - begin < 2
