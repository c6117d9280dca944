"""Scores of whole videos: every view through the network, the mean over a video's views.

Legend: `N` videos, `V` views (crops × clips), `T` segments, `C` channels, `H W` space, `K` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ops.errors import InputError
from ops.running.clock import Clock
from ops.running.distributed import DistributedContext

# Frames forwarded at once on one device: enough to keep it busy, few enough to bound the memory.
FRAMES_AT_ONCE = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True)
class Scorer:
    """A network, and how many views it takes at once (None: all of a batch, as published).

    reorder: what it sees in place of a video's clip (V, T, C, H, W), which it is given with the video's index.
    """

    model: nn.Module
    views_per_forward: int | None
    reorder: Callable[[torch.Tensor, int], torch.Tensor] | None = None

    def seen(self, video: Any) -> torch.Tensor:
        """The clip (V, T, C, H, W) of a sample as the network sees it."""
        return video.clip if self.reorder is None else self.reorder(video.clip, video.index)


@dataclass
class Scores:
    """Scores (N, K) by each network of the videos whose places in the list are `indices`; labels; the unreadable.

    clock: of this process.
    """

    scores: list[torch.Tensor]
    labels: torch.Tensor
    indices: torch.Tensor
    unreadable: list[Any] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)


def default_views_per_forward(device: torch.device, segments: int, mixes_videos: bool, gpus: int = 1) -> int | None:
    """How many views one forward takes: what fits, or None (all of a batch) where grouping changes the result."""
    if mixes_videos:
        return None
    return max(1, FRAMES_AT_ONCE.get(device.type, 64) // segments) * max(1, gpus)


@torch.inference_mode()
def score_videos(
    scorers: Sequence[Scorer],
    videos: Iterable[Any],
    context: DistributedContext,
    batch_size: int,
    on_video: Callable[[int, str], None] = lambda *_: None,
) -> Scores:
    """Scores the videos by every scorer (see `scored`).

    Under several processes each scores its share and all get everything, every video once, in the list's order.
    """
    rows: list[tuple[int, int, list[list[float]]]] = []  # index, label, scores by each scorer
    unreadable: list[Any] = []
    clock = Clock()
    for number, (video, scores) in enumerate(scored(scorers, clock.timed(videos), context.device, batch_size)):
        on_video(number, "videos")
        context.beat(f"testing, video {number + 1} of its share")
        if scores is None:
            unreadable.append(video)
        else:
            rows.append((video.index, video.label, scores.tolist()))
    rows = sorted(context.gather(rows))
    unreadable = context.gather(unreadable)
    if not rows:
        first = unreadable[0]
        raise InputError(
            f"not one of the {len(unreadable)} videos could be read; the first, {first.path}: {first.reason}"
        )
    indices, labels, values = zip(*rows, strict=True)
    by_scorer = torch.tensor(values).unbind(dim=1)  # of (N, scorers, K)
    return Scores(list(by_scorer), torch.tensor(labels), torch.tensor(indices), unreadable, clock)


@torch.inference_mode()
def scored(
    scorers: Sequence[Scorer], videos: Iterable[Any], device: torch.device, batch_size: int
) -> Iterator[tuple[Any, torch.Tensor | None]]:
    """Each video in turn with its scores by every scorer, (scorers, K), or None if it is unreadable.

    Videos are samples with a `clip` (V, T, C, H, W), or unreadable. Every scorer is given the same clips. `batch_size`
    videos stand behind one another; their views, video by video, are forwarded as many at a time as the scorer says.
    """
    for scorer in scorers:
        scorer.model.eval()
    waiting: list[Any] = []
    samples: list[Any] = []  # those of them that are readable
    for video in videos:
        waiting.append(video)
        if hasattr(video, "clip"):
            samples.append(video)
        if len(samples) == batch_size:
            yield from _with_scores(scorers, waiting, samples, device)
            waiting, samples = [], []
    yield from _with_scores(scorers, waiting, samples, device)


def _with_scores(
    scorers: Sequence[Scorer], videos: Sequence[Any], samples: Sequence[Any], device: torch.device
) -> Iterator[tuple[Any, torch.Tensor | None]]:
    """`samples`: the readable of the videos, in order."""
    by_scorer = [mean_scores(scorer, [scorer.seen(v) for v in samples], device) for scorer in scorers if samples]
    means = iter(torch.stack(by_scorer, dim=1) if samples else ())
    for video in videos:
        yield video, next(means) if hasattr(video, "clip") else None


def mean_scores(scorer: Scorer, clips: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """The mean scores (N, K) of the N videos whose views are `clips`, each (V, T, C, H, W), all V alike."""
    views = torch.cat(list(clips))  # (N·V, T, C, H, W)
    pieces = views.split(scorer.views_per_forward or len(views))
    scores = torch.cat([scorer.model(piece.to(device)) for piece in pieces])
    scores = scores if scores.ndim == 2 else scores.mean(dim=1)  # every frame's own (N·V, T, K) to (N·V, K)
    return scores.unflatten(0, (len(clips), -1)).mean(dim=1).cpu()  # (N·V, K) to (N, K)
