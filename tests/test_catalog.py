"""Data sets by name: where their files are, what is said when one is missing, which labels swap."""

from pathlib import Path

import pytest
from helpers_data import train_records, val_records
from torchvision.models.video import R3D_18_Weights

from ops.data.catalog import CATALOG, resolve
from ops.data.opposites import default_policy, mirror_labels, reversed_labels
from ops.data.records import VideoRecord
from ops.errors import InputError
from tools.demo_scenes import ALL_CLASSES, CLASSES


def make(root: Path, name: str) -> Path:
    folder = root / name
    (folder / "frames").mkdir(parents=True)
    (folder / "category.txt").write_text("a\nb\n")
    (folder / "train_videofolder.txt").write_text("x 3 1\n")
    (folder / "val_videofolder.txt").write_text("y 4 0\n")
    return folder


def test_policies_are_declared() -> None:
    assert {name: entry.mirror for name, entry in CATALOG.items()} == {
        "something": "swap",
        "somethingv2": "swap",
        "jester": "none",
        **dict.fromkeys(("kinetics", "kinetics600", "kinetics700", "diving48"), "plain"),
        **dict.fromkeys(("ucf101", "ucf101_split2", "ucf101_split3"), "plain"),
        **dict.fromkeys(("hmdb51", "hmdb51_split2", "hmdb51_split3"), "plain"),
        "demo": "swap",
    }


def test_uniform_layout(tmp_path: Path) -> None:
    folder = make(tmp_path, "jester")
    source = resolve("jester", tmp_path)
    assert source.name == "jester"
    assert source.categories == ("a", "b")
    assert source.root == folder / "frames"
    assert source.template.format(7) == "00007.jpg"
    assert source.mirror == "none"
    assert train_records(source) == [VideoRecord("x", 3, 1)]
    assert val_records(source) == [VideoRecord("y", 4, 0)]


def test_overrides_win_and_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "demo")
    other = tmp_path / "elsewhere"
    (other / "pictures").mkdir(parents=True)
    (other / "mine.txt").write_text("z 9 1\n")
    monkeypatch.chdir(other)
    source = resolve("demo", tmp_path, train_list="mine.txt", root_path=Path("pictures"))
    assert train_records(source) == [VideoRecord("z", 9, 1)]
    assert val_records(source) == [VideoRecord("y", 4, 0)]
    assert source.root == Path("pictures")


@pytest.mark.parametrize(("name", "meant"), [("somthing", "something"), ("UCF101", "ucf101")])
def test_unknown_name_offers_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(name, tmp_path)
    assert f"did you mean {meant}?" in str(caught.value)
    assert all(known in str(caught.value) for known in CATALOG)


def test_unknown_name_unlike_any(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown data set 'zzz'; known are"):
        resolve("zzz", tmp_path)


@pytest.mark.parametrize("name", CATALOG)
def test_missing_data_set_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path / (CATALOG[name].family or name) / "category.txt") in message
    assert CATALOG[name].how_to_get in message
    assert "--root_dataset" in message
    assert "FEXNET_DATASETS" in message
    assert ("make_demo_dataset.py" if name == "demo" else "tools/make_lists.py") in message


def test_lists_and_frames_are_demanded_only_when_read(tmp_path: Path) -> None:
    folder = make(tmp_path, "demo")
    (folder / "train_videofolder.txt").unlink()
    source = resolve("demo", tmp_path)
    with pytest.raises(InputError, match=r"list file .*train_videofolder\.txt .*make_demo_dataset"):
        train_records(source)
    assert len(val_records(source)) == 1
    (folder / "frames").rmdir()
    with pytest.raises(InputError, match=r"frames folder .*frames of .*make_demo_dataset"):
        val_records(source)


def test_policy_none_and_plain() -> None:
    assert mirror_labels(["Swiping left", "Swiping right"], "none") == (None, None)
    assert mirror_labels(["a", "b", "c"], "plain") == (0, 1, 2)
    with pytest.raises(InputError, match="Unknown mirror policy 'both'"):
        mirror_labels(["a"], "both")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Pulling it from left to right", "Pulling it from right to left"),
        ("turn_left", "turn_right"),
        ("Left hand up", "Right hand up"),
        ("TURN LEFT", "TURN RIGHT"),
        ("spin clockwise", "spin counterclockwise"),
        ("Spin Clockwise", "Spin Counter-Clockwise"),
        ("spin clockwise", "spin anticlockwise"),
        ("spin clockwise on the left", "spin anti-clockwise on the right"),
        ("spin clockwise", "spin counter clockwise"),
    ],
)
def test_swap_pairs(first: str, second: str) -> None:
    assert mirror_labels([first, "unsided", second], "swap") == (2, 1, 0)


def test_swap_takes_whole_words_only() -> None:
    names = ["Bringing leftovers", "Bringing rightovers", "Putting it upright"]
    assert mirror_labels(names, "swap") == (0, 1, 2)


def test_a_class_without_its_opposite_is_not_mirrored() -> None:
    assert mirror_labels(["Going left", "Waiting", "spin clockwise"], "swap") == (None, 1, None)


def published(name: str) -> list[str]:
    """The class names of a published data set, in the order of its labels."""
    if name == "kinetics400":
        return list(R3D_18_Weights.KINETICS400_V1.meta["categories"])
    return (Path(__file__).parent / "class_names" / f"{name}.txt").read_text().splitlines()


def test_something_something_pairs() -> None:
    """FEXNet's map for the 174 alphabetical classes of V1, whose names are V2's too: 86 ↔ 87, 93 ↔ 94, 166 ↔ 167.

    Class 50, "… pulling it right out …", is its own mirror image.
    """
    names = published("something")
    assert names == sorted(names) and len(names) == 174 and "pulling it right out" in names[50]
    expected = list(range(174))
    for label in (86, 93, 166):
        expected[label], expected[label + 1] = label + 1, label
    assert mirror_labels(names, "swap") == tuple(expected)


# Labels. kinetics: the classes of Kinetics-400, -600 and -700 together, each once.
SIDED = {
    "something": [86, 87, 93, 94, 166, 167],
    **{name: [] for name in ("kinetics400", "kinetics", "ucf101", "hmdb51", "diving48")},
    "jester": [0, 1, 6, 7, 14, 15],
}


@pytest.mark.parametrize("name", SIDED)
def test_what_is_taken_for_a_side_in_published_class_names(name: str) -> None:
    names = published(name)
    assert len(names) == CATALOG[name].classes if name in CATALOG and name != "kinetics" else len(names) >= 400
    found = [label for label, mirrored in enumerate(mirror_labels(names, "swap")) if mirrored != label]
    assert found == SIDED[name]
    assert default_policy(names)[0] == ("none" if found else "plain")


@pytest.mark.parametrize(
    "name",
    [
        "Putting it right away",
        "standing right next to a dog",
        "right in front of it",
        "eating what is left over",
        "Leftovers",
        "left behind",
        "AllRight",
        "turning it right-side-up",
        "copyright",
        "upright",
        "cleft",
        "person left the room",
        "Brightening",
    ],
)
def test_idioms_and_longer_words_have_no_side(name: str) -> None:
    assert mirror_labels([name, "other"], "swap") == (0, 1)
    assert default_policy([name, "other"])[0] == "plain"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("TurnLeft", "TurnRight"),
        ("swipeLEFT2", "swipeRIGHT2"),
        ("left2right", "right2left"),
        ("spin_clockwise", "spin_counter_clockwise"),
        ("SpinClockwise", "SpinCounterClockwise"),
        ("spin anti clockwise", "spin clockwise"),
        ("leaning leftwards", "leaning rightwards"),
        ("left-handed throw", "right-handed throw"),
        ("slide left out of the picture", "slide right out of the picture"),
        ("from left to right, right away", "from right to left, right away"),
        ("links-left", "links_right"),
    ],
)
def test_sides_however_they_are_written(first: str, second: str) -> None:
    """Also in what would be an idiom, were there no class of the opposite."""
    assert mirror_labels([first, "unsided", second], "swap") == (2, 1, 0)
    assert default_policy([first, "unsided"])[0] == "none" or "right out" in second
    assert default_policy([first, second])[0] == "none"


def test_reversed_labels_of_the_demo_are_the_other_of_each_pair() -> None:
    assert reversed_labels(CLASSES) == tuple(label ^ 1 for label in range(12))
    keeping = {14: 14, 15: 15}  # what passes behind something does so backwards too
    assert reversed_labels(ALL_CLASSES) == tuple(keeping.get(label, label ^ 1) for label in range(18))
    assert mirror_labels(ALL_CLASSES, "swap") == (*mirror_labels(CLASSES, "swap"), *range(12, 18))


def test_reversed_labels_where_no_class_says_so() -> None:
    assert reversed_labels(["Moving something up", "Waiting", "something moving away"]) == (None, None, None)


def test_reversed_labels_of_published_class_names() -> None:
    names = published("something")
    partners = {label: partner for label, partner in enumerate(reversed_labels(names)) if partner is not None}
    there = {43: 45, 86: 87, 93: 94, 106: 148, 165: 168, 166: 167}
    assert partners == there | {partner: label for label, partner in there.items()}
    assert reversed_labels(["turn up and go left", "turn up and go right", "turning it upside down"]) == (1, 0, None)
    assert reversed_labels(["Rolling Hand Forward", "Rolling Hand Backward", "forwards", "backwards"]) == (1, 0, 3, 2)
