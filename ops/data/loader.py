"""From clips to batches: which video when, on which process, and how a batch travels to the device."""

import gc
import mmap
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from ops.data.clips import Clips, Sample, Unreadable, VideoClips
from ops.data.parallel import forking, hear, processes_can_wait
from ops.data.slots import Copy, SlotHandle, Slots
from ops.errors import InputError
from ops.machine import keep_freed_memory

Key = tuple[int, int]  # (epoch, index)
Item = TypeVar("Item")
Naming = Callable[[int], str]  # a video's path by its place in the list

PREFETCHED = 2  # batches (or tested videos) that each worker is ahead
ALIKE = 8  # videos: if so many of the first are unreadable, the fault is not theirs


@dataclass(frozen=True, slots=True)
class Batch:
    """Videos made ready, and those that could not be.

    clips: uint8 `(N, V, T, C, H, W)`; labels, indices (places in the list): int64 `(N,)`. N leaves the
    unreadable out and may be 0 (`len(batch) == 0`); then clips is an empty tensor of the same six dimensions,
    all 0.
    """

    clips: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    unreadable: list[Unreadable]

    def __len__(self) -> int:
        return len(self.labels)

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader."""
        return replace(
            self,
            clips=self.clips.pin_memory(),
            labels=self.labels.pin_memory(),
            indices=self.indices.pin_memory(),
        )

    def to(self, device: torch.device | str) -> "Batch":
        """A copy on `device`; from pinned memory the transfer runs beside the computation."""
        return replace(
            self,
            clips=self.clips.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            indices=self.indices.to(device, non_blocking=True),
        )


class EpochSampler(Sampler[Key]):
    """Keys `(epoch, index)` of one process's share of a list.

    In training (`shuffle`) the order depends on (seed, epoch) alone; it is cut into global batches of
    `batch_size · world_size` videos, the incomplete last one is dropped, and each process takes its equal
    share of every batch, process 0 the first of its videos. So the content of a global batch does not depend on how
    many processes share it. In evaluation process r takes the videos r, r + world_size, … in list order: none is
    dropped, none repeated.

    Raises InputError if a training list does not fill one global batch.
    """

    def __init__(
        self,
        num_items: int,
        batch_size: int = 1,
        seed: int = 0,
        shuffle: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.global_batch = batch_size * world_size
        if shuffle and num_items < self.global_batch:
            raise InputError(_too_short(num_items, batch_size, world_size))
        self.num_items = num_items
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.begun = 0

    def set_epoch(self, epoch: int, begun: int = 0) -> None:
        """Choose the epoch of the next pass; it decides the order and, through the keys, the random clips.

        begun: of an epoch that was interrupted, how many videos of its order have had their turn.
        """
        self.epoch, self.begun = epoch, begun

    def __len__(self) -> int:
        if self.shuffle:
            return (self.num_items - self.begun) // self.global_batch * self.batch_size
        return len(range(self.rank, self.num_items, self.world_size))

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch  # of this pass, even if the next is set before its end
        if not self.shuffle:
            yield from ((epoch, place) for place in range(self.rank, self.num_items, self.world_size))
            return
        # An array: a list of millions of numbers takes five times as much.
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_items)
        first = self.begun + self.rank * self.batch_size
        for start in range(first, first + len(self) * self.world_size, self.global_batch):
            for place in order[start : start + self.batch_size].tolist():
                yield epoch, place


class Reading:
    """What the loader's processes are at, in memory that they share with the main one.

    videos: the place in the list of the video that a process reads, or IDLE. counts: how many it has begun.
    """

    IDLE = -1

    def __init__(self, processes: int) -> None:
        memory = np.frombuffer(mmap.mmap(-1, 8 * (2 * processes + 1)), np.int64)
        self.videos, self.counts, self._over = np.split(memory, [processes, 2 * processes])
        self.videos[:] = self.IDLE

    def __reduce__(self) -> tuple[Any, ...]:
        return _apart, (len(self.videos),)

    def end(self) -> None:
        """From now on SIGTERM ends the processes (see `_start_worker`)."""
        self._over[0] = 1

    @property
    def is_over(self) -> bool:
        """`end` was called."""
        return bool(self._over[0])

    def stuck(self, since: np.ndarray) -> list[int]:
        """The videos that have been read ever since `counts` were so."""
        return self.videos[(self.counts == since) & (self.videos != self.IDLE)].tolist()


def _apart(processes: int) -> Reading:
    """In a process that was not forked, and has no part in the memory."""
    reading = Reading(processes)
    reading.end()
    return reading


@dataclass
class _Watched(Dataset[Any]):
    """Clips whose reader says what it is at."""

    clips: Clips
    reading: Reading

    def __len__(self) -> int:
        return len(self.clips)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> Any:
        if (worker := get_worker_info()) is None:
            return self.clips[key]
        self.reading.counts[worker.id] += 1
        self.reading.videos[worker.id] = key[1]
        item = self.clips[key]
        self.reading.videos[worker.id] = Reading.IDLE
        return item


class Loader:
    """Batches of videos, or single ones, as `finish` makes them of what the processes send, when asked for.

    Raises InputError, which names the video, where one has not been read after `loader.timeout` seconds, if not 0.
    """

    def __init__(self, loader: DataLoader[Any], reading: Reading, finish: Callable[[Any], Any], path: Naming) -> None:
        self.loader = loader
        self.reading = reading
        self.finish = finish
        self.path = path

    @property
    def sampler(self) -> Any:
        """The loader's own."""
        return self.loader.sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        with forking():
            items = iter(self.loader)
        before = self.reading.counts.copy()
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except RuntimeError as error:
                if "timed out" not in str(error):
                    raise
                if stuck := self.reading.stuck(before):  # else many were read, only not what is waited for
                    self.reading.end()
                    raise InputError(_hung([self.path(video) for video in stuck], self.loader.timeout)) from error
                before = self.reading.counts.copy()
                continue
            yield self.finish(item)
            before = self.reading.counts.copy()


def train_loader(
    dataset: VideoClips,
    batch_size: int,
    workers: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = True,
    timeout: float = 0,
) -> Loader:
    """Shuffled whole batches of `batch_size` videos on this process.

    Call `.sampler.set_epoch(epoch)` before each epoch. timeout: see `Loader`. Raises InputError if the list does not
    fill one batch on every process.
    """
    sampler = EpochSampler(len(dataset), batch_size, seed, True, rank, world_size)
    return _loader(dataset, sampler, batch_size, workers, pin_memory, timeout)


def eval_loader(
    dataset: VideoClips,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = True,
    timeout: float = 0,
) -> Loader:
    """This process's share of the list in order, in batches of `batch_size` or, the last, fewer videos."""
    sampler = EpochSampler(len(dataset), rank=rank, world_size=world_size)
    return _loader(dataset, sampler, batch_size, workers, pin_memory, timeout)


def video_loader(
    dataset: Clips,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = True,
    timeout: float = 0,
) -> Loader:
    """This process's share of the list, in order, one video at a time.

    A tested video has many views; unbatched, no more than two videos a worker wait in memory.
    """
    sampler = EpochSampler(len(dataset), rank=rank, world_size=world_size)  # type: ignore[arg-type]
    return _loader(dataset, sampler, None, workers, pin_memory, timeout)


def first_training_batch(dataset: VideoClips, size: int, seed: int) -> Batch:
    """The first `size` videos of the first epoch, the same on every process, however many there are."""
    keys = islice(EpochSampler(len(dataset), size, seed, shuffle=True), size)
    return _stacked([dataset.finish(dataset[key]) for key in keys])


def first_training_keys(dataset: VideoClips, seed: int) -> Iterator[Key]:
    """What to ask for the videos of the first epoch by, in its order."""
    return iter(EpochSampler(len(dataset), 1, seed, shuffle=True))


def readable(items: Iterable[Item], policy: str) -> Iterator[Item]:
    """The batches or videos of a loader; `error` raises InputError at the first unreadable video, `skip` goes on.

    Where the first are all unreadable, `error` looks at some more before it says what helps.
    """
    some_are, unreadable = False, []
    for item in items:
        if policy == "error":
            unreadable += _unreadable(item)
            some_are = some_are or (len(item) > 0 if isinstance(item, Batch) else isinstance(item, Sample))
            if unreadable and (some_are or len(unreadable) >= ALIKE):
                break
            if unreadable:
                continue
        yield item
    if unreadable:
        raise InputError(_what_helps(unreadable, some_are))


def _unreadable(item: Any) -> list[Unreadable]:
    return item.unreadable if isinstance(item, Batch) else [item] if isinstance(item, Unreadable) else []


def _what_helps(unreadable: Sequence[Unreadable], others_are: bool) -> str:
    said = f"{unreadable[0].path}: {unreadable[0].reason}"
    if others_are:
        return f"{said}; --bad_frames skip leaves such videos out and counts them"
    return said if len(unreadable) == 1 else f"{said}; none of the first {len(unreadable)} videos can be read"


def collate(items: Sequence[Sample | Unreadable], slots: Slots | None = None) -> Batch | SlotHandle | Copy:
    """A batch of these videos; with `slots`, as a worker sends it."""
    samples = [item for item in items if isinstance(item, Sample)]
    if slots is None or not samples:
        return _stacked(items)
    clips = [sample.clip.movedim(2, -1) for sample in samples]  # (V, T, H, W, C) each, as they lie in memory
    shape = (len(clips), *clips[0].shape)
    return slots.send(shape, lambda out: torch.stack(clips, out=out), partial(_batch, **_rest(items)))


def _stacked(items: Sequence[Sample | Unreadable]) -> Batch:
    # As (N, V, T, H, W, C): the memory stays channels-last, as the clips lie and GPUs like it.
    clips = [item.clip.movedim(2, -1) for item in items if isinstance(item, Sample)]
    return _batch(torch.stack(clips) if clips else torch.empty((0,) * 6, dtype=torch.uint8), **_rest(items))


def _rest(items: Sequence[Sample | Unreadable]) -> dict[str, Any]:
    """All of a batch but the clips, without tensors; the unreadable among the videos are listed apart."""
    samples = [item for item in items if isinstance(item, Sample)]
    return {
        "labels": [sample.label for sample in samples],
        "indices": [sample.index for sample in samples],
        "unreadable": [item for item in items if isinstance(item, Unreadable)],
    }


def _batch(clips: torch.Tensor, labels: list[int], indices: list[int], unreadable: list[Unreadable]) -> Batch:
    """Of clips `(N, V, T, H, W, C)`."""
    return Batch(
        clips.movedim(-1, 3),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(indices, dtype=torch.int64),
        unreadable,
    )


def collate_single(item: Sample | Unreadable, slots: Slots | None = None) -> Sample | Unreadable | SlotHandle | Copy:
    """A video by itself; with `slots`, as a worker sends it."""
    if isinstance(item, Unreadable):
        return item
    clip = item.clip.movedim(2, -1)  # (V, T, H, W, C), as it lies in memory
    make = partial(_sample, label=item.label, index=item.index, about=item.about)
    return slots.send(clip.shape, lambda out: out.copy_(clip), make) if slots else make(clip.contiguous())


def _sample(clip: torch.Tensor, **others: Any) -> Sample:
    """Of views `(V, T, H, W, C)`."""
    return Sample(clip.movedim(-1, 2), **others)


def _loader(
    dataset: Clips, sampler: EpochSampler, batch_size: int | None, workers: int, pin_memory: bool, timeout: float
) -> Loader:
    """Batches, or videos one by one if `batch_size` is None."""
    slots = None
    undecoded = dataset.decode_device is not None  # until they are in this process
    workers = workers if workers and processes_can_wait() else 0
    if workers and not undecoded:
        # As many as the workers may be ahead, the one in use, and the one that is being fetched meanwhile.
        slots = Slots(PREFETCHED * workers + 2, (batch_size or 1) * dataset.options.bytes_of_video(dataset.mode))
    travel = partial(collate_single if batch_size is None else collate, slots=slots)
    reading = Reading(workers)
    loader: DataLoader[Any] = DataLoader(
        _Watched(dataset, reading),
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_unchanged if undecoded else travel,
        num_workers=workers,
        # What they share with us, the records and the slots, forked ones alone do; Python 3.14 starts others.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        prefetch_factor=PREFETCHED if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=partial(_start_worker, reading),
        pin_memory=pin_memory and not undecoded and torch.cuda.is_available(),
        timeout=timeout if workers else 0,
        # The loader draws a number whenever it starts workers. From torch's own generator that would shift what
        # dropout draws, and the result would depend on the number of workers and on where a run was resumed.
        generator=torch.Generator(),
    )
    if workers:
        # While there are workers: a full collection writes to every object it looks at, and so would copy all that
        # they share with us.
        gc.collect()
        gc.freeze()
        weakref.finalize(loader, gc.unfreeze).atexit = False
        weakref.finalize(loader, reading.end)
    finish: Callable[[Any], Any] = _unchanged
    if undecoded and batch_size is None:
        finish = dataset.finish
    elif undecoded:
        finish = lambda items: _stacked([dataset.finish(item) for item in items])  # noqa: E731
    return Loader(loader, reading, finish, dataset.path)


def _unchanged(item: Any) -> Any:
    return item


def _start_worker(reading: Reading, _worker: int) -> None:
    """What ends a run reaches every process of it; the main one ends the workers, which stay silent."""

    def end(*_: object) -> None:
        if reading.is_over:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    hear(signal.valid_signals())
    keep_freed_memory()


def _hung(paths: Sequence[str], seconds: float) -> str:
    several = len(paths) > 1
    return (
        f"{', '.join(paths)}: not read after {seconds:g} seconds: see to the disk or the network file system, remove "
        f"{'these videos' if several else 'the video'} from the list, or give it longer (--read_timeout)"
    )


def _too_short(num_items: int, batch_size: int, world_size: int) -> str:
    message = f"The training list has {num_items} videos, fewer than one batch of {batch_size * world_size}"
    if world_size > 1:
        message += f" ({batch_size} on each of {world_size} processes)"
    if num_items < world_size:
        return f"{message}; use fewer processes."
    return f"{message}; lower it to at most -b {num_items - num_items % world_size} in all."
