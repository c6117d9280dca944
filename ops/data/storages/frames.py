"""Videos as folders of pictures, a file a frame (Flow: a pair of files)."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from ops.data.decode import FrameError, MissingFrameError
from ops.data.modalities import FLOW_PREFIXES, MODALITIES
from ops.data.records import Records, VideoRecord, read_list
from ops.data.storages.checked import Checked
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
        return MODALITIES[self.modality].read(self.root / record.path, self.template, numbers)

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
        wanted = [self._names(number, files) for number in range(1, n + 1)]
        if missing := [name for names in wanted for name in names if name not in files]:
            return Checked(n, f"{len(missing)} of its {n} frames are missing, first {folder / missing[0]}")
        beyond = [name for name in self._names(n + 1, files) if name in files]
        remark = f"{folder} holds more than the {n} frames of the list" if beyond else ""
        if decode:
            try:
                for start in range(1, n + 1, DECODED_AT_ONCE):
                    self.read(record, sorted({1, *range(start, min(start + DECODED_AT_ONCE, n + 1))}))
            except FrameError as error:
                return Checked(n, str(error), remark)
        return Checked(n, remark=remark)

    def witnesses(self, record: VideoRecord) -> list[Path]:
        """The first, the middle and the last frame."""
        folder, n = self.root / record.path, record.num_frames
        files = {entry.name for entry in os.scandir(folder)} if self.modality == "Flow" else set()
        return [folder / name for number in sorted({1, (n + 1) // 2, n}) for name in self._names(number, files)]

    def _names(self, number: int, files: Collection[str]) -> list[str]:
        """The files of a frame; of flow, packed ones if the folder's `files` are."""
        name = self.template.format(number)
        packed = self.modality != "Flow" or self.template.format(1) in files
        return [name] if packed else [prefix + name for prefix in FLOW_PREFIXES]


def _numbers_frames(template: str) -> bool:
    try:
        return template.format(1) != template.format(2)
    except (IndexError, KeyError, ValueError):
        return False
