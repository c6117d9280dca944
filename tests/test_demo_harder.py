"""The harder forms of the demo data set: their classes, what disturbs their videos, and the settings they leave."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ops.errors import InputError
from tools import demo_scenes as demo
from tools import make_demo_dataset as command
from tools.demo_nuisances import Nuisance

MEDIUM, HARD = demo.style("medium"), demo.style("hard")
LABELS = range(len(demo.ALL_CLASSES))
PASSING = (14, 15)  # behind something, in front of something
STILL, STATIC = Nuisance("still"), Nuisance("static")


def calm(label: int, number: int = 0, **nuisances: Nuisance) -> demo.Scene:
    """A medium scene that nothing disturbs but these."""
    its = replace(MEDIUM, background=STATIC, camera=STILL)
    return demo.scene(0, "train", label, number, replace(its, **nuisances))


def acting(scene: demo.Scene) -> demo.Sprite:
    (sprite,) = (sprite for sprite in scene.sprites if sprite.acts)
    return sprite


def written(*words: str) -> dict[str, object]:
    """What `finished.json` would say of a command line."""
    args = command.parse(list(words))
    return command.settings_of(args).marker()


# ------------------------------------------------------------------------------------------------ the pixels

# sha256 over the first, the middle and the last picture of train video 0 of every class, seed 0, without noise.
# When the renderer is meant to change: raise demo.VERSION and put the new values here.
PIXELS = {
    "medium": "cc8e1daf20578896f3bc42b897f12051d687151cc79ec1ae288b15ca8d195eeb",
    "hard": "d97535b0363e589ff2554bb475bc8214161dc9e474a0a327ae231749308bab41",
}


@pytest.mark.parametrize("difficulty", PIXELS)
def test_pixels_are_the_recorded_ones(difficulty: str) -> None:
    digest = hashlib.sha256()
    for label in LABELS:
        scene = demo.scene(0, "train", label, 0, demo.style(difficulty))
        last = len(scene.camera) - 1
        for index in (0, last // 2, last):
            picture = np.rint(np.clip(demo.picture(scene, index), 0.0, 255.0)).astype(np.uint8)
            digest.update(picture.tobytes())
    assert digest.hexdigest() == PIXELS[difficulty]


# ------------------------------------------------------------------------------------------------ the classes


def test_the_first_twelve_classes_are_the_easy_ones() -> None:
    assert demo.ALL_CLASSES[:12] == demo.CLASSES
    assert len(set(demo.ALL_CLASSES)) == 18
    assert [len(its.classes) for its in demo.DIFFICULTIES.values()] == [12, 18, 18]


@pytest.mark.parametrize("label", [0, 6, 12, 13, 14, 15, 16, 17])
def test_backwards_is_the_partner_class_or_where_something_passes_the_same(label: int) -> None:
    scene = demo.scene(0, "val", label, 1, HARD)
    turned = demo.backwards(scene)
    assert turned.label == (label if label in PASSING else label ^ 1)
    index = 3
    mirror = len(scene.camera) - 1 - index
    assert np.array_equal(demo.picture(scene, index), demo.picture(turned, mirror))
    assert not np.array_equal(demo.picture(scene, index), demo.picture(turned, index))


def test_an_odd_class_is_its_partner_turned_round() -> None:
    for label in LABELS[1::2]:
        drawn = demo.draw((0, 0, label, 2), label // 2, MEDIUM)
        scene = demo.scene(0, "train", label, 2, MEDIUM)
        other = demo.in_front(drawn) if label in PASSING else demo.backwards(drawn)
        assert scene.label == other.label == label
        assert np.array_equal(demo.picture(scene, 0), demo.picture(other, 0))


def test_what_is_put_into_something_is_hidden_there() -> None:
    for number in range(12):
        scene = calm(12, number)
        found = demo.boxes(scene)
        assert len(found[0]) == 1 and found[-1] == []
        path = acting(scene).path
        assert path[-1, 1] > path[0, 1] + 20
        assert demo.boxes(demo.backwards(scene)) == found[::-1]


def test_what_passes_behind_is_hidden_in_part_and_in_front_never() -> None:
    for number in range(6):
        behind = calm(14, number)
        front = demo.in_front(behind)

        def sizes(scene: demo.Scene) -> list[int]:
            of_frames = (
                sum((right - left) * (bottom - top) for left, top, right, bottom in b) for b in demo.boxes(scene)
            )
            return list(of_frames)

        hidden, seen = np.array(sizes(behind)), np.array(sizes(front))
        assert hidden[0] == seen[0] and hidden[-1] == seen[-1]
        assert np.all(hidden <= seen) and hidden.min() < 0.6 * seen.min()
        assert (front.label, demo.in_front(front).label) == (15, 14)


def test_only_acceleration_tells_speeding_up_from_slowing_down() -> None:
    ways = []
    for number in range(150):
        path = acting(calm(16, number)).path[:, :2]
        steps = np.sqrt(np.square(np.diff(path, axis=0)).sum(axis=1))
        assert np.all(np.diff(steps[3:]) > 0) and steps[-1] > 3 * steps[3]
        ways.append(path[-1] - path[0])
    assert np.all(np.abs(np.mean(ways, axis=0)) < 4 * np.std(ways, axis=0) / np.sqrt(len(ways)))


def test_harder_is_more_paler_and_smaller() -> None:
    def measures(style: demo.Style) -> tuple[float, float, float]:
        scenes = [demo.scene(0, "train", 0, number, style) for number in range(20)]
        others = np.mean([sum(not sprite.acts for sprite in scene.sprites) for scene in scenes])
        radius = np.mean([acting(scene).path[0, 2] for scene in scenes])
        contrast = np.mean([np.abs(np.array(acting(s).colours[0]) - np.mean(s.ground, axis=0)).sum() for s in scenes])
        return float(others), -float(radius), -float(contrast)

    easy, medium, hard = (measures(style) for style in (demo.EASY, MEDIUM, HARD))
    assert all(a < b < c for a, b, c in zip(easy, medium, hard, strict=True))


def test_what_moves_by_itself_has_no_direction() -> None:
    """Neither in space nor in time: its mean way is none, and its first half is like its second."""
    ways, halves = [], []
    for number in range(60):
        scene = demo.scene(2, "train", 0, number, HARD)
        for sprite in scene.sprites:
            if not sprite.acts and np.ptp(sprite.path[:, 0]) > 0:
                path = sprite.path[:, :2]
                ways.append(path[-1] - path[0])
                steps = np.abs(np.diff(path, axis=0)).sum(axis=1)
                halves.append(steps[: len(steps) // 2].mean() - steps[-(len(steps) // 2) :].mean())
                assert sprite.path[0, 2] < acting(scene).path[0, 2] * 1.1
    assert len(ways) > 150
    assert np.all(np.abs(np.mean(ways, axis=0)) < 4 * np.std(ways, axis=0) / np.sqrt(len(ways)))
    assert abs(np.mean(halves)) < 4 * np.std(halves) / np.sqrt(len(halves))


# ------------------------------------------------------------------------------------------------ the nuisances

NUISANCES = [
    {"background": Nuisance("moving")},
    {"background": Nuisance("flicker")},
    {"camera": Nuisance("pan")},
    {"camera": Nuisance("shake")},
]


def content(scene: demo.Scene) -> list[object]:
    """All of a scene but what disturbs it."""
    sprites = [(s.shape, s.pattern, s.colours, s.outline, s.flip, s.path.tolist(), s.acts) for s in scene.sprites]
    return [scene.width, scene.ground, scene.gain, scene.noise_key, scene.texture.tolist(), sprites]


@pytest.mark.parametrize("nuisances", NUISANCES)
def test_a_nuisance_leaves_the_scene_alone_and_at_strength_0_there_is_none(nuisances: dict[str, Nuisance]) -> None:
    for label in (1, 14):
        plain, disturbed = calm(label), calm(label, **nuisances)
        assert content(plain) == content(disturbed)
        assert (demo.boxes(plain) == demo.boxes(disturbed)) == ("background" in nuisances)
        assert not np.array_equal(demo.picture(plain, 0), demo.picture(disturbed, 0))
        none = {name: replace(nuisance, strength=0.0) for name, nuisance in nuisances.items()}
        assert np.array_equal(demo.picture(plain, 0), demo.picture(calm(label, **none), 0))


def test_strength_scales_the_nuisance_alone() -> None:
    def disturbance(strength: float) -> Sequence[np.ndarray]:
        scenes = [
            calm(0, background=Nuisance("moving", strength), camera=Nuisance("shake", strength)),
            calm(0, background=Nuisance("flicker", strength), camera=Nuisance("pan", strength)),
        ]
        still = np.array([0.0, 0.0, 1.0])
        return [part for scene in scenes for part in (scene.shift, scene.light - 1.0, scene.camera - still)]

    for once, half in zip(disturbance(1.0), disturbance(0.5), strict=True):
        assert np.allclose(half, 0.5 * once, atol=1e-12)


def test_nuisances_have_no_direction_in_time() -> None:
    moving = replace(MEDIUM, background=Nuisance("moving"), camera=Nuisance("shake"))
    scenes = [demo.draw((0, 0, 0, number), 0, moving) for number in range(150)]
    gone = np.array([scene.shift[-1] - scene.shift[0] for scene in scenes])
    shaken = np.array([scene.camera[-1] - scene.camera[0] for scene in scenes])
    for moved in (gone, shaken):
        assert np.all(np.abs(moved.mean(axis=0)) < 4 * moved.std(axis=0) / np.sqrt(len(moved)))
    speed = np.sqrt(np.square(np.diff(scenes[0].shift, axis=0)).sum(axis=1))
    assert np.allclose(speed, speed[0]) and 0.9 <= speed[0] <= 3.0


def test_a_flickering_background_leaves_the_objects_as_they_are() -> None:
    plain, flicker = calm(6), calm(6, background=Nuisance("flicker"))
    for index in (0, 5):
        differs = np.abs(demo.picture(plain, index) - demo.picture(flicker, index)).max(axis=2) > 1e-9
        assert differs.mean() > 0.6
        laid = demo.lay(plain, acting(plain), index)
        assert laid is not None
        core = laid.edge < -1.0
        assert not differs[laid.top : laid.top + len(core), laid.left : laid.left + core.shape[1]][core].any()


def test_the_background_goes_on_as_its_mirror_image() -> None:
    places = np.array([-2.5, -1.0, 0.0, 0.25, 3.0, 3.5, 4.0, 4.5, 6.0, 8.0, 9.0])
    assert demo.mirrored(places, 5) == pytest.approx([2.5, 1.0, 0.0, 0.25, 3.0, 3.5, 4.0, 3.5, 2.0, 0.0, 1.0], abs=1e-8)
    within = np.linspace(0.0, 3.9, 79)
    assert np.array_equal(demo.mirrored(within, 5), within)  # to the last bit
    far = calm(0, background=Nuisance("moving", 10.0))
    assert np.ptp(far.shift, axis=0).max() > 100 and np.isfinite(demo.picture(far, 0)).all()


# ------------------------------------------------------------------------------------------------ the command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", {}),
        ("--background static --camera pan", {}),
        ("--difficulty medium", {"difficulty": "medium"}),
        ("--difficulty hard", {"difficulty": "hard", "background": "moving", "camera": "shake"}),
        ("--background moving --strength 2", {"background": "moving", "background_strength": 2.0}),
        ("--camera shake --strength 0.5", {"camera": "shake", "camera_strength": 0.5}),
        ("--camera pan --strength 0", {"camera_strength": 0.0}),
        (
            "--difficulty hard --background moving --strength 3",
            {"difficulty": "hard", "background": "moving", "background_strength": 3.0, "camera": "shake"},
        ),
        (
            "--difficulty hard --strength 3",
            {
                "difficulty": "hard",
                **{"background": "moving", "background_strength": 3.0, "camera": "shake", "camera_strength": 3.0},
            },
        ),
    ],
)
def test_the_settings_say_what_is_not_easy(words: str, said: dict[str, object]) -> None:
    numbers = {"seed": 0, "videos_per_class": 80, "val_videos_per_class": 25}
    assert written(*words.split()) == {"made_by": command.MADE_BY, "version": 1, **numbers, **said}


@pytest.mark.parametrize("strength", ["-1", "11", "nan"])
def test_a_strength_out_of_range_is_named(strength: str) -> None:
    with pytest.raises(InputError, match=r"--strength .*from 0 to 10"):
        command.parse(["--strength", strength])


@pytest.mark.parametrize(
    ("words", "without"),
    [
        ("--background static --strength 3", "static"),
        ("--difficulty hard --camera still --strength 5", "still"),
        ("--background static --camera still --strength 0", "static and still"),
    ],
)
def test_a_strength_of_nothing_is_refused(words: str, without: str) -> None:
    with pytest.raises(InputError, match=rf"--strength \d: {without} .*name what it is of \(.*, or leave it out"):
        command.parse(words.split())
    assert written(*words.split()[:-2])


def test_a_harder_folder_is_not_taken_for_another(tmp_path: Path) -> None:
    words = ["--root_dataset", str(tmp_path), "--jobs", "1", "--videos_per_class", "1", "--val_videos_per_class", "1"]
    command.main([*words, "--difficulty", "medium", "--camera", "still"])
    folder = tmp_path / "demo"
    assert (folder / "category.txt").read_text().splitlines() == list(demo.ALL_CLASSES)
    lines = (folder / "val_videofolder.txt").read_text().splitlines()
    assert [int(line.split()[2]) for line in lines] == list(LABELS)
    boxes = json.loads((folder / "boxes.json").read_text())
    scene = demo.scene(0, "val", 14, 0, replace(MEDIUM, camera=STILL))
    assert boxes["val_14_0000"]["frames"] == [[list(box) for box in of_frame] for of_frame in demo.boxes(scene)]
    command.main([*words, "--difficulty", "medium", "--camera", "still"])
    with pytest.raises(InputError, match="difficulty medium instead of easy, camera still instead of pan"):
        command.main(words)
