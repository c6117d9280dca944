"""How a timeline is made; apart from what makes it, so that options can be checked without loading torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.errors import InputError

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}  # of a rendered video


@dataclass(frozen=True)
class TimelineOptions:
    """How a video is cut into windows, and segments are made of their probabilities.

    window, stride: seconds; stride None: a fifth of the window. smooth: seconds over which the windows' probabilities
    are averaged, the sure ones counting more; None: the window, so that those count that see the time itself. A class
    begins once it is the most probable and at least `enter`. It goes on as long as it has at least `stay`, and no other
    that has `enter` is more probable. shortest: seconds; None: half of the window; shorter segments are dropped. cuts:
    windows end where a shot does (see `cuts`); then smoothing, too, keeps to a shot. Raises InputError that lists every
    number that cannot be.
    """

    window: float
    stride: float | None = None
    smooth: float | None = None
    enter: float = 0.5
    stay: float = 0.3
    shortest: float | None = None
    cuts: bool = False

    def __post_init__(self) -> None:
        faults = []
        if not 0 < self.window < math.inf:
            faults.append(f"--window {self.window:g}: seconds, more than 0")
        elif not 0 < self.every <= self.window:
            faults.append(
                f"--stride {self.every:g}: seconds, more than 0 and at most --window {self.window:g}, or parts of the "
                "video would be in no window"
            )
        if not 0 <= self.smoothing < math.inf:
            faults.append(f"--smooth {self.smoothing:g}: seconds, or 0 to smooth nothing")
        if not 0 <= self.stay <= self.enter <= 1:
            faults.append(f"--stay {self.stay:g} --enter {self.enter:g}: probabilities, --stay not above --enter")
        if not 0 <= self.least < math.inf:
            faults.append(f"--shortest {self.least:g}: seconds, 0 or more")
        if faults:
            raise InputError("; ".join(faults))

    def described(self) -> dict[str, float | bool]:
        """All numbers, as JSON has them."""
        return asdict(self) | {"stride": self.every, "smooth": self.smoothing, "shortest": self.least}

    @property
    def every(self) -> float:
        """The stride in seconds."""
        return self.window / 5 if self.stride is None else self.stride

    @property
    def smoothing(self) -> float:
        """Over how many seconds probabilities are averaged."""
        return self.window if self.smooth is None else self.smooth

    @property
    def around(self) -> int:
        """How many windows to each side of one have their middles less than half of that from its own."""
        return max(0, math.ceil(self.smoothing / 2 / self.every - 1e-9) - 1)  # 0.3 / 2 / 0.05 is 2.9999999999999996

    @property
    def least(self) -> float:
        """How short a segment may be, in seconds."""
        return self.window / 2 if self.shortest is None else self.shortest


def check_format(file: Path) -> None:
    """Raises InputError for a name whose ending is of no container that is written."""
    if file.suffix.lower() not in FORMATS:
        raise InputError(f"--render {file}: expected a name that ends in {', '.join(FORMATS)}")
