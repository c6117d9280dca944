"""What a benchmark finds, and how it is timed: both sides in one process, warmed up, taking turns."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.running.runlog import environment

WARM_UP = 2  # rounds


@dataclass(frozen=True)
class Row:
    """Ours against another: medians in `unit`, `spread` of ours and theirs, and the ratio of ours to theirs."""

    name: str
    ours: float
    against: float
    unit: str
    ratio: float
    spread: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """How something grows: `values` in `unit` at each of `sizes` of what `size` names."""

    name: str
    size: str
    unit: str
    sizes: list[float]
    values: list[float]


@dataclass(frozen=True)
class Findings:
    """The rows (ours against others) and the curves of a benchmark."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def in_turns(
    work: Mapping[str, Callable[[], object]], repeats: int, before: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Milliseconds of each, `repeats` times, in turns, after rounds to warm up; `before` each, not timed, goes that."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + WARM_UP):
        for name, each in work.items():
            before()
            start = time.perf_counter()
            each()
            if turn >= WARM_UP:
                taken[name].append(1000 * (time.perf_counter() - start))
    return taken


def row(name: str, ours: Sequence[float], theirs: Sequence[float], unit: str) -> Row:
    """Medians, spreads and their ratio."""
    a, b = statistics.median(ours), statistics.median(theirs)
    return Row(name, a, b, unit, a / b, (spread(ours), spread(theirs)))


def spread(values: Sequence[float]) -> float:
    """Half the distance between the quartiles."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    versions: dict[str, str | None] = {}
    for name in ("av", "torchcodec", "decord"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {**environment(), "cpu": processor(), **versions}


def processor() -> str:
    """The CPU's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
