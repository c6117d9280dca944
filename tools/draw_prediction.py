"""The README's moving picture: videos of `demo`, and beside each what the model in the box says of the frames so far.

    python tools/draw_prediction.py --out images/prediction.webp

The videos are the first validation video of each of some classes, drawn as the data set has them. The same Pillow and
model give the same picture each time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from ops.files import atomic_write
from tools.demo_scenes import CLASSES, Pixels, render, scene
from tools.drawing import FAINT, FRONT, INK, PLAIN
from tools.options import documented_parser

if TYPE_CHECKING:
    from ops.recognition.recognizer import Recognizer

WEIGHTS = Path(__file__).resolve().parents[1] / "checkpoint" / "demo" / "ckpt.pth"
SHOWN = (0, 7, 10, 4, 9)  # classes
SIZE = 720, 224  # of the picture, in pixels
VIDEO = 296, 200  # at most, of what plays at its left
BARS = 4  # classes at its right
LEFT, STEP, LENGTH, THICK = 324, 50, 310, 16  # of the bars
FRAME, LAST = 100, 1400  # milliseconds that a frame and the last one of a video stay


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, draw."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--weights", type=Path, default=WEIGHTS, metavar="FILE", help="a checkpoint of demo (the model in the box)")
    add("--classes", type=int, nargs="+", default=SHOWN, metavar="N", help=f"of whose videos, from 0 ({SHOWN})")
    add(
        "--out",
        type=Path,
        default=Path("images/prediction.webp"),
        metavar="FILE",
        help="a .webp (images/prediction.webp)",
    )
    args = parser.parse_args(argv)
    if wrong := [label for label in args.classes if not 0 <= label < len(CLASSES)]:
        raise InputError(f"--classes {wrong[0]}: expected numbers from 0 to {len(CLASSES) - 1}")
    from ops.recognition.recognizer import Recognizer  # here, as it loads torch

    recognizer = Recognizer.from_checkpoint(args.weights)
    pages: list[Image.Image] = []
    durations: list[int] = []
    for label in args.classes:
        frames = list(render(scene(0, "val", label, 0)))
        pages += drawn(frames, probabilities(recognizer, frames), recognizer.contract.classes)
        durations += [FRAME] * (len(frames) - 1) + [LAST]
    save(args.out, pages, durations)
    print(f"{args.out}: {len(pages)} frames, {args.out.stat().st_size / 1e6:.2f} MB")
    return 0


def probabilities(recognizer: Recognizer, frames: Sequence[Pixels]) -> np.ndarray:
    """Of each class after each of n frames, from the frames up to it: (n, K)."""
    seen = [np.stack(frames[:count]) for count in range(1, len(frames) + 1)]
    found = [{answer.label: answer.probability for answer in p.top} for p in recognizer.batch(seen)]
    return np.array([[each[label] for label in sorted(each)] for each in found])


def drawn(frames: Sequence[Pixels], chances: np.ndarray, classes: Sequence[str]) -> list[Image.Image]:
    """A page a frame: the frame, and bars of the classes with most of `chances` (n, K), above all at the end."""
    shown = (chances.mean(axis=0) + chances[-1]).argsort()[::-1][:BARS].tolist()
    return [
        page(frame, [(classes[label], float(row[label])) for label in shown])
        for frame, row in zip(frames, chances, strict=True)
    ]


def page(frame: Pixels, bars: Sequence[tuple[str, float]]) -> Image.Image:
    """One frame (H, W, 3) at the left, at the right a bar for each class and its probability."""
    sheet = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(sheet)
    picture = Image.fromarray(frame)
    scale = min(VIDEO[0] / picture.width, VIDEO[1] / picture.height)
    picture = picture.resize((round(scale * picture.width), round(scale * picture.height)), Image.Resampling.BICUBIC)
    sheet.paste(picture, (12 + (VIDEO[0] - picture.width) // 2, (SIZE[1] - picture.height) // 2))
    words, numbers = ImageFont.load_default(17), ImageFont.load_default(15)
    best = max(chance for _, chance in bars)
    for place, (name, chance) in enumerate(bars):
        top = (SIZE[1] - BARS * STEP) // 2 + place * STEP
        first = chance == best
        fill, edge = FRONT if first else PLAIN
        draw.text((LEFT, top), name, fill=INK if first else FAINT, font=words)
        under = top + 23
        draw.rectangle((LEFT, under, LEFT + LENGTH, under + THICK), outline=PLAIN[1], fill="white")
        if (length := round(chance * LENGTH)) > 0:
            draw.rectangle((LEFT, under, LEFT + length, under + THICK), outline=edge, fill=edge if first else fill)
        draw.text((LEFT + LENGTH + 12, under - 1), f"{100 * chance:.0f} %", fill=INK if first else FAINT, font=numbers)
    return sheet


def save(path: Path, pages: Sequence[Image.Image], durations: Sequence[int]) -> None:
    """As an animated WebP that never ends, each page for so many milliseconds."""
    with atomic_write(path) as file:
        pages[0].save(
            file, "WEBP", save_all=True, append_images=pages[1:], duration=list(durations), loop=0, quality=60, method=4
        )


if __name__ == "__main__":
    with reported():
        sys.exit(main())
