"""What every test may ask for: the golden numbers, and small data sets in the layout of the programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pytest

from ops.machine import wait_passively

# Bit for bit, and two processes on one machine: that is tested on the CPU. test_cuda.py looks for GPUs itself.
VISIBLE_GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Tests side by side share the cores: threads of many processes that wait for each other take several times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
wait_passively()
# A shell starts what it puts in the background deaf to Ctrl-C, and so would be the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import torch  # noqa: E402 (it must not have looked for GPUs before)

from ops.optional import MissingError  # noqa: E402
from tools import make_demo_dataset  # noqa: E402

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test of what is optional is skipped where its package is not installed; one that is there must work."""
    outcome: Any = yield
    error: BaseException | None = call.excinfo.value if call.excinfo else None
    while error is not None:  # a message that another was expected instead of stands behind its own
        if packages := _missing_packages(error):
            report = outcome.get_result()
            report.outcome = "skipped"
            report.longrepr = str(HERE), 0, f"Skipped: needs {', '.join(packages)}"
            return
        error = error.__context__


def _missing_packages(error: BaseException) -> list[str]:
    """Which packages an error asks for, if none of them is installed."""
    packages = list(error.packages) if isinstance(error, MissingError) else []
    if isinstance(error, ValueError) and "pip install timm" in str(error):  # archs' own, which knows nothing of ops
        packages = ["timm"]
    return [] if any(importlib.util.find_spec(name.partition(".")[0]) for name in packages) else packages


@pytest.fixture(autouse=True)
def threads_stay() -> Iterator[None]:
    """Another number of threads rounds otherwise: a test that left one would spoil later ones that compare bits."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@pytest.fixture
def double() -> Iterator[None]:
    """Networks and random numbers are of 64 bits, and the same each time."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden numbers: the shared one where it exists, else the copy kept beside the tests."""
    shared = SHARED / "golden"
    return shared if shared.is_dir() else HERE / "golden"


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small `demo` data set: two training videos and one validation video a class. Not to be changed."""
    root = tmp_path_factory.mktemp("rendered")
    make_demo_dataset.make(root, make_demo_dataset.Settings(0, 2, 1), jobs=1, force=False)
    return root


@pytest.fixture
def demo(rendered: Path, tmp_path: Path) -> Path:
    """A folder of its own for a test, with the small `demo` in `dataset/demo`."""
    shutil.copytree(rendered / "demo", tmp_path / "dataset" / "demo")
    return tmp_path


@pytest.fixture
def something(golden: Path, tmp_path: Path) -> Path:
    """A folder of its own for a test, with the golden videos in `dataset/something`, as both lists."""
    folder = tmp_path / "dataset" / "something"
    shutil.copytree(golden / "end_to_end" / "frames", folder / "frames")
    for source, name in (
        ("category.txt", "category.txt"),
        ("val_videofolder.txt", "val_videofolder.txt"),
        ("val_videofolder.txt", "train_videofolder.txt"),
    ):
        shutil.copy(golden / "end_to_end" / source, folder / name)
    return tmp_path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, one for all tests of a process."""
    with browser.started() as running:
        yield running


@pytest.fixture
def open_page(chromium: Any) -> Iterator[browser.OpenPage]:
    """Opens a file or an address in a browser (see `browser.opener`)."""
    with browser.opener(chromium) as opened:
        yield opened
