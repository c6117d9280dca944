#!/usr/bin/env python3
"""Trains and tests what experiments compare, and collects the numbers.

    python tools/run_experiments.py docs/experiments/medium.toml
    python tools/run_experiments.py docs/experiments/*.toml --jobs 2 --only tsm fex
    python tools/run_experiments.py docs/experiments/medium.toml --verify tsm

Each arm is trained by main.py once for each seed and tested by test_models.py. The numbers go to NAME.csv, the
learning curves to NAME.curves.csv, and which class was taken for which to NAME.mistakes.csv, beside the description,
after each run. What is in these tables already is not run again, a run that was stopped goes on from its last
checkpoint (SIGTERM and Ctrl-C save), and one that fails is told at the end, with its log. --verify trains arms anew,
elsewhere, and says whether they give the numbers of the table; --time times a clip in each arm's network, on a machine
that should do nothing else. tools/results_page.py makes docs/results.md of the tables.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, did_you_mean, reported
from ops.machine import usable_cores
from tools.experiments import timing
from tools.experiments.plan import Experiment, read_experiment
from tools.experiments.running import Runner
from tools.experiments.table import Time, write_rows
from tools.options import documented_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, say what failed; the exit status."""
    args = parse(argv)
    experiments = [read_experiment(file) for file in args.experiments]
    flag, arms = "only" if args.only else "verify", arms_of(experiments)
    faults = [
        f"--{flag} {name}: no arm of {', '.join(e.name for e in experiments)}{did_you_mean(name, arms)}"
        for name in args.only or args.verify
        if name not in arms
    ]
    if faults:
        raise InputError("; ".join(faults))
    files = dict(zip(args.experiments, experiments, strict=True))
    if args.time:
        for file, experiment in files.items():
            write_rows(file.with_suffix(".ms.csv"), Time, timing.timed(experiment, args.threads))
        return 0
    runner = Runner(args.work.resolve(), args.gpus or [None] * args.jobs, args.threads, args.keep_weights)
    if args.dry_run:
        runner.show(files, args.only)
        return 0
    return runner.verify(files, args.verify) if args.verify else runner.run(files, args.only)


def arms_of(experiments: Sequence[Experiment]) -> list[str]:
    """The names of all arms."""
    return [arm.name for experiment in experiments for arm in experiment.arms]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Raises InputError that lists what is wrong with the flags."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("experiments", nargs="+", type=Path, metavar="FILE", help="descriptions, docs/experiments/NAME.toml")
    add("--work", type=Path, default=Path("experiments"), metavar="DIR", help="data, runs and logs (experiments)")
    add("--jobs", type=int, default=usable_cores(), help="runs at a time (one a processor)")
    add("--threads", type=int, default=1, help="of each run on the CPU (1: a number depends on it in its last digits)")
    add("--gpus", nargs="+", metavar="N", help="a run at a time on each, instead of --jobs; several on one: 0 0 0")
    add("--only", nargs="+", default=[], metavar="ARM", help="these arms")
    add("--verify", nargs="+", default=[], metavar="ARM", help="train their first seed anew and compare")
    add("--keep_weights", action="store_true", help="keep each run's checkpoint: a further test needs no training then")
    add("--time", action="store_true", help="time a clip in each arm's network instead, into NAME.ms.csv")
    add("--dry_run", action="store_true", help="print the commands of what is missing")
    args = parser.parse_args(argv)
    faults = [f"--{name} {getattr(args, name)}: at least 1" for name in ("jobs", "threads") if getattr(args, name) < 1]
    faults += gpu_faults(args.gpus or [])
    asked = [f"--{name}" for name in ("only", "verify", "time", "dry_run") if getattr(args, name)]
    faults += [f"{' '.join(asked)}: one of them"] if len(asked) > 1 and asked != ["--only", "--dry_run"] else []
    if faults:
        raise InputError("; ".join(faults))
    return args


def gpu_faults(gpus: Sequence[str]) -> list[str]:
    """GPUs that are not there: CUDA would leave them out, and the runs would be on the CPU.

    Others than numbers are names, as of parts of a GPU; and where CUDA_VISIBLE_DEVICES hides some, all may be meant.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    count = torch.cuda.device_count()
    expected = f"expected 0 to {count - 1}" if count else "torch sees no GPU here; leave it out for the CPU"
    lacking = [gpu for gpu in dict.fromkeys(gpus) if not count or (gpu.isdecimal() and int(gpu) >= count)]
    return [f"--gpus {gpu}: {expected}" for gpu in lacking]


if __name__ == "__main__":
    with reported():
        sys.exit(main())
