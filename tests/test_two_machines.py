"""Two machines, each a network namespace with an agent of torchrun: one job, which goes on when one machine is lost."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import REPOSITORY, TINY

ADDRESSES = ("10.77.0.1", "10.77.0.2")
PATIENCE = 240  # seconds: an agent is taken for dead after 15, and on two cores all takes its time


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


class Machine:
    """A namespace with one end of the cable, and what runs there."""

    def __init__(self, number: int, root: Path) -> None:
        self.name, self.cable = f"fexnet{os.getpid()}n{number}", f"fex{os.getpid()}n{number}"
        self.number, self.root, self.agents = number, root, 0
        self.process: subprocess.Popen[bytes] | None = None
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")

    def plugged(self) -> None:
        ip("-n", self.name, "addr", "add", f"{ADDRESSES[self.number]}/24", "dev", self.cable)
        ip("-n", self.name, "link", "set", self.cable, "up")

    def start(self, processes: int, command: list[str]) -> None:
        """An agent with so many processes; its words, and theirs, are in `words`."""
        self.agents += 1
        torchrun = [
            *(sys.executable, "-um", "torch.distributed.run", "--nnodes=1:2", f"--nproc_per_node={processes}"),
            *("--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-id=job", f"--rdzv-endpoint={ADDRESSES[0]}:29400"),
            f"--rdzv-conf=last_call_timeout=5,is_host={int(self.number == 0)}",
            f"--local-addr={ADDRESSES[self.number]}",
        ]
        # Without the second an agent that joins later never gets the address of the others' store.
        environment = {"GLOO_SOCKET_IFNAME": self.cable, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        with (self.root / f"machine{self.number}.{self.agents}.txt").open("wb") as words:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *torchrun, *command],
                **{"stdout": words, "stderr": words, "cwd": REPOSITORY},
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )

    def words(self) -> str:
        return "".join(path.read_text() for path in sorted(self.root.glob(f"machine{self.number}.*.txt")))

    def lost(self) -> None:
        """Its power fails."""
        for pid in ip("netns", "pids", self.name).split():
            os.kill(int(pid), signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def removed(self) -> None:
        self.lost()
        ip("netns", "del", self.name)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    try:
        first = Machine(0, tmp_path)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"network namespaces can't be made here (ip, as root): {error}")
    second = Machine(1, tmp_path)
    ip("link", "add", first.cable, "netns", first.name, "type", "veth", "peer", "name", second.cable)
    ip("link", "set", second.cable, "netns", second.name)
    try:
        for machine in (first, second):
            machine.plugged()
        yield [first, second]
    finally:
        for machine in (first, second):
            machine.removed()


def epochs(root: Path) -> list[int]:
    tables = list(root.glob("log/*/log.csv"))
    if not tables:
        return []
    with tables[0].open() as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def wait_until(machine: Machine, joined: str, times: int, more: int) -> None:
    """Until the first machine has told `times` times of so many processes, and `more` epochs were trained since."""
    deadline, reached = time.monotonic() + PATIENCE, None
    while time.monotonic() < deadline:
        assert machine.process is not None and machine.process.poll() is None, machine.words()
        if machine.words().count(joined) >= times:
            reached = epochs(machine.root)[-1:] if reached is None else reached
            if sum(epochs(machine.root)[-1:]) >= sum(reached) + more:
                return
        time.sleep(0.5)
    pytest.fail(f"not {joined!r} within {PATIENCE} s: {machine.words()}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("ip") is None, reason="no ip to make namespaces with")
def test_a_machine_is_lost_and_comes_back(machines: list[Machine], demo: Path) -> None:
    first, second = machines
    out = ["--root_log", str(demo / "log"), "--root_model", str(demo / "checkpoint"), "--eval-freq=0", "--resume=auto"]
    data = ["--root_dataset", str(demo / "dataset"), "-j", "0", "--batch-size=6", "--epochs=1000"]
    command = ["main.py", "demo", "RGB", *TINY, "--shift", *data, *out, "--timeout_minutes=1"]
    first.start(2, command)
    second.start(1, command)
    wait_until(first, "3 processes on cpu", 1, more=2)
    second.lost()
    wait_until(first, "2 processes on cpu", 1, more=2)
    assert "can't be reached" in first.words()
    second.start(1, command)
    wait_until(first, "3 processes on cpu", 2, more=2)
    assert first.process is not None
    first.process.send_signal(signal.SIGTERM)
    first.process.wait(60)
    assert "stopped by SIGTERM" in first.words()
    done = epochs(demo)
    assert done == list(range(1, len(done) + 1))
