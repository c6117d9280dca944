"""Where the frames of a data set lie. Each storage is a class with the methods of `Storage`, in a file here.

To add one: write its file, name it in `STORAGES` below and in `ops.names.STORAGES`, which the options show.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from ops.data.catalog import DataSource
from ops.data.decode import FrameError, Pictures, say_if_slow
from ops.data.records import Records, VideoRecord
from ops.data.remote import RemoteFolder
from ops.data.storages.checked import Checked, ContentSample
from ops.data.storages.frames import FrameFolders
from ops.data.storages.packed import PackedFrames
from ops.data.storages.video import VideoFiles


class Storage(Protocol):
    """Gives out videos' frames by number; which numbers is the samplers' matter, what follows the transforms'."""

    def records(self, list_file: Path, num_classes: int, unlabelled_too: bool = False) -> Records:
        """The videos of a list, with their numbers of frames. Raises InputError for a faulty list."""

    def read(self, record: VideoRecord, numbers: Sequence[int]) -> torch.Tensor:
        """The frames of these numbers, from 1, which rise: uint8 `(L, c, H, W)`, channels last in memory.

        Raises FrameError for whatever makes this video unusable.
        """

    def reason(self, record: VideoRecord, error: FrameError) -> str:
        """What made a video unusable, in plain words."""

    def check(self, record: VideoRecord, decode: bool) -> Checked:
        """Whether all is there that the list promises and, with `decode`, whether every frame can be decoded."""

    def content_samples(self, record: VideoRecord) -> Iterator[ContentSample]:
        """Few files whose content stands for the video's, to tell two videos apart.

        Raises OSError or FrameError if one is not there.
        """


@runtime_checkable
class OfPictures(Storage, Protocol):
    """A storage of image files, which `--decode_device` may decode elsewhere."""

    def pictures(self, record: VideoRecord, numbers: Sequence[int]) -> Pictures:
        """The files of these frames, from 1, which rise; of flow in pairs all x, then all y. Raises FrameError."""


STORAGES: dict[str, Callable[[DataSource, str], Storage]] = {
    "frames": lambda data, _decoder: FrameFolders(data.root, data.template, data.modality, data.first),
    "packed": lambda data, _decoder: PackedFrames(
        data.root, data.modality, RemoteFolder(data.url, data.cache) if data.url else None
    ),
    "video": lambda data, decoder: VideoFiles(data.root, decoder),
}


def open_storage(data: DataSource, decoder: str = "auto") -> Storage:
    """The storage of a data set; `decoder` is for video files. Raises InputError for a decoder that does not work."""
    if data.storage != "video":
        say_if_slow()
    return STORAGES[data.storage](data, decoder)


def listed(data: DataSource, storage: Storage, list_file: Path, unlabelled_too: bool = False) -> Records:
    """The videos of one of a data set's lists. Raises InputError if it or the frames' folder is missing."""
    data.demand(list_file)
    return storage.records(list_file, len(data.categories), unlabelled_too)
