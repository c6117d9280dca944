"""Videos as folders of pictures, a file a frame (Flow: a pair of files)."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from pathlib import Path

import torch

from ops.data.decode import FrameError, MissingFrameError, Pictures, decode_images, read_files
from ops.data.frame_names import FLOW_PREFIXES, few, longest_series, numbers_frames, numbers_of
from ops.data.modalities import MODALITIES, picture_names
from ops.data.records import SEVERAL_LABELS, Records, VideoRecord, read_list, shorter_paths
from ops.data.storages.checked import Checked, ContentSample, content_sample
from ops.errors import InputError

DECODED_AT_ONCE = 64  # frames of a video that is checked, so that memory stays bounded


class FrameFolders:
    """Folders of frames below `root`; `template` makes a file's name of a number, as '{:05d}.jpg', from `first` on."""

    def __init__(self, root: Path, template: str = "{:05d}.jpg", modality: str = "RGB", first: int = 1) -> None:
        if not numbers_frames(template):
            raise InputError(
                f"frame template {template!r} gives no name to a frame's number; expected e.g. '{{:05d}}.jpg'"
            )
        self.root = root
        self.template = template
        self.modality = modality
        self.first = first

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
        return read_files([folder / name for name in self._picture_names(numbers, pairs)], grey=pairs)

    def reason(self, record: VideoRecord, error: FrameError) -> str:
        """See `Storage`."""
        if not isinstance(error, MissingFrameError):
            return str(error)
        try:
            files = [entry.name for entry in os.scandir(self.root / record.path)]
        except FileNotFoundError:
            return f"its folder {self.root / record.path} does not exist{self._instead(record.path)}"
        except OSError as fault:
            return f"its folder {self.root / record.path} cannot be read ({fault.strerror})"
        promised = f"the list promises {record.num_frames} frames, the folder holds {len(files)} files"
        return f"{error}; {promised}: {self._in_there(files)}"

    def check(self, record: VideoRecord, decode: bool) -> Checked:
        """See `Storage`."""
        folder, n = self.root / record.path, record.num_frames
        try:
            files = {entry.name for entry in os.scandir(folder)}
        except OSError as error:
            instead = self._instead(record.path) if isinstance(error, FileNotFoundError) else ""
            return Checked(0, f"its folder {folder} cannot be read ({error.strerror}){instead}")
        if lacking := self._lacking(n, files, folder):
            return Checked(n, f"{lacking}; the folder holds {self._in_there(files)}")
        others = [n + 1] if self.first == 0 else [0, n + 1]
        beyond = [name for names in self._names(others, files) for name in names if name in files]
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
        pairs = self.modality == "Flow" and self.template.format(self.first) not in files
        return [self._picture_names([number], pairs) for number in numbers]

    def _lacking(self, n: int, files: Collection[str], folder: Path) -> str:
        """How many of the files of n frames are not there, and the first; in no more time than the files take."""
        pairs = self.modality == "Flow" and self.template.format(self.first) not in files
        missing: list[tuple[int, str]] = []
        lacking = 0
        for template in (prefix + self.template for prefix in (FLOW_PREFIXES if pairs else ("",))):
            there = {number for number in numbers_of(files, template) if 0 <= number - self.first < n}
            lacking += n - len(there)
            if len(there) < n:
                number = next(number for number in count(self.first) if number not in there)
                missing.append((number, template.format(number)))
        return f"{lacking} of its {n} frames are missing, first {folder / min(missing)[1]}" if missing else ""

    def _picture_names(self, numbers: Sequence[int], pairs: bool) -> list[str]:
        return picture_names(self.template, numbers, pairs, self.first)

    def _in_pairs(self, folder: Path, number: int) -> bool:
        """Whether flow is in pairs of files. Raises MissingFrameError if this frame is there in neither form."""
        (pair, _), (packed,) = (self._picture_names([number], pairs) for pairs in (True, False))
        try:
            there = [(folder / name).exists() for name in (pair, packed)]
        except OSError as error:
            raise FrameError(f"{folder / pair}: cannot be read ({error.strerror})") from error
        if not any(there):
            raise MissingFrameError(f"{folder / pair}: no such file, nor the packed {packed}")
        return there[0]

    def _in_there(self, files: Collection[str]) -> str:
        """What a folder holds where frames are missing, and what to say for that to be found."""
        flow = self.modality == "Flow"
        series = longest_series(files, flow)
        if series is None:
            names = " and ".join(self._picture_names([1], flow))
            return f"{few(files) or 'nothing'}; frames are called like {names}"
        said = series.settings(self.template, self.first)
        lines = [f"{'flow_' * flow}{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()]
        needed = f"; dataset.toml needs the line{'s' * (len(lines) > 1)} {' and '.join(lines)}"
        return f"{series}{needed if lines else ''}"

    def _instead(self, path: str) -> str:
        """What there is instead of a video's folder."""
        if shorter := next((self.root / each for each in shorter_paths(path) if (self.root / each).is_dir()), None):
            return f", but {shorter} does: {SEVERAL_LABELS}"
        above = next(parent for parent in (self.root / path).parents if parent.is_dir())
        with os.scandir(above) as entries:
            there = few(entry.name for entry in entries)
        return f"; {above} holds {there}" if there else ""
