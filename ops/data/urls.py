"""Places that are URLs and no paths, and where what is read of them is kept."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ops.errors import InputError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Those that are read. A data set's description may come from anywhere, and fsspec knows some thirty others: some load
# drivers or start programs, or speak to other machines in the name of whoever runs this.
SCHEMES = ("s3", "gs", "gcs", "hf", "http", "https", "file", "memory")
DEFAULT_GB = 50.0

_secrets: dict[str, str] = {}  # whole URLs by what is shown of them


def is_url(place: object) -> bool:
    """Whether it is one, and no path."""
    return URL.match(str(place)) is not None


def hidden(place: str) -> str:
    """A URL without user, password and query, which are remembered for reading it; a path as it is.

    So they get into no log, message, name or checkpoint.
    """
    if not is_url(place):
        return place
    scheme, _, rest = place.partition("://")
    before, query, _ = rest.partition("#")[0].partition("?")
    host, slash, path = before.partition("/")
    shown = f"{scheme}://{host.rpartition('@')[2]}{(slash + path).rstrip('/')}"
    if query or "@" in host:
        _secrets[shown] = place
    return shown


def check_url(shown: str) -> None:
    """Raises InputError for a URL that is not read: of another scheme, a chain of several, or none that makes sense."""
    url, scheme = whole(shown), shown.partition("://")[0]
    if scheme not in SCHEMES or "::" in url:  # by which fsspec chains file systems of any kind
        fault = f"{scheme}:// is not read" if scheme not in SCHEMES else "'::' chains file systems, which are not read"
        raise InputError(f"{shown}: {fault}; known are {', '.join(f'{each}://' for each in SCHEMES)}")
    try:
        urlsplit(url)
    except ValueError:  # its words may hold the password
        raise InputError(f"{shown}: no URL that can be read; expected one like https://server/mine/packed") from None


def whole(url: str) -> str:
    """What was hidden of a URL, with it."""
    return _secrets.get(url, url)


@dataclass(frozen=True)
class Cache:
    """Where what is read of URLs is kept, and how many GB (10⁹ bytes) of it at most.

    Without a folder it is the environment variable FEXNET_CACHE's, or `fexnet` in the user's cache folder.
    """

    given: str | Path | None = None
    gigabytes: float = DEFAULT_GB

    @property
    def folder(self) -> Path:
        """The folder."""
        users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(self.given or os.environ.get("FEXNET_CACHE") or Path(users) / "fexnet")

    def index(self, url: str) -> Path:
        """Where the small files of a URL lie."""
        return self.folder / "index" / hashlib.sha256(url.encode()).hexdigest()[:40]
