"""What the pictures in a folder are called, and what a data set has to say for them to be found."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

FLOW_PREFIXES = ("flow_x_", "flow_y_")
ENDING = r"\.(?:jpe?g|png|bmp|webp|tiff?|ppm|pgm)"
FIELD = r"\{0?(?::0?\d{0,2}d?)?\}"  # a whole number, of a width that a name may have: no attribute, no index
TEMPLATE = re.compile(rf"((?:[^/{{}}\0]|\{{\{{|\}}\}})*){FIELD}((?:[^/{{}}\0]|\{{\{{|\}}\}})*)")
NUMBERED = re.compile(rf"(.*?)([0-9]{{1,18}})([^0-9]*{ENDING})", re.IGNORECASE)
FRAME_NAME = re.compile(rf"(?!\.)[^/{{}}]*{FIELD}[^/{{}}]*{ENDING}", re.IGNORECASE)  # made by a template
LONGEST = 256  # letters: no file system has longer names
SHOWN = 3  # missing frames, or files of other kinds, that are named


@dataclass(frozen=True, slots=True)
class Series:
    """Pictures whose names differ by their numbers alone, which rise; `template` makes a name of a number."""

    template: str
    numbers: Sequence[int]

    def __str__(self) -> str:
        """`3 frames, img_1.jpg … img_4.jpg without img_2.jpg`."""
        first, last = (self.template.format(self.numbers[place]) for place in (0, -1))
        found = f"{len(self.numbers)} frames, {first} … {last}" if len(self.numbers) > 1 else f"1 frame, {first}"
        there = set(self.numbers)
        gaps = self.numbers[-1] - self.numbers[0] + 1 - len(there)
        numbers = (number for number in range(self.numbers[0], self.numbers[-1]) if number not in there)
        shown = [self.template.format(number) for number in islice(numbers, SHOWN)]
        more = [f"{gaps - SHOWN} more"] if gaps > SHOWN else []
        return found + (f" without {' and '.join([', '.join(shown), *more])}" if gaps else "")

    def settings(self, template: str, first: int) -> dict[str, str | int]:
        """What has to be said, as `template` and `first`, for these to be found where the given two are said."""
        start, end = self.numbers[0], self.numbers[-1]
        said: dict[str, str | int] = {}
        if any(self.template.format(number) != template.format(number) for number in (start, end)):
            said["template"] = self.template
        if start != first and (start in (0, 1) or len(self.numbers) == end - start + 1):  # else the first are missing
            said["first"] = start
        return said


def numbers_frames(template: object) -> bool:
    """Whether it is a file's name with one number in it, as '{:05d}.jpg', and nothing else that `format` knows."""
    return isinstance(template, str) and TEMPLATE.fullmatch(template) is not None


def numbers_of(files: Iterable[str], template: str) -> Iterator[int]:
    """The numbers that make these names, of those that a number makes."""
    match = TEMPLATE.fullmatch(template)
    assert match, template
    before, after = (part.replace("{{", "{").replace("}}", "}") for part in match.groups())
    for file in files:
        digits = file[len(before) : len(file) - len(after)]
        if len(digits) < LONGEST and digits.strip().isdecimal() and template.format(int(digits)) == file:
            yield int(digits)


def longest_series(files: Iterable[str], flow: bool = False) -> Series | None:
    """The longest among a folder's files, or None; of flow in pairs, by what follows `flow_x_`."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file in files:
        if match := NUMBERED.fullmatch(file):
            before, number, after = match.groups()
            found[before, after].append(number)
    pairs = {key: numbers for key, numbers in found.items() if key[0].startswith(FLOW_PREFIXES)}
    if flow:  # what is called otherwise, as x_00001.jpg, is not known to be both directions
        found = pairs or {key: numbers for key, numbers in found.items() if not key[0]}
    else:
        found = {key: numbers for key, numbers in found.items() if key not in pairs}
    if not found:
        return None
    before, after = key = min(found, key=lambda key: (-len(found[key]), key))
    padded = any(number[0] == "0" and len(number) > 1 for number in found[key])
    form = f"{{:0{min(map(len, found[key]))}d}}" if padded else "{:d}"
    if pairs and flow:
        before = before[len(FLOW_PREFIXES[0]) :]
    template = form.join(text.replace("{", "{{").replace("}", "}}") for text in (before, after))
    return Series(template, sorted(set(map(int, found[key]))))


def few(files: Iterable[str]) -> str:
    """The first of them by name; empty if there are none."""
    names = sorted(islice(files, 1000))
    return ", ".join(names[:SHOWN]) + ", …" * (len(names) > SHOWN)
