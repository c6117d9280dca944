"""Clips to try it with: videos of `demo`, rendered when the page starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.recognition.render import write_pictures
from tools.demo_scenes import CLASSES, render, scene

RATE = 12  # frames a second, as in the data set
SHOWN = (0, 1, 2, 4, 6, 9)  # classes


@dataclass(frozen=True)
class Example:
    """A clip, and what it shows."""

    file: Path
    label: str


def make(folder: Path, classes: Sequence[str]) -> list[Example]:
    """The first validation video of some classes, written into `folder`; none for a network of other classes."""
    if tuple(classes) != CLASSES:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    made = [Example(folder / f"{CLASSES[label]}.mp4", CLASSES[label]) for label in SHOWN]
    for label, example in zip(SHOWN, made, strict=True):
        pictures = render(scene(0, "val", label, 0))
        write_pictures(example.file, ((k / RATE, picture) for k, picture in enumerate(pictures)), 1 / RATE)
    return made
