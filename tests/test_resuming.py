"""Runs that are stopped within an epoch: what goes on is what would have been, bit for bit."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from programs import train
from test_programs import timeless

from ops.errors import InputError, Stopped
from ops.programs import saving
from ops.running import checkpoint as files
from ops.running.engine import Step
from ops.running.runlog import RunLog

# Twelve batches, two a step, six an epoch, with all that draws random numbers or keeps a state.
RUN = (
    *("--shift", "--npb", "--epochs=2", "--lr=0.01", "--lr_type=cos", "--dropout=0.5", "--ema=0.9", "--mixup=0.8"),
    *("-b2", "--accumulate=2", "--gd=20", "--amp=off"),
)
BATCHES = 12


@contextmanager
def signalled(batch: int, number: int = signal.SIGTERM) -> Iterator[None]:
    """Within the block this process gets a signal while it trains on a batch, counted from 0."""
    real, count = Step.__call__, iter(range(10**6))

    def call(self: Step, *arguments: Any) -> Any:
        result = real(self, *arguments)
        if next(count) == batch:
            os.kill(os.getpid(), number)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", call)
        yield


def saved(root: Path, name: str, file: str = files.LATEST) -> dict[str, Any]:
    """A checkpoint's content."""
    return torch.load(root / "checkpoint" / name / file, weights_only=True)


def same(a: Any, b: Any) -> bool:
    """Tensor for tensor, number for number."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def assert_as_if_uninterrupted(root: Path, name: str, whole: str = "whole") -> None:
    """The run has what the uninterrupted one has: weights, momenta, average, and the log but for the times."""
    for file in (files.LATEST, files.BEST):
        ours, theirs = saved(root, name, file), saved(root, whole, file)
        for key in ("state_dict", "trained", "averaged_steps", "optimizer", "scaler", "epoch", "best_prec1"):
            assert same(ours[key], theirs[key]), (name, file, key)
        assert "begun" not in ours
    assert timeless(root / "log" / name / "log.csv") == timeless(root / "log" / whole / "log.csv")


@pytest.fixture(scope="module")
def whole(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with half of the data set and an uninterrupted run called `whole`. Others may be added."""
    root = tmp_path_factory.mktemp("resuming")
    demo = root / "dataset" / "demo"
    demo.mkdir(parents=True)
    for part in (rendered / "demo").iterdir():
        if part.name.endswith("_videofolder.txt"):
            (demo / part.name).write_text("".join(part.read_text().splitlines(keepends=True)[::2]))
        else:
            (demo / part.name).symlink_to(part)
    train(root, *RUN, "--store_name=whole")
    return root


@pytest.mark.parametrize(
    ("batch", "workers", "number", "where"),
    [
        (2, 0, signal.SIGTERM, "within epoch 1, after 8 of its 12 videos"),
        (11, 2, signal.SIGUSR1, "with the validation of epoch 2"),
    ],
)
def test_a_run_stopped_within_an_epoch_goes_on_bit_for_bit(
    whole: Path, batch: int, workers: int, number: int, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first at a batch whose gradients are half a step's, the second at the last."""
    caplog.set_level("INFO")
    name = f"stopped{batch}"
    with signalled(batch, number), pytest.raises(Stopped) as caught:
        train(whole, *RUN, f"--store_name={name}", f"-j{workers}")
    assert caught.value.status == 75 and "--resume auto" in str(caught.value)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    train(whole, *RUN, f"--store_name={name}", "--resume=auto", f"-j{workers}")
    assert f"going on {where}" in caplog.text
    assert_as_if_uninterrupted(whole, name)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_run_stopped_at_any_step_goes_on_bit_for_bit(whole: Path, workers: int) -> None:
    for batch in random.Random(workers).choices(range(BATCHES), k=50):
        name = f"any{workers}"
        with signalled(batch), pytest.raises(Stopped):
            train(whole, *RUN, f"--store_name={name}", f"-j{workers}", "--overwrite")
        train(whole, *RUN, f"--store_name={name}", "--resume=auto", f"-j{workers}")
        assert_as_if_uninterrupted(whole, name)


def test_a_run_killed_between_saves_goes_on_from_the_last(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed four steps after its save in mid-epoch; and its newest checkpoint was damaged."""

    class Killed(BaseException):
        pass

    real, count = Step.__call__, iter(range(10**6))

    def dying(self: Step, *arguments: Any) -> Any:
        if next(count) == 10:
            raise Killed
        return real(self, *arguments)

    run = (*RUN, "--store_name=killed", "--save_steps=2", "--keep=1")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Step, "__call__", dying)
        train(whole, *run)
    latest = whole / "checkpoint" / "killed" / files.LATEST
    assert saved(whole, "killed")["begun"]["videos"] == 8
    latest.write_bytes(latest.read_bytes()[:-100])
    train(whole, *run, "--resume=auto")  # from ckpt_epoch1.pth
    assert_as_if_uninterrupted(whole, "killed")
    assert {path.name for path in latest.parent.iterdir()} == {"ckpt.pth", "ckptbest.pth", "ckpt_epoch2.pth"}


def test_auto_begins_afresh_goes_on_or_has_nothing_to_do(
    whole: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    run = (*RUN, "--store_name=auto", "--resume=auto")
    train(whole, *run)
    assert "no checkpoint to go on from: a fresh start" in caplog.text
    assert_as_if_uninterrupted(whole, "auto")
    before = (whole / "checkpoint" / "auto" / files.LATEST).stat()
    train(whole, *run)
    assert "all that --epochs 2 asks for: nothing is left to do" in caplog.text
    assert (whole / "checkpoint" / "auto" / files.LATEST).stat() == before
    # What torchrun starts in place of a dead process has the same flags, and goes on all the same.
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(whole, *RUN, "--store_name=auto", "--overwrite")  # written by a process of the same parent
    assert caplog.text.count("nothing is left to do") == 2
    assert (whole / "checkpoint" / "auto" / files.LATEST).stat() == before
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    train(whole, *RUN, "--store_name=auto", "--overwrite", "--epochs=1")
    assert "ckpt.pth is of an earlier run" in caplog.text
    assert saved(whole, "auto")["epoch"] == 1
    # It counts no restart where a job has lost a machine, or got one.
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    with pytest.raises(InputError, match=r"--overwrite: \S+ckpt.pth is of this very job \(another\)"):
        train(whole, *RUN, "--store_name=auto", "--overwrite")


def test_an_epoch_whose_order_has_changed_begins_anew(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    with signalled(2), pytest.raises(Stopped):
        train(whole, *RUN, "--store_name=reseeded")
    train(whole, *RUN, "--store_name=reseeded", "--resume=auto", "--seed=1", "--epochs=1")
    assert "its videos come in another order now: epoch 1 begins anew" in caplog.text
    (row,) = timeless(whole / "log" / "reseeded" / "log.csv")
    assert row["train_videos"] == "12"


def test_steps_that_are_no_numbers_stop_the_run_or_are_left_out(
    whole: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = torch.nn.CrossEntropyLoss.forward, iter(range(10**6))

    def forward(self: Any, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return real(self, scores * (float("nan") if next(count) == 7 else 1), labels)

    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", forward)
    run = ("--npb", "--amp=off", "-b4", "--lr=0.01", "--epochs=3", "--eval-freq=0")
    with pytest.raises(
        InputError, match=r"the loss became nan at train_\S+, train_\S+, train_\S+ and 1 more.*--nan skip"
    ):
        train(whole, *run, "--store_name=nan")
    good = saved(whole, "nan")
    assert good["epoch"] == 2 and all(value.isfinite().all() for value in good["state_dict"].values())
    count = iter(range(10**6))
    train(whole, *run, "--store_name=nan_skip", "--nan=skip")
    assert "a step is left out: the loss is no finite number at train_" in caplog.text
    left_out = saved(whole, "nan_skip")
    assert all(value.isfinite().all() for value in left_out["state_dict"].values())
    assert [(row["train_videos"], row["train_skipped"]) for row in left_out["rows"]] == [(12, 0), (12, 0), (8, 4)]


@pytest.mark.parametrize(("bad", "words"), [(range(1, 40), "20 steps in a row"), (range(40), "no step with a finite")])
def test_steps_that_are_never_numbers_end_the_run(
    whole: Path, monkeypatch: pytest.MonkeyPatch, bad: range, words: str
) -> None:
    real, count = torch.nn.CrossEntropyLoss.forward, iter(range(10**6))

    def forward(self: Any, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return real(self, scores * (float("nan") if next(count) in bad else 1), labels)

    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", forward)
    run = ("-b1", "--amp=off", "--lr=0.01", "--epochs=2", "--eval-freq=0", "--nan=skip", "--store_name=never")
    with pytest.raises(InputError, match=words):
        train(whole, *run, "--overwrite")


def test_a_log_that_cannot_be_written_costs_no_epoch(
    whole: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = RunLog.add, iter(range(10**6))

    def add(self: RunLog, rows: Any) -> None:
        if next(count) == 0:
            raise OSError(28, "No space left on device")
        real(self, rows)

    monkeypatch.setattr(RunLog, "add", add)
    train(whole, *RUN, "--store_name=unlogged")
    assert "log.csv: can't be written: No space left on device" in caplog.text
    assert_as_if_uninterrupted(whole, "unlogged")


def test_the_best_so_far_is_forgotten_with_its_file(whole: Path) -> None:
    """Else no later epoch would be kept as the best, unless it were better than one that is gone."""
    train(whole, *RUN, "--store_name=back", "--keep=2")
    first = whole / "checkpoint" / "back" / "ckpt_epoch1.pth"
    content = torch.load(first, weights_only=True)
    files.save_checkpoint(first, content | {"best_prec1": 100.0})
    train(whole, *RUN, "--store_name=back", "--overwrite", "--resume", str(first))
    assert saved(whole, "back", files.BEST)["best_prec1"] < 100


def test_a_full_disk_is_waited_for_where_that_is_asked_for(
    whole: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = files.save_checkpoint, iter(range(10**6))

    def save(path: Path, content: dict[str, Any]) -> None:
        if next(count) in (1, 2):
            raise OSError(28, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(files, "save_checkpoint", save)
    monkeypatch.setattr(saving, "RETRY", 0.01)
    train(whole, *RUN, "--store_name=full", "--full_disk=wait")
    assert caplog.text.count("Trying again until there is room") == 2
    assert_as_if_uninterrupted(whole, "full")
