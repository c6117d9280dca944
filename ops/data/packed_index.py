"""The index of packed frames: which bytes of which shard are which frame of which video.

Beside the shards, `frames-00000.tar` and so on, lie `index.json`, which names the shards and these three:

    index-<n>-videos.npy  a row of `VIDEO` a video, sorted by the bytes of its path
    index-<n>-files.npy   a row of `FILE` a picture; those of a video follow each other as its frames do
    index-<n>-paths.npy   the videos' paths, UTF-8, one after the other

The three are mapped into memory, not read: a million videos open at once, and all processes share them. A new index has
a new number, and counts when `index.json` names it. A shard that is not yet in the index has its rows beside it, in
`frames-00000.npz`.
"""

from __future__ import annotations

import bisect
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ops.errors import InputError
from ops.files import atomic_write

FORMAT = 1
INDEX_FILE = "index.json"
SHARD, SHARD_NAME = "frames-{:05d}.tar", re.compile(r"frames-(\d{5,})\.tar")
# path, length: where its path lies among the paths, in bytes. first, files: its rows of FILE.
VIDEO = np.dtype(
    [("path", "<u8"), ("first", "<u8"), ("length", "<u4"), ("shard", "<u4"), ("files", "<u4"), ("per_frame", "<u4")]
)
FILE = np.dtype([("offset", "<u8"), ("size", "<u4"), ("crc", "<u4")])  # of the data in the shard; CRC-32


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
            said = json.loads(self.file.read_text(encoding="utf-8"))
            if said["format"] != FORMAT:
                raise InputError(f"{self.file}: of format {said['format']}, not {FORMAT}: made by another version")
            self.packing = Packing(**said["packing"])
            self.shards = [Shard(**shard) for shard in said["shards"]]
            self.number: int = said["number"]
            mapped = (np.load(file, mmap_mode="r", allow_pickle=False) for file in array_files(root, self.number))
            self._videos, self._files, paths = (np.asarray(array) for array in mapped)  # as memmap each look is slower
            self._starts, self._lengths, self._paths = self._videos["path"], self._videos["length"], paths.data
        except FileNotFoundError as error:
            raise InputError(
                f"{error.filename or self.file} is missing: the frames are not packed, or not to the end; "
                "tools/pack_frames.py packs them, and goes on where it was stopped"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise (
                error
                if isinstance(error, InputError)
                else InputError(f"{self.file} cannot be read ({error}): remove {root} and pack anew")
            ) from error

    def __len__(self) -> int:
        return len(self._videos)

    def find(self, path: str) -> Packed | None:
        """A video by its path in the lists."""
        wanted = path.encode()
        place = bisect.bisect_left(range(len(self)), wanted, key=self._path)
        if place == len(self) or self._path(place) != wanted:
            return None
        _, first, _, shard, count, per_frame = self._videos[place].item()
        return Packed(path, self.shards[shard], per_frame, self._files[first : first + count])

    def part(self, shard: int) -> Part:
        """The videos of the shard of this number in `shards`."""
        rows = self._videos[self._videos["shard"] == shard]
        rows = rows[np.argsort(rows["first"])]
        paths = [self._paths[row["path"] : row["path"] + row["length"]].tobytes().decode() for row in rows]
        first, count = int(rows["first"][0]), int(rows["files"].sum())
        files = self._files[first : first + count]
        return Part(self.shards[shard], paths, rows["files"].tolist(), rows["per_frame"].tolist(), lambda: files)

    def _path(self, place: int) -> bytes:
        start = int(self._starts[place])
        return self._paths[start : start + int(self._lengths[place])].tobytes()


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
    with atomic_write(root / INDEX_FILE) as opened:
        opened.write((json.dumps(said, indent=1) + "\n").encode())


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
            bytes=part.shard.bytes,
            paths=np.frombuffer("\n".join(part.paths).encode(), np.uint8),
            counts=np.array(part.counts, np.uint32),
            per_frame=np.array(part.per_frame, np.uint32),
            files=part.files(),
        )


def load_part(root: Path, shard: str) -> Part | None:
    """The rows of a shard; None if they are not there. Raises InputError if they cannot be read."""
    file = part_file(root, shard)
    try:
        with np.load(file, allow_pickle=False) as saved:
            paths = saved["paths"].tobytes().decode().split("\n")
            counts, per_frame = saved["counts"].tolist(), saved["per_frame"].tolist()
            return Part(Shard(shard, int(saved["bytes"])), paths, counts, per_frame, lambda: _rows(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} cannot be read ({error}): remove it and {root / shard}, and pack again") from error


def part_file(root: Path, shard: str) -> Path:
    """Where the rows of a shard lie until they are in the index."""
    return (root / shard).with_suffix(".npz")


def _rows(file: Path) -> np.ndarray:
    with np.load(file, allow_pickle=False) as saved:
        return saved["files"]
