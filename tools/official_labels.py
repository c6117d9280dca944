"""The official label files of the known data sets: which videos there are, and what each shows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ops.data.catalog import CATALOG
from ops.data.records import UNLABELLED, read_categories
from ops.data.textfile import read_text
from ops.errors import InputError

SHOWN_FAULTS = 20

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Clip:
    """A video: the names its folder or file (without extension) may have, the usual one first; its label."""

    names: tuple[str, ...]
    label: int = UNLABELLED


@dataclass(frozen=True)
class Official:
    """Class names in label order, and the clips of `train`, `val` and, if there is one, `test`.

    Lists of further splits end in `_split2`, `_split3`.
    """

    categories: list[str]
    lists: dict[str, list[Clip]] = field(default_factory=dict)


def read_official(dataset: str, folder: Path) -> Official:
    """The official files of `dataset` in `folder`. Raises InputError for what is missing or malformed."""
    official = READERS[dataset](Source(dataset, folder))
    if twice := [name for name in official.categories if official.categories.count(name) > 1]:
        raise InputError(f"--labels {folder}: class name {twice[0]!r} stands twice; expected each once")
    return official


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


def text_lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, numbered from 1."""
    lines = enumerate(read_text(file, "label file").split("\n"), start=1)
    return not_empty(file, [(number, line.strip()) for number, line in lines if line.strip()])


def csv_rows(file: Path, delimiter: str) -> list[tuple[int, list[str]]]:
    """The cells of the lines of a CSV file that are not blank, and the lines' numbers from 1."""
    reader = csv.reader(io.StringIO(read_text(file, "label file")), delimiter=delimiter)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{file}:{reader.line_num}: cannot be read as CSV: {error}") from error
    return not_empty(file, [(number, row) for number, row in rows if row not in ([], [""])])


def not_empty(file: Path, entries: list[Entry]) -> list[Entry]:
    """The entries of a file, of which there must be some."""
    if not entries:
        raise InputError(f"{file}: no entry in it; download it again")
    return entries


def json_content(file: Path, kind: type, what: str) -> Any:
    """A JSON file's content, of this kind."""
    try:
        content = json.loads(read_text(file, "label file"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise InputError(f"{file}: expected {what}")
    return content


def json_entries(file: Path, key: str) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list, numbered from 1, each with something under `key`: else it is an empty object."""
    entries = not_empty(file, json_content(file, list, "a list of videos"))
    named = [entry if isinstance(entry, dict) and entry.get(key) not in (None, "") else {} for entry in entries]
    return list(enumerate(named, start=1))


def numbered(names: Sequence[str]) -> dict[str, int]:
    """Class name → label."""
    return {name: label for label, name in enumerate(names)}


def twenty_bn(source: Source) -> Official:
    """Something-Something V1 and Jester: `id;class name` lines, a class name a line, `id` lines of the test."""
    file = source.find("*labels.csv")
    read_categories(file)  # it says what is wrong with the lines
    official = Official([row[0] for _, row in csv_rows(file, ";")])
    labels = numbered(official.categories)
    for name, pattern in (("train", "*train.csv"), ("val", "*validation.csv")):
        official.lists[name] = _pairs(source.find(pattern), labels)
    if test := source.find_if_any("*test.csv"):
        official.lists["test"] = _ids(test)
    return official


def _pairs(file: Path, labels: dict[str, int]) -> list[Clip]:
    clips = []
    with Faults(file) as faults:
        for number, row in csv_rows(file, ";"):
            if len(row) != 2 or not all(row):
                faults.add(number, f"expected `id;class name`: {';'.join(row)!r}")
            elif row[1] not in labels:
                faults.add(number, f"class {row[1]!r} is not among the labels")
            else:
                clips.append(Clip((row[0],), labels[row[1]]))
    return clips


def _ids(file: Path) -> list[Clip]:
    rows = csv_rows(file, ";")
    with Faults(file) as faults:
        for number, row in rows:
            if not row[0]:
                faults.add(number, f"expected `id`: {';'.join(row)!r}")
    return [Clip((row[0],)) for _, row in rows]


def something_v2(source: Source) -> Official:
    """JSON: {class: number}, and a list of {id, template}, whose class has its placeholders in brackets."""
    file = source.find("*labels.json")
    labels = json_content(file, dict, 'an object {"class name": "number"}')
    try:
        order = {name: int(number) for name, number in labels.items()}
    except (OverflowError, TypeError, ValueError):
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
        for place, entry in json_entries(file, "id"):
            category = re.sub(r"[\[\]]", "", str(entry.get("template", ""))) if labelled else ""
            if not entry or (labelled and not category):
                faults.add(place, f"expected an object with id{' and template' * labelled}")
            elif labelled and category not in order:
                faults.add(place, f"class {category!r} is not among the labels")
            else:
                clips.append(Clip((str(entry["id"]),), order.get(category, UNLABELLED)))
    return clips


def kinetics(source: Source) -> Official:
    """CSV: label,youtube_id,time_start,time_end,split; or JSON. The classes are those of the training file, sorted."""
    files = {name: source.find(f"*{name}*.csv", f"*{name}*.json") for name in ("train", "val")}
    if test := source.find_if_any("*test*.csv", "*test*.json"):
        files["test"] = test
    rows = {name: not_empty(file, _kinetics_rows(file)) for name, file in files.items()}
    official = Official(sorted({row["label"] for _, row in rows["train"] if row.get("label")}))
    labels = numbered(official.categories)
    for name, file in files.items():
        official.lists[name] = _kinetics_clips(file, rows[name], labels, labelled=name != "test")
    return official


def _kinetics_rows(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """The columns of every line, or of every entry of the JSON form, by the names they have in the CSV."""
    if file.suffix == ".json":
        content = json_content(file, dict, "an object of videos by their youtube_id")
        return [(place, _kinetics_row(*entry)) for place, entry in enumerate(content.items(), start=1)]
    (_, header), *rows = csv_rows(file, ",")
    if not {"youtube_id", "time_start", "time_end"} <= set(header):
        raise InputError(f"{file}: expected the header label,youtube_id,time_start,time_end,split")
    return [(number, dict(zip(header, row, strict=False))) for number, row in rows]  # a short row is found faulty


def _kinetics_row(name: str, entry: Any) -> dict[str, Any]:
    try:
        said = entry["annotations"]
        start, end = said["segment"]
        return {"youtube_id": name, "label": str(said.get("label", "")), "time_start": start, "time_end": end}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {"youtube_id": name}


def _kinetics_clips(
    file: Path, rows: Sequence[tuple[int, dict[str, Any]]], labels: dict[str, int], labelled: bool
) -> list[Clip]:
    clips = []
    with Faults(file) as faults:
        for place, row in rows:
            name, category = row.get("youtube_id"), row.get("label", "")
            try:
                start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
            except (KeyError, OverflowError, TypeError, ValueError):
                faults.add(place, "time_start and time_end are not both numbers")
                continue
            if not name:
                faults.add(place, "no youtube_id")
            elif category not in labels and (category or labelled):
                faults.add(place, f"class {category!r} is not in the training file" if category else "no label")
            else:
                timed = f"{name}_{start:06d}_{end:06d}"
                clips.append(Clip(_kinetics_names(category, (name, timed)), labels.get(category, UNLABELLED)))
    return clips


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
        if split > 1 and not source.find_if_any(f"trainlist{split:02d}.txt", f"testlist{split:02d}.txt"):
            continue
        for name, kind in (("train", "train"), ("val", "test")):
            listed = source.find(f"{kind}list{split:02d}.txt")
            official.lists[name + mark] = _ucf101_clips(listed, numbered(categories))
    return official


def _ucf101_clips(file: Path, labels: dict[str, int]) -> list[Clip]:
    clips = []
    with Faults(file) as faults:
        for number, line in text_lines(file):
            name, _, place = line.rpartition(" ") if line[-1].isdecimal() else (line, "", "")
            path = Path(name)
            category = path.parent.name
            if category not in labels:
                faults.add(number, f"expected `class/video.avi`, of a class of classInd.txt: {line!r}")
            elif place not in ("", str(labels[category] + 1)):
                faults.add(number, f"{category} has the number {labels[category] + 1} in classInd.txt: {line!r}")
            else:
                clips.append(Clip((f"{category}/{path.stem}", path.stem), labels[category]))
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
            for place, entry in json_entries(file, "vid_name"):
                label = entry.get("label")
                if not isinstance(label, int) or not 0 <= label < len(categories):
                    faults.add(place, f"expected vid_name and a label in 0..{len(categories) - 1}")
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
