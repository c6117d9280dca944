"""The sides of a comparison, each in a process of its own, taking turns.

So every side has its own allocator, compiled code and memory, whose peak can be told; the others wait meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from ops.machine import give_back_freed_memory
from tools.benchmarks.findings import WARM_UP, Row, row

Side = Callable[[], Callable[[], object]]  # makes a network ready, in its process, and returns its step
PREFIX = "gpu_" if torch.cuda.is_available() else ""

_step: Callable[[], object]
_start: float


@dataclass(frozen=True)
class Versus:
    """A row, and the peaks of both sides' memory in MiB beyond what there was before the first step."""

    row: Row
    peaks: tuple[float, float]

    def memory(self, name: str) -> Row:
        """The peaks as a row of this name."""
        return row(PREFIX + name, [self.peaks[0]], [self.peaks[1]], "MiB")


def versus(args: argparse.Namespace, name: str, unit: str, ours: Side, theirs: Side) -> Versus:
    """The steps of two sides, in `ms a clip` or `clips/s`; each handles a batch."""
    seconds, peaks = taking_turns((ours, theirs), args.repeats, args.threads)
    clips = args.batch_size
    mine, others = ([clips / s if unit == "clips/s" else 1000 * s / clips for s in side] for side in seconds)
    print(f"{name} …", file=sys.stderr)
    return Versus(row(PREFIX + name, mine, others, unit), (peaks[0], peaks[1]))


def taking_turns(sides: Sequence[Side], repeats: int, threads: int) -> tuple[list[list[float]], list[float]]:
    """The seconds of every step of each side, and the peaks of its memory in MiB.

    A side makes its step in its own process: it must be picklable, as a function or `partial` of a module is.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    peaks = [0.0 for _ in sides]
    with ExitStack() as stack:
        spawn = get_context("spawn")
        pools = [stack.enter_context(ProcessPoolExecutor(1, spawn)) for _ in sides]
        for side, pool in zip(sides, pools, strict=True):
            pool.submit(_prepare, side, threads).result()
        for turn in range(repeats + WARM_UP):
            for number, pool in enumerate(pools):
                taken, peak = pool.submit(_timed).result()
                peaks[number] = max(peaks[number], peak)
                if turn >= WARM_UP:
                    seconds[number].append(taken)
    return seconds, peaks


def _prepare(make: Callable[[], Callable[[], object]], threads: int) -> None:
    global _step, _start
    torch.set_num_threads(threads)
    _step = make()
    give_back_freed_memory()  # or a step would find its memory in what building has freed, uncounted
    Path("/proc/self/clear_refs").write_text("5")  # resets the mark that building has left
    _start = memory("VmRSS")


def _timed() -> tuple[float, float]:
    if torch.cuda.is_available():
        return _timed_on_gpu()
    before = time.perf_counter()
    _step()
    return time.perf_counter() - before, memory("VmHWM") - _start


def _timed_on_gpu() -> tuple[float, float]:
    """By the GPU's own clock."""
    torch.cuda.reset_peak_memory_stats()
    resting = torch.cuda.memory_allocated()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    _step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000, (torch.cuda.max_memory_allocated() - resting) / 2**20


def memory(kind: str) -> float:
    """MiB of this process: `VmRSS` now, `VmHWM` the most since the mark was reset."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return int(line.split()[1]) / 1024
