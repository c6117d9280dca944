"""List and category files: what is read, and what is said about each fault."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ops.data import records as lists
from ops.data.paths import mark, marks
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
        ("video 1000000000 1", "a video of more than 10,000,000 frames"),
        ("video 12 5", "label 5 outside 0..4"),
        ("video 12 -1", "label -1 outside 0..4"),
        ("video 12 2147483648", "label 2147483648 outside 0..4"),
        ("video nan 1", "not whole numbers"),
        ("walk/v0,8,0", "commas or semicolons between the fields"),
        ("walk/v 0, 8, 0", "commas or semicolons between the fields"),
        ("walk/v0;8;0", "commas or semicolons between the fields"),
        ("walk/v0 8,0", "commas or semicolons between the fields"),
        ("video 30 3,2", "several labels; a video has one here"),
        ("video 30 3|2", "several labels; a video has one here"),
        ("video 30 0 2", "a video of no frames; several labels on its line? A video has one here"),
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


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("walk/v0.mp4,3", "commas or semicolons between the fields"),
        ("walk/v0.mp4 3 2", "several labels; a video has one here"),
        ("walk/v 0.mp4 3 2 1", "several labels; a video has one here"),
        ("walk/v0.mp4 3,2", "several labels; a video has one here"),
        ("walk/v0.mp4 run", "not a whole number"),
    ],
)
def test_faults_of_a_list_of_videos(tmp_path: Path, line: str, reason: str) -> None:
    path = written(tmp_path, f"good.mp4 0\nclip 30.mp4 3\nclip 30 2\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_list(path, 5, counted=False)
    assert "1 faulty line; expected `path label`" in str(caught.value)
    assert f"{path}:4: " in str(caught.value) and reason in str(caught.value)


@pytest.mark.parametrize("line", ["walk/v0 eight 0", "walk/v0,8,0", "walk/v0 nan 0"])
def test_a_list_that_may_lack_labels_is_faulty_for_the_same_reason(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"not whole numbers|commas"):
        read_list(written(tmp_path, line), 5, unlabelled_too=True)


def test_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    for line in (f"v {'9' * 5000} 0", f"v 3 {'9' * 5000}"):
        with pytest.raises(InputError, match=r"more than 10,000,000 frames|label 9+ outside") as caught:
            read_list(written(tmp_path, line), 5)
        assert len(str(caught.value)) < 1000


def test_a_video_with_two_labels(tmp_path: Path) -> None:
    """On lines of its own, which learnt from would contradict each other; the same line twice does not."""
    lines = ["a b 5 0", "c 5 1", "# a b 5 1", "a b 5 2", "é 4 1", "c 9 1", "a b 5 0", "é\t4 3", "a 5 2"]
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_list(path, 5)
    message = str(caught.value)
    assert "2 faulty lines" in message
    assert f"{path}:4: label 2, but line 1 gives this video label 0; a video has one here: 'a b'" in message
    assert f"{path}:8: label 3, but line 5 gives this video label 1" in message
    assert len(read_list(written(tmp_path, "a b 5 0\na b 5 0\n"), 5)) == 2


def test_marks_differ_wherever_paths_do(tmp_path: Path) -> None:
    """Of all lengths around the eight bytes that are looked at together, whatever stands beside them."""
    paths = [letter * length for length in range(1, 40) for letter in "xyé"]
    paths += [f"{'x' * k}y{'x' * (20 - k)}" for k in range(21)]
    rows = "".join(f"{path} {1 + k % 7} {k % 3}\n{path} 77 2\n" for k, path in enumerate(paths))
    records = read_list(written(tmp_path, "".join(f"{path} 5 0\n{path} 77 0\n" for path in paths)), 5)
    found = marks(records.text, records.starts, records.ends)
    assert (found[::2] == found[1::2]).all() and len(np.unique(found)) == len(paths)
    assert [mark(path.encode()) for path in paths] == found[::2].tolist()
    with pytest.raises(InputError, match=f"has {sum(k % 3 != 2 for k in range(len(paths)))} faulty lines"):
        read_list(written(tmp_path, rows), 5)


TEXT = "# Spaß\nwalk/跑步 30 0\n"


@pytest.mark.parametrize(
    ("content", "line", "likeness"),
    [
        (TEXT.encode("utf-16"), 1, "looks like UTF-16; save it as UTF-8"),
        (TEXT.encode("utf-16-le"), 1, "looks like UTF-16LE; save it as UTF-8"),
        ("walk/v0 30 0\n".encode("utf-16-be"), 1, "looks like UTF-16BE; save it as UTF-8"),
        ("walk/v0 30 0\nwalk/跑步 30 0\n".encode("gbk"), 2, "looks like GBK; save it as UTF-8"),
        (b"walk/v0 30 0\n" * 1000 + "vidéo 3 0\n".encode("latin-1"), 1001, "looks like LATIN1; save it as UTF-8"),
        (b"walk/v0 30 0\nwalk/v\0 30 0\n", 2, "holds zero bytes"),
        (b"walk/v0 30 0\n" + bytes(512), 2, "holds zero bytes"),
    ],
    ids=["utf-16", "utf-16-le", "utf-16-be", "gbk", "latin-1", "a zero", "a block of zeros"],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, line: int, likeness: str) -> None:
    path = written(tmp_path, content)
    for read in (lambda: read_list(path, 5), lambda: read_categories(path)):
        with pytest.raises(InputError) as caught:
            read()
        assert f"{path}:{line}: the " in str(caught.value)
        assert f"file is not UTF-8 text: it {likeness}" in str(caught.value)


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
    *("backwards:a 5 1", "backwards:a é 5 1", "backwards: 5 1", "backwards: a 5 1", "é\tbackwards:a 5 1"),
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


def test_a_video_is_listed_forwards_and_backwards(tmp_path: Path) -> None:
    text = "a b 5 0\nbackwards:a b 5 1\n./backwards:a 7 1\nbackwards:é/v 3 0\nbackwards: 4 1\nbackward 6 0\n"
    records = read_list(written(tmp_path, text), 2)
    assert records == [
        VideoRecord("a b", 5, 0),
        VideoRecord("a b", 5, 1, backwards=True),
        VideoRecord("./backwards:a", 7, 1),
        VideoRecord("é/v", 3, 0, backwards=True),
        VideoRecord("backwards:", 4, 1),  # no path follows
        VideoRecord("backward", 6, 0),
    ]
    assert [f"{r.name} {r.num_frames} {r.label}" for r in records] == text.splitlines()
    assert records[1:4] == list(records)[1:4] and type(records[1].backwards) is bool
    assert read_list(written(tmp_path, "backwards:a.mp4 1\na.mp4 0"), 2, counted=False)[0].path == "a.mp4"
    with pytest.raises(InputError, match=r"line 1 gives this video label 0.*'backwards:a'"):
        read_list(written(tmp_path, "backwards:a 5 0\na 5 1\nbackwards:a 5 1\n"), 2)


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
    assert len(records) == count and kept < count * (len(line) + 25 + 2)
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
