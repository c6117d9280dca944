"""Videos as frames in tar shards, packed by tools/pack_frames.py: a few large files instead of millions of small."""

import logging
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ops.data.decode import FrameError, MissingFrameError, Pictures, decode_images
from ops.data.modalities import MODALITIES, picture_names
from ops.data.packed_index import Packed, PackedIndex, Shard
from ops.data.records import SEVERAL_LABELS, Records, VideoRecord, read_list, shorter_paths
from ops.data.storages.checked import READ, Checked, ContentSample
from ops.errors import InputError, is_limit

logger = logging.getLogger(__name__)

OPEN_SHARDS = 128  # at most, as a process may have some 1,000 files open
GAP = 1 << 14  # bytes between two frames that are rather read than left out, by one call for both
CHECKED_AT_ONCE = 64  # frames of a video that is checked, so that memory stays bounded
VERIFY = "tools/pack_frames.py --verify says what is wrong"


class PackedFrames:
    """The shards and their index in the folder `root`. Every frame that is read is compared with its checksum."""

    def __init__(self, root: Path, modality: str = "RGB") -> None:
        self.root = root
        self.modality = modality
        self._open: OrderedDict[str, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens index and shards itself."""
        return {"root": self.root, "modality": self.modality, "_open": OrderedDict()}

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    @cached_property
    def index(self) -> PackedIndex:
        """Mapped when first needed. Raises InputError if it is missing, or of something else."""
        index = PackedIndex(self.root)
        if (index.packing.kind == "flow") != (self.modality == "Flow"):
            raise InputError(f"{self.root}: holds {index.packing.kind}, which is not for the modality {self.modality}")
        return index

    def records(self, list_file: Path, num_classes: int, unlabelled_too: bool = False) -> Records:
        """Lines of `path num_frames label`. Raises InputError for a faulty list, and if there is no index."""
        logger.debug("%s: %d videos", self.root, len(self.index))  # now, and not in a worker, say if it is missing
        return read_list(list_file, num_classes, unlabelled_too)

    def read(self, record: VideoRecord, numbers: Sequence[int]) -> torch.Tensor:
        """See `Storage`."""
        return MODALITIES[self.modality].group(decode_images(self.pictures(record, numbers)))

    def pictures(self, record: VideoRecord, numbers: Sequence[int]) -> Pictures:
        """See `OfPictures`."""
        video = self._find(record)
        return Pictures(self._names(video, numbers), self._fetch(video, numbers), grey=video.per_frame == 2)

    def reason(self, record: VideoRecord, error: FrameError) -> str:
        """See `Storage`."""
        return str(error)

    def check(self, record: VideoRecord, decode: bool) -> Checked:
        """See `Storage`. With `decode` the checksums too are compared, as whenever a frame is read."""
        n = record.num_frames
        try:
            video = self._find(record)
            self._descriptor(video.shard)
            if n > video.num_frames:
                raise MissingFrameError(self._short(video, n))
            for start in range(1, n + 1, CHECKED_AT_ONCE) if decode else ():
                self.read(record, sorted({1, *range(start, min(start + CHECKED_AT_ONCE, n + 1))}))
        except FrameError as error:
            return Checked(n, str(error))
        more = video.num_frames > n
        return Checked(n, remark=f"{self.root / video.shard.name} holds more than the {n} frames of the list" * more)

    def content_samples(self, record: VideoRecord) -> Iterator[ContentSample]:
        """The first, the middle and the last frame, as of folders of frames."""
        n = record.num_frames
        for number in sorted({1, (n + 1) // 2, n}):
            for data in self.pictures(record, [number]).files:
                yield len(data), data[:READ]

    def _find(self, record: VideoRecord) -> Packed:
        if video := self.index.find(record.path):
            return video
        missing = f"{record.path} is not in {self.index.file}"
        if shorter := next(filter(self.index.find, shorter_paths(record.path)), ""):
            raise MissingFrameError(f"{missing}, but {shorter} is: {SEVERAL_LABELS}")
        raise MissingFrameError(f"{missing}; tools/pack_frames.py adds what is missing")

    def _names(self, video: Packed, numbers: Sequence[int]) -> list[str]:
        """What errors call the files of these frames, in the order of `_fetch`."""
        packing = self.index.packing
        names = picture_names(packing.template, numbers, video.per_frame == 2, packing.first)
        return [f"{self.root / video.shard.name}: {video.path}/{name}" for name in names]

    def _short(self, video: Packed, number: int) -> str:
        return (
            f"{video.path} has {video.num_frames} frames in {self.root / video.shard.name}, and no frame {number}; if "
            f"the list is right, remove the shard and pack again"
        )

    def _fetch(self, video: Packed, numbers: Sequence[int]) -> list[bytes]:
        if numbers[0] < 1 or numbers[-1] > video.num_frames:
            raise MissingFrameError(self._short(video, numbers[-1]))
        # The k-th file of a frame is in row (number - 1) · per_frame + k.
        places = [(number - 1) * video.per_frame + k for number in numbers for k in range(video.per_frame)]
        rows = video.files[places].tolist()
        found = list(self._read_rows(video, rows))
        for place, ((_, size, crc), data) in enumerate(zip(rows, found, strict=True)):
            if len(data) != size or zlib.crc32(data) != crc:
                name = self._names(video, [numbers[place // video.per_frame]])[place % video.per_frame]
                raise FrameError(f"{name}: its bytes are not those that were packed; {VERIFY}")
        return [data for k in range(video.per_frame) for data in found[k :: video.per_frame]]

    def _read_rows(self, video: Packed, rows: Sequence[tuple[int, int, int]]) -> Iterator[bytes]:
        """The data of rows that rise; those that lie near each other by one call."""
        descriptor = self._descriptor(video.shard)
        groups: list[list[tuple[int, int]]] = []
        end = 0
        for start, size, _ in rows:
            if start - end > GAP or not groups:
                groups.append([])
            end = start + size
            groups[-1].append((start, end))
        for group in groups:
            begin, end = group[0][0], group[-1][1]
            try:
                data = os.pread(descriptor, end - begin, begin)
            except OSError as error:
                shard = self.root / video.shard.name
                raise FrameError(f"{shard}: {video.path} cannot be read ({error.strerror})") from error
            yield from (data[start - begin : end - begin] for start, end in group)

    def _descriptor(self, shard: Shard) -> int:
        """The open shard. Positions are given with each read, so that processes may share it after a fork."""
        if shard.name in self._open:
            self._open.move_to_end(shard.name)
            return self._open[shard.name]
        if fault := shard.fault(self.root):
            raise FrameError(f"{self.root / shard.name}: {fault}; {VERIFY}")
        try:
            descriptor = os.open(self.root / shard.name, os.O_RDONLY)
        except OSError as error:
            if is_limit(error):
                raise
            raise FrameError(f"{self.root / shard.name}: cannot be read ({error.strerror}); {VERIFY}") from error
        self._open[shard.name] = descriptor
        if len(self._open) > OPEN_SHARDS:
            os.close(self._open.popitem(last=False)[1])
        return descriptor
