"""What stands for a video, a file, a folder of pictures or frames in memory: where they are found, how each is read."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ops.data.clips import ClipOptions, Clips, Sample, Unreadable, VideoClips
from ops.data.decode import FrameError
from ops.data.frame_names import Series, few, longest_series
from ops.data.modalities import picture_names
from ops.data.passed_over import MAYBE_VIDEOS, PassedOver, files_below, reason
from ops.data.records import UNLABELLED, VideoRecord
from ops.data.storages import FrameFolders, Storage, VideoFiles
from ops.data.textfile import read_utf8
from ops.data.video_index import Indexed, probe
from ops.data.videofile import EXTENSIONS, DamageError, FrameTable, duration, salvaged
from ops.errors import InputError
from ops.files import exists

logger = logging.getLogger(__name__)

LISTS = (".txt", ".lst", ".list", ".csv")  # files of paths
PICTURES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
BESIDE_A_LIST = ("", "frames", "videos", "flow")  # where the videos of a list lie, below its folder
NUMBERS = re.compile(r"(?P<path>.+?)(?:\s+(?P<frames>[0-9]{1,9}))?\s+-?[0-9]+\s*")  # `path [frames] label`


@dataclass(frozen=True)
class Source:
    """One video. path: what results call it. content: a file, a folder of pictures, or frames `(n, H, W, c)` uint8.

    num_frames: how many of its frames count, as a list says; 0: all. fault: why there is no video, where it is known.
    """

    path: str
    content: Path | np.ndarray
    num_frames: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Seen:
    """What was found of a video: its frames, seconds (None: pictures have no rate), and what is wrong with its end."""

    frames: int
    seconds: float | None = None
    damage: str = ""


class SourceClips(Clips):
    """Videos of every kind as the clips of a test, each with what was `Seen` of it; the same as `VideoClips` makes.

    What a video is, and how many frames it has, is found when it is asked for, in the loader's process.
    """

    mode = "test"

    def __init__(self, sources: Sequence[Source], options: ClipOptions) -> None:
        self.sources = sources
        self.options = options

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, key: tuple[int, int]) -> Sample | Unreadable:
        _, index = key
        source = self.sources[index]
        try:
            if source.fault:
                raise FrameError(source.fault)
            if isinstance(source.content, np.ndarray):
                item = self._clip(source, InMemory(source.content), Seen(len(source.content)))
            elif source.content.is_dir():
                item = self._of_pictures(source, source.content)
            else:
                item = self._of_file(source, source.content)
        except FrameError as error:
            item = Unreadable(source.path, str(error), index)
        return replace(item, index=index)

    def path(self, index: int) -> str:
        """As the source is called."""
        return self.sources[index].path

    def _clip(self, source: Source, storage: Storage, seen: Seen, name: str = "") -> Sample | Unreadable:
        """`name`: what the storage calls the video."""
        count = min(seen.frames, source.num_frames or seen.frames)
        record = VideoRecord(name, count, UNLABELLED)
        item = VideoClips([record], storage, self.mode, self.options)[0, 0]
        if isinstance(item, Sample):
            return replace(item, about=replace(seen, frames=count))
        assert isinstance(item, Unreadable)
        return replace(item, path=source.path)

    def _of_pictures(self, source: Source, folder: Path) -> Sample | Unreadable:
        series = series_in(folder, self.options.modality)
        count, numbers = len(series.numbers), series.numbers
        gaps = f"its frames have gaps: {series}" if numbers[-1] - numbers[0] >= count else ""
        storage = SeriesFolder(folder.parent, series, self.options.modality)
        return self._clip(source, storage, Seen(count, damage=gaps), folder.name)

    def _of_file(self, source: Source, file: Path) -> Sample | Unreadable:
        if self.options.modality == "Flow":
            raise FrameError(
                "the network looks at optical flow, which is not in a video file: tools/extract_flow.py makes folders "
                "of it, which can be given here"
            )
        storage = VideoFiles(file.parent)
        known = probe(file.name, file.parent)
        read = partial(self._clip, source, storage, name=file.name)
        if known.table is not None:
            storage.known |= {file.name: known}
            item = read(Seen(known.num_frames, duration(file, known.table)))
            if isinstance(item, Sample):
                return item
            known = Indexed(known.state, fault=item.reason)
        try:
            count, damage = salvaged(file)
        except (DamageError, OSError):
            ending = file.suffix.lower()
            instead = f" ({ending}: {reason(ending)})" if ending in MAYBE_VIDEOS else ""
            raise FrameError(f"{known.fault}{instead}") from None
        table = FrameTable.untimed(count)
        storage.known |= {file.name: Indexed(known.state, table)}
        return read(Seen(count, duration(file, table), damage or known.fault))


class InMemory:
    """Frames `(n, H, W, c)` uint8, as a `Storage` of one video gives them out."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames

    def read(self, _record: VideoRecord, numbers: Sequence[int]) -> torch.Tensor:
        """See `Storage`."""
        chosen = self.frames[np.asarray(numbers) - 1]  # (L, H, W, c)
        return torch.from_numpy(np.ascontiguousarray(chosen)).permute(0, 3, 1, 2)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"frames in memory have no {name}")


class SeriesFolder(FrameFolders):
    """A folder whose pictures are the frames, whatever their numbers: the k-th frame is the k-th picture."""

    def __init__(self, root: Path, series: Series, modality: str) -> None:
        super().__init__(root, series.template, modality)
        self.numbers = series.numbers

    def _picture_names(self, numbers: Sequence[int], pairs: bool) -> list[str]:
        return picture_names(self.template, [self.numbers[number - 1] for number in numbers], pairs)


def series_in(folder: Path, modality: str) -> Series:
    """The pictures of a folder that are frames of one video. Raises FrameError if there are none."""
    try:
        files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError as error:
        raise FrameError(f"{folder}: cannot be read ({error.strerror})") from error
    flow = modality == "Flow"
    if series := longest_series(files, flow):
        return series
    wanted = "flow, as flow_x_00001.jpg and flow_y_00001.jpg or 00001.jpg" if flow else "frames, as 00001.jpg"
    raise FrameError(f"{folder}: no pictures with numbers in it are {wanted}; it holds {few(files) or 'no files'}")


def find_sources(words: Iterable[str], standard_input: Iterable[str] = ()) -> list[Source]:
    """The videos that `words` name, in their order; what names none is a Source with a fault.

    A word is a video file, a folder of pictures, a folder that holds either in whatever depth, a pattern (`*`, `?`,
    `[…]`, `**`), a list file (.txt, …: a path a line, behind it perhaps numbers as in a data set's lists), or `-`:
    paths from `standard_input`.
    """
    found: list[Source] = []
    for word in words:
        if word == "-":
            found += [source for line in _lines(standard_input) for source in _named(line)]
        else:
            found += _named(word)
    return found


def as_source(video: Any) -> Source:
    """Of a path, an array `(n, H, W, 3)` uint8, or a sequence of pictures (PIL's, or arrays `(H, W, 3)`).

    Raises InputError for all else, naming what it is.
    """
    if isinstance(video, Source):
        return video
    if isinstance(video, str | os.PathLike):
        return _one(str(video), Path(video))
    if isinstance(video, Sequence) and not isinstance(video, bytes) and len(video):
        pictures = [np.asarray(p.convert("RGB")) if isinstance(p, Image.Image) else np.asarray(p) for p in video]
        if len({picture.shape for picture in pictures}) > 1:
            raise InputError(f"a video's pictures have several sizes: {sorted({p.shape for p in pictures})}")
        video = np.stack(pictures)
    if isinstance(video, torch.Tensor):
        video = video.numpy(force=True)
    is_array = isinstance(video, np.ndarray)
    if is_array and video.ndim == 4 and video.dtype == np.uint8 and video.shape[3] in (2, 3) and video.size:
        return Source("frames in memory", video)
    what = f"an array {video.shape} of {video.dtype}" if is_array else f"{type(video).__name__}"
    raise InputError(f"{what} is no video: expected a path, an array (n, H, W, 3) of uint8, or a list of pictures")


def _named(word: str) -> list[Source]:
    """The videos that one word names."""
    path = Path(word)
    if not word.strip("\0") or "\0" in word:
        return [Source(word, path, fault="an empty name")]
    if exists(path) and path.is_dir():
        return _below(path)
    if exists(path) and path.is_file() and path.suffix.lower() in LISTS:
        return _listed(path)
    if not exists(path) and glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 (whose patterns may be absolute)
        here = [source for match in matches for source in _named(match)]
        return here or [Source(word, path, fault="no file matches this pattern")]
    return [_one(word, path)]


def _one(word: str, path: Path) -> Source:
    """A file that must be a video, or a folder of pictures."""
    fault = ""
    if not exists(path):
        fault = "no such file or folder"
    elif path.is_file() and path.suffix.lower() in PICTURES:
        fault = f"a picture: give the folder of all frames, {path.parent}"
    elif not path.is_dir() and not path.is_file():
        fault = "neither a file nor a folder"
    return Source(word, path, fault=fault)


def _below(root: Path) -> list[Source]:
    """The videos in a folder and the folders below: files, and folders of numbered pictures; links are followed."""
    found, others = [], PassedOver()
    for here, files in files_below(root, others):
        visible = [file for file in files if not file.startswith(".")]
        videos = [file for file in visible if Path(file).suffix.lower() in EXTENSIONS]
        pictures = longest_series(visible) or longest_series(visible, flow=True)
        if videos and pictures:
            one_kind = here / f"*{Path(videos[0]).suffix}"
            fault = f"holds frames ({pictures}) and videos ({few(videos)}): name the videos alone, as '{one_kind}'"
            found.append(Source(str(here), here, fault=fault))
        elif pictures:
            found.append(Source(str(here), here))
        else:
            found += [Source(str(here / file), here / file) for file in videos]
            for file in sorted(set(visible) - set(videos)):
                others.add(Path(file).suffix.lower(), file)
    if said := others.in_words():
        logger.info("%s: %s", root, said)
    return found or [Source(str(root), root, fault="a folder without a video file or a folder of numbered pictures")]


def _listed(file: Path) -> list[Source]:
    """Those of a list file: relative to it, to the folders of a data set beside it, or to where the program runs."""
    found = []
    lines = read_utf8(file, "list file").decode().split("\n")
    for number, line in enumerate(lines, 1):
        text = line.strip("\r\n")
        if not text.strip() or text.startswith("#"):
            continue
        found.append(_of_line(file, text) or Source(text, Path(text), fault=f"{file}, line {number}: no such video"))
    return found or [Source(str(file), file, fault="a list without a video")]


def _of_line(file: Path, text: str) -> Source | None:
    """None where nothing is there that the line could mean."""
    forms = [(text, 0)]
    if match := NUMBERS.fullmatch(text):
        forms.append((match["path"], int(match["frames"] or 0)))
    for name, frames in forms:
        for folder in (*(file.parent / below for below in BESIDE_A_LIST), Path()):
            if exists(path := folder / name):
                return replace(_one(str(path), path), num_frames=frames)
    return None


def _lines(text: Iterable[str]) -> Iterator[str]:
    """Paths, a line each; or with NULs behind them, as `find -print0` writes names that hold line breaks."""
    whole = "".join(text)
    yield from (path for path in (whole.split("\0") if "\0" in whole else whole.splitlines()) if path)
