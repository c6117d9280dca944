"""TensorBoard's file of a run. It is an extra: where it can't be written, that is said, and the training goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from ops.files import in_words

logger = logging.getLogger(__name__)


class Board:
    """Curves in `folder`, a file for each time that a run goes on; the file is made with its first points.

    Not by tensorboardX's SummaryWriter, whose thread ends at a full disk, whereupon the one that feeds it waits for
    ever.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: EventsWriter | None = None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve. What earlier files say of this step and later ones, TensorBoard then hides."""
        try:
            if self.events is None:
                self.events = EventsWriter(str(self.folder / "events"))
                self._write(step, session_log=SessionLog(status=SessionLog.START))
            for name, value in values.items():
                self._write(step, summary=scalar(name, value))
            self.events.flush()
        except OSError as error:
            logger.warning("%s: TensorBoard's file of step %d can't be written: %s", self.folder, step, in_words(error))
            self.events = None  # a new file the next time: behind half a record, none is read

    def _write(self, step: int, **content: object) -> None:
        assert self.events is not None
        self.events.write_event(Event(wall_time=time.time(), step=step, **content))
