"""What is known of the video files of a list: frames' numbers and times, key frames, or why a file cannot be used.

It is found once and kept beside the list, in `<list>.index.npz`, so that training starts at once the next time. A file
that another has taken the place of is looked at again: every start compares size and times, and where only the times
differ, as in a copied data set, a checksum of both ends.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ops.data.filestate import FileState
from ops.data.parallel import in_parallel
from ops.data.videofile import DamageError, FrameTable, scan
from ops.files import atomic_write
from ops.machine import usable_cores

logger = logging.getLogger(__name__)

FORMAT = b"2"
DIGEST = 32  # bytes at the file's end: the SHA-256 of FORMAT and of all before them
TOGETHER = 1000  # files whose state one thread asks for
THREADS = 16  # which wait, for the most part, for a network's answers
WORTH_PROCESSES = 200  # videos: fewer are looked through before other processes have started


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


def index_videos(list_file: Path, root: Path, paths: Sequence[str], jobs: int | None = None) -> dict[str, Indexed]:
    """What is known of each of `paths` below `root`; what is not known yet, or was at fault, or changed, is looked at.

    An interrupted look is kept as far as it came. Many files are looked at by `jobs` processes, or one a processor.
    """
    file = index_file(list_file)
    before = read_index(file)
    known = still_true(before, root, paths)
    left = [path for path in dict.fromkeys(paths) if path not in known]
    if left:
        logger.info("looking through %d of %d videos of %s", len(left), len(paths), list_file)
    elif all(entry is before[path] for path, entry in known.items()):
        return known
    processes = (jobs or usable_cores()) if len(left) >= WORTH_PROCESSES else 1
    try:
        with closing(in_parallel(partial(probe, root=root), left, processes)) as seen:
            known.update(seen)
    finally:
        _keep(file, known)
    return known


def still_true(before: Mapping[str, Indexed], root: Path, paths: Sequence[str]) -> dict[str, Indexed]:
    """What was found of those of `paths` whose files are the same; with their times of today."""
    asked = [path for path in dict.fromkeys(paths) if path in before and before[path].table]

    def today(start: int) -> list[Indexed | None]:
        return [_today(before[path], f"{root}/{path}") for path in asked[start : start + TOGETHER]]

    with ThreadPoolExecutor(THREADS) as threads:
        entries = [entry for part in threads.map(today, range(0, len(asked), TOGETHER)) for entry in part]
    return {path: entry for path, entry in zip(asked, entries, strict=True) if entry}


def _today(entry: Indexed, file: str) -> Indexed | None:
    try:
        state = entry.state.today(file)
    except OSError:
        return None
    return entry if state is entry.state else replace(entry, state=state) if state else None


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


def read_index(file: Path) -> dict[str, Indexed]:
    """The index that `write_index` wrote; empty, with a warning, if it cannot be read or is not as it was written."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        logger.warning("%s cannot be read (%s) and is made anew", file, error.strerror)
        return {}
    if content[-DIGEST:] != _digest(content[:-DIGEST]):
        logger.warning("%s is damaged, or of another version, and is made anew", file)
        return {}
    with np.load(io.BytesIO(content), allow_pickle=False) as saved:
        return _entries(dict(saved))


def write_index(file: Path, known: Mapping[str, Indexed]) -> None:
    """All of `known`, flattened into arrays without objects, and a digest of it all."""
    tables = [entry.table or FrameTable.untimed(0) for entry in known.values()]
    columns = {
        "sizes": [entry.state.size for entry in known.values()],
        "modified": [entry.state.modified for entry in known.values()],
        "changed": [entry.state.changed for entry in known.values()],
        "ends": [entry.state.ends for entry in known.values()],
        "num_frames": [table.num_frames for table in tables],
        "firsts": [table.first for table in tables],
        "widths": [table.size[0] for table in tables],
        "heights": [table.size[1] for table in tables],
    }
    arrays: dict[str, Any] = {
        "paths": _packed(list(known)),
        "faults": _packed([entry.fault for entry in known.values()]),
        **{name: np.array(column, dtype=np.int64) for name, column in columns.items()},
        **_flat("steps", [table.steps for table in tables]),
        **_flat("keys", [table.keys for table in tables]),
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    with atomic_write(file) as target:
        target.write(content.getvalue() + _digest(content.getvalue()))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(FORMAT + content).digest()


def _entries(arrays: dict[str, np.ndarray]) -> dict[str, Indexed]:
    def columns(*names: str) -> list[list[int]]:
        return [arrays[name].tolist() for name in names]

    paths, faults = _unpacked(arrays["paths"]), _unpacked(arrays["faults"])
    states = map(FileState, *columns("sizes", "modified", "changed", "ends"))
    sizes = zip(*columns("widths", "heights"), strict=True)
    tables = map(FrameTable, *columns("num_frames", "firsts"), _cut(arrays, "steps"), _cut(arrays, "keys"), sizes)
    rows = zip(paths, states, tables, faults, strict=True)
    return {path: Indexed(state, table if table.num_frames else None, fault) for path, state, table, fault in rows}


def _packed(texts: Sequence[str]) -> np.ndarray:
    """Lines as bytes; an array of texts would give each the length of the longest."""
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)


def _unpacked(packed: np.ndarray) -> list[str]:
    return packed.tobytes().decode().split("\n")


def _flat(name: str, ragged: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    lengths = np.array([len(row) for row in ragged], dtype=np.int64)
    return {name: np.concatenate(ragged) if ragged else np.empty(0, np.int64), f"{name}_lengths": lengths}


def _cut(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return np.split(arrays[name], np.cumsum(arrays[f"{name}_lengths"])[:-1])


def _keep(file: Path, known: dict[str, Indexed]) -> None:
    try:
        write_index(file, known)
    except OSError as error:  # a read-only data set: found again the next time
        logger.warning("%s cannot be written (%s): the videos are looked through again next time", file, error)
