"""Doors of pictures, videos, lists, class names and descriptions of data sets: see fuzzing.py."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import made_downloads
import numpy as np
from fuzzing import Door
from helpers_data import picture
from made_videos import write_video
from PIL import Image

from ops.data import videofile
from ops.data.catalog import resolve
from ops.data.clips import ClipOptions, Unreadable
from ops.data.decode import decode_group
from ops.data.fingerprint import fingerprint
from ops.data.frame_names import longest_series
from ops.data.records import read_categories, read_list
from ops.data.storages import open_storage
from ops.data.transforms import test_views
from ops.data.video_index import probe
from ops.errors import InputError
from ops.recognition.sources import SourceClips, find_sources
from tools.official_labels import read_official
from tools.prepare_videos import read_table
from tools.vid2img import read_settings

SHOWN = 20  # videos of a list that are looked at


def write_picture(folder: Path, name: str, **options: object) -> Path:
    path = folder / name
    Image.fromarray(picture(0, 24, 32)).save(path, **options)  # type: ignore[arg-type]
    return path


def open_picture(path: Path, grey: bool = False) -> None:
    """Decoded, scaled and cut, as in a test."""
    group = decode_group([path], grey)
    test_views(group, 1, 32, 28)


def write_clip(folder: Path, name: str, codec: str, pixel_format: str = "yuv420p") -> Path:
    return write_video(folder / name, 4, (32, 24), codec, pixel_format)


def open_video(path: Path) -> None:
    """Looked through, as `--storage video` does; then recognised, as predict does, salvaging what is damaged."""
    probe(path.name, path.parent)
    clip = SourceClips(find_sources([str(path)]), ClipOptions(segments=2, input_size=28))[0, 0]
    if not isinstance(clip, Unreadable):
        assert clip.clip.shape == (1, 2, 3, 28, 28)


def extract_video(path: Path) -> None:
    """All frames, as extraction takes them."""
    try:
        for frame in videofile.rgb_frames(path):
            assert frame.dtype == np.uint8
    except (videofile.DamageError, OSError):
        raise InputError("damaged") from None  # as `tools.video_frames.extract` reports either


def write_list(folder: Path, line: str) -> Path:
    path = folder / "val_videofolder.txt"
    path.write_text("".join(line.format(name=f"class {k % 3}/v_{k:04d}", k=k) for k in range(12)))
    return path


def open_list(path: Path, counted: bool) -> None:
    for unlabelled_too in (False, True):
        try:
            records = read_list(path, 3, unlabelled_too, counted)
        except InputError:
            if unlabelled_too:
                raise
            continue
        for record in records[:SHOWN]:
            assert record.path


def write_data_set(folder: Path, storage: str = "frames") -> Path:
    """One of two videos of frames."""
    (folder / "category.txt").write_text("turning left\nturning right\n")
    for name in ("train", "val"):
        (folder / f"{name}_videofolder.txt").write_text("".join(f"class {k}/v{k} 3 {k}\n" for k in range(2)))
    for k in range(2):
        for number in (1, 2, 3):
            (folder / f"frames/class {k}/v{k}").mkdir(parents=True, exist_ok=True)
            write_picture(folder / f"frames/class {k}/v{k}", f"{number:05d}.jpg")
    description = folder / "dataset.toml"
    description.write_text(
        f'mirror = "auto"\nstorage = "{storage}"\ntemplate = "{{:05d}}.jpg"\nfirst = 1\nframes = "frames"\n'
        'videos = "videos"\nflow = "flow"\nflow_template = "{:05d}.jpg"\n\n[note]\nmade = 2020-01-01\nby = ["a", 1.5]\n'
    )
    return description


def write_list_of_data_set(folder: Path) -> Path:
    write_data_set(folder)
    return folder / "val_videofolder.txt"


def open_data_set(path: Path) -> None:
    """What check_dataset does: every line, every folder, every frame."""
    folder = path.parent
    data = resolve(folder.name, folder.parent)
    if not data.root.resolve().is_relative_to(folder.resolve()):
        raise InputError("elsewhere: not to be read here")
    storage = open_storage(data)
    records = storage.records(data.val_list, len(data.categories), unlabelled_too=True)
    for record in records[:SHOWN]:
        storage.check(record, decode=record.num_frames < 100)
    fingerprint(data, storage, records)


def open_categories(path: Path) -> None:
    assert all(read_categories(path))


def write_names(folder: Path) -> Path:
    """A file of names that a folder of frames might have."""
    path = folder / "names"
    path.write_text("".join(f"{name}\n" for name in ("img_00001.jpg", "img_00002.jpg", "x{1}.png", "flow_x_1.jpg")))
    return path


def open_names(path: Path) -> None:
    names = [os.fsdecode(name) for name in path.read_bytes().split(b"\n") if name and b"/" not in name]
    for flow in (False, True):
        if series := longest_series(names, flow):
            str(series)
            series.settings("{:05d}.jpg", 1)


def write_table(folder: Path) -> Path:
    path = folder / "videos.csv"
    path.write_text('path,label,split,group\n"a b/c.mp4",run,train,g1\nx.mp4,"sit, down",val,\n')
    return path


def write_settings(folder: Path) -> Path:
    path = folder / "extraction.json"
    path.write_text(json.dumps({"videos": "videos", "short_side": 256, "quality": 95, "template": "{:05d}.jpg"}))
    return path


def write_labels(folder: Path, dataset: str, file: str) -> Path:
    getattr(made_downloads, dataset)(folder, folder / "media")
    return folder / file


def open_labels(path: Path, dataset: str) -> None:
    assert read_official(dataset, path.parent).categories


def write_sources(folder: Path) -> Path:
    path = folder / "sources.txt"
    write_clip(folder, "a.mp4", "libx264")
    path.write_text("a.mp4 0\n# no\nb c.mp4 3 1\n./a.mp4\n/nowhere/*.mp4\n")
    return path


def open_sources(path: Path) -> None:
    for source in find_sources([str(path)])[:SHOWN]:
        assert source.path is not None


def open_words(path: Path) -> None:
    """As given on the command line."""
    words = path.read_text(errors="replace").split("\n")
    find_sources(word for word in words[:SHOWN] if not set(word) & set("*?[") and word.strip("/. "))


PICTURES = [
    Door("jpeg", partial(write_picture, name="1.jpg"), open_picture),
    Door("jpeg progressive", partial(write_picture, name="1.jpg", progressive=True), open_picture),
    Door("jpeg grey", partial(write_picture, name="1.jpg"), partial(open_picture, grey=True)),
    Door("png", partial(write_picture, name="1.png"), open_picture),
    Door("webp", partial(write_picture, name="1.webp"), open_picture),
    Door("bmp", partial(write_picture, name="1.bmp"), open_picture),
    Door("tiff", partial(write_picture, name="1.tif", compression="tiff_lzw"), open_picture),
    Door("ppm", partial(write_picture, name="1.ppm"), open_picture),
]
VIDEOS = [
    ("mp4", "v.mp4", "libx264"),
    ("mp4 mpeg4", "v.mp4", "mpeg4"),
    ("webm", "v.webm", "libvpx-vp9"),
    ("avi", "v.avi", "mpeg4"),
    ("mpegts", "v.ts", "libx264"),
    ("flv", "v.flv", "flv1"),
]


def _of_videos() -> Iterator[Door]:
    for name, file, codec in VIDEOS:
        make = partial(write_clip, name=file, codec=codec)
        yield Door(f"{name} recognised", make, open_video)
        yield Door(f"{name} extracted", make, extract_video)


TEXTS = [
    Door("list of frames", partial(write_list, line="{name} 8 1\n"), partial(open_list, counted=True)),
    Door("list of videos", partial(write_list, line="{name}.mp4 1\n"), partial(open_list, counted=False)),
    Door("data set by its list", write_list_of_data_set, open_data_set),
    Door("dataset.toml", write_data_set, open_data_set),
    Door("category.txt", partial(write_list, line="class {k}\n"), open_categories),
    Door("names of frames", write_names, open_names),
    Door("videos.csv", write_table, read_table),
    Door("extraction.json", write_settings, read_settings),
    Door("list of sources", write_sources, open_sources),
    Door("names of sources", write_sources, open_words),
]
LABELS = [
    ("something", "something-something-v1-train.csv"),
    ("somethingv2", "labels.json"),
    ("somethingv2", "train.json"),
    ("kinetics", "train.csv"),
    ("ucf101", "trainlist01.txt"),
    ("hmdb51", "wave_test_split1.txt"),
    ("diving48", "Diving48_V2_train.json"),
]
OFFICIAL = [
    Door(f"official {file}", partial(write_labels, dataset=dataset, file=file), partial(open_labels, dataset=dataset))
    for dataset, file in LABELS
]
DOORS = [*PICTURES, *_of_videos(), *TEXTS, *OFFICIAL]
