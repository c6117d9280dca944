"""From clips to batches: which video when, on which process, and how a batch travels to the device."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from ops.data.clips import Sample, Unreadable, VideoClips
from ops.errors import InputError

Key = tuple[int, int]  # (epoch, index)
Item = TypeVar("Item")


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
    share of every batch. So the content of a global batch does not depend on how many processes share it. In
    evaluation process r takes the videos r, r + world_size, … in list order: none is dropped, none repeated.

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
        global_batch = batch_size * world_size
        if shuffle and num_items < global_batch:
            raise InputError(_too_short(num_items, batch_size, world_size))
        self.num_items = num_items
        self.used = num_items // global_batch * global_batch if shuffle else num_items
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; it decides the order and, through the keys, the random clips."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.rank, self.used, self.world_size))

    def __iter__(self) -> Iterator[Key]:
        order: Sequence[int] | np.ndarray = range(self.num_items)
        if self.shuffle:  # an array: a list of millions of numbers takes five times as much
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_items)
        epoch = self.epoch  # of this pass, even if the next is set before its end
        for place in range(self.rank, self.used, self.world_size):
            yield epoch, int(order[place])


def train_loader(
    dataset: VideoClips,
    batch_size: int,
    workers: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = True,
) -> DataLoader[Batch]:
    """Shuffled whole batches of `batch_size` videos on this process.

    Call `.sampler.set_epoch(epoch)` before each epoch. Raises InputError if the list does not fill one batch
    on every process.
    """
    sampler = EpochSampler(len(dataset), batch_size, seed, True, rank, world_size)
    return _loader(dataset, sampler, batch_size, collate, workers, pin_memory)


def eval_loader(
    dataset: VideoClips,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = True,
) -> DataLoader[Batch]:
    """This process's share of the list in order, in batches of `batch_size` or, the last, fewer videos."""
    sampler = EpochSampler(len(dataset), rank=rank, world_size=world_size)
    return _loader(dataset, sampler, batch_size, collate, workers, pin_memory)


def video_loader(
    dataset: VideoClips,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = True,
) -> DataLoader[Sample | Unreadable]:
    """This process's share of the list, in order, one video at a time.

    A tested video has many views; unbatched, no more than two videos a worker wait in memory.
    """
    sampler = EpochSampler(len(dataset), rank=rank, world_size=world_size)
    return _loader(dataset, sampler, None, _as_is, workers, pin_memory)


def first_training_batch(dataset: VideoClips, size: int, seed: int) -> Batch:
    """The first `size` videos of the first epoch, the same on every process, however many there are."""
    keys = islice(EpochSampler(len(dataset), size, seed, shuffle=True), size)
    return collate([dataset[key] for key in keys])


def readable(items: Iterable[Item], policy: str) -> Iterator[Item]:
    """The batches or videos of a loader; `error` raises InputError at the first unreadable video, `skip` goes on."""
    for item in items:
        for video in item.unreadable if isinstance(item, Batch) else [item] if isinstance(item, Unreadable) else []:
            if policy == "error":
                raise InputError(
                    f"{video.path}: {video.reason}; --bad_frames skip leaves such videos out and counts them"
                )
        yield item


def collate(items: Sequence[Sample | Unreadable]) -> Batch:
    """Samples of one batch, stacked; the unreadable among them listed apart."""
    samples = [item for item in items if isinstance(item, Sample)]
    if samples:
        # Stacked as (N, V, T, H, W, C): the memory stays channels-last, as the clips lie and GPUs like it.
        clips = torch.stack([sample.clip.movedim(2, -1) for sample in samples]).movedim(-1, 3)
    else:
        clips = torch.empty((0,) * 6, dtype=torch.uint8)
    return Batch(
        clips=clips,
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        indices=torch.tensor([sample.index for sample in samples], dtype=torch.int64),
        unreadable=[item for item in items if isinstance(item, Unreadable)],
    )


def _as_is(item: Sample | Unreadable) -> Sample | Unreadable:
    return item


def _loader(
    dataset: VideoClips,
    sampler: EpochSampler,
    batch_size: int | None,
    collate_fn: Callable[[Any], Any],
    workers: int,
    pin_memory: bool,
) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate_fn,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_interrupts_to_the_main_process,
        pin_memory=pin_memory and torch.cuda.is_available(),
        # The loader draws a number whenever it starts workers. From torch's own generator that would shift what
        # dropout draws, and the result would depend on the number of workers and on where a run was resumed.
        generator=torch.Generator(),
    )


def _leave_interrupts_to_the_main_process(_worker: int) -> None:
    """Ctrl-C reaches every process; the main one ends the workers, which stay silent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _too_short(num_items: int, batch_size: int, world_size: int) -> str:
    message = f"The training list has {num_items} videos, fewer than one batch of {batch_size * world_size}"
    if world_size > 1:
        message += f" ({batch_size} on each of {world_size} processes)"
    if num_items < world_size:
        return f"{message}; use fewer processes."
    return f"{message}; lower it to at most -b {num_items - num_items % world_size} in all."
