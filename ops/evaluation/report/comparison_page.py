"""The page of two tests compared: what statistics say, a class a row, and the videos that one alone has right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ops.errors import InputError
from ops.evaluation.comparison import (
    FLIPS,
    Comparison,
    Flip,
    better_in_words,
    equivalence_in_words,
    without,
    write_flips,
)
from ops.evaluation.metrics import wilson_interval
from ops.evaluation.paired import LEVEL, Paired
from ops.evaluation.report.page import write_page
from ops.evaluation.report.strips import Strip, write_strip

PAGE = "index.html"
PICTURES = 24  # of the flips in either direction
ROWS = 2000  # of the flips on the page; all are in the table beside it

FramesOf = Callable[[str], np.ndarray]  # of a video's name, uint8 (n, H, W, 3); raises InputError where there are none


@dataclass(frozen=True)
class Shown:
    """A flip with its frames."""

    flip: Flip
    strip: Strip


def refuse_other_pages(folder: Path) -> None:
    """InputError where the page would replace another one than that of a comparison."""
    if (folder / PAGE).exists() and not (folder / FLIPS).exists():
        raise InputError(f"--html {folder}: it holds another page (a report?), which would be lost: name a new folder")


def write_comparison(folder: Path, compared: Comparison, margin: float | None, frames_of: FramesOf | None) -> None:
    """`index.html`, `flips.csv` and, with `frames_of`, pictures of the first flips in `frames/`; the page last."""
    write_flips(folder / FLIPS, compared)
    galleries = []
    for mark, title, flips in (
        ("b", "Only B has right", compared.gained),
        ("a", "Only A has right", compared.lost),
    ):
        chosen = _surest_mistakes(flips)
        galleries.append((title, len(flips), _pictured(folder, mark, chosen, frames_of)))
    paired = compared.paired
    write_page(
        folder / PAGE,
        "comparison.html",
        "Two tests compared",
        compared=compared,
        cards=_cards(paired, margin),
        verdicts=[
            better_in_words(paired),
            *([] if margin is None else [equivalence_in_words(paired, margin)]),
            *without(compared),
        ],
        galleries=galleries,
        pictures=frames_of is not None,
        rows=[*compared.gained, *compared.lost][:ROWS],
        rows_left=max(0, len(compared.flips) - ROWS),
    )


def _surest_mistakes(flips: Sequence[Flip]) -> list[Flip]:
    """First those where the one that is wrong was the surest."""
    return sorted(flips, key=lambda flip: -flip.probability[0 if flip.gained else 1])[:PICTURES]


def _pictured(folder: Path, mark: str, flips: Sequence[Flip], frames_of: FramesOf | None) -> list[Shown]:
    shown = []
    for number, flip in enumerate(flips if frames_of else (), start=1):
        assert frames_of is not None
        try:
            strip = write_strip(folder, f"frames/only_{mark}_{number:02d}.jpg", frames_of(flip.name))
        except InputError as error:
            strip = Strip(fault=str(error))
        shown.append(Shown(flip, strip))
    return shown


def _cards(paired: Paired, margin: float | None) -> list[tuple[str, str, str]]:
    """Name, value, and a line below."""
    cards = []
    for mark, hits in (("A", paired.first), ("B", paired.second)):
        low, high = (100 * end for end in wilson_interval(hits, paired.videos))
        share = 100 * hits / paired.videos
        cards.append((f"top-1 of {mark}", f"{share:.2f} %", f"95 % interval (Wilson): {low:.1f} to {high:.1f}"))
    low, high = paired.interval()
    found = f"{paired.difference:+.2f} points"
    cards.append(("difference B − A", found, f"95 % interval (paired): {low:+.2f} to {high:+.2f}"))
    verdict = "a difference is shown" if paired.p < LEVEL else "no difference is shown"
    cards.append(("McNemar's exact test", f"p = {paired.p:.2g}", verdict))
    if margin is not None:
        p = paired.equivalence(margin)
        verdict = "shown" if p < LEVEL else "not shown"
        cards.append((f"differ by less than {margin:g} points", verdict, f"two one-sided tests: p = {p:.2g}"))
    return cards
