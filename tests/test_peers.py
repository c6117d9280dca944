"""Who hangs and who has ended, as the others say; a store that knows of dead processes. Threads stand for processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from torch import distributed as dist

from ops import heartbeat
from ops.data.parallel import in_parallel
from ops.errors import InputError, MachineError, environment_fault
from ops.running.distributed import ALONE
from ops.running.peers import Peers, own_prefix

PATIENCE = 0.4


class Collective:
    """A collective that ends when told so, or `seconds` after it was begun."""

    def __init__(self, seconds: float = 60.0, error: Exception | None = None) -> None:
        self.end, self.error = time.monotonic() + seconds, error

    def is_completed(self) -> bool:
        return time.monotonic() > self.end

    def wait(self) -> None:
        if self.error:
            raise self.error


def group(size: int, patience: float = PATIENCE) -> list[Peers]:
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=5))
    return [Peers(store, rank, size, patience) for rank in range(size)]


def in_threads(*works: Callable[[], object]) -> list[object]:
    """What each of them returned or raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        return [future.exception() or future.result() for future in futures]


def test_one_who_does_not_go_on_is_named_by_all() -> None:
    first, hangs, last = group(3)
    hangs.beat("left out: too soon after the last beat")
    hangs._due = 0.0
    hangs.beat("epoch 2, batch 7")
    errors = in_threads(lambda: first.meet(Collective()), lambda: last.meet(Collective()))
    assert str(errors[0]) == str(errors[1])
    assert isinstance(errors[0], MachineError)
    assert all(word in str(errors[0]) for word in ("process 1 (pid ", "epoch 2, batch 7", "--timeout_minutes"))
    assert not any(word in str(errors[0]) for word in ("process 0", "process 2"))
    assert environment_fault(errors[0]) == str(errors[0])


def test_one_who_goes_on_is_waited_for() -> None:
    early, works = group(2)

    def work() -> None:
        for number in range(12):
            time.sleep(PATIENCE / 4)
            works.beat(f"video {number}")

    began = time.monotonic()
    assert in_threads(lambda: early.meet(Collective(3 * PATIENCE)), work) == [None, None]
    assert time.monotonic() - began >= 3 * PATIENCE


def test_all_who_wait_for_one_another_in_vain_blame_nobody() -> None:
    first, last = group(2)
    errors = in_threads(lambda: first.meet(Collective()), lambda: last.meet(Collective()))
    assert all("the network between them" in str(error) for error in errors)


def test_a_gpu_that_hangs_is_named_by_its_own_process() -> None:
    (peers, _) = group(2)
    done, hangs = (type("Event", (), {"query": lambda self, now=now: now})() for now in (True, False))
    for events in ([], [hangs], [done, hangs]):  # the last one is still at work, as it may be
        peers._forwards.clear()
        peers._forwards.extend(events)
        peers.await_device()
    peers._forwards.append(done)  # the one before it is not
    with pytest.raises(MachineError, match=r"the GPU of process 0 \(pid"):
        peers.await_device()


def failing(peers: Peers, words: str, after: float = 0.0) -> Callable[[], None]:
    """A process whose collective fails with these words."""

    def work() -> None:
        with peers.named():
            time.sleep(after)
            raise RuntimeError(words)

    return work


@pytest.mark.parametrize(
    ("words", "ended", "said"),
    [
        ("gloo: Timed out waiting 400ms for recv operation to complete", False, "process 1 .* has not gone on"),
        ("gloo: Connection closed by peer [10.0.0.1]:912", False, "process 1 .* has ended or can't be reached"),
        ("gloo: Connection closed by peer [10.0.0.1]:912", True, "process 1 .* has ended: out of memory"),
    ],
)
def test_a_failed_collective_names_who_is_missing(words: str, ended: bool, said: str) -> None:
    first, missing, last = group(3)
    if ended:
        missing.leave(InputError("out of memory"))
    # One gives up; the other learns by its connection that it did.
    errors = in_threads(failing(first, words), failing(last, "gloo: Connection closed by peer", after=0.05))
    assert str(errors[0]) == str(errors[1])
    with pytest.raises(MachineError, match=said):
        raise errors[0]  # type: ignore[misc]


def test_what_is_no_fault_of_a_collective_stays_as_it_is() -> None:
    (peers, _) = group(2)
    with pytest.raises(RuntimeError, match="shapes") as caught, peers.named():
        raise RuntimeError("shapes differ")
    assert not isinstance(caught.value, MachineError)


def test_without_the_store_the_processes_still_meet_but_wait_no_longer_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (peers, _) = group(2)

    def gone(*_: object) -> None:
        raise dist.DistNetworkError("Broken pipe")

    methods = dict.fromkeys(("set", "check", "multi_get"), gone)
    monkeypatch.setattr(peers, "store", type("Gone", (), methods)())
    with peers.named():
        peers.beat("on and on")
        peers.meet(Collective(PATIENCE / 2))  # to save, for one
    with pytest.raises(MachineError, match="torchrun ended"), peers.named():
        peers.meet(Collective())


def test_a_start_has_a_prefix_that_no_dead_process_knows() -> None:
    store = dist.HashStore()
    for rank in range(3):  # an earlier start, killed at various moments
        store.set(f"call/{rank}", "of a dead one")

    def join(rank: int) -> str:
        found = own_prefix(store, rank, 3, patience=5)
        if rank == 0:
            assert not found.check(["address"])
            found.set("address", "new")
        return found.get("address").decode()

    for _ in range(2):  # the second start meets what the first has left
        assert in_threads(*(lambda rank=rank: join(rank) for rank in (2, 1, 0))) == ["new"] * 3


def test_one_who_does_not_come_is_not_waited_for_for_ever() -> None:
    with pytest.raises(dist.DistStoreError, match="2 processes"):
        own_prefix(dist.HashStore(), 0, 2, patience=0.1)


def test_long_work_beats() -> None:
    heard: list[str] = []
    with heartbeat.heard_by(heard.append):
        list(in_parallel(str, range(3), 1))
        ALONE.beat("alone")
    heartbeat.beat("to nobody")
    assert len(heard) == 4 and heard[-1] == "alone" and "3 of 3 videos" in heard[2]


def test_alone_nobody_is_asked() -> None:
    assert (ALONE.agree(3), ALONE.from_main("word"), ALONE.sum([1.0])) == (3, "word", [1.0])
    with ALONE.failures_named():
        ALONE.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="a process elsewhere is not told of its parent's end")
def test_an_orphan_ends() -> None:
    child = "from ops.machine import end_with_parent as e; e(); import time; print('up', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); print(p.pid); p.wait()"
    with subprocess.Popen([sys.executable, "-uc", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        process.send_signal(signal.SIGKILL)
    orphan = int(next(line for line in lines if line != "up"))
    deadline = time.monotonic() + 10
    while is_alive(orphan) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(orphan)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"  # whose status nobody asked for yet
