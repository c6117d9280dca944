"""Runs killed at any moment between their epochs: nothing is trained twice, and nothing they wrote contradicts itself.

Epochs and validations are made up here; what is written and read again is real. `test_programs.py` and
`test_learning.py` have whole runs, bit for bit.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from programs import train

from ops.errors import InputError
from ops.programs import training
from ops.running import checkpoint as files
from ops.running.runlog import RunLog

TINY_RUN = ("--arch", "mobilenetv2", "--epochs", "2")
TOP1 = {1: 40.0, 2: 50.0}  # by the epoch


class Killed(BaseException):
    """As a process is killed: no program catches it."""


def statistics(top1: float) -> dict[str, float]:
    """What a pass gives."""
    return {
        "loss": 0.5, "top1": top1, "top5": 90.0, "videos": 12, "skipped": 0, "seconds": 1.0, "waiting_percent": 5.0
    }  # fmt: skip


class Passes:
    """Made-up passes over the data; keeps what happened, and dies as event number `fatal` would be kept."""

    def __init__(self, fatal: int | None = None) -> None:
        self.events: list[str] = []
        self.fatal = fatal

    def happened(self, event: str) -> None:
        if len(self.events) == self.fatal:
            raise Killed
        self.events.append(event)

    def train_one_epoch(self, model: Any, *_: Any) -> dict[str, float]:
        """Adds one to the classifier's biases."""
        self.happened("train")
        with torch.no_grad():
            model.network.classifier.bias += 1
        return statistics(10.0)

    def validate(self, model: Any, *_: Any) -> dict[str, float]:
        """A top-1 that the weights decide."""
        self.happened("validate")
        epoch = round(model.network.classifier.bias[0].item())
        return statistics(TOP1[epoch])

    def after(self, event: str, function: Callable[..., None]) -> Callable[..., None]:
        """`function`, and then the event."""

        def watched(*arguments: Any) -> None:
            function(*arguments)
            self.happened(event)

        return watched


def made_up(root: Path, *flags: str, fatal: int | None = None) -> list[str]:
    """Trains with made-up passes; returns what happened."""
    passes = Passes(fatal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_one_epoch", passes.train_one_epoch)
        patch.setattr(training, "validate", passes.validate)
        patch.setattr(files, "save_checkpoint", passes.after("save", files.save_checkpoint))
        patch.setattr(RunLog, "add", passes.after("log", RunLog.add))
        try:
            train(root, *TINY_RUN, *flags)
        except Killed:
            assert fatal == len(passes.events)
    return passes.events


def left(root: Path, name: str) -> dict[str, Any]:
    """What a run's checkpoints hold, by their names."""
    folder = root / "checkpoint" / name
    return {p.name: torch.load(p, weights_only=True) for p in folder.glob("*.pth")} if folder.is_dir() else {}


def test_a_run_killed_at_any_moment_goes_on_as_if_it_had_not_been(demo: Path) -> None:
    everything = made_up(demo, "--store_name=whole")
    assert everything == 2 * ["train", "save", "validate", "log", "save", "save"]
    whole, table = left(demo, "whole"), (demo / "log" / "whole" / "log.csv").read_text()
    assert [whole[name]["epoch"] for name in ("ckpt.pth", "ckptbest.pth")] == [2, 2]
    for fatal in (0, 2, 3, 4, 6, 8, 9, 10):  # before the first save, and then after each thing that was written
        name = f"killed{fatal}"
        events = made_up(demo, f"--store_name={name}", fatal=fatal)
        then, latest = left(demo, name), demo / "checkpoint" / name / "ckpt.pth"
        assert latest.is_file() == (fatal > 0)
        if "ckptbest.pth" in then:
            assert then["ckpt.pth"]["best_prec1"] <= then["ckptbest.pth"]["best_prec1"]
        events += made_up(demo, f"--store_name={name}", *(["--resume", str(latest)] if fatal else []))
        assert events.count("train") == 2, (fatal, events)
        now = left(demo, name)
        for kind, content in whole.items():
            keys = ("epoch", "validated", "best_prec1", "rows")
            assert all(now[kind][key] == content[key] for key in keys), (fatal, kind)
            assert all(torch.equal(v, now[kind]["state_dict"][k]) for k, v in content["state_dict"].items())
        assert (demo / "log" / name / "log.csv").read_text() == table, fatal
    with pytest.raises(InputError, match="it has 2 epochs, all that"):
        made_up(demo, "--store_name=whole", "--resume", str(demo / "checkpoint" / "whole" / "ckpt.pth"))


def test_a_validation_that_fails_costs_no_epoch(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lost = next((demo / "dataset" / "demo" / "frames").glob("val_*"))
    shutil.rmtree(lost)
    with pytest.raises(InputError, match=rf"{lost.name}.*Epoch 1 is kept: --resume (\S+/ckpt\.pth) goes on with its"):
        train(demo, "--store_name=run", "--epochs=1")
    kept = left(demo, "run")
    assert set(kept) == {"ckpt.pth"} and not kept["ckpt.pth"]["validated"]
    caplog.clear()
    latest = str(demo / "checkpoint" / "run" / "ckpt.pth")
    train(demo, "--store_name=run", "--epochs=1", "--bad_frames=skip", "--resume", latest)
    assert "going on with the validation of epoch 1" in caplog.text and "train: loss" not in caplog.text
    now = left(demo, "run")
    assert set(now) == {"ckpt.pth", "ckptbest.pth"}
    assert all(torch.equal(v, now["ckptbest.pth"]["state_dict"][k]) for k, v in kept["ckpt.pth"]["state_dict"].items())
    (row,) = csv.DictReader((demo / "log" / "run" / "log.csv").open())
    assert (row["train_videos"], row["val_videos"], row["val_skipped"]) == ("24", "11", "1")


def test_weights_that_are_not_finite_do_not_replace_good_ones(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(demo, "--store_name=run", "--epochs=1")
    before = left(demo, "run")["ckpt.pth"]

    def diverging(model: Any, *_: Any) -> dict[str, float]:
        with torch.no_grad():
            model.network.classifier.weight[0, 0] = float("nan")
        return statistics(10.0)

    monkeypatch.setattr(training, "train_one_epoch", diverging)
    latest = str(demo / "checkpoint" / "run" / "ckpt.pth")
    with pytest.raises(InputError, match=r"epoch 2 left new_fc\.weight without finite numbers.*--lr"):
        train(demo, *TINY_RUN, "--store_name=run", "--resume", latest)
    after = left(demo, "run")["ckpt.pth"]
    assert after["epoch"] == 1 and torch.equal(after["state_dict"]["new_fc.bias"], before["state_dict"]["new_fc.bias"])


def test_training_without_validation(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    demo_list = demo / "dataset" / "demo" / "val_videofolder.txt"
    demo_list.unlink()
    with pytest.raises(
        InputError, match=r"val_videofolder\.txt .*--eval-freq 0 .*move some lines of .*train_videofolder"
    ):
        train(demo, *TINY_RUN, "--store_name=run")
    assert made_up(demo, "--store_name=run", "--eval-freq=0") == 2 * ["train", "log", "save"]
    assert set(left(demo, "run")) == {"ckpt.pth"}
    assert "best" not in caplog.text.split("epoch 2/2 train")[1]
    rows = list(csv.DictReader((demo / "log" / "run" / "log.csv").open()))
    assert [(row["train_top1"], row["val_top1"]) for row in rows] == 2 * [("10", "")]
    assert files.newest_own(demo / "checkpoint").path.name == "ckpt.pth"
    with pytest.raises(InputError) as caught:
        train(demo, *TINY_RUN, "--evaluate", "--resume", str(demo / "checkpoint" / "run" / "ckpt.pth"))
    assert "make_demo_dataset.py" in str(caught.value) and "--eval-freq" not in str(caught.value)


def test_an_epoch_can_be_validated_later(demo: Path) -> None:
    made_up(demo, "--store_name=run", "--eval-freq=0")
    latest = str(demo / "checkpoint" / "run" / "ckpt.pth")
    assert made_up(demo, "--store_name=run", "--resume", latest) == ["log", "validate", "log", "save", "save"]
    assert left(demo, "run")["ckptbest.pth"]["best_prec1"] == TOP1[2]


def test_a_resumed_run_has_its_whole_table_wherever_it_logs(demo: Path) -> None:
    made_up(demo, "--store_name=run", fatal=6)
    latest = str(demo / "checkpoint" / "run" / "ckpt.pth")
    made_up(demo, "--store_name=run", "--resume", latest, "--root_log", str(demo / "elsewhere"))
    table = demo / "elsewhere" / "run" / "log.csv"
    assert [row["epoch"] for row in csv.DictReader(table.open())] == ["1", "2"]


def test_a_log_of_an_older_run_goes_on(tmp_path: Path) -> None:
    """Its checkpoint holds no lines, so that the table is read; a damaged one is named."""
    table = tmp_path / "log.csv"
    table.write_text("epoch,lr\n1,0.1\n2,0.1\n3,0.1\n")
    RunLog(tmp_path, {}, after=2).add([{"epoch": 3, "lr": 0.01}])
    assert table.read_text().split() == ["epoch,lr", "1,0.1", "2,0.1", "3,0.01"]
    for damaged in (b"epoch,lr\n1,0.1\nx,0.1\n", b"lr\n1\n", b"\xff\xfe"):
        table.write_bytes(damaged)
        with pytest.raises(InputError, match=r"log\.csv: not the table of a run"):
            RunLog(tmp_path, {}, after=2)
