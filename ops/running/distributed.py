"""Where a process runs: its device, its rank, and what the ranks tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ops.errors import InputError
from ops.machine import usable_cores

Item = TypeVar("Item")
MOST_WORKERS = 16  # that one process takes by itself: some 10,000 frames a second


@dataclass(frozen=True)
class DistributedContext:
    """This process's device and rank. `gpus`: what DataParallel spreads over when there is one process."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
    gpus: tuple[int, ...] = ()

    @property
    def is_main(self) -> bool:
        """The one process that logs and writes."""
        return self.rank == 0

    @property
    def devices(self) -> int:
        """How many devices share a batch."""
        return self.world_size * max(1, len(self.gpus))

    def describe(self) -> str:
        """In words, for the log."""
        if self.world_size > 1:
            return f"{self.world_size} processes on {self.device.type}"
        return f"DataParallel on GPUs {self.gpus}" if len(self.gpus) > 1 else str(self.device)

    def workers(self, asked: int | None) -> int:
        """Loader processes: as asked, or as many as pay.

        A GPU wants all processors, shared with the machine's other training processes. On the CPU the network is so
        much slower than the loader, and computes on the same processors, that one in four is enough.
        """
        if asked is not None:
            return asked
        cores = usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return max(1, min(MOST_WORKERS, cores)) if self.device.type == "cuda" else max(1, cores // 4)

    def share_of_batch(self, batch_size: int) -> int:
        """Videos of a global batch that fall to this process; an InputError if they can't be shared evenly."""
        if batch_size % self.world_size:
            raise InputError(f"--batch-size {batch_size}: not divisible by the {self.world_size} processes")
        return batch_size // self.world_size

    def wrap(self, network: nn.Module, find_unused: bool = False) -> nn.Module:
        """`network`, on this device already, spread over the GPUs or joined to the other processes."""
        if self.world_size > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=find_unused)
        return self.spread(network)

    def spread(self, network: nn.Module) -> nn.Module:
        """`network` over this process's GPUs where it has several: for evaluation, where processes do not meet."""
        return nn.DataParallel(network, list(self.gpus)) if len(self.gpus) > 1 else network

    def share_buffers(self, network: nn.Module) -> None:
        """Gives every process the main one's buffers: each has gathered running statistics of its own share."""
        if self.world_size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def sum(self, values: list[float]) -> list[float]:
        """The values added up over the processes."""
        if self.world_size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def mean(self, value: float) -> float | torch.Tensor:
        """The mean over the processes; of several a tensor on the device, so that nobody need wait for it."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, device=self.device)
        dist.all_reduce(total)
        return total / self.world_size

    def gather(self, items: list[Item]) -> list[Item]:
        """The items of all processes, in the order of the ranks."""
        if self.world_size == 1:
            return items
        parts: list[Any] = [None] * self.world_size
        dist.all_gather_object(parts, items)
        return [item for part in parts for item in part]

    def agree(self, wish: int) -> int:
        """The largest of the processes' wishes, whole numbers from 0 on: all of them do what one of them wants."""
        return max(self.gather([wish]))

    def from_main(self, item: Item) -> Item:
        """The main process's item, on all of them."""
        return self.gather([item])[0]

    def beat(self, what: str) -> None:
        """Tells the other processes that this one goes on, and what with."""

    def by_main(self, work: Callable[[], Item]) -> Item | None:
        """Lets the main process alone do something, and returns what it got there; None on the others.

        Where it fails, all end: the main process with its error, the others without a word.
        """
        result, failure = None, None
        try:
            result = work() if self.is_main else None
        except Exception as error:
            failure = error
        if any(self.gather([failure is not None])):
            raise failure or SystemExit(2)
        return result

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world_size > 1:
            dist.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process does what follows, then the others: what it leaves in a file, they find."""
        if not self.is_main:
            self.wait()
        try:
            yield
        finally:
            if self.is_main:
                self.wait()


ALONE = DistributedContext(torch.device("cpu"))


@contextmanager
def join_processes(gpus: list[int] | None) -> Iterator[DistributedContext]:
    """This process's context: under torchrun one of several, else alone with `gpus` (None: all there are)."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield _alone(gpus)
        return
    if gpus is not None:
        raise InputError("--gpus and torchrun exclude each other: set CUDA_VISIBLE_DEVICES for torchrun")
    if "LOCAL_RANK" not in os.environ:
        raise InputError(f"WORLD_SIZE is {world_size} but LOCAL_RANK is not set: start several processes with torchrun")
    local_rank = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        if local_rank >= torch.cuda.device_count():
            raise InputError(f"torchrun started more processes a machine than its {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(device)
    # Hours, because processes that test meet only at the end, each after its own share.
    timeout = timedelta(hours=4)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timeout, device_id=device if on_gpu else None)
    context = DistributedContext(device, dist.get_rank(), world_size)
    yield context
    # Together, for in torch 2.6 gloo may hang in the next call when another process, with less to do, has left.
    context.wait()
    # Not after an error: the other processes may be waiting in a collective; this one's end lets torchrun end them.
    dist.destroy_process_group()


def _alone(gpus: list[int] | None) -> DistributedContext:
    count = torch.cuda.device_count()
    if wrong := [g for g in gpus or [] if not 0 <= g < count]:
        raise InputError(f"--gpus {' '.join(map(str, wrong))}: this machine has {count} GPUs, numbered from 0")
    chosen = tuple(range(count) if gpus is None else gpus)
    if not chosen:
        return ALONE
    torch.cuda.set_device(chosen[0])
    return DistributedContext(torch.device("cuda", chosen[0]), gpus=chosen)
