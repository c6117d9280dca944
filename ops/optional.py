"""Packages that single parts of the project ask for, and that need not be there: `requirements-optional.txt`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from types import ModuleType

from ops.errors import InputError


class MissingError(InputError):
    """Packages that are not installed, or broken; the message says what for, and how to install them."""

    def __init__(self, message: str, packages: Sequence[str]) -> None:
        super().__init__(message)
        self.packages = packages


def need(package: str, purpose: str) -> ModuleType:
    """The package, imported. Raises MissingError, which begins with the `purpose`, where it is missing or broken."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        message = f"{purpose}: needs the package {package} ({error}): pip install {package}"
        raise MissingError(message, [package]) from error


def need_all(packages: Iterable[str], purpose: str) -> None:
    """The same of several, all of which the one message names."""
    missing = []
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        names = " ".join(missing)
        raise MissingError(f"{purpose}: needs packages that are not installed or broken: pip install {names}", missing)
