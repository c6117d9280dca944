"""One program at a time works in a folder, whatever becomes of the one before."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import REPOSITORY
from test_files import NO_LOCKS, names, without_locks

from ops.errors import InputError
from ops.locks import claimed

REMEDY = "give another --suffix"
IMPORTS = "import os, sys, time; from pathlib import Path; from ops.errors import *; from ops.locks import claimed\n"


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    """A process that claims `folder` and then runs `code`; it says `held` or `refused`."""
    program = (
        f"{IMPORTS}try:\n"
        f"    with claimed(Path({str(folder)!r}), 'wait'):\n"
        "        print('held', flush=True)\n"
        f"        {code}\n"
        "except InputError: print('refused', flush=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_claim_is_refused_and_says_who_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with claimed(folder, REMEDY):
        with pytest.raises(InputError) as caught, claimed(folder, REMEDY):
            pass
        message = str(caught.value)
        assert "\n" not in message and message.endswith(REMEDY)
        assert str(folder) in message and f"process {os.getpid()} on {os.uname().nodename}, since 20" in message
        with claimed(tmp_path / "other", REMEDY):
            pass
        with pytest.raises(InputError), claimed(folder, REMEDY):  # still held after the refusal
            pass
    with claimed(folder, REMEDY):
        pass


def test_a_folder_that_stays_empty_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("old", "new", "new/er/est"):
        with pytest.raises(KeyError), claimed(tmp_path / name, REMEDY):
            raise KeyError
    assert names(tmp_path) == ["old"] and names(tmp_path / "old") == []
    with claimed(tmp_path / "new", REMEDY):
        (tmp_path / "new" / "ckpt.pth").touch()
    assert names(tmp_path / "new") == ["ckpt.pth"]


def test_of_many_that_start_together_one_holds_the_folder(tmp_path: Path) -> None:
    processes = [start(tmp_path / "run", "sys.stdin.read()") for _ in range(5)]
    assert sorted(said(process) for process in processes) == ["held"] + ["refused"] * 4
    for process in processes:
        process.communicate()


def test_a_lock_is_handed_on_at_every_moment(tmp_path: Path) -> None:
    """Claimed and left again and again by several, some of which find the file or the folder just removed."""
    mark = tmp_path / "mark"
    code = f"m = {str(mark)!r}; os.close(os.open(m, os.O_CREAT | os.O_EXCL)); os.unlink(m)"
    program = (
        f"{IMPORTS}count = 0\n"
        "while count < 50:\n"
        "    try:\n"
        f"        with claimed(Path({str(tmp_path / 'run')!r}), 'wait'): {code}\n"
        "        count += 1\n"
        "    except InputError: pass"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]  # O_EXCL fails where two are inside
    assert not list(tmp_path.rglob(".*"))


def test_a_killed_process_and_the_children_it_leaves_hold_nothing(tmp_path: Path) -> None:
    """Children as a loader's processes: forked while the folder is held, and there some time longer."""
    process = start(tmp_path / "run", "os.fork() or print(os.getpid(), flush=True); time.sleep(60)")
    assert said(process) == "held"
    child = int(said(process))
    try:
        with pytest.raises(InputError, match=f"process {process.pid} on"), claimed(tmp_path / "run", REMEDY):
            pass
        process.kill()
        process.wait()
        os.kill(child, 0)  # it is there
        with claimed(tmp_path / "run", REMEDY):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_childs_end_leaves_the_parents_lock(tmp_path: Path) -> None:
    with claimed(tmp_path / "run", REMEDY):
        if not (child := os.fork()):
            os._exit(0)
        os.waitpid(child, 0)
        other = start(tmp_path / "run", "pass")
        assert said(other) == "refused"
        other.wait()


def test_a_claim_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "time.sleep(0.6)")
    assert said(process) == "held"
    with claimed(tmp_path / "run", REMEDY, timeout=30):
        process.wait()
    began = time.monotonic()
    with claimed(tmp_path / "run", REMEDY), pytest.raises(InputError), claimed(tmp_path / "run", REMEDY, timeout=0.1):
        pass
    assert 0.1 < time.monotonic() - began < 10


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_file_system_without_locks_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    caplog.set_level("WARNING")
    without_locks(monkeypatch, number)
    for _ in range(2):
        with claimed(tmp_path, REMEDY), claimed(tmp_path / "run", REMEDY):
            pass
    assert caplog.text.count(f"{tmp_path}: this file system has no locks") == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_any_other_refusal_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    without_locks(monkeypatch, number)
    words = f"{tmp_path}: can't be written there: {os.strerror(number)};"
    with pytest.raises(InputError, match=words), claimed(tmp_path, REMEDY):
        pass


def test_a_file_in_the_way_and_a_foreign_lock_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: can't .*in the way"), claimed(tmp_path / "file", REMEDY):
        pass
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="can't be written there"), claimed(tmp_path, REMEDY):
        pass
    assert (tmp_path / "precious").read_text() == "kept"
