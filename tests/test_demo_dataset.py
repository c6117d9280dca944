"""The demo data set: its pixels, what its classes give away and what not, and the folder it leaves."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import python

from ops.errors import InputError
from tools import demo_scenes as demo
from tools import make_demo_dataset as command

PAIRS = range(0, len(demo.CLASSES), 2)
LABELS = range(len(demo.CLASSES))
SMALL = ["--videos_per_class", "1", "--val_videos_per_class", "1", "--jobs", "1"]


def swapped(name: str) -> str:
    """A class name with its sides exchanged, as the mirror rule does."""
    sides = {
        "left": "right",
        "right": "left",
        "clockwise": "counterclockwise",
        "counterclockwise": "clockwise",
    }
    return " ".join(sides.get(word, word) for word in name.split())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------ the pixels

# sha256 over shape and pixels of videos 0 and 1 (train) and 0 (val) of every class, seed 0, before JPEG.
# When the renderer is meant to change: raise demo.VERSION and put the new value here.
PIXELS = "f9e310ec01dfc7d501ae086b4c1a2cfdc669f45811e111b4976f28d1b12f1538"


def test_pixels_are_the_recorded_ones() -> None:
    digest = hashlib.sha256()
    for label in LABELS:
        for split, number in (("train", 0), ("train", 1), ("val", 0)):
            video = demo.render(demo.scene(0, split, label, number))
            digest.update(repr((video.shape, str(video.dtype))).encode())
            digest.update(video.tobytes())
    assert digest.hexdigest() == PIXELS


def test_a_video_depends_on_each_of_its_four_keys() -> None:
    keys = [(0, "train", 0, 0), (1, "train", 0, 0), (0, "val", 0, 0), (0, "train", 1, 0), (0, "train", 0, 1)]
    videos = [demo.render(demo.scene(*key)) for key in keys]
    assert all(len(video) != len(videos[0]) or np.any(video != videos[0]) for video in videos[1:])


@pytest.mark.parametrize("label", LABELS)
def test_shape_and_length(label: int) -> None:
    video = demo.render(demo.scene(3, "val", label, 5))
    frames, height, width, channels = video.shape
    assert video.dtype == np.uint8
    assert demo.FEWEST_FRAMES <= frames <= demo.MOST_FRAMES
    assert (height, channels) == (100, 3)
    assert width in demo.WIDTHS


def test_circle_is_cosine_and_sine() -> None:
    for turns in np.linspace(-2.0, 2.0, 97):
        angle = 2 * np.pi * turns
        assert demo.circle(float(turns)) == pytest.approx((np.cos(angle), np.sin(angle)), abs=1e-13)


# ------------------------------------------------------------------------------------------------ the classes


@pytest.mark.parametrize("label", LABELS)
def test_backwards_is_the_partner_class(label: int) -> None:
    scene = demo.scene(0, "train", label, 2)
    partner = demo.backwards(scene)
    assert (scene.label, partner.label) == (label, label ^ 1)
    video = demo.render(scene, noise=False)
    assert np.array_equal(video[::-1], demo.render(partner, noise=False))
    assert not np.array_equal(video[::-1], video)
    noisy = demo.render(scene).astype(int)
    assert 0 < np.abs(noisy - video).max() <= demo.NOISE + 1


@pytest.mark.parametrize("label", LABELS)
def test_both_classes_of_a_pair_come_from_one_generator(label: int) -> None:
    """The odd class is nothing but a draw of the even one, reversed: no order-blind statistic can differ."""
    key = (7, demo.SPLITS.index("val"), label, 3)
    drawn = demo.render(demo.draw(key, label // 2), noise=False)
    video = demo.render(demo.scene(7, "val", label, 3), noise=False)
    assert np.array_equal(video, drawn[::-1] if label % 2 else drawn)


def order_blind(video: np.ndarray) -> np.ndarray:
    """Features of a video (F, H, W, 3) that stay the same when its frames are reversed."""
    grey = video.mean(axis=3)  # (F, H, W)
    steps = np.abs(np.diff(grey, axis=0))  # (F - 1, H, W)
    ends = grey[0] + grey[-1]
    halves = grey.reshape(len(grey), 2, 50, -1).mean(axis=(0, 2, 3))  # (F, 2, H / 2, W): upper, lower
    mean = grey.mean(axis=0)
    columns = [part.mean() for part in np.array_split(mean, 4, axis=1)]
    change = [part.mean() for part in np.array_split(steps.mean(axis=0), 4, axis=1)]
    rows = [part.mean() for part in np.array_split(steps.mean(axis=0), 4, axis=0)]
    return np.array([len(video), grey.std(), steps.std(), ends.std(), *halves, ends.mean(), *columns, *change, *rows])


@pytest.mark.parametrize("pair", PAIRS)
def test_order_blind_statistics_agree(pair: int) -> None:
    first, second = (
        np.stack([order_blind(demo.render(demo.scene(1, "train", label, n))) for n in range(8)])
        for label in (pair, pair + 1)
    )  # each (8, features)
    error = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / len(first))
    assert np.all(np.abs(first.mean(axis=0) - second.mean(axis=0)) < 4.0 * error + 1e-9)


def actors(scene: demo.Scene) -> list[demo.Sprite]:
    """The objects that act; distractors, which stand still, are the translucent ones."""
    return [sprite for sprite in scene.sprites if not np.all(sprite.path[:, 4] == 0.6)]


def travelled(scene: demo.Scene, column: int) -> float:
    """How much x, y, radius, angle or opacity (column 0 to 4) grows from the first to the last frame."""
    path = actors(scene)[0].path[:, column]
    return float(path[-1] - path[0])


def gap_closed(scene: demo.Scene) -> float:
    one, other = (sprite.path[:, :2] for sprite in actors(scene))
    distance = np.sqrt(np.square(one - other).sum(axis=1))
    return float(distance[0] - distance[-1])


MEASURES: list[tuple[Callable[[demo.Scene], float], float]] = [  # of a pair's first class, and how much at least
    (lambda scene: travelled(scene, 0), 50.0),  # pixels, of a frame 132 to 148 wide
    (lambda scene: travelled(scene, 1), 40.0),  # pixels, of a frame 100 high
    (lambda scene: actors(scene)[0].path[-1, 2] / actors(scene)[0].path[0, 2] - 1.0, 1.4),
    (lambda scene: travelled(scene, 3), 0.31),
    (lambda scene: travelled(scene, 4), 1.0),
    (gap_closed, 20.0),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_every_video_does_what_its_class_says(pair: int) -> None:
    measure, least = MEASURES[pair // 2]
    for number in range(40):
        forwards = demo.scene(0, "train", pair, number)
        assert measure(forwards) >= least
        assert measure(demo.backwards(demo.scene(0, "train", pair + 1, number))) >= least
        assert measure(demo.backwards(forwards)) < 0.0


def test_turning_cannot_be_mistaken_between_eight_frames() -> None:
    """Of eight frames spread over a video, two in a row differ by less than a quarter turn."""
    for number in range(60):
        angle = actors(demo.scene(0, "train", 6, number))[0].path[:, 3]
        seen = angle[(np.arange(8) * len(angle)) // 8]
        assert np.diff(seen).max() < 0.25
        assert np.diff(angle).min() >= 0.0


def test_camera_and_speed_have_no_direction() -> None:
    """Clockwise mirrored is counterclockwise only if camera and onset are alike forwards and backwards."""
    scenes = [demo.scene(0, "train", 6, number) for number in range(300)]
    moved = np.array([scene.camera[-1] - scene.camera[0] for scene in scenes])  # (300, 3): x, y, zoom
    assert np.all(np.abs(moved.mean(axis=0)) < 4.0 * moved.std(axis=0) / np.sqrt(len(moved)))
    assert np.abs(moved[:, :2]).max() <= 10.0
    assert np.abs(moved[:, 2]).max() <= 0.08
    lead = []
    for scene in scenes:
        angle = actors(scene)[0].path[:, 3]
        lead.append(((angle - angle[0]) / (angle[-1] - angle[0])).mean() - 0.5)
    assert abs(np.mean(lead)) < 4.0 * np.std(lead) / np.sqrt(len(lead))


def test_names_carry_the_mirror_rule() -> None:
    assert len(set(demo.CLASSES)) == 12
    partners = {label: demo.CLASSES.index(swapped(name)) for label, name in enumerate(demo.CLASSES)}
    assert {label: other for label, other in partners.items() if label != other} == {0: 1, 1: 0, 6: 7, 7: 6}


# ------------------------------------------------------------------------------------------------ the folder


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training videos and one validation video a class, made by the command with two processes."""
    root = tmp_path_factory.mktemp("datasets")
    words = ["tools/make_demo_dataset.py", "--root_dataset", str(root), "--jobs", "2"]
    done = python(*words, "--videos_per_class", "2", "--val_videos_per_class", "1")
    assert done.returncode == 0, done.stderr
    assert "36 of 36 videos" in done.stderr
    return root


def test_the_tree_is_what_the_lists_say(rendered: Path) -> None:
    assert [path.name for path in rendered.iterdir()] == ["demo"]  # no temporary folder is left
    folder = rendered / "demo"
    assert {path.name for path in folder.iterdir()} == command.CONTENT
    assert (folder / "category.txt").read_text().splitlines() == list(demo.CLASSES)
    listed = set()
    for split, count in (("train", 2), ("val", 1)):
        lines = (folder / f"{split}_videofolder.txt").read_text().splitlines()
        assert [int(line.split()[2]) for line in lines] == [label for label in LABELS for _ in range(count)]
        for line in lines:
            name, frames, _ = line.split()
            names = sorted(path.name for path in (folder / "frames" / name).iterdir())
            assert names == [f"{index:05d}.jpg" for index in range(1, int(frames) + 1)]
            listed.add(name)
    assert listed == {path.name for path in (folder / "frames").iterdir()}


def test_the_jpegs_show_the_rendered_frames(rendered: Path) -> None:
    for label in LABELS:
        video = demo.render(demo.scene(0, "train", label, 1))
        with Image.open(rendered / "demo" / "frames" / command.video_name("train", label, 1) / "00004.jpg") as image:
            assert image.format == "JPEG"
            shown = np.asarray(image).astype(int)
        assert shown.shape == video.shape[1:]
        assert np.abs(shown - video[3]).mean() < 6.0


def test_two_renders_agree_byte_for_byte(rendered: Path, tmp_path: Path) -> None:
    """One process here, two there."""
    folder = command.make(tmp_path, command.Settings(0, 2, 1), jobs=1)
    assert files(folder) == files(rendered / "demo")


def test_a_second_run_does_nothing(rendered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*")}
    arguments = ["--root_dataset", str(rendered), "--videos_per_class", "2", "--val_videos_per_class", "1"]
    command.main(arguments)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in rendered.rglob("*")} == before


def test_a_folder_without_boxes_gets_them_and_nothing_else(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As former versions left it: nothing is rendered again, and no --force is needed."""
    shutil.copytree(rendered / "demo", tmp_path / "demo")
    (tmp_path / "demo" / command.BOXES).unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    settings = command.Settings(0, 2, 1)

    def full(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(command, "write_text", full)
        command.make(tmp_path, settings, jobs=1)  # a folder that takes nothing more is as good without
    assert f"stays without {command.BOXES}" in capsys.readouterr().out
    command.make(tmp_path, settings, jobs=1)
    assert f"added {command.BOXES}" in capsys.readouterr().out
    assert files(tmp_path / "demo") == files(rendered / "demo")
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_boxes_are_listed_for_every_frame(rendered: Path) -> None:
    known = json.loads((rendered / "demo" / command.BOXES).read_text())
    assert set(known) == {path.name for path in (rendered / "demo" / "frames").iterdir()}
    for name, video in known.items():
        assert len(video["frames"]) == len(list((rendered / "demo" / "frames" / name).iterdir()))
        for left, top, right, bottom in (box for boxes in video["frames"] for box in boxes):
            assert 0 <= left < right <= video["width"] and 0 <= top < bottom <= video["height"]
    appearing = known[command.video_name("val", 8, 0)]["frames"]
    assert appearing[0] == [] and len(appearing[-1]) == 1
    assert {len(boxes) for boxes in known[command.video_name("val", 10, 0)]["frames"]} == {2}


def test_other_settings_need_force(tmp_path: Path) -> None:
    where = ["--root_dataset", str(tmp_path), *SMALL]
    command.main(where)
    with pytest.raises(InputError, match="seed 0 instead of 1"):
        command.main([*where, "--seed", "1"])
    before = files(tmp_path / "demo")
    command.main([*where, "--seed", "1", "--force"])
    assert json.loads((tmp_path / "demo" / command.MARKER).read_text())["seed"] == 1
    assert files(tmp_path / "demo") != before
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize("force", [False, True])
def test_a_foreign_folder_is_refused_and_kept(tmp_path: Path, force: bool) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not made by this tool"):
        command.make(tmp_path, command.Settings(0, 1, 1), jobs=1, force=force)
    assert files(tmp_path) == {str(Path("demo", "thesis.txt")): b"years of work"}


def test_force_keeps_what_others_put_beside_ours(tmp_path: Path) -> None:
    settings = command.Settings(0, 1, 1)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / command.MARKER).write_text(json.dumps(settings.marker()))
    with pytest.raises(InputError, match=r"frames.*missing: --force"):
        command.make(tmp_path, settings, jobs=1)
    (tmp_path / "demo" / "flow").mkdir()
    with pytest.raises(InputError, match="also holds flow"):
        command.make(tmp_path, settings, jobs=1, force=True)
    assert (tmp_path / "demo" / "flow").is_dir()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "write_video", full)
    with pytest.raises(InputError, match="No space left"):
        command.make(tmp_path, command.Settings(0, 1, 1), jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--root_dataset", str(tmp_path), *SMALL]
    command.main(arguments)
    before = files(tmp_path)

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "write_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.main([*arguments, "--force"])
    assert files(tmp_path) == before


def test_every_number_out_of_range_is_named(tmp_path: Path) -> None:
    words = ["tools/make_demo_dataset.py", "--root_dataset", str(tmp_path)]
    done = python(*words, "--videos_per_class", "0", "--seed", "-1", "--jobs", "0")
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert all(flag in done.stderr for flag in ("--videos_per_class 0", "--seed -1", "--jobs 0"))
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be read or written"):
        command.main(["--root_dataset", str(tmp_path / "file"), *SMALL])


def test_the_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEXNET_DATASETS", "/somewhere")
    assert command.parse([]).root_dataset == Path("/somewhere")
    monkeypatch.delenv("FEXNET_DATASETS")
    assert command.parse([]).root_dataset == Path("dataset")
