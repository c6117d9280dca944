"""Pictures decoded apart from the workers: the same clips, and the same words for what is damaged.

Without a GPU the CPU decodes, and what would be asked of nvJPEG is seen by a stand-in; test_cuda.py asks nvJPEG.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import write_videos
from PIL import Image
from programs import REPOSITORY, python

from ops.data import decode, gpu_decode
from ops.data.clips import ClipOptions, Sample, Undecoded, Unreadable, VideoClips
from ops.data.decode import FrameError, Pictures, decode_images
from ops.data.gpu_decode import chosen_device, decode_on
from ops.data.loader import Batch, eval_loader, first_training_batch, train_loader, video_loader
from ops.data.storages.frames import FrameFolders
from ops.data.storages.video import VideoFiles
from ops.errors import InputError

CPU = torch.device("cpu")
OPTIONS = ClipOptions(segments=2, input_size=14, test_mode="twice", crops=3, mirror_labels=tuple(range(9)))


def both(root: Path, mode: str, options: ClipOptions = OPTIONS) -> tuple[VideoClips, VideoClips]:
    """A data set whose workers decode, and one whose workers do not; the third video lacks its frames."""
    records = write_videos(root, [5 + k for k in range(9)], 24, 32)
    for file in (root / records[2].path).iterdir():
        file.write_bytes(file.read_bytes()[:200])
    decoding, not_decoding = (
        VideoClips(records, FrameFolders(root), mode, options, device)  # type: ignore[arg-type]
        for device in (None, CPU)
    )
    return decoding, not_decoding


def same(a: Batch, b: Batch) -> bool:
    assert a.unreadable == b.unreadable
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("clips", "labels", "indices"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("options", [OPTIONS, replace(OPTIONS, randaugment=True)])
def test_training_batches_are_the_same(tmp_path: Path, workers: int, options: ClipOptions) -> None:
    ours, theirs = (train_loader(clips, 2, workers) for clips in both(tmp_path, "train", options))
    assert len(ours) == len(theirs) == 4
    for epoch in range(2):
        for loader in (ours, theirs):
            loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        pairs = list(zip(ours, theirs, strict=True))
        assert len(pairs) == 4 and all(same(a, b) for a, b in pairs)
    assert sum(len(b.unreadable) for _, b in pairs) <= 1


def test_evaluation_is_the_same(tmp_path: Path) -> None:
    batches = [list(eval_loader(clips, 4, 1)) for clips in both(tmp_path / "val", "val")]
    assert all(same(a, b) for a, b in zip(*batches, strict=True)) and len(batches[0][0].unreadable) == 1
    for a, b in zip(*(video_loader(clips, 1) for clips in both(tmp_path / "test", "test")), strict=True):
        if isinstance(a, Unreadable):
            assert a == b and "damaged image" in a.reason
        else:
            assert isinstance(b, Sample) and torch.equal(a.clip, b.clip) and (a.label, a.index) == (b.label, b.index)


def test_first_batch(tmp_path: Path) -> None:
    a, b = (first_training_batch(clips, 4, 3) for clips in both(tmp_path, "train"))
    assert same(a, b)


def test_workers_leave_pictures_undecoded(tmp_path: Path) -> None:
    item = both(tmp_path, "train")[1][0, 0]
    assert isinstance(item, Undecoded) and len(item.pictures.files) == 2


def pictures(root: Path, *changes: tuple[str, Any]) -> Pictures:
    """Three JPEG files of one size, some of them changed by a format or a function of their bytes."""
    rng, files = np.random.default_rng(0), []
    for number in range(3):
        path = root / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(path)
        files.append(path.read_bytes())
    for kind, value in changes:
        if kind == "size":
            Image.new("RGB", value).save(root / "other.jpg")
        elif kind == "format":
            Image.new("RGB", (32, 24)).save(root / "other.jpg", value)
        else:
            Image.new("CMYK", (32, 24)).save(root / "other.jpg")
        files[1] = (root / "other.jpg").read_bytes()
    return Pictures([str(root / f"{number}.jpg") for number in range(3)], files)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Pictures]:
    """What nvJPEG was asked for; a stand-in answers with the CPU's frames. "cuda" is the CPU here."""
    seen: list[Pictures] = []

    def nvjpeg(wanted: Pictures, device: torch.device) -> torch.Tensor:
        seen.append(wanted)
        return decode_images(wanted)

    monkeypatch.setattr(gpu_decode, "_by_nvjpeg", nvjpeg)
    return seen


def on_cuda(wanted: Pictures, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    original = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *a, **k: self if a and a[0] == GPU else original(self, *a, **k)
    )
    return decode_on(GPU, wanted)


GPU = torch.device("cuda")


@pytest.mark.parametrize("simplejpeg", [decode.simplejpeg, None])
def test_whole_jpegs_are_nvjpegs(
    tmp_path: Path, asked: list[Pictures], monkeypatch: pytest.MonkeyPatch, simplejpeg: object
) -> None:
    monkeypatch.setattr(decode, "simplejpeg", simplejpeg)
    wanted = pictures(tmp_path)
    assert torch.equal(on_cuda(wanted, monkeypatch), decode_images(wanted)) and asked == [wanted]


@pytest.mark.parametrize("simplejpeg", [decode.simplejpeg, None])
@pytest.mark.parametrize("change", [("format", "PNG"), ("colours", "CMYK")])
def test_other_formats_are_the_cpus(
    tmp_path: Path,
    asked: list[Pictures],
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    simplejpeg: object,
) -> None:
    monkeypatch.setattr(decode, "simplejpeg", simplejpeg)
    wanted = pictures(tmp_path, change)
    assert torch.equal(on_cuda(wanted, monkeypatch), decode_images(wanted)) and not asked


def test_what_the_cpu_decodes_instead_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("out of memory\nmuch more")

    gpu_decode._say.cache_clear()
    monkeypatch.setattr(gpu_decode, "_by_nvjpeg", refuse)
    for _ in range(2):
        on_cuda(pictures(tmp_path), monkeypatch)
        on_cuda(pictures(tmp_path, ("format", "PNG")), monkeypatch)
    assert [record.message.partition("for nvJPEG: ")[2] for record in caplog.records] == [
        "out of memory",
        "some are no JPEG in plain colours",
    ]
    gpu_decode._say.cache_clear()


def test_a_damaged_file_is_named(tmp_path: Path, asked: list[Pictures], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pictures(tmp_path)
    short = Pictures(whole.names, [whole.files[0], whole.files[1][:-40], whole.files[2]])
    with pytest.raises(FrameError, match=r"1\.jpg: damaged JPEG"):
        on_cuda(short, monkeypatch)
    with pytest.raises(FrameError, match=r"1\.jpg is 16 × 16"):
        on_cuda(pictures(tmp_path, ("size", (16, 16))), monkeypatch)
    assert not asked


def test_what_nvjpeg_refuses_is_the_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("nvjpegDecode failed")

    monkeypatch.setattr(gpu_decode, "_by_nvjpeg", refuse)
    wanted = pictures(tmp_path)
    assert torch.equal(on_cuda(wanted, monkeypatch), decode_images(wanted))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    storage = FrameFolders(tmp_path)
    assert chosen_device("cpu", GPU, storage) is None
    with pytest.raises(InputError, match="--decode_device cuda: the network runs on the CPU"):
        chosen_device("cuda", CPU, storage)
    with pytest.raises(InputError, match="--decode_device cuda: decodes JPEG frames, not video files"):
        chosen_device("cuda", GPU, VideoFiles(tmp_path, "pyav"))
    with pytest.raises(InputError, match="--decode_device cuda: it does not work here"):
        chosen_device("cuda", GPU, storage)


@pytest.mark.parametrize(
    ("device", "words"),
    [("cuda", "the network runs on the CPU; leave it out"), ("gpu", "expected one of cpu, cuda")],
)
def test_a_user_sees_one_line(demo: Path, device: str, words: str) -> None:
    root = ["--root_dataset", str(demo / "dataset"), "--root_log", str(demo / "log"), "--root_model", str(demo / "ck")]
    small = ["--arch", "resnet18", "--num_segments", "2", "--input_size", "32", "--pretrain", "none", "-b", "2"]
    done = python(str(REPOSITORY / "main.py"), "demo", "RGB", *root, *small, "--decode_device", device)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"--decode_device {device}" in done.stderr and words in done.stderr
    assert not (demo / "ck").exists()
