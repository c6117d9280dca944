"""Where a video changes from one shot to the next: a frame that differs from the one before as its neighbours do not.

A hard cut only; a dissolve is none, and a flash may be two. Found by comparing small pictures of consecutive frames,
each difference with those around it, so that neither motion nor noise is taken for a cut.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from av.video.reformatter import Interpolation

from ops.recognition.frame_times import TimedFrames, Timing

SIDE = 32  # pixels of the small pictures
LEAST = 8.0  # grey levels by which frames at a cut differ at least, in the mean
TIMES = 3.0  # times the mean difference of the frames around
AROUND = 2  # differences before, and as many after


def cuts_of(video: Path, timing: Timing) -> tuple[list[float], float]:
    """When new shots begin, and when the video ends, in seconds since its first frame. All of it is decoded.

    Raises DamageError if there is no frame; of a damaged video, what comes before the damage.
    """
    decoded = TimedFrames(video, timing)
    times, differences, before = [], [], None
    for time, frame in decoded:
        small = frame.reformat(SIDE, SIDE, "rgb24", interpolation=Interpolation.AREA).to_ndarray().astype(np.int16)
        if before is not None:
            times.append(time)
            differences.append(float(np.abs(small - before).mean()))
        before = small
    return [times[place] for place in places_of_cuts(np.array(differences))], decoded.seconds


def places_of_cuts(differences: np.ndarray) -> list[int]:
    """Of mean differences between consecutive frames, in grey levels: which are cuts."""
    found = []
    for place, value in enumerate(differences):
        near = np.concatenate(
            (differences[max(0, place - AROUND) : place], differences[place + 1 : place + 1 + AROUND])
        )
        if value >= LEAST and value >= TIMES * (near.mean() if len(near) else 0.0):
            found.append(place)
    return found
