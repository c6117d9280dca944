"""Whether a video file is all there, by the lengths that its parts state: nothing is decoded.

A recorder may write a duration by its clock, which the frames do not reach; a copy that was cut off does not reach it
either. Only in the latter does a part of the file end beyond the file's end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

HEAD = 32  # bytes: no part's own head is longer
# Of a part's first bytes: the length of its head, that of its content (0 where none is stated), and whether the
# content is parts again. Raises ValueError or IndexError where no part begins.
Part = Callable[[bytes], tuple[int, int, bool]]


def cut_off(file: Path, container: str) -> bool:
    """Whether the file ends within a part. True, too, where this cannot be told of such a container.

    container: FFmpeg's name of it.
    """
    part, size, at = PARTS.get(container), file.stat().st_size, 0
    if part is None:
        return True
    with file.open("rb") as content:
        while at < size:
            content.seek(at)
            try:
                head, length, holds_parts = part(content.read(HEAD))
            except (ValueError, IndexError, struct.error):
                return True
            if at + head + length > size:
                return True
            at += head if holds_parts else head + length
    return False


def _box(head: bytes) -> tuple[int, int, bool]:
    """Of ISO/IEC 14496-12 (MP4, QuickTime), the outermost."""
    length, kind = struct.unpack_from(">I4s", head)
    own = 8
    if length == 1:
        own, (length,) = 16, struct.unpack_from(">Q", head, 8)
    if length < own or not kind.isascii():  # 0 would mean: to the end of the file, wherever that is
        raise ValueError(kind)
    return own, length - own, False


def _element(head: bytes) -> tuple[int, int, bool]:
    """Of EBML (RFC 8794): Matroska, WebM."""
    id_length = _width(head[0])
    width = _width(head[id_length])
    if id_length > 4:
        raise ValueError(head[:id_length])
    length = int.from_bytes(head[id_length : id_length + width], "big") - (1 << 7 * width)
    if length == (1 << 7 * width) - 1:  # unknown: as written live
        length = 0
    return id_length + width, length, head[:id_length] in (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75")  # Segment, Cluster


def _width(first: int) -> int:
    """Bytes of a number of variable width that begins with this byte."""
    if not first:
        raise ValueError(first)
    return 9 - first.bit_length()


def _chunk(head: bytes) -> tuple[int, int, bool]:
    """Of RIFF: AVI."""
    kind, length, form = struct.unpack_from("<4sI4s", head.ljust(12, b"\0"))
    if not kind.strip().isalnum():
        raise ValueError(kind)
    holds_parts = kind == b"RIFF" or (kind, form) == (b"LIST", b"movi")
    return (12, length - 4, True) if holds_parts else (8, length + length % 2, False)


def _tag(head: bytes) -> tuple[int, int, bool]:
    """Of FLV: its header, then tags, each with its length behind it."""
    if head[:3] == b"FLV":
        return 13, 0, False
    if head[0] not in (8, 9, 18):  # sound, video, script
        raise ValueError(head[0])
    return 11, int.from_bytes(head[1:4], "big") + 4, False


PARTS: dict[str, Part] = {
    "mov,mp4,m4a,3gp,3g2,mj2": _box,
    "matroska,webm": _element,
    "avi": _chunk,
    "flv": _tag,
}
