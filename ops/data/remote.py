"""Files below a URL, read over fsspec (s3://, gs://, hf://, http://, …), and what of them is kept on this machine.

A cache is a folder: `index/`, the small files of each URL, whole, and `blocks/`, pieces of the large ones, of which the
least recently used make room. Several programs and processes may use one at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from ops.data.decode import FrameError
from ops.data.urls import Cache, whole
from ops.errors import InputError
from ops.files import atomic_write, in_words, read_regular, try_to_lock, write_text
from ops.locks import claimed

logger = logging.getLogger(__name__)

BLOCK = 4 << 20  # bytes of a piece: about a video's frames, and worth a question to a server
PARTS = 16  # folders of blocks, each with a lock of its own, that processes seldom wait for each other
FRESH = 60.0  # seconds for which a use of a block is not noted again
PATIENCE = 120.0  # seconds for an answer: 4 MiB take that long at 35 kB/s
TRIES, PAUSE = 4, 1.0  # and seconds before the second, then twice as long each time
VERSIONS, MOST_VERSIONS = "versions.json", 1 << 20  # bytes; a file takes some 70
# What file systems call the marks by which another version of a file is told from this one.
MARKS = (
    *("size", "ETag", "etag", "e_tag", "md5Hash", "md5", "sha256", "Content-MD5", "blob_id", "generation"),
    *("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "created"),
)

Answer = TypeVar("Answer")


class _MissingError(Exception):
    """There is no such file."""


@dataclass(frozen=True)
class Blocks:
    """Pieces of files by their keys, of `most` bytes in all, whoever writes at a time."""

    folder: Path
    most: int

    def read(self, key: str, start: int, end: int) -> bytes | None:
        """These bytes of a piece, which counts as used; None if it is not there."""
        file = self._part(key) / key
        try:
            with file.open("rb") as opened:
                if time.time() - os.fstat(opened.fileno()).st_mtime > FRESH:
                    with suppress(OSError):
                        os.utime(file)
                opened.seek(start)
                data = opened.read(end - start)
        except OSError:
            return None
        return data if len(data) == end - start else None

    def keep(self, key: str, data: bytes) -> None:
        """Adds a piece, after as many of the longest unused ones of its part have gone as need to."""
        part = self._part(key)
        try:
            part.mkdir(parents=True, exist_ok=True)
            with _locked(part / ".lock"):
                self._make_room(part, len(data))
                with atomic_write(part / key) as file:
                    file.write(data)
        except OSError as error:
            _say_once(f"{self.folder}: frames read over the network are not kept there: {in_words(error)}")

    def discard(self, key: str) -> None:
        """Takes a piece out."""
        (self._part(key) / key).unlink(missing_ok=True)

    def _part(self, key: str) -> Path:
        return self.folder / f"{int(key[:8], 16) % PARTS:02d}"

    def _make_room(self, part: Path, needed: int) -> None:
        with os.scandir(part) as entries:
            states = [(state, entry.path) for entry in entries if entry.name != ".lock" and (state := _state(entry))]
        left = self.most // PARTS - sum(state.st_size for state, _ in states)
        for state, path in sorted(states, key=lambda each: each[0].st_mtime_ns):
            if left >= needed:
                break
            Path(path).unlink(missing_ok=True)
            left += state.st_size


def blocks_of(cache: Cache) -> Blocks:
    """Those in a cache, with the room that the index files leave. Raises InputError if that is too little."""
    files = (file for file in (cache.folder / "index").rglob("*") if file.is_file())
    left = int(cache.gigabytes * 1e9) - sum(file.stat().st_size for file in files)
    if left < PARTS * BLOCK:
        raise InputError(
            f"--cache_gb {cache.gigabytes:g}: the index files in {cache.folder} leave {max(0, left) / 1e9:.2f} GB for "
            f"the frames, and {PARTS * BLOCK / 1e9:.2f} are the least: give more"
        )
    return Blocks(cache.folder / "blocks", left)


@dataclass
class RemoteFolder:
    """The files directly below a URL, as it is shown. A process that is forked connects anew."""

    url: str
    cache: Cache = field(default_factory=Cache)
    _whole: str = ""
    _connected: tuple[int, Any] | None = None
    _versions: dict[str, tuple[int, str]] = field(default_factory=dict)
    _blocks: Blocks | None = None

    def __post_init__(self) -> None:
        self._whole = whole(self.url)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connected": None}

    def called(self, name: str) -> str:
        """A file in words."""
        return f"{self.url}/{name}"

    def size(self, name: str) -> int:
        """Bytes of a file. Raises FrameError if it is not there, or does not answer."""
        return self._version(name)[0]

    def read(self, name: str, start: int, end: int) -> bytes:
        """These bytes of a file, from the cache where they are there. Raises FrameError."""
        first, last = start // BLOCK, (end - 1) // BLOCK
        pieces = (
            self._piece(name, n, max(start, n * BLOCK), min(end, (n + 1) * BLOCK)) for n in range(first, last + 1)
        )
        return b"".join(pieces)

    def forget(self, name: str, start: int, end: int) -> None:
        """Has these bytes, and what is known of the file, asked for anew the next time."""
        for number in range(start // BLOCK, (end - 1) // BLOCK + 1):
            self._kept.discard(self._key(name, number))
        self._versions.pop(name, None)

    def fetch(self, wanted: Sequence[str], more: Callable[[Path], Sequence[str]], optional: Sequence[str]) -> Path:
        """The folder of the cache with these files as they are today; those that are there are not fetched again.

        more: which others, by what these say. optional: which need not be there. Others are removed. Raises InputError.
        """
        folder = self.cache.index(self.url)
        with claimed(folder, "wait for its end, or give another --cache_dir", timeout=600):
            known = _read_versions(folder / VERSIONS)
            now = {name: mark for name in wanted if (mark := self._fetched(folder, name, known))}
            now |= {name: mark for name in more(folder) if (mark := self._fetched(folder, name, known))}
            for name in optional:
                with suppress(_MissingError):
                    now[name] = self._fetched(folder, name, known, missing=_MissingError)
            for file in folder.iterdir():
                if file.name in known and file.name not in now:
                    file.unlink()
            if now != known:
                write_text(folder / VERSIONS, json.dumps(now))
        return folder

    def _fetched(self, folder: Path, name: str, known: dict[str, str], missing: type[Exception] = FrameError) -> str:
        size, mark = self._ask(name, missing)
        file = folder / name
        if size > self.cache.gigabytes * 1e9:
            raise InputError(f"{self.called(name)}: {size / 1e9:.2f} GB, more than --cache_gb {self.cache.gigabytes:g}")
        if known.get(name) != mark or not file.is_file() or file.stat().st_size != size:
            with atomic_write(file) as opened:
                for start in range(0, size, BLOCK):
                    opened.write(self._range(name, start, min(size, start + BLOCK)))
        return mark

    @property
    def _kept(self) -> Blocks:
        self._blocks = self._blocks or blocks_of(self.cache)
        return self._blocks

    def _piece(self, name: str, number: int, start: int, end: int) -> bytes:
        base, key = number * BLOCK, self._key(name, number)
        if (data := self._kept.read(key, start - base, end - base)) is not None:
            return data
        piece = self._range(name, base, min(self.size(name), base + BLOCK))
        self._kept.keep(key, piece)
        return piece[start - base : end - base]

    def _key(self, name: str, number: int) -> str:
        return _mark(f"{self.url}\n{name}\n{self._version(name)[1]}\n{number}")

    def _version(self, name: str) -> tuple[int, str]:
        if name not in self._versions:
            self._versions[name] = self._ask(name)
        return self._versions[name]

    def _ask(self, name: str, missing: type[Exception] = FrameError) -> tuple[int, str]:
        """Its bytes, and what tells this version of it from others."""

        def info(fs: Any, path: str) -> dict[str, Any]:
            fs.invalidate_cache()
            return dict(fs.info(path))

        said = self._answer(info, name, missing)
        if not isinstance(said.get("size"), int):
            raise FrameError(f"{self.called(name)}: its server does not say how large it is")
        return said["size"], _mark("\n".join(f"{key} {said[key]}" for key in MARKS if said.get(key) is not None))

    def _range(self, name: str, start: int, end: int) -> bytes:
        data = self._answer(lambda fs, path: fs.cat_file(path, start=start, end=end), name) if end > start else b""
        if len(data) != end - start:
            raise FrameError(
                f"{self.called(name)}: {len(data)} bytes came instead of the {end - start} from {start} on: it is "
                "another file now, or its server gives out no ranges"
            )
        return bytes(data)

    def _answer(self, ask: Callable[[Any, str], Answer], name: str, missing: type[Exception] = FrameError) -> Answer:
        """What `ask` returns, tried a few times."""
        fs, fault = self._file_system(), ""
        path = fs._strip_protocol(_below(self._whole, name))
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                return _within(PATIENCE, lambda: ask(fs, path))
            except FileNotFoundError as error:
                if not (behind := _behind(error)):
                    raise missing(f"{self.called(name)}: no such file") from None
                fault = self._without_secrets(behind)
            except PermissionError as error:
                if missing is _MissingError:  # so say stores of a missing file to who may not list them
                    raise missing(name) from None
                fault = f"access is refused: {self._without_secrets(error)}"
                break
            except Exception as error:  # of as many kinds as there are file systems
                fault = self._without_secrets(error)
        raise FrameError(f"{self.called(name)}: cannot be read ({fault})") from None

    def _file_system(self) -> Any:
        if self._connected and self._connected[0] == os.getpid():
            return self._connected[1]
        scheme = self.url.partition("://")[0]
        try:
            import fsspec

            fs, _ = fsspec.core.url_to_fs(self._whole, skip_instance_cache=True)
        except ImportError as error:
            raise InputError(f"{self.url}: {error}; requirements-optional.txt names what URLs need") from None
        except Exception as error:
            raise InputError(f"{self.url}: {scheme}:// cannot be opened ({self._without_secrets(error)})") from None
        self._connected = os.getpid(), fs
        return fs

    def _without_secrets(self, error: BaseException) -> str:
        parts, text = urlsplit(self._whole), str(error) or type(error).__name__
        user, _, _ = parts.netloc.rpartition("@")
        for secret in filter(None, (user, user.partition(":")[2], parts.query)):
            text = text.replace(secret, "…")
        return text.replace("\n", " ")[:300]


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Of a file; None if another process has removed it meanwhile."""
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _behind(error: FileNotFoundError) -> BaseException | None:
    """What has really happened where fsspec says of any error of a web server that there is no such file."""
    cause = error.__cause__ or error.__context__
    failed = isinstance(cause, (OSError, TimeoutError)) and not isinstance(cause, FileNotFoundError)
    return cause if failed or getattr(cause, "status", 404) not in (404, 410) else None


def _below(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _read_versions(file: Path) -> dict[str, str]:
    try:
        said = json.loads(read_regular(file, MOST_VERSIONS).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns. Raises TimeoutError; a thread that hangs is left to itself."""
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return answer


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a file's lock, for which it waits; where the file system has none, nothing is held."""
    with path.open("ab") as file:
        while try_to_lock(file) is False:
            time.sleep(0.005)
        yield


@cache
def _say_once(words: str) -> None:
    logger.warning("%s", words)
