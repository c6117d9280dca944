"""What ends a run from outside: signals, killed processes, what hangs, full memories and disks; and how it goes on.

`faults.py` does the same at random moments, many times over.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from programs import REPOSITORY, TINY, python, train
from test_programs import timeless
from test_resuming import same, saved, signalled
from torch import nn

from ops.data.clips import VideoClips
from ops.data.loader import Batch, EpochSampler
from ops.data.parallel import forking, hear
from ops.errors import InputError, Stopped
from ops.locks import claimed
from ops.programs import preparing, training
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext
from ops.running.sharing import shared_out
from ops.running.signals import caught

RUN = ("--arch=mobilenetv2", "--num_segments=2", "--shift", "--npb", "--epochs=2", "--lr=0.01", "--amp=off")


class Killed(BaseException):
    """As a process is killed: no program catches it."""


@pytest.fixture(scope="module")
def whole(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set and an uninterrupted run called `whole`. Others may be added."""
    root = tmp_path_factory.mktemp("faults")
    (root / "dataset").mkdir()
    (root / "dataset" / "demo").symlink_to(rendered / "demo")
    train(root, *RUN, "--store_name=whole")
    return root


def assert_as_whole(root: Path, name: str) -> None:
    """The run has the uninterrupted one's weights, momenta and log."""
    ours, theirs = saved(root, name), saved(root, "whole")
    assert all(same(ours[key], theirs[key]) for key in ("state_dict", "optimizer", "epoch", "best_prec1"))
    assert timeless(root / "log" / name / "log.csv") == timeless(root / "log" / "whole" / "log.csv")


@contextmanager
def dying_after(what: Any, name: str, count: int) -> Iterator[None]:
    """This process "is killed" as it has called a function so many times."""
    real, calls = getattr(what, name), iter(range(1, 10**6))

    def dying(*arguments: Any, **others: Any) -> Any:
        result = real(*arguments, **others)
        if next(calls) == count:
            raise Killed
        return result

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(what, name, dying)
        yield


# ---- Between two saves


def test_the_last_line_of_a_run_without_validation_is_not_lost(whole: Path) -> None:
    run = (*RUN, "--store_name=unvalidated", "--eval-freq=0", "--resume=auto")
    with dying_after(files, "save_checkpoint", 2):
        train(whole, *run)
    train(whole, *run)
    assert [row["epoch"] for row in timeless(whole / "log" / "unvalidated" / "log.csv")] == ["1", "2"]


def test_a_checkpoint_to_be_kept_is_kept_though_the_run_was_killed_before(whole: Path) -> None:
    run = (*RUN, "--store_name=kept", "--epochs=1", "--keep=2", "--resume=auto")
    with dying_after(files, "save_checkpoint", 3):  # the latest, the best and the latest again
        train(whole, *run)
    train(whole, *run)
    folder = whole / "checkpoint" / "kept"
    assert {path.name for path in folder.iterdir()} == {"ckpt.pth", "ckptbest.pth", "ckpt_epoch1.pth"}
    assert (folder / "ckpt_epoch1.pth").samefile(folder / files.LATEST)


def test_an_epoch_to_start_at_is_of_the_checkpoint_that_is_named(
    whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a run that is started anew, by itself or by torchrun, would go back to that epoch each time."""
    caplog.set_level("INFO")
    with pytest.raises(InputError, match=r"--start-epoch 1: .*--resume auto"):
        train(whole, *RUN, "--resume=auto", "--start-epoch=1")
    given = whole / "checkpoint" / "whole" / files.LATEST
    run = (*RUN, "--store_name=again", f"--resume={given}", "--start-epoch=1", "--eval-freq=0", "--epochs=3")
    with dying_after(files, "save_checkpoint", 1):
        train(whole, *run)
    assert saved(whole, "again")["epoch"] == 2
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(whole, *run)
    assert "going on after epoch 2" in caplog.text and saved(whole, "again")["epoch"] == 3


# ---- Signals


def test_a_second_ctrl_c_leaves_at_once_whatever_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    with caught() as signals:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            with pytest.raises(Stopped) as stopped, signals.held():
                os.kill(os.getpid(), number)
            assert stopped.value.received == signal.SIGTERM and not ends
        with pytest.raises(Stopped), signals.held():
            os.kill(os.getpid(), signal.SIGINT)
            assert ends == [130]


def test_what_a_shell_has_made_deaf_stays_so() -> None:
    """As nohup and `&` do."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with caught() as signals:
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received is None and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_real_process_saves_and_leaves_and_a_second_signal_changes_nothing(whole: Path) -> None:
    argv = [*RUN, "--store_name=told", "--resume=auto", "-j1", "-p1"]
    started = start(whole, *argv)
    assert started.stderr is not None
    lines = said_until(started, "1/3 loss")
    os.killpg(started.pid, signal.SIGTERM)  # the loader's process, too
    lines += said_until(started, "stopped")
    os.killpg(started.pid, signal.SIGTERM)
    assert started.wait(20) == 75
    assert not started.stderr.read()
    assert lines[-1].startswith("stopped by SIGTERM. ") and "--resume auto goes on after it" in lines[-1]
    train(whole, *argv)
    assert_as_whole(whole, "told")


def start(root: Path, *flags: str) -> subprocess.Popen[str]:
    """What `train` does, by a process of its own in a group of its own."""
    out = ("--root_log", str(root / "log"), "--root_model", str(root / "checkpoint"))
    command = ("main.py", "demo", "RGB", "--root_dataset", str(root / "dataset"), *TINY, *out, *flags)
    return subprocess.Popen(
        (sys.executable, *command), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def said_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Its lines up to the first with these words."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    pytest.fail(f"{words!r} not in {lines}")


@contextmanager
def signalled_in(what: Any, name: str) -> Iterator[None]:
    """This process gets SIGTERM as it calls a function for the first time."""
    real, calls = getattr(what, name), iter([True])

    def calling(*arguments: Any, **others: Any) -> Any:
        if next(calls, False):
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what, name, calling)
        yield


def test_a_signal_in_preparation_or_validation_ends_it_at_once(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = (*RUN, "--store_name=at_once", "--resume=auto")
    with signalled_in(preparing, "fingerprint"), pytest.raises(Stopped) as stopped:
        train(whole, *run)
    assert str(stopped.value) == "stopped by SIGTERM. Nothing has been saved yet"
    with signalled_in(training, "validate"), pytest.raises(Stopped):
        train(whole, *run)
    assert saved(whole, "at_once")["epoch"] == 1 and not saved(whole, "at_once")["validated"]
    with signalled_in(files, "save_checkpoint"), pytest.raises(Stopped):  # the first of three things not cut in two
        train(whole, *run)
    assert "going on with the validation of epoch 1" in caplog.text and saved(whole, "at_once")["validated"]
    assert [row["epoch"] for row in timeless(whole / "log" / "at_once" / "log.csv")] == ["1"]
    train(whole, *run)
    assert_as_whole(whole, "at_once")


def test_a_signal_ends_the_wait_for_a_lock(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # else it does not wait
    with claimed(whole / "checkpoint" / "waits", "wait"):
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped):
            train(whole, *RUN, "--store_name=waits")
        assert time.monotonic() - began < 10
        timer.join()


def test_a_signal_while_processes_are_forked_comes_behind_it_and_not_to_them() -> None:
    """As a loader starts its own, which a signal may reach before they have handlers of their own."""
    reached = []
    with caught(), pytest.raises(Stopped), forking():
        child = os.fork()
        if not child:
            try:
                os.kill(os.getpid(), signal.SIGUSR1)
                signal.signal(signal.SIGUSR1, signal.SIG_IGN)
                hear([signal.SIGUSR1])
                os._exit(7)
            finally:
                os._exit(1)
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert reached == [7] and not signal.pthread_sigmask(signal.SIG_BLOCK, [])


# ---- Processes that are killed or hang, memory, disks


def as_worker(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object], count: int = 5) -> None:
    """Has a loader's process do something as it reads its video number `count`."""
    real, main, calls = VideoClips.__getitem__, os.getpid(), iter(range(1, 10**6))

    def reading(self: VideoClips, key: tuple[int, int]) -> Any:
        if os.getpid() != main and next(calls) == count:
            what()
        return real(self, key)

    monkeypatch.setattr(VideoClips, "__getitem__", reading)


def test_a_killed_loader_process_costs_a_line_and_the_run_goes_on(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = (*RUN, "--store_name=workerless", "--save_steps=1", "--resume=auto", "-j1")
    with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
        as_worker(patch, lambda: os.kill(os.getpid(), signal.SIGKILL), count=21)
        train(whole, *run)
    words = str(caught.value)
    assert "\n" not in words and "is killed by signal: Killed; perhaps for memory" in words
    assert "--resume auto goes on" in words or "Nothing has been saved yet" in words
    train(whole, *run)
    assert_as_whole(whole, "workerless")


HANGS = """
import sys, time
sys.path[:0] = ["tests"]
from pathlib import Path
import test_faults
from ops.errors import reported
with reported():
    import pytest
    test_faults.as_worker(pytest.MonkeyPatch(), lambda: time.sleep(60))
    test_faults.train(Path(sys.argv[1]), *test_faults.RUN, "-j1", "--read_timeout=1", "--store_name=hangs")
"""


def test_a_read_that_hangs_is_named_and_holds_up_nobody(whole: Path) -> None:
    """By a process of its own: its end must not wait for the hung one, which must end as well."""
    command = (sys.executable, "-c", HANGS, str(whole))
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True) as hung:
        lines = said_until(hung, "error:")
        began = time.monotonic()
        assert hung.wait(20) == 2 and hung.stderr is not None and not hung.stderr.read()
    assert time.monotonic() - began < 15
    assert "train_" in lines[-1] and "not read after 1 seconds" in lines[-1] and "--read_timeout" in lines[-1]
    with pytest.raises(ProcessLookupError):  # nobody of its group is left
        os.killpg(hung.pid, 0)


def test_too_little_memory_says_what_to_lower(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79")

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    with pytest.raises(InputError, match=r"a batch of 8 videos .*lower --batch-size .*--num_segments or --input_size"):
        train(whole, *RUN, "--store_name=memory", "--no-shift")


def test_a_full_disk_in_mid_epoch_leaves_the_last_save(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = (*RUN, "--store_name=full", "--save_steps=1", "--resume=auto")
    real, count = files.save_checkpoint, iter(range(1, 10**6))

    def save(path: Path, content: dict[str, Any]) -> None:
        if next(count) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, content)

    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"No space left.*--resume auto goes on"):
        patch.setattr(files, "save_checkpoint", save)
        train(whole, *run)
    assert saved(whole, "full")["begun"]["videos"] == 8
    train(whole, *run)
    assert_as_whole(whole, "full")


# ---- Another number of processes


def shares(begun: int, size: int, processes: int) -> list[list[int]]:
    """The global batches of an epoch, of 30 videos, from `begun` on."""
    samplers = [EpochSampler(30, size // processes, 3, True, rank, processes) for rank in range(processes)]
    for sampler in samplers:
        sampler.set_epoch(2, begun)
    orders = [[place for _, place in sampler] for sampler in samplers]
    own = size // processes
    return [
        [place for order in orders for place in order[k * own : (k + 1) * own]] for k in range(len(orders[0]) // own)
    ]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_an_epoch_goes_on_in_its_order_whatever_the_number_of_processes_and_the_batch(processes: int) -> None:
    whole = [place for batch in shares(0, 4, 1) for place in batch]
    assert shares(12, 4, processes) == [whole[k : k + 4] for k in range(12, 28, 4)]
    assert [place for batch in shares(12, 8, processes) for place in batch] == whole[12:28]
    assert shares(28, 4, processes) == []


class InThread(DistributedContext):
    """One of several threads that stand for processes."""

    def meeting_at(self, barrier: threading.Barrier, board: dict[int, Any]) -> InThread:
        object.__setattr__(self, "barrier", barrier)
        object.__setattr__(self, "board", board)
        return self

    def gather(self, items: list[Any]) -> list[Any]:
        self.board[self.rank] = items  # type: ignore[attr-defined]
        self.barrier.wait()  # type: ignore[attr-defined]
        found = [item for rank in range(self.world_size) for item in self.board[rank]]  # type: ignore[attr-defined]
        self.barrier.wait()  # type: ignore[attr-defined]
        return found

    def agree(self, wish: int) -> int:
        return max(self.gather([wish]))


@pytest.mark.parametrize(
    ("sizes", "given"),
    [((2, 3), [[0, 1], [2, 3, 4]]), ((0, 3), [[0], [1, 2]]), ((4, 0), [[0, 1], [2, 3]]), ((0, 1), [[], []])],
)
def test_a_process_that_can_read_nothing_gets_of_the_others_videos(
    sizes: tuple[int, ...], given: list[list[int]]
) -> None:
    clips = torch.arange(sum(sizes) * 48).view(-1, 1, 2, 3, 4, 2).to(torch.uint8)
    places = torch.arange(sum(sizes))
    barrier, board = threading.Barrier(2), dict[int, Any]()
    parts = [Batch(c, p + 10, p, []) for c, p in zip(clips.split(sizes), places.split(sizes), strict=True)]
    contexts = [InThread(torch.device("cpu"), rank, 2).meeting_at(barrier, board) for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(shared_out, parts, contexts))
    assert [batch.indices.tolist() for batch in found] == given
    for batch in found:
        assert batch.labels.tolist() == [place + 10 for place in batch.indices.tolist()]
        assert not len(batch) or torch.equal(batch.clips, clips[batch.indices])


# What each process trains on, a line a batch; its labels are no numbers where NAN says so.
RECORDING = """
import os, sys, pathlib
import torch
import main
from ops.errors import reported
from ops.running.engine import Step, train_one_epoch
from ops.programs import training
out, nan = pathlib.Path(os.environ["ORDER"] + os.environ.get("RANK", "0")), os.environ.get("NAN")
def watched(model, batches, *others):
    def each():
        for batch in batches:
            with out.open("a") as file:
                print(*batch.indices.tolist(), file=file)
            yield batch
    return train_one_epoch(model, each(), *others)
real = torch.nn.CrossEntropyLoss.forward
def forward(self, scores, labels):
    lines = out.read_text().count("\\n") if self.training and out.exists() else 0
    return real(self, scores * float("nan") if nan == f"{os.environ['RANK']} {lines}" else scores, labels)
training.train_one_epoch = watched
torch.nn.CrossEntropyLoss.forward = forward
with reported():
    main.main(sys.argv[1:])
"""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def recorded(root: Path, order: str, *flags: str, nan: str = "") -> tuple[list[list[int]], str]:
    """Trains with two processes: the global batches in the order they were trained on, and what was said."""
    out = ("--root_log", str(root / "log"), "--root_model", str(root / "checkpoint"), "-j0")
    argv = ("demo", "RGB", "--root_dataset", str(root / "dataset"), *TINY, *out, *flags)
    told = {"ORDER": str(root / order), "NAN": nan, "OMP_NUM_THREADS": "1"}
    done = python(*TORCHRUN, "--no-python", sys.executable, "-c", RECORDING, *argv, **told)
    assert done.returncode == 0, done.stderr
    parts = [(root / f"{order}{rank}").read_text().splitlines() for rank in (0, 1)]
    return [[int(place) for part in both for place in part.split()] for both in zip(*parts, strict=True)], done.stderr


@pytest.mark.slow
def test_two_processes_go_on_in_the_order_in_which_one_began(whole: Path) -> None:
    run = (*RUN, "--epochs=1", "--resume=auto")
    batches, _ = recorded(whole, "two", *run, "--store_name=two")
    sampler = EpochSampler(24, 8, 0, True)
    assert [place for batch in batches for place in batch] == [place for _, place in sampler]
    with signalled(0), pytest.raises(Stopped):
        train(whole, *run, "--store_name=one_two")
    rest, said = recorded(whole, "one_two", *run, "--store_name=one_two")
    assert rest == batches[1:] and "going on within epoch 1, after 8 of its 24 videos" in said
    assert saved(whole, "one_two")["rows"][0]["train_videos"] == 24


@pytest.mark.slow
def test_a_step_that_is_no_number_on_one_process_is_left_out_on_both(whole: Path) -> None:
    _, said = recorded(whole, "nan", *RUN, "--epochs=1", "--store_name=nan2", "--nan=skip", nan="1 2")
    assert "a step is left out: the loss is no finite number at train_" in said
    assert all(value.isfinite().all() for value in saved(whole, "nan2")["state_dict"].values())


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def environment_of(pid: int) -> list[str]:
    """As `NAME=value`."""
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


@pytest.mark.slow
def test_a_process_that_hangs_is_named(whole: Path) -> None:
    """It gets SIGSTOP; all end within a minute and a half, of which torchrun waits for it half a minute."""
    out = ("--root_log", str(whole / "log"), "--root_model", str(whole / "checkpoint"), "-p1", "-j1")
    argv = ("demo", "RGB", "--root_dataset", str(whole / "dataset"), *TINY, *RUN, *out, "--epochs=50", "--lr=1e-5")
    command = (sys.executable, *TORCHRUN, "main.py", *argv, "--timeout_minutes=0.1", "--store_name=stopped")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as torchrun:
        said_until(torchrun, "epoch 1/50, 3/3 loss")
        (hung,) = [pid for pid in children(torchrun.pid) if "RANK=1" in environment_of(pid)]
        os.kill(hung, signal.SIGSTOP)
        began = time.monotonic()
        lines = said_until(torchrun, "error:")
        assert f"process 1 (pid {hung} on " in lines[-1] and "has not gone on for 0.1 minutes" in lines[-1]
        assert time.monotonic() - began < 60
        _, rest = torchrun.communicate(timeout=120)
    assert torchrun.returncode and "process 0 (pid" not in rest
