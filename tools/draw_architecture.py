"""The README's figures: fexnet.png, scene_segregation.png, foreground_enhancement.png.

    python tools/draw_architecture.py --out images

The same matplotlib gives the same bytes each time.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.style
from matplotlib.patches import Polygon, Rectangle

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import reported
from tools.drawing import (
    BACK,
    BACK_TEXT,
    FAINT,
    FRONT,
    FRONT_TEXT,
    HEAD,
    PANEL,
    PLAIN,
    TIME,
    TIME_TEXT,
    Box,
    Canvas,
    Point,
)


def draw_fexnet(page: Canvas) -> None:
    """The whole network, a residual block with FEX, and the temporal shift that takes its place in TSM."""
    stages = _stages(page)
    _classifier(page, stages[3])
    left, right = 16, 716
    x, y = left + 90, 232
    (x0, x1), foot = (stages[1].left[0] + 4, stages[1].right[0] - 4), stages[1].bottom[1]
    zoom = [(x0, foot), (x1, foot), (right - 6, 150), (left + 6, 150)]
    page.add(Polygon(zoom, facecolor=FRONT[0], alpha=0.45, linewidth=0, zorder=0))
    page.ground((left, 150), (right - left, 152), PANEL)
    page.text((left + 14, 169), "A residual block of layer2 to layer4", 12, align="left", bold=True)
    page.text((right - 14, 169), "FE and SS keep the shape; the shortcut stays as it is", 10.5, FAINT, align="right")
    enhance = page.box((x + 62, y), (84, 54), "FE", FRONT, "first block\nof a stage", dashed=True)
    segregate = page.box((x + 182, y), (84, 54), "SS", FRONT, "every block")
    _residual_block(page, left, (x, y), [enhance, segregate], (62, 28))

    page.ground((left, 318), (right - left, 164), PANEL)
    page.text((left + 14, 337), "Without FEX (--fex off): TSM", 12, align="left", bold=True)
    y = 404
    shift = page.box((x + 62, y), (84, 54), "shift", TIME, "layer1 to 4")
    _residual_block(page, left, (x, y), [shift], (58, 22))
    _temporal_shift(page, 588, 352)


def _stages(page: Canvas) -> list[Box]:
    """The frames, the backbone's stem and its four stages, which are returned."""
    y = 54
    clip = page.frames((52, y), 4)
    page.text((52, clip.bottom[1] + 8), "N videos,\nT segments each", 10.5, vertical="top")
    stem = page.box((200, y), (72, 54), "stem", note="7×7, pool")
    stages = [
        page.box((350 + 150 * k, y), (84, 54), f"layer{k + 1}", colour, f"{blocks} blocks")
        for k, (blocks, colour) in enumerate([(3, PLAIN), (4, FRONT), (6, FRONT), (3, FRONT)])
    ]
    shapes = ["3,\n224, 224", "64,\n56, 56", "256,\n56, 56", "512,\n28, 28", "1024,\n14, 14"]
    for (start, end), shape in zip(itertools.pairwise([clip, stem, *stages]), shapes, strict=True):
        page.link(start, end, f"(N·T, {shape})")
    return stages


def _classifier(page: Canvas, last: Box) -> None:
    """From the last stage down to the scores."""
    x = last.x
    pool = page.box((x, 172), (100, 36), "average pool", PLAIN)
    head = page.box((x, 262), (100, 54), "new_fc", HEAD, "every frame")
    mean = page.box((x, 361), (100, 54), "mean", HEAD, "over T")
    scores = Box(x, 458, 60, 36)
    shapes = ["(N·T, 2048,\n7, 7)", "(N·T, 2048)", "(N·T, K)", "(N, K)"]
    for (start, end), shape in zip(itertools.pairwise([last, pool, head, mean, scores]), shapes, strict=True):
        page.path(start.bottom, end.top)
        page.note((x + 7, (start.bottom[1] + end.top[1]) / 2), shape, align="left")
    page.text((x, scores.y), "scores of the\nK classes", 10.5)


def _residual_block(page: Canvas, left: float, fork: Point, before: Sequence[Box], sizes: tuple[float, float]) -> None:
    """A bottleneck block in a row: what is `before` its first convolution, the convolutions, the shortcut."""
    width, gap = sizes
    x, y = fork
    start = Box(left + 14, y)
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
    page.note(((x + plus.x) / 2, y + 48), "shortcut", vertical="top")
    page.link(plus, Box(plus.x + 66, y), "ReLU")


def _temporal_shift(page: Canvas, left: float, top: float) -> None:
    """Which frame the channels of four frames come from after the shift; a zero beyond the ends."""
    shades = ["#f7f9fd", "#dbe6f8", "#b9cef0", "#93b3e4", "#6b95d5"]
    row, edge = 20, left
    for name, width, offset in (("fold", 30, 1), ("fold", 30, -1), ("the rest", 56, 0)):
        page.note((edge + width / 2, top - 4), name, vertical="bottom")
        for k in range(1, 5):
            source = k + offset if 1 <= k + offset <= 4 else 0
            y = top + row * (k - 1)
            page.add(Rectangle((edge, y), width, row, facecolor=shades[source], edgecolor=TIME[1], zorder=4))
            page.text((edge + width / 2, y + row / 2), str(source), 10.5, italic=not source)
        edge += width
    for k in range(1, 5):
        page.note((left - 6, top + row * (k - 0.5)), f"t = {k}", align="right")
    legend = "channels, by the frame\nthey come from (0: zeros)"
    page.note(((left + edge) / 2 - 14, top + 4 * row + 6), legend, vertical="top")


def draw_scene_segregation(page: Canvas) -> None:
    """Scene Segregation: TIM and SR on the foreground channels, the background channels pass through."""
    page.ground((162, 14), (358, 82), TIME, 0.45)
    page.text((174, 28), "TIM: each channel along time", 11, TIME_TEXT, align="left", bold=True)
    page.ground((162, 106), (358, 150), BACK, 0.45)
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
    page.note((487, 160), "(N, F, 1, H, W), repeated over T", align="right")

    fuse = page.box((708, centre), (76, 54), "Conv 1×1", FRONT, "2F → F")
    page.link(join, fuse, "(N, 2F,\nT, H, W)")
    page.path(fuse.right, (leave.left[0], centre))
    page.shape(fuse.right, (leave.left[0], centre), "(N, F,\nT, H, W)")

    page.path((entry.right[0], through), (leave.left[0], through))
    page.text((445, through - 5), "background: passes through", 10.5, BACK_TEXT, vertical="bottom", bold=True)
    page.note((445, through + 5), "(N, C − F, T, H, W)", vertical="top")
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
    page.note((434, middle - 5), "reduced  (N, C/r, T, H, W)", vertical="bottom")
    pool = page.box((678, middle), (70, 50), "mean", PLAIN, "over H, W")
    restore = page.box((812, middle), (92, 50), "Conv 1×1", PLAIN, "C/r → C")
    page.link(minus, pool, "(N, C/r,\nT, H, W)")
    page.link(pool, restore, "(N, C/r,\nT, 1, 1)")
    page.path(restore.top, times.bottom)
    page.note((805, 96), "attention\n(N, C, T, 1, 1)", align="right")

    along = page.box((second[0], low), (108, 50), "Conv 3×1×1", TIME, "C/r → C/r")
    mean = page.box((461, low), (66, 50), "mean", BACK, "over T")
    conv = page.box((minus.x + 26, low), (78, 50), "Conv 3×3", BACK, "C/r → C/r")
    page.path(second, along.top)
    page.link(along, mean, "(N, C/r,\nT, H, W)")
    page.link(mean, conv, "(N, C/r,\n1, H, W)")
    page.path((minus.x, conv.top[1]), minus.bottom)
    page.note((559, 208), "(N, C/r, 1, H, W)\nrepeated over T", align="right")

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
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("images"), help="folder for the figures (images)")
    args = parser.parse_args(argv)
    with matplotlib.style.context("default"):
        for name, (height, draw) in FIGURES.items():
            page = Canvas(height)
            draw(page)
            page.save(args.out / name)
            print(args.out / name)
    return 0


if __name__ == "__main__":
    with reported():
        sys.exit(main())
