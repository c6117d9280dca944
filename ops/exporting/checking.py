"""Whether the exported forms give the answers that torch gives, and how fast.

Legend: `N` clips, `T` segments, `C` channels of a segment, `H W` space, `K` classes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from ops.exporting.form import BATCHES
from ops.exporting.targets import Run
from ops.running.runlog import Progress

TOLERANCE = 1e-4  # of a probability, in float32


@dataclass(frozen=True)
class Finding:
    """What a runtime gave for all clips, at each batch size.

    probabilities: float32 `(N, K)` of each size. milliseconds: a clip, the median over the calls of each size.
    """

    probabilities: Mapping[int, np.ndarray]
    milliseconds: Mapping[int, float]

    def difference(self, expected: np.ndarray) -> float:
        """The largest of a probability; not a number if one is not."""
        return float(max(np.abs(found - expected).max() for found in self.probabilities.values()))

    def agreement(self, expected: np.ndarray) -> float:
        """The share of clips, of each size, whose likeliest class is the expected one."""
        likeliest = expected.argmax(axis=1)
        return float(np.mean([found.argmax(axis=1) == likeliest for found in self.probabilities.values()]))

    @property
    def mean_milliseconds(self) -> float:
        """A clip, over the sizes."""
        return sum(self.milliseconds.values()) / len(self.milliseconds)


def run_all(runs: Mapping[str, Run], clips: np.ndarray, batches: Sequence[int] = BATCHES) -> dict[str, Finding]:
    """All `clips`, uint8 `(N, T, C, H, W)`, through every runtime in batches of each of these sizes.

    The runtimes take turns at each batch, so that what else the machine does falls on all alike. A first call of each
    size, in which a runtime makes room for it, is not counted.
    """
    found: dict[str, dict[int, list[np.ndarray]]] = {name: defaultdict(list) for name in runs}
    seconds: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in runs}
    pieces = [(size, clips[start : start + size]) for size in batches for start in range(0, len(clips), size)]
    with Progress("checking", len(pieces), every=50) as progress:
        warmed = 0
        for number, (size, piece) in enumerate(pieces):
            for name, run in runs.items():
                if size != warmed:
                    run(piece)
                start_time = time.perf_counter()
                found[name][size].append(run(piece))
                seconds[name][size].append((time.perf_counter() - start_time) / len(piece))
            warmed = size
            progress.update(number, f"batches of {size}")
    return {
        name: Finding(
            {size: np.concatenate(parts) for size, parts in found[name].items()},
            {size: 1000 * median(times) for size, times in seconds[name].items()},
        )
        for name in runs
    }


def fault_of(finding: Finding, expected: np.ndarray, classes: Sequence[str], tolerance: float) -> str:
    """What differs from `expected` `(N, K)`, in words; empty if nothing does beyond the tolerance."""
    difference, agreement = finding.difference(expected), finding.agreement(expected)
    if difference <= tolerance and agreement == 1:
        return ""
    farthest = {size: np.abs(found - expected) for size, found in finding.probabilities.items()}
    size = max(farthest, key=lambda size: np.nan_to_num(farthest[size], nan=np.inf).max())
    clip, label = np.unravel_index(np.nan_to_num(farthest[size], nan=np.inf).argmax(), expected.shape)
    there, here = finding.probabilities[size][clip, label], expected[clip, label]
    return (
        f"probabilities differ by up to {difference:.2g} where {tolerance:g} is allowed (clip {clip + 1} in batches of "
        f"{size}, {classes[label]!r}: {there:.6f}, in torch {here:.6f}); {100 * agreement:.1f} % have the same top-1"
    )


def table(findings: Mapping[str, Finding], megabytes: Mapping[str, float], expected: np.ndarray) -> str:
    """The findings as text: a row a runtime."""
    sizes = [f"ms, {size} at a time" for size in BATCHES]
    rows = [["runtime", "MB", *sizes, "largest difference", "same top-1"]]
    for name, finding in findings.items():
        times = [f"{finding.milliseconds[size]:.1f}" if size in finding.milliseconds else "" for size in BATCHES]
        size = f"{megabytes[name]:.1f}" if name in megabytes else ""
        far, same = finding.difference(expected), finding.agreement(expected)
        rows.append([name, size, *times, f"{far:.1e}", f"{100 * same:.1f} %"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """The name on the left, numbers on the right."""
    numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *numbers])
