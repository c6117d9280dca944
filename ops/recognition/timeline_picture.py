"""A picture of a timeline: the segments of each class, and how its probability goes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ops.evaluation.drawing import as_written, save_picture
from ops.recognition.timeline import Timeline

MOST = 20  # classes that are drawn, those with the longest segments
COLOURS = ("#5b84c4", "#d9822b", "#4c9a6a", "#8567b5", "#c4515b", "#6b7683")


def draw(timeline: Timeline, file: Path) -> None:
    """As PNG: a row a class that has a segment, a line for its probability, a bar for each segment."""
    shown: dict[int, float] = {}
    for segment in timeline.segments:
        shown[segment.label] = shown.get(segment.label, 0.0) + segment.end - segment.start
    first = {label: next(s.start for s in timeline.segments if s.label == label) for label in shown}
    rows = sorted(sorted(shown, key=lambda label: -shown[label])[:MOST], key=lambda label: first[label])
    figure = Figure(figsize=(12, 1.2 + 0.45 * max(1, len(rows))), layout="constrained")
    axes = figure.subplots()
    bounds = timeline.bounds
    middles = [(window.start + window.end) / 2 for window in timeline.windows]
    for row, label in enumerate(rows):
        colour = COLOURS[row % len(COLOURS)]
        spans = [(s.start, s.end - s.start) for s in timeline.segments if s.label == label]
        axes.broken_barh(spans, (row + 0.05, 0.9), facecolors=colour, alpha=0.45, linewidth=0)
        axes.plot(middles, row + 0.95 - 0.9 * timeline.probabilities[:, label], color=colour, linewidth=1)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], [as_written(timeline.classes[label]) for label in rows])
    axes.set_ylim(max(1, len(rows)), 0)
    axes.set_xlim(bounds[0], bounds[-1])
    axes.set_xlabel("seconds")
    left_out = len(shown) - len(rows)
    more = f" ({left_out} more classes are not drawn)" if left_out else ""
    axes.set_title(as_written(Path(timeline.path).name) + (more if shown else ": no segment"))
    save_picture(figure, file, dpi=100)
