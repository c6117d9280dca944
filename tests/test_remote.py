"""Packed frames below a URL: the same frames, a cache of bounded size, faults in words, and no secret in them."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from helpers_data import write_videos
from http_server import FolderServer, serving
from programs import train

from ops.data import remote, urls
from ops.data.catalog import resolve
from ops.data.decode import FrameError
from ops.data.fingerprint import fingerprint
from ops.data.remote import BLOCK, PARTS, Blocks, RemoteFolder
from ops.data.storages import listed, open_storage
from ops.data.storages.packed import PackedFrames
from ops.data.urls import Cache, hidden
from ops.errors import InputError
from opts import training_options
from tools import pack_frames

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dataset/demo`, packed, a video a shard. Not to be changed."""
    root = tmp_path_factory.mktemp("remote")
    folder = root / "dataset" / "demo"
    records = write_videos(folder / "frames", [5, 3, 4, 6])
    lines = "".join(f"{record.path} {record.num_frames} {record.label % 2}\n" for record in records)
    for part in ("train", "val"):
        (folder / f"{part}_videofolder.txt").write_text(lines)
    (folder / "category.txt").write_text("spin left\nspin right\n")
    (folder / "frames" / "extraction.json").write_text('{"quality": 95}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_frames, "taken", lambda _: 1 << 20)
        assert pack_frames.main(["demo", "--root_dataset", str(root / "dataset"), "--shard_mb", "1"]) == 0
    shutil.rmtree(folder / "frames")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be changed; its shards are in `away`."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "dataset" / "demo" / "packed").rename(tmp_path / "away")
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    return tmp_path


@pytest.fixture
def server(root: Path) -> Iterator[FolderServer]:
    with serving(root / "away") as server:
        yield server


def of(root: Path, url: str, gigabytes: float = 1.0) -> PackedFrames:
    data = resolve("demo", root / "dataset", root_path=url, storage="packed", cache=Cache(root / "cache", gigabytes))
    storage = open_storage(data)
    assert isinstance(storage, PackedFrames)
    return storage


def frames(root: Path, storage: PackedFrames) -> list[bytes]:
    records = storage.records(root / "dataset" / "demo" / "train_videofolder.txt", 2)
    return [data for record in records for data in storage.pictures(record, range(1, record.num_frames + 1)).files]


def cached(root: Path) -> list[Path]:
    return [file for file in (root / "cache" / "blocks").rglob("*") if file.is_file() and file.name != ".lock"]


def test_the_frames_are_those_of_the_folder(root: Path, server: FolderServer) -> None:
    expected = frames(root, PackedFrames(root / "away"))
    memory = fsspec.filesystem("memory")
    for file in (root / "away").iterdir():
        memory.pipe(f"/shards/{file.name}", file.read_bytes())
    for url in (server.url, "memory://shards", f"file://{root / 'away'}"):
        for _ in range(2):
            assert frames(root, of(root, url)) == expected
        marks = []
        for data in (
            resolve("demo", root / "dataset", root_path=url, storage="packed", cache=Cache(root / "cache")),
            resolve("demo", root / "dataset", root_path=str(root / "away"), storage="packed"),
        ):
            marks.append(fingerprint(data, open_storage(data), listed(data, open_storage(data), data.train_list)))
        assert marks[0] == marks[1] and marks[0]["made"]
    gets = [name for name, _ in server.asked]
    assert sorted(gets) == sorted(file.name for file in (root / "away").iterdir())  # once each: small ones, and shards
    assert all(range_ for name, range_ in server.asked if name.endswith("tar"))


def test_it_trains_by_forked_workers(root: Path, server: FolderServer) -> None:
    url = server.url.replace("http://", "http://me:secret@")
    flags = ["--shift", "--epochs=1", "--storage=packed", "-b", "4", "-j", "2", f"--cache_dir={root / 'cache'}"]
    folder = train(root, *flags, f"--root_path={url}")
    kept = [file for place in (folder, root / "log") for file in place.rglob("*") if file.is_file()]
    assert kept and not any(b"secret" in file.read_bytes() for file in kept)
    assert all("Authorization" in headers for headers in server.headers) and len(cached(root)) == 4
    (root / "dataset" / "demo" / "dataset.toml").write_text(f'storage = "packed"\npacked = "{server.url}"\n')
    data = resolve("demo", root / "dataset", cache=Cache(root / "cache"))
    assert (data.storage, data.url, data.root.parent) == ("packed", server.url, root / "cache" / "index")


def test_what_is_hidden_of_a_url() -> None:
    assert hidden("/a/b?c@d") == "/a/b?c@d" and hidden("c:\\x") == "c:\\x"
    for url, shown in (
        ("s3://bucket/a/", "s3://bucket/a"),
        ("https://me:pass@host:8/a?X-Amz-Signature=1", "https://host:8/a"),
        ("memory://x", "memory://x"),
        ("file:///a/b", "file:///a/b"),
    ):
        assert hidden(url) == shown and hidden(shown) == shown and urls.whole(shown).rstrip("/") == url.rstrip("/")
    args = training_options(["demo", "RGB", "--root_path", "https://me:pass@host/a", "--storage", "packed"])
    assert args.root_path == "https://host/a"
    with pytest.raises(InputError, match="--cache_gb 0"):
        training_options(["demo", "RGB", "--cache_gb", "0"])


def test_a_damaged_block_and_another_file_in_a_shards_place(root: Path, server: FolderServer) -> None:
    expected = frames(root, of(root, server.url))
    block = cached(root)[0]
    block.write_bytes(bytes(len(block.read_bytes())))
    assert frames(root, of(root, server.url)) == expected  # asked for again
    shard = root / "away" / "frames-00000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(FrameError, match=rf"{server.url}/frames-00000\.tar: has .* bytes instead of {len(whole)}"):
        frames(root, of(root, server.url))
    shard.write_bytes(bytes(len(whole)))  # of the same size: what the cache has is of another version
    with pytest.raises(FrameError, match=rf"{server.url}/frames-00000\.tar: video 0/00001\.jpg: its bytes are not"):
        frames(root, of(root, server.url))
    shard.write_bytes(whole)
    storage = of(root, server.url)
    assert frames(root, storage) == expected
    shutil.rmtree(root / "cache" / "blocks")
    shard.write_bytes(whole[:600])  # while it is read
    with pytest.raises(FrameError, match=r"frames-00000\.tar: \d+ bytes came instead of"):
        frames(root, storage)


def test_the_index_is_fetched_again_where_it_is_another(root: Path, server: FolderServer) -> None:
    frames(root, of(root, server.url))
    (root / "dataset" / "demo" / "packed").parent.joinpath("frames").mkdir()
    (root / "away").rename(root / "dataset" / "demo" / "packed")
    assert pack_frames.main(["demo", "--root_dataset", str(root / "dataset"), "--reindex"]) == 0  # of number 2
    (root / "dataset" / "demo" / "packed").rename(root / "away")
    server.asked.clear()
    frames(root, of(root, server.url))
    names = {name for name, _ in server.asked}
    assert names == {"index.json", *(f"index-2-{kind}.npy" for kind in ("videos", "files", "paths"))}
    (index,) = (root / "cache" / "index").iterdir()
    assert {file.name for file in index.glob("index*")} == names


def refuse(server: FolderServer) -> None:
    server.status = 503


def hang(server: FolderServer) -> None:
    server.hangs = 0.5


def give_all(server: FolderServer) -> None:
    server.ranges = False


def lose(server: FolderServer) -> None:
    (server.folder / "frames-00000.tar").unlink()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (refuse, r"cannot be read \(503, "), (hang, r"cannot be read \(no answer within 0\.2 s\)"),
        (lose, "no such file"), (give_all, "its server gives out no ranges"),
    ],
)  # fmt: skip
def test_faults_are_said_in_words(fault, words, root, server, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    storage = of(root, server.url.replace("http://", "http://me:secret@"))
    records = storage.records(root / "dataset" / "demo" / "train_videofolder.txt", 2)
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    monkeypatch.setattr(remote, "BLOCK", 1 << 10)
    fault(server)
    with pytest.raises(FrameError, match=rf"^{server.url}/frames-00000\.tar: .*{words}") as caught:
        storage.read(records[0], [1])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hdfs://h/x", "hdfs:// is not read; known are s3://"),
        ("HTTP://h/x", "HTTP:// is not read; known are s3://"),
        ("zip://packed::filecache::{}", "zip:// is not read"),
        ("file://packed::filecache::{}", "'::' chains file systems"),
        ("{}/x?a::b", "'::' chains file systems"),
        ("http://[x", "no URL that can be read; expected one like"),
        ("http://me:sec[ret@h/x", "no URL that can be read"),
    ],
)
def test_a_description_does_not_choose_the_file_system(url: str, words: str, root: Path, server: FolderServer) -> None:
    """Neither does a flag; and nobody is asked for anything."""
    url = url.format(server.url)
    (root / "dataset" / "demo" / "dataset.toml").write_text(f'storage = "packed"\npacked = "{url}"\n')
    given = training_options(["demo", "RGB", "--storage", "packed", "--root_path", url]).root_path
    for place in (None, given):
        with pytest.raises(InputError, match=re.escape(words)) as caught:
            resolve("demo", root / "dataset", root_path=place)
        assert "ret@" not in str(caught.value) and str(caught.value).startswith(url[:4])
    assert not server.asked and not server.headers


def test_a_url_that_cannot_be_opened(root: Path) -> None:
    for url, words in (
        ("nonsense://me:secret@x/y", r"^nonsense://x/y: nonsense:// is not read; known are s3://, gs://, .*memory://$"),
        ("http://me:secret@127.0.0.1:9/y", r"^http://127\.0\.0\.1:9/y/index\.json: cannot be read"),
        ("memory://nothing", r"^memory://nothing/index\.json: no such file"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            frames(root, of(root, url))
        assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match=r"--cache_gb 0\.01: the index files .* more"):
        frames(root, of(root, f"file://{root / 'away'}", 0.01))
    with pytest.raises(InputError, match="only packed frames are read: give --storage packed"):
        resolve("demo", root / "dataset", root_path="s3://x/y")


def fill(blocks: Blocks, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        key = f"{rng.integers(1 << 32):040x}"[::-1]
        blocks.keep(key, rng.bytes(int(rng.integers(1, 5000))))
        assert blocks.read(key, 0, 1) is not None or True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")
def test_a_cache_never_holds_more_than_its_bound(tmp_path: Path) -> None:
    """While three processes write to it, which see each other's pieces."""
    blocks = Blocks(tmp_path, PARTS * 12_000)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(blocks, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    most = 0
    while any(process.is_alive() for process in processes):
        sizes = []
        for file in tmp_path.rglob("*"):
            try:
                sizes.append(file.stat().st_size if file.is_file() else 0)
            except FileNotFoundError:
                continue
        most = max(most, sum(sizes))
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert blocks.most // 2 < most <= blocks.most


def test_the_longest_unused_piece_goes_first(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, PARTS * 300)
    keys = [f"{n:08x}" for n in range(0, 4 * PARTS, PARTS)]  # of one part
    for age, key in zip((400, 300, 200), keys, strict=False):
        blocks.keep(key, bytes(100))
        os.utime(tmp_path / "00" / key, (time.time() - age,) * 2)
    assert blocks.read(keys[0], 0, 1) == b"\0"  # now the latest
    blocks.keep(keys[3], bytes(100))
    assert [blocks.read(key, 0, 100) is None for key in keys] == [False, True, False, False]
    blocks.discard(keys[0])
    assert blocks.read(keys[0], 0, 1) is None and blocks.read(keys[3], 50, 150) is None


def test_pieces_that_another_process_removes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = Blocks(tmp_path, PARTS * 300)
    for n in (0, PARTS):
        blocks.keep(f"{n:08x}", bytes(100))
    original = os.scandir

    def behind(folder: Path) -> AbstractContextManager[list[os.DirEntry[str]]]:
        entries = list(original(folder))
        blocks.discard(f"{0:08x}")
        return nullcontext(entries)

    monkeypatch.setattr(remote.os, "scandir", behind)
    blocks.keep(f"{2 * PARTS:08x}", bytes(100))
    monkeypatch.undo()
    assert [blocks.read(f"{n:08x}", 0, 1) for n in (0, PARTS, 2 * PARTS)] == [None, b"\0", b"\0"]
    assert not caplog.text


def test_a_cache_that_cannot_be_written_is_done_without(
    root: Path, server: FolderServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = frames(root, PackedFrames(root / "away"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    storage = of(root, server.url)
    assert storage.index
    monkeypatch.setattr(Blocks, "_make_room", full)
    assert frames(root, storage) == expected and not cached(root)
    assert caplog.text.count("are not kept there: No space left") == 1


def test_pieces_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).bytes(1000)
    fsspec.filesystem("memory").pipe("/pieces/file", data)
    monkeypatch.setattr(remote, "BLOCK", 64)
    folder = RemoteFolder("memory://pieces", Cache(tmp_path))
    for start, end in ((0, 1), (0, 64), (63, 65), (100, 1000), (960, 1000), (0, 1000)):
        assert folder.read("file", start, end) == data[start:end]
    assert BLOCK > 64 and folder.size("file") == 1000
    monkeypatch.setattr(folder, "_key", lambda name, number: f"{number:08x}")
    for _ in range(2):  # by two threads
        folder.forget("file", 0, 1000)
    assert folder.size("file") == 1000
