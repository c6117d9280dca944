"""tools/draw_prediction.py: the README's moving picture is what the script draws, moves, and stays small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ops.errors import InputError
from ops.recognition.recognizer import Recognizer
from tools import draw_prediction
from tools.demo_scenes import CLASSES, render, scene
from tools.drawing import FRONT

COMMITTED = Path(__file__).resolve().parents[1] / "images" / "prediction.webp"


def frames_of(label: int) -> list[np.ndarray]:
    return list(render(scene(0, "val", label, 0)))


def test_the_picture_in_the_readme() -> None:
    with Image.open(COMMITTED) as picture:
        assert picture.size == draw_prediction.SIZE
        assert picture.n_frames == sum(len(frames_of(label)) for label in draw_prediction.SHOWN)
    assert 100_000 < COMMITTED.stat().st_size < 1_500_000


def test_a_bar_is_as_long_as_its_probability(tmp_path: Path) -> None:
    chances = np.full((2, len(CLASSES)), 0.01)
    chances[0, 3], chances[1, 5] = 0.5, 0.9
    pages = draw_prediction.drawn(frames_of(0)[:2], chances, CLASSES)
    edge = tuple(int(FRONT[1][k : k + 2], 16) for k in (1, 3, 5))
    for page, chance in zip(pages, (0.5, 0.9), strict=True):
        right = np.asarray(page)[:, draw_prediction.LEFT :]
        longest = (right == edge).all(axis=2).sum(axis=1).max()
        assert longest == round(chance * draw_prediction.LENGTH) + 1
    assert pages[0].tobytes() != pages[1].tobytes()


def test_each_frame_is_predicted_of_the_frames_so_far() -> None:
    recognizer, frames = Recognizer.from_checkpoint(draw_prediction.WEIGHTS), frames_of(0)
    found = draw_prediction.probabilities(recognizer, [*frames[:2], *frames[-1:]])
    assert found.shape == (3, len(CLASSES)) and found.sum(axis=1) == pytest.approx(1)
    once = {answer.label: answer.probability for answer in recognizer(np.stack(frames[:2])).top}
    assert found[1] == pytest.approx([once[label] for label in range(len(CLASSES))], abs=1e-5)


def test_draws_a_moving_picture(tmp_path: Path) -> None:
    out = tmp_path / "p.webp"
    assert draw_prediction.main(["--classes", "2", "--out", str(out)]) == 0
    frames = frames_of(2)
    with Image.open(out) as picture:
        assert picture.n_frames == len(frames)
        picture.seek(picture.n_frames - 1)
        picture.load()
        assert picture.info["duration"] == draw_prediction.LAST


def test_a_class_that_is_none() -> None:
    with pytest.raises(InputError, match="--classes 12: expected numbers from 0 to 11"):
        draw_prediction.main(["--classes", "12"])
