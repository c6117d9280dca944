"""Places that are URLs and no paths, and where what is read of them is kept."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
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
    parts = urlsplit(place)
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if parts.query or "@" in parts.netloc:
        _secrets[shown] = place
    return shown


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
