"""List and category files: what is read, and what is said about each fault."""

from pathlib import Path

import pytest

from ops.data.records import VideoRecord, read_categories, read_list
from ops.errors import InputError


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_paths_with_spaces_comments_and_blank_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "# path frames label\n\na/b c 12 3\n  \nvidéo\t7\t0\n")
    assert read_list(path, 4) == [VideoRecord("a/b c", 12, 3), VideoRecord("vidéo", 7, 0)]


def test_tolerates_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbffirst 5 0\r\nsecond 6 1\r\n")
    assert read_list(path, 2) == [VideoRecord("first", 5, 0), VideoRecord("second", 6, 1)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("video", "1 field instead of 3"),
        ("video 12", "2 fields instead of 3"),
        ("video twelve 1", "not whole numbers"),
        ("video 12.0 1", "not whole numbers"),
        ("video 1_2 1", "not whole numbers"),
        ("video 12 x", "not whole numbers"),
        ("video 0 1", "a video of no frames"),
        ("video -3 1", "a video of no frames"),
        ("video 12 5", "label 5 outside 0..4"),
        ("video 12 -1", "label -1 outside 0..4"),
    ],
)
def test_names_file_line_text_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = written(tmp_path, f"good 3 0\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_list(path, 5)
    message = str(caught.value)
    assert f"{path}:2: " in message
    assert reason in message
    assert repr(line) in message
    assert "`path num_frames label`" in message


def test_reports_all_faults_at_once_and_counts_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, "good 3 0\n" + "bad\n" * 1037)
    with pytest.raises(InputError) as caught:
        read_list(path, 1)
    message = str(caught.value)
    assert "1037 faulty lines" in message
    assert f"{path}:2:" in message
    assert f"{path}:1001:" in message
    assert f"{path}:1002:" not in message
    assert message.endswith("and 37 more")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_list_without_videos(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match="lists no video") as caught:
        read_list(path, 1)
    assert str(path) in str(caught.value)


def test_unreadable_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt does not exist"):
        read_list(tmp_path / "nowhere.txt", 1)
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path, 1)
    with pytest.raises(InputError, match="not UTF-8"):
        read_list(written(tmp_path, "vidéo 3 0\n".encode("latin-1")), 1)


def test_categories(tmp_path: Path) -> None:
    assert read_categories(written(tmp_path, "Doing a\nDoing b \n\n\n")) == ["Doing a", "Doing b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n\n", "holds no class name"),
        ("a\n\nb\n", ":2: blank line"),
        ("a\nb\na\n", ":3: class name 'a' stands on line 1"),
    ],
)
def test_faulty_categories(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_categories(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
