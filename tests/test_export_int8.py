"""Eight bits: quantised for OpenVINO, judged by speed and accuracy, and kept only within the bounds."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
from test_export import checkpoint

from ops.errors import InputError
from ops.evaluation.paired import mcnemar
from ops.exporting import int8
from ops.exporting.checking import Finding
from ops.exporting.export import export
from ops.exporting.int8 import INT8, Bounds, export_int8, hits_of, judge
from ops.exporting.targets import openvino_core
from tools import export as tool
from tools.demo_scenes import CLASSES


def hits(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    # Two-sided binomial tails of 1/2 by hand: 2·(1 + 10)/2^10, 2/2^5, 1.
    [(9, 1, 22 / 1024), (5, 0, 2 / 32), (3, 3, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_is_the_binomial_test_of_what_differs(only_first: int, only_second: int, p: float) -> None:
    first = hits(*[1] * only_first, *[0] * only_second, 1, 1, 0)
    second = hits(*[0] * only_first, *[1] * only_second, 1, 1, 0)
    found = mcnemar(first, second)
    assert found.p == pytest.approx(p) and (found.only_first, found.only_second) == (only_first, only_second)
    assert found.drop == pytest.approx(100 * (only_first - only_second) / len(first))


def timing(milliseconds: float) -> Finding:
    return Finding({}, {1: 2 * milliseconds, 3: milliseconds / 2, 16: milliseconds / 2})


@pytest.mark.parametrize(
    ("speedup", "drop", "missed"),
    [(1.5, 0.5, []), (2.1, 0.5, ["2.00 x as fast as openvino bf16, --int8_speedup asks for 2.1"]),
     (1.5, 0.4, ["0.50 points lower, --int8_drop allows 0.4"]), (3, 0, ["2.00 x", "0.50 points"])],
)  # fmt: skip
def test_bounds(speedup: float, drop: float, missed: list[str]) -> None:
    first, second = hits(*[1] * 200), hits(*[1] * 199, 0)
    timed = {"openvino": timing(30), "openvino bf16": timing(20), INT8: timing(10)}
    verdict = judge(timed, mcnemar(first, second), Bounds(speedup, drop))
    assert len(verdict.faults) == len(missed)
    assert all(words in fault for words, fault in zip(missed, verdict.faults, strict=True))
    assert "2.00 x as fast as openvino bf16" in str(verdict) and "p = 1" in str(verdict)


def test_hits_are_of_all_videos_in_their_order() -> None:
    videos = [(np.full((1, 1, 1, 1), k % 3, np.uint8), k % 2) for k in range(19)]
    found = hits_of({"a": lambda batch: np.eye(3)[batch[:, 0, 0, 0, 0]]}, videos, 8)
    assert found["a"].tolist() == [k % 3 == k % 2 for k in range(19)]


def test_int8_is_written_within_the_bounds_only(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an untrained network, calibrated and judged on the rendered videos."""
    path = checkpoint(demo, arch="timm:resnet10t", shift=False, size=32, classes=CLASSES)
    output = demo / "out"
    data = "demo", str(demo / "dataset"), None
    done = export(path, ["openvino"], output, count=4, threads=1)
    kept = export_int8(done, output, *data, Bounds(speedup=0, drop=100), calibration=4)
    assert not done.faults and kept.paired.videos == 12
    files = {"model.xml", "model.bin", "model.json", "model_int8.xml", "model_int8.bin"}
    assert {path.name for path in output.iterdir()} == files
    assert done.megabytes[INT8] < 0.4 * done.megabytes["openvino"]
    assert 1e-6 < done.findings[INT8].difference(done.expected) < 0.3
    (output / "model_int8.xml").unlink()
    monkeypatch.setattr(int8, "quantised", lambda path, clips: openvino_core().read_model(path))  # no quicker
    missed = export_int8(done, output, *data, Bounds(speedup=1000, drop=0), calibration=4)
    assert len(done.faults) == 1 and "--int8_speedup asks for 1000" in done.faults[0]
    assert missed.paired.drop == 0 and not (output / "model_int8.xml").exists()


def test_int8_wants_the_networks_own_classes(demo: Path) -> None:
    done = export(checkpoint(demo, arch="timm:resnet10t", shift=False, size=32), ["safetensors"], demo / "out", count=2)
    with pytest.raises(InputError, match="not trained on the classes of 'demo'"):
        export_int8(done, demo / "out", "demo", str(demo / "dataset"), None, Bounds())


def test_int8_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InputError, match=r"--int8: .*pip install nncf"):
        export_int8(None, tmp_path, "demo", "", None, Bounds())  # type: ignore[arg-type]


def test_an_unknown_data_set_is_named_before_the_work(tmp_path: Path) -> None:
    words = f"--weights none.pth --to openvino --output {tmp_path / 'out'} --int8 --dataset nosuch --root_dataset ."
    with pytest.raises(InputError, match="unknown data set 'nosuch'"):
        tool.main(words.split())


def test_signals_are_handled_where_there_is_memory_after_openvino(tmp_path: Path) -> None:
    """OpenVINO's CPU plugin exchanges the stack of signal handlers: a freed one would end the process at a signal."""

    class Stack(ctypes.Structure):
        _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    stack = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    maps = Path("/proc/self/maps").read_text().splitlines()
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps]
    assert not stack.place or any(start <= stack.place < end for start, end in spans)
