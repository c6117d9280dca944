"""What docs/results.md shows of an experiment: how it was made, a table, pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.errors import InputError
from tools.experiments import plots
from tools.experiments.plan import Arm, Experiment, Test, read_experiment
from tools.experiments.statistics import Mean, mean, paired
from tools.experiments.table import Epoch, Mistake, Row, Time, read_rows, row_of, values

COMMONEST = 5  # mistakes that are shown


def read(folder: Path, name: str) -> tuple[Experiment, list[Row]]:
    """A description and those of its table's rows that are of its present settings.

    Raises InputError where there is no description, no such row, or an arm's rows took different files from elsewhere.
    """
    experiment = read_experiment(folder / f"{name}.toml")
    table = folder / f"{name}.csv"
    every = read_rows(table, Row)
    found = [
        row_of(every, experiment, arm, seed, test)
        for arm in experiment.arms
        for seed in arm.seeds
        for test in experiment.tests
    ]
    rows = [row for row in found if row is not None]
    if not rows:
        raise InputError(f"{table}: nothing yet: python tools/run_experiments.py {folder / name}.toml")
    for arm in experiment.arms:
        if len(taken := {row.inputs for row in rows if row.arm == arm.name}) > 1:
            raise InputError(
                f"{table}: {arm.name}: its rows took different files from elsewhere ({', '.join(sorted(taken))}): "
                "take out those that are not of today's, and run them again"
            )
    return experiment, rows


def times_of(folder: Path, experiment: Experiment) -> dict[str, Time]:
    """What a clip takes each arm, where it has been timed."""
    settings = {arm.name: experiment.training(arm) for arm in experiment.arms}
    rows = read_rows(folder / f"{experiment.name}.ms.csv", Time)
    return {row.arm: row for row in rows if row.settings == settings.get(row.arm)}


def part(folder: Path, name: str) -> list[str]:
    """The part of docs/results.md that shows an experiment, in Markdown."""
    experiment, rows = read(folder, name)
    shown = [f"![{title}]({folder.name}/{file})" for file, title in pictures(experiment, folder).items()]
    return [
        *setup(experiment, rows, folder.name),
        "",
        *table(experiment, rows, times_of(folder, experiment)),
        "",
        *mistakes(experiment, rows, folder),
        *shown,
    ]


def setup(experiment: Experiment, rows: Sequence[Row], folder: str) -> list[str]:
    """How the numbers were made."""
    used = [arm.data for arm in experiment.arms] + [test.data for test in experiment.tests]
    made = list(dict.fromkeys(make for data in used for make in data.make))
    seeds, precisions, versions, devices, threads, commits = (
        ", ".join(map(str, sorted({getattr(row, what) for row in rows})))
        for what in ("seed", "precision", "torch", "device", "threads", "commit")
    )
    videos = {row.test: row.videos for row in rows}
    tested = ", ".join(f"{count} in {test}" for test, count in videos.items())
    tested = f"{rows[0].videos} videos in a test" if len(set(videos.values())) == 1 else f"videos: {tested}"
    said = [
        f"**{experiment.question}**",
        "",
        f"`{experiment.train}`; {precisions}; seeds {seeds}; data: {'; '.join(f'`{make}`' for make in made)}; "
        f"{tested}; torch {versions}, {devices}, threads: {threads}; code {commits}. "
        f"`python tools/run_experiments.py docs/{folder}/{experiment.name}.toml`; all numbers: "
        f"[{experiment.name}.csv]({folder}/{experiment.name}.csv).",
    ]
    lacking = [arm.name for arm in experiment.arms if arm.name not in {row.arm for row in rows}]
    return [*said, *(["", f"Not run yet: {', '.join(lacking)}."] if lacking else [])]


def table(
    experiment: Experiment, rows: Sequence[Row], times: Mapping[str, Time], only: Sequence[str] | None = None
) -> list[str]:
    """A line for each arm: its accuracy in each test, the difference to the baseline's, losses and cost."""
    tests = experiment.tests
    base = next((arm.words for arm in experiment.arms if arm.name == experiment.baseline), None)
    several = sum(test.changed_from is None for test in tests) > 1
    accuracy = f"top-1 % (less {base}, paired)" if base else "top-1 %"
    heads = ["network", "seeds"]
    for test in tests:
        name = f"{test.name}: " if several else ""
        heads.append(f"{name}{accuracy}" if test.changed_from is None else f"{test.name}: other predictions, %")
    heads += ["training loss", "validation loss", "GMACs", "M parameters"]
    if times:
        threads = ", ".join(map(str, sorted({time.threads for time in times.values()})))
        heads.append(f"ms a clip, float32, threads: {threads}")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for arm in experiment.arms:
        own = [row for row in rows if row.arm == arm.name]
        if own and (only is None or arm.name in only):
            found = cells(experiment, arm, own, rows)
            found += [f"{times[arm.name].ms:.3g}" if arm.name in times else ""] if times else []
            lines.append(f"| {' | '.join(found)} |")
    return lines


def cells(experiment: Experiment, arm: Arm, own: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """An arm's line, but for its time."""
    first = experiment.tests[0].name
    seeds = len({row.seed for row in own})
    found = [escaped(arm.words), str(seeds)]
    for test in experiment.tests:
        numbers = list(values(own, arm.name, test.name, "changed" if test.changed_from else "top1").values())
        found.append(f"{mean(numbers)}{compared(experiment, arm, test, rows)}" if numbers else "")
    for loss in ("train_loss", "val_loss"):
        losses = [value for value in values(own, arm.name, first, loss).values() if value is not None]
        found.append(f"{mean(losses).value:.3f}" if losses else "")
    return [*found, f"{own[0].gmacs:.3g}", f"{own[0].mparams:.3g}"]


def compared(experiment: Experiment, arm: Arm, test: Test, rows: Sequence[Row]) -> str:
    """The difference to the baseline in brackets, with the number of pairs where not all runs are in one."""
    if experiment.baseline is None or arm.name == experiment.baseline or test.changed_from is not None:
        return ""
    own = values(rows, arm.name, test.name)
    difference = paired(values(rows, experiment.baseline, test.name), own)
    if difference is None:
        return ""
    return f" ({signed(difference)}{'' if difference.n == len(own) else f', of {difference.n}'})"


def mistakes(experiment: Experiment, rows: Sequence[Row], folder: Path) -> list[str]:
    """What the arms that the description puts first take for what, in percent of all that they get wrong."""
    test = experiment.tests[0]
    tested = [row for row in rows if row.test == test.name]
    every = read_rows(folder / f"{experiment.name}.mistakes.csv", Mistake)
    if not tested or not every:
        return []
    lines = [f"| network | wrong of {tested[0].videos} ({test.name}) | most often taken for another, % of these |"]
    lines.append("|---|---|---|")
    for arm in (arm for arm in experiment.arms if arm.name in experiment.brief):
        seeds = {row.seed for row in tested if row.arm == arm.name}
        pairs: Counter[tuple[str, str]] = Counter()
        for line in every:
            if line.arm == arm.name and line.seed in seeds and line.settings == experiment.settings(arm, test):
                pairs[line.label, line.predicted] += line.videos
        if seeds:
            wrong = pairs.total()
            shares = [f"{a} for {b} {100 * n / wrong:.0f}" for (a, b), n in pairs.most_common(COMMONEST)]
            lines.append(f"| {escaped(arm.words)} | {wrong / len(seeds):.0f} | {escaped(', '.join(shares))} |")
    return [*lines, ""]


def escaped(words: str) -> str:
    """For a cell."""
    return words.replace("|", "\\|")


def signed(difference: Mean) -> str:
    """In bold where zero is outside of its interval."""
    words = f"{difference.value:+.1f}" + ("" if difference.half is None else f" ± {difference.half:.1f}")
    return f"**{words}**" if difference.is_beyond_zero else words


def pictures(experiment: Experiment, folder: Path) -> dict[str, str]:
    """The names of an experiment's pictures, and what they show."""
    name = experiment.name
    curves = {f"{name}.curves.png": f"{experiment.title}: losses"}
    return {f"{name}.png": experiment.title} | (curves if (folder / f"{name}.curves.csv").exists() else {})


def draw(folder: Path, name: str) -> None:
    """Draws the pictures of an experiment beside its table."""
    experiment, rows = read(folder, name)
    along = [test for test in experiment.tests if test.x is not None]
    if along:
        plots.draw_against_x(experiment, rows, along, folder / f"{name}.png")
    else:
        plots.draw_arms(experiment, rows, experiment.tests[0], folder / f"{name}.png")
    settings = {arm.name: experiment.training(arm) for arm in experiment.arms}
    every = read_rows(folder / f"{name}.curves.csv", Epoch)
    shown = {(row.arm, row.seed) for row in rows}
    if epochs := [e for e in every if e.settings == settings.get(e.arm) and (e.arm, e.seed) in shown]:
        plots.draw_curves(experiment, epochs, folder / f"{name}.curves.png")


def brief(folder: Path, name: str) -> list[str]:
    """README's table: the arms that the description names, their accuracies and cost."""
    experiment, rows = read(folder, name)
    lines = table(experiment, rows, times_of(folder, experiment), experiment.brief)
    return [*lines, "", f"Made by `python tools/run_experiments.py docs/{folder.name}/{name}.toml`."]
