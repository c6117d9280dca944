"""List files: which videos there are, how many frames each has, and what it shows."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from ops.data.bounds import MAX_FRAMES
from ops.data.paths import marks
from ops.data.textfile import read_text, read_utf8
from ops.errors import InputError

LISTED_FAULTS = 1000  # more faults than this are counted, not shown
MOST_CLASSES = 100_000  # ImageNet-21k has 21,841
SEVERAL_LABELS = "several labels on its line? A video has one here"
UNLABELLED = -1  # the label of a video whose class is not known
LONGEST_LINE = 10_000  # letters: no system has paths of half of it
BACKWARDS = "backwards:"  # before a path: that video with its frames in reverse order
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
NEWLINE, SPACE, HASH, ZERO, TILDE = b"\n #0~"


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One line of a list: a folder of frames (or a video file) below the root, its number of frames, its class.

    backwards: each of its clips has the same frames as without, in reverse order.
    """

    path: str
    num_frames: int
    label: int
    backwards: bool = False

    @property
    def name(self) -> str:
        """As the list has it: of two videos with the same frames one may be played backwards."""
        return BACKWARDS * self.backwards + self.path


@dataclass(frozen=True, eq=False)
class Records(Sequence[VideoRecord]):
    """The videos of a list, N of them, in few arrays: 25 bytes a video and the text; a part of them shares the text.

    A record is made when it is asked for. Objects kept for each video would be copied into every worker process, page
    by page, as counting the references to them writes beside them.

    text: UTF-8, holds the paths. starts, ends: where in it each path lies, int64 `(N,)`. num_frames, labels: int32
    `(N,)`. backwards: bool `(N,)`.
    """

    text: bytes
    starts: np.ndarray
    ends: np.ndarray
    num_frames: np.ndarray
    labels: np.ndarray
    backwards: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> VideoRecord: ...

    @overload
    def __getitem__(self, place: slice) -> "Records": ...

    def __getitem__(self, place: int | slice) -> "VideoRecord | Records":
        columns = (self.starts, self.ends, self.num_frames, self.labels, self.backwards)
        start, end, num_frames, label, backwards = (column[place] for column in columns)
        if isinstance(place, slice):
            return Records(self.text, start, end, num_frames, label, backwards)
        return VideoRecord(self.text[start:end].decode(), int(num_frames), int(label), bool(backwards))

    def __eq__(self, other: object) -> bool:
        """The same videos in the same order, in whatever sequence."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def read_list(list_file: Path, num_classes: int, unlabelled_too: bool = False, counted: bool = True) -> Records:
    """Read a list file, one `path num_frames label` a line; the path may hold spaces.

    A path that follows `backwards:` is that of a video to be played backwards. (A folder whose name begins so is
    reached as `./backwards:…`.)

    Without `counted` it is a list of video files, one `path label` a line, and `num_frames` is 0.

    With `unlabelled_too` it may be a list without labels, every line without one or with the label -1. (A line that
    ends in as many whole numbers as one with a label is taken to have one; where a path ends in a number, write -1.)

    Blank lines and lines that start with `#` are skipped. Raises one InputError that shows every faulty line, and those
    that name a video of an earlier line with another label.
    """
    text = read_utf8(list_file, "list file") + b"\n"
    numbers = 2 if counted else 1
    lines = _scan(text, numbers, num_classes)
    faults: dict[int, str] = {}  # by line, from 0
    for place in np.flatnonzero(~lines.listed).tolist():  # those that are not plain
        line = text[lines.starts[place] : lines.ends[place]].decode()
        if not line.strip() or line.startswith("#"):
            continue
        record = _parse(line, num_classes, unlabelled_too, numbers)
        if isinstance(record, VideoRecord):
            lines.put(place, record, text)
        else:
            faults[place] = f"{record}: {shortened(line.strip())!r}"
    records = lines.records(text)
    if len(np.unique(records.labels == UNLABELLED)) == 2:
        # Some have a label, so that the lines without are faulty.
        return read_list(list_file, num_classes, counted=counted)
    faults |= _contradictions(records, np.flatnonzero(lines.listed))
    if faults:
        raise InputError(_report(list_file, faults, num_classes, counted))
    if not records:
        raise InputError(f"{list_file} lists no video; expected lines of {_form(counted)}.")
    return _without_marks(records)


def read_categories(path: Path) -> list[str]:
    """Read the class names, one a line; the line's place (from 0) is the label.

    They are in the normal form NFC, whatever it is in the file: "é" is one letter or two, and one class.

    Raises InputError if there is no name, or too many, if a line between names is blank (it would shift every later
    label) or if a name stands twice.
    """
    text = unicodedata.normalize("NFC", read_text(path, "category file"))
    names = [line.strip() for line in text.split("\n")]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"{path} holds no class name; expected one a line.")
    if len(names) > MOST_CLASSES:
        raise InputError(f"{path} has {len(names):,} lines, expected a class name a line, {MOST_CLASSES:,} at most.")
    first_seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise InputError(f"{path}:{number}: blank line between class names; remove it.")
        if name in first_seen:
            raise InputError(
                f"{path}:{number}: class name {shortened(name)!r} stands on line {first_seen[name]} already."
            )
        first_seen[name] = number
    return names


@dataclass
class _Lines:
    """The L lines of a list, each an `(L,)`: where a line starts and, of those listed, its path; what it says.

    ends: of the path where the line is listed, else of the line. listed: it names a video.
    """

    starts: np.ndarray
    ends: np.ndarray
    num_frames: np.ndarray
    labels: np.ndarray
    listed: np.ndarray

    def put(self, place: int, record: VideoRecord, text: bytes) -> None:
        """List the record that a line was found to be."""
        path = record.path.encode()
        self.starts[place] = text.index(path, self.starts[place])
        self.ends[place] = self.starts[place] + len(path)
        self.num_frames[place], self.labels[place], self.listed[place] = record.num_frames, record.label, True

    def records(self, text: bytes) -> Records:
        """Those listed, each with the whole of its path."""
        columns = (self.starts, self.ends, self.num_frames, self.labels, np.zeros_like(self.listed))
        return Records(text, *(column[self.listed] for column in columns))


def _scan(text: bytes, numbers: int, num_classes: int) -> _Lines:
    """All lines of a text that ends in a newline, at once.

    Listed are those that are plain and faultless, of which `_parse` would say the same, slowly. Plain is a path that
    starts and ends in a visible ASCII character, and behind it so many numbers, each after one space. (A video file's
    path that ends in a number is not plain: there may be several labels.)
    """
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == NEWLINE)
    starts = np.append(0, ends[:-1] + 1)
    spaces = np.append(-1, np.flatnonzero(data == SPACE))
    path_ends, plain, values = ends, np.ones(len(ends), bool), []
    for _ in range(numbers):  # from the right
        before = spaces[np.searchsorted(spaces, path_ends) - 1]
        value, is_number = _numbers(data, before + 1, path_ends)
        plain &= is_number & (before > starts)
        values.append(value)
        path_ends = np.where(plain, before, path_ends)
    if numbers == 1:
        before = spaces[np.searchsorted(spaces, path_ends) - 1]
        maybe = np.flatnonzero((before > starts) & (data[before + 1] - ZERO < 10))
        plain[maybe] &= ~_numbers(data, before[maybe] + 1, path_ends[maybe])[1]
    first, last = data[starts], data[path_ends - 1]
    plain &= ends - starts <= LONGEST_LINE
    plain &= (first > SPACE) & (first <= TILDE) & (first != HASH) & (last > SPACE) & (last <= TILDE)
    label, num_frames = values[0], values[-1] if numbers == 2 else np.zeros_like(values[0])
    plain &= (label < num_classes) & ((num_frames >= 1) & (num_frames <= MAX_FRAMES) | (numbers == 1))
    return _Lines(starts, np.where(plain, path_ends, ends), num_frames, label, plain)


def _numbers(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers, int32, that stand in bytes `starts` to `ends`, and which of them are ones of at most 9 digits."""
    widths = ends - starts
    are = (widths >= 1) & (widths <= 9)
    values = np.zeros(len(starts), np.int32)
    for k in range(widths[are].max(initial=0)):
        within = np.flatnonzero(are & (k < widths))
        digits = data[starts[within] + k] - ZERO  # wraps around below 0
        are[within] = digits < 10
        values[within] = 10 * values[within] + digits
    return values, are


def _parse(line: str, num_classes: int, unlabelled_too: bool, numbers: int) -> VideoRecord | str:
    """The record of one line that ends in so many numbers, or what is wrong with it."""
    if len(line) > LONGEST_LINE:
        return f"a line of {len(line):,} letters"
    fields = line.strip().rsplit(maxsplit=numbers)  # from the right: a path may hold spaces
    whole = [WHOLE_NUMBER.fullmatch(field) is not None for field in fields[1:]]
    lacks_label = whole in ([], [False]) if numbers == 1 else whole in ([True], [False, True]) and fields[-1] != "0"
    if unlabelled_too and lacks_label and not _has_other_separators(line, numbers):
        # What is split off besides the numbers belongs to the path.
        fields = [*(line.strip().rsplit(maxsplit=1) if numbers == 2 else [line.strip()]), str(UNLABELLED)]
    if _has_several_labels(line, fields, numbers):
        return "several labels; a video has one here"
    if len(fields) < numbers + 1 or not all(WHOLE_NUMBER.fullmatch(value) for value in fields[1:]):
        return _not_the_form(line, fields, numbers)
    path, values = fields[0], [int(value[:20]) for value in fields[1:]]  # Python refuses to read thousands of digits
    if numbers == 2 and values[0] < 1:
        return f"a video of no frames; {SEVERAL_LABELS}" if shorter_paths(path) else "a video of no frames"
    if numbers == 2 and values[0] > MAX_FRAMES:
        return f"a video of more than {MAX_FRAMES:,} frames"
    label = values[-1]
    if not 0 <= label < num_classes and not (unlabelled_too and label == UNLABELLED):
        return f"label {label} outside 0..{num_classes - 1}"
    return VideoRecord(path, values[0] if numbers == 2 else 0, label)


def _not_the_form(line: str, fields: Sequence[str], numbers: int) -> str:
    if _has_other_separators(line, numbers):
        return "commas or semicolons between the fields instead of spaces"
    if len(fields) < numbers + 1:
        return f"{len(fields)} field{'s' * (len(fields) > 1)} instead of {numbers + 1}"
    return "the last two fields are not whole numbers" if numbers == 2 else "the last field is not a whole number"


def _has_other_separators(line: str, numbers: int) -> bool:
    """As in `walk/v0,8,0`."""
    found = re.search(rf"[^\s,;](?:[\s,;]+[+-]?\d+){{{numbers}}}\s*$", line)
    return found is not None and not {",", ";"}.isdisjoint(found[0])


def _has_several_labels(line: str, fields: Sequence[str], numbers: int) -> bool:
    """As in `v0 8 3,7`, or of a video file in `v0.mp4 3 7`."""
    if len(fields) == numbers + 1 and re.fullmatch(r"\d+(?:[,;|/+]\d+)+", fields[-1]):
        return True
    return numbers == 1 and re.search(r"\.\w+(?:\s+\d+){2,}\s*$", line) is not None


def shorter_paths(path: str) -> list[str]:
    """The path without one number at its end, without two, and so on, as labels are read for a path's end."""
    shorter = []
    while match := re.fullmatch(r"(.*\S)\s+\d+", path):
        shorter.append(path := match[1])
    return shorter


def _without_marks(records: Records) -> Records:
    """The same, `backwards` told from the beginnings of their paths, which are taken off."""
    data, mark = np.frombuffer(records.text, np.uint8), BACKWARDS.encode()
    places = np.flatnonzero(records.ends - records.starts > len(mark))  # a path has to follow
    for k, letter in enumerate(mark):
        places = places[data[records.starts[places] + k] == letter]
    starts, backwards = records.starts.copy(), records.backwards.copy()
    starts[places] += len(mark)
    backwards[places] = True
    return replace(records, starts=starts, backwards=backwards)


def _contradictions(records: Records, lines: np.ndarray) -> dict[int, str]:
    """By line what is said of a video that an earlier line has with another label; `lines` are the records', from 0."""
    values = marks(records.text, records.starts, records.ends)
    ordered = np.sort(values)
    if not (ordered[1:] == ordered[:-1]).any():
        return {}
    order = np.argsort(values, kind="stable")
    same = values[order][1:] == values[order][:-1]
    faults: dict[int, str] = {}
    first_of: dict[str, int] = {}
    for earlier, later in zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True):
        path, label = records[later].path, records[later].label
        first = first_of.setdefault(path, earlier)
        if records[first].path == path and records[first].label != label:
            faults[int(lines[later])] = (
                f"label {label}, but line {lines[first] + 1} gives this video label {records[first].label}; a video "
                f"has one here: {shortened(path)!r}"
            )
    return faults


def _form(counted: bool) -> str:
    return "`path num_frames label`" if counted else "`path label`"


def _report(list_file: Path, faults: dict[int, str], num_classes: int, counted: bool) -> str:
    shown = sorted(faults.items())[:LISTED_FAULTS]
    lines = [
        f"{list_file} has {len(faults)} faulty line{'s' * (len(faults) > 1)}; expected "
        f"{_form(counted)} with {'num_frames >= 1 and ' * counted}label in 0..{num_classes - 1}:",
        *(f"  {list_file}:{place + 1}: {fault}" for place, fault in shown),
    ]
    if len(faults) > LISTED_FAULTS:
        lines.append(f"  and {len(faults) - LISTED_FAULTS} more")
    return "\n".join(lines)


def shortened(text: str, most: int = 200) -> str:
    """A text that an error can show."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
