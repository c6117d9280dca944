"""The README's figures: fexnet.png, scene_segregation.png, foreground_enhancement.png.

    python tools/draw_architecture.py --out images

Coordinates are pixels at the README's width of 900, origin at the upper left; the files have twice that. The same
matplotlib gives the same bytes each time.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from PIL import Image

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
Colour = tuple[str, str]
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre, with the points that arrows start and end at."""

    x: float
    y: float
    width: float
    height: float

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
        self.figure = plt.figure(figsize=(WIDTH / 100, height / 100), dpi=100 * SCALE, facecolor="white")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(height, 0)
        self.axes.axis("off")

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
        self.axes.text(
            *at,
            text,
            fontsize=size * POINTS,
            color=colour,
            ha=align,
            va=vertical,
            fontweight="bold" if bold else "normal",
            fontstyle="italic" if italic else "normal",
            linespacing=1.3,
            zorder=6,
        )

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
        (x, y), (width, height) = at, size
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=5",
                facecolor=colour[0],
                edgecolor=colour[1],
                linewidth=1.2,
                linestyle=(0, (4, 2.5)) if dashed else "-",
                zorder=4,
            )
        )
        lift = 7.5 * (1 + note.count("\n")) if note else 0
        self.text((x, y - lift), text, 12, bold=True)
        if note:
            self.text((x, y + 8 + 7 * text.count("\n")), note, 10.5, colour=INK)
        return Box(x, y, width, height)

    def operator(self, at: Point, sign: str) -> Box:
        """A circle with a sign: − subtracts, + adds, × multiplies element by element."""
        radius = 11
        x, y = at
        self.axes.add_patch(Circle(at, radius, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=4))
        arm = 5.2
        strokes: dict[str, list[tuple[Point, Point]]] = {
            "−": [((-arm, 0), (arm, 0))],
            "+": [((-arm, 0), (arm, 0)), ((0, -arm), (0, arm))],
            "×": [((-4, -4), (4, 4)), ((-4, 4), (4, -4))],
        }
        for (x0, y0), (x1, y1) in strokes[sign]:
            self.axes.plot([x + x0, x + x1], [y + y0, y + y1], color=INK, linewidth=1.4, zorder=5)
        return Box(x, y, 2 * radius, 2 * radius)

    def path(self, *points: Point, head: bool = True, colour: str = INK, dashed: bool = False) -> None:
        """A line through the points, with an arrow head at the last."""
        style = (0, (4, 2.5)) if dashed else "-"
        if len(points) > 2 or not head:
            last = points[:-1] if head else points
            self.axes.plot(
                *zip(*last, strict=True),
                color=colour,
                linewidth=1.2,
                linestyle=style,
                solid_capstyle="butt",
                solid_joinstyle="miter",
                zorder=3,
            )
        if head:
            self.axes.add_patch(
                FancyArrowPatch(
                    points[-2],
                    points[-1],
                    arrowstyle="-|>,head_length=4.6,head_width=2.3",
                    shrinkA=0,
                    shrinkB=0,
                    color=colour,
                    linewidth=1.2,
                    linestyle=style,
                    capstyle="butt",
                    joinstyle="miter",
                    zorder=3,
                )
            )

    def dot(self, at: Point) -> None:
        """Where a line divides."""
        self.axes.add_patch(Circle(at, 2.8, color=INK, zorder=5))

    def shape(self, start: Point, end: Point, text: str, below: bool = False) -> None:
        """The dimensions of a tensor beside the middle of a horizontal arrow, above it unless `below`."""
        middle = (start[0] + end[0]) / 2, start[1] + (5 if below else -5)
        self.text(middle, text, 10, FAINT, vertical="top" if below else "bottom")

    def link(self, start: Box, end: Box, text: str = "", below: bool = False) -> None:
        """A horizontal arrow from one box to the next."""
        self.path(start.right, end.left)
        if text:
            self.shape(start.right, end.left, text, below)

    def frames(
        self,
        at: Point,
        count: int = 3,
        scene: bool = True,
        actor: bool = True,
        size: tuple[float, float] = (46, 34),
        step: tuple[float, float] = (10, 8),
    ) -> Box:
        """A pile of frames: a person walks (the actor) before hills and a tree. Its outline as a box."""
        width, height = size
        total = width + (count - 1) * step[0], height + (count - 1) * step[1]
        left, top = at[0] - total[0] / 2, at[1] - total[1] / 2
        for k in range(count):  # the last in front, lower right
            x, y, z = left + k * step[0], top + k * step[1], 4 + k / 10
            self.axes.add_patch(
                Rectangle((x, y), width, height, facecolor="white", edgecolor=INK, linewidth=0.9, zorder=z)
            )
            if scene:
                hills = [(0, 1), (0, 0.72), (0.25, 0.6), (0.5, 0.74), (0.75, 0.62), (1, 0.7), (1, 1)]
                tree = [(0.74, 0.68), (0.84, 0.28), (0.94, 0.68)]
                for outline in (hills, tree):
                    self.axes.add_patch(
                        Polygon(
                            [(x + 1 + a * (width - 2), y + b * height - (b == 1)) for a, b in outline],
                            closed=True,
                            facecolor=BACK[1] if outline is tree else "#b9dcc7",
                            linewidth=0,
                            zorder=z + 0.01,
                        )
                    )
            if actor:
                middle = x + (0.14 + 0.46 * k / max(1, count - 1)) * width
                foot, waist = y + 0.92 * height, y + 0.4 * height
                body = [(-1.5, waist), (1.5, waist), (4, foot), (1.5, foot), (0, foot - 7), (-1.5, foot), (-4, foot)]
                self.axes.add_patch(
                    Polygon([(middle + a, b) for a, b in body], facecolor=FRONT[1], linewidth=0, zorder=z + 0.02)
                )
                self.axes.add_patch(Circle((middle, waist - 4), 3.6, facecolor=FRONT[1], linewidth=0, zorder=z + 0.02))
        return Box(*at, *total)

    def ground(self, left: float, top: float, size: tuple[float, float], colour: Colour, alpha: float = 1) -> None:
        """A pale ground that holds a part of the figure together."""
        self.axes.add_patch(
            FancyBboxPatch(
                (left, top),
                *size,
                boxstyle="round,pad=0,rounding_size=8",
                facecolor=colour[0],
                edgecolor=colour[1],
                linewidth=1,
                alpha=alpha,
                zorder=1,
            )
        )

    def channels(self, at: Point, height: float, share: float = 0.42) -> Box:
        """The channels of a tensor as a bar: the foreground's F above, the background's C − F below."""
        (x, y), width = at, 40
        top = y - height / 2
        cut = top + share * height
        for a, b, colour, text in ((top, cut, FRONT, "F"), (cut, top + height, BACK, "C − F")):
            self.axes.add_patch(
                Rectangle((x - width / 2, a), width, b - a, facecolor=colour[0], edgecolor=colour[1], zorder=4)
            )
            self.text((x, (a + b) / 2), text, 10.5, bold=True)
        return Box(x, y, width, height)

    def save(self, path: Path) -> None:
        """Write a PNG of 128 colours, without a date or the names of programs."""
        pixels = io.BytesIO()
        self.figure.savefig(pixels, format="png")
        plt.close(self.figure)
        with Image.open(pixels) as image:
            few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        few.save(path, format="PNG", optimize=True)


# ----------------------------------------------------------------------------------------------------------
# The figures
# ----------------------------------------------------------------------------------------------------------


def draw_fexnet(page: Canvas) -> None:
    """The whole network, a residual block with FEX, and the temporal shift that takes its place in TSM."""
    y = 54
    clip = page.frames((52, y), 4)
    page.text((52, clip.bottom[1] + 8), "N videos,\nT segments each", 10.5, vertical="top")
    stem = page.box((200, y), (72, 54), "stem", note="7×7, pool")
    stages = [
        page.box((350 + 150 * k, y), (84, 54), f"layer{k + 1}", colour, f"{blocks} blocks")
        for k, (blocks, colour) in enumerate([(3, PLAIN), (4, FRONT), (6, FRONT), (3, FRONT)])
    ]
    page.link(clip, stem, "(N·T, 3,\n224, 224)")
    page.link(stem, stages[0], "(N·T, 64,\n56, 56)")
    page.link(stages[0], stages[1], "(N·T, 256,\n56, 56)")
    page.link(stages[1], stages[2], "(N·T, 512,\n28, 28)")
    page.link(stages[2], stages[3], "(N·T, 1024,\n14, 14)")

    x = stages[3].x
    pool = page.box((x, 172), (100, 36), "average pool", PLAIN)
    head = page.box((x, 262), (100, 54), "new_fc", HEAD, "every frame")
    mean = page.box((x, 361), (100, 54), "mean", HEAD, "over T")
    end = Box(x, 458, 60, 36)
    for start, stop, text in (
        (stages[3], pool, "(N·T, 2048,\n7, 7)"),
        (pool, head, "(N·T, 2048)"),
        (head, mean, "(N·T, K)"),
        (mean, end, "(N, K)"),
    ):
        page.path(start.bottom, stop.top)
        middle = x + 7, (start.bottom[1] + stop.top[1]) / 2
        page.text(middle, text, 10, FAINT, align="left")
    page.text((x, end.y), "scores of the\nK classes", 10.5)

    left, right = 16, 716
    zoomed = stages[1]
    page.axes.add_patch(
        Polygon(
            [
                (zoomed.left[0] + 4, zoomed.bottom[1]),
                (zoomed.right[0] - 4, zoomed.bottom[1]),
                (right - 6, 150),
                (left + 6, 150),
            ],
            facecolor=FRONT[0],
            alpha=0.45,
            linewidth=0,
            zorder=0,
        )
    )
    page.ground(left, 150, (right - left, 152), PANEL)
    page.text((left + 14, 169), "A residual block of layer2 to layer4", 12, align="left", bold=True)
    page.text((right - 14, 169), "FE and SS keep the shape; the shortcut stays as it is", 10.5, FAINT, align="right")
    x, y = left + 90, 232
    enhance = page.box((x + 62, y), (84, 54), "FE", FRONT, "first block\nof a stage", dashed=True)
    segregate = page.box((x + 182, y), (84, 54), "SS", FRONT, "every block")
    _residual_block(page, left, (x, y), [enhance, segregate], (62, 28))

    page.ground(left, 318, (right - left, 164), PANEL)
    page.text((left + 14, 337), "Without FEX (--fex off): TSM", 12, align="left", bold=True)
    y = 404
    shift = page.box((x + 62, y), (84, 54), "shift", TIME, "layer1 to 4")
    _residual_block(page, left, (x, y), [shift], (58, 22))
    _temporal_shift(page, 588, 352)


def _residual_block(page: Canvas, left: float, fork: Point, before: Sequence[Box], sizes: tuple[float, float]) -> None:
    """A bottleneck block in a row: what is `before` its first convolution, the convolutions, the shortcut."""
    width, gap = sizes
    x, y = fork
    start = Box(left + 14, y, 0, 0)
    parts = list(before)
    for k, kernel in enumerate(("1×1", "3×3", "1×1"), 1):
        place = parts[-1].right[0] + gap + width / 2
        parts.append(page.box((place, y), (width, 54), f"conv{k}", PLAIN, kernel))
    plus = page.operator((parts[-1].right[0] + gap + 11, y), "+")
    page.path(start.right, parts[0].left)
    page.shape(start.right, fork, "(N·T, C,\nH, W)")
    page.dot(fork)
    for one, two in itertools.pairwise([*parts, plus]):
        page.link(one, two)
    page.path(fork, (x, y + 44), (plus.x, y + 44), plus.bottom)
    page.text(((x + plus.x) / 2, y + 48), "shortcut", 10, FAINT, vertical="top")
    page.link(plus, Box(plus.x + 66, y, 0, 0), "ReLU")


def _temporal_shift(page: Canvas, left: float, top: float) -> None:
    """Which frame the channels of four frames come from after the shift; a zero beyond the ends."""
    shades = ["#f7f9fd", "#dbe6f8", "#b9cef0", "#93b3e4", "#6b95d5"]
    row, edge = 20, left
    for name, width, offset in (("fold", 30, 1), ("fold", 30, -1), ("the rest", 56, 0)):
        page.text((edge + width / 2, top - 4), name, 10, FAINT, vertical="bottom")
        for k in range(1, 5):
            source = k + offset if 1 <= k + offset <= 4 else 0
            y = top + row * (k - 1)
            page.axes.add_patch(Rectangle((edge, y), width, row, facecolor=shades[source], edgecolor=TIME[1], zorder=4))
            page.text((edge + width / 2, y + row / 2), str(source) if source else "0", 10.5, italic=not source)
        edge += width
    for k in range(1, 5):
        page.text((left - 6, top + row * (k - 0.5)), f"t = {k}", 10, FAINT, align="right")
    page.text(
        ((left + edge) / 2 - 14, top + 4 * row + 6),
        "channels, by the frame\nthey come from (0: zeros)",
        10,
        FAINT,
        vertical="top",
    )


def draw_scene_segregation(page: Canvas) -> None:
    """Scene Segregation: TIM and SR on the foreground channels, the background channels pass through."""
    page.ground(162, 14, (358, 82), TIME, 0.45)
    page.text((174, 28), "TIM: each channel along time", 11, TIME_TEXT, align="left", bold=True)
    page.ground(162, 106, (358, 150), BACK, 0.45)
    page.text((174, 242), "SR: less the scene that the frames share", 11, BACK_TEXT, align="left", bold=True)

    upper, line, centre, lower, through = 64, 132, 98, 204, 288
    entry, leave = page.channels((74, 172), 290), page.channels((816, 172), 290)
    page.path((4, 172), entry.left)
    page.shape((4, 172), entry.left, "(N·T, C,\nH, W)")
    page.path(leave.right, (896, 172))
    page.shape(leave.right, (890, 172), "(N·T, C,\nH, W)")
    fork = 148, line
    page.path((entry.right[0], line), fork, head=False)
    page.shape((entry.right[0], line), fork, "(N, F,\nT, H, W)")
    page.dot(fork)

    join = page.box((590, centre), (46, 112), "con-\ncat", PLAIN)
    along = page.box((250, upper), (112, 44), "Conv 3×1×1", TIME, "depthwise")
    norm = page.box((402, upper), (92, 44), "BatchNorm", TIME)
    page.path(fork, (fork[0], upper), along.left)
    page.link(along, norm)
    page.path(norm.right, (join.left[0], upper))
    page.shape((522, upper), (join.left[0], upper), "(N, F,\nT, H, W)")

    minus = page.operator((494, line), "−")
    page.path(fork, minus.left)
    page.text((320, line - 4), "foreground", 10.5, FRONT_TEXT, vertical="bottom", bold=True)
    page.path(minus.right, (join.left[0], line))
    page.shape((522, line), (join.left[0], line), "(N, F,\nT, H, W)")
    mean = page.box((212, lower), (64, 44), "mean", BACK, "over T")
    conv = page.box((322, lower), (78, 44), "Conv 3×3", BACK)
    relu = page.box((434, lower), (92, 44), "BatchNorm", BACK, "ReLU")
    page.path(fork, (fork[0], lower), mean.left)
    page.link(mean, conv, "(N, F,\nH, W)")
    page.link(conv, relu)
    page.path(relu.right, (minus.x, lower), minus.bottom)
    page.text((487, 160), "(N, F, 1, H, W), repeated over T", 10, FAINT, align="right")

    fuse = page.box((708, centre), (76, 54), "Conv 1×1", FRONT, "2F → F")
    page.link(join, fuse, "(N, 2F,\nT, H, W)")
    page.path(fuse.right, (leave.left[0], centre))
    page.shape(fuse.right, (leave.left[0], centre), "(N, F,\nT, H, W)")

    page.path((entry.right[0], through), (leave.left[0], through))
    page.text((445, through - 5), "background: passes through", 10.5, BACK_TEXT, vertical="bottom", bold=True)
    page.text((445, through + 5), "(N, C − F, T, H, W)", 10, FAINT, vertical="top")
    page.text((54, 336), "F = 2 · (C // shift_div)", 10.5, align="left")
    page.text((836, 336), "starts as the temporal shift (--fex_init shift)", 10.5, align="right")


def draw_foreground_enhancement(page: Canvas) -> None:
    """Foreground Enhancement: what differs from the video's one background map decides the attention."""
    top, middle, low = 48, 158, 274
    clip = page.frames((48, top), 4)
    page.text((48, clip.bottom[1] + 5), "x", 12, vertical="top", italic=True)
    times = page.operator((812, top), "×")
    fork = 200, top
    page.path(clip.right, times.left)
    page.shape(clip.right, fork, "(N, C, T, H, W)")
    page.dot(fork)
    page.path(times.right, (896, top))
    page.shape(times.right, (892, top), "(N, C,\nT, H, W)")

    reduce = page.box((fork[0], middle), (108, 50), "Conv 1×1×1", PLAIN, "C → C/r")
    page.path(fork, reduce.top)
    second = 312, middle
    minus = page.operator((566, middle), "−")
    page.link(reduce, minus)
    page.dot(second)
    page.text((434, middle - 5), "reduced  (N, C/r, T, H, W)", 10, FAINT, vertical="bottom")
    pool = page.box((678, middle), (70, 50), "mean", PLAIN, "over H, W")
    restore = page.box((812, middle), (92, 50), "Conv 1×1", PLAIN, "C/r → C")
    page.link(minus, pool, "(N, C/r,\nT, H, W)")
    page.link(pool, restore, "(N, C/r,\nT, 1, 1)")
    page.path(restore.top, times.bottom)
    page.text((805, 96), "attention\n(N, C, T, 1, 1)", 10, FAINT, align="right")

    along = page.box((second[0], low), (108, 50), "Conv 3×1×1", TIME, "C/r → C/r")
    mean = page.box((461, low), (66, 50), "mean", BACK, "over T")
    conv = page.box((minus.x + 26, low), (78, 50), "Conv 3×3", BACK, "C/r → C/r")
    page.path(second, along.top)
    page.link(along, mean, "(N, C/r,\nT, H, W)")
    page.link(mean, conv, "(N, C/r,\n1, H, W)")
    page.path((minus.x, conv.top[1]), minus.bottom)
    page.text((559, 208), "(N, C/r, 1, H, W)\nrepeated over T", 10, FAINT, align="right")

    page.frames((632, 205), 4, scene=False, size=(36, 27), step=(9, 5))
    page.text((676, 205), "foreground", 10.5, FRONT_TEXT, align="left", bold=True)
    page.frames((662, low), 1, actor=False)
    page.text((694, low), "background:\none map a video", 10.5, BACK_TEXT, align="left", bold=True)
    page.text((24, low + 18), "r = 16. Every convolution has\na bias; no activation.", 10.5, align="left")


FIGURES: dict[str, tuple[int, Callable[[Canvas], None]]] = {
    "fexnet.png": (496, draw_fexnet),
    "scene_segregation.png": (352, draw_scene_segregation),
    "foreground_enhancement.png": (314, draw_foreground_enhancement),
}


def main(argv: Sequence[str] | None = None) -> int:
    summary, details = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("images"), help="folder for the figures (images)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with plt.style.context("default"):
        for name, (height, draw) in FIGURES.items():
            page = Canvas(height)
            draw(page)
            page.save(args.out / name)
            print(args.out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
