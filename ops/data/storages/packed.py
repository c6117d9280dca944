"""Videos as frames in tar shards, packed by tools/pack_frames.py: a few large files instead of millions of small."""

import logging
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import torch

from ops.data.bounds import MAX_HELD
from ops.data.decode import FrameError, MissingFrameError, Pictures, decode_images
from ops.data.modalities import MODALITIES, picture_names
from ops.data.packed_index import INDEX_FILE, MEND, Packed, PackedIndex, Shard, array_files, read_head
from ops.data.records import SEVERAL_LABELS, Records, VideoRecord, read_list, shorter_paths
from ops.data.remote import RemoteFolder
from ops.data.storages.checked import READ, Checked, ContentSample
from ops.errors import InputError, is_limit
from ops.files import open_regular

logger = logging.getLogger(__name__)

OPEN_SHARDS = 128  # at most, as a process may have some 1,000 files open
GAP = 1 << 14  # bytes between two frames that are rather read than left out, by one call for both
AT_ONCE = (
    64 << 20
)  # bytes of several frames by one call: Linux gives no more than 2 GiB, and each is copied out of them
LARGEST_PICTURE = 256 << 20  # bytes: of the most pixels that one may have, not compressed, four a pixel
CHECKED_AT_ONCE = 64  # frames of a video that is checked, so that memory stays bounded
SETTINGS_FILES = ("extraction.json", "flow.json")  # beside the index, for the fingerprint
VERIFY = "tools/pack_frames.py --verify says what is wrong"


class PackedFrames:
    """The shards and their index in the folder `root`, or below a URL, `remote`, of which `root` keeps the index.

    Every frame that is read is compared with its checksum.
    """

    def __init__(self, root: Path, modality: str = "RGB", remote: RemoteFolder | None = None) -> None:
        self.root = root
        self.modality = modality
        self.remote = remote
        self._open: OrderedDict[str, IO[bytes]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens index and shards itself."""
        return {"root": self.root, "modality": self.modality, "remote": self.remote, "_open": OrderedDict()}

    def __del__(self) -> None:
        for shard in self._open.values():
            shard.close()

    @cached_property
    def index(self) -> PackedIndex:
        """Mapped when first needed. Raises InputError if it is missing, or of something else."""
        if self.remote:
            self.remote.fetch([INDEX_FILE], _arrays_of, SETTINGS_FILES)
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
            self._refuse_other_size(video.shard)
            if n > video.num_frames:
                raise MissingFrameError(self._short(video, n))
            for start in range(1, n + 1, CHECKED_AT_ONCE) if decode else ():
                self.read(record, sorted({1, *range(start, min(start + CHECKED_AT_ONCE, n + 1))}))
        except FrameError as error:
            return Checked(n, str(error))
        more = video.num_frames > n
        return Checked(n, remark=f"{self._called(video.shard)} holds more than the {n} frames of the list" * more)

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
        return [f"{self._called(video.shard)}: {video.path}/{name}" for name in names]

    def _short(self, video: Packed, number: int) -> str:
        return (
            f"{video.path} has {video.num_frames} frames in {self._called(video.shard)}, and no frame {number}; if "
            f"the list is right, remove the shard and pack again"
        )

    def _fetch(self, video: Packed, numbers: Sequence[int]) -> list[bytes]:
        if numbers[0] < 1 or numbers[-1] > video.num_frames:
            raise MissingFrameError(self._short(video, numbers[-1]))
        # The k-th file of a frame is in row (number - 1) · per_frame + k.
        places = [(number - 1) * video.per_frame + k for number in numbers for k in range(video.per_frame)]
        rows = video.files[places].tolist()
        ends = [0, *(start + size for start, size, _ in rows)]
        if ends[-1] > video.shard.bytes or any(row[0] < end for row, end in zip(rows, ends, strict=False)):
            raise FrameError(f"{self.index.file}: damaged at {video.path}: {MEND}")
        self._refuse_too_much(video, [size for _, size, _ in rows])
        found = self._read_rows(video, rows)
        if self.remote and _other(rows, found) is not None:  # what is kept of it may be damaged, or of an older version
            self.remote.forget(video.shard.name, rows[0][0], ends[-1])
            found = self._read_rows(video, rows)
        if (place := _other(rows, found)) is not None:
            name = self._names(video, [numbers[place // video.per_frame]])[place % video.per_frame]
            raise FrameError(f"{name}: its bytes are not those that were packed; {VERIFY}")
        return [data for k in range(video.per_frame) for data in found[k :: video.per_frame]]

    def _refuse_too_much(self, video: Packed, sizes: Sequence[int]) -> None:
        """Raises FrameError where files of these sizes are not held in memory at a time."""
        called = f"{self._called(video.shard)}: {video.path}"
        if max(sizes) > LARGEST_PICTURE:
            raise FrameError(f"{called}: a picture of {max(sizes):,} bytes, more than the {LARGEST_PICTURE:,} allowed")
        if sum(sizes) > MAX_HELD:
            raise FrameError(
                f"{called}: {len(sizes)} pictures of {sum(sizes):,} bytes, more than the {MAX_HELD >> 30} GiB allowed "
                "at a time: take fewer segments or clips"
            )

    def _read_rows(self, video: Packed, rows: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """The data of rows that rise; those that lie near each other by one call."""
        self._refuse_other_size(video.shard)
        groups: list[list[tuple[int, int]]] = []
        end = 0
        for start, size, _ in rows:
            if not groups or start - end > GAP or start + size - groups[-1][0][0] > AT_ONCE:
                groups.append([])
            end = start + size
            groups[-1].append((start, end))
        found = []
        for group in groups:
            begin, end = group[0][0], group[-1][1]
            data = self._read(video, begin, end)
            found += [data[start - begin : end - begin] for start, end in group]
        return found

    def _read(self, video: Packed, begin: int, end: int) -> bytes:
        """These bytes of a video's shard."""
        if self.remote:
            return self.remote.read(video.shard.name, begin, end)
        try:
            return os.pread(self._shard(video.shard).fileno(), end - begin, begin)
        except OSError as error:
            raise FrameError(f"{self._called(video.shard)}: {video.path} cannot be read ({error.strerror})") from error

    def _refuse_other_size(self, shard: Shard) -> None:
        """Raises FrameError for a shard that is not there, or not as long as it was."""
        if not self.remote:
            self._shard(shard)
        elif (size := self.remote.size(shard.name)) != shard.bytes:
            raise FrameError(f"{self._called(shard)}: has {size} bytes instead of {shard.bytes}; {VERIFY}")

    def _called(self, shard: Shard) -> str:
        return self.remote.called(shard.name) if self.remote else str(self.root / shard.name)

    def _shard(self, shard: Shard) -> IO[bytes]:
        """The open shard. Positions are given with each read, so that processes may share it after a fork."""
        if shard.name in self._open:
            self._open.move_to_end(shard.name)
            return self._open[shard.name]
        if fault := shard.fault(self.root):
            raise FrameError(f"{self.root / shard.name}: {fault}; {VERIFY}")
        try:
            opened = open_regular(self.root / shard.name)
        except OSError as error:
            if is_limit(error):
                raise
            raise FrameError(f"{self.root / shard.name}: cannot be read ({error.strerror}); {VERIFY}") from error
        self._open[shard.name] = opened
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)[1].close()
        return opened


def _other(rows: Sequence[tuple[int, int, int]], found: Sequence[bytes]) -> int | None:
    """The first of the rows whose bytes are not those that were packed."""
    pairs = enumerate(zip(rows, found, strict=True))
    return next((n for n, ((_, size, crc), data) in pairs if len(data) != size or zlib.crc32(data) != crc), None)


def _arrays_of(root: Path) -> list[str]:
    """The names of the arrays that the index in a folder speaks of."""
    return [file.name for file in array_files(root, read_head(root / INDEX_FILE)["number"])]
