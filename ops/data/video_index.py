"""What is known of the video files of a list: frames' numbers and times, key frames, or why a file cannot be used.

It is found once and kept beside the list, in `<list>.index.npz`, so that training starts at once the next time. A file
that another has taken the place of is looked at again: every start compares size and times, and where only the times
differ, as in a copied data set, a checksum of both ends.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ops.data.bounds import MAX_FRAMES, MAX_PIXELS
from ops.data.filestate import FileState
from ops.data.parallel import in_parallel
from ops.data.paths import Paths
from ops.data.stored_arrays import stored_arrays
from ops.data.videofile import DamageError, FrameTable, scan
from ops.files import atomic_write, read_regular
from ops.machine import usable_cores

logger = logging.getLogger(__name__)

FORMAT = b"3"
MOST_BYTES = 4 << 30  # of it: a million videos of 500 frames, each shown for a time of its own
DIGEST = 32  # bytes at the file's end: the SHA-256 of FORMAT and of all before them
TOGETHER = 1000  # files whose state one thread asks for, and videos whose objects are made arrays at a time
THREADS = 16  # which wait, for the most part, for a network's answers
WORTH_PROCESSES = 200  # videos: fewer are looked through before other processes have started
# A video: its file's state, its table's numbers, and how many of the texts' bytes and of the steps and keys are its.
STATE = [("size", "<i8"), ("modified", "<i8"), ("changed", "<i8"), ("ends", "<u4")]
TABLE = [("num_frames", "<u4"), ("first", "<i8"), ("width", "<u4"), ("height", "<u4")]
VIDEO = np.dtype([*STATE, *TABLE, ("path", "<u4"), ("fault", "<u4"), ("steps", "<u4"), ("keys", "<u4")])
POOLS = {"path": np.uint8, "fault": np.uint8, "steps": np.int64, "keys": np.uint32}
ARRAYS = {"videos": VIDEO, **{name: np.dtype(form) for name, form in POOLS.items()}}


@dataclass(frozen=True, slots=True)
class Indexed:
    """A file as it was when it was looked at: its table, or the reason why there is none."""

    state: FileState
    table: FrameTable | None = None
    fault: str = ""

    @property
    def num_frames(self) -> int:
        """0 where the file cannot be used."""
        return self.table.num_frames if self.table else 0


class VideoIndex(Mapping[str, Indexed]):
    """What is known of N videos, by their paths; of two with one path, of the later. An object is made when asked for.

    videos: VIDEO `(N,)`. pools: for each of POOLS the parts of all rows, one after the other. So a million videos are
    few arrays, which processes share after a fork. Raises ValueError where these do not fit together.
    """

    def __init__(self, videos: np.ndarray, pools: Mapping[str, np.ndarray]) -> None:
        self.videos = videos
        self.pools = pools
        self.starts = {}
        for name, pool in pools.items():
            ends = np.cumsum(videos[name], dtype=np.int64)
            if len(pool) != (ends[-1] if len(ends) else 0):
                raise ValueError(f"{name}: {len(pool)} instead of {ends[-1:]}")
            self.starts[name] = ends - videos[name]
        self.paths = Paths.joined(pools["path"].tobytes(), videos["path"].astype(np.int64))

    @classmethod
    def of(cls, known: Mapping[str, Indexed]) -> VideoIndex:
        """From objects."""
        entries = list(known.values())
        tables = [entry.table or FrameTable.untimed(0) for entry in entries]
        parts = {
            "path": [np.frombuffer(path.encode(errors="surrogateescape"), np.uint8) for path in known],
            "fault": [np.frombuffer(entry.fault.encode(errors="surrogateescape"), np.uint8) for entry in entries],
            "steps": [table.steps for table in tables],
            "keys": [table.keys for table in tables],
        }
        videos = np.zeros(len(entries), VIDEO)
        for name, _ in STATE:
            videos[name] = [getattr(entry.state, name) for entry in entries]
        videos["num_frames"] = [table.num_frames for table in tables]
        videos["first"] = [table.first for table in tables]
        videos["width"], videos["height"] = np.array([table.size for table in tables]).reshape(-1, 2).T
        for name, ragged in parts.items():
            videos[name] = [len(part) for part in ragged]
        return cls(videos, {name: _joined(ragged, POOLS[name]) for name, ragged in parts.items()})

    @classmethod
    def joined(cls, parts: Sequence[VideoIndex]) -> VideoIndex:
        """All rows of these."""
        pools = {name: _joined([part.pools[name] for part in parts], form) for name, form in POOLS.items()}
        return cls(np.concatenate([np.empty(0, VIDEO), *(part.videos for part in parts)]), pools)

    def take(self, rows: np.ndarray) -> VideoIndex:
        """These rows alone."""
        pools = {}
        for name, pool in self.pools.items():
            starts, lengths = self.starts[name][rows], self.videos[name][rows].astype(np.int64)
            pools[name] = _joined([_cut(pool, s, n) for s, n in _portions(starts, lengths)], POOLS[name])
        return VideoIndex(self.videos[rows], pools)

    def row(self, row: int) -> Indexed:
        """The one at this place."""
        values = dict(zip(VIDEO.names or (), self.videos[row].item(), strict=True))
        own = {name: pool[(at := int(self.starts[name][row])) : at + values[name]] for name, pool in self.pools.items()}
        state = FileState(*(values[name] for name, _ in STATE))
        size = (values["width"], values["height"])
        keys = own["keys"].astype(np.int64)
        table = FrameTable(values["num_frames"], values["first"], own["steps"], keys, size)
        return Indexed(state, table if table.num_frames else None, own["fault"].tobytes().decode(errors="replace"))

    def __getitem__(self, path: str) -> Indexed:
        if (row := self.paths.place(path)) < 0:
            raise KeyError(path)
        return self.row(row)

    def __iter__(self) -> Iterator[str]:
        last = self.paths.places(self.paths)
        return (self.paths[place] for place in np.flatnonzero(last == np.arange(len(last))).tolist())

    def __len__(self) -> int:
        return int((self.paths.places(self.paths) == np.arange(len(self.paths))).sum())

    def __or__(self, others: Mapping[str, Indexed]) -> VideoIndex:
        """Both; where they speak of one path, what the others say."""
        added = others if isinstance(others, VideoIndex) else VideoIndex.of(others)
        return VideoIndex.joined([self, added]) if len(self.videos) else added


def index_videos(list_file: Path, root: Path, paths: Sequence[str], jobs: int | None = None) -> VideoIndex:
    """What is known of each of `paths` below `root`; what is not known yet, or was at fault, or changed, is looked at.

    An interrupted look is kept as far as it came. Many files are looked at by `jobs` processes, or one a processor.
    """
    file, asked = index_file(list_file), paths if isinstance(paths, Paths) else Paths.of(paths)
    before = read_index(file)
    rows = before.paths.places(asked)
    known, same = still_true(before, root, np.unique(rows[rows >= 0]))
    left = list(dict.fromkeys(asked[place] for place in np.flatnonzero((rows < 0) | ~same[rows]).tolist()))
    if left:
        logger.info("looking through %d of %d videos of %s", len(left), len(asked), list_file)
    elif known is before:
        return known
    processes = (jobs or usable_cores()) if len(left) >= WORTH_PROCESSES else 1
    parts, fresh = [known], dict[str, Indexed]()
    try:
        with closing(in_parallel(partial(probe, root=root), left, processes)) as seen:
            for path, entry in seen:
                fresh[path] = entry
                if len(fresh) == TOGETHER:
                    parts.append(VideoIndex.of(fresh))
                    fresh = {}
    finally:
        known = VideoIndex.joined([*parts, VideoIndex.of(fresh)])
        _keep(file, known)
    return known


def still_true(before: VideoIndex, root: Path, rows: np.ndarray) -> tuple[VideoIndex, np.ndarray]:
    """What was found of these rows whose files are the same, with their times of today; which rows of all these are.

    It is `before` itself where nothing is other than then.
    """
    rows = rows[before.videos["num_frames"][rows] > 0]
    paths, same = before.paths.take(rows), np.zeros(len(before.videos) + 1, bool)  # one more: of -1, which is no row
    differing = list[int]()

    def look(start: int) -> None:
        part = rows[start : start + TOGETHER]
        today = np.array([_state(f"{root}/{path}") for path in paths[start : start + TOGETHER]], np.int64)  # (n, 3)
        alike = np.stack([before.videos[name][part] for name in ("size", "modified", "changed")], 1) == today
        same[part] = alike.all(1)
        differing.extend(part[alike[:, 0] & ~same[part]].tolist())

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(look, range(0, len(rows), TOGETHER)):
            pass
    if same[:-1].all():
        return before, same
    kept, touched = np.flatnonzero(same), dict[str, Indexed]()
    for row in sorted(differing):
        entry, path = before.row(row), before.paths[row]
        if state := _today(entry.state, f"{root}/{path}"):
            touched[path], same[row] = Indexed(state, entry.table), True
    return before.take(kept) | touched, same


def _state(file: str) -> tuple[int, int, int]:
    """Size and times; no file has those of one that is not there."""
    try:
        status = os.stat(file)  # noqa: PTH116 (of a million files; a Path takes as long as the question)
    except OSError:
        return -1, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _today(state: FileState, file: str) -> FileState | None:
    try:
        return state.today(file)
    except OSError:
        return None


def index_file(list_file: Path) -> Path:
    """Where the index of a list lies."""
    return list_file.with_name(f"{list_file.name}.index.npz")


def probe(path: str, root: Path) -> Indexed:
    """A file's table, or what is wrong with it."""
    file, state = root / path, FileState()
    try:
        state = FileState.of(file)  # before the look: what takes the file's place meanwhile is seen the next time
        return Indexed(state, scan(file)) if state.size else Indexed(state, fault="the file is empty")
    except DamageError as error:
        return Indexed(state, fault=str(error).replace("\n", " "))
    except FileNotFoundError:
        return Indexed(state, fault="no such file")
    except OSError as error:
        return Indexed(state, fault=f"cannot be read ({error.strerror})")


def read_index(file: Path) -> VideoIndex:
    """The index that `write_index` wrote; empty, with a warning, if it cannot be read or is not as it was written."""
    try:
        content = read_regular(file, MOST_BYTES)
    except FileNotFoundError:
        return VideoIndex.of({})
    except OSError as error:
        logger.warning("%s cannot be read (%s) and is made anew", file, error.strerror)
        return VideoIndex.of({})
    try:
        if content[-DIGEST:] != _digest(memoryview(content)[:-DIGEST]):
            raise ValueError("another digest")
        arrays = stored_arrays(content, ARRAYS)
        index = VideoIndex(arrays.pop("videos"), arrays)
        _refuse_nonsense(index.videos, index.pools)
        return index
    except ValueError:
        logger.warning("%s is damaged, or of another version, and is made anew", file)
        return VideoIndex.of({})


def _refuse_nonsense(videos: np.ndarray, pools: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError for what no look at videos has found, or would take more memory than a video can ask for."""
    frames, steps = videos["num_frames"], videos["steps"]
    most = np.minimum(videos["size"], MAX_FRAMES)  # a frame takes a byte of its file at least
    bounded = frames <= np.maximum(most, 0).astype(np.uint64)
    fitting = (steps == 1) | (steps + 1 == frames) | ((steps == 0) & (videos["keys"] == 0))
    fitting &= videos["width"].astype(np.uint64) * videos["height"] <= MAX_PIXELS
    if not (bounded.all() and fitting.all() and (pools["keys"] < np.repeat(frames, videos["keys"])).all()):
        raise ValueError("numbers that do not fit together")


def write_index(file: Path, known: VideoIndex) -> None:
    """All of `known`, as arrays without objects, and a digest of it all."""
    content = io.BytesIO()
    np.savez(content, videos=known.videos, **known.pools)  # type: ignore[arg-type]
    with atomic_write(file) as target:
        target.write(content.getbuffer())
        target.write(_digest(content.getbuffer()))


def _digest(content: memoryview) -> bytes:
    digest = hashlib.sha256(FORMAT)
    digest.update(content)
    return digest.digest()


def _joined(parts: Sequence[np.ndarray], form: type) -> np.ndarray:
    return np.concatenate([np.empty(0, form), *parts]).astype(form, copy=False)


def _portions(starts: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """So many rows at a time that their places take little memory."""
    for at in range(0, len(starts), TOGETHER):
        yield starts[at : at + TOGETHER], lengths[at : at + TOGETHER]


def _cut(pool: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The parts of a pool, each from a start on so long, one after the other."""
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return pool[np.repeat(starts, lengths) + within]


def _keep(file: Path, known: VideoIndex) -> None:
    try:
        write_index(file, known)
    except OSError as error:  # a read-only data set: found again the next time
        logger.warning("%s cannot be written (%s): the videos are looked through again next time", file, error)
