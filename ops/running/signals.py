"""What ends a run from outside: SIGTERM and SIGUSR1, as schedulers send them, and Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ops.errors import Stopped

# Windows has no SIGUSR1.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))


class Signals:
    """Ends the program at a signal: at once or, where something must first be made whole (`held`), after that.

    The end is an exception, `ops.errors.Stopped`. A second Ctrl-C does not wait for anything.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._holding = 0
        self._interrupted = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal within the block is noted in `received`, and ends the program behind it."""
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1
        self.stop_if_told()

    def stop_if_told(self) -> None:
        """Raises Stopped if a signal has come and nothing holds it."""
        if self.received is not None and not self._holding:
            raise Stopped(self.received)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            os.write(2, b"stopped at once\n")  # print might be what is interrupted
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(130)
        self._interrupted = self._interrupted or number == signal.SIGINT
        self.received = self.received or signal.Signals(number)
        self.stop_if_told()


@contextmanager
def caught() -> Iterator[Signals]:
    """Within the block the signals of `ENDING` are its `Signals`' matter; those that a shell has made deaf stay so."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():  # there Python lets nobody listen
        yield signals
        return
    before = {n: signal.signal(n, signals._handle) for n in ENDING if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
