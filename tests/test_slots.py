"""Shared memory for batches: every batch whole however long it is kept, and memory used again as soon as it is not."""

import errno
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from helpers_data import write_videos
from programs import REPOSITORY

from ops.data import parallel, slots
from ops.data.clips import ClipOptions, Sample, Unreadable, VideoClips
from ops.data.loader import collate, collate_single, eval_loader, train_loader, video_loader
from ops.data.slots import SlotHandle, Slots
from ops.data.storages.frames import FrameFolders
from ops.errors import environment_fault

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
    slots = loader.loader.collate_fn.keywords["slots"]
    gc.collect()
    assert slots.taken.tolist() == [0] * 4


def free_shared_memory() -> int:
    """Bytes of /dev/shm that are free."""
    disk = os.statvfs("/dev/shm")
    return disk.f_bavail * disk.f_frsize


def test_slots_take_nothing_of_dev_shm_which_a_container_has_little_of() -> None:
    before, size = free_shared_memory(), 300 << 20
    slots = Slots(3, size)
    assert write(slots, 1, (size,)) == 0
    assert before - free_shared_memory() < size // 2


SAMPLES = [Sample(torch.full((1, 2, 3, 4, 4), value, dtype=torch.uint8), value, value) for value in (3, 5)]
UNREADABLE = Unreadable("a", "gone", 7)


@pytest.mark.parametrize("count", [1, 0])
def test_what_travels_takes_no_shared_memory_of_torch(count: int) -> None:
    """Where a slot is free and where none is: all else is sent by value, and arrives alike."""
    slots = Slots(count, 1000)
    sent = ForkingPickler.dumps(collate([*SAMPLES, UNREADABLE], slots))
    batch = pickle.loads(sent)
    assert torch.equal(batch.clips, torch.stack([sample.clip for sample in SAMPLES]))
    assert batch.clips.stride() == collate(SAMPLES).clips.stride()  # type: ignore[union-attr]
    assert (batch.labels.tolist(), batch.indices.tolist(), batch.unreadable) == ([3, 5], [3, 5], [UNREADABLE])
    del batch
    gc.collect()
    one = ForkingPickler.dumps(collate_single(SAMPLES[0], slots))
    sample = pickle.loads(one)
    assert torch.equal(sample.clip, SAMPLES[0].clip) and (sample.label, sample.index) == (3, 3)
    for message in (sent, one, ForkingPickler.dumps(collate([UNREADABLE], slots))):
        assert b"rebuild_storage_fd" not in bytes(message) and b"rebuild_storage_filename" not in bytes(message)


def test_slots_that_another_kind_of_process_gets_are_none() -> None:
    slots = pickle.loads(pickle.dumps(partial(collate, slots=Slots(2, 1000)))).keywords["slots"]
    assert pickle.loads(ForkingPickler.dumps(collate(SAMPLES, slots))).labels.tolist() == [3, 5]


def test_a_lock_that_a_killed_worker_took_along_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "TIMEOUT", 0.01)
    pool = Slots(2, 6)
    assert pool.lock.acquire()
    assert write(pool, 1) is None


def test_a_killed_worker_ends_a_pass_with_words(clips: VideoClips) -> None:
    loader = train_loader(clips, 2, workers=2)
    began = time.monotonic()
    with pytest.raises(RuntimeError) as caught:
        for _ in loader:
            os.kill(loader.loader._iterator._workers[0].pid, signal.SIGKILL)  # type: ignore[union-attr]
            time.sleep(0.2)
    fault = environment_fault(caught.value)
    assert fault and "is killed by signal: Killed; perhaps for memory (fewer -j need less)" in fault
    assert time.monotonic() - began < 20


def test_without_semaphores_the_main_process_reads(
    clips: VideoClips, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    parallel.processes_can_wait.cache_clear()
    monkeypatch.setattr("multiprocessing.context.BaseContext.Lock", refuse)
    with caplog.at_level(logging.WARNING):
        loaders = [train_loader(clips, 2, workers=4), eval_loader(clips, 2, workers=4)]
        assert list(parallel.in_parallel(str, [1, 2], jobs=2)) == [(1, "1"), (2, "2")]
    assert all(loader.loader.num_workers == 0 for loader in loaders)
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage() and "--shm-size" in record.getMessage()
    parallel.processes_can_wait.cache_clear()


def test_the_published_batches_pass_where_dev_shm_has_64_mib(tmp_path: Path) -> None:
    """Docker's default; the slots alone are several times as large."""
    code = f"""
import sys
sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / "tests")!r}]
from pathlib import Path
from helpers_data import write_videos
from ops.data.clips import ClipOptions, VideoClips
from ops.data.loader import train_loader
from ops.data.storages.frames import FrameFolders
root = Path({str(tmp_path)!r})
clips = VideoClips(write_videos(root, [8] * 16, 24, 32) * 5, FrameFolders(root), "train", ClipOptions(8))
kept = [batch.clips for batch in train_loader(clips, 16, workers=4)]
assert len(kept) == 5 and all(clips.shape == (16, 1, 8, 3, 224, 224) and clips.max() > 0 for clips in kept)
"""
    mounted = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mounted], capture_output=True, check=False).returncode:
        pytest.skip("only who may mount a file system can try a small /dev/shm")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mounted} && exec {sys.executable} -"],
        input=code,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
