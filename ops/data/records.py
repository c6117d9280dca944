"""List files: which videos there are, how many frames each has, and what it shows."""

import re
from dataclasses import dataclass
from pathlib import Path

from ops.errors import InputError

LISTED_FAULTS = 1000  # more faults than this are counted, not shown
UNLABELLED = -1  # the label of a video whose class is not known
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One line of a list: a folder of frames (or a video file) below the root, its number of frames, its class."""

    path: str
    num_frames: int
    label: int


def read_list(
    list_file: Path, num_classes: int, unlabelled_too: bool = False, counted: bool = True
) -> list[VideoRecord]:
    """Read a list file, one `path num_frames label` a line; the path may hold spaces.

    Without `counted` it is a list of video files, one `path label` a line, and `num_frames` is 0.

    With `unlabelled_too` it may be a list without labels, every line without one or with the label -1. (A line that
    ends in as many whole numbers as one with a label is taken to have one; where a path ends in a number, write -1.)

    Blank lines and lines that start with `#` are skipped. Raises one InputError that shows every faulty line.
    """
    records: list[VideoRecord] = []
    faults: list[str] = []
    for number, line in enumerate(_read_lines(list_file, "list file"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        record = _parse(line, num_classes, unlabelled_too, numbers=2 if counted else 1)
        if isinstance(record, VideoRecord):
            records.append(record)
        else:
            faults.append(f"  {list_file}:{number}: {record}: {line.strip()!r}")
    if len({record.label == UNLABELLED for record in records}) == 2:
        # Some have a label, so that the lines without are faulty.
        return read_list(list_file, num_classes, counted=counted)
    if faults:
        raise InputError(_report(list_file, faults, num_classes, counted))
    if not records:
        raise InputError(f"{list_file} lists no video; expected lines of {_form(counted)}.")
    return records


def read_categories(path: Path) -> list[str]:
    """Read the class names, one a line; the line's place (from 0) is the label.

    Raises InputError if there is no name, if a line between names is blank (it would shift every later label)
    or if a name stands twice.
    """
    names = [line.strip() for line in _read_lines(path, "category file")]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"{path} holds no class name; expected one a line.")
    first_seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise InputError(f"{path}:{number}: blank line between class names; remove it.")
        if name in first_seen:
            raise InputError(f"{path}:{number}: class name {name!r} stands on line {first_seen[name]} already.")
        first_seen[name] = number
    return names


def _parse(line: str, num_classes: int, unlabelled_too: bool, numbers: int) -> VideoRecord | str:
    """The record of one line that ends in so many numbers, or what is wrong with it."""
    fields = line.strip().rsplit(maxsplit=numbers)  # from the right: a path may hold spaces
    whole = [WHOLE_NUMBER.fullmatch(field) is not None for field in fields[1:]]
    lacks_label = whole in ([], [False]) if numbers == 1 else whole in ([True], [False, True])
    if unlabelled_too and lacks_label:  # what is split off besides the numbers belongs to the path
        fields = [*(line.strip().rsplit(maxsplit=1) if numbers == 2 else [line.strip()]), str(UNLABELLED)]
    if len(fields) < numbers + 1:
        return f"{len(fields)} field{'s' * (len(fields) > 1)} instead of {numbers + 1}"
    path, *values = fields
    if not all(WHOLE_NUMBER.fullmatch(value) for value in values):
        return "the last two fields are not whole numbers" if numbers == 2 else "the last field is not a whole number"
    if numbers == 2 and int(values[0]) < 1:
        return "a video of no frames"
    label = int(values[-1])
    if not 0 <= label < num_classes and not (unlabelled_too and label == UNLABELLED):
        return f"label {label} outside 0..{num_classes - 1}"
    return VideoRecord(path, int(values[0]) if numbers == 2 else 0, label)


def _form(counted: bool) -> str:
    return "`path num_frames label`" if counted else "`path label`"


def _report(list_file: Path, faults: list[str], num_classes: int, counted: bool) -> str:
    lines = [
        f"{list_file} has {len(faults)} faulty line{'s' * (len(faults) > 1)}; expected "
        f"{_form(counted)} with {'num_frames >= 1 and ' * counted}label in 0..{num_classes - 1}:",
        *faults[:LISTED_FAULTS],
    ]
    if len(faults) > LISTED_FAULTS:
        lines.append(f"  and {len(faults) - LISTED_FAULTS} more")
    return "\n".join(lines)


def _read_lines(path: Path, what: str) -> list[str]:
    """Lines of a UTF-8 file, with or without a byte-order mark."""
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"The {what} {path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"The {what} {path} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read: {error.strerror}.") from error
