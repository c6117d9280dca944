"""Decoded frames as pictures: turned, scaled and converted as FFmpeg's command line does it, by the same filters."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

Filters = list[tuple[str, str]]  # names and arguments
Size = tuple[int, int]  # width, height
NEWER = 16  # kinds of side data that FFmpeg has, or will have, beyond those that PyAV knows
UNTIMED = Fraction(1)  # the filters are asked for none, but want a unit of time


class Upright:
    """Makes the frames of one video RGB, uint8 `(H, W, 3)`, as `ffmpeg -i FILE -pix_fmt rgb24` gives them.

    They are turned and mirrored by their display matrix. A video's frames may change their size, as a call's do; all
    are scaled to `size`, which is that of the first frame as it is decoded. The filters are kept from frame to frame.
    """

    def __init__(self, size: Size | None = None) -> None:
        self._size = size  # None: that of the first frame that comes
        self._matrix: tuple[int, ...] = ()
        self._kind: tuple[Any, ...] = ()
        self._graph: Any = None

    def __call__(self, frame: Any) -> np.ndarray:
        """Of PyAV's frame."""
        self._size = self._size or (frame.width, frame.height)
        self._matrix = display_matrix(frame) or self._matrix  # one inside a stream holds until the next
        kind = (frame.width, frame.height, frame.format.name, self._matrix)
        if kind != self._kind:
            filters = _conversion(frame, _turning(self._matrix), self._size)
            self._graph, self._kind = _graph(frame, filters), kind
        return _through(self._graph, frame).to_ndarray()


def display_matrix(frame: Any) -> tuple[int, ...]:
    """The nine numbers of FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX; none where the frame has no matrix."""
    try:
        data = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # beside it is something that PyAV does not know: the EXIF data of a camera's Motion JPEG
        unknown = [("sidedata", f"mode=delete:type={kind}") for kind in range(len(Type), len(Type) + NEWER)]
        data = _through(_graph(frame, unknown), frame).side_data.get(Type.DISPLAYMATRIX)
    return struct.unpack("=9i", bytes(data)) if data else ()


def _turning(matrix: Sequence[int]) -> Filters:
    """The filters that FFmpeg's command line puts in for a display matrix (its option `autorotate`)."""
    if not matrix:
        return []
    angle = _angle(matrix)
    if angle == 90:
        return [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
    if angle == 180:
        return [("hflip", "")] * (matrix[0] < 0) + [("vflip", "")] * (matrix[4] < 0)
    if angle == 270:
        return [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
    if angle > 1:
        return [("rotate", f"{angle}*PI/180")]
    return [("vflip", "")] * (angle == 0 and matrix[4] < 0)


def _angle(matrix: Sequence[int]) -> int:
    """By which a matrix turns clockwise, in whole degrees from 0 to 359, whatever its scale; 0 if it has none."""
    a, b, _, c, d, *_ = matrix
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return 0
    return round(math.degrees(math.atan2(b / down, a / across))) % 360


def _conversion(frame: Any, turning: Filters, size: Size) -> Filters:
    """From frames like this one to RGB pictures, of the size that a frame of `size` has when it is turned."""
    width, height = size[::-1] if turning and turning[0][0] == "transpose" else size
    scaling = [("scale", f"{width}:{height}")] * ((frame.width, frame.height) != size)
    return [*turning, *scaling, ("format", "rgb24")]


def _graph(frame: Any, filters: Filters) -> Any:
    """For frames like this one."""
    graph = av.filter.Graph()
    if hasattr(graph, "threads"):  # not before PyAV 18; videos are worked on in parallel, not frames
        graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=UNTIMED)
    graph.link_nodes(source, *(graph.add(*filter) for filter in filters), graph.add("buffersink")).configure()
    return graph


def _through(graph: Any, frame: Any) -> Any:
    graph.vpush(frame)
    return graph.vpull()
