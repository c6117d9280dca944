"""The one exception for what a person can mend, a wrong file, flag, line or tensor; and what the machine refuses."""

from __future__ import annotations

import difflib
import errno
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_NO_ROOM = "free some space, or name a place elsewhere"
_NO_RIGHT = "change its permissions, or name another place"
_IN_THE_WAY = "a file stands in the way: move it away, or name another place"
_FAILING = "the disk or the network file system fails: see to it"
_TOO_MANY = "fewer processes (-j) need fewer, or raise the limit (ulimit)"
_LESS_MEMORY = (
    "smaller batches (-b, in testing --views_per_forward), clips or crops, or fewer processes (-j), need less"
)
_SHARED_MEMORY = (
    "/dev/shm is too small: give it more (docker run --shm-size=1g, or --ipc=host), or fewer processes (-j)"
)
_KILLED = (
    "perhaps for memory (fewer -j need less), or a video crashed its decoder (with -j 0 the program does so at the "
    "culprit)"
)
_PEER = "another process of this run has ended; its own message says why"
_MEETING = "the processes can't meet: see to the address and the port that torchrun is given"
_GPU = "the GPU is used by another program, or fails: nvidia-smi tells"

# The exit status of a program that a scheduler's signal has ended: sysexits.h calls it EX_TEMPFAIL, "try again".
SAVED = 75

# What to do about an OSError, by its number. One that is not here is taken for a fault of the program.
_BY_NUMBER = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: "name a place whose file system takes larger files",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.EISDIR: "a folder stands where a file is wanted: move it away, or name another file",
    errno.ENOENT: "it is not there, or not any more",
    errno.ELOOP: "its links lead in a circle: mend them",
    errno.EIO: _FAILING,
    errno.ENXIO: _FAILING,
    errno.ENODEV: _FAILING,
    errno.ESTALE: _FAILING,
    errno.ENOTCONN: _FAILING,
    errno.EHOSTDOWN: _FAILING,
    errno.ETIMEDOUT: _FAILING,
    errno.ENOMEM: _LESS_MEMORY,
    errno.EMFILE: _TOO_MANY,
    errno.ENFILE: _TOO_MANY,
    errno.EAGAIN: _TOO_MANY,
    errno.EPIPE: "what reads this program's output has ended",
}
_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# The same by what the libraries say, which have no numbers: torch raises a RuntimeError for all of it.
_BY_WORDS = [
    (re.compile(words), remedy)
    for words, remedy in (
        (r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal: [\w ]+|exited unexpectedly)", _KILLED),
        (r"CUDA out of memory(?:\. Tried to allocate [\d.]+ \w+)?", _LESS_MEMORY),
        (r"CUDA error: out of memory|CU\w+_STATUS_ALLOC_FAILED", _LESS_MEMORY),
        (r"DefaultCPUAllocator: [^.\n]*", _LESS_MEMORY),
        (r"Cannot allocate memory", _LESS_MEMORY),
        (r"can't start new thread", _TOO_MANY),
        (r"Too many open files|received 0 items of ancdata", _TOO_MANY),
        (r"unable to \w+[^\n]*(?:\(shm\)|</torch_)[^\n]*", _SHARED_MEMORY),
        (r"Connection (?:reset|closed) by (?:remote )?peer|ncclRemoteError", _PEER),
        (r"The (?:client|server) socket has (?:timed out|failed)[^\n]*", _MEETING),
        (r"CUDA error: [^\n]*(?:ECC error|busy or unavailable)[^\n]*", _GPU),
    )
]
_NUMBERED = re.compile(r"\[Errno (\d+)\] ([^:\n]+)(?:: '([^'\n]*)')?")  # as a loader's process hands an OSError on


class InputError(ValueError):
    """Something given from outside is wrong. The message names it, says what was expected and how to mend it.

    The entry points print the message without a traceback and exit with status 2.
    """


class Stopped(KeyboardInterrupt):
    """A signal ends the program, whose work so far is kept. `advice`, where there is some, says how to go on.

    The entry points say so and exit with `status`: 130 after Ctrl-C, and else SAVED.
    """

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(received)
        self.received = received
        self.advice = ""

    def __str__(self) -> str:
        by = "" if self.received == signal.SIGINT else f" by {self.received.name}"
        return f"stopped{by}{'. ' if self.advice else ''}{self.advice}"

    @property
    def status(self) -> int:
        """Of the program."""
        return 130 if self.received == signal.SIGINT else SAVED


class MachineError(RuntimeError):
    """What the machine or another process of the run has done to this one, in a line that says all."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` with the nearest of the known words, or nothing."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def environment_fault(error: BaseException) -> str | None:
    """What the machine has refused (disk, memory, a killed process), in one line with the remedy.

    None for any other error, which is a fault of the program and wants its traceback.
    """
    text = str(error).strip()
    if isinstance(error, MachineError):
        return text
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, MemoryError):
        return f"out of memory{f' ({text.splitlines()[-1]})' if text else ''}; {_LESS_MEMORY}"
    if isinstance(error, RuntimeError):
        for words, remedy in _BY_WORDS:
            if found := words.search(text):
                return f"{found[0].strip(' .')}; {remedy}"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine's or a device's memory was too small."""
    return (environment_fault(error) or "").endswith(_LESS_MEMORY)


def is_limit(error: OSError) -> bool:
    """Whether a file could not be read for want of memory or of open files: then it is not the file that is wrong."""
    return error.errno in _LIMITS


def _of_system(error: OSError) -> str | None:
    number, words, file = error.errno, error.strerror, error.filename
    if number is None and (found := _NUMBERED.search(str(error))):
        number, words, file = int(found[1]), found[2], found[3]
    if number not in _BY_NUMBER:
        return None
    return f"{f'{file}: ' if file is not None else ''}{words}; {_BY_NUMBER[number]}"


@contextmanager
def explained(advice: str | Callable[[], str]) -> Iterator[None]:
    """Makes an InputError of what the machine refuses within the block, with `advice` how to go on after it."""
    try:
        yield
    except Exception as error:
        if not (fault := environment_fault(error)):
            raise
        raise InputError(f"{fault}. {advice() if callable(advice) else advice}") from error


@contextmanager
def reported() -> Iterator[None]:
    """A program's body: what is wrong outside of it is printed in a line and ends it with status 2, Ctrl-C with 130.

    That is an InputError, and what the machine refuses; a fault of the program itself keeps its traceback. `Stopped`
    has a status of its own.
    """
    _print_in_any_encoding()
    try:
        yield
    except InputError as error:
        _let_go(error)
        sys.exit(_printed(f"error: {error}", 2))
    except Stopped as stopped:
        _hear_no_more()
        _let_go(stopped)
        # Of several processes, which all are stopped, one says so.
        is_main = os.environ.get("RANK", "0") == "0"
        sys.exit(_printed(str(stopped), stopped.status) if is_main else stopped.status)
    except KeyboardInterrupt as error:
        _let_go(error)
        sys.exit(_printed("stopped", 130))
    except Exception as error:
        if not (fault := environment_fault(error)):
            raise
        _let_go(error)
        sys.exit(_printed(f"error: {fault}", 2))


def _let_go(error: BaseException | None) -> None:
    """Frees what the functions held that an error came out of, a loader among it.

    From Python 3.12 on they live until Python ends, and only then would a loader's processes be told to end, too late
    to listen: each is waited for, five seconds.
    """
    while error is not None:
        trace, error.__traceback__ = error.__traceback__, None
        traceback.clear_frames(trace)
        while trace is not None:  # a frame that is cleared still holds its function, and what that encloses
            trace.tb_next, trace = None, trace.tb_next
        error = error.__cause__ or error.__context__


def _hear_no_more() -> None:
    """Lets a process end as it was told to, which takes torch a while, though it is told so again.

    Schedulers do, and torchrun when it ends itself. Another Ctrl-C ends it at once.
    """
    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):  # not on Windows
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _print_in_any_encoding() -> None:
    """What the terminal has no letter for is printed as an escape, as `\\u2026`, and ends no program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _printed(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
