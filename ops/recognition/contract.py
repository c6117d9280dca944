"""The contract: how a video becomes a network's input and its scores become an answer, as the checkpoint says.

Testing, prediction, export and everything else that looks at a video ask here, and then take the samplers and
transforms of `ops/data`. There is no second way from a video to the network's input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ops.data.clips import ClipOptions
from ops.data.modalities import MODALITIES
from ops.data.records import read_categories
from ops.data.sampling import DENSE_CLIPS
from ops.errors import InputError, did_you_mean
from ops.model.tsn import TSN
from ops.names import PROTOCOLS
from ops.running.checkpoint import Checkpoint, network_of, read_checkpoint

# What each sampling takes of the n frames of a video, in words: a consumer's reader needs no source.
SAMPLINGS = {
    "uniform": "one clip: the middle of each of T equal parts",
    "twice": "two clips: the middle and the start of each of T equal parts",
    "dense": "ten clips of T frames, each spread over 64 frames",
    "ten_sparse": "shifted clips of T frames, spread over the whole video",
}


@dataclass(frozen=True)
class Views:
    """Which views of a video are scored: clips by `sampling` (see `ops.data.sampling.test_clips`) × `crops`.

    input_size: side of the network's input in pixels; None: as trained. full_res: crops of 256/224 of it.
    """

    sampling: str = "uniform"
    sparse_clips: int = 3
    crops: int = 1
    full_res: bool = False
    input_size: int | None = None
    reverse_time: bool = False

    @classmethod
    def of_protocol(cls, name: str) -> Views:
        """Those of `efficient` (1 × 1), `accurate` (2 × 3) or `dense` (10 × 3). Raises InputError for another name."""
        if name not in PROTOCOLS:
            raise InputError(f"protocol {name}: expected one of {', '.join(PROTOCOLS)}{did_you_mean(name, PROTOCOLS)}")
        return cls(**PROTOCOLS[name])

    @property
    def clips(self) -> int:
        """How many a video has."""
        return {"uniform": 1, "twice": 2, "dense": DENSE_CLIPS, "ten_sparse": self.sparse_clips}[self.sampling]


@dataclass(frozen=True)
class Contract:
    """What a checkpoint says of a network's input and output.

    network: its name in words. classes: K names in the order of the scores; where the file has none, `class 0`, ….
    modality, segments (T), frames_per_segment (L, consecutive frames: RGB 1, Flow 5 pairs, RGBDiff 6). input_size:
    side of its crops in pixels. mean, std: of the pixels divided by 255, a value a colour (of Flow one; differences of
    frames are not normalised); bgr: whether the colours come as blue, green, red. All of this the network does itself
    with uint8 pixels. stored_short_side: pixels to which the frames that it was trained on had been scaled down when
    they were taken from their videos, so that others are too (0: they were not). made: the settings of that.
    trained_on: the data set. temperature: what scores are divided by before softmax (1: not calibrated).
    """

    network: str
    classes: tuple[str, ...]
    modality: str
    segments: int
    frames_per_segment: int
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    stored_short_side: int = 0
    made: dict[str, Any] = field(default_factory=dict)
    trained_on: str = ""
    temperature: float = 1.0

    @classmethod
    def of(cls, checkpoint: Checkpoint, network: TSN) -> Contract:
        """That of a checkpoint's network, own or published."""
        options, stage, white = network.options, network.input_stage, network.input.white
        names = checkpoint.categories or [f"class {label}" for label in range(options.num_classes)]
        made = _made(checkpoint.training.get("data", {}))
        return cls(
            network=network.name,
            classes=tuple(names),
            modality=options.modality,
            segments=options.num_segments,
            frames_per_segment=MODALITIES[options.modality].frames,
            input_size=checkpoint.input_size,
            mean=tuple(value / white for value in stage.mean),
            std=tuple(value / white for value in stage.std),
            bgr=network.input.bgr,
            stored_short_side=_stored_short_side(made),
            made=made,
            trained_on=checkpoint.dataset,
            temperature=_temperature(checkpoint),
        )

    def named_by(self, file: Path, checkpoint: Checkpoint) -> Contract:
        """The same with the class names in `file`, one a line, for a checkpoint that has none.

        Raises InputError where they cannot be those of the checkpoint.
        """
        names, count = read_categories(file), len(self.classes)
        if len(names) != count:
            raise InputError(f"{file}: {len(names)} class names, but {checkpoint.path} has {count} classes")
        if checkpoint.categories and names != checkpoint.categories:
            pairs = zip(names, checkpoint.categories, strict=True)
            given, own = next(pair for pair in pairs if pair[0] != pair[1])
            raise InputError(f"{file}: {given!r} is {own!r} in {checkpoint.path}, which has its own class names")
        return replace(self, classes=tuple(names))

    def clip_options(self, views: Views) -> ClipOptions:
        """How the clips of a video are made for these views."""
        return ClipOptions(
            segments=self.segments,
            modality=self.modality,
            input_size=views.input_size or self.input_size,
            test_mode=views.sampling,
            sparse_clips=views.sparse_clips,
            crops=views.crops,
            full_res=views.full_res,
            reverse_time=views.reverse_time,
            stored_short_side=self.stored_short_side,
        )

    def described(self, views: Views) -> dict[str, Any]:
        """All of it for these views, and what follows from both, as JSON has it: for a program that reads no Python."""
        options = self.clip_options(views)
        _, side = options.views("test")
        return {
            **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()},
            "sampling": views.sampling,
            "sampling_in_words": SAMPLINGS[views.sampling],
            "clips": views.clips,
            "crops": views.crops,
            "short_side": options.scale_size,
            "crop_size": side,
        }


def network_and_contract(path: str | Path, classes: str | Path | None = None) -> tuple[TSN, Contract]:
    """Those of a checkpoint, own or published, with the class names in the file `classes` where it has none.

    Raises InputError for a file that cannot be used, naming it.
    """
    checkpoint = read_checkpoint(Path(path))
    network = network_of(checkpoint)
    contract = Contract.of(checkpoint, network)
    return network, contract if classes is None else contract.named_by(Path(classes), checkpoint)


def _made(data: Mapping[str, Any]) -> dict[str, Any]:
    """How the frames trained on were made; nothing where videos were read directly, or nothing is known."""
    try:
        said = json.loads(data.get("made") or "{}") if data.get("storage") != "video" else {}
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _stored_short_side(made: Mapping[str, Any]) -> int:
    said = made.get("short_side", 0)
    return said if isinstance(said, int) and said > 0 else 0


def _temperature(checkpoint: Checkpoint) -> float:
    """What `test_models.py --calibrate` found; 1 where it has not been asked."""
    return float(checkpoint.training.get("calibration", {}).get("temperature", 1.0))
