"""What is known of videos, in arrays: found again by path, cut and joined; a forged file of it; memory a video."""

from __future__ import annotations

import io
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ops.data import paths as paths_module
from ops.data.filestate import FileState
from ops.data.paths import Paths
from ops.data.stored_arrays import stored_arrays
from ops.data.video_index import DIGEST, VideoIndex, _digest, read_index, write_index
from ops.data.video_index import Indexed as Entry
from ops.data.videofile import FrameTable

NAMES = [
    "a.mp4",
    "class 1/видео 3.mp4",
    "",
    "a",
    "class 1/видео 4.mp4",
    "x" * 40 + "1",
    "x" * 40 + "2",
    "a.mp4",
    "\udcff",
]


@pytest.mark.parametrize("factor", [paths_module.FACTOR, 0], ids=["", "all marks alike"])
def test_paths_are_found_by_all_their_letters(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths_module, "FACTOR", factor)
    monkeypatch.setattr(paths_module, "AT_ONCE", 4)
    paths = Paths.of(NAMES)
    assert list(paths) == NAMES and list(paths[2:5]) == NAMES[2:5]
    last = {name: place for place, name in enumerate(NAMES)}  # of equal ones the last
    others = [*reversed(NAMES), "b", "a.mp5", "x" * 40, "class 1"]
    assert paths.places(Paths.of(others)).tolist() == [last.get(name, -1) for name in others]
    assert [paths.place(name) for name in others] == [last.get(name, -1) for name in others]
    assert Paths.of([]).places(paths).tolist() == [-1] * len(NAMES) and paths.places(Paths.of([])).tolist() == []


def test_paths_of_one_mark_are_found_in_no_more_time_than_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows how marks are made can forge a list of them; one by one, so many take a minute."""
    monkeypatch.setattr(paths_module, "FACTOR", 0)
    paths, begun = Paths.of([f"{k}.mp4" for k in range(20_000)]), time.process_time()
    assert paths.places(paths).tolist() == list(range(20_000))
    assert paths.place("19999.mp4") == 19_999 and paths.place("20000.mp4") == -1
    assert time.process_time() - begun < 5


def table(seed: int) -> FrameTable:
    """Of a constant rate, a variable one, or none that can be told."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, 9, 30)) if seed % 3 else np.arange(30 + seed) * 512
    if seed % 3 == 2:
        return FrameTable.untimed(7 + seed)
    return FrameTable.of(times, np.unique(rng.integers(0, 30, 4)), (320, 240 + seed))


def entries(count: int) -> dict[str, Entry]:
    known = {
        f"c {k % 7}/v {k}.mp4": Entry(FileState(1000 + k, k, -k, 4_000_000_000 + k), table(k)) for k in range(count)
    }
    return known | {"gone.mp4": Entry(FileState(), fault="no such file: é")}


def in_words(known: VideoIndex | dict[str, Entry]) -> dict[str, str]:
    return {
        path: f"{entry} {entry.table.times().tolist() if entry.table and len(entry.table.keys) else ''}"
        for path, entry in known.items()
    }


def test_rows_are_what_was_put_in_cut_and_joined(tmp_path: Path) -> None:
    known = entries(20)
    index = VideoIndex.of(known)
    assert in_words(index) == in_words(known) and len(index) == 21 and "c 0/v 1" not in index
    write_index(tmp_path / "i", index)
    assert in_words(read_index(tmp_path / "i")) == in_words(known)
    rows = np.array([20, 3, 4, 0])
    assert in_words(index.take(rows)) == in_words({p: known[p] for p in (list(known)[r] for r in rows)})
    newer = {"gone.mp4": known["c 3/v 3.mp4"], "new.mp4": known["c 4/v 4.mp4"]}
    assert in_words(index | newer) == in_words(known | newer)
    assert in_words(VideoIndex.of({}) | newer) == in_words(newer) and not VideoIndex.of({})


def forge(file: Path, index: VideoIndex, compressed: bool = False, **changes: object) -> None:
    """An index with other numbers, whose digest is right."""
    arrays, content = {"videos": index.videos.copy(), **index.pools}, io.BytesIO()
    for name, value in changes.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            arrays["videos"][name][0] = value
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    file.write_bytes(content.getvalue() + _digest(memoryview(content.getvalue())))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_frames": 2**32 - 1, "steps": 1},  # 32 GiB of times
        {"width": 2**31, "height": 2**31},  # of frames that are to be scaled to
        {"steps": 0}, {"keys": 2**32 - 1}, {"path": 0}, {"steps": 17}, {"fault": 2**32 - 1},
        {"compressed": True}, {"keys": np.zeros(10**6, np.int64)}, {"more": np.zeros(1)},
        {"path": np.zeros(3, np.uint8)}, {"videos": np.zeros((2, 2), np.int64)},
    ],
    ids=str,
)  # fmt: skip
def test_a_forged_index_is_made_anew(changes: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = VideoIndex.of(entries(1))
    forge(tmp_path / "i", index)
    assert len(read_index(tmp_path / "i")) == 2
    if "more" in changes:
        content = io.BytesIO()
        np.savez(content, videos=index.videos, **index.pools, more=np.zeros(1))
        (tmp_path / "i").write_bytes(content.getvalue() + _digest(memoryview(content.getvalue())))
    else:
        forge(tmp_path / "i", index, **changes)
    assert len(read_index(tmp_path / "i")) == 0 and "is made anew" in caplog.text


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    np.savez_compressed(bomb, keys=np.zeros(10**7))
    tracemalloc.start()
    with pytest.raises(ValueError, match="compressed"):
        stored_arrays(bomb.getvalue(), {"keys": np.dtype(float)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_a_video_takes_few_bytes(tmp_path: Path) -> None:
    """And none of them is an object, of which a worker's look would copy the page."""
    count = 5000
    write_index(
        tmp_path / "i", VideoIndex.of({f"class/{k:09d}.mp4": Entry(FileState(99), table(0)) for k in range(count)})
    )
    assert (tmp_path / "i").stat().st_size < 200 * count + DIGEST + 2000
    tracemalloc.start()
    known = read_index(tmp_path / "i")
    assert known["class/000000007.mp4"].num_frames == 30
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 250 * count
