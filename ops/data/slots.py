"""Shared memory in which workers hand clips to the main process, used again and again.

Fresh shared memory costs a page fault every 4 KiB, in both processes: for small frames more than decoding them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import multiprocessing

_pools: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()  # in the process that made them


class Slots:
    """`count` pieces of shared memory of `size` bytes each.

    A worker fills a free one and sends its number (`SlotHandle`); in the process that made the slots, it is free again
    as soon as no tensor there uses it. Where none is free, or none is large enough, tensors travel as torch sends them.
    """

    def __init__(self, count: int, size: int) -> None:
        # As torch's own collate function takes it: share_memory_() would copy, and so touch, every page.
        memory = torch.UntypedStorage._new_shared(count * size, device="cpu")
        self.memory = torch.empty(0, dtype=torch.uint8).set_(memory).view(count, size)
        self.taken = torch.zeros(count, dtype=torch.uint8).share_memory_()
        self.lock = multiprocessing.get_context().Lock()
        self.key = id(self)
        _pools[self.key] = self

    def post(self, shape: tuple[int, ...], fill: Callable[[torch.Tensor], object]) -> int | None:
        """Has `fill` write a uint8 tensor of this shape into a free slot; its number, or None where there is none."""
        if prod(shape) > self.memory.shape[1]:
            return None
        with self.lock:
            free = (self.taken == 0).nonzero()
            if not len(free):
                return None
            slot = int(free[0])
            self.taken[slot] = 1
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


def _unpacked(pool: int, slot: int, shape: tuple[int, ...], make: Callable[[torch.Tensor], Any]) -> Any:
    return make(_pools[pool].fetch(slot, shape))
