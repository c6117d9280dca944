"""The page of two tests compared: what statistics say, a class a row, and the videos that one alone has right."""

from __future__ import annotations

from collections.abc import Sequence
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
from ops.evaluation.report.strips import FRAMES, Album, Frames, Strip

PAGE = "index.html"
KIND = "two tests compared"
PICTURES = 24  # of the flips in either direction
ROWS = 2000  # of the flips on the page; all are in the table beside it


@dataclass(frozen=True)
class Shown:
    """A flip with its frames."""

    flip: Flip
    strip: Strip


def outputs(folder: Path, pictured: bool) -> list[Path]:
    """The files to come, and a strip, to be tried before."""
    return [folder / FLIPS, folder / PAGE, *([folder / FRAMES / "0.jpg"] if pictured else [])]


def write_comparison(folder: Path, compared: Comparison, margin: float | None, frames: Frames | None) -> None:
    """`index.html`, `flips.csv` and, with `frames`, pictures of the first flips in `frames/`.

    The page comes last, then an earlier one's pictures go.
    """
    write_flips(folder / FLIPS, compared)
    album = Album(folder, frames or _none)
    galleries = []
    for title, flips in (("Only B has right", compared.gained), ("Only A has right", compared.lost)):
        chosen = _surest_mistakes(flips) if frames is not None else []
        galleries.append((title, len(flips), [Shown(flip, album.strip(*flip.paths)) for flip in chosen]))
    paired = compared.paired
    write_page(
        folder / PAGE,
        "comparison.html",
        "Two tests compared",
        KIND,
        compared=compared,
        cards=_cards(paired, margin),
        verdicts=[
            better_in_words(paired),
            *([] if margin is None else [equivalence_in_words(paired, margin)]),
            *without(compared),
        ],
        galleries=galleries,
        pictures=frames is not None,
        rows=[*compared.gained, *compared.lost][:ROWS],
        rows_left=max(0, len(compared.flips) - ROWS),
    )
    album.remove_others()


def _none(*_: str) -> np.ndarray:
    """No frames are asked for."""
    raise InputError("none are asked for")


def _surest_mistakes(flips: Sequence[Flip]) -> list[Flip]:
    """First those where the one that is wrong was the surest."""
    return sorted(flips, key=lambda flip: -flip.probability[0 if flip.gained else 1])[:PICTURES]


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
