"""The pictures of experiments. Bars are the 95 % interval of a mean over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ops.evaluation.drawing import save_picture
from tools.experiments.plan import Experiment, Test
from tools.experiments.statistics import Mean, mean
from tools.experiments.table import Epoch, Row, values

COLOURS = ("#3a64a8", "#b3621a", "#2f7a4d", "#8567b5", "#a33b4e", "#5c6b73", "#b08d1e", "#2f8f9d")
STYLES = ("-", "--", ":")
DOTS = 100  # an inch


def draw_arms(experiment: Experiment, rows: Sequence[Row], test: Test, file: Path) -> None:
    """An arm a line: its seeds (points), their mean, its interval; a line through the baseline's mean."""
    arms = [arm for arm in experiment.arms if values(rows, arm.name, test.name)]
    figure, axes = _figure(7.0, 0.7 + 0.32 * len(arms))
    for place, arm in enumerate(arms):
        found = list(values(rows, arm.name, test.name).values())
        middle = mean(found)
        colour = COLOURS[1] if arm.name == experiment.baseline else COLOURS[0]
        axes.errorbar(middle.value, place, xerr=middle.half, color=colour, capsize=3, marker="|", markersize=11)
        axes.plot(found, [place] * len(found), "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
        if arm.name == experiment.baseline:
            axes.axvline(middle.value, color=colour, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(arms)), [arm.words for arm in arms])
    axes.invert_yaxis()
    axes.set_xlabel("top-1, %")
    axes.grid(axis="x", alpha=0.3)
    _save(figure, file)


def draw_gains(
    gained: Mapping[str, Mapping[tuple[str, str], Mean]], compared: Mapping[tuple[str, str], str], file: Path
) -> None:
    """A table a line: how far one arm is ahead of another, with the interval; right of zero the first is ahead."""
    figure, axes = _figure(8.0, 1.3 + 0.5 * len(gained))
    for number, (arms, words) in enumerate(compared.items()):
        offset = 0.2 * (number - 0.5 * (len(compared) - 1))
        found = [(place + offset, own[arms]) for place, own in enumerate(gained.values()) if arms in own]
        if found:
            places, means = [place for place, _ in found], [middle for _, middle in found]
            halves, heights = [middle.half or 0.0 for middle in means], [middle.value for middle in means]
            colour = COLOURS[number]
            axes.errorbar(heights, places, xerr=halves, fmt="o", label=words, color=colour, capsize=3, markersize=4)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(gained)), list(gained))
    axes.invert_yaxis()
    axes.set_xlabel("difference in top-1, points")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(fontsize=8, frameon=False, loc="outside upper right")
    _save(figure, file)


def draw_against_x(experiment: Experiment, rows: Sequence[Row], tests: Sequence[Test], file: Path) -> None:
    """The mean top-1 of each arm over the tests' `x`, with intervals."""
    along = sorted((test.x, test.name) for test in tests if test.x is not None)
    figure, axes = _figure(6.5, 3.8)
    for number, arm in enumerate(experiment.arms):
        found = [(x, mean(list(v.values()))) for x, test in along if (v := values(rows, arm.name, test))]
        if not found:
            continue
        x, means = [x for x, _ in found], [middle for _, middle in found]
        halves = [middle.half or 0.0 for middle in means]
        heights = [middle.value for middle in means]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(x, heights, yerr=halves, label=arm.words, color=colour, capsize=3, marker="o", markersize=4)
    axes.set_xlabel(experiment.x or "")
    axes.set_ylabel("top-1, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    _save(figure, file)


def draw_curves(experiment: Experiment, epochs: Sequence[Epoch], file: Path) -> None:
    """The losses of each arm, the mean of its seeds: a line for training, dots for validation."""
    figure, axes = _figure(9.0, 3.8)
    for number, arm in enumerate(experiment.arms):
        own = [epoch for epoch in epochs if epoch.arm == arm.name]
        if not own:
            continue
        numbers = sorted({epoch.epoch for epoch in own})
        heights = [mean([e.train_loss for e in own if e.epoch == epoch]).value for epoch in numbers]
        style, colour = STYLES[number // len(COLOURS) % len(STYLES)], COLOURS[number % len(COLOURS)]
        axes.plot(numbers, heights, style, label=arm.words, color=colour, linewidth=1.3)
        validated = [(e.epoch, e.val_loss) for e in own if e.val_loss is not None]
        at = sorted({epoch for epoch, _ in validated})
        losses = [mean([loss for epoch, loss in validated if epoch == x]).value for x in at]
        axes.plot(at, losses, "o", color=colour, markersize=3.5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss: line training, dots validation")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, which="both")
    figure.legend(fontsize=7, frameon=False, loc="outside right upper")
    _save(figure, file)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Figure, file: Path) -> None:
    save_picture(figure, file, DOTS)
