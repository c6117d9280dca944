"""The data sets known by name: where their files lie, how frames are called, whether they may be mirrored.

Every data set has the same layout below the root of all data sets:

    <root>/<name>/category.txt             one class name a line
    <root>/<name>/train_videofolder.txt    `path num_frames label` a line
    <root>/<name>/val_videofolder.txt
    <root>/<name>/frames/<path>/00001.jpg  …

and for Flow, made by `tools/extract_flow.py`:

    <root>/<name>/train_videofolder_flow.txt, val_videofolder_flow.txt
    <root>/<name>/flow/<path>/flow_x_00001.jpg, flow_y_00001.jpg  …
"""

from dataclasses import dataclass
from pathlib import Path

from ops.data.opposites import MirrorPolicy
from ops.data.records import VideoRecord, read_categories, read_list
from ops.errors import InputError, did_you_mean

EXTRACT = "extract the frames and write the lists"
FROM_VIDEOS = f"{EXTRACT}, e.g. with tools/vid2img.py"
WHERE_ROOT = "--root_dataset or the environment variable FEXNET_DATASETS says where data sets live"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is fixed about a data set.

    mirror: `none` (never mirror: its classes have sides), `plain` (a mirrored clip keeps its label) or `swap`
    (a mirrored clip takes the label of the opposite direction). template: a frame's file name from its
    number.
    """

    mirror: MirrorPolicy
    how_to_get: str
    template: str = "{:05d}.jpg"


CATALOG: dict[str, Entry] = {
    "something": Entry(
        "swap",
        "download Something-Something V1 (20BN; frames as JPEG folders) from Qualcomm's developer site, "
        "unpack them into frames/ and write the lists from its JSON or CSV files",
    ),
    "somethingv2": Entry(
        "swap",
        "download Something-Something V2 (20BN; WebM videos) from Qualcomm's developer site, then " + FROM_VIDEOS,
    ),
    "jester": Entry(
        "none",
        "download Jester (20BN; frames as JPEG folders) from Qualcomm's developer site, unpack them into "
        "frames/ and write the lists from its CSV files",
    ),
    "kinetics": Entry(
        "plain",
        "fetch the videos named in the official Kinetics-400 CSV files (Google DeepMind), then " + FROM_VIDEOS,
    ),
    "ucf101": Entry(
        "plain",
        "download UCF101 and its train/test splits from the University of Central Florida, then " + FROM_VIDEOS,
    ),
    "hmdb51": Entry(
        "plain", "download HMDB51 and its splits from the Serre lab (Brown University), then " + FROM_VIDEOS
    ),
    "demo": Entry("swap", "python tools/make_demo_dataset.py"),
}


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data set found on disk: class names in label order, its two lists, its frames, how to treat them."""

    name: str
    categories: tuple[str, ...]
    train_list: Path
    val_list: Path
    frames_root: Path
    template: str
    mirror: MirrorPolicy
    modality: str = "RGB"

    def train_records(self) -> list[VideoRecord]:
        """Videos of the training list; raises InputError if the list or the frames' folder is missing."""
        return self._records(self.train_list)

    def val_records(self) -> list[VideoRecord]:
        """Videos of the validation list; raises InputError if the list or the frames' folder is missing."""
        return self._records(self.val_list)

    def test_records(self) -> list[VideoRecord]:
        """Videos of the validation list, which may be one without labels (see `read_list`)."""
        return self._records(self.val_list, unlabelled_too=True)

    def _records(self, list_file: Path, unlabelled_too: bool = False) -> list[VideoRecord]:
        if not list_file.is_file():
            raise _missing("list file", list_file, self.name, self.modality)
        if not self.frames_root.is_dir():
            raise _missing("frames folder", self.frames_root, self.name, self.modality)
        return read_list(list_file, len(self.categories), unlabelled_too)


def resolve(
    name: str,
    root_dataset: Path | str,
    train_list: Path | str | None = None,
    val_list: Path | str | None = None,
    root_path: Path | str | None = None,
    modality: str = "RGB",
) -> DataSource:
    """Find data set `name` below `root_dataset`, its frames or, for the modality Flow, its flow.

    A given `train_list`, `val_list` or `root_path` (the frames' folder) is taken as it stands, in place of
    the layout's. Only `category.txt` has to exist here; lists and frames are checked when their records are
    read. Raises InputError for an unknown name and for a missing or faulty category file.
    """
    if name not in CATALOG:
        raise InputError(f"unknown data set {name!r}{did_you_mean(name, CATALOG)}; known are {', '.join(CATALOG)}")
    folder = Path(root_dataset) / name
    category_file = folder / "category.txt"
    if not category_file.is_file():
        raise _missing("category file", category_file, name, "RGB")
    entry = CATALOG[name]
    mark = "_flow" if modality == "Flow" else ""
    return DataSource(
        name=name,
        categories=tuple(read_categories(category_file)),
        train_list=Path(train_list or folder / f"train_videofolder{mark}.txt"),
        val_list=Path(val_list or folder / f"val_videofolder{mark}.txt"),
        frames_root=Path(root_path or folder / ("flow" if modality == "Flow" else "frames")),
        template=entry.template,
        mirror=entry.mirror,
        modality=modality,
    )


def _missing(what: str, path: Path, name: str, modality: str) -> InputError:
    how = f"python tools/extract_flow.py {name}" if modality == "Flow" else CATALOG[name].how_to_get
    return InputError(f"The {what} {path} of data set {name!r} is missing. To make it: {how}. {WHERE_ROOT}.")
