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

# Twelve steps of two batches each, six an epoch, with all that draws random numbers or keeps a state.
RUN = (
    *("--shift", "--npb", "--epochs=2", "--lr=0.01", "--lr_type=cos", "--dropout=0.5", "--ema=0.9", "--mixup=0.8"),
    *("-b2", "--accumulate=2", "--gd=20", "--amp=off"),
)
STEPS = 12


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
    """A folder with the data set and an uninterrupted run called `whole`. Others may be added."""
    root = tmp_path_factory.mktemp("resuming")
    (root / "dataset").mkdir()
    (root / "dataset" / "demo").symlink_to(rendered / "demo")
    train(root, *RUN, "--store_name=whole")
    return root


@pytest.mark.parametrize(("batch", "workers", "number"), [(4, 0, signal.SIGTERM), (17, 2, signal.SIGUSR1)])
def test_a_run_stopped_within_an_epoch_goes_on_bit_for_bit(
    whole: Path, batch: int, workers: int, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    name = f"stopped{batch}"
    with signalled(batch, number), pytest.raises(Stopped) as caught:
        train(whole, *RUN, f"--store_name={name}", f"-j{workers}")
    assert caught.value.status == 75 and "--resume auto" in str(caught.value)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    begun = saved(whole, name)
    assert begun["epoch"] == batch // 12 and begun["begun"]["videos"] == 2 * (batch % 12 + 1 + (batch + 1) % 2)
    train(whole, *RUN, f"--store_name={name}", "--resume=auto", f"-j{workers}")
    assert f"going on within epoch {batch // 12 + 1}, after {begun['begun']['videos']} of its 24 videos" in caplog.text
    assert_as_if_uninterrupted(whole, name)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_run_stopped_at_any_step_goes_on_bit_for_bit(whole: Path, workers: int) -> None:
    for batch in random.Random(workers).choices(range(2 * STEPS), k=50):
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
        if next(count) == 22:
            raise Killed
        return real(self, *arguments)

    run = (*RUN, "--store_name=killed", "--save_steps=2", "--keep=1")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Step, "__call__", dying)
        train(whole, *run)
    latest = whole / "checkpoint" / "killed" / files.LATEST
    assert saved(whole, "killed")["begun"]["videos"] == 16
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
    assert "no checkpoint in" in caplog.text and "a fresh start" in caplog.text
    assert_as_if_uninterrupted(whole, "auto")
    before = (whole / "checkpoint" / "auto" / files.LATEST).stat()
    train(whole, *run)
    assert "all that --epochs 2 asks for: nothing is left to do" in caplog.text
    assert (whole / "checkpoint" / "auto" / files.LATEST).stat() == before
    # What torchrun starts in place of a dead process has the same flags, and goes on all the same.
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(whole, *RUN, "--store_name=auto")
    train(whole, *RUN, "--store_name=auto", "--overwrite")  # written by a process of the same parent
    assert caplog.text.count("nothing is left to do") == 3
    assert (whole / "checkpoint" / "auto" / files.LATEST).stat() == before
    monkeypatch.setattr("ops.programs.resuming.job", lambda: "another's")
    train(whole, *RUN, "--store_name=auto", "--overwrite", "--epochs=1")
    assert "is of an earlier run, which --overwrite replaces" in caplog.text
    assert saved(whole, "auto")["epoch"] == 1


def test_an_epoch_whose_order_has_changed_begins_anew(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    with signalled(4), pytest.raises(Stopped):
        train(whole, *RUN, "--store_name=reseeded")
    train(whole, *RUN, "--store_name=reseeded", "--resume=auto", "--seed=1", "--epochs=1")
    assert "its videos come in another order now: epoch 1 begins anew" in caplog.text
    (row,) = timeless(whole / "log" / "reseeded" / "log.csv")
    assert row["train_videos"] == "24"


def test_steps_that_are_no_numbers_stop_the_run_or_are_left_out(
    whole: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = torch.nn.CrossEntropyLoss.forward, iter(range(10**6))

    def forward(self: Any, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return real(self, scores * (float("nan") if next(count) == 14 else 1), labels)

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
    assert "the loss became nan at train_" in caplog.text
    left_out = saved(whole, "nan_skip")
    assert all(value.isfinite().all() for value in left_out["state_dict"].values())
    assert [(row["train_videos"], row["train_skipped"]) for row in left_out["rows"]] == [(24, 0), (24, 0), (20, 4)]


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
