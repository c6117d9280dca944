"""Loading: the same samples for any number of workers, a share for every process, batches that travel."""

import gc
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers_data import write_videos

from ops.data.clips import ClipMode, ClipOptions, Sample, Unreadable, VideoClips
from ops.data.loader import Batch, EpochSampler, collate, eval_loader, first_training_batch, train_loader, video_loader
from ops.data.records import VideoRecord
from ops.data.storages.frames import FrameFolders
from ops.errors import InputError

OPTIONS = ClipOptions(segments=2, input_size=14, test_mode="twice", crops=3)
LENGTHS = [9, 12, 15, 18, 21, 5, 7]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[VideoRecord]]:
    root = tmp_path_factory.mktemp("videos")
    return root, write_videos(root, LENGTHS, 24, 32)


def dataset(videos: tuple[Path, list[VideoRecord]], mode: ClipMode = "train") -> VideoClips:
    return VideoClips(videos[1], FrameFolders(videos[0]), mode, OPTIONS)


def with_gaps(videos: tuple[Path, list[VideoRecord]], mode: ClipMode) -> VideoClips:
    """Videos 1 and 3 of the list are not there."""
    records = list(videos[1])
    records[1], records[3] = VideoRecord("gone", 9, 1), VideoRecord("lost", 9, 3)
    return VideoClips(records, FrameFolders(videos[0]), mode, OPTIONS)


def same(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.clips, b.clips)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.indices, b.indices)
        and a.unreadable == b.unreadable
    )


def test_workers_do_not_change_the_samples(videos: tuple[Path, list[VideoRecord]]) -> None:
    alone, shared = (train_loader(dataset(videos), 2, workers, seed=5) for workers in (0, 2))
    epochs = []
    for epoch in (0, 1):  # the second pass shows that the epoch reaches persistent workers
        alone.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        shared.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches = list(alone)
        assert len(batches) == len(alone) == 3
        assert all(same(a, b) for a, b in zip(batches, shared, strict=True))
        epochs.append(batches)
    assert not all(torch.equal(a.clips, b.clips) for a, b in zip(*epochs, strict=True))
    assert [b.indices.tolist() for b in epochs[0]] != [b.indices.tolist() for b in epochs[1]]


def test_batches_have_the_promised_shape(videos: tuple[Path, list[VideoRecord]]) -> None:
    batch = next(iter(train_loader(dataset(videos), 3)))
    assert batch.clips.shape == (3, 1, 2, 3, 14, 14)
    assert batch.clips.dtype == torch.uint8
    assert batch.labels.dtype == batch.indices.dtype == torch.int64
    assert batch.labels.tolist() == batch.indices.tolist()  # label k is video k here
    assert len(batch) == 3
    frames = batch.clips.flatten(0, 2)  # (N·V·T, C, H, W)
    assert frames.data_ptr() == batch.clips.data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)


def test_epoch_sampler_shuffles_by_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, 5, seed, shuffle=True)
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key[0] for key in keys} == {epoch}
        return [index for _, index in keys]

    assert sorted(order(0, 0)) == list(range(50))
    assert order(0, 0) == order(0, 0) != list(range(50))
    assert order(0, 1) != order(0, 0) != order(1, 0)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_global_batches_do_not_depend_on_the_number_of_processes(world_size: int) -> None:
    """103 videos in global batches of 8: 12 whole ones, 7 videos dropped."""

    def batches(processes: int) -> list[set[int]]:
        share = 8 // processes
        parts = [
            list(EpochSampler(103, share, 3, shuffle=True, rank=r, world_size=processes)) for r in range(processes)
        ]
        assert {len(part) for part in parts} == {96 // processes}
        return [{index for part in parts for _, index in part[k * share : (k + 1) * share]} for k in range(12)]

    result = batches(world_size)
    assert result == batches(1)
    assert len(set().union(*result)) == 96


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 12])
def test_evaluation_shares_cover_the_list_once_in_order(world_size: int) -> None:
    parts = [list(EpochSampler(10, 4, rank=r, world_size=world_size)) for r in range(world_size)]
    indices = [[index for _, index in part] for part in parts]
    assert all(part == sorted(part) for part in indices)
    assert Counter(index for part in indices for index in part) == Counter(range(10))
    assert [part[0] for part in indices if part] == list(range(min(10, world_size)))
    for r in range(world_size):
        assert len(EpochSampler(10, 4, rank=r, world_size=world_size)) == len(parts[r])


def test_a_list_shorter_than_a_batch() -> None:
    assert len(EpochSampler(8, 8, shuffle=True)) == 8
    with pytest.raises(InputError, match=r"has 7 videos, fewer than one batch of 8; .*at most -b 7"):
        EpochSampler(7, 8, shuffle=True)
    with pytest.raises(InputError, match=r"7 videos.*batch of 8 \(4 on each of 2 processes\); .*at most -b 6"):
        EpochSampler(7, 4, shuffle=True, world_size=2)
    with pytest.raises(InputError, match=r"2 videos.*use fewer processes"):
        EpochSampler(2, 4, shuffle=True, world_size=4)
    assert len(EpochSampler(7, 8)) == 7  # evaluation takes any


def test_train_loader_refuses_a_short_list(videos: tuple[Path, list[VideoRecord]]) -> None:
    with pytest.raises(InputError, match="7 videos, fewer than one batch of 64"):
        train_loader(dataset(videos), 64)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_lists_the_unreadable(videos: tuple[Path, list[VideoRecord]], workers: int) -> None:
    batches = list(eval_loader(with_gaps(videos, "val"), 3, workers))
    assert [batch.indices.tolist() for batch in batches] == [[0, 2], [4, 5], [6]]
    assert [len(batch.clips) for batch in batches] == [2, 2, 1]
    assert [[bad.path for bad in batch.unreadable] for batch in batches] == [["gone"], ["lost"], []]
    assert "does not exist" in batches[0].unreadable[0].reason


def test_training_leaves_the_unreadable_out(videos: tuple[Path, list[VideoRecord]]) -> None:
    batches = list(train_loader(with_gaps(videos, "train"), 7))
    assert [len(batch) for batch in batches] == [5]
    assert sorted(bad.index for bad in batches[0].unreadable) == [1, 3]


def test_a_batch_of_unreadable_videos_is_empty() -> None:
    batch = collate([Unreadable("a", "gone", 0), Unreadable("b", "gone", 1)])
    assert len(batch) == 0
    assert batch.clips.shape == (0,) * 6
    assert batch.clips.dtype == torch.uint8
    assert len(batch.unreadable) == 2
    assert len(batch.to("cpu")) == 0


def test_batch_moves_as_a_whole(videos: tuple[Path, list[VideoRecord]]) -> None:
    batch = next(iter(eval_loader(with_gaps(videos, "val"), 3)))
    moved = batch.to("meta")
    assert {moved.clips.device.type, moved.labels.device.type, moved.indices.device.type} == {"meta"}
    assert moved.clips.shape == batch.clips.shape
    assert moved.unreadable == batch.unreadable


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_arrive_in_pinned_memory(videos: tuple[Path, list[VideoRecord]]) -> None:
    batch = next(iter(train_loader(dataset(videos), 2, workers=1)))
    assert batch.clips.is_pinned()
    assert batch.labels.is_pinned()
    assert batch.clips.flatten(0, 2).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.to("cuda").clips.cpu(), batch.clips)
    item = next(iter(video_loader(dataset(videos, "test"), workers=1)))
    assert isinstance(item, Sample)
    assert item.clip.is_pinned()


@pytest.mark.parametrize("workers", [0, 2])
def test_videos_one_at_a_time(videos: tuple[Path, list[VideoRecord]], workers: int) -> None:
    items = list(video_loader(with_gaps(videos, "test"), workers))
    assert [item.index for item in items] == list(range(7))
    assert [type(item) for item in items] == [Sample, Unreadable, Sample, Unreadable, Sample, Sample, Sample]
    assert isinstance(items[0], Sample)
    assert items[0].clip.shape == (6, 2, 3, 14, 14)
    expected = dataset(videos, "test")[0, 0]
    assert isinstance(expected, Sample)
    assert torch.equal(items[0].clip, expected.clip)


def test_videos_are_shared_out_to_processes(videos: tuple[Path, list[VideoRecord]]) -> None:
    shares = [video_loader(dataset(videos, "test"), rank=r, world_size=2) for r in range(2)]
    assert [[item.index for item in share] for share in shares] == [[0, 2, 4, 6], [1, 3, 5]]
    assert [len(share) for share in shares] == [4, 3]


def test_the_first_training_batch_is_the_loaders(videos: tuple[Path, list[VideoRecord]]) -> None:
    whole = next(iter(train_loader(dataset(videos), 4, seed=3)))
    shares = [next(iter(train_loader(dataset(videos), 2, seed=3, rank=r, world_size=2))) for r in range(2)]
    first = first_training_batch(dataset(videos), 4, seed=3)
    assert torch.equal(first.clips, whole.clips)
    assert sorted(first.indices.tolist()) == sorted(i for share in shares for i in share.indices.tolist())


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_from_torchs_generator(videos: tuple[Path, list[VideoRecord]], workers: int) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    loader = train_loader(dataset(videos), 2, workers)
    for _ in range(2):
        assert list(loader)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_workers_share_is_kept_from_the_collector_as_long_as_they_are_there(
    videos: tuple[Path, list[VideoRecord]],
) -> None:
    gc.unfreeze()
    loader = train_loader(dataset(videos), 2, workers=1)
    assert gc.get_freeze_count() > 1000
    assert next(iter(loader)).clips.shape[0] == 2
    del loader
    assert gc.get_freeze_count() == 0
    assert train_loader(dataset(videos), 2, workers=0) and gc.get_freeze_count() == 0
