"""Which frames of a video make a clip. Pure: number of frames (and a generator) in, frame numbers out.

Legend: n frames of the video, T segments of a clip, L consecutive frames a segment. All results are the
1-based numbers of each segment's *first* frame; there are P = n − L + 1 places where a segment fits (at least
one is assumed). Segments cut the P places into T equal parts.
"""

import numpy as np

from ops.errors import InputError

DENSE_WINDOW = 64  # frames a dense clip is spread over
DENSE_CLIPS = 10
TEST_MODES = ("uniform", "dense", "twice", "ten_sparse")


def train_indices(
    num_frames: int, segments: int, frames_per_segment: int, rng: np.random.Generator, dense: bool = False
) -> list[int]:
    """T first frames drawn at random: one in each part or, if `dense`, a window of 64 at a random start.

    In a video with fewer places than segments, frames repeat in order. The dense window steps by 64 // T and
    wraps around at the last place. Raises InputError if `dense` and T > 64.
    """
    places = _places(num_frames, frames_per_segment)
    if dense:
        return _dense_clip(int(rng.integers(max(0, places - DENSE_WINDOW) + 1)), segments, places)
    within = rng.random(segments)  # where in its part, in [0, 1)
    # The rounding of (t + within) may reach the next part's start; the last part has no next one.
    return [min(int((t + within[t]) * places / segments), places - 1) + 1 for t in range(segments)]


def val_indices(num_frames: int, segments: int, frames_per_segment: int, dense: bool = False) -> list[int]:
    """T first frames, the middle of each part; if `dense`, those of the middle window of 64 frames.

    A video with T places or fewer gives its first frame T times, as published. Raises InputError if `dense`
    and T > 64.
    """
    places = _places(num_frames, frames_per_segment)
    if dense:
        return _dense_clip(max(0, places - DENSE_WINDOW) // 2, segments, places)
    if places <= segments:
        return [1] * segments
    return _regular_clip(1, 2, segments, places)


def test_clips(
    num_frames: int, segments: int, frames_per_segment: int, mode: str, sparse_clips: int = 3
) -> list[list[int]]:
    """The clips a video is tested on, each T first frames.

    `uniform`: the middle of each part. `twice`: that, and each part's start. `dense`: ten windows of 64
    frames, starts spread over the video, wrapping around at its end. `ten_sparse`: `sparse_clips` clips
    shifted evenly within the parts: 3 as released, 10 as the name promises. As published, dense windows are
    laid over the n frames and not the P places, so that with L > 1 a segment may reach beyond the end (see
    `segment_frames`). Raises InputError for another mode, and if `dense` and T > 64.
    """
    places = _places(num_frames, frames_per_segment)
    if mode == "dense":
        last_start = max(0, num_frames - DENSE_WINDOW)
        starts = [k * last_start // (DENSE_CLIPS - 1) for k in range(DENSE_CLIPS)]
        return [_dense_clip(start, segments, num_frames) for start in starts]
    return [_regular_clip(shift, shifts, segments, places) for shift, shifts in places_in_parts(mode, sparse_clips)]


def places_in_parts(mode: str, sparse_clips: int = 3) -> list[tuple[int, int]]:
    """Where in its part each segment of each clip lies: `(1, 2)`, at one half, for the middle.

    For all modes of `test_clips` but `dense`, whose clips have no parts. Raises InputError for another mode.
    """
    if mode == "uniform":
        return [(1, 2)]
    if mode == "twice":
        return [(1, 2), (0, 1)]
    if mode == "ten_sparse":
        return [(k, sparse_clips) for k in range(sparse_clips)]
    raise InputError(f"Unknown test sampling {mode!r}; expected one of: {', '.join(TEST_MODES)}.")


def segment_frames(first_frames: list[int], frames_per_segment: int, num_frames: int) -> list[int]:
    """All T·L frame numbers of a clip; a segment reaching beyond the video's end repeats its last frame."""
    return [min(first + k, num_frames) for first in first_frames for k in range(frames_per_segment)]


def _places(num_frames: int, frames_per_segment: int) -> int:
    return max(1, num_frames - frames_per_segment + 1)


def _regular_clip(shift: int, shifts: int, segments: int, places: int) -> list[int]:
    """The frame at `shift / shifts` of each part. In whole numbers: floats would round some down a frame."""
    return [places * (t * shifts + shift) // (segments * shifts) + 1 for t in range(segments)]


def _dense_clip(start: int, segments: int, places: int) -> list[int]:
    """T frames at a stride of 64 // T from the 0-based `start`, wrapping around after `places`."""
    if segments > DENSE_WINDOW:
        raise InputError(
            f"Dense sampling spreads a clip over {DENSE_WINDOW} frames and cannot draw {segments} segments "
            f"from them; take at most {DENSE_WINDOW}."
        )
    stride = DENSE_WINDOW // segments
    return [(start + t * stride) % places + 1 for t in range(segments)]
