"""One epoch of training, one pass of validation.

Both take what they work with as arguments and return plain statistics. They know a batch by its attributes
(`clips` (N, V, T, C, H, W), `labels` (N,), `unreadable`, its length N), not by where it comes from.

Legend: `N` videos, `V` views, `T` segments, `C` channels, `H W` space, `K` classes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ops.errors import InputError, is_out_of_memory
from ops.running.clock import Clock
from ops.running.distributed import ALONE, DistributedContext

logger = logging.getLogger(__name__)

COUNTS = ("loss", "top1", "top5", "videos", "skipped")  # what `Meters` add up
NO_FRAMES = "check the frames' folder"
IN_TRAINING = (
    "lower --lr, clip gradients (--gd 20), or give --amp off; where it is these videos' fault, --nan skip leaves out "
    "steps like this one"
)
MOST_LOST = 20  # steps in a row that --nan skip leaves out: then it is not for a few videos
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
    return line + (f", {statistics['skipped']} videos left out" if statistics["skipped"] else "")


Naming = Callable[[Sequence[int]], str]  # names the videos of these places in the list, for people


def by_place(places: Sequence[int]) -> str:
    """A `Naming` for a list that is not known."""
    return f"videos {', '.join(map(str, places))}"


# A batch for `Meters.add`: its loss, scores, labels, and places in the list.
Counted = tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]


@dataclass
class Meters(Clock):
    """What a pass adds up. skipped: videos that were left out. naming, remedy: for a batch whose loss is no number.

    A batch's numbers are read from the device only once the next batch has been queued there: reading waits, and
    the device should not wait with it.
    """

    loss: float = 0.0
    top1: float = 0.0
    top5: float = 0.0
    videos: float = 0.0
    skipped: float = 0.0
    naming: Naming = by_place
    remedy: str = "give --amp off, or other weights"
    lost: bool = False  # some were left out for their loss or gradient
    _pending: torch.Tensor | None = None
    _places: list[int] = field(default_factory=list)  # of the batch that is pending

    def __str__(self) -> str:
        read = max(1.0, self.videos - len(self._places))
        return f"loss {self.loss / read:.4f}, top-1 {100 * self.top1 / read:.1f} %"

    def add(self, loss: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, places: Sequence[int]) -> None:
        """Counts a batch: its mean loss, scores (N, K) or (N, T, K), labels (N,) or, of mixed clips, (N, K).

        places: of its N videos in the list. Raises InputError if the loss of the batch before is no finite number.
        """
        self._read()
        scores = scores if scores.ndim == 2 else scores.mean(dim=1)  # (N, T, K) to (N, K)
        labels = labels if labels.ndim == 1 else labels.argmax(dim=1)  # the larger share
        top1, top5 = count_top_k(scores, labels, 1), count_top_k(scores, labels, 5)
        finite = scores.isfinite().all()
        self._pending = torch.stack([loss.double() * len(labels), top1.double(), top5.double(), finite.double()])
        self._places = list(places)
        self.videos += len(labels)

    def add_step(self, batches: Sequence[Counted], step: Step) -> None:
        """Counts batches; if the step that they made was left out, as left out, with the names of those at fault."""
        if not step.lost:
            for batch in batches:
                self.add(*batch)
        elif batches:
            self.lost = True
            self.skipped += sum(len(places) for *_, places in batches)
            own = [self.naming(places) for loss, _, _, places in batches if not loss.isfinite()]
            guilty = "; ".join(step.context.gather(own))
            what = f"the loss is no finite number at {guilty}" if guilty else "its gradient is no finite number"
            logger.warning("a step is left out: %s", what)

    def sums(self, context: DistributedContext) -> dict[str, float]:
        """What has been added up by all processes, for `resumed`; the times are this one's."""
        self._read()
        sums = context.sum([getattr(self, name) for name in COUNTS])
        return {**dict(zip(COUNTS, sums, strict=True)), "waiting": self.waiting, "total": self.total}

    @classmethod
    def resumed(cls, sums: Mapping[str, float], naming: Naming = by_place) -> Meters:
        """Of a training pass, begun with the sums of one that was interrupted, or none."""
        meters = cls(naming=naming, remedy=IN_TRAINING)
        for name in (*COUNTS, "waiting", "total"):
            setattr(meters, name, sums.get(name, 0.0))
        return meters

    def statistics(self, context: DistributedContext) -> dict[str, float]:
        """Means over the videos of all processes, accuracies in percent; raises InputError if there was none."""
        sums = self.sums(context)
        loss, top1, top5, videos, skipped = (sums[name] for name in COUNTS)
        if videos == 0:
            what, remedy = ("step with a finite loss", IN_TRAINING) if self.lost else ("readable video", NO_FRAMES)
            raise InputError(f"no {what} in the whole pass ({skipped:.0f} videos left out): {remedy}")
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
        loss, top1, top5, finite = self._pending.tolist()
        if not (math.isfinite(loss) and finite):
            what = "the scores are infinite or no numbers" if math.isfinite(loss) else f"the loss became {loss}"
            raise InputError(f"{what} at {self.naming(self._places)}: {self.remedy}")
        self.loss, self.top1, self.top5 = self.loss + loss, self.top1 + top1, self.top5 + top5
        self._pending, self._places = None, []


Mixer = Callable[[torch.Tensor, torch.Tensor, np.random.Generator], tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Step:
    """How batches become steps: what `train_one_epoch` needs besides model and data.

    `accumulate`: the gradients of so many batches make one step, which is that of one batch of all their videos, of
    all processes (but for BatchNorm, which sees each by itself). `batch_size`: of a process's whole batch, the same
    for all. `mix`: clips and labels (N,) to mixed clips and shares (N, K). `after`: called after each step that the
    optimizer has made, and so not after one that the scaler skipped. `seed`: what is drawn for a batch follows from it,
    from the batch's key, and on several processes from their rank. `skip_not_finite`: a step whose loss or gradient is
    no finite number is left out, and nothing of it stays; to know it, each step waits for the device. `lost`: whether
    the last step was.
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
    seed: int = 0
    skip_not_finite: bool = False
    lost: bool = False
    _batches: int = 0  # gathered so far
    _weight: float = 0.0  # of their videos, in whole batches
    _lost_in_a_row: int = 0
    _losses: list[torch.Tensor] = field(default_factory=list)
    _before: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)  # buffers, and what was in them

    @property
    def is_whole(self) -> bool:
        """No gradients are gathered for a step to come."""
        return not self._batches

    def __call__(
        self, model: nn.Module, clips: torch.Tensor, labels: torch.Tensor, key: tuple[int, int] = (0, 0)
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Forward and backward on clips (N, T, C, H, W), and a step when it is due. key: the epoch, the batch in it.

        Returns the detached loss and scores (see `Meters.add`), and the labels as they were mixed.
        """
        if self.mix is not None:
            clips, labels = self.mix(clips, labels, np.random.default_rng([self.seed, *key]))
        draw_from(self.seed, *key, self.context.rank)
        if self.skip_not_finite and self.is_whole:
            self._before = [(buffer, buffer.clone()) for buffer in model.buffers()]
        with norms_in_words(len(clips)):
            scores = model(clips)
        loss = loss_of(self.criterion, scores, labels)
        weight = len(clips) / self.batch_size
        self.scaler.scale(loss * weight).backward()
        self._weight += weight
        self._batches += 1
        if self.skip_not_finite:
            self._losses.append(loss.detach())
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
        self.lost = self.skip_not_finite and self._is_lost(trained)
        if self.clip_gradient is not None:
            nn.utils.clip_grad_norm_(trained, self.clip_gradient)
        scale = self.scaler.get_scale()  # fp16 alone has one, on the device, and so waits for it
        if not self.lost:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._batches, self._weight = 0, 0.0
        self._end(scale)

    def _end(self, scale: float) -> None:
        """What follows a step, before which the loss was scaled so; InputError if steps have failed for some time."""
        if self.lost:
            for buffer, was in self._before:
                buffer.copy_(was)
        elif self.scaler.get_scale() >= scale:
            self.after()
            self._lost_in_a_row = 0
            return
        self._lost_in_a_row += self.lost
        if scale < LEAST_SCALE:
            raise InputError(
                "the gradients are not finite, however small the loss is scaled in fp16: lower --lr, clip gradients "
                "(--gd 20), or give --amp off"
            )
        if self._lost_in_a_row == MOST_LOST:
            raise InputError(
                f"the loss or gradient of {MOST_LOST} steps in a row was no finite number (--nan skip): lower --lr, "
                "clip gradients (--gd 20), or give --amp off"
            )

    def _is_lost(self, trained: Sequence[nn.Parameter]) -> bool:
        """Whether some process's loss or, but for fp16 whose scaler sees to it, the gradient is no finite number."""
        losses, self._losses = self._losses, []
        gradients = [] if self.scaler.is_enabled() else [p.grad for p in trained if p.grad is not None]
        finite = torch.stack([each.isfinite().all() for each in (*losses, *gradients)]).all()  # one look at the device
        return bool(self.context.agree(int(not finite.item())))


def draw_from(*numbers: int) -> None:
    """Sets torch's generators, from which dropout draws, so that what they give follows from these numbers alone."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


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


@contextmanager
def memory_in_words(clips: torch.Tensor) -> Iterator[None]:
    """The work on clips (N, ..., C, H, W) of one device or process; an InputError where its memory is too small."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        shape = " x ".join(map(str, clips.shape))
        raise InputError(
            f"out of memory ({clips.device.type}) with a batch of {len(clips)} videos ({shape}: videos, views, frames, "
            "channels, height, width): lower --batch-size (-b; in training --accumulate keeps the videos a step), "
            "--num_segments or --input_size"
        ) from error


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    step: Step,
    context: DistributedContext,
    on_batch: Callable[[int, Meters], None] = lambda *_: None,
    meters: Meters | None = None,
    key: tuple[int, int] = (0, 0),
) -> dict[str, float]:
    """Trains on every batch of `loader` once; `on_batch(number, meters)` is called after each.

    meters: goes on adding up there. key: the epoch, and the number of the first batch in it.
    """
    model.train()
    meters = meters or Meters()
    gathered: list[Counted] = []
    for number, batch in enumerate(meters.timed(loader), start=key[1]):
        context.beat(f"training, batch {number + 1} of epoch {key[0] + 1}")
        meters.skipped += len(batch.unreadable)
        if len(batch):
            places = batch.indices.tolist()
            batch = batch.to(context.device)
            with memory_in_words(batch.clips):
                # Training has one view a video.
                loss, scores, labels = step(model, batch.clips[:, 0], batch.labels, (key[0], number))
            gathered.append((loss, scores, labels, places))
        if step.is_whole or not step.skip_not_finite:  # else it is not known yet whether they count
            meters.add_step(gathered, step)
            gathered = []
        on_batch(number, meters)
    step.finish()
    meters.add_step(gathered, step)
    return meters.statistics(context)


@torch.inference_mode()
def validate(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: nn.Module,
    context: DistributedContext,
    naming: Naming = by_place,
) -> dict[str, float]:
    """Loss and accuracy over `loader`, which yields each process its own share: every video counts once."""
    model.eval()
    meters = Meters(naming=naming)
    for number, batch in enumerate(meters.timed(loader)):
        context.beat(f"validation, batch {number + 1}")
        meters.skipped += len(batch.unreadable)
        if not len(batch):
            continue
        places = batch.indices.tolist()
        batch = batch.to(context.device)
        with memory_in_words(batch.clips):
            scores = model(batch.clips[:, 0])
        meters.add(loss_of(criterion, scores, batch.labels), scores, batch.labels, places)
    return meters.statistics(context)
