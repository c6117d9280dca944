"""Shards as tar files: written, read and compared with what is known of them. They may be damaged, or forged."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ops.data.catalog import DESCRIPTION
from ops.data.frame_names import FLOW_PREFIXES
from ops.data.modalities import picture_names
from ops.data.packed_index import FILE, Packed, Packing, Part, Shard
from ops.data.records import shortened
from ops.data.storages.packed import LARGEST_PICTURE
from ops.errors import InputError
from ops.files import open_regular
from tools.shard_sources import Content

PIECE = 1 << 20  # bytes that are read at once; a header, of which long names are a part, is much smaller
# What tarfile raises for damaged ones.
TAR_FAULTS = (
    tarfile.TarError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


@dataclass
class Contents:
    """What a shard holds so far."""

    paths: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    per_frame: list[int] = field(default_factory=list)
    rows: list[tuple[int, int, int]] = field(default_factory=list)

    def part(self, shard: Shard) -> Part:
        """The same for the index."""
        files = np.array(self.rows, FILE)
        return Part(shard, self.paths, self.counts, self.per_frame, lambda: files)


def taken(content: Content) -> int:
    """Bytes of a shard that a video takes, but for long names."""
    return sum(tarfile.BLOCKSIZE + size + -size % tarfile.BLOCKSIZE for size in content.data.sizes)


def add(file: IO[bytes], held: Contents, content: Content) -> None:
    """Writes a video's files at the end of a shard."""
    held.paths.append(content.record.path)
    held.counts.append(len(content.names))
    held.per_frame.append(content.per_frame)
    for name, data in zip(content.names, content.data, strict=True):
        member = tarfile.TarInfo(name)  # of no time and no owner: the same frames make the same shards
        member.size = len(data)
        file.write(member.tobuf(tarfile.PAX_FORMAT))  # longer than a block if the name is long or not ASCII
        held.rows.append((file.tell(), len(data), zlib.crc32(data)))
        file.write(data)
        file.write(b"\0" * (-len(data) % tarfile.BLOCKSIZE))


class _InPieces(io.BufferedReader):
    """What tarfile reads of a file: it takes a header for as long as it says that it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io`."""
        if size is None or not 0 <= size <= PIECE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size)


@contextmanager
def opened(file: Path) -> Iterator[tarfile.TarFile]:
    """A shard as a tar file. Raises one of TAR_FAULTS, also for a named pipe."""
    with (
        _InPieces(cast(io.RawIOBase, open_regular(file))) as content,
        tarfile.open(fileobj=content, mode="r:") as tar,
    ):
        yield tar


def read_shard(file: Path, packing: Packing) -> Part:
    """A shard's videos. Raises InputError if it is no whole tar file, or holds other files than frames."""
    held, end = Contents(), 0
    try:
        with opened(file) as tar:
            for member, crc in members(tar):
                path, _, name = member.name.rpartition("/")
                if not held.paths or held.paths[-1] != path:
                    held.paths.append(path)
                    held.counts.append(0)
                    held.per_frame.append(2 if packing.kind == "flow" and name.startswith(FLOW_PREFIXES) else 1)
                frame, k = divmod(held.counts[-1], held.per_frame[-1])
                if name != picture_names(packing.template, [frame + 1], held.per_frame[-1] == 2, packing.first)[k]:
                    raise InputError(f"{file}: {member.name} is not what {DESCRIPTION} calls {packing.kind}")
                held.counts[-1] += 1
                held.rows.append((member.offset_data, member.size, crc))
                end = member.offset_data + member.size + -member.size % tarfile.BLOCKSIZE
        if file.stat().st_size != whole_size(end):
            raise tarfile.ReadError("it ends in its midst")
    except InputError:
        raise
    except TAR_FAULTS as error:
        raise InputError(
            f"{file}: not a whole tar file ({error}): remove it, and this command packs its videos anew"
        ) from error
    return held.part(Shard(file.name, file.stat().st_size))


def whole_size(end: int) -> int:
    """Of a tar file whose last member ends there: two empty blocks, and what fills up the last record."""
    return -(-(end + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def compare(file: Path, part: Part, template: str, first: int = 1) -> list[str]:
    """What differs between a shard, read as a tar file, and what is known of it: names, places, sizes, checksums."""
    faults = []
    try:
        with opened(file) as tar:
            found = members(tar)
            for video in part.videos():
                faults += compare_video(found, video, template, first)
            if next(found, None) is not None:
                faults.append("it holds more than is known of")
    except TAR_FAULTS as error:
        faults.append(f"not a whole tar file ({error})")
    return faults


def members(tar: Any) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Each file of a shard, and the CRC-32 of its content."""
    while member := tar.next():
        tar.members.clear()  # tarfile would keep them all
        if not member.isreg() or member.issparse():  # a sparse one may claim any size
            raise tarfile.ReadError(f"{shortened(repr(member.name))} is no plain file")
        if member.size > LARGEST_PICTURE:
            raise tarfile.ReadError(f"{shortened(repr(member.name))} has {member.size:,} bytes, more than any picture")
        content, crc = tar.extractfile(member), 0
        while piece := content.read(PIECE):
            crc = zlib.crc32(piece, crc)
        yield member, crc


def compare_video(found: Iterator[tuple[tarfile.TarInfo, int]], video: Packed, template: str, first: int) -> list[str]:
    """What differs in the next members of a shard from what is known of a video. Raises TarError where they end."""
    faults = []
    frames = range(1, video.num_frames + 1)
    names = picture_names(template, frames, video.per_frame == 2, first)  # all x, then all y
    for place, known in enumerate(video.files.tolist()):
        member, crc = next(found, (None, 0))
        if member is None:
            raise tarfile.ReadError("it ends too early")
        frame, k = divmod(place, video.per_frame)
        name = f"{video.path}/{names[k * video.num_frames + frame]}"
        if (member.name, member.offset_data, member.size, crc) != (name, *known):
            faults.append(f"{name}: not as it was packed")
    return faults
