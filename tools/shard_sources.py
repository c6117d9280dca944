"""What frames are packed from: folders of them, as they are, or videos, decoded as tools/vid2img.py does."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

import av

from ops.data.catalog import DataSource
from ops.data.decode import MissingFrameError
from ops.data.filestate import FileState
from ops.data.fingerprint import SETTINGS_FILES
from ops.data.packed_index import Packing
from ops.data.parallel import process_pool, processes_can_wait, stop_if_told
from ops.data.records import VideoRecord, read_list
from ops.data.storages.frames import FrameFolders
from ops.data.storages.packed import LARGEST_PICTURE
from ops.data.textfile import read_text
from ops.data.videofile import DamageError
from ops.errors import InputError
from ops.files import open_regular, read_regular, write_text
from tools.vid2img import SETTINGS_FILE, Job, read_settings, refuse_shared_folders
from tools.video_frames import HEAD, NOTED, FrameFormat, save_frame, source_note, upright_frames

HELD = 32 << 20  # bytes of a video's files that wait for their shard in memory; an hour's may be 3 GB
SPOOL = ".spool"  # the folder beside the shards where what is more waits


class BadVideoError(InputError):
    """A video cannot be packed. The message names the file."""


class Spool:
    """Files' bytes, one after the other: the first in memory, and those beyond `HELD` bytes in a file, till `remove`.

    Raises OSError where that cannot be written, and what `files` raises, which is none; then nothing is left.
    """

    def __init__(self, files: Iterable[bytes], file: Path) -> None:
        self.sizes: list[int] = []
        self._held: list[bytes] = []
        self._file = file
        left = HELD
        try:
            with ExitStack() as stack:
                spooled = None
                for data in files:
                    self.sizes.append(len(data))
                    left -= len(data)
                    if left >= 0:
                        self._held.append(data)
                    else:
                        spooled = spooled or stack.enter_context(file.open("xb"))
                        spooled.write(data)
        except BaseException as error:
            self.remove()
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(file)) from error
            raise

    def __iter__(self) -> Iterator[bytes]:
        yield from self._held
        if len(self.sizes) > len(self._held):
            with open_regular(self._file) as file:
                for size in self.sizes[len(self._held) :]:
                    yield file.read(size)

    def remove(self) -> None:
        """Frees the disk of it."""
        self._file.unlink(missing_ok=True)


@contextmanager
def spool_folder(root: Path) -> Iterator[Path]:
    """Where what does not fit into memory waits for the shards in `root`; what is left there is removed."""
    folder = root / SPOOL
    shutil.rmtree(folder, ignore_errors=True)  # a killed packing's
    folder.mkdir()  # or raises, where a link leads elsewhere
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Content:
    """A video's files, frame by frame, as they are to be in a shard."""

    record: VideoRecord
    per_frame: int
    names: list[str]
    data: Spool


class Source(Protocol):
    """Where frames come from."""

    @property
    def packing(self) -> Packing:
        """What of them is in the index."""

    def records(self, list_file: Path, num_classes: int, unlabelled_too: bool) -> Sequence[VideoRecord]:
        """The videos of a list, by their paths in the shards. Raises InputError for a faulty list."""

    def where(self, record: VideoRecord) -> Path:
        """Its folder or file."""

    @property
    def read(self) -> Callable[[VideoRecord, Path, Path], Content]:
        """Gives a video's frames, from `where` it is, with the file of their `Spool`. Raises BadVideoError."""

    def is_made_of(self, record: VideoRecord, first: bytes) -> bool:
        """Whether a packed video's first picture is what `read` would give now. Raises OSError if none is there."""

    def workers(self, jobs: int) -> AbstractContextManager[Executor]:
        """Who reads."""

    def refuse_other_settings(self, root: Path) -> None:
        """Raises InputError where the shards in `root` are of frames that were made otherwise than these are."""

    def note_settings(self, root: Path, begun: bool) -> None:
        """Keeps beside the shards how frames are made, for the fingerprint."""


class Folders:
    """Folders of frames or flow."""

    def __init__(self, data: DataSource) -> None:
        self.packing = Packing("flow" if data.modality == "Flow" else "frames", data.template, data.first)
        self.storage = FrameFolders(data.root, data.template, data.modality, data.first)

    def records(self, list_file: Path, num_classes: int, unlabelled_too: bool) -> Sequence[VideoRecord]:
        """See `Source`."""
        return self.storage.records(list_file, num_classes, unlabelled_too)

    def where(self, record: VideoRecord) -> Path:
        """See `Source`."""
        return self.storage.root / record.path

    def read(self, record: VideoRecord, where: Path, spool: Path) -> Content:
        """See `Source`."""
        with self._named(record, where):
            frames = self.storage.file_names(record, range(1, record.num_frames + 1))
        names = [name for frame in frames for name in frame]
        data = Spool(self._files(record, where, names), spool)
        return Content(record, len(frames[0]), [f"{record.path}/{name}" for name in names], data)

    def _files(self, record: VideoRecord, where: Path, names: Sequence[str]) -> Iterator[bytes]:
        for file in (where / name for name in names):
            with self._named(record, file):
                data = read_regular(file, LARGEST_PICTURE)
            if not data:
                raise BadVideoError(f"{file}: the file is empty")
            yield data

    @contextmanager
    def _named(self, record: VideoRecord, file: Path) -> Iterator[None]:
        """BadVideoError for what comes of reading a video's file."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            missing = f"{file}: no such file"
            reason = self.storage.reason(record, MissingFrameError(missing))
            raise BadVideoError(reason if missing in reason else f"{missing}; {reason}") from None
        except OSError as error:
            raise BadVideoError(f"{file}: cannot be read ({error.strerror})") from error

    def is_made_of(self, record: VideoRecord, first: bytes) -> bool:
        """See `Source`."""
        return read_regular(self.where(record) / self.storage.file_names(record, [1])[0][0], LARGEST_PICTURE) == first

    def workers(self, jobs: int) -> AbstractContextManager[Executor]:
        """See `Source`; they wait for the disk."""
        return ThreadPoolExecutor(jobs)

    def refuse_other_settings(self, root: Path) -> None:
        """See `Source`; another size or quality is seen by the frames themselves."""

    def note_settings(self, root: Path, begun: bool) -> None:
        """See `Source`."""
        for name in SETTINGS_FILES:
            if (self.storage.root / name).is_file():
                write_text(root / name, read_text(self.storage.root / name, "settings file"))


@dataclass
class Videos:
    """Video files, whose frames are what tools/vid2img.py extracts, byte by byte, and called as it calls them."""

    root: Path
    form: FrameFormat
    files: dict[str, str] = field(default_factory=dict)  # the path of each video by that of its frames

    @property
    def packing(self) -> Packing:
        """See `Source`."""
        return Packing("frames", self.form.template)

    def records(self, list_file: Path, num_classes: int, unlabelled_too: bool) -> Sequence[VideoRecord]:
        """See `Source`; of no number of frames yet. InputError, too, where the frames of two would lie together."""
        records = []
        for record in read_list(list_file, num_classes, unlabelled_too, counted=False):
            if not (pure := PurePosixPath(record.path)).name:
                raise InputError(f"{list_file}: {record.path!r} is no file's path")
            name = pure.with_suffix("").as_posix()
            if self.files.setdefault(name, record.path) != record.path:
                raise InputError(f"rename one: the frames of {self.files[name]} and {record.path} would lie together")
            records.append(replace(record, path=name))
        refuse_shared_folders([Job(self.root / file, Path(name), name) for name, file in self.files.items()])
        return records

    def where(self, record: VideoRecord) -> Path:
        """See `Source`."""
        return self.root / self.files[record.path]

    @property
    def read(self) -> partial[Content]:
        """See `Source`; without the paths of all, for other processes."""
        return partial(decode, form=self.form)

    def is_made_of(self, record: VideoRecord, first: bytes) -> bool:
        """See `Source`."""
        said = NOTED.search(first[:HEAD])
        file = self.where(record) if record.path in self.files else None
        return not (said and file) or FileState(int(said[1]), ends=int(said[2], 16)).today(file) is not None

    def workers(self, jobs: int) -> AbstractContextManager[Executor]:
        """See `Source`; processes, as threads would wait for each other."""
        return process_pool(jobs) if jobs > 1 and processes_can_wait() else ThreadPoolExecutor(1)

    def refuse_other_settings(self, root: Path) -> None:
        """See `Source`."""
        wanted, before = asdict(self.form), read_settings(root / SETTINGS_FILE)
        if different := [key for key, value in wanted.items() if before and before.get(key) != value]:
            said = "; ".join(f"{key} {before.get(key)!r}, not {wanted[key]!r}" for key in different)
            raise InputError(f"{root}: packed with other settings ({said}): give the same, or remove it to pack anew")

    def note_settings(self, root: Path, begun: bool) -> None:
        """See `Source`."""
        if not (begun and read_settings(root / SETTINGS_FILE)):
            made_with = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
            said = json.dumps(
                {"videos": str(self.root.resolve()), **asdict(self.form), "made_with": made_with}, indent=2
            )
            write_text(root / SETTINGS_FILE, said + "\n")


def decode(record: VideoRecord, video: Path, spool: Path, form: FrameFormat) -> Content:
    """A video's frames as JPEG files. Raises BadVideoError."""
    data = Spool(jpegs(video, form), spool)
    names = [f"{record.path}/{form.template.format(number)}" for number in range(1, len(data.sizes) + 1)]
    return Content(record, 1, names, data)


def jpegs(video: Path, form: FrameFormat) -> Iterator[bytes]:
    """The JPEG files of a video's frames. Raises BadVideoError."""
    try:
        note = source_note(video)
        for image in upright_frames(video):
            stop_if_told()
            file = io.BytesIO()
            save_frame(image, file, form, note)
            yield file.getvalue()
            note = ""
    except (DamageError, ValueError, RuntimeError, MemoryError) as fault:
        raise BadVideoError(f"{video}: {str(fault) or type(fault).__name__}") from None
    except OSError as error:
        raise BadVideoError(f"{video}: cannot be read ({error.strerror})") from None
