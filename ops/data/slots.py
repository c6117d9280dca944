"""Shared memory in which workers hand clips to the main process, used again and again.

Fresh shared memory costs a page fault every 4 KiB, in both processes: for small frames more than decoding them. And
torch takes it from /dev/shm, which in a container has 64 MiB by default.
"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import multiprocessing

TIMEOUT = 1.0  # seconds for the lock, which is held for microseconds, unless its holder was killed

_pools: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()  # in the process that made them


class Slots:
    """`count` pieces of shared memory of `size` bytes each.

    A worker fills a free one and sends its number (`SlotHandle`); in the process that made the slots, it is free again
    as soon as no tensor there uses it. Where none is free, or none is large enough, tensors travel by value (`Copy`).
    The workers must be forked; any other process has no part in the memory, and sends all by value.
    """

    def __init__(self, count: int, size: int) -> None:
        # Of no file, and so bounded by no mount, as /dev/shm; a page is only taken when it is written to.
        memory = torch.frombuffer(mmap.mmap(-1, max(1, count * (size + 1))), dtype=torch.uint8)
        self.memory = memory[: count * size].view(count, size)
        self.taken = memory[count * size :][:count]
        self.lock = multiprocessing.get_context().Lock()
        self.key = id(self)
        _pools[self.key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return Slots, (0, 0)

    def send(
        self, shape: tuple[int, ...], fill: Callable[[torch.Tensor], object], make: Callable[[torch.Tensor], Any]
    ) -> SlotHandle | Copy:
        """What becomes `make(tensor)` in the main process, of a uint8 tensor of this shape that `fill` writes."""
        if (slot := self.post(shape, fill)) is not None:
            return SlotHandle(self.key, slot, shape, make)
        tensor = torch.empty(shape, dtype=torch.uint8)
        fill(tensor)
        return Copy(tensor.numpy(), make)

    def post(self, shape: tuple[int, ...], fill: Callable[[torch.Tensor], object]) -> int | None:
        """Has `fill` write a uint8 tensor of this shape into a free slot; its number, or None where there is none."""
        if prod(shape) > self.memory.shape[1] or not self.lock.acquire(timeout=TIMEOUT):
            return None
        try:
            free = (self.taken == 0).nonzero()
            if not len(free):
                return None
            slot = int(free[0])
            self.taken[slot] = 1
        finally:
            self.lock.release()
        fill(self.memory[slot, : prod(shape)].view(shape))
        return slot

    def fetch(self, slot: int, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor in a slot, which stays taken as long as this tensor, or a view of it, is there."""
        array = np.frombuffer(self.memory[slot].numpy(), np.uint8, prod(shape))
        weakref.finalize(array, self.taken.__setitem__, slot, 0).atexit = False
        return torch.from_numpy(array).view(shape)


@dataclass(frozen=True)
class SlotHandle:
    """What a worker sends in place of `make(tensor)`, which the main process then gets: the tensor lies in a slot."""

    pool: int
    slot: int
    shape: tuple[int, ...]
    make: Callable[[torch.Tensor], Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self.pool, self.slot, self.shape, self.make)


@dataclass(frozen=True)
class Copy:
    """The same where the tensor itself is sent, through the pipe; torch would take shared memory for it."""

    array: np.ndarray
    make: Callable[[torch.Tensor], Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.array, self.make)


def _made(array: np.ndarray, make: Callable[[torch.Tensor], Any]) -> Any:
    return make(torch.from_numpy(array))


def _unpacked(pool: int, slot: int, shape: tuple[int, ...], make: Callable[[torch.Tensor], Any]) -> Any:
    return make(_pools[pool].fetch(slot, shape))
