"""What a look at one video found."""

import os
from dataclasses import dataclass
from pathlib import Path

from ops.files import open_regular

READ = 1 << 20  # bytes of a file
ContentSample = tuple[int, bytes]  # a file's size, and its first `READ` bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """num_frames: how many there are. fault: why the video cannot be used; empty if it can. remark: what is odd."""

    num_frames: int
    fault: str = ""
    remark: str = ""


def content_sample(file: Path) -> ContentSample:
    """Of a file. Raises OSError."""
    with open_regular(file) as opened:
        return os.fstat(opened.fileno()).st_size, opened.read(READ)
