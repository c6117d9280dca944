"""The report of a training, and tools/compare_runs.py: what stands on the pages, and that no training minds them."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import NARROW, WIDE, OpenPage, not_isolated
from helpers_data import write_flow, write_videos
from PIL import Image
from programs import train

from ops.data.clips import ClipOptions, Sample, VideoClips
from ops.data.records import VideoRecord
from ops.data.storages.frames import FrameFolders
from ops.errors import InputError
from ops.evaluation.report.training_page import PAGE, Sheet, in_hours, write_training_page
from ops.evaluation.runs import differing_options, warnings
from ops.programs import training_report
from ops.programs.training_report import CLIPS, SWAPPED, TrainingReport, chosen_clips, made, picture
from ops.running.logged import LoggedRun, read_run
from ops.running.runlog import RunLog, row_of, with_validation
from tools.compare_runs import main as compare_runs

EVIL = '"><img src=x onerror=alert(1)></script><b>'
PLAIN = argparse.Namespace(mixup=0.0, cutmix=0.0)
PASS = {"loss": 1.5, "top1": 25.0, "top5": 75.0, "videos": 8, "skipped": 0, "seconds": 60.0, "waiting_percent": 5.0}


def clips_of(folder: Path, lengths: list[int], mirror: tuple[int | None, ...], **options: object) -> VideoClips:
    """Training clips of flat frames; labels 0, 1, 0, 1, …"""
    records = [replace(record, label=record.label % 2) for record in write_videos(folder, lengths)]
    made_so = ClipOptions(3, 32, mirror_labels=mirror, **options)  # type: ignore[arg-type]
    return VideoClips(records, FrameFolders(folder), "train", made_so)


def logged(folder: Path, options: dict[str, object], tops: list[float | None], loss: float = 1.5) -> Path:
    """The log of a run with an epoch for each of `tops`, where None stands for no validation."""
    log = RunLog(folder, {"name": folder.name, "dataset": "demo", "epochs": len(tops), **options})
    rows = [row_of(epoch, 0.1, PASS | {"loss": loss}) for epoch in range(1, len(tops) + 1)]
    rows = [row if top is None else with_validation(row, PASS | {"top1": top}) for row, top in zip(rows, tops)]  # noqa: B905
    log.add(rows)
    return folder


def test_the_sheet_is_of_the_first_epochs_clips_and_draws_nothing(tmp_path: Path) -> None:
    clips = clips_of(tmp_path, [3] * 40, (1, 0), randaugment=True)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    chosen = chosen_clips(clips)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    order = np.random.default_rng([0, 0]).permutation(40)[:CLIPS].tolist()
    assert [item.index for item in chosen[:CLIPS]] == order
    swapped = [item for item in chosen if isinstance(item, Sample) and item.label != clips.records[item.index].label]
    assert len(chosen) == CLIPS and SWAPPED <= len(swapped) < CLIPS and all(item.about is True for item in swapped)
    for item in chosen:
        again = clips[0, item.index]
        assert isinstance(item, Sample) and isinstance(again, Sample)
        assert torch.equal(item.clip, again.clip) and item.label == again.label


def test_swapped_labels_are_looked_for(tmp_path: Path) -> None:
    """Of 300 videos 9 have a class with a side: too few to be among the first."""
    records = [VideoRecord(v.path, 3, 0) for v in write_videos(tmp_path, [3])] * 300
    sided = set(np.random.default_rng([0, 0]).permutation(300)[-9:].tolist())
    records = [replace(record, label=int(n in sided)) for n, record in enumerate(records)]
    options = ClipOptions(3, 32, mirror_labels=(0, 2, 1))
    clips = VideoClips(records, FrameFolders(tmp_path), "train", options)
    chosen = chosen_clips(clips)
    more = chosen[CLIPS:]
    assert 0 < len(more) <= SWAPPED
    assert all(isinstance(item, Sample) and item.label == 2 and item.index in sided for item in more)
    plain = VideoClips(records, FrameFolders(tmp_path), "train", replace(options, mirror_labels=(0, 1, 2)))
    assert len(chosen_clips(plain)) == CLIPS


def test_pictures_of_every_modality(tmp_path: Path) -> None:
    write_flow(tmp_path / "flow" / "v", [(200, 60)] * 8, packed=False)
    record = [VideoRecord("v", 8, 0)]
    flow = VideoClips(record, FrameFolders(tmp_path / "flow", modality="Flow"), "train", ClipOptions(2, 32, "Flow"))
    (tmp_path / "rgb").mkdir()
    frames = write_videos(tmp_path / "rgb", [12])  # frame k of grey value 10·k
    found = {"Flow": flow}
    for modality in ("RGB", "RGBDiff"):
        options = ClipOptions(2, 32, modality)
        found[modality] = VideoClips(frames, FrameFolders(tmp_path / "rgb", modality=modality), "train", options)
    for modality, colour in (("Flow", (200, 60, 128)), ("RGB", None), ("RGBDiff", (133, 133, 133))):
        (item,) = chosen_clips(found[modality])
        assert isinstance(item, Sample)
        pictures = picture(item.clip[0], found[modality].options)
        assert pictures.shape == (2, 32, 32, 3) and pictures.dtype == torch.uint8
        assert colour is None or (pictures - torch.tensor(colour, dtype=torch.int)).abs().max() <= 2
        said = made(found[modality].options, argparse.Namespace(mixup=0.2, cutmix=1.0))
        assert any("mixup (alpha 0.2) or cutmix (alpha 1)" in line for line in said)
        assert ("grey is no motion" in said[-1]) == (modality != "RGB")


def test_a_training_leaves_its_report_and_goes_on_without(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the page or the clips can't be written, that is said, and nothing else is different."""
    caplog.set_level(logging.WARNING)
    log = demo / "log"
    train(demo, "--epochs", "1", "--store_name", "good", "--npb")
    page = (log / "good" / PAGE).read_text()
    assert "1 of 1" in page and "turning something clockwise" in page and "in 4 classes that swaps the label" in page
    assert 24 <= len(list((log / "good" / "clips").iterdir())) <= 28
    (log / "bad" / PAGE).mkdir(parents=True)
    (log / "bad" / "clips").touch()
    train(demo, "--epochs", "1", "--store_name", "bad", "--npb")
    assert caplog.text.count("the report of the training can't be written") == 2  # at the start, after the epoch
    assert caplog.text.count("the report's training clips can't be written") == 1
    numbers = []
    for name in ("good", "bad"):
        with (log / name / "log.csv").open() as file:
            rows = list(csv.DictReader(file))
        numbers.append([{n: v for n, v in row.items() if "seconds" not in n and "waiting" not in n} for row in rows])
    assert numbers[0] == numbers[1]
    # A resumed run's page is of all its epochs; one that replaces another's leaves nothing of it.
    (log / "bad" / PAGE).rmdir()
    train(demo, "--epochs", "2", "--npb", "--resume", str(demo / "checkpoint" / "bad" / "ckpt.pth"))
    assert "2 of 2" in (page := (log / "bad" / PAGE).read_text()) and "can&#39;t be shown" in page
    assert len(re.findall(r"<title>top-1|<title>training: epoch", page)) >= 2
    (log / "good" / "clips" / "99.jpg").touch()
    train(demo, "--epochs", "1", "--store_name", "good", "--npb", "--overwrite", "--eval-freq", "0")
    assert not (log / "good" / "clips" / "99.jpg").exists() and "1 of 1" in (log / "good" / PAGE).read_text()


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError(28, "No space left on device"), "free some space"), (KeyError("a fault of ours"), "Traceback")],
)
def test_nothing_that_befalls_it_ends_the_training(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    clips = clips_of(tmp_path / "videos", [3, 3], (0, 1))
    log = logged(tmp_path / "run", {}, [10.0])
    report = TrainingReport(log, clips, ["a", "b"], PLAIN)
    before = (log / PAGE).read_text()
    monkeypatch.setattr(training_report, "write_training_page", full)
    report.renew()
    assert words in caplog.text and (log / PAGE).read_text() == before


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    """With validations in some epochs, a loss that is no number, and names that are evil."""
    first = logged(tmp_path / "first", {"lr": 0.1, "suffix": "x", "arch": EVIL}, [10.0, None, 30.0, 30.0, None])
    second = logged(tmp_path / "second", {"lr": 0.2, "suffix": "y", "arch": "resnet18"}, [None] * 12, float("nan"))
    (second / "environment.json").write_text(json.dumps({"torch": "0.4", "gpus": []}))
    return first, second


def test_a_log_is_read_back(two_runs: tuple[Path, Path]) -> None:
    run, without = (read_run(folder) for folder in two_runs)
    assert run.curve("val_top1") == [(1, 10), (3, 30), (4, 30)] and run.curve("val_top9") == []
    assert run.best and run.last and (run.best["epoch"], run.last["epoch"]) == (4, 4)
    assert run.hours == pytest.approx([n / 60 for n in (2, 3, 5, 7, 8)])
    assert without.best is without.last is None and without.curve("train_loss") == []
    assert read_run(two_runs[0] / "log.csv").rows == run.rows
    assert [in_hours(hours) for hours in (0.003, 0.5, 2.1)] == ["11 s", "30 min", "2 h 06 min"]


def test_bad_runs(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = map(str, two_runs)
    head, row, *_ = (two_runs[0] / "log.csv").read_text().splitlines()
    for name, text in (
        ("short", f"{head}\n{row},7\n"), ("words", f"{head}\n{row.replace('0.1', 'x')}\n"), ("binary", "\0\1"),
        ("backwards", f"{head}\n{row}\n{row}\n"), ("gap", f"{head}\n{row.replace(',0.1,', ',,')}\n"), ("empty", ""),
        ("none", f"{head}\n"),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(text)
    shutil.copytree(two_runs[0], tmp_path / "options")
    (tmp_path / "options" / "options.json").write_text("{")
    for flags, words in (
        ([first], "a run alone"),
        ([first, f"{first}/log.csv"], "named twice"),
        ([first, str(tmp_path)], "no log.csv there"),
        ([first, str(tmp_path / "short")], "line 2: 17 columns, expected 16"),
        ([first, str(tmp_path / "words")], "line 2: could not convert"),
        ([first, str(tmp_path / "binary")], "no column epoch"),
        ([first, str(tmp_path / "backwards")], "line 3: epoch 1 is out of order"),
        ([first, str(tmp_path / "gap")], "line 2: no lr"),
        ([first, str(tmp_path / "empty")], "no column epoch"),
        ([first, str(tmp_path / "none")], "no epoch in it yet"),
        ([first, str(tmp_path / "options")], "options.json: no JSON"),
        ([first] * 17, "at most 16"),
        ([first, second, "--out", f"{first}/index.html"], "the page of one of the runs"),
        ([first, second, "--out", f"{first}/log.csv"], "must end in .html"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            compare_runs(flags)


def test_runs_side_by_side(two_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = two_runs
    out = tmp_path / "compared.html"
    compare_runs([str(first), str(second / "log.csv"), "--out", str(out)])
    said = capsys.readouterr().out
    assert f"A: {first}: 5 of 5 epochs, top-1 30.00 % last, 30.00 % best (epoch 4), 0.13 h" in said
    assert f"B: {second}: 12 of 12 epochs, no validation" in said
    assert "  lr: A 0.1, B 0.2" in said and f"  torch: A {torch.__version__}, B 0.4" in said
    assert "suffix" not in said and "data sets" not in said and f"page: {out}" in said
    (second / "options.json").write_text(json.dumps({"dataset": "jester"}))
    compare_runs([str(first), str(second), "--out", str(out)])
    assert "runs on different data sets, whose accuracies do not compare: A demo, B jester" in capsys.readouterr().out
    assert "different data sets" in out.read_text()
    for name in ("options.json", "environment.json"):
        (second / name).unlink()
    compare_runs([str(first), str(second), "--out", str(out)])
    said = capsys.readouterr().out
    assert "data sets" not in said and "(not said)" not in said and "that differ: none" in said
    assert said.count("The options of B can't be compared: there is no options.json beside log.csv") == 1
    assert "The environment of B can" in out.read_text()


@pytest.mark.parametrize(
    ("options", "expected", "differ"),
    [
        ([{}, {"dataset": "demo"}], ["The options of A"], []),
        ([{}, {"dataset": "demo"}, {"dataset": "jester"}], ["sets, .*: B demo, C jester$", "of A can"], ["dataset"]),
        ([{"dataset": "demo"}, {"lr": 0.1}], [], ["dataset", "lr"]),
        ([{"data": {"val": "x"}}, {"lr": 0.1}, {"data": {"val": "y"}}], ["lists .*: A x, C y$"], ["data.val", "lr"]),
        ([{}, {}], ["The options of A, B can't"], []),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_known_is_no_difference(
    options: list[dict[str, Any]], expected: list[str], differ: list[str]
) -> None:
    runs = [LoggedRun(Path(f"run {n}"), [], of, {"torch": "2.6"}) for n, of in enumerate(options)]
    assert list(differing_options(runs)) == differ
    found = warnings(runs)
    assert len(found) == len(expected) and all(map(re.search, expected, found)), found


def test_no_other_page_is_replaced(
    two_runs: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = map(str, two_runs)
    out = tmp_path / "thesis.html"
    out.write_text("mine")
    with pytest.raises(InputError, match=r'thesis\.html: .*no page "FEXNet: trainings compared", and would be lost'):
        compare_runs([first, second, "--out", str(out)])
    page = two_runs[0] / PAGE
    page.write_text("mine")
    report = TrainingReport(two_runs[0], clips_of(tmp_path / "videos", [3, 3], (0, 1)), ["a", "b"], PLAIN)
    report.renew()
    assert out.read_text() == page.read_text() == "mine" and not (two_runs[0] / "clips").exists()
    assert 'no page "FEXNet: report of a training", and would be lost' in caplog.text
    assert "Traceback" not in caplog.text


def test_the_pages_in_a_browser(two_runs: tuple[Path, Path], tmp_path: Path, open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    first, second = two_runs
    clips = clips_of(tmp_path / "videos", [3] * 30, (1, 0))
    shutil.rmtree(tmp_path / "videos" / "video 3")
    (second / "options.json").write_text(json.dumps({"name": "كلمة 1", "arch": "אחת"}))
    TrainingReport(first, clips, [EVIL, "كلمة"], PLAIN)
    compare_runs([str(first), str(second), "--out", str(tmp_path / "compared.html")])
    write_training_page(LoggedRun(tmp_path / "second", [], {}, {}), Sheet())  # before the first epoch has ended
    for file in (first / PAGE, tmp_path / "compared.html", second / PAGE):
        opened = open_page(file)
        page = opened.page
        assert "<img src=x" not in file.read_text() and not not_isolated(file.read_text())
        if file == first / PAGE:
            swapped = page.locator("li", has_text="its label swapped")
            assert swapped.count() >= SWAPPED and swapped.first.locator("del").count() == 1
            expect(page.locator(".player.missing")).to_have_count(1)
            page.get_by_role("button", name="play").first.click()
            expect(page.locator(".player input").first).not_to_have_value("1")
            validated = page.locator("figure", has_text="Top-1").locator("g.s1 circle")
            assert validated.count() == 3 and "epoch 3" in (validated.nth(1).text_content() or "")
            assert page.locator("figure", has_text="Top-1").locator("g.s1 polyline").count() == 1  # no gap between
            with Image.open(first / "clips" / "01.jpg") as strip:
                assert strip.size == (3 * 32, 32)
        elif file == second / PAGE:
            expect(page.get_by_text("has not ended yet")).to_be_visible()
        else:
            page.get_by_role("button", name="last top-1").click()
            assert page.locator("#run-table tbody tr").first.locator("td").first.inner_text() == "A"
            assert page.locator("figure", has_text="Learning rate").locator("g.series").count() == 2
        for size, look in ((WIDE, "light"), (NARROW, "dark")):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme=look)
            assert opened.fits() and not opened.faults(), (file, size, look)
        assert not opened.requests_elsewhere("file:") and not opened.errors
