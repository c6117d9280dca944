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
    """One line of a list: a folder of frames below the frames' root, its number of frames, its class."""

    path: str
    num_frames: int
    label: int


def read_list(list_file: Path, num_classes: int, unlabelled_too: bool = False) -> list[VideoRecord]:
    """Read a list file, one `path num_frames label` a line; the path may hold spaces.

    With `unlabelled_too` it may be a list without labels, every line `path num_frames` or with the label -1. (A
    line that ends in two whole numbers is taken to have a label; where a path ends in a number, write the -1.)

    Blank lines and lines that start with `#` are skipped. Raises one InputError that shows every faulty line.
    """
    records: list[VideoRecord] = []
    faults: list[str] = []
    for number, line in enumerate(_read_lines(list_file, "list file"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        record = _parse(line, num_classes, unlabelled_too)
        if isinstance(record, VideoRecord):
            records.append(record)
        else:
            faults.append(f"  {list_file}:{number}: {record}: {line.strip()!r}")
    if len({record.label == UNLABELLED for record in records}) == 2:
        return read_list(list_file, num_classes)  # some have a label, so that the lines without are faulty
    if faults:
        raise InputError(_report(list_file, faults, num_classes))
    if not records:
        raise InputError(f"{list_file} lists no video; expected lines of `path num_frames label`.")
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


def _parse(line: str, num_classes: int, unlabelled_too: bool) -> VideoRecord | str:
    """The record of one line, or what is wrong with it."""
    fields = line.strip().rsplit(maxsplit=2)  # from the right: a path may hold spaces
    numbers = [WHOLE_NUMBER.fullmatch(field) is not None for field in fields[1:]]
    if unlabelled_too and numbers in ([True], [False, True]):  # a label, or a space in the path, is not there
        fields = [*line.strip().rsplit(maxsplit=1), str(UNLABELLED)]
    if len(fields) < 3:
        return f"{len(fields)} field{'s' * (len(fields) > 1)} instead of 3"
    path, frames, label = fields
    if not (WHOLE_NUMBER.fullmatch(frames) and WHOLE_NUMBER.fullmatch(label)):
        return "the last two fields are not whole numbers"
    if int(frames) < 1:
        return "a video of no frames"
    if not 0 <= int(label) < num_classes and not (unlabelled_too and int(label) == UNLABELLED):
        return f"label {int(label)} outside 0..{num_classes - 1}"
    return VideoRecord(path, int(frames), int(label))


def _report(list_file: Path, faults: list[str], num_classes: int) -> str:
    lines = [
        f"{list_file} has {len(faults)} faulty line{'s' * (len(faults) > 1)}; expected "
        f"`path num_frames label` with num_frames >= 1 and label in 0..{num_classes - 1}:",
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
