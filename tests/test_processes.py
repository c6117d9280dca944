"""Several processes as users start them: every video counts once."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import distributed_evaluation
import numpy as np
import pytest
from made_networks import save_network
from programs import python

TIMES = ("seconds", "waiting_percent")  # which differ from run to run


def numbers_of(found: object, at: str = "") -> dict[str, object]:
    """All that a JSON holds, by where it stands, but for times and how many processes and threads there were."""
    if isinstance(found, dict):
        found = {
            k: v for k, v in found.items() if not any(word in k for word in (*TIMES, "processes", "devices", "threads"))
        }
        return {k: v for key, value in found.items() for k, v in numbers_of(value, f"{at}/{key}").items()}
    if isinstance(found, list):
        return {k: v for i, value in enumerate(found) for k, v in numbers_of(value, f"{at}/{i}").items()}
    return {at: found}


def assert_alike(ours: dict[str, object], theirs: dict[str, object]) -> None:
    assert ours.keys() == theirs.keys()
    for at, value in theirs.items():
        if isinstance(value, float):
            assert ours[at] == pytest.approx(value, rel=1e-6, abs=1e-6), at
        else:
            assert ours[at] == value, at


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_evaluation_counts_every_video_once(demo: Path, processes: int) -> None:
    """Thirteen videos, which neither divides, and two, fewer than three: numbers, scores and tables as of one."""
    listed = demo / "dataset" / "demo" / "val_videofolder.txt"
    listed.write_text(listed.read_text() + listed.read_text().splitlines()[0] + "\n")
    weights = save_network(demo / "weights.pth")
    alone, together = demo / "alone", demo / "together"
    distributed_evaluation.evaluate(demo, weights, alone)
    start = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
    done = python(*start, distributed_evaluation.__file__, str(demo), str(weights), str(together), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    for name, videos in (("all", 13), ("two", 2)):
        ours, theirs = np.load(together / f"{name}.npz"), np.load(alone / f"{name}.npz")
        assert len(ours["paths"]) == videos
        for key in ("paths", "labels", "categories", "left_out"):
            assert ours[key].tolist() == theirs[key].tolist()
        assert np.abs(ours["scores"] - theirs["scores"]).max() <= 1e-6 * np.abs(theirs["scores"]).max()
    for name in ("all", "two", "validation"):
        ours, theirs = (json.loads((folder / f"{name}.json").read_text()) for folder in (together, alone))
        assert_alike(numbers_of(ours), numbers_of(theirs))
    assert json.loads((together / "validation.json").read_text())["videos"] == 13
    tables = [path.relative_to(alone) for path in alone.glob("report/**/*.csv")]
    assert tables
    for table in tables:
        rows, expected = (list(csv.reader((folder / table).open())) for folder in (together, alone))
        assert len(rows) == len(expected)
        for row, of_one in zip(rows, expected, strict=True):
            assert [as_number(cell) for cell in row] == pytest.approx([as_number(cell) for cell in of_one], abs=1e-6)


def as_number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def test_one_that_hangs_is_named_and_the_restart_meets_no_dead_process() -> None:
    start = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=1")
    done = python(*start, "tests/hanging_process.py", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^error: process 1 \(pid \d+ on .*\) has not gone on for 0\.05 minutes .*: ", done.stderr, re.M)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("done")
