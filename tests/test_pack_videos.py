"""tools/pack_frames.py from videos: the same shards as of the frames that tools/vid2img.py extracts, and no folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_videos import write_video
from programs import train

from ops.data.catalog import resolve
from ops.data.packed_index import PackedIndex
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from tools import pack_frames, shard_sources, vid2img
from tools.shard_sources import SPOOL, BadVideoError, Spool, spool_folder

VIDEOS = {"a/one 1.mp4": 9, "a/it's.mkv": 7, "b/видео.avi": 8, "b/last.v2.mp4": 6}
LOOK = ("--short_side", "40", "--quality", "80")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`dataset/own` of video files, of two classes."""
    folder = tmp_path / "dataset" / "own"
    for seed, (name, frames) in enumerate(VIDEOS.items()):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        write_video(folder / "videos" / name, frames, codec=codec, seed=seed)
    (folder / "category.txt").write_text("a\nb\n")
    (folder / "dataset.toml").write_text('storage = "video"\n')
    write_lists(folder, list(VIDEOS))
    return tmp_path


def write_lists(folder: Path, names: list[str]) -> None:
    for part, chosen in (("train", names), ("val", names[:2])):
        lines = "".join(f"{name} {int(name[0] == 'b')}\n" for name in chosen)
        (folder / f"{part}_videos.txt").write_text(lines, encoding="utf-8")


def pack(root: Path, *flags: str) -> int:
    return pack_frames.main(["own", "--root_dataset", str(root / "dataset"), "-j", "1", *LOOK, *flags])


def shards(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((root / "dataset/own/packed").glob("*.tar"))}


def test_the_shards_are_those_of_extracted_frames(root: Path) -> None:
    folder = root / "dataset" / "own"
    assert pack(root, "-j", "2") == 0  # by processes
    of_videos, settings = shards(root), (folder / "packed" / "extraction.json").read_text()
    lists = {part: (folder / f"{part}_videofolder.txt").read_text() for part in ("train", "val")}
    assert lists["val"] == "a/one 1 9 0\na/it's 7 0\n" and not (folder / "frames").exists()
    (folder / "packed").rename(root / "away")
    vid2img.main(["--videos", str(folder / "videos"), "--frames", str(folder / "frames"), *LOOK, "-j", "1"])
    assert pack(root, "--storage", "frames") == 0
    assert shards(root) == of_videos
    assert (folder / "packed" / "extraction.json").read_text() == settings
    assert pack(root) == 0 and shards(root) == of_videos  # and either goes on with the other's


def test_they_train(root: Path) -> None:
    own = root / "dataset" / "own"
    assert pack(root) == 0
    data = resolve("own", root / "dataset", storage="packed")
    storage = open_storage(data)
    records = listed(data, storage, data.train_list)
    assert {record.path: record.num_frames for record in records} == {
        str(Path(name).with_suffix("")): frames for name, frames in VIDEOS.items()
    }
    assert storage.read(records[0], [1, 9]).shape == (2, 3, 40, 53)
    (own / "videos").rename(root / "away")  # which are not needed any more
    own.rename(root / "dataset" / "demo")
    train(root, "--shift", "--epochs=1", "--storage=packed", "-b", "4")


def test_a_bad_video_is_named_or_left_out_and_packed_once_it_is_mended(root: Path) -> None:
    video = root / "dataset/own/videos/b/видео.avi"
    whole = video.read_bytes()
    video.write_text("no video")
    with pytest.raises(InputError, match=r"видео\.avi: Invalid data.*--bad_frames skip"):
        pack(root)
    assert pack(root, "--bad_frames", "skip") == 1
    names = (root / "dataset/own/train_videofolder.txt").read_text(encoding="utf-8")
    assert "видео" not in names and names.count("\n") == 3
    video.write_bytes(whole)
    assert pack(root) == 0
    assert "b/видео 8 1\n" in (root / "dataset/own/train_videofolder.txt").read_text(encoding="utf-8")


def test_goes_on_where_it_was_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = pack_frames.add, []

    def stopping(*args: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pack_frames, "taken", lambda _: 1 << 20)  # a shard a video
    monkeypatch.setattr(pack_frames, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        pack(root, "--shard_mb", "1")
    kept = shards(root)
    assert len(kept) == 2 and not (root / "dataset/own/train_videofolder.txt").exists()
    monkeypatch.setattr(pack_frames, "add", original)
    assert pack(root, "--shard_mb", "1") == 0
    assert {name: data for name, data in shards(root).items() if name in kept} == kept
    assert len(PackedIndex(root / "dataset/own/packed")) == 4 and pack(root, "--verify") == 0


@pytest.mark.parametrize("held", [0, 2000])
def test_what_does_not_fit_into_memory_waits_on_the_disk(
    root: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pack(root) == 0
    in_memory, packed = shards(root), root / "dataset/own/packed"
    packed.rename(root / "away")
    monkeypatch.setattr(shard_sources, "HELD", held)
    (packed / SPOOL).mkdir(parents=True)
    (packed / SPOOL / "0").touch()  # of a killed one
    original, waiting = pack_frames.add, []

    def looking(*args: object) -> None:
        waiting.append([file.stat().st_size for file in (packed / SPOOL).iterdir()])
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pack_frames, "add", looking)
    assert pack(root) == 0 and shards(root) == in_memory and not (packed / SPOOL).exists()
    assert [len(sizes) for sizes in waiting] == [1] * 4 and all(sizes[0] > 0 for sizes in waiting)


def test_nothing_waits_on_the_disk_after_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_sources, "HELD", 0)

    def damaged() -> Iterator[bytes]:
        yield b"1"
        raise BadVideoError("damaged")

    with spool_folder(tmp_path) as folder:
        assert list(Spool([b"1", b"", b"23"], folder / "a")) == [b"1", b"", b"23"]
        with pytest.raises(BadVideoError):
            Spool(damaged(), folder / "b")
        assert [file.name for file in folder.iterdir()] == ["a"]
        with pytest.raises(OSError, match=r"name too long: '.*xxx'"):
            Spool([b"1"], folder / ("x" * 300))
    assert not list(tmp_path.iterdir())
    (tmp_path / SPOOL).symlink_to(tmp_path)
    with pytest.raises(FileExistsError), spool_folder(tmp_path):
        pass


def test_what_does_not_fit_is_refused(root: Path) -> None:
    own = root / "dataset" / "own"
    assert pack(root) == 0
    with pytest.raises(InputError, match=r"packed with other settings \(quality 80, not 70\)"):
        pack(root, "--reindex", "--quality", "70")
    with pytest.raises(InputError, match=r"packed with other settings \(short_side 40, not 30; quality 80, not 70\)"):
        pack(root, "--short_side", "30", "--quality", "70")  # also where there is nothing to be done
    write_video(own / "videos/a/one 1.mp4", 12, seed=9)
    with pytest.raises(InputError, match=r"one 1\.mp4: another than was packed in frames-00000\.tar"):
        pack(root)
    (own / "train_videofolder.txt").write_text("a/one 1 9 1\n")
    with pytest.raises(InputError, match=r"train_videofolder\.txt: has a/one 1 1, which .*move it away"):
        pack(root)
    write_lists(own, ["a/one 1.mp4", "a/one 1.mkv"])
    with pytest.raises(InputError, match=r"rename one: the frames of a/one 1\.mp4 and a/one 1\.mkv would lie together"):
        pack(root)
    write_lists(own, ["../a.mp4"])
    with pytest.raises(InputError, match="a path outside of"):
        pack(root)
    with pytest.raises(InputError, match="flow is not in video files"):
        pack(root, "--storage", "video", "--modality", "Flow")
