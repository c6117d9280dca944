"""Of which code a training is, and what it ran on: another of these, and its numbers may be others."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = ("main.py", "test_models.py", "opts.py", "archs", "ops")  # what trains and tests


def conditions(threads: int, slot: str | None) -> dict[str, str | int]:
    """What a training that is gone on with must share with its beginning. slot: a GPU's number, or None for the CPU."""
    return {"code": digest_of_code(), "torch": version("torch"), "device": "GPU" if slot else "CPU", "threads": threads}


@cache
def digest_of_code() -> str:
    """Eight digits that stand for all that trains and tests, committed or not."""
    places = [REPOSITORY / name for name in CODE]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    content = hashlib.sha256()
    for file in files:
        content.update(f"{file.relative_to(REPOSITORY).as_posix()}\n".encode())
        content.update(file.read_bytes())
    return content.hexdigest()[:8]


def commit_of_code() -> str:
    """The commit of the code that runs, with a `+` where it was changed since; `unknown` outside of a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(("git", *words), cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        is_changed = bool(git("status", "--porcelain", "--", "*.py"))
        return git("rev-parse", "--short=10", "HEAD") + "+" * is_changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
