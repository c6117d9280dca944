"""The index of packed frames: which bytes of which shard are which frame of which video.

Beside the shards, `frames-00000.tar` and so on, lie `index.json`, which names the shards and these three:

    index-<n>-videos.npy  a row of `VIDEO` a video, sorted by the bytes of its path
    index-<n>-files.npy   a row of `FILE` a picture; those of a video follow each other as its frames do
    index-<n>-paths.npy   the videos' paths, UTF-8, one after the other

The three are mapped into memory, not read: a million videos open at once, and all processes share them. Each video's
row has a checksum of all that is known of it, which is compared when the video is asked for first. A new index has a
new number, and counts when `index.json` names it. A shard that is not yet in the index has its rows beside it, in
`frames-00000.npz`. All of it can be made anew from the shards.
"""

from __future__ import annotations

import bisect
import functools
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ops.data.decode import FrameError
from ops.data.frame_names import numbers_frames
from ops.data.records import shortened
from ops.data.stored_arrays import stored_arrays
from ops.errors import InputError, is_limit
from ops.files import atomic_write, open_regular, read_regular

FORMAT = 2  # the first had no checksums, but is read
INDEX_FILE = "index.json"
SHARD, SHARD_NAME = "frames-{:05d}.tar", re.compile(r"frames-(\d{5,})\.tar")
LARGEST_PART = 1 << 30  # bytes of a shard's rows, 16 of which are a file's: 60 million files
LARGEST_HEAD = 16 << 20  # bytes of an index.json; a shard takes some 60, so that it is one of 280,000, of a GB each
ARRAY_NAME = re.compile(r"index-(\d+)-(videos|files|paths)\.npy")
PART_NAME = re.compile(r"frames-(\d{5,})\.npz")
MEND = "tools/pack_frames.py --reindex makes it anew from the shards"
# path, length: where its path lies among the paths, in bytes. first, files: its rows of FILE. crc: see `_checksum`.
VIDEO_1 = np.dtype(
    [("path", "<u8"), ("first", "<u8"), ("length", "<u4"), ("shard", "<u4"), ("files", "<u4"), ("per_frame", "<u4")]
)
VIDEO = np.dtype([*VIDEO_1.descr, ("crc", "<u4")])
PATHS = np.dtype("u1")
FILE = np.dtype([("offset", "<u8"), ("size", "<u4"), ("crc", "<u4")])  # of the data in the shard; CRC-32
PART: dict[str, np.dtype] = {  # the arrays of a shard's rows, and of what they are
    **{"bytes": np.dtype("<i8"), "paths": PATHS, "counts": np.dtype("<u4"), "per_frame": np.dtype("<u4")},
    "files": FILE,
}


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar file, and how long it must be."""

    name: str
    bytes: int

    def fault(self, root: Path) -> str:
        """What is wrong with it at first sight; empty if nothing is."""
        try:
            size = (root / self.name).stat().st_size
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return "" if size == self.bytes else f"has {size} bytes instead of {self.bytes}"


@dataclass(frozen=True, slots=True)
class Packing:
    """How frames were packed: whether they are `frames` or `flow`, their names' template, the number of the first."""

    kind: str
    template: str
    first: int = 1


@dataclass(frozen=True, slots=True)
class Packed:
    """A video in a shard; `files` are its rows of FILE, `per_frame` of them a frame (flow in pairs: 2)."""

    path: str
    shard: Shard
    per_frame: int
    files: np.ndarray

    @property
    def num_frames(self) -> int:
        """How many frames it has."""
        return len(self.files) // self.per_frame


@dataclass(frozen=True, slots=True)
class Part:
    """The videos of one shard, in the order in which they lie in it; `files` gives all their rows of FILE."""

    shard: Shard
    paths: list[str]
    counts: list[int]  # files of each
    per_frame: list[int]
    files: Callable[[], np.ndarray]

    def videos(self) -> Iterator[Packed]:
        """One after the other."""
        files = self.files()
        ends = list(accumulate(self.counts))
        for path, end, count, per_frame in zip(self.paths, ends, self.counts, self.per_frame, strict=True):
            yield Packed(path, self.shard, per_frame, files[end - count : end])


class PackedIndex:
    """The index of the packed frames in a folder. Raises InputError if there is none, or none that can be read."""

    def __init__(self, root: Path) -> None:
        self.file = root / INDEX_FILE
        try:
            said = read_head(self.file)
            self.is_checked = said["format"] == FORMAT
            self.packing = Packing(**said["packing"])
            self.shards = [Shard(**shard) for shard in said["shards"]]
            self.number: int = said["number"]
            forms = (VIDEO if self.is_checked else VIDEO_1, FILE, PATHS)
            mapped = map(_mapped, array_files(root, self.number), forms)
            self._videos, self._files, paths = (np.asarray(array) for array in mapped)  # as memmap each look is slower
            _compare("the videos", len(self._videos), said["videos"])
            _compare("the files", len(self._files), said["files"])
            _compare("the videos' files", int(self._videos["files"].sum(dtype=np.uint64)), len(self._files))
            self._starts, self._lengths, self._paths = self._videos["path"], self._videos["length"], paths.data
            self._sound = bytearray(len(self._videos))  # of which the checksum has been compared
        except FileNotFoundError as error:
            raise InputError(
                f"{error.filename or self.file} is missing: the frames are not packed, or not to the end; "
                f"tools/pack_frames.py packs them, and goes on where it was stopped; if it has been, {MEND}"
            ) from None
        except InputError:
            raise
        except Exception as error:
            _refuse(self.file, error)

    def __len__(self) -> int:
        return len(self._videos)

    def find(self, path: str) -> Packed | None:
        """A video by its path in the lists. Raises FrameError if what is known of it is damaged."""
        wanted = path.encode()
        place = bisect.bisect_left(range(len(self)), wanted, key=self._path)
        if place == len(self) or self._path(place) != wanted:
            if self.damage:
                raise FrameError(self.damage)
            return None
        _, first, _, shard, count, per_frame, *_ = self._videos[place].item()
        if not (self._sound[place] or self._is_sound(place)):
            raise FrameError(f"{self.file}: damaged at {path}: {MEND}")
        self._sound[place] = True
        return Packed(path, self.shards[shard], per_frame, self._files[first : first + count])

    @functools.cached_property
    def damage(self) -> str:
        """What is wrong with the rows of all videos; empty if nothing is."""
        places = (place for place in range(len(self)) if not self._is_sound(place))
        first = next(places, None)
        if first is None:
            return ""
        return f"{self.file}: damaged at {1 + sum(1 for _ in places)} of its {len(self)} videos: {MEND}"

    def part(self, shard: int) -> Part:
        """The videos of the shard of this number in `shards`, if there is no `damage`."""
        rows = self._videos[self._videos["shard"] == shard]
        rows = rows[np.argsort(rows["first"])]
        ends = rows["first"] + rows["files"]
        try:
            _compare("the files of a shard's videos", rows["first"][1:].tolist(), ends[:-1].tolist())
            paths = [self._paths[row["path"] : row["path"] + row["length"]].tobytes().decode() for row in rows]
        except ValueError as error:
            _refuse(self.file, error)
        files = self._files[slice(int(rows["first"][0]), int(ends[-1])) if len(rows) else slice(0)]
        return Part(self.shards[shard], paths, rows["files"].tolist(), rows["per_frame"].tolist(), lambda: files)

    def _path(self, place: int) -> bytes:
        start = int(self._starts[place])
        return self._paths[start : start + int(self._lengths[place])].tobytes()

    def _is_sound(self, place: int) -> bool:
        row = self._videos[place]
        _, first, _, shard, count, per_frame, *_ = row.item()
        if shard >= len(self.shards) or not 0 < per_frame <= min(2, count) or first + count > len(self._files):
            return False
        if not self.is_checked:
            return True
        return int(row["crc"]) == _checksum(self._path(place), row, self._files[first : first + count])


def read_head(file: Path) -> dict[str, Any]:
    """What an index.json says, in the form that it must have.

    Raises InputError for another one, and FileNotFoundError.
    """
    try:
        said = json.loads(read_regular(file, LARGEST_HEAD).decode())
        if said["format"] not in (1, FORMAT):
            raise InputError(f"{file}: of format {shortened(str(said['format']))}, not 1 or {FORMAT}: {MEND}")
        if "crc" in said or said["format"] == FORMAT:
            _compare("its checksum", said.pop("crc"), _checksum_of(said))
        packing, shards = Packing(**said["packing"]), [Shard(**shard) for shard in said["shards"]]
        numbers = [said["number"], said["videos"], said["files"], packing.first, *(shard.bytes for shard in shards)]
        if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
            raise ValueError("a number is none")
        if not all(type(shard.name) is str and SHARD_NAME.fullmatch(shard.name) for shard in shards):
            raise ValueError("a shard's name is not frames-00000.tar or the like")
        if packing.kind not in ("frames", "flow") or not numbers_frames(packing.template):
            raise ValueError(f"packing {shortened(str(packing))}")
        return dict(said)
    except (FileNotFoundError, InputError):
        raise
    except Exception as error:  # what JSON may hold in other places than it should is of many kinds
        _refuse(file, error)


def _refuse(file: Path, error: Exception) -> NoReturn:
    """Raises InputError for whatever came of reading a file: a damaged header is parsed as Python, and claims a lot."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and is_limit(error)):
        raise error
    if isinstance(error, OSError) and error.errno is not None:
        raise InputError(f"{file} cannot be read ({error.strerror})") from error
    raise InputError(f"{file} cannot be read ({error}): {MEND}") from error


def _compare(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{what}: {found} instead of {expected}")


def _checksum(path: bytes, row: np.void, files: np.ndarray) -> int:
    """CRC-32 of a video's path, its row of VIDEO but for this, and where its files lie (what they hold has its own)."""
    parts = (path, row.tobytes()[: VIDEO_1.itemsize], files["offset"].tobytes(), files["size"].tobytes())
    return functools.reduce(lambda crc, data: zlib.crc32(data, crc), parts, 0)


def _checksum_of(said: dict[str, Any]) -> int:
    """CRC-32 of what index.json says, however it is laid out."""
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


def array_files(root: Path, number: int) -> list[Path]:
    """The files of the index of this number."""
    return [root / f"index-{number}-{name}.npy" for name in ("videos", "files", "paths")]


def write_index(root: Path, packing: Packing, parts: Sequence[Part], number: int) -> None:
    """Writes the index of all the parts; it counts when all of it is there."""
    owners = [(part, shard, place) for shard, part in enumerate(parts) for place in range(len(part.paths))]
    paths = [part.paths[place].encode() for part, _, place in owners]
    videos = np.zeros(len(owners), VIDEO)
    videos["shard"] = [shard for _, shard, _ in owners]
    videos["files"] = [part.counts[place] for part, _, place in owners]
    videos["per_frame"] = [part.per_frame[place] for part, _, place in owners]
    videos["first"] = np.cumsum(videos["files"], dtype=np.uint64) - videos["files"]
    total = int(videos["files"].sum(dtype=np.uint64))
    order = sorted(range(len(paths)), key=paths.__getitem__)
    videos, paths = videos[order], [paths[place] for place in order]
    videos["length"] = [len(path) for path in paths]
    videos["path"] = np.cumsum(videos["length"], dtype=np.uint64) - videos["length"]
    _add_checksums(videos, paths, np.argsort(order), parts)
    for file, write in zip(
        array_files(root, number),
        (
            lambda file: np.save(file, videos),
            lambda file: _save_rows(file, total, parts),
            lambda file: np.save(file, np.frombuffer(b"".join(paths), np.uint8)),
        ),
        strict=True,
    ):
        with atomic_write(file) as opened:
            write(opened)
    said = {"format": FORMAT, "packing": asdict(packing), "number": number,
            "videos": len(videos), "files": total, "shards": [asdict(part.shard) for part in parts]}  # fmt: skip
    said["crc"] = _checksum_of(said)
    with atomic_write(root / INDEX_FILE) as opened:
        opened.write((json.dumps(said, indent=1) + "\n").encode())


def _add_checksums(videos: np.ndarray, paths: Sequence[bytes], places: np.ndarray, parts: Sequence[Part]) -> None:
    """To the rows of VIDEO, sorted by path; `places` of the videos of all parts, one after the other, among them."""
    each = iter(places.tolist())
    for part in parts:
        for video in part.videos():
            place = next(each)
            videos["crc"][place] = _checksum(paths[place], videos[place], video.files)


def _save_rows(file: Any, total: int, parts: Sequence[Part]) -> None:
    """As np.save does, but a part at a time: those of a hundred million frames need not fit into memory."""
    header = {"descr": np.lib.format.dtype_to_descr(FILE), "fortran_order": False, "shape": (total,)}
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
        file.write(np.ascontiguousarray(part.files()).tobytes())


def save_part(root: Path, part: Part) -> None:
    """Keeps the rows of a shard beside it, until they are in the index."""
    with atomic_write(part_file(root, part.shard.name)) as opened:
        np.savez(
            opened,
            bytes=np.int64(part.shard.bytes),
            paths=np.frombuffer("\n".join(part.paths).encode(), np.uint8),
            counts=np.array(part.counts, np.uint32),
            per_frame=np.array(part.per_frame, np.uint32),
            files=part.files(),
        )


def load_part(root: Path, shard: str) -> Part | None:
    """The rows of a shard; None if they are not there. Raises InputError if they cannot be read."""
    file = part_file(root, shard)
    if not file.exists():
        return None
    saved = _rows_of(file)
    paths = saved["paths"].tobytes().decode().split("\n")
    counts, per_frame = saved["counts"].tolist(), saved["per_frame"].tolist()
    return Part(Shard(shard, int(saved["bytes"][0])), paths, counts, per_frame, lambda: _rows_of(file)["files"])


def part_file(root: Path, shard: str) -> Path:
    """Where the rows of a shard lie until they are in the index."""
    return (root / shard).with_suffix(".npz")


def is_ours(file: Path) -> bool:
    """Whether a file is an array of an index, or the rows of a shard, by its name and by what it holds."""
    try:
        if PART_NAME.fullmatch(file.name):
            with open_regular(file) as opened, zipfile.ZipFile(opened) as saved:
                return set(saved.namelist()) == {f"{name}.npy" for name in PART}
        if match := ARRAY_NAME.fullmatch(file.name):
            _mapped(file, *{"videos": (VIDEO, VIDEO_1), "files": (FILE,), "paths": (PATHS,)}[match[2]])
            return True
    except Exception:  # a damaged header is parsed as Python, and claims a lot
        return False
    return False


def _mapped(file: Path, *forms: np.dtype) -> np.memmap[Any, np.dtype[Any]]:
    """The array `(n,)` in a file that `np.save` wrote, of one of these forms. Raises ValueError for others, OSError."""
    with open_regular(file) as opened:
        _compare(f"the version of {file.name}", np.lib.format.read_magic(opened), (1, 0))  # its header is short
        shape, _, form = np.lib.format.read_array_header_1_0(opened)
        if form not in forms or len(shape) != 1:
            raise ValueError(f"{file.name} holds {shape} of {form}")
        return np.memmap(opened, form, "r", opened.tell(), shape)


def _rows_of(file: Path) -> dict[str, np.ndarray]:
    """What lies beside a shard. Raises InputError for what does not fit together."""
    try:
        saved = stored_arrays(read_regular(file, LARGEST_PART), PART)
        size, counts, per_frame, files = (saved[name] for name in ("bytes", "counts", "per_frame", "files"))
        videos = 1 + saved["paths"].tobytes().decode().count("\n")
        _compare("the videos", (len(counts), len(per_frame)), (videos, videos))
        _compare("the files", len(files), int(counts.sum(dtype=np.uint64)))
        if not (np.isin(per_frame, (1, 2)).all() and (counts >= per_frame).all() and len(size) == 1 and size[0] >= 0):
            raise ValueError("numbers of files that no video has")
        ends = files["offset"] + files["size"]
        if (files["offset"] > size).any() or (ends > size).any() or (files["offset"][1:] < ends[:-1]).any():
            raise ValueError("files that do not follow each other in the shard")
        return saved
    except Exception as error:
        _refuse(file, error)
