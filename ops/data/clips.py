"""From a video's record to its clip: which frames, decoded, cropped, mirrored; everything still uint8.

Legend: V views of a video (test clips × crops; 1 in training and validation), T segments, L frames a segment, c = 3
colours or 2 directions of flow, C = c·L channels (the frames of a segment, one after the other), H = W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from ops.data import sampling
from ops.data.decode import FrameError, Pictures
from ops.data.gpu_decode import decode_on
from ops.data.modalities import MODALITIES, Modality
from ops.data.records import VideoRecord
from ops.data.storages import OfPictures, Storage
from ops.data.transforms import TEST_CROPS, crop_and_resize, shrunk, test_views, training_crop
from ops.errors import InputError

ClipMode = Literal["train", "val", "test"]
NO_FLOW_BACKWARDS = "flow can't be played backwards: it would point the other way; extract it from reversed videos"


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """How clips are made of videos.

    segments: T. modality: RGB, Flow or RGBDiff (see `modalities`). input_size: side of the network's input in
    pixels; before validation and test crops the short side is scaled to 256/224 of it, and `full_res` crops that size.
    dense: windows of 64 frames in training and validation. test_mode: see `sampling.test_clips`, with
    `sparse_clips` for `ten_sparse`. crops: test crops a clip. randaugment: two random operations of RandAugment
    (Cubuk et al. 2020) on every training clip, the same on all its frames. mirror_labels:
    for each label the one a mirrored clip has, or None where clips must not be mirrored; empty: never mirror.
    reverse_time: clips are played backwards, those of videos that are listed as backwards forwards. stored_short_side:
    frames larger than that are first scaled down, in validation and test, as extracting them would have done (see
    `shrunk`); 0: they are taken as they are.
    """

    segments: int
    input_size: int = 224
    modality: str = "RGB"
    dense: bool = False
    test_mode: str = "uniform"
    sparse_clips: int = 3
    crops: int = 1
    full_res: bool = False
    mirror_labels: tuple[int | None, ...] = ()
    randaugment: bool = False
    seed: int = 0
    reverse_time: bool = False
    stored_short_side: int = 0

    @property
    def kind(self) -> Modality:
        """What a segment is made of."""
        return MODALITIES[self.modality]

    @property
    def frames_per_segment(self) -> int:
        """L."""
        return self.kind.frames

    @property
    def channels(self) -> int:
        """C."""
        return self.frames_per_segment * self.kind.channels

    def views(self, mode: ClipMode) -> tuple[int, int]:
        """V, and the side of a view in pixels."""
        if mode != "test":
            return 1, self.input_size
        clips = {"uniform": 1, "twice": 2, "dense": sampling.DENSE_CLIPS, "ten_sparse": self.sparse_clips}
        return clips[self.test_mode] * self.crops, self.scale_size if self.full_res else self.input_size

    def bytes_of_video(self, mode: ClipMode) -> int:
        """Of all its views."""
        count, side = self.views(mode)
        return count * self.segments * self.channels * side**2

    @property
    def scale_size(self) -> int:
        """The short side before validation and test crops, in pixels: 256 for an input of 224."""
        return self.input_size * 256 // 224


@dataclass(frozen=True, slots=True)
class Sample:
    """One video made ready: clip uint8 `(V, T, C, H, W)`, its label, its place in the list.

    Views are ordered crop by crop, and within a crop clip by clip. about: what else its reader tells of it; of a
    training clip whether it is mirrored.
    """

    clip: torch.Tensor
    label: int
    index: int
    about: Any = None

    def pin_memory(self) -> "Sample":
        """Called by the DataLoader."""
        return replace(self, clip=self.clip.pin_memory())


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A video that cannot be used: its path in the list, the reason in plain words, its place in the list."""

    path: str
    reason: str
    index: int


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A video whose pictures have been read; `VideoClips.finish` decodes them and goes on.

    order: the place in the pictures' frames of each frame of each clip; no tensor, of which torch would take shared
    memory on the way from a loader's process. rng: with what is random drawn so far.
    """

    pictures: Pictures
    order: np.ndarray
    rng: np.random.Generator
    index: int


class Clips(Dataset[Sample | Unreadable | Undecoded]):
    """Videos as clips, asked for by `(epoch, index)`: what a loader needs to know of them."""

    mode: ClipMode
    options: ClipOptions
    decode_device: torch.device | None = None

    def path(self, index: int) -> str:
        """What a video is called."""
        raise NotImplementedError

    def finish(self, item: Sample | Unreadable | Undecoded) -> Sample | Unreadable:
        """The item, once it is in the process that asked for it."""
        assert not isinstance(item, Undecoded)
        return item


class VideoClips(Clips):
    """Videos of a list as clips.

    Items are asked for by `(epoch, index)`. What is random in training depends on the seed and that key
    alone, so that neither the number of workers nor the order of asking changes an item. A video that cannot
    be read comes back as `Unreadable`; what to do then is the caller's choice. With a
    `decode_device` (see `gpu_decode`) pictures come back as they were read, `Undecoded`, for `finish`.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        storage: Storage,
        mode: ClipMode,
        options: ClipOptions,
        decode_device: torch.device | None = None,
    ) -> None:
        _check(mode, options)
        if options.modality == "Flow" and (turned := next((r.name for r in records if r.backwards), "")):
            raise InputError(f"{turned}: {NO_FLOW_BACKWARDS}")
        self.records = records
        self.storage = storage
        self.mode = mode
        self.options = options
        self.decode_device = decode_device

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Sample | Unreadable | Undecoded:
        epoch, index = key
        record = self.records[index]
        rng = np.random.default_rng([self.options.seed, epoch, index])
        numbers, order = self._frames(record, rng)
        try:
            if self.decode_device is not None:
                assert isinstance(self.storage, OfPictures)
                return Undecoded(self.storage.pictures(record, numbers), order.numpy(), rng, index)
            return self._sample(self.storage.read(record, numbers), order, rng, index)
        except FrameError as error:
            return self._unreadable(error, index)

    def path(self, index: int) -> str:
        """A video's in the list."""
        return self.records[index].name

    def finish(self, item: Sample | Unreadable | Undecoded) -> Sample | Unreadable:
        """The item, its pictures decoded if they have not been; then its clip is on the `decode_device`."""
        if not isinstance(item, Undecoded):
            return item
        assert self.decode_device is not None
        try:
            group = self.options.kind.group(decode_on(self.decode_device, item.pictures))
            return self._sample(group, torch.from_numpy(item.order), item.rng, item.index)
        except FrameError as error:
            return self._unreadable(error, item.index)

    def _unreadable(self, error: FrameError, index: int) -> Unreadable:
        record = self.records[index]
        return Unreadable(record.name, self.storage.reason(record, error), index)

    def _frames(self, record: VideoRecord, rng: np.random.Generator) -> tuple[list[int], torch.Tensor]:
        """The numbers of the distinct frames of all clips, and the place among them of each clip's."""
        o = self.options
        n, T, L = record.num_frames, o.segments, o.frames_per_segment
        if self.mode == "train":
            clips = [sampling.train_indices(n, T, L, rng, o.dense)]
        elif self.mode == "val":
            clips = [sampling.val_indices(n, T, L, o.dense)]
        else:
            clips = sampling.test_clips(n, T, L, o.test_mode, o.sparse_clips)
        backwards = o.reverse_time != record.backwards
        frames: list[int] = []
        for firsts in clips:
            clip = sampling.segment_frames(firsts, L, n)
            frames += reversed(clip) if backwards else clip
        distinct, order = np.unique(frames, return_inverse=True)
        return distinct.tolist(), torch.from_numpy(order)

    def _sample(self, group: torch.Tensor, order: torch.Tensor, rng: np.random.Generator, index: int) -> Sample:
        """Of the distinct frames, uint8 `(U, c, h, w)`."""
        label, mirrored = self.records[index].label, None
        if self.mode == "train":
            group, label, mirrored = self._training_crop(group, label, rng)
        else:
            group = evaluation_crops(group, self.options, self.mode)
        return Sample(assembled(group, order, self.options), label, index, mirrored)

    def _training_crop(
        self, group: torch.Tensor, label: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, int, bool]:
        """One random crop, `(1, U, c, H, W)`, its label, and whether it is mirrored."""
        o = self.options
        height, width = group.shape[-2:]
        box = training_crop(height, width, o.input_size, o.kind.scales, rng)
        group = crop_and_resize(group, box, o.input_size)
        mirrored_label = o.mirror_labels[label] if o.mirror_labels else None
        mirrored = rng.random() < 0.5 and mirrored_label is not None
        if mirrored_label is not None and mirrored:
            group, label = o.kind.mirror(group), mirrored_label
        if o.randaugment:
            group = _augmented(group, seed=int(rng.integers(2**62)))
        return group[None], label, mirrored


def evaluation_crops(group: torch.Tensor, options: ClipOptions, mode: ClipMode = "test") -> torch.Tensor:
    """Frames `(U, c, h, w)` → all crops of the test's views, `(crops, U, c, H, W)`; in validation the centre."""
    o = options
    group = shrunk(group, o.stored_short_side)
    if mode == "val":
        return test_views(group, 1, o.scale_size, o.input_size, o.kind.mirror)
    crop_size = o.scale_size if o.full_res else o.input_size
    return test_views(group, o.crops, o.scale_size, crop_size, o.kind.mirror)


def assembled(group: torch.Tensor, order: torch.Tensor, options: ClipOptions) -> torch.Tensor:
    """Distinct frames of each crop `(crops, U, c, H, W)` → views `(V, T, C, H, W)`.

    order: of all frames of all clips, one after the other, the place among the distinct ones.
    """
    frames = group.movedim(2, -1)  # (crops, U, H, W, c), as it lies in memory
    H, W, c = frames.shape[2:]
    if not torch.equal(order, torch.arange(frames.shape[1])):
        frames = frames.flatten(2).index_select(1, order.to(frames.device))  # (crops, clips·T·L, H·W·c)
    frames = frames.reshape(-1, options.segments, options.frames_per_segment, H, W, c)  # (V, T, L, H, W, c)
    return frames.permute(0, 1, 2, 5, 3, 4).flatten(2, 3)  # (V, T, L, c, H, W) → (V, T, L·c, H, W)


def _augmented(group: torch.Tensor, seed: int) -> torch.Tensor:
    """Two operations that `seed` draws, on the whole group `(U, 3, H, W)` at once: all frames alike."""
    from torchvision.transforms.v2 import RandAugment  # here, as it takes two seconds to import

    # Torchvision draws from torch's own generator for the CPU. The GPUs' stay as they are: in the main process they
    # are what dropout draws from, and torch.manual_seed would set them too.
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return RandAugment()(group)


def _check(mode: str, options: ClipOptions) -> None:
    """Raise one InputError for all that could not work for any video."""
    faults = []
    if mode not in ("train", "val", "test"):
        faults.append(f"unknown mode {mode!r}; expected train, val or test")
    if options.modality not in MODALITIES:
        faults.append(f"unknown modality {options.modality!r}; expected one of {', '.join(MODALITIES)}")
    if options.modality == "Flow" and options.randaugment:
        faults.append("RandAugment's operations are made for pictures, not for Flow")
    if options.modality == "Flow" and options.reverse_time:
        faults.append(NO_FLOW_BACKWARDS)
    for name in ("segments", "input_size", "sparse_clips"):
        if getattr(options, name) < 1:
            faults.append(f"{name} is {getattr(options, name)}; expected 1 or more")
    if options.test_mode not in sampling.TEST_MODES:
        faults.append(f"unknown test sampling {options.test_mode!r}; expected one of {sampling.TEST_MODES}")
    if options.crops not in TEST_CROPS:
        faults.append(f"{options.crops} test crops are not defined; expected one of {TEST_CROPS}")
    dense = options.test_mode == "dense" if mode == "test" else options.dense
    if dense and options.segments > sampling.DENSE_WINDOW:
        faults.append(f"dense sampling takes at most {sampling.DENSE_WINDOW} segments, not {options.segments}")
    if faults:
        raise InputError("Clips cannot be made like this: " + "; ".join(faults) + ".")
