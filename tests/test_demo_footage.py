"""Backgrounds of the demo data set from real videos: what is taken for which split, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_videos import write_pictures, write_video

from ops.errors import InputError
from ops.files import sha256_of
from tools import demo_scenes as demo
from tools import make_demo_dataset as command
from tools.demo_footage import Footage, footage_of
from tools.demo_nuisances import Nuisance


def numbered(path: Path, frames: int, width: int = 64) -> Path:
    """A video in which frame n, from 0, is of the grey 3 n."""
    return write_pictures(path, (np.full((48, width, 3), 3 * n, np.uint8) for n in range(frames)), "ffv1", "bgr0")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    for name, width in (("a", 64), ("b", 66), ("c", 68)):
        numbered(folder / f"{name}.mkv", 80, width)
    return folder


def with_footage(footage: Footage, kind: str, strength: float = 1.0) -> demo.Style:
    calm = replace(demo.style("medium"), camera=Nuisance("still"))
    return replace(calm, background=Nuisance(kind, strength), footage=footage)


def shown(scene: demo.Scene) -> list[int]:
    """Which frame of the real video, from 1, is behind each frame; by the pictures' grey, too."""
    assert scene.film is not None
    greys = [int(scene.film.picture(index).max()) for index in range(len(scene.camera))]
    assert greys == [3 * (number - 1) for number in scene.film.numbers.tolist()]
    return [int(number) for number in scene.film.numbers]


def test_of_few_videos_the_halves_are_taken_apart(three: Path) -> None:
    footage = footage_of(three)
    assert footage.held_out == []
    assert footage.digests == {name: sha256_of(three / name) for name in ("a.mkv", "b.mkv", "c.mkv")}
    for split, first, last in (("train", 1, 40), ("val", 41, 80)):
        scenes = [demo.scene(0, split, 0, number, with_footage(footage, "moving", 3.0)) for number in range(8)]
        numbers = [number for scene in scenes for number in scene.film.numbers]
        assert first <= min(numbers) and max(numbers) <= last and max(numbers) - min(numbers) > 30


def test_of_more_videos_the_last_quarter_is_for_validation_alone(tmp_path: Path) -> None:
    """Whose names are side by side: clips of one recording are not on both sides, but for one at most."""
    names = [f"{recording}/{clip}.mkv" for recording in "ab" for clip in "1234"] + ["c/1.mkv"]
    for place, name in enumerate(names):
        numbered(tmp_path / name, 28, 64 + 2 * place)
    footage = footage_of(tmp_path)
    train, val = ([each.video.relative_to(tmp_path).as_posix() for each in s] for s in (footage.train, footage.val))
    assert (train, val) == (names[:7], names[7:])
    assert all((stretch.first, stretch.frames) == (1, 28) for stretch in (*footage.train, *footage.val))
    assert footage.described() == {"validation": val, "sha256": {n: sha256_of(tmp_path / n) for n in names}}
    assert footage.in_words() == "backgrounds of 9 videos, 2 for validation alone"


def test_a_static_background_is_one_frame_and_a_moving_one_a_row_either_way(three: Path) -> None:
    footage = footage_of(three)
    directions = set()
    for number in range(10):
        static, moving, fast = (
            demo.scene(0, "train", 2, number, with_footage(footage, *its)).film
            for its in (("static",), ("moving",), ("moving", 2.0))
        )
        assert static and moving and fast
        assert len(set(static.numbers)) == 1 and abs(np.median(moving.numbers) - static.numbers[0]) <= 1
        (step,) = set(np.diff(moving.numbers[2:-2]).tolist())
        assert abs(step) == 1
        directions.add(step)
        assert np.abs(np.diff(fast.numbers)).max() == 2
    assert directions == {-1, 1}


def test_the_pictures_are_behind_the_same_objects(three: Path) -> None:
    footage = footage_of(three)
    painted = demo.scene(0, "val", 1, 3, replace(with_footage(footage, "moving"), footage=None))
    filmed = demo.scene(0, "val", 1, 3, with_footage(footage, "moving"))
    assert demo.boxes(painted) == demo.boxes(filmed)
    numbers = shown(filmed)
    assert shown(demo.backwards(filmed)) == numbers[::-1]
    picture = demo.picture(filmed, 4)
    assert np.median(picture) == pytest.approx(3 * (numbers[4] - 1) * filmed.gain)
    none = demo.scene(0, "val", 1, 3, with_footage(footage, "moving", 0.0))
    static = demo.scene(0, "val", 1, 3, with_footage(footage, "static"))
    assert np.array_equal(demo.picture(none, 4), demo.picture(static, 4))


def test_videos_are_scaled_to_cover_whatever_their_shape(tmp_path: Path) -> None:
    for name, size in (("wide", (160, 24)), ("high", (24, 160))):
        write_video(tmp_path / f"{name}.mp4", 56, size)
    footage = footage_of(tmp_path)
    for number in range(4):
        scene = demo.scene(0, "train", 0, number, with_footage(footage, "static"))
        assert scene.film is not None
        assert scene.film.picture(0).shape == (*scene.texture.shape, 3)
        assert scene.film.picture(0).std() > 5


def test_the_command_says_which_videos_it_took(three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--root_dataset", str(tmp_path), "--videos_per_class", "1", "--val_videos_per_class", "1", "--jobs", "1"]
    words += ["--background", "moving"]
    command.main([*words, "--backgrounds", str(three)])
    assert "backgrounds of 3 videos, the second half of each for validation alone" in capsys.readouterr().out
    marker = json.loads((tmp_path / "demo" / command.MARKER).read_text())
    assert marker["background"] == "moving"
    assert marker["backgrounds"] == {"validation": "the second half of each", "sha256": footage_of(three).digests}
    with pytest.raises(InputError, match=r"other settings \(other backgrounds\): --force"):
        command.main(words)
    assert command.in_short("backgrounds", None, {"sha256": {}}) == "other backgrounds"


def test_what_is_no_footage_is_refused(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(InputError) as caught:
            command.settings_of(command.parse(["--backgrounds", str(folder)]))
        return str(caught.value)

    assert "no such file or folder" in refused(tmp_path / "away")
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith("--backgrounds") and "no videos" in refused(tmp_path / "empty")
    numbered(tmp_path / "short" / "a.mkv", 55)
    assert "every video needs 56 frames, as of fewer than 4 videos" in refused(tmp_path / "short")
    assert "a.mkv has 55" in refused(tmp_path / "short")
    assert refused(tmp_path / "short" / "a.mkv").endswith("a.mkv: is a file; give a folder of videos")
    numbered(tmp_path / "twice" / "one" / "a.mkv", 56)
    shutil.copytree(tmp_path / "twice" / "one", tmp_path / "twice" / "two")
    (tmp_path / "twice" / "two" / "a.mkv").rename(tmp_path / "twice" / "two" / "b.mkv")
    assert refused(tmp_path / "twice").endswith("one/a.mkv and two/b.mkv are the same video; take one away")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.mp4").write_bytes(b"no video at all")
    assert "a.mp4 cannot be read" in refused(tmp_path / "damaged")


def test_a_video_that_went_bad_since_is_named(tmp_path: Path) -> None:
    video = numbered(tmp_path / "a.mkv", 60)
    style = with_footage(footage_of(tmp_path), "static")
    video.write_bytes(b"gone")
    with pytest.raises(InputError, match=r"a\.mkv cannot be read"):
        demo.render(demo.scene(0, "train", 0, 0, style))
