"""What the pictures of results and of data sets share: other people's words in them, and how they are saved."""

from __future__ import annotations

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from ops.files import atomic_write


def as_written(text: str, most: int = 40) -> str:
    """A class's or a file's name for a picture: no formula, whatever dollars are in it, visible, and of bounded length.

    matplotlib takes what stands between two dollars for a formula, and a faulty one stops the drawing.
    """
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def save_picture(figure: Figure, file: Path, dpi: int) -> None:
    """As PNG. The font lacks some alphabets; it draws boxes then, of which there is nothing to say."""
    with warnings.catch_warnings(), atomic_write(file) as opened:
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(opened, format="png", dpi=dpi)
