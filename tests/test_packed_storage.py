"""Packed frames: the same clips as of folders, what is said of damaged shards, training and testing on them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_data import picture, write_flow, write_frames
from programs import evaluate, train

from ops.data import packed_index
from ops.data.bounds import MAX_HELD
from ops.data.catalog import resolve
from ops.data.clips import ClipOptions, Sample, Unreadable, VideoClips
from ops.data.decode import FrameError
from ops.data.fingerprint import fingerprint
from ops.data.loader import train_loader
from ops.data.packed_index import PackedIndex, Packing, Shard
from ops.data.records import VideoRecord
from ops.data.storages import listed, open_storage
from ops.data.storages import packed as packed_storage
from ops.data.storages.packed import PackedFrames
from ops.errors import InputError
from tools import check_dataset, pack_frames

LONG = "run/" + "a very long name " * 8 + "end"  # more than a tar header holds
PATHS = ("run/v 1", LONG, "sit/видео", "sit/v 1")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dataset/own` with frames and flow, packed into shards of one or two videos. Not to be changed."""
    root = tmp_path_factory.mktemp("packed")
    folder = root / "dataset" / "own"
    for place, path in enumerate(PATHS):
        # Noise makes the files large, so that a shard of 1 MiB does not hold all.
        rng = np.random.default_rng(place)
        noise = [picture(n, 120, 160) // 2 + rng.integers(0, 128, (120, 160, 3)).astype(np.uint8) for n in range(20)]
        write_frames(folder / "frames" / path, noise)
        write_flow(folder / "flow" / path, [(k + 3 * place, 200 - k) for k in range(19)], packed=path == "sit/v 1")
    for mark, count in (("", 20), ("_flow", 19)):
        for part in ("train", "val"):
            lines = "".join(f"{path} {count} {int('sit' in path)}\n" for path in PATHS)
            (folder / f"{part}_videofolder{mark}.txt").write_text(lines, encoding="utf-8")
    (folder / "category.txt").write_text("run\nsit\n")
    (folder / "dataset.toml").touch()
    (folder / "frames" / "extraction.json").write_text('{"videos": "x", "quality": 95}')
    for modality in ("RGB", "Flow"):
        assert pack_frames.main([*words(root), "--modality", modality, "--shard_mb", "1"]) == 0
    return root


@pytest.fixture
def mine(packed: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    shutil.copytree(packed / "dataset", tmp_path / "dataset")
    return tmp_path


def words(root: Path) -> list[str]:
    return ["own", "--root_dataset", str(root / "dataset")]


def of(root: Path, modality: str = "RGB") -> PackedFrames:
    storage = open_storage(resolve("own", root / "dataset", modality=modality, storage="packed"))
    assert isinstance(storage, PackedFrames)
    return storage


def shards(root: Path) -> list[Path]:
    return sorted((root / "dataset" / "own" / "packed").glob("*.tar"))


@pytest.mark.parametrize("modality", ["RGB", "Flow", "RGBDiff"])
@pytest.mark.parametrize("mode", ["train", "val", "test"])
def test_the_clips_are_those_of_folders_bit_for_bit(packed: Path, modality: str, mode: str) -> None:
    options = ClipOptions(4, 28, modality, test_mode="twice", crops=3, mirror_labels=(0, 1))
    sides = []
    for storage in ("frames", "packed"):
        data = resolve("own", packed / "dataset", modality=modality, storage=storage)
        opened = open_storage(data)
        sides.append(VideoClips(listed(data, opened, data.train_list), opened, mode, options))  # type: ignore[arg-type]
    for epoch in range(3):
        for index in range(len(PATHS)):
            a, b = (side[epoch, index] for side in sides)
            assert isinstance(a, Sample) and isinstance(b, Sample)
            assert torch.equal(a.clip, b.clip) and a.label == b.label


def test_frames_lie_channels_last(packed: Path) -> None:
    frames = of(packed).read(VideoRecord("run/v 1", 20, 0), [2, 3, 20])
    assert frames.shape == (3, 3, 120, 160) and frames.is_contiguous(memory_format=torch.channels_last)


def test_each_frame_is_read_by_its_bytes_and_neighbours_by_one_call(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, record = of(packed), VideoRecord("sit/видео", 20, 1)
    folder = packed / "dataset" / "own" / "frames" / record.path
    asked: list[int] = []
    original = packed_storage.os.pread
    monkeypatch.setattr(packed_storage.os, "pread", lambda *a: asked.append(a[1]) or original(*a))
    for gap, numbers, calls in ((0, [1, 5, 20], 3), (packed_storage.GAP, [4, 5, 6], 1), (1 << 30, [1, 20], 1)):
        monkeypatch.setattr(packed_storage, "GAP", gap)
        asked.clear()
        found = storage.pictures(record, numbers).files
        assert found == [(folder / f"{number:05d}.jpg").read_bytes() for number in numbers]
        assert len(asked) == calls
    monkeypatch.setattr(packed_storage, "AT_ONCE", 1)
    assert storage.pictures(record, [1, 20]).files == found and len(asked) == 1 + 2


def test_no_more_shards_are_open_than_may_be(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_storage, "OPEN_SHARDS", 1)
    storage = of(packed)
    for path in (*PATHS, *reversed(PATHS)):
        storage.read(VideoRecord(path, 20, 0), [1])
        assert len(storage._open) == 1


def test_content_and_making_are_those_of_folders(packed: Path) -> None:
    for modality in ("RGB", "Flow"):
        marks = []
        for name in ("frames", "packed"):
            data = resolve("own", packed / "dataset", modality=modality, storage=name)
            marks.append(fingerprint(data, open_storage(data)))
        assert {key for key in marks[0] if marks[0][key] != marks[1][key]} == {"storage"}


def test_another_process_opens_all_itself(packed: Path) -> None:
    storage = of(packed)
    before = storage.read(VideoRecord("run/v 1", 20, 0), [7])
    assert torch.equal(pickle.loads(pickle.dumps(storage)).read(VideoRecord("run/v 1", 20, 0), [7]), before)
    data = resolve("own", packed / "dataset", storage="packed")
    clips = VideoClips(listed(data, storage, data.train_list), storage, "train", ClipOptions(4, 28))
    alone, shared = (list(train_loader(clips, 2, workers=workers)) for workers in (0, 2))
    assert len(alone) == len(shared) == 2
    assert all(torch.equal(a.clips, b.clips) for a, b in zip(alone, shared, strict=True))


def test_the_index_is_mapped_and_has_no_objects(packed: Path) -> None:
    index = of(packed).index
    assert len(index) == len(PATHS) and isinstance(index._files.base, np.memmap)
    for path in PATHS:
        found = index.find(path)
        assert found is not None and (found.path, found.num_frames) == (path, 20)
    for path in ("", "run", "run/v 2", "zz", "run/v 1 ", LONG[:-1], LONG + "x"):
        assert index.find(path) is None


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def flip_in_a_picture(root: Path) -> None:
    found = of(root).index.find("run/v 1")
    assert found is not None
    offset, size, _ = found.files[4].item()
    flip(root / "dataset/own/packed" / found.shard.name, offset + size // 2)


def foreign_index(root: Path) -> None:
    """The index of other pictures of the same names, in shards of the same size."""
    index = of(root).index
    files = packed_index.array_files(index.file.parent, index.number)[1]
    rows = np.load(files)
    rows["crc"] += 1
    np.save(files, rows)


FAULTS: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "shard is gone": (lambda r: shards(r)[0].unlink(), r"frames-00000\.tar: cannot be read \(No such file", False),
    "shard is short": (
        lambda r: shards(r)[0].write_bytes(shards(r)[0].read_bytes()[:-5000]),
        r"frames-00000\.tar: has \d+ bytes instead of \d+; .*--verify", False,
    ),
    "a bit of a picture": (
        flip_in_a_picture, r"frames-00000\.tar: run/v 1/00005\.jpg: its bytes are not those that were packed", True,
    ),
    "foreign index": (foreign_index, r"run/v 1/00001\.jpg: its bytes are not those that were packed", True),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_shards(mine: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    break_it, message, hidden = FAULTS[name]
    break_it(mine)
    storage, record = of(mine), VideoRecord("run/v 1", 20, 0)
    with pytest.raises(FrameError, match=message):
        storage.read(record, list(range(1, 21)))
    assert pack_frames.main([*words(mine), "--verify"]) == 1
    assert "frames-00000.tar" in capsys.readouterr().err
    check = ["--storage", "packed", "--report", str(mine / "report"), "-j", "1"]
    assert check_dataset.main([*words(mine), *check, "--decode"]) == 1
    assert check_dataset.main([*words(mine), *check]) == (0 if hidden else 1)


def test_a_bit_of_a_tar_header_is_found_by_verify(mine: Path) -> None:
    flip(shards(mine)[1], 3)
    assert pack_frames.main([*words(mine), "--verify"]) == 1


def test_what_is_not_in_the_index(packed: Path) -> None:
    storage = of(packed)
    with pytest.raises(FrameError, match=r"run/v 2 is not in .*index\.json; tools/pack_frames\.py adds"):
        storage.read(VideoRecord("run/v 2", 20, 0), [1])
    with pytest.raises(
        FrameError, match=r"run/v 1 30 7 is not in .*, but run/v 1 is: several labels on its line\? A video"
    ):
        storage.read(VideoRecord("run/v 1 30 7", 3, 0), [1])
    with pytest.raises(FrameError, match=r"run/v 1 has 20 frames in .*frames-00000\.tar, and no frame 21"):
        storage.read(VideoRecord("run/v 1", 21, 0), [1, 21])
    clips = VideoClips([VideoRecord("run/v 2", 20, 0)], storage, "val", ClipOptions(4, 28))
    item = clips[0, 0]
    assert isinstance(item, Unreadable) and "run/v 2 is not in" in item.reason
    assert storage.check(VideoRecord("run/v 1", 21, 0), False).fault
    assert "more than the 19 frames" in storage.check(VideoRecord("run/v 1", 19, 0), True).remark


def claim(folder: Path, sizes: Sequence[int]) -> PackedFrames:
    """A forged shard, without content, and a sound index by which it holds a video of pictures of these sizes."""
    folder.mkdir()
    with (folder / "frames-00000.tar").open("wb") as shard:
        shard.truncate(sum(sizes))
    files = np.zeros(len(sizes), packed_index.FILE)
    files["size"], files["offset"] = sizes, np.cumsum([0, *sizes[:-1]])
    part = packed_index.Part(Shard("frames-00000.tar", sum(sizes)), ["v"], [len(sizes)], [1], lambda: files)
    packed_index.write_index(folder, Packing("frames", "{:05d}.jpg"), [part], 1)
    return PackedFrames(folder)


def test_what_a_forged_index_claims_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(packed_storage.os, "pread", lambda *a: asked.append(a[1]) or b"")
    with pytest.raises(FrameError, match=r"frames-00000\.tar: v: a picture of 3,000,000,000 bytes, more than the"):
        claim(tmp_path / "large", [10] * 8 + [3_000_000_000]).pictures(VideoRecord("v", 9, 0), [1, 9])
    sizes = [packed_storage.LARGEST_PICTURE] * (MAX_HELD // packed_storage.LARGEST_PICTURE + 1)
    many, record = claim(tmp_path / "many", sizes), VideoRecord("v", len(sizes), 0)
    with pytest.raises(FrameError, match=rf"{len(sizes)} pictures of [\d,]+ bytes, more than the .* fewer segments"):
        many.pictures(record, range(1, len(sizes) + 1))
    assert " GiB allowed at a time" in many.check(record, decode=True).fault and not asked


def test_no_named_pipe_is_waited_for(mine: Path) -> None:
    """In a shard's place: where the index says that it has no bytes, its size is that of a pipe."""
    storage, folder = claim(mine / "claimed", []), mine / "claimed"
    (folder / "frames-00000.tar").unlink()
    os.mkfifo(folder / "frames-00000.tar")
    with pytest.raises(FrameError, match=r"frames-00000\.tar: cannot be read \(a named pipe or a device"):
        storage._refuse_other_size(Shard("frames-00000.tar", 0))
    for file in [folder / "index.json", *packed_index.array_files(folder, 1)]:
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        assert not packed_index.is_ours(file)
        with pytest.raises(InputError, match=r"cannot be read \(a named pipe or a device, not a file\)"):
            PackedIndex(folder)
        file.unlink()
        file.write_bytes(content)
    os.mkfifo(folder / "frames-00000.npz")
    assert not packed_index.is_ours(folder / "frames-00000.npz")
    with pytest.raises(InputError, match=r"frames-00000\.npz cannot be read \(a named pipe or a device"):
        packed_index.load_part(folder, "frames-00000.tar")


def test_frames_that_are_not_packed(mine: Path) -> None:
    with pytest.raises(InputError, match=r"packed holds frames, .*not for the modality Flow|holds frames"):
        PackedFrames(mine / "dataset/own/packed", "Flow").records(mine / "dataset/own/train_videofolder.txt", 2)
    (mine / "dataset/own/packed/index.json").unlink()
    with pytest.raises(InputError, match=r"index\.json is missing: the frames are not packed, or not to the end"):
        train(mine, "--storage", "packed", dataset="own")
    shutil.rmtree(mine / "dataset/own/packed")
    with pytest.raises(InputError, match=r"packed frames folder .*To make it: python tools/pack_frames\.py own"):
        train(mine, "--storage", "packed", dataset="own")
    with pytest.raises(InputError, match=r"index-1-files\.npy is missing"):
        (mine / "dataset/own/packed_flow/index-1-files.npy").unlink()
        PackedIndex(mine / "dataset/own/packed_flow")


def test_training_and_testing(mine: Path) -> None:
    """As on folders, weight for weight; also where dataset.toml says so, and for flow."""
    flags = ["--shift", "--epochs=1", "-b", "4", "--num_segments=2"]
    weights = []
    for storage in ("frames", "packed"):
        run = train(mine, *flags, "--storage", storage, "--store_name", storage, dataset="own") / storage
        evaluate(mine, run / "ckpt.pth", "--storage", storage, f"--result_json={mine / storage}.json", dataset="own")
        weights.append(torch.load(run / "ckpt.pth", weights_only=True)["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    results = [json.loads((mine / f"{storage}.json").read_text()) for storage in ("frames", "packed")]
    assert results[0]["top1"] == results[1]["top1"] and results[1]["data"]["storage"] == "packed"
    (mine / "dataset/own/dataset.toml").write_text('storage = "packed"\n')
    for folder in ("frames", "flow"):
        shutil.rmtree(mine / "dataset/own" / folder)
    train(mine, *flags, "--store_name", "flow", dataset="own", modality="Flow")
    evaluate(mine, mine / "checkpoint/flow/ckpt.pth", dataset="own")


def test_shards_are_tar_files_of_the_folders(packed: Path) -> None:
    own = packed / "dataset" / "own"
    for source, target in (("frames", "packed"), ("flow", "packed_flow")):
        names = []
        for shard in sorted((own / target).glob("*.tar")):
            with tarfile.open(shard) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    assert file is not None and file.read() == (own / source / member.name).read_bytes()
                    names.append(member.name)
        expected = {str(path.relative_to(own / source)) for path in (own / source).rglob("*.jpg")}
        assert set(names) == expected and len(names) == len(expected)
        videos = [name.rsplit("/", 1)[0] for name in names]
        assert list(dict.fromkeys(videos)) == list(PATHS)  # in the order of the list, each in one piece
    assert names[:4] == [f"run/v 1/flow_{axis}_0000{k}.jpg" for k in (1, 2) for axis in "xy"]
    assert len(shards(packed)) > 1 and all(shard.stat().st_size <= 1 << 20 for shard in shards(packed))
