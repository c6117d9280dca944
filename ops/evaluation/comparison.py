"""Two tests of the same videos: matched, compared, and which videos one of them alone gets right.

Legend: `N` videos that both tests have judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ops.errors import InputError
from ops.evaluation.ensemble import Names
from ops.evaluation.outcomes import Outcomes
from ops.evaluation.paired import LEVEL, Paired, mcnemar
from ops.files import write_text
from ops.tables import as_csv

FLIPS = "flips.csv"  # in a comparison's folder
SHOWN = 3  # names in a message

Key = tuple[str, int]  # what a video is known by, and its how-manieth of that name in its list


@dataclass(frozen=True)
class Flip:
    """A video that one of two tests alone got right: its name, its path in either list, and what each took it for."""

    name: str
    paths: tuple[str, str]
    true: str
    predicted: tuple[str, str]
    probability: tuple[float, float]
    gained: bool  # it is the second that got it right


@dataclass(frozen=True)
class Comparison:
    """What two tests made of N videos.

    sources: their names. true: the classes. right: bool `(2, N)`. flips: as they stand in the first list. left_out: the
    names of the videos that one test or both could not read. others: how many videos each test has for itself alone
    (only where common ones were asked for).
    """

    sources: tuple[str, str]
    true: list[str]
    right: np.ndarray
    flips: list[Flip]
    paired: Paired
    left_out: tuple[str, ...] = ()
    others: tuple[int, int] = (0, 0)

    @property
    def gained(self) -> list[Flip]:
        """Only the second has them right."""
        return [flip for flip in self.flips if flip.gained]

    @property
    def lost(self) -> list[Flip]:
        """Only the first has them right."""
        return [flip for flip in self.flips if not flip.gained]

    def by_class(self) -> list[tuple[str, int, int, int, int, int]]:
        """Of each class its name, its videos, how many the first, the second, and either alone got right."""
        rows = {name: np.zeros(5, int) for name in sorted(set(self.true))}
        for name, first, second in zip(self.true, *self.right.tolist(), strict=True):
            rows[name] += np.array([1, first, second, first and not second, second and not first])
        return [(name, *map(int, row)) for name, row in rows.items()]  # type: ignore[misc]


def compare(first: Outcomes, second: Outcomes, names: Names, common: bool = False) -> Comparison:
    """The two tests' videos matched by their `names`, as listed; of a video listed twice the first with the first.

    A video that one could not read is left out. Raises InputError where one test lacks videos of the other (but with
    `common`, which leaves those out too), where no video is left, and where true classes differ.
    """
    keys = [_keys(outcomes, names) for outcomes in (first, second)]
    judged = [dict(zip(of, range(len(o.paths)), strict=False)) for of, o in zip(keys, (first, second), strict=True)]
    everything = [set(of) for of in keys]
    missing = [
        [key for key in keys[0] if key not in everything[1]],
        [key for key in keys[1] if key not in everything[0]],
    ]
    if any(missing) and not common:
        raise InputError(_other_videos((first, second), missing))
    left_out = {key for a, b in ((0, 1), (1, 0)) for key in everything[a] & everything[b] if key not in judged[b]}
    shared = [key for key in judged[0] if key in judged[1]]
    if not shared:
        raise InputError(f"{first.source} and {second.source}: there is no video that both have judged")
    places = np.array([[of[key] for key in shared] for of in judged])  # (2, N)
    _refuse_other_classes(first, second, shared, places)
    right = np.stack([first.right[places[0]], second.right[places[1]]])
    flips = [
        Flip(
            shared[n][0],
            (first.paths[a], second.paths[b]),
            first.true[a],
            (first.predicted[a], second.predicted[b]),
            (float(first.probability[a]), float(second.probability[b])),
            bool(right[1, n]),
        )
        for n in np.flatnonzero(right[0] != right[1]).tolist()
        for a, b in [places[:, n].tolist()]
    ]
    return Comparison(
        (first.source, second.source),
        [first.true[a] for a in places[0]],
        right,
        flips,
        mcnemar(*right),
        tuple(sorted({name for name, _ in left_out})),
        (len(missing[0]), len(missing[1])),
    )


def _keys(outcomes: Outcomes, names: Names) -> list[Key]:
    """Of the judged videos, then of those left out."""
    seen: Counter[str] = Counter()
    keys = []
    for name in names([*outcomes.paths, *outcomes.left_out]):
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _other_videos(outcomes: Sequence[Outcomes], missing: Sequence[Sequence[Key]]) -> str:
    """Which videos each of two tests lacks, in words."""
    parts = []
    for of, lacked in zip(reversed(outcomes), missing, strict=True):
        if lacked:
            shown = ", ".join(name for name, _ in lacked[:SHOWN]) + (", …" if len(lacked) > SHOWN else "")
            parts.append(f"{of.source} lacks {len(lacked)} videos of the other ({shown})")
    return f"these are tests of other videos: {'; '.join(parts)}. --common compares those that both have"


def _refuse_other_classes(first: Outcomes, second: Outcomes, shared: Sequence[Key], places: np.ndarray) -> None:
    differ = [(n, a, b) for n, (a, b) in enumerate(places.T.tolist()) if first.true[a] != second.true[b]]
    if differ:
        n, a, b = differ[0]
        raise InputError(
            f"{shared[n][0]} is of class {first.true[a]!r} in {first.source}, of {second.true[b]!r} in {second.source} "
            f"({len(differ)} such): these are tests with other labels, whose results can't be compared"
        )


def in_words(compared: Comparison, margin: float | None = None) -> list[str]:
    """The whole comparison, a finding a line."""
    paired = compared.paired
    shares = [100 * hits / paired.videos for hits in (paired.first, paired.second)]
    lines = [f"{mark}: {of}" for mark, of in zip("AB", compared.sources, strict=True)]
    lines.append(f"{paired.videos} videos in both" + "".join(f"; {what}" for what in without(compared)))
    lines.append(f"top-1: A {shares[0]:.2f} %, B {shares[1]:.2f} %")
    lines.append(difference_in_words(paired))
    lines.append(f"flips: {paired.only_second} only B has right, {paired.only_first} only A")
    lines.append(better_in_words(paired))
    if margin is not None:
        lines.append(equivalence_in_words(paired, margin))
    return lines


def without(compared: Comparison) -> list[str]:
    """The videos that are not in it, in words."""
    what = []
    if any(compared.others):
        what.append(
            f"not compared (--common): {compared.others[0]} that only A has, {compared.others[1]} that only B has"
        )
    if compared.left_out:
        what.append(f"{len(compared.left_out)} left out that one or both could not read")
    return what


def difference_in_words(paired: Paired) -> str:
    """B - A with its interval."""
    low, high = paired.interval()
    return f"difference B - A: {paired.difference:+.2f} points (95 % interval, paired: {low:+.2f} to {high:+.2f})"


def better_in_words(paired: Paired) -> str:
    """What McNemar's test says."""
    found = f"(McNemar's exact test: p = {paired.p:.2g})"
    if paired.p < LEVEL:
        return f"{'B' if paired.difference > 0 else 'A'} is better {found}"
    return f"neither is shown to be better {found}"


def equivalence_in_words(paired: Paired, margin: float) -> str:
    """What the equivalence test says at a margin in points."""
    p = paired.equivalence(margin)
    low, high = paired.interval(1 - 2 * LEVEL)
    found = f"(two one-sided tests: p = {p:.2g}; 90 % interval {low:+.2f} to {high:+.2f})"
    if p < LEVEL:
        return f"equivalent: they differ by less than {margin:g} points {found}"
    return f"not shown to differ by less than {margin:g} points {found}"


def write_flips(path: Path, compared: Comparison) -> None:
    """A row a flip; those that B gained first."""
    columns = ("right", "path", "true", "predicted_a", "probability_a", "predicted_b", "probability_b")
    table: list[Sequence[object]] = [columns]
    for flip in (*compared.gained, *compared.lost):
        said = [
            value for of in zip(flip.predicted, (f"{p:.4f}" for p in flip.probability), strict=True) for value in of
        ]
        table.append(("only B" if flip.gained else "only A", flip.paths[0], flip.true, *said))
    write_text(path, as_csv(table))
