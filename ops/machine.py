"""The machine: how many of its cores are ours, and how the CPU's memory is kept between one batch and the next."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
KEPT = 2**31 - 1  # bytes at the end of the heap that are not given back at once: the largest that fits an int


def usable_cores() -> int:
    """Cores this process may use, which in a container may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Within the block PyTorch computes with so many threads, behind it with as many as before.

    Their number is the whole process's, and decides the last bits of what it computes.
    """
    import torch  # here, as what makes a process fast must be done before

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_process() -> None:
    """What makes a program fast, and libraries read as they are loaded: call it before torch is imported."""
    keep_freed_memory()
    wait_passively()


def wait_passively() -> None:
    """Lets OpenMP's threads sleep soon when they wait for work, unless the user has set how they wait.

    By default they spin for milliseconds, and so take the cores from the loader's processes and from other programs.
    GNU OpenMP's own short wait, that it takes where it knows of too few cores, costs a program alone 2 to 5 % and
    halves the time of two side by side; no wait at all costs 5 to 20 % alone.
    """
    if not any(variable in os.environ for variable in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")):
        os.environ["GOMP_SPINCOUNT"] = "1000"


def keep_freed_memory() -> bool:
    """Lets glibc keep what is freed, so that the next batch's tensors lie where the last ones lay.

    By default it gives blocks above 32 MiB back to the system at once, and every feature map of a larger batch is
    then paid for again, page by page: a quarter of a ResNet-50's time for four clips on two cores. Returns whether
    this C library knows how; where it does not, nothing changes.
    """
    mallopt = _of_glibc("mallopt")
    return bool(mallopt and mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, KEPT))


def give_back_freed_memory() -> None:
    """Gives back what has been freed so far, as far as this C library knows how."""
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def end_with_parent() -> None:
    """Lets this process have SIGTERM when the one that started it ends, however: on Linux, elsewhere it lives on."""
    if prctl := _of_glibc("prctl"):
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_within(seconds: int) -> None:
    """Ends this process by a signal if it has not ended by then, whatever it waits for; not on Windows."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)


def _of_glibc(function: str) -> Any:
    """A function of the C library; None where it has none of this name, as musl."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform.startswith("linux") else None
