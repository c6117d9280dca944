"""Doors for indices of videos and of packed frames (see fuzzing.py): as files, and with their checksums put right.

The latter look at what is behind the checksums, which whoever forges an index would put right.
"""

from __future__ import annotations

import io
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np

from ops.data.filestate import FileState
from ops.data.packed_index import (
    FILE,
    INDEX_FILE,
    PART,
    VIDEO_1,
    PackedIndex,
    Packing,
    Part,
    Shard,
    _checksum,
    _checksum_of,
    array_files,
    load_part,
    save_part,
    write_index,
)
from ops.data.packed_index import VIDEO as PACKED_VIDEO
from ops.data.records import VideoRecord
from ops.data.remote import VERSIONS, _read_versions
from ops.data.storages.packed import PackedFrames
from ops.data.textfile import read_text
from ops.data.urls import check_url, hidden, is_url
from ops.data.video_index import ARRAYS, Indexed, VideoIndex, _digest, read_index
from ops.data.video_index import write_index as write_videos
from ops.data.videofile import FrameTable
from ops.errors import InputError
from tools.tar_shards import read_shard

PACKING = Packing("frames", "{:05d}.jpg")
TAR = "frames-00000.tar"


def made_videos() -> VideoIndex:
    tables = {
        "a/1.mp4": FrameTable.of(np.arange(20) * 512, np.array([0, 8, 16]), (64, 48)),
        "a/видео.mkv": FrameTable.of(np.cumsum(np.arange(1, 12)), np.array([0, 5]), (64, 48)),
        "b/3.avi": FrameTable.untimed(9),
    }
    known = {path: Indexed(FileState(1000, 1, 2, 3), table) for path, table in tables.items()}
    return VideoIndex.of(known | {"gone.mp4": Indexed(FileState(), fault="no such file")})


def video_index(folder: Path) -> Path:
    write_videos(folder / "list.txt.index.npz", made_videos())
    return folder / "list.txt.index.npz"


def read_videos(file: Path) -> None:
    known = read_index(file)
    for path, entry in known.items():
        assert known[path].state == entry.state
        if entry.table and len(entry.table.keys):
            entry.table.times()


def columns(name: str):  # type: ignore[no-untyped-def]
    """One of the index's arrays as it lies in memory."""

    def write(folder: Path) -> Path:
        index = made_videos()
        array = index.videos if name == "videos" else index.pools[name]
        (folder / name).write_bytes(array.tobytes())
        return folder / name

    def read(file: Path) -> None:
        index, data, content = made_videos(), file.read_bytes(), io.BytesIO()
        form = ARRAYS[name]
        array = np.frombuffer(data[: len(data) // form.itemsize * form.itemsize], form)
        np.savez(content, **{"videos": index.videos, **index.pools, name: array})
        file.write_bytes(content.getvalue() + _digest(content.getbuffer()))
        read_videos(file)

    return write, read


@cache
def shard() -> tuple[bytes, Part]:
    """A tar file of five small files of two videos, and what is known of it."""
    import tarfile

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, count in (("a/1", 3), ("a/видео", 2)):
            for number in range(1, count + 1):
                member = tarfile.TarInfo(f"{path}/{number:05d}.jpg")
                member.size = 100 * number
                tar.addfile(member, io.BytesIO(bytes([number]) * member.size))
    folder = Path(__import__("tempfile").mkdtemp())
    try:
        (folder / TAR).write_bytes(content.getvalue())
        part = read_shard(folder / TAR, PACKING)
        files = part.files()
    finally:
        shutil.rmtree(folder)
    return content.getvalue(), Part(part.shard, part.paths, part.counts, part.per_frame, lambda: files)


def packed(folder: Path) -> None:
    content, part = shard()
    (folder / TAR).write_bytes(content)
    write_index(folder, PACKING, [part], 1)


def read_packed(folder: Path) -> None:
    """As training, checking and packing do."""
    index = PackedIndex(folder)
    storage = PackedFrames(folder)
    for path, count in (("a/1", 3), ("a/видео", 2), ("nothing", 1)):
        try:
            storage.pictures(VideoRecord(path, count, 0), range(1, count + 1))
        except InputError:
            storage.check(VideoRecord(path, count, 0), decode=False)
    if not index.damage:
        for number in range(min(3, len(index.shards))):
            for _ in zip(index.part(number).videos(), range(10), strict=False):
                pass


def index_of(place: int):  # type: ignore[no-untyped-def]
    def write(folder: Path) -> Path:
        packed(folder)
        return folder / INDEX_FILE if place == 0 else array_files(folder, 1)[place - 1]

    return write


def read_signed_head(file: Path) -> None:
    try:
        said = json.loads(file.read_bytes().decode(errors="replace"))
        said.pop("crc", None)
        said["crc"] = _checksum_of(said)
        file.write_text(json.dumps(said))
    except (ValueError, RecursionError, AttributeError, TypeError):
        pass  # refused as it is
    read_packed(file.parent)


def rows_of_videos(folder: Path) -> Path:
    packed(folder)
    known, bare = np.load(array_files(folder, 1)[0]), np.zeros(2, VIDEO_1)
    for name in VIDEO_1.names or ():
        bare[name] = known[name]
    (folder / "rows").write_bytes(bare.tobytes())
    return folder / "rows"


def read_signed_videos(file: Path) -> None:
    data, folder = file.read_bytes(), file.parent
    bare = np.frombuffer(data[: len(data) // VIDEO_1.itemsize * VIDEO_1.itemsize], VIDEO_1)
    rows = np.zeros(len(bare), PACKED_VIDEO)
    for name in VIDEO_1.names or ():
        rows[name] = bare[name]
    videos, files, paths = array_files(folder, 1)
    all_files, text = np.load(files), np.load(paths).tobytes()
    for row in rows:
        _, first, _, _, count, *_ = row.item()
        path = text[int(row["path"]) : int(row["path"]) + int(row["length"])]
        row["crc"] = _checksum(path, row, all_files[first : first + count])
    np.save(videos, rows)
    said = json.loads((folder / INDEX_FILE).read_text())
    said["videos"] = len(rows)
    del said["crc"]
    (folder / INDEX_FILE).write_text(json.dumps({**said, "crc": _checksum_of(said)}))
    read_packed(folder)


def rows(folder: Path) -> Path:
    content, part = shard()
    (folder / TAR).write_bytes(content)
    save_part(folder, part)
    return (folder / TAR).with_suffix(".npz")


def read_rows(file: Path) -> None:
    part = load_part(file.parent, TAR)
    if part is not None:
        for video in part.videos():
            assert video.num_frames >= 0


def column_of_rows(name: str):  # type: ignore[no-untyped-def]
    def write(folder: Path) -> Path:
        rows(folder)
        with np.load((folder / TAR).with_suffix(".npz")) as saved:
            (folder / name).write_bytes(saved[name].tobytes())
        return folder / name

    def read(file: Path) -> None:
        target = (file.parent / TAR).with_suffix(".npz")
        data, form = file.read_bytes(), PART[name]
        with np.load(rows(file.parent)) as saved:
            arrays = dict(saved)
        arrays[name] = np.frombuffer(data[: len(data) // form.itemsize * form.itemsize], form)
        np.savez(target, **arrays)
        read_rows(target)

    return write, read


def tar(folder: Path) -> Path:
    (folder / TAR).write_bytes(shard()[0])
    return folder / TAR


def read_tar(file: Path) -> None:
    part = read_shard(file, PACKING)
    assert part.shard == Shard(TAR, file.stat().st_size) and part.files().dtype == FILE


def versions(folder: Path) -> Path:
    (folder / VERSIONS).write_text(json.dumps({"index.json": "00ff"}))
    return folder / VERSIONS


def address(folder: Path) -> Path:
    (folder / "address").write_text("https://me:secret@[2001:db8:0:0:0:0:0:1]:80/a/b?c=d#e")
    return folder / "address"


def read_address(file: Path) -> None:
    text = read_text(file, "address")
    if is_url(text):
        check_url(hidden(text))


DOORS = [
    ("video index", video_index, read_videos),
    *((f"video index, {name}", *columns(name)) for name in ARRAYS),
    ("packed index", index_of(0), lambda file: read_packed(file.parent)),
    ("packed index, signed", index_of(0), read_signed_head),
    *(
        (f"packed index, {name}", index_of(place), lambda file: read_packed(file.parent))
        for place, name in enumerate(("videos", "files", "paths"), start=1)
    ),
    ("packed index, videos signed", rows_of_videos, read_signed_videos),
    ("packed rows", rows, read_rows),
    *((f"packed rows, {name}", *column_of_rows(name)) for name in PART),
    ("packed shard", tar, read_tar),
    ("cache of versions", versions, _read_versions),
    ("address of packed frames", address, read_address),
]
