"""A run's two folders: held from its first second, never overwritten unasked, whole when the disk gives up."""

from __future__ import annotations

import csv
import errno
import logging
import os
import struct
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from programs import train
from tensorboardX.proto.event_pb2 import Event

from ops.errors import InputError
from ops.locks import claimed
from ops.running import board, folders
from ops.running.board import Board
from ops.running.checkpoint import read_checkpoint, save_checkpoint
from ops.running.distributed import DistributedContext
from ops.running.folders import RunFolders

RUN = ("--epochs", "1", "--store_name", "run")


def epochs(log: Path) -> list[str]:
    """The epochs in a log's table."""
    with (log / "log.csv").open() as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, byte by byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("root", ["checkpoint", "log"])
def test_a_run_whose_folder_is_held_ends_before_the_data_are_looked_at(tmp_path: Path, root: str) -> None:
    """There are no data at all."""
    (tmp_path / "dataset" / "demo").mkdir(parents=True)
    with claimed(tmp_path / root / "run", "wait"):
        with pytest.raises(InputError) as caught:
            train(tmp_path, *RUN)
        for words in (
            f"{root}/run: another program is at work",
            f"process {os.getpid()} on",
            "--suffix",
            "--store_name",
        ):
            assert words in str(caught.value)
        with pytest.raises(InputError, match="no such checkpoint"):  # validation takes nothing
            train(tmp_path, *RUN, "--evaluate", "--resume", "nowhere.pth")
    assert not (tmp_path / "checkpoint" / "run").exists() and not (tmp_path / "log" / "run").exists()


@pytest.mark.parametrize("root", ["checkpoint", "log"])
def test_a_place_that_takes_nothing_is_found_before_the_data_are_looked_at(tmp_path: Path, root: str) -> None:
    (tmp_path / "dataset" / "demo").mkdir(parents=True)
    (tmp_path / root).write_text("a file")
    with pytest.raises(InputError, match=rf"{root}/run: can't be written there: Not a directory; .*in the way"):
        train(tmp_path, *RUN)


def test_one_folder_for_both(tmp_path: Path) -> None:
    run = RunFolders("run", tmp_path / "all" / "run", tmp_path / "all" / ".." / "all" / "run")
    with run.claimed(), pytest.raises(InputError), claimed(tmp_path / "all" / "run", "wait"):
        pass


def saved(path: Path, name: str) -> Path:
    """A checkpoint that says no more than where a run goes on needs."""
    path.parent.mkdir(parents=True)
    network = {"network": {"num_classes": 3}, "categories": [], "dataset": "demo", "state_dict": {}}
    training = {"epoch": 1, "options": {}, "best_prec1": 50.0, "scaler": {}}
    optimizer = {"state": {}, "param_groups": []}
    save_checkpoint(path, {**network, **training, "optimizer": optimizer, "name": name})
    return path


def test_a_log_is_not_overwritten_by_a_run_with_other_checkpoints(demo: Path) -> None:
    log = demo / "log" / "run"
    log.mkdir(parents=True)
    for name in ("log.csv", "options.json", "events.out.tfevents.1.here", "notes.txt"):
        (log / name).write_text("of another run")
    before = content(log)
    (demo / "checkpoint" / "run").mkdir(parents=True)  # a folder without checkpoints
    second = saved(demo / "checkpoint" / "second" / "ckpt.pth", name="second")
    for flags in ((), ("--root_model", str(demo / "other")), ("--resume", str(second))):
        with pytest.raises(InputError, match=r"log/run holds an earlier run's log already: keep both .*--overwrite"):
            train(demo, *RUN, *flags)
    assert content(log) == before
    (log / "index.html").mkdir()  # where the page goes, which is an extra: no reason to end a training
    train(demo, *RUN, "--overwrite")
    assert epochs(log) == ["1"] and (log / "notes.txt").read_text() == "of another run"
    (events_file,) = log.glob("events*")
    assert events_file.name not in before and b"another" not in (log / "options.json").read_bytes()


def test_a_run_keeps_its_own_log_and_one_without_an_epoch_is_in_nobodys_way(tmp_path: Path) -> None:
    run = RunFolders("run", tmp_path / "checkpoint" / "run", tmp_path / "log" / "run")
    run.log.mkdir(parents=True)
    (run.log / "options.json").write_text("{}")
    run.refuse_to_overwrite(None)
    (run.log / "log.csv").write_text("epoch\n1\n")
    own = read_checkpoint(saved(run.checkpoints / "ckpt.pth", name="run"))
    run.refuse_to_overwrite(own)
    run.make_room(own, 1)
    assert (run.log / "log.csv").exists() and own.path.exists()
    with pytest.raises(InputError, match=rf"holds checkpoints already: .*--resume {own.path}"):
        run.refuse_to_overwrite(None)
    own.path.rename(own.path.with_name("ckptbest.pth"))  # the advice names what is there
    with pytest.raises(InputError, match=r"--resume auto, or --resume \S*ckptbest.pth"):
        run.refuse_to_overwrite(None)
    run.make_room(None, 1)
    assert not list(run.checkpoints.iterdir()) and {*content(run.log)} == {"options.json"}


def test_a_full_disk_in_mid_run_leaves_the_last_checkpoint_and_says_so(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = torch.save, []

    def save(value: object, file: object) -> None:
        calls.append(value)
        real(value, file)
        if len(calls) > 2:  # the best and the latest of the first epoch
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(InputError) as caught:
        train(demo, "--epochs", "2", "--store_name", "run")
    latest = demo / "checkpoint" / "run" / "ckpt.pth"
    assert "No space left on device; free some space" in str(caught.value) and "\n" not in str(caught.value)
    assert f"{latest} is whole" in str(caught.value) and "--resume auto" in str(caught.value)
    assert torch.load(latest, weights_only=True)["epoch"] == 1
    assert {path.name for path in latest.parent.iterdir()} <= {"ckpt.pth", "ckptbest.pth"}
    monkeypatch.undo()
    train(demo, "--epochs", "2", "--resume", str(latest))
    assert epochs(demo / "log" / "run") == ["1", "2"]


def test_a_disk_without_room_for_a_checkpoint_is_found_before_the_first_epoch(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: namedtuple("usage", "free")(150 << 20))
    monkeypatch.setattr("ops.programs.training.train_one_epoch", lambda *_: pytest.fail("it trains"))
    with pytest.raises(InputError, match=r"the checkpoints need about 170 MiB, 150 MiB are free.*--root_model"):
        train(demo, *RUN)


@pytest.mark.parametrize("name", ["../elsewhere", "a/../../elsewhere", "/elsewhere"])
def test_a_checkpoint_cannot_name_a_folder_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "dataset" / "demo").mkdir(parents=True)
    latest = saved(tmp_path / "checkpoint" / "run" / "ckpt.pth", name=name)
    with pytest.raises(InputError, match="no folder below --root_model; --store_name NAME"):
        train(tmp_path, "--epochs", "2", "--resume", str(latest))
    assert {path.name for path in tmp_path.iterdir()} == {"dataset", "checkpoint"}


def test_what_the_main_process_alone_does_ends_all_if_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    main, other = (DistributedContext(torch.device("cpu"), rank, 2) for rank in (0, 1))
    told: list[bool] = []
    monkeypatch.setattr(DistributedContext, "agree", lambda self, failed: told.append(failed) or max(told))
    with pytest.raises(InputError, match="held"):
        main.by_main(lambda: (_ for _ in ()).throw(InputError("held")))
    with pytest.raises(SystemExit) as ended:
        other.by_main(lambda: pytest.fail("it is the main process's to do"))
    assert ended.value.code == 2
    told.clear()
    assert main.by_main(lambda: 7) == 7 and other.by_main(lambda: 7) is None


def test_a_restarted_run_waits_for_the_locks_of_its_former_self(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "TIMEOUT", 0.2)
    run = RunFolders("run", tmp_path / "checkpoint", tmp_path / "log")
    with claimed(tmp_path / "log", "wait"):
        for count, least in (("0", 0.0), ("1", 0.2)):
            monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
            began = time.monotonic()
            with pytest.raises(InputError), run.claimed():
                pass
            assert time.monotonic() - began >= least


def events(file: Path) -> list[Event]:
    """The records of TensorBoard's file: length, checksum, content, checksum."""
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_tensorboards_full_disk_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = iter(range(1000, 2000))
    monkeypatch.setattr("tensorboardX.event_file_writer.time.time", lambda: float(next(ticks)))
    curves = Board(tmp_path)
    assert not list(tmp_path.iterdir())
    curves.add(1, {"train/loss": 0.5})
    with pytest.MonkeyPatch.context() as patch:

        def write(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(board.EventsWriter, "write_event", write)
        for step in range(2, 30):  # more than its queue held
            curves.add(step, {"train/loss": 0.5})
    with caplog.at_level(logging.WARNING):
        curves.add(30, {"train/loss": 0.25, "val/loss": 1.0})
    assert caplog.text.count("No space left on device") == 28 and "of step 2 can't be written" in caplog.text
    first, *_, last = (
        events(file) for file in sorted(tmp_path.iterdir(), key=lambda file: int(file.name.split(".")[3]))
    )
    assert [event.step for event in first] == [0, 1, 1] and first[0].file_version == "brain.Event:2"
    assert last[1].step == 30 and last[1].session_log.status == last[1].session_log.START
    assert [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in last[2:]] == [
        (30, "train/loss", 0.25),
        (30, "val/loss", 1.0),
    ]
