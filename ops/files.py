"""Files written whole or not at all, and places that are tried before long work."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO

from ops.errors import InputError, environment_fault

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL = re.compile(r"\..*\.\d+-[0-9a-f]{8}\.partial", re.DOTALL)  # what `atomic_write` writes to
KEPT_BYTES = 100  # of a name in that of its temporary file, so that it is short enough for every file system
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # what NumPy says of a full disk
TRIES = 100  # at a file that others keep removing
READ = 1 << 20  # bytes of a file at a time
PROBE = b"\0" * 4096  # a full disk still makes empty files
# What a file system answers that knows no locks, or can't flush a folder.
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF}


@contextmanager
def atomic_write(path: Path, check: Callable[[Path], object] = lambda _: None) -> Iterator[IO[bytes]]:
    """A temporary file beside `path`, moved to it at the end; after an error there is none, and `path` is as before.

    It has a name of its own, however many write to `path` at a time. What a killed process left, the next one removes.
    `check` is called with it before it is moved, when it is on the disk and, where the system can, in no memory: what
    it raises is such an error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    file = _open_temporary(path)
    temporary = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _forget(file)
            check(temporary)
            if fcntl is None:
                file.close()  # Windows moves no open file; elsewhere it stays locked until it is moved
            temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        number = errno.ENOSPC if SHORT_WRITE.fullmatch(str(error)) else error.errno
        if number is None or error.filename not in (None, file.name):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error  # the name that the user knows
    finally:
        with suppress(OSError):  # it is moved, or the disk takes nothing any more
            temporary.unlink()


def open_regular(path: str | Path) -> IO[bytes]:
    """Opens a file to be read, without waiting. Raises OSError, also for a named pipe, a device or a folder."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a named pipe or a device, not a file", str(path))
        return open(descriptor, "rb", buffering=0)  # noqa: PTH123 (a Path can't take a descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def exists(path: Path) -> bool:
    """Whether a file or folder is there. False, too, of a name that none can have, at which a Path raises OSError."""
    return os.path.exists(path)  # noqa: PTH110


def stays_below(path: str) -> bool:
    """Whether a path leads nowhere but below the folder that it is joined to."""
    parts = PurePath(path)
    return not (parts.is_absolute() or parts.drive or ".." in parts.parts)


def read_regular(path: str | Path, most: int) -> bytes:
    """A file's content. Raises OSError as `open_regular` does, and where it has more than `most` bytes."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than the {most:,} bytes allowed", str(path))
        return file.read()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(READ):
            digest.update(part)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file, so that there is either the old one or the whole new one."""
    with atomic_write(path) as file:
        file.write(text.encode())


def refuse_to_overwrite(outputs: Iterable[Path], inputs: Iterable[Path], what: str) -> None:
    """InputError where a file to be written is one of `inputs`, which are `what`, or another output."""
    taken = {file.resolve() for file in inputs}
    for file in outputs:
        if file.resolve() in taken:
            raise InputError(f"{file}: it is {what}, or two outputs are this file; name another one")
        taken.add(file.resolve())


def check_writable(paths: Iterable[Path]) -> None:
    """Makes the folders of the files to come and writes there on trial: InputError now, not after hours of work."""
    for path in paths:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: its folder can't be made: {in_words(error)}") from error
        try:
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(path.stat().st_mode):
                    raise InputError(f"{path}: can't be written there: a folder or a device; name another file")
            _write_on_trial(path)
        except OSError as error:
            raise InputError(f"{path}: can't be written there: {in_words(error)}") from error


def in_words(error: OSError) -> str:
    """What the system said and the remedy, without the file, which may be a temporary one."""
    return environment_fault(OSError(error.errno, error.strerror)) or str(error)


def try_to_lock(file: IO[bytes]) -> bool | None:
    """Locks a file until it is closed. False: another process holds it; None: its file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return None
    return True


def is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _open_temporary(path: Path) -> IO[bytes]:
    """A new file beside `path`, with the rights of any new file, locked until it is closed."""
    beginning = os.fsencode(path.name)[:KEPT_BYTES].decode(errors="ignore")
    for _ in range(TRIES):
        temporary = path.with_name(f".{beginning}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        file = temporary.open("xb")
        if try_to_lock(file) is not False and is_at(file, temporary):
            return file
        file.close()  # another process took it for a leftover, before it was locked
        temporary.unlink(missing_ok=True)
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))


def _remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that nobody holds: their writers have died."""
    with os.scandir(folder) as entries:
        left = [folder / entry.name for entry in entries if PARTIAL.fullmatch(entry.name) and entry.is_file()]
    for path in left:
        with suppress(OSError), path.open("r+b") as file:  # another's, or gone meanwhile
            if try_to_lock(file):
                path.unlink()


def _write_on_trial(path: Path) -> None:
    file = _open_temporary(path)
    try:
        with file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    finally:
        Path(file.name).unlink()


def _forget(file: IO[bytes]) -> None:
    """Has the system drop a flushed file from its memory, so that whoever reads it reads the disk."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # a file system without
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _flush_folder(folder: Path) -> None:
    """Has a move within a folder outlast a power failure, where its file system can."""
    if os.name == "nt":
        return
    with suppress(PermissionError):  # a folder that can be written, but not read
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        finally:
            os.close(descriptor)
