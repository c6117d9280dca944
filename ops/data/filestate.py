"""Whether a file is still the one out of which something was found, or another has taken its place."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from ops.files import open_regular

END = 1 << 16  # bytes of each end that are looked at


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was: bytes, times in ns since 1970, and a CRC-32 of its first and last 64 KiB.

    modified: what a copy may take over, and anybody may set. changed: the file system's own time, which a copied,
    moved or touched file has anew (on Windows: when it was made).
    """

    size: int = 0
    modified: int = 0
    changed: int = 0
    ends: int = 0

    @classmethod
    def of(cls, file: Path) -> FileState:
        """Of a file as it is. Raises OSError."""
        status = file.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, checksum_of_ends(file))

    def today(self, file: str | Path) -> FileState | None:
        """The state of a file with this content: this one, or with its new times; None if the content is another's.

        Only where its times are others is it opened. Raises OSError.
        """
        status = os.stat(file)  # noqa: PTH116 (of a million files; a Path takes as long as the question)
        if status.st_size != self.size:
            return None
        if (status.st_mtime_ns, status.st_ctime_ns) == (self.modified, self.changed):
            return self
        same = checksum_of_ends(file) == self.ends
        return replace(self, modified=status.st_mtime_ns, changed=status.st_ctime_ns) if same else None


def checksum_of_ends(file: str | Path) -> int:
    """CRC-32 of a file's first and last 64 KiB. Raises OSError."""
    with open_regular(file) as content:
        start = content.read(END)
        content.seek(max(len(start), content.seek(0, os.SEEK_END) - END))
        return zlib.crc32(content.read(END), zlib.crc32(start))
