"""The sides of a comparison, each in a process of its own, taking turns.

So every side has its own allocator, compiled code and memory, whose peak can be told; the others wait meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch

from tools.benchmarks.findings import WARM_UP

_step: Callable[[], object]
_start: float


@dataclass
class Measured:
    """Seconds of every step, and the peak of the memory in MiB beyond what there was before the first step."""

    seconds: list[float] = field(default_factory=list)
    memory: float = 0.0


def measured(
    sides: Mapping[str, Callable[[], Callable[[], object]]], repeats: int, threads: int
) -> dict[str, Measured]:
    """Each of `sides` makes its step in a process of its own (picklable: a function or `partial` of a module)."""
    pools = {
        name: ProcessPoolExecutor(1, get_context("spawn"), initializer=_prepare, initargs=(make, threads))
        for name, make in sides.items()
    }
    found = {name: Measured() for name in sides}
    try:
        for turn in range(repeats + WARM_UP):
            for name, pool in pools.items():
                seconds, memory = pool.submit(_timed).result()
                found[name].memory = max(found[name].memory, memory)
                if turn >= WARM_UP:
                    found[name].seconds.append(seconds)
    finally:
        for pool in pools.values():
            pool.shutdown()
    return found


def _prepare(make: Callable[[], Callable[[], object]], threads: int) -> None:
    global _step, _start
    torch.set_num_threads(threads)
    _step = make()
    Path("/proc/self/clear_refs").write_text("5")  # resets the mark that building has left
    _start = _memory("VmRSS")


def _timed() -> tuple[float, float]:
    if torch.cuda.is_available():
        return _timed_on_gpu()
    before = time.perf_counter()
    _step()
    return time.perf_counter() - before, _memory("VmHWM") - _start


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


def _memory(kind: str) -> float:
    """MiB of this process: `VmRSS` now, `VmHWM` the most since the mark was reset."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return int(line.split()[1]) / 1024
