"""How long a pass takes, and how much of that it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class Clock:
    """Seconds of a pass in all so far, and those spent waiting for the loader."""

    waiting: float = 0.0
    total: float = 0.0

    @property
    def waiting_percent(self) -> float:
        """The share of the time that was spent waiting."""
        return 100 * self.waiting / max(self.total, 1e-9)

    def timed(self, loader: Iterable[Item]) -> Iterator[Item]:
        """The items of `loader`, timed."""
        start, asked = time.perf_counter() - self.total, time.perf_counter()
        for item in loader:
            self.waiting += time.perf_counter() - asked
            self.total = time.perf_counter() - start
            yield item
            asked = time.perf_counter()
        self.total = time.perf_counter() - start
