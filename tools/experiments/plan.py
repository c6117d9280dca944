"""What an experiment is: a description (docs/experiments/NAME.toml), and the runs that it asks for.

A run is an arm (flags of main.py) trained once with a seed, and tested in every test of the experiment.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.data.catalog import tomllib
from ops.data.textfile import read_text
from ops.errors import InputError, did_you_mean
from ops.files import sha256_of

MOST_BYTES = 2**20  # of a description, which people write
NAME = re.compile(r"[A-Za-z0-9]\w*", re.ASCII)  # it becomes a file's
VARIABLE = re.compile(r"\$\{?(\w+)\}?", re.ASCII)  # as os.path.expandvars has them
KEYS: Mapping[str, type | tuple[type, ...]] = {
    "title": str,
    "question": str,
    "baseline": str,
    "data": dict,
    "train": dict,
    "tests": dict,
    "seeds": list,
    "arms": dict,
    "x": str,
    "brief": list,
}
REQUIRED = ("title", "question", "data", "train", "tests", "seeds", "arms")


@dataclass(frozen=True)
class Data:
    """A data set: the tools that make it below a root of its own, each a line without --root_dataset, and its name."""

    name: str
    make: tuple[str, ...]
    dataset: str = "demo"

    @property
    def key(self) -> str:
        """Its folder: another make, another folder."""
        return f"{self.name}_{digest(self.make)}"


@dataclass(frozen=True)
class Test:
    """Flags of test_models.py on a data set.

    x: where it stands on a plot's axis. changed_from: another test, whose predictions this one's are compared with.
    """

    name: str
    data: Data
    flags: str
    x: float | None = None
    changed_from: str | None = None


@dataclass(frozen=True)
class Arm:
    """One of what is compared: flags of main.py, in words, the data it learns from, and its seeds."""

    name: str
    flags: str
    words: str
    data: Data
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Experiment:
    """A description, read and checked."""

    name: str
    title: str
    question: str
    baseline: str | None
    train: str
    tests: tuple[Test, ...]
    arms: tuple[Arm, ...]
    x: str | None  # what the tests' x is
    brief: tuple[str, ...]  # the arms that the README shows

    def runs(self) -> Iterator[tuple[Arm, int]]:
        """Seed by seed, so that what is there early compares all arms."""
        for seed in dict.fromkeys(seed for arm in self.arms for seed in arm.seeds):
            yield from ((arm, seed) for arm in self.arms if seed in arm.seeds)

    def training(self, arm: Arm) -> str:
        """A mark of all that decides an arm's weights but the seed, the code and the machine."""
        return digest((arm.data.make, arm.data.dataset, self.train, arm.flags))

    def settings(self, arm: Arm, test: Test) -> str:
        """The same of a number."""
        before = next(((other.name, other.flags) for other in self.tests if other.name == test.changed_from), None)
        return digest((self.training(arm), test.data.make, test.data.dataset, test.flags, before))


@dataclass(frozen=True)
class Run:
    """An arm with a seed."""

    experiment: Experiment
    table: Path
    arm: Arm
    seed: int

    def __str__(self) -> str:
        return f"{self.experiment.name}: {self.arm.name}, seed {self.seed}"

    @property
    def data(self) -> list[Data]:
        """All data sets that it needs."""
        return list(dict.fromkeys([self.arm.data, *(test.data for test in self.experiment.tests)]))

    @property
    def inputs(self) -> str:
        """A mark of the files that it takes from elsewhere; empty where there are none."""
        tests = [test.flags for test in self.experiment.tests]
        made = [line for data in self.data for line in data.make]
        return inputs_of([self.experiment.train, self.arm.flags, *tests, *made])


def digest(content: object) -> str:
    """Eight digits that stand for it."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def inputs_of(lines: Sequence[str]) -> str:
    """A mark of the files, or of all in the folders, that words with a variable of the environment name in these lines.

    Empty without such. A variable that is not set has none: its users learn that when they run.
    """
    words = sorted({word for line in lines for word in words_of(line) if VARIABLE.search(word)})
    values = [word.partition("=")[2] if word.startswith("--") else word for word in words if not unset_in([word])]
    places = [Path(os.path.expandvars(value)) for value in values]
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    marks = [(file.name, sha256_of(file)) for file in files if file.is_file()]
    return digest(marks) if marks else ""


def unset_in(words: Sequence[str]) -> list[str]:
    """The variables of the environment in these words that are not set, or empty."""
    return sorted({name for word in words for name in VARIABLE.findall(word) if not os.environ.get(name)})


def read_experiment(file: Path) -> Experiment:
    """Reads a description. Raises InputError that names the file, the key and what was expected."""
    try:
        said = tomllib.loads(read_text(file, "experiment", MOST_BYTES))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: not TOML: {error}") from error
    faults = [f"{key}: unknown{did_you_mean(key, KEYS)}" for key in said if key not in KEYS]
    faults += [f"{key}: missing" for key in REQUIRED if key not in said]
    faults += [
        f"{key}: expected {_in_words(KEYS[key])}"
        for key in said
        if key in KEYS and not isinstance(said[key], KEYS[key])
    ]
    faults += [f"{key}: empty" for key in ("data", "tests", "arms") if said.get(key) == {}]
    if faults:
        raise InputError(f"{file}: {'; '.join(faults)}")
    reading = _Reading(file)
    data = {name: reading.data(name, entry) for name, entry in said["data"].items()}
    seeds = reading.seeds("seeds", said["seeds"])
    train = reading.table("train", said["train"], {"data": str, "flags": str})
    tests = tuple(reading.test(name, entry, data) for name, entry in said["tests"].items())
    arms = tuple(reading.arm(name, entry, data, train["data"], seeds) for name, entry in said["arms"].items())
    baseline, brief = said.get("baseline"), tuple(map(str, said.get("brief", said["arms"])))
    named = {"baseline": [] if baseline is None else [baseline], "brief": brief}
    for key, names in named.items():
        others = [name for name in names if name not in said["arms"]]
        reading.faults += [f"{key} {name}: no arm{did_you_mean(name, said['arms'])}" for name in others]
    reading.compared(tests)
    if reading.faults:
        raise InputError(f"{file}: {'; '.join(reading.faults)}")
    title, question = said["title"].strip(), said["question"].strip()
    return Experiment(file.stem, title, question, baseline, train["flags"], tests, arms, said.get("x"), brief)


class _Reading:
    """Makes sense of a description's entries, and gathers what is wrong with them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.faults: list[str] = []

    def compared(self, tests: Sequence[Test]) -> None:
        """Predictions are compared with those of another test of the same videos."""
        data = {test.name: test.data for test in tests}
        for test in tests:
            before = test.changed_from
            if before is not None and (before == test.name or data.get(before) != test.data):
                self.faults.append(
                    f"tests.{test.name}.changed_from {before}: expected another test on {test.data.name}"
                )

    def data(self, name: str, entry: Any) -> Data:
        entry = self.table(f"data.{name}", entry, {"make": list}, {"dataset": str})
        make = [str(line) for line in entry["make"]]
        self.faults += [] if make else [f"data.{name}.make: expected commands of tools/"]
        self.faults += [
            f"data.{name}: {line}: expected a command of tools/" for line in make if not line.startswith("tools/")
        ]
        return Data(name, tuple(make), entry.get("dataset", "demo"))

    def test(self, name: str, entry: Any, data: Mapping[str, Data]) -> Test:
        optional = {"x": (int, float), "changed_from": str}
        entry = self.table(f"tests.{name}", entry, {"data": str, "flags": str}, optional)
        learnt = self.known(f"tests.{name}", entry["data"], data)
        return Test(name, learnt, entry["flags"], entry.get("x"), entry.get("changed_from"))

    def arm(self, name: str, entry: Any, data: Mapping[str, Data], usual: str, seeds: tuple[int, ...]) -> Arm:
        optional = {"data": str, "seeds": list}
        entry = self.table(f"arms.{name}", entry, {"flags": str, "words": str}, optional)
        own = self.seeds(f"arms.{name}.seeds", entry["seeds"]) if "seeds" in entry else seeds
        return Arm(
            name, entry["flags"], entry["words"], self.known(f"arms.{name}", entry.get("data", usual), data), own
        )

    def seeds(self, where: str, entry: Sequence[Any]) -> tuple[int, ...]:
        if not entry or not all(type(seed) is int and seed >= 0 for seed in entry) or len(set(entry)) < len(entry):
            self.faults.append(f"{where} {entry}: expected different whole numbers from 0 on")
            return ()
        return tuple(entry)

    def known(self, where: str, name: str, data: Mapping[str, Data]) -> Data:
        if name not in data:
            self.faults.append(f"{where}: no data {name}{did_you_mean(name, data)}")
        return data.get(name, Data(name, ()))

    def table(
        self, where: str, entry: Any, required: Mapping[str, Any], optional: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The entry with every required key; a fault for each that is missing, unknown or of another type."""
        known = {**required, **(optional or {})}
        _, dot, name = where.partition(".")
        if dot and not NAME.fullmatch(name):
            self.faults.append(f"{where}: expected a name of letters, digits and _")
        if not isinstance(entry, dict):
            self.faults.append(f"{where}: expected a table with {', '.join(known)}")
            entry = {}
        self.faults += [f"{where}.{key}: unknown{did_you_mean(key, known)}" for key in entry if key not in known]
        self.faults += [f"{where}.{key}: missing" for key in required if key not in entry]
        for key, kind in known.items():
            if key in entry and not isinstance(entry[key], kind):
                self.faults.append(f"{where}.{key}: expected {_in_words(kind)}")
        for key in ("flags", "make"):
            lines = entry[key] if isinstance(entry.get(key), list) else [entry.get(key, "")]
            self.faults += [f"{where}.{key}: {fault}" for line in lines if (fault := _unreadable(line))]
        empty = {key: [] if kind is list else "" for key, kind in required.items()}
        return {**empty, **{key: value for key, value in entry.items() if isinstance(value, known.get(key, object))}}


def _unreadable(line: object) -> str:
    """What is wrong with a line of flags, as a quotation mark that is not closed; nothing where it is right."""
    try:
        words_of(str(line))
    except ValueError as error:
        return f"{line}: {error}"
    return ""


def _in_words(kind: Any) -> str:
    words = {str: "text", dict: "a table", list: "a list"}
    return words.get(kind, "a number")


def words_of(flags: str) -> list[str]:
    """Flags as a program gets them."""
    return shlex.split(flags)
