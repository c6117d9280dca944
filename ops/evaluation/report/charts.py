"""Line charts as plain SVG, drawn by `templates/chart.svg`: readable in the dark, on paper, and by a screen reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 420, 260  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 68, 12, 12, 40  # margins
ANY, PERCENT = (-math.inf, math.inf), (0.0, 100.0)  # what an axis may show


@dataclass(frozen=True)
class Series:
    """A line: its name, its points `(x, y)` (those that are not finite are gaps), and how it is drawn.

    kind: `line`, `dots` (a line with a dot a point, each with its numbers on hovering), `dashes` (for comparison),
    `dashes dots`, `bars`. colour: of eight that can be told apart, in order; the same as for the same thing elsewhere.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "dots"
    colour: int = 0


@dataclass(frozen=True)
class Chart:
    """What is drawn over what. `x_range`, `y_range`: None takes what the data have, of percentages at most 0 to 100.

    note: a line below it.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    note: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    _ranges: tuple[tuple[float, float], tuple[float, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        xs, ys = ([p[axis] for s in self.series for p in s.points if _finite(p)] for axis in (0, 1))
        y_range = self.y_range or _range_of(ys, PERCENT if "%" in self.y else ANY)
        object.__setattr__(self, "_ranges", (self.x_range or _range_of(xs), y_range))

    def across(self, x: float) -> float:
        """Where a value of the x axis is drawn."""
        low, high = self._ranges[0]
        return round(LEFT + (x - low) / (high - low) * (self.width - LEFT - RIGHT), 1)

    def down(self, y: float) -> float:
        """Where a value of the y axis is drawn."""
        low, high = self._ranges[1]
        return round(TOP + (high - y) / (high - low) * (self.height - TOP - BOTTOM), 1)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Places and labels; whole numbers where all are, as epochs."""
        whole = all(float(x).is_integer() for s in self.series for x, _ in s.points if math.isfinite(x))
        return [(self.across(value), text) for value, text in _ticks(*self._ranges[0], 6, whole)]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and labels."""
        return [(self.down(value), text) for value, text in _ticks(*self._ranges[1], 5)]

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """The left, upper, right and lower border of the field that is drawn in."""
        return LEFT, TOP, self.width - RIGHT, self.height - BOTTOM

    def lines(self, series: Series) -> list[str]:
        """The `points` of the SVG's polylines: one for each stretch without a gap."""
        stretches: list[list[str]] = [[]]
        for x, y in series.points:
            if _finite((x, y)):
                stretches[-1].append(f"{self.across(x)},{self.down(y)}")
            elif stretches[-1]:
                stretches.append([])
        return [" ".join(stretch) for stretch in stretches if stretch]

    def dots(self, series: Series) -> list[tuple[float, float, str]]:
        """Each finite point's place, and its numbers in words."""
        return [
            (self.across(x), self.down(y), f"{series.name}: {self.x} {x:.4g}, {self.y} {y:.4g}")
            for x, y in series.points
            if _finite((x, y))
        ]


def _finite(point: tuple[float, float]) -> bool:
    return all(math.isfinite(value) for value in point)


def _range_of(values: Sequence[float], within: tuple[float, float] = ANY) -> tuple[float, float]:
    """A little more than the values take; something where there are none or all are alike."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    reach = (high - low) or abs(high) or 1.0
    return max(low - 0.04 * reach, within[0]), min(high + 0.04 * reach, within[1])


def _ticks(low: float, high: float, most: int, whole: bool = False) -> list[tuple[float, str]]:
    locator = MaxNLocator(most, integer=whole and high - low > 1)
    values = [v for v in locator.tick_values(low, high) if low <= v <= high]
    return [(value, f"{value:.6g}") for value in values]
