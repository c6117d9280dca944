"""How many samples the header of an MP4 or QuickTime file claims, by ISO/IEC 14496-12, before FFmpeg believes it.

FFmpeg takes 38 bytes of memory for every sample that is claimed, 73 where there is an edit list, of sound as of
pictures, which takes no byte of the file: two kilobytes may claim four billion. The tables are found by their names,
wherever in a header they stand.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np

from ops.data.bounds import MAX_FRAMES, MAX_SOUND

MAX_HEADER = 512 << 20  # bytes: the tables of MAX_FRAMES frames and MAX_SOUND samples are half of that
EMPTY = 0xFFFFFFFF  # as the time of an edit: -1
BLOCK = 1000  # samples of uncompressed sound that FFmpeg makes one entry for, or a few more
PIECE_WITHOUT_TABLES = b"mdat"
SOUND = b"soun"  # what handles a track; fragments, which do not say it, count as frames


def is_boxes(head: bytes) -> bool:
    """Whether a file that begins so begins with a box, as every MP4 does: other files are not to be taken for one."""
    return len(head) >= 8 and (head[:4] in (bytes(4), b"\0\0\0\1") or head[:4] >= b"\0\0\0\x08") and head[4:8].isalnum()


def claims_fault(file: IO[bytes]) -> str:
    """Why a file that begins with a box is not to be opened; empty if it may be."""
    total, read = {False: 0, True: 0}, 0
    try:
        for content in _headers(file):
            if len(content) > MAX_HEADER - read:
                return f"its header has over {MAX_HEADER >> 20} MiB"
            read += len(content)
            for track in _tracks(_unpacked(content)):
                total[SOUND in track] += _claimed(track)
            for sound, most, what in ((False, MAX_FRAMES, "frames"), (True, MAX_SOUND, "samples of sound")):
                if total[sound] > most:
                    return f"its header claims {total[sound]:,} {what}, more than the {most:,} allowed"
    except (struct.error, zlib.error, ValueError) as error:
        return f"its header is damaged ({error})"
    return ""


def _headers(file: IO[bytes]) -> Iterator[bytes]:
    """The content of each outermost box but the samples themselves."""
    size, at = file.seek(0, 2), 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, own = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, own = int.from_bytes(head[8:], "big"), 16
        if not length:
            length = size - at  # to the file's end
        if length < own:
            return  # as FFmpeg ends here
        if head[4:8] != PIECE_WITHOUT_TABLES:
            file.seek(at)
            yield file.read(min(length, MAX_HEADER + 1))
        at += length


def _unpacked(content: bytes) -> bytes:
    """With what a compressed QuickTime header holds."""
    at = content.find(b"cmvd")
    if at < 0:
        return content
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(content[at + 8 :], MAX_HEADER)
    if unpacking.unconsumed_tail:
        raise ValueError(f"over {MAX_HEADER >> 20} MiB unpacked")
    return content + found


def _tracks(content: bytes) -> Iterator[bytes]:
    """The parts that begin with the name of a track."""
    at = 0
    while (following := content.find(b"trak", at + 1)) >= 0:
        yield content[at:following]
        at = following
    yield content[at:]


def _claimed(track: bytes) -> int:
    """By a track: entries that FFmpeg makes of it."""
    sizes = sum(_count(track, at + 4) for at in _places(track, b"stsz", b"stz2"))
    times = [_runs(track, at) for at in _places(track, b"stts")]
    shifts = sum(int(_runs(track, at)[0].sum()) for at in _places(track, b"ctts"))
    fragments = sum(_count(track, at) for at in _places(track, b"trun"))
    edits = sum(_count(track, at) - _empty_edits(track, at) for at in _places(track, b"elst"))
    if SOUND in track and len(times) == 1 and times[0][1].tolist() == [1]:  # uncompressed: an entry for many samples
        chunks = sum(_count(track, at) for at in _places(track, b"stco", b"co64"))
        longest = max((_longest_run(track, at) for at in _places(track, b"stsc")), default=0)
        return chunks * (longest // BLOCK + 1) + fragments
    return max(sizes, shifts, *(int(counts.sum()) for counts, _ in times), 0) * max(1, edits) + fragments


def _places(content: bytes, *names: bytes) -> Iterator[int]:
    """Where the boxes of these names have their content, behind version and flags."""
    for name in names:
        at = content.find(name)
        while at >= 0:
            yield at + 8
            at = content.find(name, at + 4)


def _count(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "big")


def _rows(content: bytes, at: int, columns: int) -> np.ndarray:
    """The rows of a table of unsigned numbers, int64 `(rows, columns)`, as many as it claims and there are."""
    data = content[at + 4 : at + 4 + 4 * columns * _count(content, at)]
    return np.frombuffer(data, ">u4", len(data) // (4 * columns) * columns).reshape(-1, columns).astype(np.int64)


def _runs(content: bytes, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Of `stts` and `ctts`: how many samples in a row have the same value, and the values."""
    rows = _rows(content, at, 2)
    return rows[:, 0], rows[:, 1]


def _empty_edits(content: bytes, at: int) -> int:
    """Of `elst`: those that delay a track, for which FFmpeg makes no entry. Version 1 has numbers twice as wide."""
    columns, time = (5, slice(2, 4)) if content[at - 4] == 1 else (3, slice(1, 2))
    return int((_rows(content, at, columns)[:, time] == EMPTY).all(1).sum())


def _longest_run(content: bytes, at: int) -> int:
    """Of `stsc`: the most samples of a chunk."""
    return int(_rows(content, at, 3)[:, 1].max(initial=0))
