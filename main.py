#!/usr/bin/env python3
"""Train FEXNet, TSM or TSN: `python main.py DATASET MODALITY …` (see `--help` and the README).

The training itself is `ops/programs/training.py`. It loads torch, which takes seconds, and so is imported once the
options are known to be right.
"""

from __future__ import annotations

from collections.abc import Sequence

from ops.console import start_logging
from ops.errors import reported
from ops.machine import prepare_process
from opts import run_name, training_options


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, then train."""
    start_logging()
    args = training_options(argv)
    prepare_process()
    from ops.programs import training

    training.run(args, run_name(args))


if __name__ == "__main__":
    with reported():
        main()
