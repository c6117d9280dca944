"""Many paths in few arrays, and where each stands among others: by 64 bits of each, and then by all its letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np

AT_ONCE = 1 << 16  # paths, so that what is counted of each takes little memory
FACTOR, LOW = 0x9E3779B97F4A7C15, (1 << 64) - 1


@dataclass(frozen=True, eq=False)
class Paths(Sequence[str]):
    """N paths; one is made a string when it is asked for. What is not UTF-8, as in a forged file, is escaped.

    text: UTF-8, holds the paths. starts, ends: where in it each lies, int64 `(N,)`.
    """

    text: bytes
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, paths: Sequence[str]) -> Paths:
        """From strings."""
        encoded = [path.encode(errors="surrogateescape") for path in paths]
        return cls.joined(b"".join(encoded), np.fromiter(map(len, encoded), np.int64, len(encoded)))

    @classmethod
    def joined(cls, text: bytes, lengths: np.ndarray) -> Paths:
        """Of paths one directly after the other, each of so many bytes."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(text, ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Paths: ...

    def __getitem__(self, place: int | slice) -> str | Paths:
        start, end = self.starts[place], self.ends[place]
        if isinstance(place, slice):
            return Paths(self.text, start, end)
        return self.text[start:end].decode(errors="surrogateescape")

    def take(self, places: np.ndarray) -> Paths:
        """Those at these places, with the text of all."""
        return Paths(self.text, self.starts[places], self.ends[places])

    def place(self, path: str) -> int:
        """Where a path stands, for the last time; -1: nowhere."""
        wanted = path.encode(errors="surrogateescape")
        order, ordered = self._ordered
        value = np.uint64(mark(wanted))
        first, end = (int(np.searchsorted(ordered, value, side)) for side in ("left", "right"))
        if end - first > 1:
            return self._of_shared_marks.get(path, -1)
        return int(order[first]) if end > first and self[int(order[first])] == path else -1

    def places(self, others: Paths) -> np.ndarray:
        """Where each of the other paths stands among these, as `place` says, all at once: int64 `(len(others),)`."""
        parts = (others[start : start + AT_ONCE] for start in range(0, len(others), AT_ONCE))
        return np.concatenate([np.empty(0, np.int64), *map(self._places, parts)])

    def _places(self, others: Paths) -> np.ndarray:
        if not len(self):
            return np.full(len(others), -1)
        order, ordered = self._ordered
        values = marks(others.text, others.starts, others.ends)
        nearest = np.maximum(np.searchsorted(ordered, values, "right") - 1, 0)
        found = order[nearest]
        alike = ordered[nearest] == values
        same = alike & self.take(found).equal(others)
        for place in np.flatnonzero(alike & ~same).tolist():  # two paths of one mark: forged, or a wonder
            found[place] = self._of_shared_marks.get(others[place], -1)
            same[place] = found[place] >= 0
        return np.where(same, found, -1)

    def equal(self, others: Paths) -> np.ndarray:
        """Which are the same as the other at their place, bool `(N,)`."""
        same = (self.ends - self.starts) == (others.ends - others.starts)
        asked = np.flatnonzero(same)
        mine, theirs = self.take(asked), others.take(asked)
        for (places, ours), (_, other) in zip(
            pieces(mine.text, mine.starts, mine.ends), pieces(theirs.text, theirs.starts, theirs.ends), strict=True
        ):
            same[asked[places[ours != other]]] = False
        return same

    @cached_property
    def _ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """The places in the order of the paths' marks, and these; of equal ones the earlier first."""
        parts = (self[start : start + AT_ONCE] for start in range(0, len(self), AT_ONCE))
        values = np.concatenate([marks(part.text, part.starts, part.ends) for part in parts])
        order = np.argsort(values, kind="stable")
        return order, values[order]

    @cached_property
    def _of_shared_marks(self) -> dict[str, int]:
        """Where each path stands whose mark others have too, for the last time. Marks can be forged, a dict's not."""
        order, ordered = self._ordered
        shared = np.zeros(len(order) + 1, bool)
        shared[1:-1] = ordered[1:] == ordered[:-1]
        return {self[place]: place for place in order[shared[1:] | shared[:-1]].tolist()}


def marks(text: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """64 bits of each path, uint64 `(N,)`, equal where paths are and next to never elsewhere; see `Paths`."""
    found = (ends - starts).astype(np.uint64)
    for places, words in pieces(text, starts, ends):
        mixed = (found[places] ^ words) * np.uint64(FACTOR)  # as in MurmurHash: multiply, then fold
        found[places] = mixed ^ (mixed >> np.uint64(32))
    return found


def mark(path: bytes) -> int:
    """The same of one path."""
    found = len(path)
    for at in range(0, max(1, len(path)), 8):
        mixed = (found ^ int.from_bytes(path[at : at + 8], "little")) * FACTOR & LOW
        found = mixed ^ mixed >> 32
    return found


def pieces(text: bytes, starts: np.ndarray, ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first eight bytes of all paths, as uint64, then the next of those that have more: which, and their bytes."""
    text = text if len(text) >= 8 else text + bytes(8)
    words = np.ndarray(len(text) - 7, "<u8", text, strides=(1,))  # eight bytes, from every place on
    within = np.array([(1 << 8 * k) - 1 for k in range(9)], np.uint64)  # the first k of them
    places = np.arange(len(starts))
    while len(places):
        at = np.minimum(starts, len(words) - 1)  # of the last ones all lie in the last word
        before = (np.minimum(starts - at, 7) * 8).astype(np.uint64)
        yield places, words[at] >> before & within[np.minimum(ends - starts, 8)]
        left = starts + 8 < ends
        places, starts, ends = places[left], starts[left] + 8, ends[left]
