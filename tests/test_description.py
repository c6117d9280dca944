"""tools/description.py: one key of a dataset.toml is set, and nothing else in it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.errors import InputError
from tools.description import note

BEFORE = """\
# mine
"videos" = "old"  # by hand
mirror = "none"

[made]  # a note
seed = 3
videos = "older"

[other]
seed = 4
"""


@pytest.mark.parametrize(
    ("key", "value", "table", "old", "new"),
    [
        ("videos", '/a "b"/é', "", '"videos" = "old"  # by hand', 'videos = "/a \\"b\\"/é"'),
        ("videos", "", "", '"videos" = "old"  # by hand\n', ""),
        ("storage", "video", "", "# mine\n", 'storage = "video"\n# mine\n'),
        ("seed", 5, "made", "seed = 3", "seed = 5"),
        ("seed", 5, "other", "seed = 4", "seed = 5"),
        ("val_share", 0.25, "made", "[made]  # a note\n", "[made]  # a note\nval_share = 0.25\n"),
        ("seed", 5, "new", "seed = 4\n", "seed = 4\n\n[new]\nseed = 5\n"),
        ("seed", "", "new", "", ""),
    ],
)
def test_one_line_changes(tmp_path: Path, key: str, value: str | float, table: str, old: str, new: str) -> None:
    file = tmp_path / "dataset.toml"
    file.write_text(BEFORE, encoding="utf-8")
    note(file, key, value, table)
    assert file.read_text(encoding="utf-8") == BEFORE.replace(old, new, 1)


def test_a_first_note_makes_the_file(tmp_path: Path) -> None:
    note(tmp_path / "dataset.toml", "frames", "")
    assert not (tmp_path / "dataset.toml").exists()
    note(tmp_path / "dataset.toml", "frames", "x")
    assert (tmp_path / "dataset.toml").read_text() == 'frames = "x"\n'


def test_what_would_no_longer_be_toml_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "dataset.toml"
    file.write_text("made = {seed = 1}\n")
    with pytest.raises(InputError, match="set seed = 2 in it by hand"):
        note(file, "seed", 2, "made")
    assert file.read_text() == "made = {seed = 1}\n"
