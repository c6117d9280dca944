"""Mutated files at every door, a short while; `python tests/fuzzing.py` goes on longer. And whether it finds what it
should: that a door which hangs, dies, or takes all memory is a fault."""

from __future__ import annotations

import csv
import ctypes
import gc
import io
import multiprocessing
import os
import re
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import fuzzing
import pytest
from fuzzing import Door, turn
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.data.catalog import resolve
from ops.data.records import read_categories, read_list
from ops.errors import InputError
from ops.tables import as_csv, read_csv

DOORS = fuzzing.doors()
# Those that open the very file; of the others the file holds a part of it, from which the door makes the whole.
PARTS = re.compile(r".*(, inside|signed)|(video index|packed rows), .*|names of (frames|sources)|address.*")
OF_FILES = [door for door in DOORS if not PARTS.fullmatch(door.name)]
WAITED = 30.0  # seconds; a door takes less than one, and a busy machine more
ALL = 8.0  # seconds for all doors together, but LEAST cases of each, however busy the machine
LEAST, MOST = 10, 300
ENOUGH = 120.0  # seconds of a door
FIXED = settings(derandomize=True, database=None, deadline=None, max_examples=80)


@pytest.mark.parametrize("door", DOORS, ids=[door.name for door in DOORS])
def test_a_mutated_file_is_accepted_or_refused(door: Door, tmp_path: Path) -> None:
    tally = turn(door, 0, 0, LEAST, ENOUGH, tmp_path)
    assert tally.cases == LEAST
    tally.add(turn(door, 0, LEAST, MOST - LEAST, ALL / len(DOORS) - tally.seconds, tmp_path))
    assert tally.faults == {}, tally.saved


@pytest.mark.parametrize("door", OF_FILES, ids=[door.name for door in OF_FILES])
def test_no_door_waits_for_a_named_pipe(door: Door, tmp_path: Path) -> None:
    """In a process of its own, so that one that waits can be ended."""
    path = door.make_valid(tmp_path)
    path.unlink()
    os.mkfifo(path)

    def look() -> None:
        with suppress(InputError):  # or it passes over what it was: indices are made anew
            door.open(path)

    process = multiprocessing.get_context("fork").Process(target=look)
    process.start()
    process.join(WAITED)
    process.kill()
    process.join()
    assert process.exitcode != -signal.SIGKILL, "it waits"
    assert process.exitcode == 0


def write_text(folder: Path) -> Path:
    (folder / "file.txt").write_text("1234")
    return folder / "file.txt"


def failing(path: Path) -> None:
    """At some of the cases, in one of several ways."""
    content = path.read_bytes()
    if content == b"1234":
        return
    kind = sum(content) % 7
    if kind == 0:
        raise InputError("documented")
    if kind == 1:
        raise KeyError("a")
    if kind == 2:
        bytearray(2 * fuzzing.MEMORY)
    if kind == 3:
        ctypes.string_at(0)
    if kind == 4:
        time.sleep(100)
    if kind == 5:
        while True:
            pass


def test_every_kind_of_fault_is_found_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SECONDS", 0.02)
    tally = turn(Door("failing", write_text, failing), 0, 0, 40, 30, tmp_path)
    assert tally.cases == 40
    kinds = {kind.split(" at ")[0] for kind in tally.faults}
    assert kinds == {"KeyError", "MemoryError", "killed by SIGSEGV", "it hangs", "too slow"}
    assert all(Path(file).is_file() for file in tally.saved.values())
    again = turn(Door("failing", write_text, failing), 0, 0, 40, 30, tmp_path)
    assert (again.faults, again.refused) == (tally.faults, tally.refused)


def test_a_door_that_does_not_open_for_its_own_valid_file_says_so(tmp_path: Path) -> None:
    def refuse(_: Path) -> None:
        raise InputError("not even the valid one")

    with pytest.raises(AssertionError, match="not even the valid one"):
        turn(Door("closed", write_text, refuse), 0, 0, 1, 1, tmp_path)


def test_what_earlier_tests_have_left_is_not_freed_in_the_forked_process(tmp_path: Path) -> None:
    """Where it would wait for ever, as a video's decoder does for threads that a fork does not bring along."""
    here, marker = os.getpid(), tmp_path / "freed"

    class Left:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            if os.getpid() != here:
                marker.touch()

    gc.disable()  # else it could be freed before
    try:
        Left()
        tally = turn(Door("collecting", write_text, lambda _: gc.collect()), 0, 0, 1, 30, tmp_path)
    finally:
        gc.enable()
    assert tally.accepted == 1 and not marker.exists()


# --- texts by their grammar ------------------------------------------------------------------------------------------

ODD = st.sampled_from(["+1", "1e9", "٣", "0x1", "nan"])
FIGURES = st.one_of(st.integers(-2, 12).map(str), st.integers().map(str), ODD)
PIECES = st.one_of(FIGURES, st.text(max_size=8), st.sampled_from(["v.mp4", "a b", "#", ",", ";", "1,2", ".", "", "\t"]))
LINES = st.lists(PIECES, max_size=6).flatmap(lambda p: st.sampled_from([" ".join(p), "".join(p), ",".join(p)]))


@FIXED
@given(st.lists(st.one_of(LINES, st.tuples(st.text(), FIGURES, FIGURES).map(" ".join)), max_size=6), st.booleans())
def test_what_a_list_lists_stands_in_it(lines: list[str], counted: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list.txt"
        file.write_text("\n".join(lines), encoding="utf-8", errors="replace", newline="")
        try:
            records = read_list(file, 5, unlabelled_too=True, counted=counted)
        except InputError:
            return
        content = file.read_bytes().decode("utf-8-sig").replace("\r", "\n")
        for record in records:
            assert record.path in content
            assert -1 <= record.label < 5
            assert record.num_frames in range(1, 10_000_001) if counted else record.num_frames == 0


@FIXED
@given(st.text())
def test_class_names_are_those_of_the_file(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "category.txt"
        file.write_text(text, encoding="utf-8", errors="replace", newline="")
        try:
            names = read_categories(file)
        except InputError:
            return
        assert len(set(names)) == len(names) > 0
        assert all(name and name == name.strip() and "\n" not in name for name in names)


KEYS = st.sampled_from(
    ["mirror", "storage", "template", "first", "frames", "videos", "flow", "flow_template", "packed", "packed_flow"]
)
LIKELY = ('"auto"', '"frames"', '"video"', '"{:05d}.jpg"', '"{}"', '"{0[0]}"', "1979-05-27", "0x1F", "true")
VALUES = st.recursive(
    st.one_of(
        st.sampled_from(LIKELY),
        st.integers().map(str),
        st.floats().map(repr),
        st.text(max_size=9).map(lambda text: '"' + text.encode("unicode_escape").decode().replace('"', "") + '"'),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
    max_leaves=6,
)


@FIXED
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_a_description_is_kept_to_or_refused(said: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "own"
        folder.mkdir()
        (folder / "category.txt").write_text("a\n")
        lines = "".join(f"{key} = {value}\n" for key, value in said.items())
        (folder / "dataset.toml").write_text(lines, encoding="utf-8", errors="replace")
        try:
            data = resolve("own", root)
        except InputError:
            return
        assert data.template.format(7) != data.template.format(8)
        assert data.storage in ("frames", "video", "packed")
        assert 0 <= data.first <= 10_000_000


@FIXED
@given(st.lists(st.lists(st.one_of(st.text(), st.text("=+-@'\t\r\n,;\" a1.")), min_size=1), min_size=1))
def test_a_table_is_read_as_it_was_written(rows: list[list[str]]) -> None:
    text = as_csv(rows)
    assert read_csv(text) == rows
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=@\t\r\n")]
