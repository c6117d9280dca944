"""What the programs say on the terminal: one log handler, on the main process. Loads no torch."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

from tqdm import tqdm


def start_logging() -> None:
    """One handler, on the main process: progress goes to standard error, results are printed by the programs."""
    is_main = os.environ.get("RANK", "0") == "0"  # torchrun's; known before the processes have met
    root = logging.getLogger()
    if not any(isinstance(handler, _Console) for handler in root.handlers):
        root.addHandler(_Console())
    root.setLevel(logging.INFO if is_main else logging.ERROR)


class _Console(logging.Handler):
    """Lines on standard error, above the progress bar if there is one.

    Where they go to may be a file on a full disk, or a terminal that is gone: no reason to end a training.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            tqdm.write(self.format(record), file=sys.stderr)
