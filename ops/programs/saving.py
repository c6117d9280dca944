"""When and how a training run is saved: after each epoch, within it, and when it is told to end."""

from __future__ import annotations

import argparse
import errno
import logging
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from ops.errors import InputError, Stopped
from ops.files import in_words
from ops.programs.preparing import Run
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext
from ops.running.engine import Meters
from ops.running.signals import Signals

logger = logging.getLogger("fexnet")

RETRY = 5.0  # seconds between two tries to write to a full disk


@dataclass
class Saves:
    """The saves of a run.

    In mid-epoch they come between two steps, so that no gradients are lost, and all processes agree on them.
    """

    args: argparse.Namespace
    run: Run
    context: DistributedContext
    signals: Signals
    _last: float = field(default_factory=time.monotonic)

    def after_batch(self, trained_on: int, steps: int, meters: Meters) -> None:
        """Saves in mid-epoch (see `write`) if that is due, or a signal has come.

        trained_on: videos of the epoch, of all processes. steps: that it has had.
        """
        if self.run.step.is_whole and self.context.agree(self._told or self._is_due(steps)):
            self.run.begun, self.run.sums = trained_on, meters.sums(self.context)
            self.write(files.LATEST)

    def write(self, *names: str) -> None:
        """Writes the run as it is now to these checkpoints; then raises Stopped if a process has got a signal."""
        refuse_not_finite(self.run)
        with self.signals.held():
            if self.context.is_main:
                content = self.run.about | state_of(self.run)
                for name in names:
                    self._write(name, content)
            self._last = time.monotonic()
            self.context.wait()
            if number := self.context.agree(self._told):
                raise Stopped(signal.Signals(number))

    @property
    def _told(self) -> int:
        """The number of the signal that this process has got; 0 if none."""
        return self.signals.received or 0

    def _is_due(self, steps: int) -> bool:
        """The main process's clock counts, and its wish is all others'."""
        every, minutes = self.args.save_steps, self.args.save_minutes
        late = self.context.is_main and minutes and time.monotonic() - self._last >= 60 * minutes
        return bool(every and steps % every == 0) or bool(late)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        """Where the disk is full, tries until there is room, if --full_disk says so and nobody ends the run."""
        path = self.run.folders.checkpoints / name
        while True:
            try:
                return files.save_checkpoint(path, content)
            except OSError as error:
                is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not is_full or self.args.full_disk != "wait" or self.signals.received:
                    raise
                logger.warning("%s: %s. Trying again until there is room (--full_disk wait)", path, in_words(error))
                self.context.beat("waiting for room on the disk")
                time.sleep(RETRY)


def state_of(run: Run) -> dict[str, Any]:
    """What a run goes on from; `state_dict` is what is validated: the average, if any."""
    state = {
        "epoch": run.epoch,
        "validated": run.validated,
        "best_prec1": run.best,
        "rows": run.rows,
        "state_dict": run.kept.state_dict(),
        "optimizer": run.step.optimizer.state_dict(),
        "scaler": run.step.scaler.state_dict(),
    }
    if run.begun:
        state["begun"] = {"videos": run.begun, "sums": run.sums}
    if run.average:
        state |= {"trained": run.network.state_dict(), "averaged_steps": int(run.average.n_averaged)}
    return state


def checkpoint_size(run: Run) -> int:
    """About how many bytes: the weights, their average if there is one, their momenta."""
    size = sum(tensor.nbytes for tensor in run.network.state_dict().values()) * (2 if run.average else 1)
    groups = run.step.optimizer.param_groups
    return size + sum(weight.nbytes for group in groups if group.get("momentum") for weight in group["params"])


def refuse_not_finite(run: Run) -> None:
    """Raises InputError if a weight has become infinite or no number: then the checkpoints stay as they are."""
    modules = dict.fromkeys((run.network, run.kept))  # which may be one
    for name, value in (pair for module in modules for pair in module.state_dict().items()):
        if not value.isfinite().all():
            raise InputError(
                f"epoch {run.epoch + bool(run.begun)} left {name} without finite numbers, and is not kept: lower --lr, "
                "clip gradients (--gd 20), or give --amp off"
            )
