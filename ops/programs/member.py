"""One of the networks, or files of scores, that a test is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.data.catalog import DataSource
from ops.data.clips import VideoClips
from ops.evaluation.ensemble import Predictions
from ops.evaluation.motion import Motion
from ops.evaluation.scores import Scorer
from ops.recognition.contract import Contract


@dataclass
class Member:
    """One of --weights: a network with the videos and views it is tested on, or the scores that a file had.

    predictions: of a network only `expected`, until it has been tested. file: where its scores are kept as they come.
    temperature: what its scores are divided by where they are taken for probabilities. reasons: why videos were left
    out, by their paths. motion: with --motion, once it has been tested.
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
    motion: Motion | None = None

    @property
    def temperature(self) -> float:
        """What its scores are divided by where they are taken for probabilities."""
        return self.contract.temperature if self.contract else 1.0


def chosen(values: Sequence[Any] | None, index: int, default: Any = None) -> Any:
    """A member's own of comma-separated values, or the one that is for all."""
    return default if not values else values[index if len(values) > 1 else 0]
