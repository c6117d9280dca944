"""Videos as folders of pictures, a file a frame (Flow: a pair of files)."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch

from ops.data.decode import FrameError, MissingFrameError, Pictures, decode_images, read_files
from ops.data.modalities import MODALITIES, picture_names
from ops.data.records import Records, VideoRecord, read_list
from ops.data.storages.checked import Checked, ContentSample, content_sample
from ops.errors import InputError

DECODED_AT_ONCE = 64  # frames of a video that is checked, so that memory stays bounded


class FrameFolders:
    """Folders of frames below `root`; `template` makes a file's name of a frame's number, as '{:05d}.jpg'."""

    def __init__(self, root: Path, template: str = "{:05d}.jpg", modality: str = "RGB") -> None:
        if not _numbers_frames(template):
            raise InputError(
                f"frame template {template!r} gives no name to a frame's number; expected e.g. '{{:05d}}.jpg'"
            )
        self.root = root
        self.template = template
        self.modality = modality

    def records(self, list_file: Path, num_classes: int, unlabelled_too: bool = False) -> Records:
        """Lines of `path num_frames label`."""
        return read_list(list_file, num_classes, unlabelled_too)

    def read(self, record: VideoRecord, numbers: Sequence[int]) -> torch.Tensor:
        """See `Storage`."""
        return MODALITIES[self.modality].group(decode_images(self.pictures(record, numbers)))

    def pictures(self, record: VideoRecord, numbers: Sequence[int]) -> Pictures:
        """See `OfPictures`."""
        folder = self.root / record.path
        pairs = self.modality == "Flow" and self._in_pairs(folder, numbers[0])
        return read_files([folder / name for name in picture_names(self.template, numbers, pairs)], grey=pairs)

    def reason(self, record: VideoRecord, error: FrameError) -> str:
        """See `Storage`."""
        folder = self.root / record.path
        if not folder.is_dir():
            return f"its folder {folder} does not exist"
        if isinstance(error, MissingFrameError):
            found = sum(1 for _ in folder.iterdir())
            return f"{error}; the list promises {record.num_frames} frames, the folder holds {found} files"
        return str(error)

    def check(self, record: VideoRecord, decode: bool) -> Checked:
        """See `Storage`."""
        folder, n = self.root / record.path, record.num_frames
        try:
            files = {entry.name for entry in os.scandir(folder)}
        except OSError as error:
            return Checked(0, f"its folder {folder} cannot be read ({error.strerror})")
        wanted = self._names(range(1, n + 1), files)
        if missing := [name for names in wanted for name in names if name not in files]:
            return Checked(n, f"{len(missing)} of its {n} frames are missing, first {folder / missing[0]}")
        beyond = [name for names in self._names([n + 1], files) for name in names if name in files]
        remark = f"{folder} holds more than the {n} frames of the list" if beyond else ""
        if decode:
            try:
                for start in range(1, n + 1, DECODED_AT_ONCE):
                    self.read(record, sorted({1, *range(start, min(start + DECODED_AT_ONCE, n + 1))}))
            except FrameError as error:
                return Checked(n, str(error), remark)
        return Checked(n, remark=remark)

    def content_samples(self, record: VideoRecord) -> Iterator[ContentSample]:
        """The first, the middle and the last frame."""
        n = record.num_frames
        for names in self.file_names(record, sorted({1, (n + 1) // 2, n})):
            for name in names:
                yield content_sample(self.root / record.path / name)

    def file_names(self, record: VideoRecord, numbers: Sequence[int]) -> list[list[str]]:
        """The files of each of these frames: one, or of flow a pair. Raises OSError if flow's folder cannot be read."""
        folder = self.root / record.path
        return self._names(numbers, {entry.name for entry in os.scandir(folder)} if self.modality == "Flow" else ())

    def _names(self, numbers: Sequence[int], files: Collection[str]) -> list[list[str]]:
        """The files of each frame; of flow, packed ones if the folder's `files` are."""
        pairs = self.modality == "Flow" and self.template.format(1) not in files
        return [picture_names(self.template, [number], pairs) for number in numbers]

    def _in_pairs(self, folder: Path, number: int) -> bool:
        """Whether flow is in pairs of files. Raises MissingFrameError if this frame is there in neither form."""
        (pair, _), (packed,) = (picture_names(self.template, [number], pairs) for pairs in (True, False))
        if (folder / pair).exists():
            return True
        if not (folder / packed).exists():
            raise MissingFrameError(f"{folder / pair}: no such file, nor the packed {packed}")
        return False


def _numbers_frames(template: str) -> bool:
    try:
        return template.format(1) != template.format(2)
    except (IndexError, KeyError, ValueError):
        return False
