"""A trained network at work: videos in, probabilities out.

from ops.recognition.recognizer import Recognizer
recognizer = Recognizer.from_checkpoint("checkpoint/demo/ckpt.pth")
prediction = recognizer("video.mp4")     # or frames: an array (n, H, W, 3) of uint8, a list of pictures
print(prediction.top[0].name, prediction.top[0].probability)

Scores are those of `test_models.py` under the same protocol: both make clips as the contract says, and score them by
the same code.

Legend: `N` videos, `V` views of each, `T` segments, `K` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ops.data.clips import Sample, Unreadable
from ops.data.loader import video_loader
from ops.errors import InputError
from ops.evaluation.scores import Scorer, default_views_per_forward, mean_scores, scored
from ops.model.deploy import deploy
from ops.model.tsn import TSN
from ops.recognition.contract import Contract, Views, network_and_contract
from ops.recognition.sources import Seen, Source, SourceClips, as_source
from ops.recognition.timeline import OnWindow, Timeline, timeline
from ops.recognition.timeline_options import TimelineOptions
from ops.running.precision import InPrecision, choose_precision


@dataclass(frozen=True)
class Answer:
    """A class, by its place in the scores and its name, and how probable it is."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """Of one video. scores: the mean over its views, float32 `(K,)`. top: all classes, the most probable first.

    views: how many. frames, seconds, damage: see `Seen`.
    """

    path: str
    scores: np.ndarray
    top: tuple[Answer, ...]
    views: int
    frames: int
    seconds: float | None = None
    damage: str = ""

    def answer(self, least: float = 0.0) -> Answer | None:
        """The most probable class, or None ("none of these") where its probability is below `least`."""
        return self.top[0] if self.top[0].probability >= least else None


class Recognizer:
    """A network in its form for evaluation, on one device, and what its contract says of its input and output."""

    def __init__(
        self,
        network: TSN,
        contract: Contract,
        views: Views | None = None,
        device: str | torch.device = "cpu",
        amp: str = "off",
        batch_size: int = 1,
    ) -> None:
        self.contract = contract
        self.views = views or Views()
        self.device = torch.device(device)
        self.options = contract.clip_options(self.views)
        precision = choose_precision(amp, self.device)
        self.network: nn.Module = InPrecision(deploy(network.to(self.device), precision.dtype), precision).eval()
        mixes = network.options.mixes_videos
        # Of the released network, the videos of a batch change each other's scores: there is one a batch.
        self.batch_size = 1 if mixes else batch_size
        self.scorer = Scorer(self.network, default_views_per_forward(self.device, contract.segments, mixes))

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        protocol: str = "efficient",
        classes: str | Path | None = None,
        **others: Any,
    ) -> Recognizer:
        """Of a checkpoint, own or published; `others` are those of `Recognizer`.

        protocol: `efficient`, `accurate` or `dense`, as in testing. classes: a file with a class name a line, for a
        checkpoint without names. Raises InputError for a file that cannot be used, naming it.
        """
        network, contract = network_and_contract(path, classes)
        return cls(network, contract, Views.of_protocol(protocol), device, **others)

    def __call__(self, video: Any) -> Prediction:
        """Of one video: a path, an array `(n, H, W, 3)` of uint8, or a list of pictures.

        Raises InputError if it cannot be read.
        """
        return self.batch([video])[0]

    def batch(self, videos: Sequence[Any], workers: int = 0) -> list[Prediction]:
        """Of several videos, `workers` processes reading them. Raises InputError for the first that cannot be read."""
        predictions = []
        for found in self.predict([as_source(video) for video in videos], workers):
            if isinstance(found, Unreadable):
                raise InputError(f"{found.path}: {found.reason}")
            predictions.append(found)
        return predictions

    def predict(self, sources: Sequence[Source], workers: int = 0) -> Iterator[Prediction | Unreadable]:
        """Of each video in turn; of one that cannot be read, why. They are read while others are computed."""
        loader = video_loader(SourceClips(sources, self.options), workers)
        for item, scores in scored([self.scorer], loader, self.device, self.batch_size):
            yield item if scores is None else self._prediction(sources[item.index].path, item, scores[0])

    def describe(self) -> str:
        """The network, the views and where it computes, in words."""
        count, side = self.options.views("test")
        calibrated = (
            f"temperature {self.contract.temperature:.3g}" if self.contract.temperature != 1 else "uncalibrated"
        )
        return (
            f"{self.contract.network}; views of a video: {self.views.clips} clips ({self.views.sampling}) × "
            f"{self.views.crops} crops of {side} pixels = {count}; {calibrated}; on {self.device}"
        )

    def timeline(
        self, video: str | Path | Source, window: float, on_window: OnWindow = lambda *_: None, **others: Any
    ) -> Timeline:
        """Of a video file, what happens when: windows of so many seconds are scored, and segments made of them.

        `others` are those of `TimelineOptions`; on_window: see `timeline.timeline`. Raises InputError for what is no
        video file, or cannot be read.
        """
        source = as_source(video)
        if source.fault:
            raise InputError(f"{source.path}: {source.fault}")
        if not isinstance(source.content, Path) or source.content.is_dir():
            raise InputError(f"{source.path}: windows of time are cut from video files only; pictures have no times")
        return timeline(self, source.content, TimelineOptions(window, **others), source.path, on_window)

    @torch.inference_mode()
    def scores(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mean scores `(N, K)` of N videos whose views are `clips`, each uint8 `(V, T, C, H, W)`, all V alike."""
        return mean_scores(self.scorer, clips, self.device)

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Of scores `(…, K)`: softmax, after the temperature of the contract.

        Raises InputError for scores that are infinite or no numbers.
        """
        if not scores.isfinite().all():
            raise InputError(f"{self.contract.network}: its scores are infinite or no numbers: its weights are damaged")
        return (scores.double() / self.contract.temperature).softmax(dim=-1)

    def _prediction(self, path: str, item: Sample, scores: torch.Tensor) -> Prediction:
        probabilities = self.probabilities(scores)
        order = probabilities.argsort(descending=True, stable=True).tolist()
        values, seen = probabilities.tolist(), item.about
        assert isinstance(seen, Seen)
        top = tuple(Answer(label, self.contract.classes[label], values[label]) for label in order)
        return Prediction(path, scores.numpy(), top, len(item.clip), seen.frames, seen.seconds, seen.damage)
