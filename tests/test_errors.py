"""What the machine refuses ends a program with one line and its remedy; a fault of the program with a traceback."""

from __future__ import annotations

import errno
import os
import signal
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.data import decode
from ops.data.decode import FrameError, decode_group
from ops.errors import InputError, Stopped, environment_fault, explained, reported
from ops.running.checkpoint import read_checkpoint
from ops.running.signals import ENDING

WORKER = "Caught {} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n{}"


def of_system(number: int, file: str | None = None) -> OSError:
    """As the system raises it."""
    return OSError(number, os.strerror(number), file) if file else OSError(number, os.strerror(number))


ENVIRONMENT = [
    (of_system(errno.ENOSPC, "out/ckpt.pth"), ("out/ckpt.pth: No space left", "free some space")),
    (of_system(errno.ENOSPC), ("No space left", "free some space")),
    (of_system(errno.EROFS, "out"), ("out: Read-only file system", "can be written")),
    (of_system(errno.EACCES, "out"), ("out: Permission denied", "permissions")),
    (of_system(errno.ENOTDIR, "out/x"), ("out/x: Not a directory", "in the way")),
    (of_system(errno.ENAMETOOLONG, "nnn"), ("nnn: File name too long", "shorter name")),
    (of_system(errno.EMFILE, "a.jpg"), ("a.jpg: Too many open files", "ulimit")),
    (of_system(errno.ESTALE, "a"), ("a: Stale file handle", "network file system")),
    (OSError(WORKER.format("OSError", "OSError: [Errno 28] No space left on device: '/x/y'")), ("/x/y: No space",)),
    (MemoryError(), ("out of memory", "-b")),
    (MemoryError(WORKER.format("MemoryError", "Unable to allocate 7 PiB")), ("out of memory (Unable to allocate 7",)),
    (
        RuntimeError("DataLoader worker (pid 1234) is killed by signal: Killed. "),
        ("DataLoader worker (pid 1234) is killed by signal: Killed;", "fewer -j"),
    ),
    (RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"), ("pid(s) 12, 13", "fewer -j")),
    (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has\na total capacity of 79"),
        ("CUDA out of memory. Tried to allocate 2.00 GiB;", "-b"),
    ),
    (
        RuntimeError(
            WORKER.format("RuntimeError", "unable to allocate shared memory(shm) for file </torch_1>: No (28)")
        ),
        ("unable to allocate shared memory", "--shm-size"),
    ),
    (
        RuntimeError("The client socket has timed out after 60000ms while trying to connect to (10.0.0.1, 29500)."),
        ("connect to (10.0.0.1, 29500);", "address and the port"),
    ),
    (
        RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be"),
        ("busy or unavailable;", "nvidia-smi"),
    ),
    (
        RuntimeError("[/gloo/transport/tcp/pair.cc:545] Read error [::1]:1: Connection reset by peer. This is"),
        ("Connection reset by peer", "another process of this run"),
    ),
]


@pytest.mark.parametrize(("error", "words"), ENVIRONMENT, ids=lambda value: type(value).__name__)
def test_what_the_machine_refuses_is_one_line_with_its_remedy(
    error: Exception, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, reported():
        raise error
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and all(word in line for word in words)


@pytest.mark.parametrize(
    "error",
    [
        *(KeyError("x"), AttributeError("x"), TypeError("x"), IndexError("x"), ValueError("x")),
        *(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), NotImplementedError("x")),
        *(OSError("a fault of ours"), of_system(errno.ECHILD), RecursionError("maximum recursion depth exceeded")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), reported():
        raise error
    with pytest.raises(type(error)), explained("go on"):
        raise error


@pytest.mark.parametrize("allocate", [lambda: torch.empty(10**15), lambda: np.empty(10**15)])
def test_memory_that_is_not_there_is_told_as_such(allocate: object) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()  # type: ignore[operator]
    fault = environment_fault(caught.value)
    assert fault and "-b" in fault and "llocate" in fault


def test_a_dead_file_system_can_be_explained_further() -> None:
    words = r"^out: Read-only file system; .*\. The same command goes on$"
    with pytest.raises(InputError, match=words), explained("The same command goes on"):
        raise of_system(errno.EROFS, "out")
    with pytest.raises(InputError, match=r"a file that is wrong$"), explained("go on"):
        raise InputError("a file that is wrong")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_video_is_not_to_blame_for_the_limits_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Or else --bad_frames skip would leave out one after the other."""

    def refuse(path: Path, *_: object) -> None:
        raise of_system(number, str(path))

    with pytest.raises(FrameError, match="no such file"):
        decode_group([tmp_path / "1.jpg"])
    monkeypatch.setattr(decode, "read_regular", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        decode_group([tmp_path / "1.jpg"])


def test_a_checkpoint_is_not_to_blame_for_missing_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        torch.empty(10**15)

    torch.save({}, tmp_path / "ckpt.pth")
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(InputError, match=r"ckpt\.pth: DefaultCPUAllocator: can't allocate memory.*; smaller batches"):
        read_checkpoint(tmp_path / "ckpt.pth")


@pytest.mark.parametrize("error", [InputError("wrong"), Stopped(signal.SIGTERM), KeyboardInterrupt(), MemoryError()])
def test_what_a_program_held_is_freed_before_it_ends(error: BaseException) -> None:
    class Held:
        pass

    kept = []

    def work() -> None:
        held = Held()
        kept.append(weakref.ref(held))

        def use() -> None:
            print(held)
            try:
                raise OSError
            except OSError as cause:
                raise error from cause

        use()

    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        with pytest.raises(SystemExit) as caught, reported():
            work()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert caught.value.code in (2, 75, 130) and kept[0]() is None
