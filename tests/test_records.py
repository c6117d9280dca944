"""List and category files: what is read, and what is said about each fault."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ops.data import records as lists
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
        ("video 1000000000 1", "a video of more than 999999999 frames"),
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


def many(count: int) -> list[VideoRecord]:
    """Videos with spaces and other alphabets in their paths."""
    places = ("class {}/video {}", "動画 {}/é{}", "{} 7/{} 1", "a/{}-{}é")
    return [VideoRecord(places[k % 4].format(k % 174, k), 1 + k % 300, k % 174) for k in range(count)]


def test_plain_lines_read_at_once_equal_lines_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = many(100_000)
    plain = written(tmp_path, "".join(f"{v.path} {v.num_frames} {v.label}\n" for v in videos))
    records = read_list(plain, 174)
    assert records == videos
    parsed: list[str] = []
    parse = lists._parse
    monkeypatch.setattr(lists, "_parse", lambda line, *rest: parsed.append(line) or parse(line, *rest))
    assert read_list(written(tmp_path, plain.read_bytes().replace(b" ", b"\t")), 174) == [
        VideoRecord(v.path.replace(" ", "\t"), v.num_frames, v.label) for v in videos
    ]
    assert len(parsed) == len(videos)


ODD = [
    *(
        "a 5 1",
        "a  5 1",
        " a 5 1",
        "a 5  1",
        "a 5 1 ",
        "a\t5 1",
        "a 5\t1",
        "a\u3000 5 1",
        "\u3000a 5 1",
        "é 5 1",
        "a é 5 1",
    ),
    *("a\x1c 5 1", "# a 5 1", "#a 5 1", " # a 5 1", "a# 5 1", "a +5 1", "a 05 01", "5 1 0", "a\r5 1\r", "a 5 1\r"),
    *("a 5", "a 5 -1", "a b 5", "5 1", "5", "a", "a 0 1", "a 5 4", "a 999999999 1", "a 1999999999 1", "", " ", "٣ ٤ ٥"),
]


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("unlabelled_too", [True, False])
@pytest.mark.parametrize("line", ODD)
def test_odd_lines_are_read_as_if_all_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, unlabelled_too: bool, counted: bool
) -> None:
    def outcome() -> object:
        try:
            return list(read_list(path, 4, unlabelled_too, counted))
        except InputError as error:
            return str(error)

    path = written(tmp_path, f"{line}\nlast 3{' 2' * counted}")
    found, scan = outcome(), lists._scan

    def nothing_is_plain(text: bytes, numbers: int, _classes: int) -> object:
        return scan(text, numbers, 0)  # no label is below 0

    monkeypatch.setattr(lists, "_scan", nothing_is_plain)
    assert found == outcome()


def test_a_part_of_a_list(tmp_path: Path) -> None:
    videos = many(20)
    records = read_list(written(tmp_path, "".join(f"{v.path} {v.num_frames} {v.label}\n" for v in videos)), 174)
    assert len(records) == 20 and records[3] == records[np.int64(3)] == videos[3] and records[-1] == videos[-1]
    assert records[2:9:3] == videos[2:9:3] and records[:None] == videos and records[:0] == []
    assert list(reversed(records)) == videos[::-1] and videos[5] in records and records.index(videos[5]) == 5
    assert records != videos[:-1] and records != [*videos[:-1], videos[0]] and records != "list"
    assert type(records[0].num_frames) is type(records[0].label) is int
    with pytest.raises(IndexError):
        records[20]
    assert pickle.loads(pickle.dumps(records)) == pickle.loads(pickle.dumps(records[:])) == videos


def test_a_record_takes_few_bytes(tmp_path: Path) -> None:
    count, path = 20_000, "a path of just forty bytes and no more/v"
    line = f"{path} 100 3\n"
    list_file = written(tmp_path, line * count)
    read_list(list_file, 4)  # what is allocated once
    tracemalloc.start()
    try:
        records = read_list(list_file, 4)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(records) == count and kept < count * (len(line) + 24 + 2)
    assert peak < count * 400


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
