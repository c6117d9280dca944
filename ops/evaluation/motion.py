"""How much of what a network knows it knows from the order of the frames: the same clips shuffled, backwards, frozen.

Legend: `N` videos, `K` classes, `V` views, `T` segments, `L` frames a segment, `C = c·L` channels, `H W` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ops.errors import InputError
from ops.evaluation.ensemble import Predictions, refuse_no_numbers
from ops.evaluation.metrics import wilson_interval
from ops.evaluation.scores import Scorer

IN_ORDER, SHUFFLED, BACKWARDS, FROZEN = ORDERS = ("in order", "shuffled", "backwards", "frozen")
SEED = 0


@dataclass(frozen=True)
class Motion:
    """Of each class, how many of its `videos` (K,) were right with the frames in each of the `ORDERS`, (K,) each."""

    videos: np.ndarray
    right: dict[str, np.ndarray]

    def total(self, order: str) -> tuple[float, float, float]:
        """Accuracy over all videos and its 95 % interval, in percent."""
        right, videos = int(self.right[order].sum()), int(self.videos.sum())
        low, high = wilson_interval(right, videos)
        return 100 * right / videos, 100 * low, 100 * high

    def described(self) -> dict[str, Any]:
        """As it stands in the result."""
        ways = {order: dict(zip(("top1", "low", "high"), self.total(order), strict=True)) for order in ORDERS}
        return {"seed": SEED, **ways}


def places(order: str, frames: int, index: int) -> list[int]:
    """Which of so many frames stands at each place.

    `shuffled` is drawn by the video's index alone, so that no batch and no number of processes changes it, and is
    never the order itself, which of few frames would come up often. `frozen` is the middle frame throughout.
    """
    if order == BACKWARDS:
        return list(range(frames))[::-1]
    if order == FROZEN:
        return [frames // 2] * frames
    drawn = in_order = list(range(frames))
    generator = np.random.default_rng([SEED, index])
    while order == SHUFFLED and drawn == in_order:
        drawn = generator.permutation(frames).tolist()
    return drawn


def reordered(order: str, frames_per_segment: int, clip: torch.Tensor, index: int) -> torch.Tensor:
    """A video's views (V, T, C, H, W), the frames of each in another order: all T·L of them, whatever the segments."""
    frames = clip.unflatten(2, (frames_per_segment, -1)).flatten(1, 2)  # (V, T, L·c, H, W) → (V, T·L, c, H, W)
    moved = frames[:, places(order, frames.shape[1], index)]
    segments = moved.unflatten(1, (-1, frames_per_segment)).flatten(2, 3)  # → (V, T, L·c, H, W)
    return segments.movedim(2, -1).contiguous().movedim(-1, 2)  # in memory as a loader's clips, (V, T, H, W, L·c)


def refuse_without_order(modality: str, frames: int) -> None:
    """InputError where a clip of so many frames has no order that could be changed."""
    if modality == "Flow":
        raise InputError(
            "--motion: flow is the motion between two frames, and shuffled or backwards it is none of any frames; "
            "leave the flag out, or test the RGB network"
        )
    if frames < 2:
        raise InputError("--motion: the network sees one frame, which has no order; leave the flag out")


def other_orders(scorer: Scorer, frames_per_segment: int) -> list[Scorer]:
    """The same network, that sees the clips in each order but the first."""
    return [replace(scorer, reorder=partial(reordered, order, frames_per_segment)) for order in ORDERS[1:]]


def motion(of: Predictions, scores: Sequence[torch.Tensor]) -> Motion:
    """Of a network's predictions, and the scores (N, K) of their videos in each of the `ORDERS`.

    Raises InputError for scores that are no numbers.
    """
    for order, values in zip(ORDERS, scores, strict=True):
        refuse_no_numbers(f"{of.source}, frames {order}", of.paths, values)
    labels = of.labels
    classes = scores[0].shape[1]
    hits = {
        order: np.bincount(labels[values.argmax(dim=1) == labels].numpy(), minlength=classes)
        for order, values in zip(ORDERS, scores, strict=True)
    }
    return Motion(np.bincount(labels.numpy(), minlength=classes), hits)


def in_words(found: Motion) -> str:
    """The accuracies on one line."""
    return "top-1 with the frames " + ", ".join(f"{order} {found.total(order)[0]:.2f} %" for order in ORDERS)
