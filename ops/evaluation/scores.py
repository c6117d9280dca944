"""Scores of whole videos: every view through the network, the mean over a video's views.

Legend: `N` videos, `V` views (crops × clips), `T` segments, `C` channels, `H W` space, `K` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ops.errors import InputError
from ops.running.distributed import Place

# Frames forwarded at once on one device: enough to keep it busy, few enough to bound the memory.
FRAMES_AT_ONCE = {"cpu": 64, "cuda": 256}


@dataclass
class Scores:
    """Scores (N, K) of the videos whose places in the list are `indices`, with their labels; and the unreadable."""

    scores: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    unreadable: list[Any] = field(default_factory=list)


def default_views_per_forward(place: Place, segments: int, mixes_videos: bool) -> int | None:
    """How many views one forward takes: what fits, or None (all of a batch) where grouping changes the result."""
    if mixes_videos:
        return None
    return max(1, FRAMES_AT_ONCE.get(place.device.type, 64) // segments) * max(1, len(place.gpus))


@torch.inference_mode()
def score_videos(
    model: nn.Module,
    videos: Iterable[Any],
    place: Place,
    batch_size: int,
    views_per_forward: int | None,
    on_video: Callable[[int, str], None] = lambda *_: None,
) -> Scores:
    """Scores the videos (each a sample with `clip` (V, T, C, H, W), `label`, `index`, or an unreadable one).

    `batch_size` videos stand behind one another; their views, video by video, are forwarded
    `views_per_forward` at a time (None: all at once, as published). Under several processes each scores its
    share and all get everything, every video once, in the list's order.
    """
    model.eval()
    rows: list[tuple[int, int, list[float]]] = []  # index, label, scores
    unreadable: list[Any] = []
    waiting: list[Any] = []

    def forward() -> None:
        means = _mean_scores(model, [v.clip for v in waiting], place, views_per_forward)
        rows.extend((v.index, v.label, scores) for v, scores in zip(waiting, means.tolist(), strict=True))
        waiting.clear()

    for number, video in enumerate(videos):
        on_video(number, "videos")
        if not hasattr(video, "clip"):
            unreadable.append(video)
            continue
        waiting.append(video)
        if len(waiting) == batch_size:
            forward()
    if waiting:
        forward()
    rows = sorted(place.gather(rows))
    unreadable = place.gather(unreadable)
    if not rows:
        raise InputError(f"not one of the {len(unreadable)} videos could be read: check the frames' folder")
    indices, labels, scores = zip(*rows, strict=True)
    return Scores(torch.tensor(scores), torch.tensor(labels), torch.tensor(indices), unreadable)


def _mean_scores(
    model: nn.Module, clips: list[torch.Tensor], place: Place, views_per_forward: int | None
) -> torch.Tensor:
    """The mean scores (N, K) of the N videos whose views are `clips`, each (V, T, C, H, W)."""
    views = torch.cat(clips)  # (N·V, T, C, H, W)
    pieces = views.split(views_per_forward or len(views))
    scores = torch.cat([model(piece.to(place.device)) for piece in pieces])
    return scores.unflatten(0, (len(clips), -1)).mean(dim=1).cpu()  # (N·V, K) to (N, K)
