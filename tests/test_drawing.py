"""Pictures with other people's words in them: no name of a class or a video stops a drawing or is changed by it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ops.evaluation import results
from ops.evaluation.drawing import as_written, save_picture

# Names that are faulty formulas, of letters that the font lacks, invisible, endless.
NAMES = [
    "cost $5_$ each", "$\\frac{1}{$", "a$b", "$$", "$x^$", "\\$5$", "100 % & #1", "跳舞", "תנועה", "tab\there",
    "\x07\x1b[0m", "{}", "_", "^", "x" * 3000, "$" * 99, "🤸",
]  # fmt: skip


def test_a_report_of_any_class_names(tmp_path: Path) -> None:
    confusion = np.eye(len(NAMES), dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.write_confusion(tmp_path, confusion, NAMES)
    assert Image.open(tmp_path / "confusion_matrix.png").size[0] > 400
    assert NAMES[0] in (tmp_path / "confusion_matrix.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_as_it_is_written(name: str) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    text = figure.text(0, 0, as_written(name, most=5000))
    shown, formula = text._preprocess_math(text.get_text())
    assert formula is False or formula == "TeX"  # matplotlib's word for: is it one
    assert shown == "".join(c if c.isprintable() else "�" for c in name)


def test_long_names_are_cut_and_no_dollar_is_halved() -> None:
    assert as_written("x" * 41) == "x" * 39 + "…" and as_written("x" * 40) == "x" * 40
    assert as_written("$" * 41) == r"\$" * 39 + "…"


def test_a_drawing_that_fails_leaves_no_picture(tmp_path: Path) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0, 0, "$x^$")
    with pytest.raises(ValueError, match="x"):
        save_picture(figure, tmp_path / "a.png", dpi=50)
    assert not list(tmp_path.iterdir())
