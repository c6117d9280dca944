#!/usr/bin/env python3
"""Test a trained network or an ensemble: `python test_models.py DATASET --weights=FILE …` (see `--help`).

The test itself is `ops/programs/testing.py`. It loads torch, which takes seconds, and so is imported once the options
are known to be right.
"""

from __future__ import annotations

from collections.abc import Sequence

from ops.console import start_logging
from ops.errors import reported
from ops.machine import prepare_process
from opts import testing_options


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, then test."""
    start_logging()
    args = testing_options(argv)
    prepare_process()
    from ops.programs import testing

    testing.run(args)


if __name__ == "__main__":
    with reported():
        main()
