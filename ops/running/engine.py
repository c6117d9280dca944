"""One epoch of training, one pass of validation.

Both take what they work with as arguments and return plain statistics. They know a batch by its attributes
(`clips` (N, V, T, C, H, W), `labels` (N,), `unreadable`, its length N), not by where it comes from.

Legend: `N` videos, `V` views, `T` segments, `C` channels, `H W` space, `K` classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ops.errors import InputError
from ops.running.clock import Clock
from ops.running.distributed import ALONE, DistributedContext

LEAST_SCALE = 1e-4  # of the loss in fp16; it starts at 65536 and is halved for each step whose gradients overflow


def ranks(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The place (N,) of each label (N,) among the scores (N, K), from 1 on; of equal ones the first class comes first.

    A score that is no number is above all that are, and where a label's own is none its place is the last.
    """
    own = scores.gather(1, labels[:, None])  # (N, 1)
    first = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]  # (N, K)
    return 1 + (~(scores <= own) | ((scores == own) & first)).sum(dim=1)


def count_top_k(scores: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    """How many of the labels (N,) are among the `k` largest scores (N, K) (see `ranks`)."""
    return (ranks(scores, labels) <= k).sum()


def in_words(statistics: dict[str, float]) -> str:
    """A pass's statistics on one line."""
    line = (
        "loss {loss:.4f}, top-1 {top1:.2f} %, top-5 {top5:.2f} %, {videos} videos in {seconds:.1f} s, "
        "{waiting_percent:.0f} % of it waiting for data"
    ).format(**statistics)
    return line + (f", {statistics['skipped']} unreadable videos left out" if statistics["skipped"] else "")


@dataclass
class Meters(Clock):
    """What a pass adds up.

    A batch's numbers are read from the device only once the next batch has been queued there: reading waits, and
    the device should not wait with it.
    """

    loss: float = 0.0
    top1: float = 0.0
    top5: float = 0.0
    videos: float = 0.0
    skipped: float = 0.0
    _pending: torch.Tensor | None = None
    _behind: int = 0

    def __str__(self) -> str:
        read = max(1.0, self.videos - self._behind)
        return f"loss {self.loss / read:.4f}, top-1 {100 * self.top1 / read:.1f} %"

    def add(self, loss: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts a batch: its mean loss, scores (N, K) or (N, T, K), labels (N,) or, of mixed clips, (N, K)."""
        self._read()
        scores = scores if scores.ndim == 2 else scores.mean(dim=1)  # (N, T, K) to (N, K)
        labels = labels if labels.ndim == 1 else labels.argmax(dim=1)  # the larger share
        top1, top5 = count_top_k(scores, labels, 1), count_top_k(scores, labels, 5)
        self._pending = torch.stack([loss.double() * len(labels), top1.double(), top5.double()])
        self._behind = len(labels)
        self.videos += len(labels)

    def statistics(self, context: DistributedContext) -> dict[str, float]:
        """Means over the videos of all processes, accuracies in percent; raises InputError if there was none."""
        self._read()
        loss, top1, top5, videos, skipped = context.sum([self.loss, self.top1, self.top5, self.videos, self.skipped])
        if videos == 0:
            raise InputError(
                f"no readable video in the whole pass ({skipped:.0f} unreadable): check the frames' folder"
            )
        return {
            "loss": loss / videos,
            "top1": 100 * top1 / videos,
            "top5": 100 * top5 / videos,
            "videos": int(videos),
            "skipped": int(skipped),
            "seconds": self.total,
            "waiting_percent": self.waiting_percent,
        }

    def _read(self) -> None:
        if self._pending is None:
            return
        loss, top1, top5 = self._pending.tolist()
        if not math.isfinite(loss):
            raise InputError(f"the loss became {loss}: lower --lr, clip gradients (--gd 20), or give --amp off")
        self.loss, self.top1, self.top5 = self.loss + loss, self.top1 + top1, self.top5 + top5
        self._pending = None


Mixer = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Step:
    """How batches become steps: what `train_one_epoch` needs besides model and data.

    `accumulate`: the gradients of so many batches make one step, which is that of one batch of all their videos, of
    all processes (but for BatchNorm, which sees each by itself). `batch_size`: of a process's whole batch, the same
    for all. `mix`: clips and labels (N,) to mixed clips and shares (N, K). `after`: called after each step that the
    optimizer has made, and so not after one that the scaler skipped.
    """

    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    clip_gradient: float | None = None
    accumulate: int = 1
    mix: Mixer | None = None
    after: Callable[[], object] = lambda: None
    batch_size: int = 1
    context: DistributedContext = ALONE
    _batches: int = 0  # gathered so far
    _weight: float = 0.0  # of their videos, in whole batches

    def __call__(
        self, model: nn.Module, clips: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Forward and backward on clips (N, T, C, H, W), and a step when it is due.

        Returns the detached loss and scores (see `Meters.add`), and the labels as they were mixed.
        """
        if self.mix is not None:
            clips, labels = self.mix(clips, labels)
        with norms_in_words(len(clips)):
            scores = model(clips)
        loss = loss_of(self.criterion, scores, labels)
        weight = len(clips) / self.batch_size
        self.scaler.scale(loss * weight).backward()
        self._weight += weight
        self._batches += 1
        if self._batches == self.accumulate:
            self.finish()
        return loss.detach(), scores.detach(), labels

    def finish(self) -> None:
        """The optimizer's step with the mean over the videos gathered so far; nothing if there are none."""
        if not self._batches:
            return
        trained = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.scaler.unscale_(self.optimizer)
        if self._weight != 1 or self.context.world_size > 1:
            weight = self.context.mean(self._weight)
            for parameter in trained:
                parameter.grad.div_(weight)
        if self.clip_gradient is not None:
            nn.utils.clip_grad_norm_(trained, self.clip_gradient)
        scale = self.scaler.get_scale()  # fp16 alone has one, on the device, and so waits for it
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._batches, self._weight = 0, 0.0
        if self.scaler.get_scale() >= scale:
            self.after()
        elif scale < LEAST_SCALE:  # every step has been skipped for some time
            raise InputError(
                "the gradients are not finite, however small the loss is scaled in fp16: lower --lr, clip gradients "
                "(--gd 20), or give --amp off"
            )


@contextmanager
def norms_in_words(videos: int) -> Iterator[None]:
    """Training mode's forward pass of so many videos a device; an InputError where a BatchNorm has too little."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"a BatchNorm has a single value a channel to train on with {videos} video{'s' * (videos > 1)} a device: "
            "raise --batch-size (-b) or --input_size; for one of the backbone's, more --num_segments help as well, or "
            "partial BN (without --npb)"
        ) from error


def loss_of(criterion: nn.Module, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of scores (N, K); of every frame's own (N, T, K), the identity consensus, the mean over the frames."""
    if scores.ndim == 3:
        labels = labels.repeat_interleave(scores.shape[1], dim=0)  # (N, …) to (N·T, …)
        scores = scores.flatten(0, 1)  # (N·T, K)
    return criterion(scores, labels)


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    step: Step,
    context: DistributedContext,
    on_batch: Callable[[int, Meters], None] = lambda *_: None,
) -> dict[str, float]:
    """Trains on every batch of `loader` once; `on_batch(number, meters)` is called after each."""
    model.train()
    meters = Meters()
    for number, batch in enumerate(meters.timed(loader)):
        meters.skipped += len(batch.unreadable)
        if not len(batch):
            if context.world_size > 1:  # the other processes wait for this one's gradient
                raise InputError(
                    f"a process's whole batch is unreadable; the first of it: {batch.unreadable[0].reason}"
                )
            continue
        batch = batch.to(context.device)
        meters.add(*step(model, batch.clips[:, 0], batch.labels))  # training has one view a video
        on_batch(number, meters)
    step.finish()
    return meters.statistics(context)


@torch.inference_mode()
def validate(
    model: nn.Module, loader: Iterable[Any], criterion: nn.Module, context: DistributedContext
) -> dict[str, float]:
    """Loss and accuracy over `loader`, which yields each process its own share: every video counts once."""
    model.eval()
    meters = Meters()
    for batch in meters.timed(loader):
        meters.skipped += len(batch.unreadable)
        if not len(batch):
            continue
        batch = batch.to(context.device)
        scores = model(batch.clips[:, 0])
        meters.add(loss_of(criterion, scores, batch.labels), scores, batch.labels)
    return meters.statistics(context)
