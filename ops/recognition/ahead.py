"""Work done ahead in a thread: decoding beside computing, as PyAV and torch both release Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], count: int = 2) -> Iterator[Item]:
    """The items, `count` of them made before they are asked for, all in one other thread.

    What is raised there is raised here. Whoever stops asking waits for the item that is being made, for no other.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming: deque[Future[Any]] = deque(thread.submit(next, iterator, _END) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            for each in coming:
                each.cancel()
