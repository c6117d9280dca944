"""tools/pack_frames.py: stopped and started again, added to and mended; what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from programs import REPOSITORY

from ops.data.packed_index import PackedIndex, part_file
from ops.errors import InputError
from ops.locks import claimed
from tools import pack_frames, tar_shards

FRAMES, SIZE = 4, 90_000  # bytes of a file; two videos and a third fill a MiB


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`own` of six videos of random bytes: what is packed need not be pictures."""
    for number in range(6):
        write_video(tmp_path, f"c {number % 2}/v {number}")
    (tmp_path / "own" / "category.txt").write_text("any\n")
    (tmp_path / "own" / "dataset.toml").touch()
    write_lists(tmp_path, 6)
    return tmp_path


def write_video(root: Path, path: str) -> None:
    folder = root / "own" / "frames" / path
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(list(root.rglob("*.jpg"))))
    for number in range(1, FRAMES + 1):
        (folder / f"{number:05d}.jpg").write_bytes(rng.bytes(SIZE + 100 * number))


def write_lists(root: Path, videos: int) -> None:
    for part, numbers in (("train", range(1, videos)), ("val", range(2))):  # one in both
        lines = "".join(f"c {number % 2}/v {number} {FRAMES} 0\n" for number in numbers)
        (root / "own" / f"{part}_videofolder.txt").write_text(lines)


def pack(root: Path, *flags: str) -> int:
    return pack_frames.main(["own", "--root_dataset", str(root), "--shard_mb", "1", *flags])


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "own" / "packed").glob("*"))


def whole(root: Path, videos: int = 6) -> bool:
    """All is packed and as it was, found by the index, and nothing else lies there."""
    index = PackedIndex(root / "own" / "packed")
    for number in range(videos):
        video = index.find(f"c {number % 2}/v {number}")
        assert video is not None
        data = (root / "own" / "packed" / video.shard.name).read_bytes()
        for place, (offset, size, _) in enumerate(video.files.tolist()):
            file = root / "own" / "frames" / video.path / f"{place + 1:05d}.jpg"
            assert data[offset : offset + size] == file.read_bytes()
    shards = [shard.name for shard in index.shards]
    arrays = [f"index-{index.number}-{name}.npy" for name in ("files", "paths", "videos")]
    assert len(index) == videos and names(root) == sorted(["index.json", *arrays, *shards])
    return pack(root, "--verify") == 0


def test_all_is_packed_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(root) == 0 and whole(root)
    assert "6 videos, 24 frames in 3 shards" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in (root / "own" / "packed").glob("[!.]*")}
    assert pack(root) == 0
    assert "all 6 videos are packed already" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in (root / "own" / "packed").glob("[!.]*")}


def test_the_same_frames_make_the_same_shards(root: Path) -> None:
    def packed() -> list[bytes]:
        return [path.read_bytes() for path in sorted((root / "own" / "packed").glob("frames-*.tar"))]

    assert pack(root, "--jobs", "1") == 0
    first = packed()
    for path in (root / "own" / "packed").iterdir():
        path.unlink()
    assert pack(root, "--jobs", "3") == 0
    assert packed() == first


STOPS: dict[str, tuple[str, int]] = {  # a function of the tool, and at which call it stops
    "at the start": ("add", 1),
    "in a shard": ("add", 4),
    "while a shard is read back": ("compare", 2),
    "before the rows of a shard": ("save_part", 2),
    "before the index": ("write_index", 1),
    "before tidying up": ("tidy_up", 1),
}


@pytest.mark.parametrize("name", STOPS)
@pytest.mark.parametrize("added", [False, True])
def test_goes_on_where_it_was_stopped(root: Path, name: str, added: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if added:  # to an index that is there
        write_lists(root, 2)
        assert pack(root) == 0
        write_lists(root, 6)
    stopped_in, call = STOPS[name]
    original, calls = getattr(pack_frames, stopped_in), []

    def stopping(*args: object) -> object:
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(pack_frames, stopped_in, stopping)
    with pytest.raises(KeyboardInterrupt):
        pack(root)
    assert not any("partial" in name for name in names(root))
    if added:  # what was there is still there
        index = PackedIndex(root / "own" / "packed")
        assert len(index) == (6 if name == "before tidying up" else 2)
    else:
        assert (root / "own" / "packed" / "index.json").exists() == (name == "before tidying up")
    kept = {path: path.stat().st_ino for path in (root / "own" / "packed").glob("*.tar")}
    monkeypatch.setattr(pack_frames, stopped_in, original)
    assert pack(root) == 0 and whole(root)
    assert all(path.stat().st_ino == number for path, number in kept.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is killed is a fork")
@pytest.mark.parametrize("function", ["add", "compare"])
def test_goes_on_after_it_was_killed(root: Path, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = getattr(pack_frames, function), []

    def killing(*args: object) -> object:
        calls.append(args)
        return os.kill(os.getpid(), signal.SIGKILL) if len(calls) == 2 else original(*args)

    with monkeypatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which this one does not need
        patched.setattr(pack_frames, function, killing)
        child = os.fork()
        if not child:
            pack(root)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert any(name.endswith(".partial") for name in names(root))
    assert pack(root) == 0 and whole(root)


def test_rows_without_their_shard_are_of_no_use(root: Path) -> None:
    """Stopped between the two: the rows are there, the shard has not got its name."""
    assert pack(root) == 0
    packed = root / "own" / "packed"
    part = PackedIndex(packed).part(0)
    for path in packed.iterdir():
        path.unlink()
    pack_frames.save_part(packed, part)
    assert part_file(packed, part.shard.name).exists()
    assert pack(root) == 0 and whole(root)


def test_what_the_lists_have_got_since_is_added(root: Path) -> None:
    write_lists(root, 3)
    assert pack(root) == 0 and whole(root, 3)
    before = names(root)
    write_lists(root, 6)
    assert pack(root) == 0 and whole(root)
    assert {name for name in before if name.endswith("tar")} < set(names(root))


def test_a_shard_that_is_removed_is_packed_anew(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(root) == 0
    shard = root / "own" / "packed" / "frames-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert pack(root, "--verify") == 1
    assert "frames-00001.tar: has" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"frames-00001\.tar has .*: remove it, and this command packs its videos"):
        pack(root)
    shard.unlink()
    assert pack(root) == 0 and whole(root)
    assert "frames-00001.tar gone; what was in there is packed anew" in capsys.readouterr().err


def test_the_number_of_a_shard_that_is_gone_is_not_given_again(root: Path) -> None:
    """Or else, until the new index is there, the old one would speak of the new shard."""
    assert pack(root) == 0
    (root / "own" / "packed" / "frames-00002.tar").unlink()
    assert pack(root) == 0 and whole(root)
    assert "frames-00002.tar" not in names(root) and "frames-00003.tar" in names(root)


def test_a_shard_that_holds_more_than_the_index_says(root: Path) -> None:
    assert pack(root) == 0
    part = PackedIndex(root / "own" / "packed").part(0)
    less = replace(part, paths=part.paths[:1], counts=part.counts[:1], per_frame=part.per_frame[:1])
    shard = root / "own" / "packed" / part.shard.name
    assert pack_frames.compare(shard, part, "{:05d}.jpg") == []
    assert pack_frames.compare(shard, less, "{:05d}.jpg") == ["it holds more than is known of"]


def test_a_shard_is_read_in_pieces(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a header says of the length of what follows."""
    monkeypatch.setattr(tar_shards, "PIECE", 1 << 14)  # a file has 90,000
    assert pack(root) == 0 and pack(root, "--verify") == 0
    shard = root / "own" / "packed" / "frames-00000.tar"
    for kind, size, words in ((tarfile.REGTYPE, 1 << 32, "4,294,967,296 bytes, more than any"),
                              (tarfile.XHDTYPE, 1 << 30, "a header of 1,073,741,824 bytes"),
                              (tarfile.GNUTYPE_LONGNAME, 1 << 30, "a header of 1,073,741,824 bytes")):  # fmt: skip
        member = tarfile.TarInfo("c 0/v 0/00001.jpg")
        member.type, member.size = kind, size
        with shard.open("wb") as file:
            file.write(member.tobuf(tarfile.GNU_FORMAT))
            file.truncate(tar_shards.whole_size(file.tell() + size))
        with pytest.raises(InputError, match=rf"not a whole tar file \(.*{words}"):
            pack(root, "--reindex")


def test_no_named_pipe_is_waited_for(root: Path) -> None:
    packed = root / "own" / "packed"
    assert pack(root) == 0
    os.mkfifo(packed / "index-9-paths.npy")
    os.mkfifo(packed / "frames-00009.npz")
    assert pack(root) == 0  # which tidies up
    assert (packed / "index-9-paths.npy").is_fifo() and (packed / "frames-00009.npz").is_fifo()
    (packed / "frames-00001.tar").unlink()
    os.mkfifo(packed / "frames-00001.tar")
    with pytest.raises(InputError, match=r"frames-00001\.tar: not a whole tar file \(.*a named pipe or a device"):
        pack(root, "--reindex")
    frame(root).unlink()
    os.mkfifo(frame(root))
    for file in packed.iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"v 3/00003\.jpg: cannot be read \(a named pipe or a device"):
        pack(root)
    first = root / "own" / "frames" / "c 1" / "v 1" / "00001.jpg"
    assert pack(root, "--bad_frames", "skip") == 1
    first.unlink()
    os.mkfifo(first)
    assert pack(root, "--bad_frames", "skip") == 1  # as one that is not there any more


def test_what_is_written_is_read_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = pack_frames.evict

    def damaging(file: object) -> None:
        path = next((root / "own" / "packed").glob(".*.partial"))
        data = bytearray(path.read_bytes())
        data[5000] ^= 4
        path.write_bytes(data)

    monkeypatch.setattr(pack_frames, "evict", damaging)
    with pytest.raises(InputError, match=r"00001\.jpg: not as it was packed.*a failing disk"):
        pack(root)
    assert not any(name.endswith("tar") for name in names(root))
    monkeypatch.setattr(pack_frames, "evict", original)
    assert pack(root) == 0 and whole(root)


def frame(root: Path, number: int = 3) -> Path:
    return root / "own" / "frames" / "c 1" / "v 3" / f"{number:05d}.jpg"


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda r: frame(r).unlink(), r"c 1/v 3/00003\.jpg: no such file; the list promises 4 frames"),
    "empty": (lambda r: frame(r).write_bytes(b""), r"c 1/v 3/00003\.jpg: the file is empty"),
    "folder": (lambda r: (frame(r).unlink(), frame(r).mkdir()), r"00003\.jpg: cannot be read \(Is a directory\)"),
    "no folder": (lambda r: frame(r).parent.rename(r / "away"), r"v 3/00001\.jpg: no such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_video_is_named_or_left_out(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    break_it, message = BAD[name]
    break_it(root)
    with pytest.raises(InputError, match=f"{message}.*--bad_frames skip"):
        pack(root)
    assert pack(root, "--bad_frames", "skip") == 1
    assert "left out: 1" in capsys.readouterr().err
    index = PackedIndex(root / "own" / "packed")
    assert len(index) == 5 and index.find("c 1/v 3") is None
    if name == "empty":  # mended
        frame(root).write_bytes(b"x" * 300)
        assert pack(root) == 0 and whole(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "own/dataset.toml").write_text('template = "{:06d}.jpg"'), "holds Packing.*remove it"),
        (lambda r: (r / "own/packed/index.json").unlink(), r"frames-00000\.tar: neither in index\.json nor with rows"),
        (lambda r: (r / "own/packed/index.json").write_text("{"), r"index\.json cannot be read"),
        (lambda r: (r / "own/packed/index.json").write_text('{"format": 9}'), "of format 9, not 1"),
        (
            lambda r: (r / "own/train_videofolder.txt").write_text("c 1/v 1 5 0\n"),
            r"the list promises 5 frames, 4 are in frames-00000\.tar; remove that",
        ),
        (lambda r: (r / "own/train_videofolder.txt").write_text("../v 4 0\n"), "a path outside of"),
    ],
)
def test_what_does_not_fit_is_refused(root: Path, change: Callable[[Path], object], message: str) -> None:
    assert pack(root) == 0
    change(root)
    with pytest.raises(InputError, match=message):
        pack(root)


def test_wrong_options_and_too_little_space(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"--jobs 0.*--shard_mb 0"):
        pack_frames.main(["own", "--root_dataset", str(root), "--shard_mb", "0", "-j", "0"])
    with pytest.raises(InputError, match=r"index\.json is missing"):
        pack(root, "--verify")
    monkeypatch.setattr(pack_frames.shutil, "disk_usage", lambda _: Free())
    with pytest.raises(InputError, match=r"about 0\.0 GiB are needed there"):
        pack(root)


class Free:
    """What shutil.disk_usage says."""

    free = 1_000_000


def test_what_others_have_put_there_stays(root: Path) -> None:
    """`packed` in dataset.toml may name any folder: only what was written by the program itself is tidied up."""
    folder = root / "own" / "packed"
    folder.mkdir()
    np.savez(folder / "frames-00007.npz", features=np.ones(3))
    np.savez(folder / "frames-mine.npz", features=np.ones(3))
    np.save(folder / "index-1-labels.npy", np.ones(3))
    np.save(folder / "index-0-videos.npy", np.ones(3))
    for name in ("notes.partial", ".film.mp4.partial", "index-9-paths.npy"):
        (folder / name).write_text("of somebody else")
    others = {file: file.read_bytes() for file in folder.iterdir()}
    assert pack(root) == 0
    write_video(root, "c 0/v 6")
    write_lists(root, 7)
    assert pack(root) == 0
    assert {file: file.read_bytes() for file in others} == others
    index = PackedIndex(folder)
    assert len([name for name in names(root) if name.startswith("index-")]) == 3 + 3 and index.number == 11


def test_frames_that_were_made_anew_are_noticed(root: Path) -> None:
    assert pack(root) == 0
    first = root / "own" / "frames" / "c 1" / "v 1" / "00001.jpg"
    first.write_bytes(first.read_bytes()[::-1])
    with pytest.raises(InputError, match=r"c 1/v 1: another than was packed in frames-00000\.tar.*made anew"):
        pack(root)
    for shard in (root / "own" / "packed").glob("*.tar"):
        shard.unlink()
    assert pack(root) == 0 and whole(root)


def test_two_at_once_are_refused(root: Path) -> None:
    with claimed(root / "own" / "packed"), pytest.raises(InputError, match="packed: another program is at work"):
        pack(root)
    assert pack(root) == 0


def test_as_a_program_that_is_told_to_stop(root: Path) -> None:
    words = [sys.executable, "tools/pack_frames.py", "own", "--root_dataset", str(root), "--shard_mb", "1"]
    with subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (root / "own" / "packed" / ".lock").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 130) and "Traceback" not in said
    assert pack(root) == 0 and whole(root)
