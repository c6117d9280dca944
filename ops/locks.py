"""Folders that one program at a time works in."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import IO

from ops.errors import InputError
from ops.files import TRIES, check_writable, in_words, is_at, try_to_lock

logger = logging.getLogger(__name__)

LOCK = ".lock"

_held: set[IO[bytes]] = set()  # of this process


@contextmanager
def claimed(folder: Path, remedy: str = "wait for its end", name: str = LOCK, timeout: float = 0.0) -> Iterator[None]:
    """Holds a folder, made if need be and found to be writable, against all others who claim it.

    The lock is flock's, of the file `name` in it: it ends with this process, however that ends, and network file
    systems keep it between machines. The file says who holds it. Folders that are made for it and stay empty are
    removed again. Raises InputError with `remedy` if another holds it, still after `timeout` seconds.
    """
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        file = _take(folder, name, remedy, time.monotonic() + timeout)
    except OSError as error:
        raise InputError(f"{folder}: can't be written there: {in_words(error)}") from error
    _held.add(file)
    try:
        began = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {began}\n".encode())
        file.flush()
        check_writable([folder / name])
        yield
    finally:
        with suppress(OSError):
            (folder / name).unlink()  # while it is held: who has opened it already will find that it is gone
        with suppress(OSError):
            for path in made:
                path.rmdir()
        _held.discard(file)
        file.close()


def _take(folder: Path, name: str, remedy: str, deadline: float) -> IO[bytes]:
    """The lock file of a folder, open and locked."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag
    vanished = 0
    while vanished < TRIES:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = os.fdopen(os.open(folder / name, flags, 0o666), "r+b")
        except FileNotFoundError:  # its former holder has removed the folder just now
            vanished += 1
            continue
        locked = try_to_lock(file)
        if locked is None:
            _say_that_nothing_is_locked(folder)
        if locked is False:
            holder = file.read(200).decode(errors="replace").split("\n")[0]
            file.close()
            if time.monotonic() >= deadline:
                who = f" ({holder})" if holder and holder.isprintable() else ""
                raise InputError(f"{folder}: another program is at work there{who}: {remedy}")
            time.sleep(1)
        elif is_at(file, folder / name):
            return file
        else:  # its former holder has removed it just now
            file.close()
            vanished += 1
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


@cache
def _say_that_nothing_is_locked(folder: Path) -> None:
    logger.warning("%s: this file system has no locks: see to it that no other program writes there meanwhile", folder)


def _let_go() -> None:
    """A forked process, as a loader's, does not prolong the locks of the one that it came from."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
