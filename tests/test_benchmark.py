"""tools/benchmark.py: what it measures and writes; not how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_videos import write_video

from ops.data.videofile import frames, scan, upright
from ops.errors import InputError
from tools import benchmark
from tools.benchmarks import decode, findings


def test_rows_of_decoders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "videos" / "v.mp4", 60, g="50", bf="2", sc_threshold="0")
    words = ["decode", "--videos", tmp_path / "videos", "--repeats", 2, "--json", tmp_path / "out.json"]
    assert benchmark.main([str(word) for word in words]) == 0
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["machine"]["av"] and content["machine"]["torch"]
    rows = {row["name"]: row for row in content["rows"] if row["name"].endswith("from the start")}
    assert list(rows) == [
        "v.mp4, 2 key frames: from the start", "v (a key frame a second).mp4, 3 key frames: from the start",
    ]  # fmt: skip
    for row in rows.values():
        assert row["ratio"] == row["ours"] / row["against"] and row["unit"] == "ms"
    assert "ratio" in capsys.readouterr().out


def test_the_opponents_give_the_same_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 30, g="10")
    expected = [upright(frame) for frame in frames(video)]
    found = decode.decode_all(video, scan(video), [3, 30])
    np.testing.assert_array_equal(np.asarray(found), np.stack([expected[2], expected[29]]))
    decode.keyed(video, tmp_path / "keyed.mp4")
    assert scan(tmp_path / "keyed.mp4").keys.tolist() == [0, 25]


def test_medians_and_spreads() -> None:
    row = findings.row("n", [1.0, 2.0, 3.0, 4.0, 100.0], [6.0] * 5, "ms")
    assert (row.ours, row.against, row.ratio) == (3.0, 6.0, 0.5)
    assert row.spread == (pytest.approx(25.25), 0.0)


def test_in_turns_warms_up() -> None:
    calls: list[str] = []
    taken = findings.in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 5 and [len(times) for times in taken.values()] == [3, 3]


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--repeats 0"):
        benchmark.main(["decode", "--videos", str(tmp_path), "--repeats", "0"])
