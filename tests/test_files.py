"""Files are whole under their names whatever happens, and places that take none are found out at once."""

from __future__ import annotations

import errno
import io
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from programs import REPOSITORY

from ops.console import start_logging
from ops.errors import InputError
from ops.files import atomic_write, check_writable, write_text

NO_LOCKS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL]


def names(folder: Path) -> list[str]:
    """What is in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir())


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As on a file system that refuses flock."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)


def run_on_a_disk(folder: Path, options: str, code: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` where `folder`, FOLDER in its environment, is the top of a disk of its own."""
    folder.mkdir(exist_ok=True)
    command = f"mount -t tmpfs -o {options} tmpfs {folder} && {sys.executable} -c '{code}'"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        cwd=REPOSITORY,
        env={**os.environ, "FOLDER": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("only who may mount a file system can try a full one")
    return done


def test_two_who_write_one_file_at_a_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_many_threads_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=lambda text=text: [write_text(path, text) for _ in range(10)]) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_has_the_rights_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "日" * 85, "x" * 240 + ".pth"])
def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    with atomic_write(tmp_path / name) as file:
        assert len(os.fsencode(Path(file.name).name)) < 143  # the shortest limit in use, eCryptfs's
    assert names(tmp_path) == [name]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from ops.files import atomic_write\n"
        f"with atomic_write(Path({str(tmp_path / 'ckpt.pth')!r})) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".ckpt.pth.") and left.name.endswith(".partial")
    others = [tmp_path / ".theirs.partial", tmp_path / ".a.b-c.partial"]
    for other in others:
        other.touch()
    with atomic_write(tmp_path / "other") as file:
        assert not left.exists()
        write_text(tmp_path / "a.txt", "a")
        assert Path(file.name).exists()
    assert {*tmp_path.iterdir()} == {*others, tmp_path / "other", tmp_path / "a.txt"}


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_file_system_without_locks_keeps_what_may_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    without_locks(monkeypatch, number)
    with atomic_write(tmp_path / "a") as file:
        write_text(tmp_path / "b", "b")
        assert Path(file.name).exists()
    assert names(tmp_path) == ["a", "b"]


def test_the_file_is_flushed_before_it_is_moved_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_sync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        seen.append("moved")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a.txt", "a")
    assert seen == ["file", "moved", "folder"]


def test_an_error_leaves_the_former_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'"), atomic_write(path) as file:
        file.write(b"after")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError, match="another"), atomic_write(path):
        (tmp_path / "another").read_bytes()
    assert path.read_text() == "before" and names(tmp_path) == ["a.txt"]


def test_a_full_disk_takes_no_file_and_the_former_one_stays(tmp_path: Path) -> None:
    done = run_on_a_disk(
        tmp_path / "disk",
        "size=64k",
        "import os; from pathlib import Path; from ops.errors import reported; from ops.files import *\n"
        'folder = Path(os.environ["FOLDER"]); write_text(folder / "a", "before"); open(folder / "b", "wb").close()\n'
        "with reported():\n"
        '    try: check_writable([folder / "b"]); write_text(folder / "a", "x" * 10**6)\n'
        '    finally: print((folder / "a").read_text(), sorted(os.listdir(folder)))',
    )
    assert done.stdout.split("\n")[0] == "before ['a', 'b']"
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/disk/a: No space left on device; free some space")


def test_numpys_words_for_a_full_disk_are_known(tmp_path: Path) -> None:
    done = run_on_a_disk(
        tmp_path / "disk",
        "size=64k",
        "import os; import numpy as np; from pathlib import Path; from ops.errors import reported\n"
        "from ops.files import atomic_write\n"
        'with reported(), atomic_write(Path(os.environ["FOLDER"]) / "a") as file: np.save(file, np.zeros(10**5))',
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/disk/a: No space left on device;")


def test_a_full_disk_is_found_before_the_work(tmp_path: Path) -> None:
    done = run_on_a_disk(
        tmp_path / "disk",
        "size=64k",
        "import os; from pathlib import Path; from ops.errors import reported; from ops.files import *\n"
        'folder = Path(os.environ["FOLDER"]); (folder / "a").write_bytes(bytes(64 * 1024))\n'
        'with reported(): check_writable([folder / "out" / "b"])',
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/disk/out/b: can't be written there: No space left on device;")


def test_a_read_only_disk_is_found_before_the_work(tmp_path: Path) -> None:
    done = run_on_a_disk(
        tmp_path / "disk",
        "ro",
        "import os; from pathlib import Path; from ops.errors import reported; from ops.files import *\n"
        'with reported(): check_writable([Path(os.environ["FOLDER"]) / "b"])',
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/disk/b: can't be written there: Read-only file system;")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file/r.json", "its folder can't be made: .*in the way"),
        ("folder", "can't be written there: a folder or a device"),
        ("a" * 256, "can't be written there: File name too long; give a shorter name"),
        ("pipe", "can't be written there: a folder or a device"),
    ],
)
def test_places_that_take_no_file(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=f"{name}: {words}"):
        check_writable([tmp_path / "fine", tmp_path / name])


def test_a_trial_leaves_nothing_but_folders(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    check_writable([tmp_path / "old", tmp_path / "a" / "b" / "new"])
    assert (tmp_path / "old").read_text() == "kept"
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/b", "old"]


class Full(io.StringIO):
    """A stream whose disk is full."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_log_line_that_finds_no_room_ends_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    start_logging()
    monkeypatch.setattr(sys, "stderr", Full())
    logging.getLogger("fexnet").warning("lost")
