"""Shared memory for batches: every batch whole however long it is kept, and memory used again as soon as it is not."""

import gc
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers_data import write_videos

from ops.data.clips import ClipOptions, VideoClips
from ops.data.loader import eval_loader, train_loader, video_loader
from ops.data.slots import SlotHandle, Slots
from ops.data.storages.frames import FrameFolders

OPTIONS = ClipOptions(segments=2, input_size=14, test_mode="twice", crops=3, mirror_labels=tuple(range(20)))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> VideoClips:
    root: Path = tmp_path_factory.mktemp("videos")
    return VideoClips(write_videos(root, [5 + k for k in range(20)], 24, 32), FrameFolders(root), "train", OPTIONS)


def double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * 2


def write(slots: Slots, value: int, shape: tuple[int, ...] = (2, 3)) -> int | None:
    return slots.post(shape, lambda out: out.fill_(value))


def test_a_slot_is_taken_until_its_last_view_is_gone() -> None:
    slots = Slots(2, 6)
    assert (write(slots, 7), write(slots, 8), write(slots, 9)) == (0, 1, None)
    tensor = slots.fetch(0, (2, 3))
    view = tensor[:, 1:]
    del tensor
    gc.collect()
    assert write(slots, 9) is None and view.tolist() == [[7, 7], [7, 7]]
    del view
    gc.collect()
    assert write(slots, 9) == 0
    assert slots.fetch(1, (2, 3)).tolist() == [[8] * 3] * 2


def test_what_is_too_large_takes_no_slot() -> None:
    slots = Slots(1, 6)
    assert write(slots, 1, (7,)) is None
    assert write(slots, 1, (6,)) == 0


def test_a_parcel_arrives_as_what_is_made_of_its_tensor() -> None:
    slots = Slots(1, 6)
    slot = write(slots, 4)
    assert slot is not None
    arrived = pickle.loads(pickle.dumps(SlotHandle(slots.key, slot, (2, 3), double)))
    assert arrived.tolist() == [[8] * 3] * 2


@pytest.mark.parametrize("make", [train_loader, eval_loader, video_loader])
def test_batches_that_are_kept_stay_as_they_were(clips: VideoClips, make: partial) -> None:
    """More than there are slots."""
    sizes = {} if make is video_loader else {"batch_size": 2}
    alone, shared = (list(make(clips, workers=workers, **sizes)) for workers in (0, 1))
    name = "clip" if make is video_loader else "clips"
    kept = [getattr(item, name) for item in shared]
    assert len(kept) == len(alone) >= 10
    assert all(torch.equal(a, getattr(b, name)) for a, b in zip(kept, alone, strict=True))
    assert all(a.stride() == getattr(b, name).stride() for a, b in zip(kept, alone, strict=True))


def test_memory_is_used_again(clips: VideoClips) -> None:
    loader = train_loader(clips, 2, workers=1)
    for _ in range(2):
        places = [batch.clips.data_ptr() for batch in loader]
        assert len(places) == 10 and len(set(places)) <= 4
    slots = loader.collate_fn.keywords["slots"]  # type: ignore[attr-defined]
    gc.collect()
    assert slots.taken.tolist() == [0] * 4
