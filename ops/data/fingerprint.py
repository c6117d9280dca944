"""A data set's fingerprint: short marks of its classes, lists and pixels, kept with what was trained on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ops.data.catalog import DataSource
from ops.data.records import VideoRecord, read_list
from ops.data.storages import Storage
from ops.data.storages.video import VideoFiles
from ops.data.textfile import MOST_BYTES, read_text
from ops.errors import InputError
from ops.files import read_regular

SAMPLED = 16  # videos whose content is looked at
MISSING = "missing"
SETTINGS_FILES = ("extraction.json", "flow.json")  # beside the frames: how they were made
# What a difference means to whoever reads of it.
MEANINGS = {
    "classes": "the class names",
    "train": "the training list",
    "val": "the validation list",
    "storage": "the storage",
    "content": "frames or videos (a sample of them, byte by byte)",
    "made": "how the frames were made",
    "decoder": "the decoder of the videos",
}


def fingerprint(data: DataSource, storage: Storage, train: Sequence[VideoRecord] | None = None) -> dict[str, str]:
    """Marks of what a result depends on. `content` is of 16 videos spread over the training list.

    `train`: the videos of that list, where it has been read. Where it cannot be, there is no `content`. `decoder`, in
    words, is of video files alone.
    """
    sample = _sample(data, train)
    return {
        "classes": _mark("\n".join(data.categories).encode()),
        "train": _mark_of_file(data.train_list),
        "val": _mark_of_file(data.val_list),
        "storage": data.storage,
        "content": _mark("".join(content_of(storage, record) for record in sample).encode()) if sample else MISSING,
        "made": _settings(data.root),
        **({"decoder": storage.decoded_by} if isinstance(storage, VideoFiles) else {}),
    }


def content_of(storage: Storage, record: VideoRecord) -> str:
    """A mark of one video's content; `missing` where a file of it cannot be read."""
    digest = hashlib.sha256(str(record.num_frames).encode())
    try:
        for size, start in storage.content_samples(record):
            digest.update(str(size).encode())
            digest.update(start)
    except (OSError, InputError):
        return MISSING
    return digest.hexdigest()[:16]


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """In words, what differs between two fingerprints; nothing of what one does not know."""
    return [
        f"{meaning}: {then[key]} then, {now[key]} now"
        for key, meaning in MEANINGS.items()
        if key in then and key in now and then[key] != now[key] and MISSING not in (then[key], now[key])
    ]


def _sample(data: DataSource, train: Sequence[VideoRecord] | None) -> Sequence[VideoRecord]:
    """Videos spread over the training list; none of a list that cannot be read, which others need to know of."""
    counted = data.storage != "video"
    try:
        records = train or read_list(data.train_list, len(data.categories), unlabelled_too=True, counted=counted)
    except InputError:
        return []
    step = max(1, len(records) // SAMPLED)
    sample = records[: step * SAMPLED : step]
    return sample if counted else [replace(record, num_frames=0) for record in sample]  # as the list says


def _settings(folder: Path) -> str:
    """How the frames were made, but for where the videos lay; empty where no tool of ours noted it."""
    for name in SETTINGS_FILES:
        try:
            said = json.loads(read_text(folder / name, "settings file"))
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict):
            return json.dumps({key: value for key, value in said.items() if key != "videos"})
    return ""


def _mark_of_file(file: Path) -> str:
    try:
        return _mark(read_regular(file, MOST_BYTES))
    except OSError:
        return MISSING


def _mark(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
