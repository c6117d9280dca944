"""Long work says now and then that it goes on, and those who wait for this process hear it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], None]] = []


def beat(what: str) -> None:
    """This process goes on, and with what. Called by the work itself: a thread's word would say only that it lives."""
    for listener in _listeners:
        listener(what)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Tells `listener` of each beat within the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
