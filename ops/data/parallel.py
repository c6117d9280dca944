"""Work on many videos by several processes: results as they come, progress, a quiet end at Ctrl-C."""

from __future__ import annotations

import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import cache
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from tqdm import tqdm

from ops.errors import InputError
from ops.heartbeat import beat

logger = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")
Results = Generator[tuple[Task, Result], None, None]

AHEAD = 4  # tasks handed out for each process: a data set has up to millions
LINES = 20  # of progress in all, where there is no terminal for a bar

_stop: Event | None = None  # in a worker process: set when the main one gives up


def in_parallel(
    work: Callable[[Task], Result], tasks: Collection[Task], jobs: int, unit: str = "video"
) -> Results[Task, Result]:
    """Each task with what `work` makes of it, as they come, by `jobs` processes; on the way it says how far it is.

    Use it within `contextlib.closing`: on an exception, Ctrl-C among them, the work at hand has then ended before
    the caller tidies up. Long work asks `stop_if_told` now and then. Raises InputError if a process is killed.
    """
    total = len(tasks)
    jobs = min(jobs, total)
    jobs = jobs if jobs > 1 and processes_can_wait() else 1
    made = _by_processes(work, tasks, jobs) if jobs > 1 else ((task, work(task)) for task in tasks)
    with closing(made), tqdm(total=total, unit=unit, disable=None) as bar:  # None: only on a terminal
        for count, pair in enumerate(made, start=1):
            yield pair
            bar.update()
            beat(f"{count} of {total} {unit}s looked through")
            if bar.disable and count * LINES // total > (count - 1) * LINES // total:
                print(f"{count} of {total} {unit}s", file=sys.stderr, flush=True)


@cache
def processes_can_wait() -> bool:
    """Whether processes of this machine can wait for each other. Where they can't, it says so once.

    Their semaphores lie in /dev/shm, which in a container may be full, read-only or not there.
    """
    try:
        get_context().Lock()
    except OSError as error:
        logger.warning(
            "/dev/shm has no room for several processes to work together (%s): all is done by one, which is slower; "
            "in a container, docker run --shm-size=1g or --ipc=host gives it some",
            error.strerror,
        )
        return False
    return True


def stop_if_told() -> None:
    """Ends the task at hand in a worker process when the main one was interrupted."""
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt


def _by_processes(work: Callable[[Task], Result], tasks: Collection[Task], jobs: int) -> Results[Task, Result]:
    queue = iter(tasks)
    waiting: dict[Future[Result], Task] = {}
    with process_pool(jobs) as pool:
        while True:
            with interrupts_held():
                for task in itertools.islice(queue, AHEAD * jobs - len(waiting)):
                    waiting[pool.submit(work, task)] = task
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()


@contextmanager
def process_pool(jobs: int) -> Iterator[Executor]:
    """So many processes; what they are at ends with the block (see `stop_if_told`). InputError if one is killed.

    Work is given to them within `interrupts_held`.
    """
    context = get_context("spawn")  # fork is not safe beside the threads of a decoder or of PyTorch
    stop = context.Event()
    with ProcessPoolExecutor(jobs, context, _start_worker, (stop,)) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise InputError(
                "a process was killed: perhaps for memory (fewer --jobs need less), or a video crashes its decoder "
                "(with --jobs 1 it does so at the culprit)"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _start_worker(stop: Event) -> None:
    """A terminal's Ctrl-C reaches every process; the workers leave it to the main one, which sets `stop`."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Puts Ctrl-C off. Processes started meanwhile inherit that: none dies loudly before `_start_worker`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def forking() -> Iterator[None]:
    """Puts off the signals that have a handler in Python while processes are forked; these set their own, and `hear`.

    Otherwise they would do what the main process does at a signal, and it would not always do it: what a handler raises
    while the interpreter does its part of a fork is printed and forgotten. (Blocked, a signal may come to another
    thread; and then its handler is called in this one all the same.)
    """
    came: list[int] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere nobody may set them
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, lambda received, _: came.append(received))
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            signal.pthread_sigmask(signal.SIG_BLOCK, handlers)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        hear(handlers)
    for number in came:
        signal.raise_signal(number)


def hear(signals: Iterable[int]) -> None:
    """Lets these signals come again (see `forking`)."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
