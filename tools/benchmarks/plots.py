"""Curves as pictures: one for each kind of size, in it a plot for each unit.

The same matplotlib gives the same bytes each time.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from PIL import Image

from ops.files import atomic_write
from tools.benchmarks.findings import Curve

COLOURS = ("#b3621a", "#3a64a8", "#2f7a4d", "#8567b5")
INCH, DOTS = 4.5, 100  # a plot's width; dots an inch
WIDE = 16  # sizes whose largest is so many times the smallest are drawn in logarithms


def by_size(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """The curves of each picture, by what their sizes are."""
    return {size: [curve for curve in curves if curve.size == size] for size in dict.fromkeys(c.size for c in curves)}


def by_unit(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """The curves of each plot of a picture, by their unit."""
    return {unit: [curve for curve in curves if curve.unit == unit] for unit in dict.fromkeys(c.unit for c in curves)}


def file_name(part: str, size: str) -> str:
    """Of the picture, as `growth_frames_a_clip.png`."""
    return f"{part}_{re.sub(r'[^a-z0-9]+', '_', size.lower())}.png"


def title(unit: str, size: str) -> str:
    """Of a plot, as `Memory by frames a clip`."""
    return f"{'Memory' if unit.endswith('iB') else 'Time'} by {size}"


def draw(curves: Sequence[Curve], file: Path) -> None:
    """All curves of one kind of size, as PNG."""
    plots = by_unit(curves)
    with matplotlib.style.context("default"):  # whatever the user's own says
        figure = Figure(figsize=(INCH * len(plots), 3.2), dpi=DOTS, layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (unit, group) in zip(figure.subplots(1, len(plots), squeeze=False).flat, plots.items(), strict=True):
            _plot(axes, unit, group)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
    # Without a date or the names of programs.
    with Image.open(drawn, formats=("PNG",)) as image, atomic_write(file) as opened:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(opened, format="PNG", optimize=True)


def _plot(axes: Any, unit: str, curves: Sequence[Curve]) -> None:
    for curve, colour in zip(curves, COLOURS * len(curves), strict=False):
        axes.plot(curve.sizes, curve.values, "o-", color=colour, label=curve.name, markersize=4)
    sizes = sorted({size for curve in curves for size in curve.sizes})
    values = [value for curve in curves for value in curve.values]
    if sizes[-1] >= WIDE * sizes[0] > 0:
        axes.set_xscale("log")
        if min(values) > 0:
            _logarithms(axes, min(values), max(values))
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(title(unit, curves[0].size), fontsize=10)
    axes.set_xlabel(curves[0].size)
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)


def _logarithms(axes: Any, least: float, most: float) -> None:
    """A logarithmic scale for values from `least` to `most`, with room about them and numbers as one reads them."""
    axes.set_yscale("log")
    axes.set_ylim(least / 1.5, most * 1.5)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 100 * least else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
