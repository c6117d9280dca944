"""What a look at one video found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checked:
    """num_frames: how many there are. fault: why the video cannot be used; empty if it can. remark: what is odd."""

    num_frames: int
    fault: str = ""
    remark: str = ""
