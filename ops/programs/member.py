"""One of the networks, or files of scores, that a test is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ops.data.catalog import DataSource
from ops.data.clips import VideoClips
from ops.evaluation.ensemble import Predictions
from ops.evaluation.scores import Scorer
from ops.recognition.contract import Contract


@dataclass
class Member:
    """One of --weights: a network with the videos and views it is tested on, or the scores that a file had.

    predictions: of a network only `expected`, until it has been tested. file: where its scores are kept as they come.
    reasons: why videos were left out, by their paths. by_order: with --motion the scores (N, K) of its videos with the
    frames in each of `motion.ORDERS`, once it has been tested.
    """

    weights: str
    coefficient: float
    facts: dict[str, Any]
    predictions: Predictions
    data: DataSource | None = None
    contract: Contract | None = None
    clips: VideoClips | None = None
    scorer: Scorer | None = None
    file: Path | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    by_order: list[torch.Tensor] = field(default_factory=list)

    @property
    def temperature(self) -> float:
        """What its scores are divided by where they are taken for probabilities."""
        return self.contract.temperature if self.contract else 1.0


def chosen(values: Sequence[Any] | None, index: int, default: Any = None) -> Any:
    """A member's own of comma-separated values, or the one that is for all."""
    return default if not values else values[index if len(values) > 1 else 0]
