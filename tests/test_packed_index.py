"""A damaged index of packed frames: whatever byte is wrong, the right frames or an error that says how to mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ops.data.decode import FrameError
from ops.data.packed_index import VIDEO, PackedIndex, array_files, load_part, part_file, save_part
from ops.data.records import VideoRecord
from ops.data.storages.packed import PackedFrames
from ops.errors import InputError
from tools import pack_frames

VIDEOS = {"c 0/v 0": 3, "c 0/v 1": 2, "c 1/видео": 4}  # frames
MENDS = "tools/pack_frames.py --reindex"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`own` of few files of random bytes, packed; its frames are gone. Not to be changed."""
    root = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(0)
    for path, frames in VIDEOS.items():
        folder = root / "own" / "frames" / path
        folder.mkdir(parents=True)
        for number in range(1, frames + 1):
            (folder / f"{number:05d}.jpg").write_bytes(rng.bytes(300))  # of one size: rows are easily confused
    lines = "".join(f"{path} {frames} 0\n" for path, frames in VIDEOS.items())
    for part in ("train", "val"):
        (root / "own" / f"{part}_videofolder.txt").write_text(lines, encoding="utf-8")
    (root / "own" / "category.txt").write_text("any\n")
    (root / "own" / "dataset.toml").touch()
    assert pack(root) == 0
    (root / "own" / "frames").rename(root / "original")
    return root


@pytest.fixture
def mine(packed: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    shutil.copytree(packed, tmp_path / "root")
    return tmp_path / "root"


def pack(root: Path, *flags: str) -> int:
    return pack_frames.main(["own", "--root_dataset", str(root), *flags])


def originals(root: Path) -> dict[str, list[bytes]]:
    return {path: [f.read_bytes() for f in sorted((root / "original" / path).iterdir())] for path in VIDEOS}


def faults(root: Path, expected: dict[str, list[bytes]]) -> list[str]:
    """What is said when all is read; what is read without a word must be what was packed."""
    said = []
    try:
        storage = PackedFrames(root / "own" / "packed")
        assert storage.index is not None
    except InputError as error:
        return [str(error)]
    for path, frames in VIDEOS.items():
        try:
            found = storage.pictures(VideoRecord(path, frames, 0), range(1, frames + 1)).files
            assert found == expected[path], path
        except FrameError as error:
            said.append(str(error))
    return said


def index_files(root: Path) -> list[Path]:
    return [root / "own" / "packed" / "index.json", *array_files(root / "own" / "packed", 1)]


@pytest.mark.parametrize("place", range(4), ids=["index.json", "videos", "files", "paths"])
def test_any_flipped_bit_is_found_or_changes_nothing(mine: Path, place: int) -> None:
    file, expected = index_files(mine)[place], originals(mine)
    content = file.read_bytes()
    assert faults(mine, expected) == []
    silent = []
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        said = faults(mine, expected)
        if not said:
            silent.append(at)
        assert all(MENDS in each or "--verify says what is wrong" in each for each in said), said
    # Blanks between words say nothing; in an array's header two marks of the order of bytes mean the same.
    blanks = {at for at, byte in enumerate(content) if byte in b" \n"}
    assert set(silent) <= (blanks if place == 0 else set(range(content.index(b"\n"))))


def test_rows_beside_a_shard(packed: Path, tmp_path: Path) -> None:
    """Until they are in the index: right, or refused with the same remedy."""
    part = PackedIndex(packed / "own" / "packed").part(0)
    save_part(tmp_path, part)
    file = part_file(tmp_path, part.shard.name)
    content, refused = file.read_bytes(), 0
    for at in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        try:
            found = load_part(tmp_path, part.shard.name)
            assert found is not None
            assert (found.shard, found.paths, found.counts) == (part.shard, part.paths, part.counts)
            assert found.per_frame == part.per_frame and np.array_equal(found.files(), part.files())
        except InputError as error:
            refused += 1
            assert MENDS in str(error)
    assert refused > len(content) // 20


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
@pytest.mark.parametrize("place", range(4))
def test_a_file_that_is_cut_off(mine: Path, place: int, cut: int) -> None:
    file = index_files(mine)[place]
    file.write_bytes(file.read_bytes()[:cut])
    said = faults(mine, originals(mine))
    assert said or (place == 0 and cut == -1)  # the last line end
    assert all(MENDS in each for each in said)


def swapped(root: Path) -> None:
    """Two videos' rows of files are each other's."""
    file = array_files(root / "own" / "packed", 1)[0]
    rows = np.load(file)
    rows["first"][:2], rows["files"][:2] = rows["first"][1::-1].copy(), rows["files"][1::-1].copy()
    np.save(file, rows)


def another_format(root: Path) -> None:
    file = root / "own" / "packed" / "index.json"
    file.write_text('{"format": 9}')


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "swapped": (swapped, "index.json: damaged at c 0/v 0"),
    "no JSON": (lambda root: index_files(root)[0].write_text("{"), "index.json cannot be read"),
    "format": (another_format, "of format 9, not 1"),
    "no array": (lambda root: index_files(root)[2].unlink(), "index-1-files.npy is missing"),
    "no index": (lambda root: [file.unlink() for file in index_files(root)], "index.json is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_said_helps(mine: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Packing and --verify name the same remedy, which works without the frames' folders."""
    damage, words = DAMAGES[name]
    damage(mine)
    expected = originals(mine)
    said = faults(mine, expected)
    assert words in said[0] and MENDS in said[0]
    for flags in ([], ["--verify"]):
        try:
            assert pack(mine, *flags) == 1
            message = capsys.readouterr().err
        except InputError as error:
            message = str(error)
        assert "--reindex" in message
    assert pack(mine, "--reindex") == 0
    assert faults(mine, expected) == [] and pack(mine, "--verify") == 0 and pack(mine) == 0
    names = {file.name for file in (mine / "own" / "packed").iterdir()}
    assert len([name for name in names if name.startswith("index-")]) == 3


def test_reindexing_finds_damaged_shards(mine: Path) -> None:
    shard = mine / "own" / "packed" / "frames-00000.tar"
    content = shard.read_bytes()
    for damaged, words in (
        (content[:-10240], r"frames-00000\.tar: not a whole tar file"),
        (content[:1000] + b"x" + content[1001:], ""),  # in a picture: what is there is taken
        (content[:1030] + b"x" + content[1031:], r"frames-00000\.tar: not a whole tar file"),  # in a header
    ):
        shard.write_bytes(damaged)
        if words:
            with pytest.raises(InputError, match=words):
                pack(mine, "--reindex")
        else:
            assert pack(mine, "--reindex") == 0
    (mine / "own" / "dataset.toml").write_text("first = 0\n")
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"c 0/v 0/00001\.jpg is not what dataset\.toml calls frames"):
        pack(mine, "--reindex")


def test_an_index_of_the_first_format_is_read_and_replaced(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, videos, *_ = index_files(mine)
    said = json.loads(file.read_text())
    del said["crc"], said["packing"]["first"]
    file.write_text(json.dumps({**said, "format": 1}))
    rows = np.load(videos)
    np.save(videos, rows[list(VIDEO.names)[:-1]].astype(VIDEO.descr[:-1]))
    expected = originals(mine)
    assert faults(mine, expected) == []
    assert pack(mine) == 0
    assert json.loads(file.read_text())["format"] == 2 and faults(mine, expected) == []
    index = PackedIndex(mine / "own" / "packed")
    assert index.number == 2 and index.damage == ""
