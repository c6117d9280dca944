"""The official label files of the known data sets: which videos there are, and what each shows."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.data.catalog import CATALOG
from ops.data.records import UNLABELLED, read_categories
from ops.errors import InputError

SHOWN_FAULTS = 20


@dataclass(frozen=True)
class Clip:
    """A video: the names its folder or file (without extension) may have, the usual one first; its label."""

    names: tuple[str, ...]
    label: int = UNLABELLED


@dataclass
class Official:
    """Class names in label order, and the clips of `train`, `val` and, if there is one, `test`.

    Lists of further splits end in `_split2`, `_split3`.
    """

    categories: list[str]
    lists: dict[str, list[Clip]] = field(default_factory=dict)


def read_official(dataset: str, folder: Path) -> Official:
    """The official files of `dataset` in `folder`. Raises InputError for what is missing or malformed."""
    return READERS[dataset](Source(dataset, folder))


@dataclass
class Source:
    """A data set's folder of label files."""

    dataset: str
    folder: Path

    def find(self, *patterns: str) -> Path:
        """The one file that matches the first of these patterns with a match."""
        found = self.find_if_any(*patterns)
        if found is None:
            raise InputError(
                f"--labels {self.folder}: no {' or '.join(patterns)} in it. Give the folder of the official files; "
                f"{CATALOG[self.dataset].how_to_get}"
            )
        return found

    def find_if_any(self, *patterns: str) -> Path | None:
        """As `find`; None if there is no such file."""
        for pattern in patterns:
            found = sorted(self.folder.glob(pattern))
            if len(found) > 1:
                raise InputError(f"--labels {self.folder}: {found[0].name} and {found[1].name} both fit; keep one")
            if found:
                return found[0]
        return None


class Faults:
    """What is wrong with a file, gathered line by line; raised together at the end of a `with`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: list[str] = []

    def add(self, place: int, what: str) -> None:
        """`place`: the line, or the number of the entry."""
        self.found.append(f"  {self.file}:{place}: {what}")

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self.found:
            more = [f"  and {len(self.found) - SHOWN_FAULTS} more"] if len(self.found) > SHOWN_FAULTS else []
            raise InputError("\n".join([f"{self.file} is malformed:", *self.found[:SHOWN_FAULTS], *more]))


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, numbered from 1."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def json_content(file: Path, kind: type, what: str) -> Any:
    """A JSON file's content, of this kind."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise InputError(f"{file}: expected {what}")
    return content


def numbered(names: Sequence[str]) -> dict[str, int]:
    """Class name → label."""
    return {name: label for label, name in enumerate(names)}


def twenty_bn(source: Source) -> Official:
    """Something-Something V1 and Jester: `id;class name` lines, a class name a line, `id` lines of the test."""
    categories = read_categories(source.find("*labels.csv"))
    official = Official(categories)
    for name, pattern in (("train", "*train.csv"), ("val", "*validation.csv")):
        official.lists[name] = _pairs(source.find(pattern), numbered(categories))
    if test := source.find_if_any("*test.csv"):
        official.lists["test"] = [Clip((line.split(";")[0],)) for _, line in text_lines(test)]
    return official


def _pairs(file: Path, labels: dict[str, int]) -> list[Clip]:
    clips = []
    with Faults(file) as faults:
        for number, line in text_lines(file):
            name, separator, category = line.partition(";")
            if not separator:
                faults.add(number, f"expected `id;class name`: {line!r}")
            elif category.strip() not in labels:
                faults.add(number, f"class {category.strip()!r} is not among the labels")
            else:
                clips.append(Clip((name,), labels[category.strip()]))
    return clips


def something_v2(source: Source) -> Official:
    """JSON: {class: number}, and a list of {id, template}, whose class has its placeholders in brackets."""
    file = source.find("*labels.json")
    labels = json_content(file, dict, 'an object {"class name": "number"}')
    try:
        order = {name: int(number) for name, number in labels.items()}
    except (TypeError, ValueError):
        raise InputError(f'{file}: expected an object {{"class name": "number"}}') from None
    if sorted(order.values()) != list(range(len(order))):
        raise InputError(f"{file}: the classes' numbers are not 0 to {len(order) - 1}, each once")
    official = Official(sorted(order, key=lambda name: order[name]))
    for name, pattern in (("train", "*train.json"), ("val", "*validation.json"), ("test", "*test.json")):
        found = source.find_if_any(pattern) if name == "test" else source.find(pattern)
        if found:
            official.lists[name] = _templates(found, order, labelled=name != "test")
    return official


def _templates(file: Path, order: dict[str, int], labelled: bool) -> list[Clip]:
    clips = []
    with Faults(file) as faults:
        for place, entry in enumerate(json_content(file, list, "a list of videos"), start=1):
            if not isinstance(entry, dict) or "id" not in entry or (labelled and "template" not in entry):
                faults.add(place, f"expected an object with id{' and template' * labelled}: {str(entry)[:80]}")
                continue
            category = re.sub(r"[\[\]]", "", str(entry["template"])) if labelled else ""
            if labelled and category not in order:
                faults.add(place, f"class {category!r} is not among the labels")
            else:
                clips.append(Clip((str(entry["id"]),), order.get(category, UNLABELLED)))
    return clips


def kinetics(source: Source) -> Official:
    """CSV: label,youtube_id,time_start,time_end,split. The classes are those of the training file, sorted."""
    files = {"train": source.find("*train*.csv"), "val": source.find("*val*.csv")}
    if test := source.find_if_any("*test*.csv"):
        files["test"] = test
    rows = {name: _kinetics_rows(file) for name, file in files.items()}
    categories = sorted({category for category, _ in rows["train"] if category})
    labels = numbered(categories)
    official = Official(categories)
    for name, file in files.items():
        if unknown := [category for category, _ in rows[name] if category and category not in labels]:
            raise InputError(f"{file}: class {unknown[0]!r} is not in {files['train']}")
        official.lists[name] = [
            Clip(_kinetics_names(category, clip), labels.get(category, UNLABELLED)) for category, clip in rows[name]
        ]
    return official


def _kinetics_rows(file: Path) -> list[tuple[str, tuple[str, str]]]:
    """(class name, (id, id with its seconds)) of every line."""
    rows = []
    with Faults(file) as faults, file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.DictReader(opened)
        if not {"youtube_id", "time_start", "time_end"} <= set(reader.fieldnames or ()):
            raise InputError(f"{file}: expected the header label,youtube_id,time_start,time_end,split")
        for row in reader:
            try:
                start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
            except (TypeError, ValueError):
                faults.add(reader.line_num, "time_start and time_end are not both numbers")
                continue
            name = row["youtube_id"]
            rows.append((row.get("label") or "", (name, f"{name}_{start:06d}_{end:06d}")))
    return rows


def _kinetics_names(category: str, clip: tuple[str, str]) -> tuple[str, ...]:
    """Who fetches the videos names them: with or without seconds, in folders of classes or not."""
    name, timed = clip
    folders = dict.fromkeys((f"{category}/", f"{category.replace(' ', '_')}/", "") if category else ("",))
    return tuple(folder + stem for stem in (timed, name) for folder in folders)


def ucf101(source: Source) -> Official:
    """`1 ApplyEyeMakeup` lines of classes; `Class/video.avi 1` lines to train, without the number to test."""
    file = source.find("classInd.txt")
    categories: list[str] = []
    with Faults(file) as faults:
        for number, line in text_lines(file):
            place, _, name = line.partition(" ")
            if place != str(len(categories) + 1) or not name:
                faults.add(number, f"expected `{len(categories) + 1} class name`: {line!r}")
            categories.append(name)
    official = Official(categories)
    for split, mark in ((1, ""), (2, "_split2"), (3, "_split3")):
        for name, kind in (("train", "train"), ("val", "test")):
            wanted = f"{kind}list{split:02d}.txt"
            listed = source.find(wanted) if split == 1 else source.find_if_any(wanted)
            if listed:
                official.lists[name + mark] = _ucf101_clips(listed, numbered(categories))
    return official


def _ucf101_clips(file: Path, labels: dict[str, int]) -> list[Clip]:
    clips = []
    with Faults(file) as faults:
        for number, line in text_lines(file):
            path = Path(re.sub(r"\s+\d+$", "", line))
            if path.parent.name not in labels:
                faults.add(number, f"expected `class/video.avi`, of a class of classInd.txt: {line!r}")
            else:
                clips.append(Clip((f"{path.parent.name}/{path.stem}", path.stem), labels[path.parent.name]))
    return clips


def hmdb51(source: Source) -> Official:
    """A file a class and split, `video.avi 1` to train, 2 to test, 0 neither. The classes are sorted."""
    found = {1: sorted(source.folder.glob("*_test_split1.txt"))}
    if not found[1]:
        source.find("CLASS_test_split1.txt")
    found |= {split: sorted(source.folder.glob(f"*_test_split{split}.txt")) for split in (2, 3)}
    categories = [file.name.removesuffix("_test_split1.txt") for file in found[1]]
    official = Official(categories)
    for split, files in found.items():
        classes = [file.name.removesuffix(f"_test_split{split}.txt") for file in files]
        if classes and classes != categories:
            differ = sorted(set(classes) ^ set(categories))
            raise InputError(f"--labels {source.folder}: splits 1 and {split} differ in their classes: {differ[0]}")
        mark = f"_split{split}" if split > 1 else ""
        for label, file in enumerate(files):
            for use, clip in _hmdb51_clips(file, categories[label], label):
                official.lists.setdefault(use + mark, []).append(clip)
    return official


def _hmdb51_clips(file: Path, category: str, label: int) -> Iterator[tuple[str, Clip]]:
    with Faults(file) as faults:
        for number, line in text_lines(file):
            name, _, use = line.rpartition(" ")
            if not name or use not in ("0", "1", "2"):
                faults.add(number, f"expected `video.avi` and 0, 1 or 2: {line!r}")
            elif use != "0":
                stem = Path(name.strip()).stem
                yield ("train" if use == "1" else "val"), Clip((f"{category}/{stem}", stem), label)


def diving48(source: Source) -> Official:
    """JSON: the parts of each class's name, and a list of {vid_name, label}."""
    vocabulary = json_content(source.find("*vocab*.json"), list, "a list of classes, each a list of words")
    categories = ["_".join(map(str, words)) if isinstance(words, list) else str(words) for words in vocabulary]
    official = Official(categories)
    for name, pattern in (("train", "*train.json"), ("val", "*test.json")):
        file = source.find(pattern)
        official.lists[name] = []
        with Faults(file) as faults:
            for place, entry in enumerate(json_content(file, list, "a list of videos"), start=1):
                label = entry.get("label") if isinstance(entry, dict) else None
                if not isinstance(label, int) or not 0 <= label < len(categories) or "vid_name" not in entry:
                    faults.add(place, f"expected vid_name and a label in 0..{len(categories) - 1}: {str(entry)[:80]}")
                else:
                    official.lists[name].append(Clip((str(entry["vid_name"]),), label))
    return official


READERS: dict[str, Callable[[Source], Official]] = {
    "something": twenty_bn,
    "somethingv2": something_v2,
    "kinetics": kinetics,
    "kinetics600": kinetics,
    "kinetics700": kinetics,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "jester": twenty_bn,
    "diving48": diving48,
}
