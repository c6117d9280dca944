"""An explanation as pictures: heat over frames, FEX's own maps, and in words how far to trust it; as PNG and as MP4.

Legend: `T` segments, `H W` pixels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont

from ops.evaluation.drawing import as_written, save_picture
from ops.explaining.explain import Explanation
from ops.explaining.foreground import BlockMaps, energy
from ops.explaining.methods import METHODS
from ops.explaining.trust import SHARES
from ops.recognition.render import write_pictures

MOST = 0.75  # how much of a pixel the hottest place takes
HEAT, OWN = "inferno", "viridis"  # matplotlib's colours of heat, and of FEX's maps
CELL = 1.25  # inches of a frame in the figure
LEAST_WIDTH = 12.0  # inches of the figure, for the words in it
FRAMES_A_SECOND = 3  # of the MP4
SIDE = 320  # pixels of a frame in it, about
STRIP = 40  # pixels of the words below
INK, PAPER, GOOD, BAD = "#ffffff", "#181c22", "#1f7a43", "#b3261e"


def overlaid(found: Explanation) -> np.ndarray:
    """The frames with their heat on them, uint8 `(T, H, W, 3)`; where nothing is hot the frame stays, half grey."""
    grey = (found.frames.mean(axis=3, keepdims=True) + found.frames) / 2  # colours would mix with the heat's
    warm = np.sqrt(found.heat)  # most of a map is far below its hottest place, and should still be seen
    colours = 255 * colormaps[HEAT](warm)[..., :3]  # (T, H, W, 3)
    share = MOST * warm[..., None]
    return np.rint(grey * (1 - share) + colours * share).astype(np.uint8)


def verdict(found: Explanation) -> str:
    """Whether the map passed, in a line."""
    if found.trust is None:
        return "the map was not checked"
    names = ", ".join(failed(found))
    return f"NOT TO BE TRUSTED: the map fails: {names}" if names else "the map passes its checks"


def failed(found: Explanation) -> list[str]:
    """The checks that the map did not pass."""
    return [] if found.trust is None else [check.name for check in found.trust.checks if not check.passed]


def write_figure(found: Explanation, file: Path) -> None:
    """As PNG: the frames, heat over them, FEX's own maps a stage, and how far to trust it."""
    rows, T = _rows(found), len(found.frames)
    heights = [row.height for row in rows]
    parts = [sum(heights), *([2.2] if found.trust is not None else [])]
    width = max(LEAST_WIDTH, (T + 1) * CELL + 1.2)
    figure = Figure(figsize=(width, sum(parts) * CELL + 0.8), layout="constrained")
    upper, *lower = figure.subfigures(len(parts), 1, height_ratios=parts, squeeze=False)[:, 0]
    places = upper.subplots(len(rows), T + 1, height_ratios=heights, squeeze=False)
    for row, axes in zip(rows, places, strict=True):
        row.draw(axes, found)
    if lower:
        _draw_trust(found, *lower[0].subplots(1, 3, width_ratios=(1, 1, 1.6)))
    figure.suptitle(title(found), color=BAD if failed(found) else "black", fontsize=12)
    save_picture(figure, file, dpi=100)


def write_video(found: Explanation, file: Path) -> None:
    """As MP4: frame by frame what the network saw, beside it the same with heat, and below what it is of."""
    times = max(1, round(SIDE / found.frames.shape[2]))
    pairs = zip(found.frames, overlaid(found), strict=True)
    pictures = (np.concatenate([_enlarged(picture, times) for picture in pair], axis=1) for pair in pairs)
    whole = (np.concatenate((picture, _strip(found, picture.shape[1]))) for picture in pictures)
    timed = ((number / FRAMES_A_SECOND, picture) for number, picture in enumerate(whole))
    write_pictures(file, timed, 1 / FRAMES_A_SECOND)


class _Row:
    """A row of the figure: a map that is one a video (or nothing), then one a frame."""

    def __init__(self, name: str, frames: Any, once: Any = None, once_name: str = "", height: float = 1.0) -> None:
        self.name, self.frames, self.once, self.once_name, self.height = name, frames, once, once_name, height

    def draw(self, axes: Sequence[Any], found: Explanation) -> None:
        first, *others = axes
        colours = {} if np.ndim(self.frames) == 4 else {"cmap": OWN, "vmin": 0, "vmax": float(np.max(self.frames)) or 1}
        if self.once is not None:
            first.imshow(self.once, cmap=OWN, vmin=0)
            first.set_title(self.once_name, fontsize=8)
        _bare(first)
        first.set_ylabel(self.name, fontsize=9, rotation=0, ha="right", va="center")
        for t, (place, frame) in enumerate(
            zip(others, self.frames[_of_frames(len(self.frames), len(others))], strict=True)
        ):
            place.imshow(frame, aspect="equal" if self.height == 1 else "auto", **colours)
            _bare(place)
            if self.name == "seen":
                place.set_title(f"frame {found.numbers[t]}", fontsize=8)
            if np.ndim(self.frames) == 4 and found.boxes is not None:
                for left, top, right, bottom in found.boxes[t]:
                    corner = left - 0.5, top - 0.5
                    place.add_patch(
                        Rectangle(corner, right - left, bottom - top, fill=False, color="white", linewidth=1)
                    )


def _rows(found: Explanation) -> list[_Row]:
    rows = [_Row("seen", found.frames), _Row("heat", overlaid(found))]
    for number, blocks in enumerate(_stages(found.blocks), start=1):
        if (enhancement := blocks[0].enhancement) is not None:
            background, foreground = (_array(energy(maps)) for maps in (enhancement.background, enhancement.foreground))
            rows.append(_Row(f"FE {number}\nforeground", foreground, background, "background"))
            attention = _array(enhancement.attention)  # (T, C)
            order = attention.mean(axis=0).argsort(kind="stable")
            rows.append(_Row("channel\nattention", attention[:, None, order], height=0.35))
        last = blocks[-1].segregation
        scene, foreground = _array(energy(last.scene)), _array(energy(last.foreground))
        rows.append(_Row(f"SS {number}\nforeground", foreground, scene, "scene"))
    return rows


def _stages(blocks: Sequence[BlockMaps]) -> list[list[BlockMaps]]:
    """The blocks by stage: one begins with each first block."""
    stages: list[list[BlockMaps]] = []
    for block in blocks:
        if block.first or not stages:
            stages.append([])
        stages[-1].append(block)
    return stages


def _draw_trust(found: Explanation, deletion: Any, insertion: Any, words: Any) -> None:
    assert found.trust is not None
    for axes, name in ((deletion, "deletion"), (insertion, "insertion")):
        for who, style in (("map", "-"), ("centre", "--"), ("random", ":")):
            curves = found.trust.curves[who]
            axes.plot(100 * SHARES, getattr(curves, name), style, label=f"{who} {getattr(curves, f'{name}_area'):.2f}")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("% of the pixels, hottest first", fontsize=8)
        axes.set_ylim(-0.05, 1.05)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7)
    deletion.set_ylabel("probability of the class", fontsize=8)
    words.axis("off")
    lines = [(check, textwrap.wrap(check.words, 70)) for check in found.trust.checks]
    height = 1.0
    for check, wrapped in lines:
        mark, colour = ("✓", GOOD) if check.passed else ("✗", BAD)
        text = "\n   ".join(wrapped)
        words.text(0.0, height, f"{mark} {text}", color=colour, fontsize=9, va="top", transform=words.transAxes)
        height -= 0.085 * len(wrapped) + 0.05


def title(found: Explanation) -> str:
    """Of the figure: of what it is, whether the map passed, and what of the video could be read."""
    other = "" if found.predicted == found.name else f" (predicted: {as_written(found.predicted)})"
    lines = [
        f"{as_written(Path(found.path).name)}: {as_written(found.name)}, {found.probability:.1%}{other}",
        f"{METHODS[found.method].words}: {verdict(found)}",
        *(textwrap.wrap(as_written(f"of what could be read: {found.damage}", 400), 150) if found.damage else []),
    ]
    return "\n".join(lines)


def _strip(found: Explanation, width: int) -> np.ndarray:
    """`(STRIP, width, 3)`: the class, and whether the map passed."""
    image = Image.new("RGB", (width, STRIP), BAD if failed(found) else PAPER)
    draw = ImageDraw.Draw(image)
    for line, text in enumerate((f"{found.name}  {found.probability:.0%}", verdict(found))):
        size = 14.0
        text = "".join(letter if letter.isprintable() else " " for letter in text)
        if (wide := ImageFont.load_default(size).getlength(text)) > width - 8:
            size *= (width - 8) / wide
        draw.text((4, 10 + 19 * line), text, fill=INK, font=ImageFont.load_default(max(size, 6)), anchor="lm")
    return np.asarray(image)


def _enlarged(picture: np.ndarray, times: int) -> np.ndarray:
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((times * width, times * height), Image.Resampling.BICUBIC))


def _of_frames(maps: int, frames: int) -> np.ndarray:
    """Which map each frame has: after temporal pooling there are fewer."""
    return np.arange(frames) * maps // frames


def _array(maps: torch.Tensor) -> np.ndarray:
    return maps.numpy(force=True)


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
