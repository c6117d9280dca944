"""Where a process runs: its device, its rank, and what the ranks tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ops import heartbeat
from ops.errors import InputError, MachineError
from ops.heartbeat import heard_by
from ops.machine import end_with_parent, end_within, usable_cores
from ops.running.peers import LONG, Peers, own_prefix

Item = TypeVar("Item")
MOST_WORKERS = 16  # that one process takes by itself: some 10,000 frames a second


@dataclass(frozen=True)
class DistributedContext:
    """This process's device and rank. `gpus`: what DataParallel spreads over when there is one process."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
    gpus: tuple[int, ...] = ()
    peers: Peers | None = None  # of several processes, as the next two
    control: dist.ProcessGroup | None = None  # on the CPU: for what the GPU's queue should not be waited for
    meeting: dist.ProcessGroup | None = None  # the same, where some come much later than others

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
            joined = DistributedDataParallel(network, device_ids=ids, find_unused_parameters=find_unused)
            if ids and self.peers is not None:
                joined.register_forward_hook(self.peers.after_forward)
            return joined
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
        self.wait()
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
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
        self.wait()
        parts: list[Any] = [None] * self.world_size
        dist.all_gather_object(parts, items, group=self.control)
        return [item for part in parts for item in part]

    def agree(self, wish: int) -> int:
        """The largest of the processes' wishes, whole numbers from 0 on: all of them do what one of them wants.

        Cheap enough for every step, as the GPU is not asked; a process that does not come to it is taken to hang.
        """
        if self.peers is None:
            return wish
        self.peers.await_device()
        largest = torch.tensor(int(wish), dtype=torch.int64)
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.control)
        return int(largest)

    def from_main(self, item: Item) -> Item:
        """The main process's item, on all of them."""
        return self.gather([item])[0]

    def beat(self, what: str) -> None:
        """Tells the other processes that this one goes on, and what with (see `ops.heartbeat`)."""
        heartbeat.beat(what)

    def by_main(self, work: Callable[[], Item]) -> Item | None:
        """Lets the main process alone do something, and returns what it got there; None on the others.

        Where it fails, all end: the main process with its error, the others without a word.
        """
        result, failure = None, None
        try:
            result = work() if self.is_main else None
        except Exception as error:
            failure = error
        self.wait()
        if self.agree(failure is not None):
            raise failure or SystemExit(2)
        return result

    def wait(self) -> None:
        """Until all processes are here, however long it takes them as long as they go on (see `ops.heartbeat`).

        Raises MachineError that names one which does not.
        """
        if self.peers is not None:
            self.peers.meet(dist.all_reduce(torch.zeros(1), group=self.meeting, async_op=True))

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

    def failures_named(self) -> AbstractContextManager[None]:
        """Names the process at whose fault a collective fails within the block, in a MachineError."""
        return nullcontext() if self.peers is None else self.peers.named()


ALONE = DistributedContext(torch.device("cpu"))


@contextmanager
def join_processes(gpus: list[int] | None, timeout_minutes: float = 10.0) -> Iterator[DistributedContext]:
    """This process's context: under torchrun one of several, else alone with `gpus` (None: all there are).

    A process that does not go on for `timeout_minutes` ends all of them, with a MachineError that names it.
    """
    if "LOCAL_RANK" in os.environ:
        end_with_parent()  # torchrun, which else would leave processes behind where it is killed
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield _alone(gpus)
        return
    if gpus is not None:
        raise InputError("--gpus and torchrun exclude each other: set CUDA_VISIBLE_DEVICES for torchrun")
    if "LOCAL_RANK" not in os.environ:
        raise InputError(f"WORLD_SIZE is {world_size} but LOCAL_RANK is not set: start several processes with torchrun")
    patience = min(60 * timeout_minutes, LONG.total_seconds() / 3)  # twice of it is a time-out, too
    context = _joined(_own_device(int(os.environ["LOCAL_RANK"])), patience)
    assert context.peers is not None
    with heard_by(context.peers.beat):
        try:
            with context.failures_named():
                yield context
                # Together, for in torch 2.6 gloo may hang in the next call when another process, with less to do, has
                # left.
                context.wait()
        except MachineError:
            end_within(30)  # whatever waits for the others in a thread or on a GPU
            raise
        except BaseException as error:
            with suppress(RuntimeError):
                context.peers.leave(error)
            raise
    # Not after an error: the other processes may be waiting in a collective; this one's end lets torchrun end them.
    dist.destroy_process_group()


def _own_device(local_rank: int) -> torch.device:
    """Of the process so numbered on this machine; InputError if there are more of them than GPUs."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise InputError(f"torchrun started more processes a machine than its {torch.cuda.device_count()} GPUs")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def _joined(device: torch.device, patience: float) -> DistributedContext:
    """All processes in one group, each with its device."""
    limit, on_gpu = timedelta(seconds=patience), device.type == "cuda"
    store, rank, world_size = next(iter(dist.rendezvous("env://", timeout=limit)))
    store = own_prefix(store, rank, world_size, patience)
    peers = Peers(store, rank, world_size, patience)
    # On GPUs the control group has to be the first that loses its patience: NCCL's end is no exception that can be met.
    own = timedelta(seconds=2 * patience + 60) if on_gpu else limit
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=own,
        device_id=device if on_gpu else None,
    )
    control, meeting = (dist.new_group(backend="gloo", timeout=time) for time in (limit, LONG))
    assert isinstance(control, dist.ProcessGroup) and isinstance(meeting, dist.ProcessGroup)  # we are in them
    return DistributedContext(device, rank, world_size, peers=peers, control=control, meeting=meeting)


def _alone(gpus: list[int] | None) -> DistributedContext:
    count = torch.cuda.device_count()
    if wrong := [g for g in gpus or [] if not 0 <= g < count]:
        raise InputError(f"--gpus {' '.join(map(str, wrong))}: this machine has {count} GPUs, numbered from 0")
    chosen = tuple(range(count) if gpus is None else gpus)
    if not chosen:
        return ALONE
    torch.cuda.set_device(chosen[0])
    return DistributedContext(torch.device("cuda", chosen[0]), gpus=chosen)
