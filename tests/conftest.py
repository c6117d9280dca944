"""What every test may ask for: the golden numbers, and a generator of small frame folders."""

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden numbers: the shared one where it exists, else the copy kept beside the tests."""
    shared = SHARED / "golden"
    return shared if shared.is_dir() else HERE / "golden"
