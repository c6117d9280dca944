"""tools/draw_architecture.py: the README's figures exist, are what the script draws, and stay small."""

from pathlib import Path

import pytest
from PIL import Image

from tools import draw_architecture

IMAGES = Path(__file__).resolve().parents[1] / "images"
NAMES = ["fexnet.png", "foreground_enhancement.png", "scene_segregation.png"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "images"
    assert draw_architecture.main(["--out", str(folder)]) == 0
    return folder


def test_draws_three_figures(drawn: Path) -> None:
    assert sorted(path.name for path in drawn.iterdir()) == NAMES
    assert sorted(draw_architecture.FIGURES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_figure(drawn: Path, name: str) -> None:
    height, _ = draw_architecture.FIGURES[name]
    with Image.open(drawn / name) as image:
        assert image.size == (1800, 2 * height)
        assert not image.info.keys() & {"Software", "Creation Time", "date:create"}
        picture = image.convert("RGB")
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert len(picture.getcolors(1 << 16) or []) > 20  # not an empty page
    assert 10_000 < (drawn / name).stat().st_size < 150_000
    with Image.open(IMAGES / name) as committed:
        assert committed.size == picture.size
    assert (IMAGES / name).stat().st_size < 150_000


def test_same_bytes_each_time(drawn: Path, tmp_path: Path) -> None:
    draw_architecture.main(["--out", str(tmp_path)])
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (drawn / name).read_bytes()
