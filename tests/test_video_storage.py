"""Training and testing on video files: what is kept of them, what is said of bad ones, the same clips as of frames."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from conftest import SHARED
from made_videos import add_cover, replace_video, show_by, splice, write_sound, write_video
from PIL import Image
from programs import REPOSITORY, evaluate, train

from ops import names
from ops.data import filestate, video_index
from ops.data.catalog import resolve
from ops.data.clips import ClipOptions, Sample, Unreadable, VideoClips
from ops.data.decode import FrameError
from ops.data.fingerprint import differences, fingerprint
from ops.data.records import VideoRecord
from ops.data.storages import STORAGES, listed, open_storage
from ops.data.storages import video as video_storage
from ops.data.storages.checked import Checked
from ops.data.storages.video import VideoFiles, choose_decoder
from ops.data.video_index import index_file, index_videos, read_index
from ops.errors import InputError
from tools import vid2img


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with `dataset/demo` of video files: two classes, names with spaces, quotes and other alphabets."""
    folder = tmp_path / "dataset" / "demo"
    videos = ["spin left/a 1.mp4", 'spin left/it\'s "b" 2.mkv', "spin right/видео 3.mp4", "spin right/動画 4.avi"]
    for seed, name in enumerate(videos):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        write_video(folder / "videos" / name, 20 + seed, codec=codec, seed=seed, g="8", sc_threshold="0")
    (folder / "category.txt").write_text("spin left\nspin right\n")
    lines = "".join(f"{name} {int('right' in name)}\n" for name in videos)
    for part in ("train", "val"):
        (folder / f"{part}_videos.txt").write_text(lines, encoding="utf-8")
    return tmp_path


def test_the_options_name_every_storage() -> None:
    assert tuple(STORAGES) == names.STORAGES


def test_frames_are_counted_once_and_kept_beside_the_list(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = resolve("demo", mine / "dataset", storage="video")
    records = listed(data, open_storage(data), data.train_list)
    assert [record.num_frames for record in records] == [20, 21, 22, 23]
    assert [record.label for record in records] == [0, 0, 1, 1]
    known = read_index(index_file(data.train_list))
    assert list(known) == [record.path for record in records]
    assert [len(known[path].table.keys) for path in known] == [3, 3, 3, 0]  # type: ignore[union-attr]
    monkeypatch.setattr(video_index, "probe", lambda *_, **__: pytest.fail("looked again"))
    assert listed(data, open_storage(data), data.train_list) == records


def test_the_index_survives_writing_and_reading(tmp_path: Path) -> None:
    write_video(tmp_path / "a b.mp4", 12, g="5", times=[k * k for k in range(1, 13)])
    (tmp_path / "empty.mp4").touch()
    list_file = tmp_path / "list.txt"
    known = index_videos(list_file, tmp_path, ["a b.mp4", "empty.mp4", "gone.mp4"])
    read = read_index(index_file(list_file))
    assert {path: entry.fault for path, entry in read.items()} == {
        "a b.mp4": "", "empty.mp4": "the file is empty", "gone.mp4": "no such file",
    }  # fmt: skip
    a, b = read["a b.mp4"].table, known["a b.mp4"].table
    assert a is not None and b is not None
    np.testing.assert_array_equal(a.times(), b.times())
    np.testing.assert_array_equal(a.keys, b.keys)


def test_a_faulty_video_is_looked_at_again_and_a_broken_index_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    list_file = tmp_path / "list.txt"
    assert index_videos(list_file, tmp_path, ["v.mp4"])["v.mp4"].fault == "no such file"
    write_video(tmp_path / "v.mp4", 5)
    assert index_videos(list_file, tmp_path, ["v.mp4"])["v.mp4"].num_frames == 5
    index_file(list_file).write_bytes(b"PK nonsense")
    assert index_videos(list_file, tmp_path, ["v.mp4"])["v.mp4"].num_frames == 5
    assert "is made anew" in caplog.text


def test_an_interrupted_look_is_kept_as_far_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write_video(tmp_path / f"{name}.mp4", 5)
    original = video_index.probe

    def interrupted(path: str, root: Path) -> video_index.Indexed:
        if path == "c.mp4":
            raise KeyboardInterrupt
        return original(path, root)

    monkeypatch.setattr(video_index, "probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_videos(tmp_path / "list.txt", tmp_path, ["a.mp4", "b.mp4", "c.mp4"])
    assert list(read_index(index_file(tmp_path / "list.txt"))) == ["a.mp4", "b.mp4"]


def test_a_video_that_changed_is_refused_until_it_is_counted_anew(mine: Path) -> None:
    data = resolve("demo", mine / "dataset", storage="video")
    storage = open_storage(data)
    record = listed(data, storage, data.train_list)[0]
    write_video(data.root / record.path, 40)
    with pytest.raises(FrameError, match=r"changed since its frames were counted: start again, which counts them anew"):
        storage.read(record, [1])
    assert listed(data, open_storage(data), data.train_list)[0].num_frames == 40


@pytest.mark.parametrize("keep_times", [False, True], ids=["other time", "same time"])
def test_a_video_replaced_by_one_of_the_same_size_is_counted_anew(tmp_path: Path, keep_times: bool) -> None:
    list_file, video = tmp_path / "list.txt", write_video(tmp_path / "v.mp4", 30)
    storage = VideoFiles(tmp_path)
    storage.known = index_videos(list_file, tmp_path, ["v.mp4"])
    assert storage.known["v.mp4"].num_frames == 30
    replace_video(video, 12, keep_times=keep_times)
    with pytest.raises(FrameError, match="changed since"):
        storage.read(VideoRecord("v.mp4", 30, 0), [1])
    assert index_videos(list_file, tmp_path, ["v.mp4"])["v.mp4"].num_frames == 12
    assert read_index(index_file(list_file))["v.mp4"].num_frames == 12


def test_a_copied_data_set_is_not_looked_through_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, copy = tmp_path / "a", tmp_path / "b"
    write_video(first / "v.mp4", 12)
    known = index_videos(first / "list.txt", first, ["v.mp4"])
    shutil.copytree(first, copy, copy_function=shutil.copy)  # with times of its own
    monkeypatch.setattr(video_index, "probe", lambda *_, **__: pytest.fail("looked again"))
    storage = VideoFiles(copy)
    storage.known = index_videos(copy / "list.txt", copy, ["v.mp4"])
    assert storage.known["v.mp4"].state.modified != known["v.mp4"].state.modified
    assert read_index(index_file(copy / "list.txt"))["v.mp4"].state == storage.known["v.mp4"].state
    os.utime(copy / "v.mp4")  # while it is read
    assert storage.read(VideoRecord("v.mp4", 12, 0), [12]).shape == (1, 3, 48, 64)


def test_only_where_times_differ_a_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "v.mp4", 5)
    index_videos(tmp_path / "list.txt", tmp_path, ["v.mp4"])
    monkeypatch.setattr(filestate, "checksum_of_ends", lambda _: pytest.fail("opened"))
    index_videos(tmp_path / "list.txt", tmp_path, ["v.mp4"])


def test_a_damaged_index_is_made_anew_whatever_byte_is_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    list_file = tmp_path / "list.txt"
    write_video(tmp_path / "v.mp4", 5)
    index_videos(list_file, tmp_path, ["v.mp4"])
    file, whole = index_file(list_file), index_file(list_file).read_bytes()
    with file.open("r+b", buffering=0) as opened:
        for at, byte in enumerate(whole):
            for value, entries in ((byte ^ 1 << at % 8, 0), (byte, 1)):
                opened.seek(at)
                opened.write(bytes([value]))
                caplog.clear()
                assert len(read_index(file)) == entries and ("is made anew" in caplog.text) == (not entries)
    for content in (*(whole[:length] for length in range(0, len(whole), 100)), whole + b"0"):
        file.write_bytes(content)
        assert read_index(file) == {}
    assert index_videos(list_file, tmp_path, ["v.mp4"])["v.mp4"].num_frames == 5
    assert read_index(file)["v.mp4"].num_frames == 5


def test_a_forged_or_older_index_is_made_anew(tmp_path: Path) -> None:
    list_file = tmp_path / "list.txt"
    write_video(tmp_path / "v.mp4", 5)
    index_videos(list_file, tmp_path, ["v.mp4"])
    with np.load(index_file(list_file)) as saved:  # which is an archive of arrays, if one wants to look into it
        arrays = dict(saved)
    vast = np.lib.stride_tricks.as_strided(np.zeros(1, np.int64), (10**12,), (0,))
    for change in ({"keys": arrays["keys"][:0]}, {"sizes": np.ones(7)}, {"paths": np.array(["v.mp4"])}, {}):
        np.savez(index_file(list_file), **arrays | change)
        assert index_videos(list_file, tmp_path, ["v.mp4"])["v.mp4"].num_frames == 5
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, np.lib.format.header_data_from_array_1_0(vast))
    with zipfile.ZipFile(index_file(list_file), "w") as forged:
        for name in arrays:
            forged.writestr(f"{name}.npy", content.getvalue())
    assert index_videos(list_file, tmp_path, ["v.mp4"])["v.mp4"].num_frames == 5


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda file: file.unlink(), "no such file"),
        (lambda file: file.write_text("no video"), "Invalid data"),
        (lambda file: file.write_bytes(b""), "the file is empty"),
        (write_sound, "no video stream"),
    ],
    ids=["gone", "text", "empty", "sound"],
)
def test_a_bad_file_behaves_as_a_bad_folder(mine: Path, break_it, words: str) -> None:  # type: ignore[no-untyped-def]
    data = resolve("demo", mine / "dataset", storage="video")
    break_it(data.root / "spin left" / "a 1.mp4")
    storage = open_storage(data)
    clips = VideoClips(listed(data, storage, data.val_list), storage, "val", ClipOptions(4, 32))
    bad, good = clips[0, 0], clips[0, 1]
    assert isinstance(bad, Unreadable) and words in bad.reason and "a 1.mp4" in bad.reason
    assert isinstance(good, Sample)
    flags = ["--shift", "--epochs=1", "--storage=video", "-b", "4"]
    with pytest.raises(InputError, match=words):
        train(mine, *flags)
    folder = train(mine, *flags, "--bad_frames=skip", "--store_name=skips")
    out = [f"--result_json={mine / 'r.json'}", "--storage=video", "--bad_frames=skip"]
    evaluate(mine, folder / "skips" / "ckpt.pth", *out)
    result = json.loads((mine / "r.json").read_text())
    assert (result["videos"], result["skipped"]) == (3, 1)
    assert result["data"]["decoder"] == storage.decoded_by  # type: ignore[union-attr]


def test_flow_is_not_in_video_files(mine: Path) -> None:
    with pytest.raises(InputError, match=r"--storage video: flow is not in video files.*extract_flow"):
        train(mine, "--storage=video", modality="Flow")


def test_a_list_of_frames_is_not_one_of_videos(mine: Path) -> None:
    folder = mine / "dataset" / "demo"
    (folder / "train_videos.txt").write_text("spin left/a 1.mp4\n")
    with pytest.raises(InputError, match=r"train_videos.txt:1: the last field is not a whole number"):
        train(mine, "--storage=video")
    (folder / "train_videos.txt").write_text("spin left/a 1.mp4 2\n")
    with pytest.raises(InputError, match=r"expected `path label` with label in 0..1"):
        train(mine, "--storage=video")


def test_both_storages_give_the_same_clips(tmp_path: Path) -> None:
    """The real clips, extracted and as they are: the same frames by index, the same pixels to the JPEG's loss."""
    clips = SHARED / "clips"
    if not clips.is_dir():
        pytest.skip("the real clips are not beside the repository")
    from ops.data.storages.frames import FrameFolders

    assert vid2img.main(["--videos", str(clips), "--frames", str(tmp_path), "--short_side", "0", "-j", "2"]) == 0
    files = VideoFiles(clips, "pyav")
    for file in vid2img.find_videos(clips):
        files.known |= {file.name: video_index.probe(file.name, clips)}
        n = files.known[file.name].num_frames
        folder, video = VideoRecord(file.stem, n, 0), VideoRecord(file.name, n, 0)
        assert len(list((tmp_path / file.stem).glob("*.jpg"))) == n
        for mode, options in (
            ("train", ClipOptions(8, seed=3, mirror_labels=(0,))),
            ("val", ClipOptions(8)),
            ("test", ClipOptions(8, test_mode="twice", crops=3, full_res=True)),
            ("train", ClipOptions(2, modality="RGBDiff", dense=True)),
        ):
            a = VideoClips([folder], FrameFolders(tmp_path), mode, options)[0, 0]  # type: ignore[arg-type]
            b = VideoClips([video], files, mode, options)[0, 0]  # type: ignore[arg-type]
            assert isinstance(a, Sample) and isinstance(b, Sample) and a.clip.shape == b.clip.shape
            loss = (a.clip.float() - b.clip.float()).abs().mean((-3, -2, -1))  # (V, T)
            apart = (a.clip.float() - b.clip.roll(1, dims=1).float()).abs().mean((-3, -2, -1))
            assert loss.max() < 2.5, (file.name, mode, loss.max())
            assert (loss < apart).all() or mode == "test"  # nearer than the neighbouring frames of the clip


def test_all_agree_on_a_video_of_two_sizes(tmp_path: Path) -> None:
    """A browser's call: the checker, extraction, and what is read in training."""
    first = write_video(tmp_path / "1.webm", 12, codec="libvpx")
    second = write_video(tmp_path / "2.webm", 12, (96, 80), codec="libvpx")
    record = VideoRecord(splice(tmp_path / "v" / "call.webm", first, second).name, 24, 0)
    storage = VideoFiles(tmp_path / "v")
    storage.known = index_videos(tmp_path / "list.txt", tmp_path / "v", [record.path])
    assert storage.check(record, decode=True) == Checked(24)
    assert storage.read(record, list(range(1, 25))).shape == (24, 3, 48, 64)
    assert storage.read(record, [20]).shape == (1, 3, 48, 64)
    assert vid2img.main(["--videos", str(tmp_path / "v"), "--frames", str(tmp_path / "f"), "-j", "1"]) == 0
    sizes = [Image.open(file).size for file in (tmp_path / "f" / "call").iterdir()]
    assert sizes == [(64, 48)] * 24


def test_frames_lie_channels_last(mine: Path) -> None:
    data = resolve("demo", mine / "dataset", storage="video")
    storage = open_storage(data, "pyav")
    frames = storage.read(listed(data, storage, data.train_list)[0], [2, 7, 8])
    assert frames.shape == (3, 3, 48, 64) and frames.dtype == torch.uint8
    assert frames.is_contiguous(memory_format=torch.channels_last)


def test_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_decoder("pyav") is video_storage.decode_pyav
    monkeypatch.setattr(video_storage, "torchcodec_fault", lambda: "no FFmpeg")
    with pytest.raises(InputError, match=r"--decoder torchcodec: it does not work here \(no FFmpeg\)"):
        choose_decoder("torchcodec")
    monkeypatch.setattr(video_storage, "torchcodec_fault", lambda: "")
    assert choose_decoder("torchcodec") is video_storage.decode_torchcodec
    # Whatever is installed: two machines must not read two different things in one data set.
    assert choose_decoder("auto") is video_storage.decode_pyav


def test_the_decoder_is_in_fingerprint_and_log(
    mine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = resolve("demo", mine / "dataset", storage="video")
    storage = open_storage(data)
    with caplog.at_level("INFO"):
        listed(data, storage, data.train_list)
    now, version = fingerprint(data, storage), ".".join(av.ffmpeg_version_info.split(".")[:2])
    assert now["decoder"] == f"PyAV, FFmpeg {version}"
    assert f"{data.train_list}: 4 videos, decoded by {now['decoder']}" in caplog.text
    monkeypatch.setattr(video_storage, "torchcodec_fault", lambda: "")
    monkeypatch.setitem(sys.modules, "torchcodec", SimpleNamespace(__version__="0.9", ffmpeg_major_version=7))
    other = fingerprint(data, open_storage(data, "torchcodec"))
    assert differences(now, other) == [
        f"the decoder of the videos: PyAV, FFmpeg {version} then, TorchCodec 0.9, FFmpeg 7 now"
    ]


class StandIn:
    """As TorchCodec's decoder of a video that is turned, or of which it makes other frames, or none."""

    rotation: float | None = None
    num_frames = 12
    width = 64
    fails = False

    def __init__(self, video: Path, **_: object) -> None:
        size = {"width": self.width, "height": 48}
        self.metadata = SimpleNamespace(rotation=self.rotation, num_frames=self.num_frames, **size)

    def get_frames_at(self, places: list[int]) -> SimpleNamespace:
        if self.fails:
            raise RuntimeError("Could not seek")
        return SimpleNamespace(data=torch.zeros(len(places), 48, 64, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("decoder", "is_asked"),
    [
        (StandIn, True),
        (type("Mirrors", (StandIn,), {"rotation": -0.0}), False),
        (type("Turns", (StandIn,), {"rotation": 90.0}), False),
        (type("Counts", (StandIn,), {"num_frames": 13}), False),
        (type("Scales", (StandIn,), {"width": 128}), False),
        (type("Fails", (StandIn,), {"fails": True}), False),
    ],
    ids=lambda decoder: getattr(decoder, "__name__", ""),
)
def test_what_torchcodec_would_show_otherwise_pyav_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: type[StandIn], is_asked: bool
) -> None:
    video = write_video(tmp_path / "v.mp4", 12)
    table = video_index.scan(video)
    monkeypatch.setitem(sys.modules, "torchcodec", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", SimpleNamespace(VideoDecoder=decoder))
    found = video_storage.decode_torchcodec(video, table, [3, 12])
    assert (found == 0).all() if is_asked else torch.equal(found, video_storage.decode_pyav(video, table, [3, 12]))


@pytest.mark.parametrize(
    "make",
    [
        lambda d: write_video(d / "v.mp4", 40, bf="2", g="12"),
        lambda d: write_video(d / "v.avi", 40, codec="mpeg4", bf="2", g="12"),
        lambda d: write_video(d / "v.mp4", 40, flags="+ildct+ilme", x264opts="tff=1", g="12"),
        lambda d: write_video(d / "v.mp4", 40, pixel_format="yuv420p10le", g="12"),
        lambda d: show_by(write_video(d / "v.mp4", 40), 1, 0, 0, -1),
        lambda d: add_cover(write_video(d / "v.mp4", 40)),
    ],
    ids=["H.264", "AVI", "interlaced", "ten bits", "mirrored", "cover"],
)
def test_torchcodec_gives_the_same_frames(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    if fault := video_storage.torchcodec_fault():
        pytest.skip(f"TorchCodec does not work here: {fault}")
    video = make(tmp_path)
    table = video_index.scan(video)
    ours = video_storage.decode_pyav(video, table, [1, 9, 30, 40])
    theirs = video_storage.decode_torchcodec(video, table, [1, 9, 30, 40])
    assert torch.equal(ours, theirs)


MEMORY = """
import resource, sys
from pathlib import Path
from ops.data.records import VideoRecord
from ops.data.storages.video import VideoFiles
from ops.data.video_index import probe
root = Path(sys.argv[1])
storage = VideoFiles(root, "pyav")
names = sorted(file.name for file in root.iterdir())
for name in names:
    storage.known |= {name: probe(name, root)}
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
for count in range(2000):
    name = names[count % len(names)]
    storage.read(VideoRecord(name, storage.known[name].num_frames, 0), [1, 8, 15])
    if count % 400 == 399:
        print(resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_two_thousand_videos_in_one_process_leave_memory_flat(tmp_path: Path) -> None:
    for k in range(4):
        codec, name = (("libx264", f"{k}.mp4"), ("mpeg4", f"{k}.avi"))[k % 2]
        write_video(tmp_path / name, 16, (176, 144), codec=codec, seed=k)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    # What is lost is lost in every four hundred; a single jump, of a heap that takes some MiB at once, is no loss.
    assert np.median(np.diff([float(line) for line in done.stdout.split()])) < 2  # MiB: 5 KiB a video
