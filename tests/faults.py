#!/usr/bin/env python3
"""Ends runs from outside at random moments, many times over, and looks at what they leave (docs/reliability.md).

`python tests/faults.py kills --count 200 --jobs 2`; the other harnesses are in `HARNESSES`. A table comes at the end,
and the exit status is 1 if a promise was broken. Where it can be so, a run is a fork of this process, which has loaded
torch (and computed nothing), so that a start takes no seconds.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of OpenMP's other threads

import torch  # noqa: E402
from test_programs import timeless  # noqa: E402
from test_resuming import same  # noqa: E402

import main  # noqa: E402
from ops.errors import SAVED, reported  # noqa: E402
from ops.programs import training  # noqa: E402, F401 (which main would import in each fork)
from ops.running.checkpoint import read_checkpoint  # noqa: E402
from tools import make_demo_dataset  # noqa: E402

NETWORK = ("--arch", "mobilenetv2", "--num_segments=2", "--input_size=32", "--pretrain=none", "--shift", "--npb")
LEARNING = ("-b4", "--epochs=2", "--lr=0.01", "--ema=0.9", "--dropout=0.5", "--amp=off", "--eval-freq=1")
TINY = (*NETWORK, *LEARNING, "--keep=1", "--resume=auto")  # six steps of four videos
LONGER = (*TINY, "--epochs=6")  # for several processes, which take long to start
QUICKSTART = (  # as scripts/quickstart.sh has them
    *("--arch", "resnet18", "--pretrain", "none", "--num_segments", "8", "--input_size", "64", "--shift", "--npb"),
    *("--epochs", "12", "--batch-size", "16", "--lr", "0.02", "--lr_type", "cos", "--warmup_epochs", "1"),
    *("--no_fc_lr5", "--gd", "20", "--dropout", "0.2", "--eval-freq", "3", "--resume=auto"),
)
KEPT_KEYS = ("state_dict", "trained", "averaged_steps", "optimizer", "scaler", "epoch", "best_prec1")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
LONGEST = 300  # seconds that any run may take
COMPLAINT = re.compile(r"Traceback|\bException\b|Error\b|Fatal|terminate called|leaked")


@dataclass
class Found:
    """What a case has shown: seconds by what they are of, counts, and broken promises."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[tuple[str, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def expect(self, promise: bool, words: object) -> None:
        """Notes the words where a promise is broken."""
        if not promise:
            self.broken.append(str(words))

    def add(self, other: Found) -> None:
        """Takes in what another case has shown."""
        self.counts += other.counts
        self.seconds += other.seconds
        self.broken += other.broken


# ---- Runs


def flags_of(root: Path, name: str) -> list[str]:
    """The data set and the folders of a run."""
    places = ("--root_dataset", str(root / "dataset"), "--root_log", str(root / "log"))
    return ["demo", "RGB", *places, "--root_model", str(root / "checkpoint"), "--store_name", name]


def forked(argv: Sequence[str], said: Path) -> int:
    """Starts main.py in a fork of this process, in a group of its own; its words go to the end of `said`."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have made deaf
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        with reported():
            main.main(list(argv))
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # which ends the loader's processes
        os._exit(status)


def started(argv: Sequence[str], said: Path, *before: str) -> int:
    """The same as a process of its own, as a user starts it; `before`: what starts it, if not Python alone."""
    command = [*(before or (sys.executable,)), str(REPOSITORY / "main.py"), *argv]
    with said.open("ab") as out:
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=out, stderr=out, start_new_session=True).pid


def ended(pid: int, within: float = LONGEST) -> int | None:
    """Its exit status, or that of a shell after a signal, negative; None where it had to be killed."""
    if (status := status_within(pid, within)) is None:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return status


def status_within(pid: int, seconds: float) -> int | None:
    """The same; None where it has not ended after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    found: list[int] = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def living(pids: Sequence[int]) -> list[int]:
    """Those of them that are still there, but for zombies."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    alive = []
    for pid, stat in states.items():
        with suppress(OSError):  # it is gone
            alive += [pid] * (stat.read_text().rpartition(")")[2].split()[0] != "Z")
    return alive


def wait_until(true: Callable[[], bool], within: float = LONGEST) -> bool:
    """Whether it became true."""
    deadline = time.monotonic() + within
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


# ---- What runs leave


def position(root: Path, name: str, found: Found) -> tuple[int, int, bool]:
    """Where a run would go on: epochs, videos of the next, whether the last is validated; all checkpoints must load."""
    folder, places = root / "checkpoint" / name, {}
    for path in folder.glob("*.pth") if folder.is_dir() else ():
        try:
            saved = read_checkpoint(path).training
            places[path.name] = (saved["epoch"], saved.get("begun", {}).get("videos", 0), saved["validated"])
        except Exception as error:
            found.expect(False, f"{name}: {path.name} does not load: {error}")
    found.expect(not places or "ckpt.pth" in places, f"{name}: {list(places)} without ckpt.pth")
    return places.get("ckpt.pth", (0, 0, False))


def expect_as_whole(root: Path, name: str, found: Found, whole: str = "whole") -> None:
    """Weights, momenta, average and log of the uninterrupted run, the same files, and nothing else."""
    ours, theirs = root / "checkpoint" / name, root / "checkpoint" / whole
    found.expect({f.name for f in ours.iterdir()} == {f.name for f in theirs.iterdir()}, sorted(ours.iterdir()))
    for path in theirs.glob("*.pth"):
        if not (ours / path.name).exists():
            continue
        a, b = (torch.load(folder / path.name, weights_only=True) for folder in (ours, theirs))
        wrong = [key for key in KEPT_KEYS if not same(a.get(key), b.get(key))]
        found.expect(not wrong and "begun" not in a, f"{name}: {path.name} differs in {wrong}")
    logs = [timeless(root / "log" / run / "log.csv") for run in (name, whole)]
    found.expect(
        logs[0] == logs[1], f"{name}: its log has epochs {[row['epoch'] for row in logs[0]]}, or other numbers"
    )
    left = [path.name for folder in ("checkpoint", "log") for path in (root / folder / name).glob(".*")]
    found.expect(not left, f"{name}: left {left}")


def run_to_its_end(root: Path, name: str, argv: Sequence[str], found: Found) -> None:
    """The same command once more, undisturbed."""
    said = root / f"{name}.txt"
    status = ended(forked([*flags_of(root, name), *argv], said))
    found.expect(status == 0, f"{name}: can't be started again: {status}, {last_line(said)}")


def last_line(said: Path) -> str:
    """Of what a run said."""
    return (said.read_text(errors="replace").splitlines() or ["nothing"])[-1]


def complaints(said: Path) -> list[str]:
    """Lines that a run which ends as it should does not print."""
    return [line for line in said.read_text(errors="replace").splitlines() if COMPLAINT.search(line)]


# ---- Harnesses: each case takes the folder, its number and its random generator


def kills(root: Path, number: int, draw: random.Random) -> Found:
    """A run that saves after each step is killed at random moments until it has ended."""
    found, name = Found(), f"killed{number}"
    argv, said = [*TINY, "--save_steps=1", f"-j{number % 2}"], root / f"{name}.txt"
    reached, status = (0, 0, False), None
    while status != 0 and found.counts["kills"] < 50 and not found.broken:
        child = forked([*flags_of(root, name), *argv], said)
        status = ended_after(child, draw.uniform(0.1, 0.6) * length_of(root), partial(os.kill, child, signal.SIGKILL))
        if status == -signal.SIGKILL:
            found.counts["kills"] += 1
            found.counts["of these while a file was written"] += any((root / "checkpoint" / name).glob(".*.partial"))
            now = position(root, name, found)
            found.expect(now >= reached, f"{name}: went back from {reached} to {now}")
            reached = now
        else:
            found.expect(status == 0, f"{name}: ended with {status}: {last_line(said)}")
    found.counts["runs"] += 1
    run_to_its_end(root, name, argv, found)  # which has nothing to do
    expect_as_whole(root, name, found)
    return found


def signals(root: Path, number: int, draw: random.Random) -> Found:
    """A run gets SIGTERM, SIGUSR1 or Ctrl-C at random moments, alone or with all its group, until it has ended."""
    found, name = Found(), f"told{number}"
    argv, said = [*TINY, f"-j{number % 3}"], root / f"{name}.txt"
    status = None
    while status != 0 and sum(found.counts.values()) < 50 and not found.broken:
        which, to_all = draw.choice((signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)), draw.random() < 0.5
        child = forked([*flags_of(root, name), *argv], said)
        told: list[float] = []

        def tell(child: int = child, which: int = which, to_all: bool = to_all, told: list[float] = told) -> None:
            told.append(time.monotonic())
            (os.killpg if to_all else os.kill)(child, which)

        status = ended_after(child, draw.uniform(0.05, 0.7) * length_of(root), tell)
        if status == 0:
            continue
        found.counts[which.name + " to its whole group" * to_all] += 1
        found.seconds.append(("to the end after a signal", time.monotonic() - told[0]))
        found.expect(status == (130 if which == signal.SIGINT else SAVED), f"{name}: {which.name} ends it by {status}")
        found.expect(last_line(said).startswith("stopped"), f"{name}: {which.name}: {last_line(said)}")
        position(root, name, found)
    found.counts["runs"] += 1
    found.expect(not complaints(said), f"{name}: {complaints(said)[:3]}")
    run_to_its_end(root, name, argv, found)
    expect_as_whole(root, name, found)
    return found


def ctrl_c(root: Path, number: int, draw: random.Random) -> Found:
    """Ctrl-C twice, as a terminal sends it: to the run and its loader's processes."""
    found, name = Found(), f"twice{number}"
    said = root / f"{name}.txt"
    child = forked([*flags_of(root, name), *TINY, "--save_steps=1", f"-j{number % 3}"], said)
    time.sleep(draw.uniform(0.3, length_of(root)))
    family = [child, *descendants(child)]
    os.killpg(child, signal.SIGINT)
    time.sleep(draw.choice((0, 0.01, 0.1)))
    told = time.monotonic()
    if living([child]):
        os.killpg(child, signal.SIGINT)
    status = ended(child)
    found.seconds.append(("to the end after the second Ctrl-C", time.monotonic() - told))
    found.expect(status in (0, 130), f"{name}: {status}, {last_line(said)}")
    found.counts["by the second" if "at once" in last_line(said) else "by the first" if status else "too late"] += 1
    found.expect(not complaints(said), f"{name}: {complaints(said)[:3]}")
    found.expect(wait_until(lambda: not living(family), 10), f"{name}: its loader's processes stay")
    position(root, name, found)
    run_to_its_end(root, name, [*TINY, "--save_steps=1"], found)
    expect_as_whole(root, name, found)
    return found


def pairs(root: Path, number: int, draw: random.Random) -> Found:
    """Two runs of one name started together: one is refused, and writes nothing; the other ends well."""
    found, name = Found(), f"pair{number}"
    said = [root / f"{name}{which}.txt" for which in "ab"]
    children = []
    for file in said:
        children.append(forked([*flags_of(root, name), *TINY], file))
        time.sleep(draw.choice((0, 0.001, 0.01, 0.1)))
    statuses = [ended(child) for child in children]
    found.expect(sorted(map(str, statuses)) == ["0", "2"], f"{name}: ended with {statuses}")
    refused = said[statuses.index(2)] if 2 in statuses else said[0]
    words = refused.read_text()
    found.expect(words.count("\n") == 1 and "another program is at work there" in words, f"{name}: {words[:500]}")
    found.counts["pairs"] += 1
    expect_as_whole(root, name, found)
    return found


def ranks(root: Path, number: int, draw: random.Random) -> Found:
    """One of two processes of torchrun is killed while it trains; torchrun starts both again."""
    found, name, rank = Found(), f"rank{number}", number % 2
    said = root / f"{name}.txt"
    flags = [flag for flag in LONGER if flag != "--resume=auto"]
    argv = [*flags_of(root, name), *flags, "--save_steps=1", "-j1", "--timeout_minutes=1"]
    torchrun = started(argv, said, *TORCHRUN, "--max-restarts=3")
    found.expect(wait_until((root / "checkpoint" / name / "ckpt.pth").exists), f"{name}: nothing was saved")
    time.sleep(draw.uniform(0, 0.3) * length_of(root))
    (victim,) = [pid for pid in descendants(torchrun) if rank_of(pid) == rank and is_main_py(pid)]
    os.kill(victim, signal.SIGKILL)
    told = time.monotonic()
    status = ended(torchrun)
    found.seconds.append(("from the kill to the end of the run", time.monotonic() - told))
    found.counts[f"rank {rank} killed"] += 1
    found.expect(status == 0, f"{name}: torchrun ended with {status}")
    words = said.read_text(errors="replace")
    found.counts["went on within an epoch"] += "going on within epoch" in words
    found.expect("started anew: from" in words, f"{name}: it did not go on")
    expect_as_whole(root, name, found, "whole_two")
    return found


def torchruns(root: Path, number: int, draw: random.Random) -> Found:
    """Torchrun itself gets a SIGTERM, which it hands on to its two processes."""
    found, name = Found(), f"torchrun{number}"
    said = root / f"{name}.txt"
    argv = [*flags_of(root, name), *LONGER, "-j1", "--timeout_minutes=1"]
    torchrun = started(argv, said, *TORCHRUN)
    wait_until(lambda: "FEX: " in said.read_text(errors="replace"))
    time.sleep(draw.uniform(0, length_of(root)))
    family = descendants(torchrun)
    told = time.monotonic()
    os.kill(torchrun, signal.SIGTERM)
    found.expect(ended(torchrun) != 0, f"{name}: it had ended before")
    found.expect(wait_until(lambda: not living(family), 60), f"{name}: processes stay")
    found.seconds.append(("until all processes are gone", time.monotonic() - told))
    words = said.read_text(errors="replace")
    found.expect("stopped by SIGTERM" in words, f"{name}: {last_line(said)}")
    found.counts["saved in mid-epoch"] += position(root, name, found)[1] > 0
    found.counts["runs"] += 1
    found.expect(ended(started(argv, said, *TORCHRUN)) == 0, f"{name}: it can't be started again")
    expect_as_whole(root, name, found, "whole_two")
    return found


def quickstart(root: Path, number: int, draw: random.Random) -> Found:
    """The quickstart's network, two epochs of 96 videos, as a process of its own: one signal in mid-epoch."""
    found, name, which = Found(), f"quick{number}", (signal.SIGTERM, signal.SIGUSR1)[number % 2]
    said = root / f"{name}.txt"
    argv = [*flags_of(root, name), *QUICKSTART, "--epochs=2"]
    child = started(argv, said)
    wait_until(lambda: "videos a step" in said.read_text(errors="replace"))
    time.sleep(draw.uniform(0, 6))
    told = time.monotonic()
    os.kill(child, which)
    status = ended(child)
    found.seconds.append(("to the end after a signal", time.monotonic() - told))
    found.counts[which.name] += 1
    found.expect(status == SAVED, f"{name}: {status}, {last_line(said)}")
    found.counts["saved in mid-epoch"] += position(root, name, found)[1] > 0
    found.expect(ended(started(argv, said)) == 0, f"{name}: it can't be started again: {last_line(said)}")
    found.expect(not complaints(said), f"{name}: {complaints(said)[:3]}")
    expect_as_whole(root, name, found, "whole_quick")
    return found


def leak(root: Path, number: int, _: random.Random) -> Found:
    """Memory in 300 epochs, with a validation in every tenth."""
    found, name = Found(), f"long{number}"
    said, table = root / f"{name}.txt", root / "log" / name / "log.csv"
    child = forked([*flags_of(root, name), *TINY, "--epochs=300", "--eval-freq=10", "--lr=1e-4", "-j1"], said)
    resident: list[float] = []
    for epoch in (30, 290):
        wait_until(lambda epoch=epoch: table.exists() and table.read_text().count("\n") > epoch, 3000)
        pages = Path(f"/proc/{child}/statm").read_text().split()[1]
        resident.append(int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    found.expect(ended(child) == 0, last_line(said))
    found.counts["MiB after 30 epochs"], found.counts["MiB after 290 epochs"] = map(round, resident)
    found.expect(resident[1] < 1.05 * resident[0], f"memory grows: {resident} MiB")
    return found


HARNESSES = {each.__name__: each for each in (kills, signals, ctrl_c, pairs, ranks, torchruns, quickstart, leak)}


# ---- Running them


def ended_after(pid: int, seconds: float, tell: Callable[[], None]) -> int | None:
    """The exit status of a run that is told to end after so many seconds, unless it has ended by then."""
    if (status := status_within(pid, seconds)) is None:
        tell()
        status = ended(pid)
    return status


def rank_of(pid: int) -> int:
    """Of a process that torchrun started, and -1 of others."""
    environ = dict(pair.split("=", 1) for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in pair)
    return int(environ.get("RANK", -1))


def is_main_py(pid: int) -> bool:
    """A process of the run, and none of its loader."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return rank_of(int(stat[1])) == -1  # its parent is torchrun


def length_of(root: Path) -> float:
    """Seconds of the uninterrupted run."""
    return float((root / "seconds").read_text())


def prepare(root: Path, harness: str) -> None:
    """The data set, and the uninterrupted run that others are compared with."""
    videos = 8 if harness == "quickstart" else 1
    make_demo_dataset.make(root / "dataset", make_demo_dataset.Settings(0, videos, 1), jobs=1, force=False)
    began = time.monotonic()
    if harness == "quickstart":
        child = started([*flags_of(root, "whole_quick"), *QUICKSTART, "--epochs=2"], root / "whole.txt")
    elif harness in ("ranks", "torchruns"):
        child = started([*flags_of(root, "whole_two"), *LONGER, "-j1"], root / "whole.txt", *TORCHRUN)
    else:
        child = forked([*flags_of(root, "whole"), *TINY, "-j1"], root / "whole.txt")
    if ended(child) != 0:
        sys.exit((root / "whole.txt").read_text())
    (root / "seconds").write_text(str(time.monotonic() - began))


def tried(harness: str, root: Path, number: int, seed: int) -> Found:
    """One case; what it throws is a broken promise, too. What it leaves is removed if it kept all of them."""
    gc.freeze()
    try:
        found = HARNESSES[harness](root, number, random.Random(f"{harness} {seed} {number}"))
    except Exception:
        found = Found(broken=[f"case {number}: {traceback.format_exc()}"])
    if not found.broken:
        for path in root.glob(f"*/*{number}/ckpt*.pth"):
            if re.fullmatch(rf"[a-z]+{number}", path.parent.name):
                path.unlink()
    return found


def run(harness: str, count: int, seed: int, jobs: int, root: Path) -> int:
    """All cases; prints what they found, and returns the exit status."""
    prepare(root, harness)
    total, began = Found(), time.monotonic()
    begun, pending = 0, set[Future[Found]]()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        while True:
            while len(pending) < jobs and (total.counts["kills"] if harness == "kills" else begun) < count:
                pending.add(pool.submit(tried, harness, root, begun, seed))
                begun += 1
            if not pending:
                break
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for found in (future.result() for future in done):
                total.add(found)
                print("".join(f"BROKEN: {words}\n" for words in found.broken), end="")
                print(f"{time.monotonic() - began:5.0f} s: {dict(total.counts)}", flush=True)
    return table(total, time.monotonic() - began)


def table(total: Found, seconds: float) -> int:
    """Prints it; the exit status."""
    print(f"\n| found in {seconds:.0f} s | |\n|---|---|")
    for what, count in sorted(total.counts.items()):
        print(f"| {what} | {count} |")
    for what in sorted({what for what, _ in total.seconds}):
        values = [value for name, value in total.seconds if name == what]
        print(
            f"| seconds {what}: median, longest of {len(values)} | {statistics.median(values):.1f}, {max(values):.1f} |"
        )
    print(f"| broken promises | {len(total.broken)} |")
    return int(bool(total.broken))


def options() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("harness", choices=HARNESSES)
    parser.add_argument("--count", type=int, default=20, help="kills, or cases of the other harnesses, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--jobs", type=int, default=1, help="cases side by side")
    parser.add_argument("--root", type=Path, help="an empty folder to work in, which stays (default: a temporary one)")
    return parser.parse_args()


if __name__ == "__main__":
    given = options()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(run(given.harness, given.count, given.seed, given.jobs, given.root or Path(temporary)))
