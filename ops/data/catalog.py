"""The data sets known by name: where their files lie, how frames are called, whether they may be mirrored.

Every data set has the same layout below the root of all data sets:

    <root>/<name>/category.txt             one class name a line
    <root>/<name>/train_videofolder.txt    `path num_frames label` a line
    <root>/<name>/val_videofolder.txt
    <root>/<name>/frames/<path>/00001.jpg  …

and for `--storage video`, where frames are decoded from video files as they are needed:

    <root>/<name>/train_videos.txt         `path label` a line
    <root>/<name>/val_videos.txt
    <root>/<name>/videos/<path>            class/clip.mp4 …

and for `--storage packed`, made of frames by `tools/pack_frames.py`, with the lists of frames:

    <root>/<name>/packed/frames-00000.tar  …, and an index (see `packed_index`)

and for Flow, made by `tools/extract_flow.py`:

    <root>/<name>/train_videofolder_flow.txt, val_videofolder_flow.txt
    <root>/<name>/flow/<path>/flow_x_00001.jpg, flow_y_00001.jpg  …
    <root>/<name>/packed_flow/             the same, packed

Where one has further splits, split 2 is a data set `<name>_split2` in the same folder, with lists
`train_videofolder_split2.txt` and so on. A file `dataset.toml` in the folder changes what is said here, and makes any
folder with a `category.txt` a data set.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops import names
from ops.data.bounds import MAX_FRAMES
from ops.data.frame_names import numbers_frames
from ops.data.opposites import MirrorPolicy, default_policy
from ops.data.records import read_categories
from ops.data.textfile import read_text
from ops.data.urls import Cache, check_url, hidden, is_url
from ops.errors import InputError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WHERE_ROOT = "--root_dataset or the environment variable FEXNET_DATASETS says where data sets live"
DESCRIPTION = "dataset.toml"
MOST_BYTES = 1 << 20  # of it
NAME = re.compile(r"\w[\w.-]*")  # a folder's name, and a part of others
TEMPLATE = "{:05d}.jpg"  # a frame's file name from its number


@dataclass(frozen=True, slots=True)
class Entry:
    """What is fixed about a data set.

    mirror: `none` (never mirror: its classes have sides), `plain` (a mirrored clip keeps its label), `swap` (a
    mirrored clip takes the label of the opposite direction, which is found in the class names) or `auto` (`none` if a
    class name has a side in it, else `plain`). classes: how many it has officially; 0: any. family: the data set in
    whose folder it lies. split: the mark in its lists' names.
    """

    mirror: str
    how_to_get: str
    classes: int = 0
    family: str = ""
    split: str = ""


def _official(name: str, source: str, frames: bool = False) -> str:
    """How to get a data set of which frames, or else videos, are given out."""
    extract = "" if frames else f"tools/vid2img.py (or leave them as videos in dataset/{name}/videos), "
    unpack = f"unpack the frames into dataset/{name}/frames, " if frames else "extract the frames with "
    return f"download {source}, {unpack}{extract}and write the lists with tools/make_lists.py {name}; see docs/data.md"


_KINETICS = "the videos that the official Kinetics-{} CSV files (Google DeepMind) name, and these files"
_UCF101 = "UCF101 and its action recognition splits from the University of Central Florida"
_HMDB51 = "HMDB51 and its splits from the Serre lab (Brown University)"

CATALOG: dict[str, Entry] = {
    "something": Entry(
        "swap",
        _official("something", "Something-Something V1 (20BN; JPEG folders) from Qualcomm's developer site", True),
        174,
    ),
    "somethingv2": Entry(
        "swap",
        _official("somethingv2", "Something-Something V2 (20BN; WebM videos) from Qualcomm's developer site"),
        174,
    ),
    "kinetics": Entry("plain", _official("kinetics", _KINETICS.format(400)), 400),
    "kinetics600": Entry("plain", _official("kinetics600", _KINETICS.format(600)), 600),
    "kinetics700": Entry("plain", _official("kinetics700", _KINETICS.format(700)), 700),
    "ucf101": Entry("plain", _official("ucf101", _UCF101), 101),
    "ucf101_split2": Entry("plain", _official("ucf101", _UCF101), 101, family="ucf101", split="_split2"),
    "ucf101_split3": Entry("plain", _official("ucf101", _UCF101), 101, family="ucf101", split="_split3"),
    "hmdb51": Entry("plain", _official("hmdb51", _HMDB51), 51),
    "hmdb51_split2": Entry("plain", _official("hmdb51", _HMDB51), 51, family="hmdb51", split="_split2"),
    "hmdb51_split3": Entry("plain", _official("hmdb51", _HMDB51), 51, family="hmdb51", split="_split3"),
    "jester": Entry(
        "none", _official("jester", "Jester (20BN; JPEG folders) from Qualcomm's developer site", True), 27
    ),
    "diving48": Entry("plain", _official("diving48", "Diving48 (UC San Diego), videos and V2 annotations"), 48),
    "demo": Entry("swap", "python tools/make_demo_dataset.py"),  # 12 classes, or 18 where it is rendered harder
}


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data set found on disk: class names in label order, its two lists, its frames, how to treat them.

    family: its name without the split: data sets of one family have the same classes. root: the folder of the frames,
    the flow or, where storage is `video`, the video files; where it is `packed`, their shards. classes: how many there
    should be; 0: any. template: a frame's file name from its number, which is `first` for the first. how_to_get: the
    lists, and with how_to_fill what lies in root. url: where packed frames lie, if not on a disk; then `root` is the
    folder of `cache` with their index.
    """

    name: str
    family: str
    folder: Path
    categories: tuple[str, ...]
    classes: int
    train_list: Path
    val_list: Path
    root: Path
    template: str
    first: int
    mirror: MirrorPolicy
    mirror_because: str
    modality: str
    storage: str
    how_to_get: str
    how_to_fill: str
    url: str = ""
    cache: Cache = field(default_factory=Cache)

    @property
    def test_list(self) -> Path:
        """Where a test list lies, if there is one."""
        return self.val_list.with_name(self.val_list.name.replace("val_", "test_", 1))

    def demand(self, list_file: Path) -> None:
        """Raises InputError if the list or the folder of frames, flow or videos is missing."""
        if not list_file.exists():
            raise _missing("list file", list_file, self.name, self.how_to_get)
        if not self.url and not self.root.is_dir():
            what = {"frames": "frames", "packed": "packed frames", "video": "videos"}[self.storage]
            raise _missing(f"{what} folder", self.root, self.name, self.how_to_fill)


def unknown(name: str, root_dataset: Path | str) -> str:
    """What is wrong with the name of a data set; empty if it is known, or has a dataset.toml below `root_dataset`."""
    if name in CATALOG or (NAME.fullmatch(name) and (Path(root_dataset) / name / DESCRIPTION).is_file()):
        return ""
    own = sorted(path.parent.name for path in Path(root_dataset).glob(f"*/{DESCRIPTION}"))
    known = list(dict.fromkeys([*CATALOG, *own]))
    return (
        f"unknown data set {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}; "
        f"tools/prepare_videos.py makes one of your own videos, in {Path(root_dataset) / name}. {WHERE_ROOT}"
    )


def resolve(
    name: str,
    root_dataset: Path | str,
    train_list: Path | str | None = None,
    val_list: Path | str | None = None,
    root_path: Path | str | None = None,
    modality: str = "RGB",
    storage: str | None = None,
    cache: Cache | None = None,
) -> DataSource:
    """Find data set `name` below `root_dataset`: its frames, its flow for the modality Flow, either packed, or videos.

    A given `train_list`, `val_list` or `root_path` (the folder of frames or videos) is taken as it stands, in place of
    the layout's; a given `storage` in place of the one that dataset.toml names, `frames` if none. (Flow is not in video
    files, so that for it a named `video` means `frames`.) What is read of packed frames below a URL is kept in `cache`.
    Only `category.txt` has to exist here; the rest is checked when it is read. Raises InputError for an unknown name, a
    missing or faulty category file and a faulty dataset.toml.
    """
    if fault := unknown(name, root_dataset):
        raise InputError(fault)
    entry = CATALOG.get(name, Entry("auto", "tools/prepare_videos.py, or write it by hand"))
    folder = Path(root_dataset) / (entry.family or name)
    said = read_description(folder / DESCRIPTION)
    how = f"python tools/extract_flow.py {name}" if modality == "Flow" else entry.how_to_get
    pack = f"python tools/pack_frames.py {name}" + " --modality Flow" * (modality == "Flow")
    category_file = folder / "category.txt"
    if not category_file.is_file():
        raise _missing("category file", category_file, name, entry.how_to_get)
    categories = tuple(read_categories(category_file))
    flow = modality == "Flow"
    named = said.get("storage", "frames")
    storage = storage or ("frames" if flow and named == "video" else named)
    if storage == "video" and flow:
        raise InputError(f"--storage video: flow is not in video files; make it with {how} and leave the flag out")
    lists = "videos" if storage == "video" else "videofolder"
    mark = entry.split + "_flow" * flow
    cache = cache or Cache()
    place = root_path or _place(said, storage, flow)
    url = _url(str(place), storage)
    policy = said.get("mirror", entry.mirror)
    mirror, because = default_policy(categories) if policy == "auto" else (policy, "")
    return DataSource(
        name=name,
        family=entry.family or name,
        folder=folder,
        categories=categories,
        classes=entry.classes,
        train_list=Path(train_list or folder / f"train_{lists}{mark}.txt"),
        val_list=Path(val_list or folder / f"val_{lists}{mark}.txt"),
        root=cache.index(url) if url else Path(root_path or folder / place),
        template=said.get("flow_template" if flow else "template", TEMPLATE),
        first=said.get("flow_first" if flow else "first", 1),
        mirror=mirror,
        mirror_because=because,
        modality=modality,
        storage=storage,
        how_to_get=how,
        how_to_fill=pack if storage == "packed" else how,
        url=url,
        cache=cache,
    )


def _place(said: dict[str, Any], storage: str, flow: bool) -> str:
    """Where a description says that frames, flow or videos lie: a folder below the data set's, or a URL."""
    of_frames = {"packed": "packed_flow", "frames": "flow"} if flow else {"packed": "packed", "frames": "frames"}
    kind = of_frames.get(storage, "videos")
    return str(said.get(kind, kind))


def _url(place: str, storage: str) -> str:
    """A place that is a URL, as it is shown; empty for a path. Raises InputError for a URL that is not read."""
    if not is_url(place):
        return ""
    url = hidden(place)
    check_url(url)
    if storage != "packed":
        raise InputError(f"{url}: of what lies below a URL only packed frames are read: give --storage packed")
    return url


def _folder(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_FRAMES


# The keys of dataset.toml and what each may be. Tables are notes on how the data were made.
_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mirror": (lambda v: v in ("none", "plain", "swap", "auto"), "none, plain, swap or auto"),
    "storage": (lambda v: v in names.STORAGES, " or ".join(names.STORAGES)),
    "template": (numbers_frames, "a frame's file name, as {:05d}.jpg"),
    "first": (_number, "the number of the first frame, as 0 or 1"),
    "frames": (_folder, "a folder, relative to this file's or absolute"),
    "videos": (_folder, "a folder, relative to this file's or absolute"),
    "flow": (_folder, "a folder, relative to this file's or absolute"),
    "packed": (_folder, "a folder, relative to this file's or absolute, or a URL"),
    "flow_template": (numbers_frames, "what follows flow_x_ in a file's name, as {:05d}.jpg"),
    "flow_first": (_number, "the number of the first flow, as 0 or 1"),
    "packed_flow": (_folder, "a folder, relative to this file's or absolute, or a URL"),
}


def read_description(file: Path) -> dict[str, Any]:
    """What a dataset.toml says; nothing if there is none. Raises one InputError with every fault in it."""
    try:
        said = tomllib.loads(read_text(file, "description", MOST_BYTES)) if os.path.lexists(file) else {}
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as TOML: {error}") from error
    faults = []
    for key, value in said.items():
        if isinstance(value, dict):
            continue
        if key not in _KEYS:
            faults.append(f"unknown key {key!r}{did_you_mean(key, _KEYS)}; known are {', '.join(_KEYS)}")
        elif not _KEYS[key][0](value):
            faults.append(f"{key} = {value!r}: expected {_KEYS[key][1]}")
    if faults:
        raise InputError(f"{file}: {'; '.join(faults)}")
    return said


def _missing(what: str, path: Path, name: str, how: str) -> InputError:
    return InputError(f"The {what} {path} of data set {name!r} is missing. To make it: {how}. {WHERE_ROOT}.")
