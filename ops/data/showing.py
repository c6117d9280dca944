"""Frames of a list's videos for people to look at, found by what a video is known by wherever it comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ops.data import sampling
from ops.data.catalog import DataSource
from ops.data.clips import ClipOptions
from ops.data.decode import FrameError
from ops.data.records import VideoRecord
from ops.data.storages import Storage, listed, open_storage
from ops.data.videofile import video_names
from ops.errors import InputError

FRAMES = 8  # of a video that no network has looked at


class ShownVideos:
    """The frames of one clip of each video, whole, as it is played: of each segment the first.

    The clip is that in the middle of the segments. options: of a network's clips.
    """

    def __init__(self, records: Sequence[VideoRecord], storage: Storage, options: ClipOptions) -> None:
        self.records = records
        self.storage = storage
        self.options = options
        paths = [record.name for record in records]
        self.listed, self.known = ({name: n for n, name in enumerate(of)} for of in (paths, video_names(paths)))

    @classmethod
    def of_list(cls, data: DataSource, decoder: str = "auto", reverse_time: bool = False) -> ShownVideos:
        """Those of the validation (or test) list of a data set of modality RGB. Raises InputError as `listed` does."""
        storage = open_storage(data, decoder)
        records = listed(data, storage, data.val_list, unlabelled_too=True)
        return cls(records, storage, ClipOptions(FRAMES, reverse_time=reverse_time))

    def __call__(self, *paths: str) -> np.ndarray:
        """uint8 `(T, H, W, 3)` of the video of these paths, in the list or in others: each may have another ending.

        Raises InputError, in plain words, if there are none.
        """
        stripped = [name for path in paths for name in video_names([path])]
        ways = ((self.listed, paths), (self.known, paths), (self.known, stripped))  # the surest first
        places = [of[name] for of, names in ways for name in names if name in of]
        if not places:
            raise InputError("the list does not name it (any more)")
        record, o = self.records[places[0]], self.options
        (firsts,) = sampling.test_clips(record.num_frames, o.segments, o.frames_per_segment, "uniform")
        numbers, order = np.unique(firsts[::-1] if o.reverse_time != record.backwards else firsts, return_inverse=True)
        try:
            frames = self.storage.read(record, numbers.tolist())  # (n, 3, H, W)
        except FrameError as error:
            raise InputError(self.storage.reason(record, error)) from error
        return frames[torch.from_numpy(order)].permute(0, 2, 3, 1).numpy()
