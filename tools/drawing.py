"""What the README's figures are made of: a page, boxes, arrows, frames.

Coordinates are pixels at the README's width of 900, origin at the upper left; the files have twice that.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Polygon, Rectangle
from PIL import Image

from ops.files import atomic_write

WIDTH = 900
SCALE = 2  # file pixels per drawing pixel
POINTS = 72 / 100  # font size of one drawing pixel: the figure has 100 of them an inch

INK = "#24292f"
FAINT = "#6b7683"
PLAIN = ("#f1f3f5", "#adb5bd")  # fill, edge: what an ordinary ResNet has
TIME = ("#e5edfb", "#5b84c4")  # what mixes frames
FRONT = ("#fdebd8", "#d9822b")  # foreground
BACK = ("#e3f1e8", "#4c9a6a")  # background
HEAD = ("#eee8f6", "#8567b5")  # classifier, consensus
PANEL = ("#fafbfc", "#d0d7de")
TIME_TEXT, FRONT_TEXT, BACK_TEXT = "#3a64a8", "#b3621a", "#2f7a4d"  # as above, dark enough to read
DASHES = (0, (4, 2.5))
Colour = tuple[str, str]
Point = tuple[float, float]
Style = dict[str, Any]

ARM = 5.2
STROKES: dict[str, list[tuple[Point, Point]]] = {  # of the operators' signs, about the centre
    "−": [((-ARM, 0), (ARM, 0))],
    "+": [((-ARM, 0), (ARM, 0)), ((0, -ARM), (0, ARM))],
    "×": [((-4, -4), (4, 4)), ((-4, 4), (4, -4))],
}
# What a frame shows, as shares of its width and height.
HILLS = [(0, 1), (0, 0.72), (0.25, 0.6), (0.5, 0.74), (0.75, 0.62), (1, 0.7), (1, 1)]
TREE = [(0.74, 0.68), (0.84, 0.28), (0.94, 0.68)]


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre, with the points that arrows start and end at."""

    x: float
    y: float
    width: float = 0
    height: float = 0

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> Point:
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y + self.height / 2


class Canvas:
    """A page of `WIDTH` × `height` drawing pixels and the few shapes that the figures are made of."""

    def __init__(self, height: int) -> None:
        self.figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100 * SCALE, facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(height, 0)
        self.axes.axis("off")

    def save(self, path: Path) -> None:
        """Write a PNG of 128 colours, without a date or the names of programs."""
        pixels = io.BytesIO()
        self.figure.savefig(pixels, format="png")
        with Image.open(pixels, formats=("PNG",)) as image:
            few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        with atomic_write(path) as file:
            few.save(file, format="PNG", optimize=True)

    def add(self, patch: Patch) -> None:
        self.axes.add_patch(patch)

    def text(
        self,
        at: Point,
        text: str,
        size: float = 11,
        colour: str = INK,
        align: str = "center",
        vertical: str = "center",
        bold: bool = False,
        italic: bool = False,
    ) -> None:
        font: Style = {"fontsize": size * POINTS, "color": colour, "linespacing": 1.3}
        font |= {"fontweight": "bold" if bold else "normal", "fontstyle": "italic" if italic else "normal"}
        self.axes.text(*at, text, ha=align, va=vertical, zorder=6, **font)

    def note(self, at: Point, text: str, align: str = "center", vertical: str = "center") -> None:
        """A faint remark."""
        self.text(at, text, 10, FAINT, align, vertical)

    # ------------------------------------------------------------------------------------------ boxes

    def box(
        self,
        at: Point,
        size: tuple[float, float],
        text: str = "",
        colour: Colour = PLAIN,
        note: str = "",
        dashed: bool = False,
    ) -> Box:
        """A rounded box with a bold line of text and, below it, a plain one."""
        outline = Box(*at, *size)
        line: Style = {"linewidth": 1.2, "linestyle": DASHES if dashed else "-"}
        self._rounded((outline.left[0], outline.top[1]), size, 5, colour, zorder=4, **line)
        x, y = at
        lift = 7.5 * (1 + note.count("\n")) if note else 0
        self.text((x, y - lift), text, 12, bold=True)
        if note:
            self.text((x, y + 8 + 7 * text.count("\n")), note, 10.5)
        return outline

    def ground(self, corner: Point, size: tuple[float, float], colour: Colour, alpha: float = 1) -> None:
        """A pale ground that holds a part of the figure together."""
        self._rounded(corner, size, 8, colour, zorder=1, linewidth=1, alpha=alpha)

    def _rounded(self, corner: Point, size: Point, radius: int, colour: Colour, **style: Any) -> None:
        style |= {"boxstyle": f"round,pad=0,rounding_size={radius}", "facecolor": colour[0], "edgecolor": colour[1]}
        self.add(FancyBboxPatch(corner, *size, **style))

    def operator(self, at: Point, sign: str) -> Box:
        """A circle with a sign: − subtracts, + adds, × multiplies element by element."""
        radius = 11
        x, y = at
        self.add(Circle(at, radius, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=4))
        for (x0, y0), (x1, y1) in STROKES[sign]:
            self.axes.plot([x + x0, x + x1], [y + y0, y + y1], color=INK, linewidth=1.4, zorder=5)
        return Box(x, y, 2 * radius, 2 * radius)

    def channels(self, at: Point, height: float, share: float = 0.42) -> Box:
        """The channels of a tensor as a bar: the foreground's F above, the background's C − F below."""
        (x, y), width = at, 40
        top = y - height / 2
        cut = top + share * height
        for a, b, colour, text in ((top, cut, FRONT, "F"), (cut, top + height, BACK, "C − F")):
            self.add(Rectangle((x - width / 2, a), width, b - a, facecolor=colour[0], edgecolor=colour[1], zorder=4))
            self.text((x, (a + b) / 2), text, 10.5, bold=True)
        return Box(x, y, width, height)

    # ------------------------------------------------------------------------------------------ arrows

    def path(self, *points: Point, head: bool = True) -> None:
        """A line through the points, with an arrow head at the last."""
        line: Style = {"color": INK, "linewidth": 1.2, "zorder": 3}
        if len(points) > 2 or not head:
            corners = zip(*(points[:-1] if head else points), strict=True)
            self.axes.plot(*corners, solid_capstyle="butt", solid_joinstyle="miter", **line)
        if head:
            style = "-|>,head_length=4.6,head_width=2.3"
            ends: Style = {"arrowstyle": style, "shrinkA": 0, "shrinkB": 0, "capstyle": "butt", "joinstyle": "miter"}
            self.add(FancyArrowPatch(points[-2], points[-1], **ends, **line))

    def dot(self, at: Point) -> None:
        """Where a line divides."""
        self.add(Circle(at, 2.8, color=INK, zorder=5))

    def shape(self, start: Point, end: Point, text: str) -> None:
        """The dimensions of a tensor above the middle of a horizontal arrow."""
        self.note(((start[0] + end[0]) / 2, start[1] - 5), text, vertical="bottom")

    def link(self, start: Box, end: Box, text: str = "") -> None:
        """A horizontal arrow from one box to the next."""
        self.path(start.right, end.left)
        if text:
            self.shape(start.right, end.left, text)

    # ------------------------------------------------------------------------------------------ frames

    def frames(
        self,
        at: Point,
        count: int,
        scene: bool = True,
        actor: bool = True,
        size: tuple[float, float] = (46, 34),
        step: tuple[float, float] = (10, 8),
    ) -> Box:
        """A pile of frames: a person walks (the actor) before hills and a tree. Its outline as a box."""
        (width, height), last = size, count - 1
        outline = Box(*at, width + last * step[0], height + last * step[1])
        for k in range(count):  # the last in front, lower right
            x, y, z = outline.left[0] + k * step[0], outline.top[1] + k * step[1], 4 + k / 10
            self.add(Rectangle((x, y), width, height, facecolor="white", edgecolor=INK, linewidth=0.9, zorder=z))
            if scene:
                for shares, colour in ((HILLS, "#b9dcc7"), (TREE, BACK[1])):
                    corners = [(x + 1 + a * (width - 2), y + b * height - (b == 1)) for a, b in shares]
                    self.add(Polygon(corners, facecolor=colour, linewidth=0, zorder=z + 0.01))
            if actor:
                middle = x + (0.14 + 0.46 * k / max(1, last)) * width
                self._person(middle, y + 0.4 * height, y + 0.92 * height, z + 0.02)
        return outline

    def _person(self, middle: float, waist: float, foot: float, zorder: float) -> None:
        body = [(-1.5, waist), (1.5, waist), (4, foot), (1.5, foot), (0, foot - 7), (-1.5, foot), (-4, foot)]
        self.add(Polygon([(middle + a, b) for a, b in body], facecolor=FRONT[1], linewidth=0, zorder=zorder))
        self.add(Circle((middle, waist - 4), 3.6, facecolor=FRONT[1], linewidth=0, zorder=zorder))
