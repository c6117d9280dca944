"""The two folders of a run, for its checkpoints and its log: held against other runs, and not overwritten unasked."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.errors import InputError
from ops.files import in_words
from ops.locks import claimed
from ops.running.checkpoint import BEST, LATEST, Checkpoint
from ops.running.runlog import TABLE

logger = logging.getLogger(__name__)

KEEP_BOTH = "keep both (--suffix NAME or --store_name NAME)"
LEFT = ("events.out.tfevents.*", "clips/*.jpg")  # in a run's log, beside its table and its page
TIMEOUT = 120.0  # seconds for the lock of a machine that died, which a network file system keeps for a while


@dataclass(frozen=True)
class RunFolders:
    """Where the run `name` leaves its checkpoints and its log."""

    name: str
    checkpoints: Path
    log: Path

    @contextmanager
    def claimed(self, resumed: Checkpoint | None, overwrite: bool) -> Iterator[None]:
        """Holds both folders. Raises InputError if another run does, or if they hold what may not be overwritten.

        Started anew by torchrun, a run may have to wait until nobody keeps its former self's locks any more.
        """
        timeout = TIMEOUT if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) else 0.0
        remedy = "wait for its end, or give this run folders of its own (--suffix NAME or --store_name NAME)"
        folders = {folder.resolve(): folder for folder in (self.checkpoints, self.log)}  # it may be one
        with ExitStack() as held:
            for _, folder in sorted(folders.items()):  # in one order, so that of two runs one gets both
                held.enter_context(claimed(folder, remedy, timeout=timeout))
            if not overwrite:
                self.refuse_to_overwrite(resumed)
            yield

    def refuse_to_overwrite(self, resumed: Checkpoint | None) -> None:
        """InputError if another run (or a user) left checkpoints or a log there."""
        if checkpoints := self.earlier_checkpoints(resumed):
            raise InputError(
                f"{self.checkpoints} holds checkpoints already: go on with that run (--resume {checkpoints[0]}), "
                f"{KEEP_BOTH}, or replace it (--overwrite)"
            )
        if self.earlier_log(resumed):
            raise InputError(f"{self.log} holds an earlier run's log already: {KEEP_BOTH}, or replace it (--overwrite)")

    def make_room(self, resumed: Checkpoint | None, checkpoint_size: int) -> None:
        """Removes what an earlier run left, all of it. InputError if checkpoints of so many bytes would not fit.

        A new run soon has two, the latest and the best; a resumed one replaces those that are there.
        """
        earlier_log = self.earlier_log(resumed)
        for file in [*self.earlier_checkpoints(resumed), *earlier_log]:
            if resumed is None or file.resolve() != resumed.path.resolve():
                file.unlink()
        if earlier_log:
            self._remove_extras()
        needed = checkpoint_size * (1 if resumed else 2)
        free = shutil.disk_usage(self.checkpoints).free
        if needed > free:
            raise InputError(
                f"{self.checkpoints}: the checkpoints need about {needed >> 20} MiB, {free >> 20} MiB are free: free "
                "some space, or name another --root_model"
            )

    def earlier_checkpoints(self, resumed: Checkpoint | None) -> list[Path]:
        """Those of another run than the one that goes on after `resumed`."""
        found = [file for file in (self.checkpoints / LATEST, self.checkpoints / BEST) if file.exists()]
        goes_on = resumed is not None and (not found or found[0].resolve() == resumed.path.resolve())
        return [] if goes_on else found

    def earlier_log(self, resumed: Checkpoint | None) -> list[Path]:
        """The same of the log; a run that did not finish an epoch has left none."""
        goes_on = resumed is not None and resumed.training.get("name") == self.name
        if goes_on or not (self.log / TABLE).exists():
            return []
        return [self.log / TABLE]

    def _remove_extras(self) -> None:
        """What stood beside an earlier run's table, for people to look at: no reason to end a training."""
        for file in [file for left in LEFT for file in self.log.glob(left)]:
            try:
                file.unlink()
            except OSError as error:
                logger.warning("%s is of an earlier run and can't be removed: %s", file, in_words(error))

    def how_to_go_on(self) -> str:
        """For a run that ends early."""
        latest = self.checkpoints / LATEST
        if not latest.exists():
            return "No epoch has been saved yet"
        return f"{latest} is whole, with the last epoch that was saved: go on after it with --resume {latest}"
