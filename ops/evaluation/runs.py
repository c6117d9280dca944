"""Several trainings side by side: what each came to, and in what they differ."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.errors import InputError
from ops.running.logged import LoggedRun, flat, read_run
from ops.running.runlog import ENVIRONMENT, OPTIONS

MARKS = string.ascii_uppercase[:16]  # more lines nobody tells apart
# Options that say what a run is called, where it writes and how it was started: these always differ.
NAMES = {
    *("name", "store_name", "suffix", "root_log", "root_model", "overwrite", "resume", "start_epoch", "print_freq"),
}
UNKNOWN = "(not said)"
NOT_COMPARABLE = {  # options, and what it means that they differ; the first is enough
    "dataset": "These are runs on different data sets, whose accuracies do not compare",
    "data.val": "The validation lists differ; accuracies compare only if they name the same videos",
}


def read_runs(paths: Sequence[Path]) -> list[LoggedRun]:
    """At least two, all different. Raises InputError with every fault."""
    if len(paths) < 2:
        raise InputError(f"{paths[0]}: a run alone; its own page is index.html in its log folder. Name another run too")
    if len(paths) > len(MARKS):
        raise InputError(f"{len(paths)} runs: at most {len(MARKS)} can be told apart; name fewer")
    runs, faults = [], []
    for path in paths:
        try:
            runs.append(read_run(path))
        except InputError as error:
            faults.append(str(error))
    seen: set[Path] = set()
    for run in runs:
        if run.folder.resolve() in seen:
            faults.append(f"{run.folder}: named twice")
        seen.add(run.folder.resolve())
    if faults:
        raise InputError("; ".join(faults))
    return runs


def differing(facts: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Those facts that are not alike in all of which anything is known, with each one's value."""
    names = dict.fromkeys(name for of in facts for name in of)
    differ = [name for name in names if len({of.get(name, UNKNOWN) for of in facts if of}) > 1]
    return {name: [of.get(name, UNKNOWN) for of in facts] for name in differ}


def differing_options(runs: Sequence[LoggedRun]) -> dict[str, list[str]]:
    """All that change what is learned or how fast."""
    found = differing([flat(run.options) for run in runs])
    return {name: values for name, values in found.items() if name not in NAMES}


def differing_environment(runs: Sequence[LoggedRun]) -> dict[str, list[str]]:
    """The machine, and the versions."""
    return differing([flat(run.environment) for run in runs])


def warnings(runs: Sequence[LoggedRun]) -> list[str]:
    """Why the numbers are not comparable, as far as is known, and of which runs nothing is."""
    options = differing_options(runs)
    found = []
    for name, words in NOT_COMPARABLE.items():
        said = {m: value for m, value in zip(MARKS, options.get(name, ()), strict=False) if value != UNKNOWN}
        if len(set(said.values())) > 1:
            found.append(f"{words}: {', '.join(f'{mark} {value}' for mark, value in said.items())}")
            break
    for what, file, facts in (
        ("options", OPTIONS, [run.options for run in runs]),
        ("environment", ENVIRONMENT, [run.environment for run in runs]),
    ):
        if unknown := [mark for mark, of in zip(MARKS, facts, strict=False) if not of]:
            found.append(f"The {what} of {', '.join(unknown)} can't be compared: there is no {file} beside log.csv")
    return found


def marked(values: Sequence[str]) -> str:
    """Each run's value on one line."""
    return ", ".join(f"{mark} {value}" for mark, value in zip(MARKS, values, strict=False))


def summary(run: LoggedRun) -> list[str]:
    """Epochs, the last and the best top-1 with its epoch, hours: a run's cells in the table of runs."""
    done, epochs = int(run.rows[-1]["epoch"]), run.options.get("epochs")
    last, best = run.last, run.best
    return [
        f"{done} of {epochs}" if epochs else str(done),
        f"{last['val_top1']:.2f}" if last else "",
        f"{best['val_top1']:.2f}" if best else "",
        f"{best['epoch']:.0f}" if best else "",
        f"{run.hours[-1]:.2f}",
    ]


def in_words(runs: Sequence[LoggedRun]) -> list[str]:
    """The comparison as lines of text."""
    lines = []
    for mark, run in zip(MARKS, runs, strict=False):
        epochs, last, best, when, hours = summary(run)
        top1 = f"top-1 {last} % last, {best} % best (epoch {when})" if best else "no validation"
        lines.append(f"{mark}: {run.folder}: {epochs} epochs, {top1}, {hours} h")
    lines += warnings(runs)
    for title, found in (("options", differing_options(runs)), ("environment", differing_environment(runs))):
        lines.append(f"{title} that differ{'s' * (title == 'environment')}:" + " none" * (not found))
        lines += [f"  {name}: {marked(values)}" for name, values in found.items()]
    return lines
