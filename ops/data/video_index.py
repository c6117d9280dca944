"""What is known of the video files of a list: frames' numbers and times, key frames, or why a file cannot be used.

It is found once and kept beside the list, in `<list>.index.npz`, so that training starts at once the next time.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ops.data.parallel import in_parallel
from ops.data.videofile import DamageError, FrameTable, scan
from ops.files import atomic_write
from ops.machine import usable_cores

logger = logging.getLogger(__name__)

FORMAT = 1
WORTH_PROCESSES = 200  # videos: fewer are looked through before other processes have started


@dataclass(frozen=True, slots=True)
class Indexed:
    """A file of `size` bytes: its table, or the reason why there is none."""

    size: int
    table: FrameTable | None = None
    fault: str = ""

    @property
    def num_frames(self) -> int:
        """0 where the file cannot be used."""
        return self.table.num_frames if self.table else 0


def index_videos(
    list_file: Path, root: Path, paths: Sequence[str], anew: bool = False, jobs: int | None = None
) -> dict[str, Indexed]:
    """What is known of each of `paths` below `root`; what is not known yet, or was at fault, is looked at.

    With `anew`, files of another size than before too. An interrupted look is kept as far as it came. Many files are
    looked at by `jobs` processes, or one a processor.
    """
    file = index_file(list_file)
    before = read_index(file)
    known = {path: before[path] for path in paths if path in before and before[path].table}
    if anew:
        known = {path: entry for path, entry in known.items() if _size(root / path) == entry.size}
    left = [path for path in dict.fromkeys(paths) if path not in known]
    if not left:
        return known
    logger.info("looking through %d of %d videos of %s", len(left), len(paths), list_file)
    processes = (jobs or usable_cores()) if len(left) >= WORTH_PROCESSES else 1
    try:
        with closing(in_parallel(partial(probe, root=root), left, processes)) as seen:
            known.update(seen)
    finally:
        if known != before:
            _keep(file, known)
    return known


def index_file(list_file: Path) -> Path:
    """Where the index of a list lies."""
    return list_file.with_name(f"{list_file.name}.index.npz")


def probe(path: str, root: Path) -> Indexed:
    """A file's table, or what is wrong with it."""
    file = root / path
    try:
        size = file.stat().st_size
        return Indexed(size, scan(file)) if size else Indexed(0, fault="the file is empty")
    except DamageError as error:
        return Indexed(size, fault=str(error).replace("\n", " "))
    except FileNotFoundError:
        return Indexed(0, fault="no such file")
    except OSError as error:
        return Indexed(0, fault=f"cannot be read ({error.strerror})")


def read_index(file: Path) -> dict[str, Indexed]:
    """The index that `write_index` wrote; empty if there is none, or none that can be read."""
    try:
        with np.load(file, allow_pickle=False) as saved:
            arrays = dict(saved)
        if arrays["format"] != FORMAT:
            return {}
        return _entries(arrays)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        logger.warning("%s cannot be read (%s) and is made anew", file, error)
        return {}


def write_index(file: Path, known: dict[str, Indexed]) -> None:
    """All of `known`, flattened into arrays without objects."""
    tables = [entry.table or FrameTable.untimed(0) for entry in known.values()]
    arrays: dict[str, Any] = {
        "format": FORMAT,
        "paths": _packed(list(known)),
        "faults": _packed([entry.fault for entry in known.values()]),
        "sizes": np.array([entry.size for entry in known.values()], dtype=np.int64),
        "num_frames": np.array([table.num_frames for table in tables], dtype=np.int64),
        "firsts": np.array([table.first for table in tables], dtype=np.int64),
        **_flat("steps", [table.steps for table in tables]),
        **_flat("keys", [table.keys for table in tables]),
    }
    with atomic_write(file) as target:
        np.savez_compressed(target, **arrays)


def _entries(arrays: dict[str, np.ndarray]) -> dict[str, Indexed]:
    steps, keys = _cut(arrays, "steps"), _cut(arrays, "keys")
    columns = (arrays[name].tolist() for name in ("sizes", "num_frames", "firsts"))
    rows = zip(_unpacked(arrays["paths"]), _unpacked(arrays["faults"]), *columns, steps, keys, strict=True)
    return {
        path: Indexed(size, FrameTable(count, first, step, key) if count else None, fault)
        for path, fault, size, count, first, step, key in rows
    }


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


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _keep(file: Path, known: dict[str, Indexed]) -> None:
    try:
        write_index(file, known)
    except OSError as error:  # a read-only data set: found again the next time
        logger.warning("%s cannot be written (%s): the videos are looked through again next time", file, error)
