"""The two folders of a run, for its checkpoints and its log: held against other runs, and not overwritten unasked."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.errors import InputError
from ops.files import atomic_write, in_words
from ops.locks import claimed
from ops.running.checkpoint import BEST, LATEST, Checkpoint
from ops.running.runlog import TABLE

logger = logging.getLogger(__name__)

KEEP_BOTH = "keep both (--suffix NAME or --store_name NAME)"
LEFT = ("events.out.tfevents.*", "clips/*.jpg")  # in a run's log, beside its table and its page
KEPT_NAME, KEPT = "ckpt_epoch{}.pth", re.compile(r"ckpt_epoch(\d{1,9})\.pth")  # of --keep
TIMEOUT = 120.0  # seconds for the lock of a machine that died, which a network file system keeps for a while


@dataclass(frozen=True)
class RunFolders:
    """Where the run `name` leaves its checkpoints and its log."""

    name: str
    checkpoints: Path
    log: Path
    auto: bool = False  # it goes on from whatever of its own is whole

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Holds both folders. Raises InputError if another run does.

        Started anew by torchrun, a run may have to wait until nobody keeps its former self's locks any more.
        """
        timeout = TIMEOUT if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) else 0.0
        remedy = "wait for its end, or give this run folders of its own (--suffix NAME or --store_name NAME)"
        folders = {folder.resolve(): folder for folder in (self.checkpoints, self.log)}  # it may be one
        with ExitStack() as held:
            for _, folder in sorted(folders.items()):  # in one order, so that of two runs one gets both
                held.enter_context(claimed(folder, remedy, timeout=timeout))
            yield

    def refuse_to_overwrite(self, resumed: Checkpoint | None) -> None:
        """InputError if another run (or a user) left checkpoints or a log there."""
        if checkpoints := self.earlier_checkpoints(resumed):
            raise InputError(
                f"{self.checkpoints} holds checkpoints already: go on with that run (--resume auto, or --resume "
                f"{checkpoints[0]}), {KEEP_BOTH}, or replace it (--overwrite)"
            )
        if self.earlier_log(resumed):
            raise InputError(f"{self.log} holds an earlier run's log already: {KEEP_BOTH}, or replace it (--overwrite)")

    def make_room(self, resumed: Checkpoint | None, checkpoint_size: int, kept: int = 0) -> None:
        """Removes what an earlier run left, all of it. InputError if checkpoints of so many bytes would not fit.

        A new run soon has two, the latest and the best, and one of each of the `kept` epochs, the last of which is the
        latest; a resumed one replaces those that are there.
        """
        earlier_log = self.earlier_log(resumed)
        for file in [*self.earlier_checkpoints(resumed), *earlier_log]:
            if resumed is None or file.resolve() != resumed.path.resolve():
                file.unlink()
        if earlier_log:
            self._remove_extras()
        needed = checkpoint_size * (1 if resumed else 2 + max(0, kept - 1))
        free = shutil.disk_usage(self.checkpoints).free
        if needed > free:
            raise InputError(
                f"{self.checkpoints}: the checkpoints need about {needed >> 20} MiB, {free >> 20} MiB are free: free "
                "some space, or name another --root_model"
            )

    def own_checkpoints(self) -> list[Path]:
        """Those that are there, the latest first: what it may go on from.

        By their times, and not by their epochs: a run that went back has left some of a future that is no more.
        """
        kept = [file for file in self._files() if KEPT.fullmatch(file.name) or file.name == BEST]
        ordered = sorted(kept, key=lambda file: file.stat().st_mtime_ns, reverse=True)
        return [file for file in (self.checkpoints / LATEST, *ordered) if file.is_file()]

    def earlier_checkpoints(self, resumed: Checkpoint | None) -> list[Path]:
        """Those of another run than the one that goes on after `resumed`."""
        found = self.own_checkpoints()
        goes_on = resumed is not None and (not found or self._is_last(resumed.path, found))
        return [] if goes_on else found

    def _is_last(self, path: Path, found: list[Path]) -> bool:
        """Whether nothing is lost where a run goes on after this one: none is later, but for damaged ones."""
        return path.resolve() in [file.resolve() for file in found if file == found[0] or self.auto]

    def keep(self, epoch: int, count: int) -> None:
        """Keeps the latest checkpoint as that of this epoch, and of those so kept the last `count`; none if 0."""
        if count:
            kept = self.checkpoints / KEPT_NAME.format(epoch)
            kept.unlink(missing_ok=True)
            try:
                os.link(self.checkpoints / LATEST, kept)
            except OSError:  # a file system without links
                with atomic_write(kept) as file, (self.checkpoints / LATEST).open("rb") as latest:
                    shutil.copyfileobj(latest, file)
            numbers = (int(match[1]) for file in self._files() if (match := KEPT.fullmatch(file.name)))
            for number in sorted(number for number in numbers if number <= epoch)[:-count]:
                (self.checkpoints / KEPT_NAME.format(number)).unlink()

    def make_up_for(self, resumed: Checkpoint | None, count: int) -> None:
        """Keeps the latest checkpoint, from which the run goes on, if it was killed before it could do so."""
        is_latest = resumed is not None and resumed.path.resolve() == (self.checkpoints / LATEST).resolve()
        if resumed is not None and is_latest and "begun" not in resumed.training:  # which is of a whole epoch
            self.keep(resumed.training["epoch"], count)

    def _files(self) -> list[Path]:
        return list(self.checkpoints.iterdir()) if self.checkpoints.is_dir() else []

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
            return "Nothing has been saved yet"
        return f"{latest} is whole, with all that was saved: the same command with --resume auto goes on after it"
