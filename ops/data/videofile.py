"""One video file: how its frames are numbered, all of them in order, and some of them by number.

Frames are numbered from 1 in the order in which decoding from the start shows them; `tools/vid2img.py` numbers its
pictures so, and picking frames by number gives the very same pixels. FFmpeg's command line is the measure of which
stream it is, which frames there are and what they look like (`upright`). Untrusted files: only known containers are
opened, nothing but the file itself is read, and a frame larger than MAX_PIXELS is refused before it is decoded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise, tee, zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from ops.data.bounds import MAX_FRAMES, MAX_PIXELS, size_fault
from ops.data.containers import cut_off
from ops.data.mp4_header import claims_fault, is_boxes
from ops.data.upright import Size, Upright
from ops.files import open_regular

EXTENSIONS = frozenset(
    ".264 .265 .3g2 .3gp .asf .avi .divx .f4v .flv .h264 .h265 .hevc .m1v .m2p .m2t .m2ts .m2v .m4v .mj2 .mk3d .mkv"
    " .mod .mov .mp4 .mpe .mpeg .mpg .mpv .mqv .mts .ogm .ogv .qt .tod .tp .trp .ts .vob .vro .webm .wm .wmv"
    " .xvid".split()
)
# FFmpeg's names of the containers that the extensions stand for. Playlists, which name other files, are not among them.
OTHER_CONTAINERS = "matroska,webm,avi,flv,live_flv,asf,ogg,mpeg,mpegts,mpegvideo,h264,hevc,m4v"
CONTAINERS = f"mov,mp4,m4a,3gp,3g2,mj2,{OTHER_CONTAINERS}"
BOUNDED = {"max_pixels": str(MAX_PIXELS)}  # also of frames larger than the header says, and while FFmpeg probes
# Where a packet's time is its frame's time, so that the frames can be numbered without decoding them.
TIMED_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
TIMED_CODECS = {"h264", "hevc", "vp9", "av1", "libdav1d", "mjpeg"}
# Decoders that can be told, before each packet, to leave out a frame that no other frame needs. Of these codecs, too,
# the frames' size is known once a file is open; of the others only the first frame tells it.
SKIPPING_CODECS = {"h264", "hevc"}
# Containers whose header states a duration. Of others FFmpeg takes it from the last timestamps, or guesses.
STATING_CONTAINERS = {*TIMED_CONTAINERS, "avi", "flv", "asf"}
DEFAULT_WORTH = 5_000_000  # pixels: how much FFmpeg's choice of a stream favours the one marked as the default
JUST_NOW = 1_000_000_000  # ns; file systems count time in steps of milliseconds, old ones of a second
REMEMBERED = 1 << 14  # files; a third of a kilobyte each
LEAP = 1.0  # seconds from one packet to the next: more, or any way back, is where captures were joined


def video_names(paths: Sequence[str]) -> list[str]:
    """What the videos of a list are known by wherever their frames come from: their paths without a video's ending.

    Where two of them differ by the ending alone they keep it. A folder `clip.v2` has no such ending.
    """
    distinct = Counter(_without_ending(path) for path in set(paths))
    return [name if distinct[name] == 1 else path for path in paths for name in [_without_ending(path)]]


def _without_ending(path: str) -> str:
    stem, _, ending = path.rpartition(".")
    return stem if f".{ending.lower()}" in EXTENSIONS and stem and stem[-1] != "/" else path


class DamageError(Exception):
    """The video cannot be read (further): why, in plain words, without its name."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """When the frames of a video are shown, in the file's own unit, and where decoding can begin.

    first: the first frame's time. steps: from each frame to the next, int64 `(num_frames - 1,)`, or `(1,)` where all
    are alike, so that the tables of a million videos fit into memory. keys: the key frames' places, int64; none where
    the file's times cannot be trusted: there frames are counted from the start. size: of the first frame as it is
    decoded, before it is turned; `(0, 0)` where frames are counted.
    """

    num_frames: int
    first: int
    steps: np.ndarray
    keys: np.ndarray
    size: Size = (0, 0)

    @classmethod
    def of(cls, times: np.ndarray, keys: np.ndarray, size: Size) -> FrameTable:
        """From all frames' times, which rise."""
        steps = np.diff(times)
        alike = len(steps) > 0 and (steps == steps[0]).all()
        return cls(len(times), int(times[0]), steps[:1] if alike else steps, keys, size)

    @classmethod
    def untimed(cls, num_frames: int) -> FrameTable:
        """Of a file whose frames can only be counted."""
        nothing = np.empty(0, dtype=np.int64)
        return cls(num_frames, 0, nothing, nothing)

    def times(self) -> np.ndarray:
        """Of all frames, int64 `(num_frames,)`."""
        steps = np.broadcast_to(self.steps, self.num_frames - 1)
        return self.first + np.concatenate(([0], np.cumsum(steps)))


@contextmanager
def opened(video: Path) -> Iterator[tuple[Any, Any]]:
    """The open container and its video stream, decoding on one thread. Raises DamageError, or OSError."""
    state = video.stat()
    settled = time.time_ns() - state.st_mtime_ns > JUST_NOW  # else another of its size may have the same time
    of_boxes, excess = _remembered(video, state.st_size, state.st_mtime_ns) if settled else _looked_at(video)
    if excess:
        raise DamageError(excess)
    containers = CONTAINERS if of_boxes else OTHER_CONTAINERS  # so that nothing unlooked at is taken for an MP4
    try:
        # An absolute path, because "a:b.mp4" would be taken for a protocol; tags may be in any encoding.
        with av.open(
            str(video.absolute()),
            metadata_errors="replace",
            container_options={"format_whitelist": containers, "protocol_whitelist": "file"},
            options=BOUNDED,
        ) as container:
            stream = _chosen(container.streams.video)
            context = stream.codec_context
            if context is None:
                raise DamageError("no decoder for its video stream")
            if fault := size_fault(context.width, context.height):
                raise DamageError(fault)
            context.thread_count = 1  # videos are worked on in parallel, not frames
            context.options = BOUNDED
            yield container, stream
    except av.error.FFmpegError as fault:
        if isinstance(fault, OSError):  # the disk's or the network's fault, not damage
            raise
        if isinstance(fault, av.error.ArgumentError):  # as of a container that is not on the list
            large = f"frames of more than the {MAX_PIXELS:,} pixels allowed"
            raise DamageError(f"Invalid data, a container that is not read, or {large}") from None
        raise DamageError(str(fault.strerror)) from None


@lru_cache(REMEMBERED)
def _remembered(video: Path, _size: int, _modified: int) -> tuple[bool, str]:
    return _looked_at(video)


def _looked_at(video: Path) -> tuple[bool, str]:
    """Whether a file is an MP4, and why it is not to be opened. Raises OSError as `open_regular` does."""
    with open_regular(video) as content:  # FFmpeg would wait for what comes through a pipe
        of_boxes = is_boxes(content.read(8))
        return of_boxes, claims_fault(content) if of_boxes else ""


def _chosen(streams: Sequence[Any]) -> Any:
    """The video stream that FFmpeg's command line takes: the largest, or the default one; a cover picture is none."""
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise DamageError("no video stream" + ", only a cover picture" * bool(streams))

    def worth(stream: Any) -> int:
        pixels = stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0
        return int(pixels + DEFAULT_WORTH * bool(stream.disposition & Disposition.default))

    return max(moving, key=worth)  # of equal ones the first


def frames(video: Path) -> Iterator[Any]:
    """Every frame of a video in order of display, as PyAV's.

    Raises:
        DamageError: it is no video or has no frames, a packet or frame is corrupt, or it ends long before the
            duration it declares. Frames before the damage have been given out by then.
    """
    count, end = 0, 0.0
    with opened(video) as (container, stream):
        try:
            for packet, incomplete in _packets(container, stream):
                if incomplete:
                    raise DamageError(f"incomplete packet after {count} frames")
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise DamageError(f"corrupt frame after {count} frames")
                    count += 1
                    end = max(end, _end_of(frame, stream))
                    yield frame
        except av.error.FFmpegError as fault:
            if isinstance(fault, OSError) or not count:
                raise
            raise DamageError(f"{fault.strerror} after {count} frames") from None
        if not count:
            raise DamageError("no frames")
        _refuse_early_end(container, stream, end, count)


def salvaged(video: Path) -> tuple[int, str]:
    """How many frames a damaged file gives before the damage, and what it is; all of them, and "", of a whole one.

    Raises DamageError if there is not one.
    """
    count = 0
    try:
        for _ in frames(video):
            count += 1
    except DamageError as damage:
        if not count:
            raise
        return count, str(damage)
    return count, ""


def duration(video: Path, table: FrameTable) -> float | None:
    """How long the frames of `table` are shown, in seconds; None where the file does not say. Raises DamageError."""
    with opened(video) as (_, stream):
        rate = stream.average_rate or stream.guessed_rate
        if len(table.keys) and stream.time_base and table.num_frames > 1:
            times = table.times()
            return float((times[-1] - times[0] + table.steps[-1]) * stream.time_base)
        return float(table.num_frames / rate) if rate else None


def rgb_frames(video: Path) -> Iterator[np.ndarray]:
    """Every frame of a video in order of display, upright, of one size: uint8 `(H, W, 3)`. Raises DamageError."""
    yield from map(Upright(), frames(video))


def scan(video: Path) -> FrameTable:
    """The table of a video's frames; from its packets where these can be trusted, else by decoding it.

    Raises DamageError as `frames` does, but for damage inside packets, which only decoding finds.
    """
    with opened(video) as (container, stream):
        timed = container.format.name in TIMED_CONTAINERS and stream.codec_context.name in TIMED_CODECS
        table = _from_packets(container, stream) if timed else None
    # What a container such as AVI says of times differs before and after a seek.
    return table or FrameTable.untimed(sum(1 for _ in frames(video)))


def read(video: Path, table: FrameTable, numbers: Sequence[int]) -> list[np.ndarray]:
    """The frames of these numbers, which rise, each uint8 `(H, W, 3)` of one size.

    Decodes from the last key frame before each, and of those in between only what they need. Raises DamageError.
    """
    with opened(video) as (container, stream):
        if not len(table.keys):
            return _counted(container, stream, numbers)
        if fault := size_fault(*table.size, len(numbers)):
            raise DamageError(fault)
        wanted, all_times = np.asarray(numbers) - 1, table.times()
        keys = table.keys[np.searchsorted(table.keys, wanted, side="right") - 1]  # the last before each
        upright, found = Upright(table.size), list[np.ndarray]()
        for key in np.unique(keys):
            times = all_times[wanted[keys == key]].tolist()
            found += _after_key(container, stream, int(all_times[key]), times, upright)
        return found


def _from_packets(container: Any, stream: Any) -> FrameTable | None:
    """None where the packets leave in doubt which frames there will be."""
    times: list[int] = []
    keys: list[int] = []
    end, start = 0.0, None
    for packet, incomplete in _packets(container, stream):
        start = start or packet
        if not packet.size:
            continue  # the end
        if incomplete:
            raise DamageError(f"incomplete packet after {len(times)} frames")
        if packet.pts is None or packet.is_discard or not (times or packet.is_keyframe):
            return None
        times.append(packet.pts)
        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.is_keyframe:
            keys.append(packet.pts)
    if not times:
        return None
    _refuse_early_end(container, stream, end, len(times))
    order = np.unique(np.asarray(times, dtype=np.int64))
    if len(order) < len(times) or order[0] != keys[0]:
        return None
    keys_at = np.searchsorted(order, np.unique(np.asarray(keys, dtype=np.int64)))
    return FrameTable.of(order, keys_at, _size(stream.codec_context, start))


def _size(context: Any, packet: Any) -> Size:
    """Of the first frame, which is in this packet."""
    if context.name not in SKIPPING_CODECS:
        context.decode(packet)
        context.decode(None)
    return context.width, context.height


def _packets(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Each packet, and whether it lacks a part; the last is empty and drains the decoder.

    Where captures are joined in MPEG-TS, the counters that tell of losses begin anew, and a packet of the first one's
    last two seems to lack a part. That is no loss: the time leaps there, to a key frame.
    """
    demuxed = _bounded(container.demux(stream))
    if container.format.name != "mpegts":
        yield from ((packet, packet.is_corrupt) for packet in demuxed)
        return
    now, second, third = tee(demuxed, 3)
    for packet, *next_two in zip_longest(now, islice(second, 1, None), islice(third, 2, None)):
        joined = any(_leaps(a, b) for a, b in pairwise([packet, *next_two]))
        yield packet, packet.is_corrupt and not joined


def _bounded(packets: Iterable[Any]) -> Iterator[Any]:
    """Raises DamageError where they do not end."""
    for number, packet in enumerate(packets):
        if number > MAX_FRAMES:
            raise DamageError(f"more than {MAX_FRAMES:,} packets")
        yield packet


def _leaps(packet: Any, following: Any) -> bool:
    if packet is None or following is None or packet.dts is None or following.dts is None:
        return False
    seconds = float((following.dts - packet.dts) * packet.time_base)
    return following.is_keyframe and not 0 <= seconds <= LEAP


def _counted(container: Any, stream: Any, numbers: Sequence[int]) -> list[np.ndarray]:
    """Frames by counting from the start."""
    left, found, upright = set(numbers), [], None
    for number, frame in enumerate(container.decode(stream), start=1):
        if frame.is_corrupt:
            raise DamageError(f"corrupt frame {number}")
        if not upright:
            upright = Upright((frame.width, frame.height))
            if fault := size_fault(frame.width, frame.height, len(left)):
                raise DamageError(fault)
        if number in left:
            found.append(upright(frame))
        if len(found) == len(left):
            return found
    raise DamageError(f"it has no frame {max(left)}: changed since its frames were counted")


def _after_key(container: Any, stream: Any, key: int, times: Sequence[int], upright: Upright) -> list[np.ndarray]:
    """The frames shown at `times`, which rise, decoding from the key frame shown at `key`."""
    found: dict[int, np.ndarray] = {}
    context = stream.codec_context
    skips = context.name in SKIPPING_CODECS
    for packet in _packets_from(container, stream, key):
        if packet.is_corrupt:
            raise DamageError(f"incomplete packet near frame time {packet.pts}")
        if skips:  # a frame that is not wanted is decoded only if others are made from it
            context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in times else "NONREF"
        for frame in packet.decode():
            if frame.pts is None or frame.pts < key:
                continue  # shown before the key frame, and perhaps made from frames that were not decoded
            if frame.is_corrupt:
                raise DamageError(f"corrupt frame at time {frame.pts}")
            if frame.pts in times:
                found[frame.pts] = upright(frame)
        if len(found) == len(times):
            break
    if missing := [time for time in times if time not in found]:
        raise DamageError(f"no frame is decoded for time {missing[0]}, of which the file has a packet")
    return [found[time] for time in times]


def _packets_from(container: Any, stream: Any, key: int) -> Iterator[Any]:
    """Packets from the key frame shown at `key`, or an earlier one, on; the last is empty and drains the decoder."""
    container.seek(key, stream=stream, backward=True)
    first = next(container.demux(stream), None)
    if first is None or first.pts is None or first.pts > key:  # the container sought by other times: from the start
        start = stream.start_time or 0
        container.seek(min(0, start), stream=stream, backward=True)
    elif first.size:
        yield first
    yield from container.demux(stream)


def _refuse_early_end(container: Any, stream: Any, end: float, count: int) -> None:
    """Raises DamageError where the stream ends, in seconds, long before the file's header says, and is cut off."""
    missing = _declared_duration(container, stream) - end
    if missing > max(0.5, 0.05 * (end + missing)) and cut_off(Path(container.name), container.format.name):
        raise DamageError(f"ends {missing:.1f} s early, after {count} frames ({end:.1f} s)")


def _end_of(frame: Any, stream: Any) -> float:
    """When a frame stops being shown, in seconds; 0 where the file does not say."""
    if frame.time is None:
        return 0.0
    duration = getattr(frame, "duration", 0)
    if duration and frame.time_base:
        return float(frame.time + duration * frame.time_base)
    return float(frame.time + (1 / stream.average_rate if stream.average_rate else 0))


def _declared_duration(container: Any, stream: Any) -> float:
    """When the stream ends according to the file's header, in seconds; 0 where it does not say."""
    if container.format.name not in STATING_CONTAINERS:
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base) + min(0.0, float((stream.start_time or 0) * stream.time_base))
    if container.duration and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return 0.0
