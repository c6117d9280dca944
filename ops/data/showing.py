"""Frames of a data set's videos for people to look at, found by what a video is known by wherever it comes from."""

from __future__ import annotations

import numpy as np

from ops.data.catalog import DataSource
from ops.data.decode import FrameError
from ops.data.storages import listed, open_storage
from ops.data.videofile import video_names
from ops.errors import InputError

FRAMES = 8  # of a video, spread over it


class ListedVideos:
    """The videos of the validation (or test) list of a data set of modality RGB. Raises InputError as `listed` does."""

    def __init__(self, data: DataSource) -> None:
        self.list = data.val_list
        self.storage = open_storage(data)
        self.records = listed(data, self.storage, data.val_list, unlabelled_too=True)
        self.place = {name: n for n, name in enumerate(video_names([record.path for record in self.records]))}

    def frames(self, name: str) -> np.ndarray:
        """At most eight frames, uint8 `(n, H, W, 3)`. Raises InputError, in plain words, if there are none."""
        if name not in self.place:
            raise InputError(f"{self.list.name} does not name it")
        record = self.records[self.place[name]]
        numbers = np.unique(np.linspace(1, record.num_frames, FRAMES).round().astype(int))
        try:
            return self.storage.read(record, numbers.tolist()).permute(0, 2, 3, 1).numpy()  # (n, c, H, W)
        except FrameError as error:
            raise InputError(self.storage.reason(record, error)) from error
