"""The one exception for what a person can mend: a wrong file, flag, line or tensor."""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something given from outside is wrong. The message names it, says what was expected and how to mend it.

    The entry points print the message without a traceback and exit with status 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` with the nearest of the known words, or nothing."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


@contextmanager
def reported() -> Iterator[None]:
    """A program's body: an InputError is printed and ends it with status 2, Ctrl-C with 130, no traceback."""
    _print_in_any_encoding()
    try:
        yield
    except InputError as error:
        sys.exit(_printed(f"error: {error}", 2))
    except KeyboardInterrupt:
        sys.exit(_printed("stopped", 130))


def _print_in_any_encoding() -> None:
    """What the terminal has no letter for is printed as an escape, as `\\u2026`, and ends no program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _printed(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
