"""The runs of experiments, side by side: each a main.py and its test_models.py, as a user starts them."""

from __future__ import annotations

import csv
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ops.errors import InputError
from ops.evaluation.ensemble import named_scores
from ops.files import write_text
from ops.locks import claimed
from ops.model.tsn import options_from_flags
from ops.running.checkpoint import LATEST
from ops.running.runlog import ENVIRONMENT, OPTIONS, TABLE
from tools.complexity import complexity, on_meta
from tools.experiments.plan import Arm, Data, Experiment, Test, words_of
from tools.experiments.table import Epoch, Row, in_order, read_rows, row_of, write_rows

REPOSITORY = Path(__file__).resolve().parents[2]
TAIL = 8  # lines of a failed program's log that are shown
MADE, TRAINED = "made", "trained.json"  # stand where a data set, a training is complete


class FailedError(Exception):
    """A program of a run has ended with another status than 0; its log's last lines."""


@dataclass(frozen=True)
class Run:
    """An arm with a seed."""

    experiment: Experiment
    table: Path
    arm: Arm
    seed: int

    def __str__(self) -> str:
        return f"{self.experiment.name}: {self.arm.name}, seed {self.seed}"


@dataclass
class Runner:
    """Runs programs in `slots` side by side (each a GPU's number, or None for the CPU); data and runs lie in `work`."""

    work: Path
    slots: Sequence[str | None]
    threads: int
    dry_run: bool = False
    keep_weights: bool = False
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    is_stopping: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    writing: dict[Path, threading.Lock] = field(default_factory=dict)

    # ---- What is asked for

    def run(self, files: Mapping[Path, Experiment], only: Sequence[str]) -> int:
        """All runs that the tables lack; the exit status, 1 if one failed."""
        with self._alone(files):
            missing = [run for file, experiment in files.items() for run in missing_runs(file, experiment, only)]
            print(f"{len(missing)} runs to do, {len(self.slots)} at a time", flush=True)
            failed = self._all(missing, self.work, keep=True)
        return self._said(failed)

    def verify(self, files: Mapping[Path, Experiment], arms: Sequence[str]) -> int:
        """Trains the arms' first seed anew; 1 if a number differs from the table's, or a run failed."""
        runs = []
        for file, experiment in files.items():
            for arm in experiment.arms:
                if arm.name in arms:
                    runs.append(Run(experiment, file.with_suffix(".csv"), arm, arm.seeds[0]))
        known = {run: read_rows(run.table, Row) for run in runs}
        if lacking := [str(run) for run in runs for test in run.experiment.tests if not _known(known[run], run, test)]:
            raise InputError(f"not in the table yet, nothing to compare with: {', '.join(dict.fromkeys(lacking))}")
        self.work.mkdir(parents=True, exist_ok=True)
        with self._alone({}), tempfile.TemporaryDirectory(prefix="verify.", dir=self.work) as folder:
            found: dict[Run, list[Row]] = {}
            failed = self._all(runs, Path(folder), keep=False, found=found)
        differing = 0
        for run, rows in found.items():
            for row, test in zip(rows, run.experiment.tests, strict=True):
                before = _known(known[run], run, test)
                assert before is not None
                same = (row.top1, row.top5, row.train_loss) == (before.top1, before.top5, before.train_loss)
                differing += not same
                verdict = "same" if same else "DIFFERS"
                print(f"{run}, {test.name}: {row.top1:.2f} %, in the table {before.top1:.2f} %: {verdict}")
        return 1 if self._said(failed) or differing else 0

    # ---- Side by side

    def _all(
        self, runs: Sequence[Run], folder: Path, keep: bool, found: dict[Run, list[Row]] | None = None
    ) -> dict[Run, str]:
        """Does the runs; returns those that failed and why. `keep`: the numbers go to the tables."""
        free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for slot in self.slots:
            free.put(slot)
        failed: dict[Run, str] = {}

        def one(run: Run) -> tuple[list[Row], list[Epoch]]:
            if self.is_stopping:
                raise FailedError("not begun")
            slot = free.get()
            try:
                return self._one(run, folder, slot)
            finally:
                free.put(slot)

        with self._stopped_together(), ThreadPoolExecutor(len(self.slots)) as pool:
            tasks = {pool.submit(one, run): run for run in runs}
            for number, task in enumerate(as_completed(tasks), 1):
                run = tasks[task]
                try:
                    rows, curve = task.result()
                except FailedError as error:
                    failed[run] = str(error)
                    print(f"{number}/{len(runs)} {run}: FAILED: {error}", flush=True)
                    continue
                if not rows:  # of a dry run
                    continue
                if keep:
                    self._keep(run, rows, curve)
                if found is not None:
                    found[run] = rows
                tops = ", ".join(f"{row.test} {row.top1:.2f} %" for row in rows)
                print(f"{number}/{len(runs)} {run}: {tops}; {rows[0].seconds:.0f} s", flush=True)
        return failed

    def _keep(self, run: Run, rows: Sequence[Row], curve: Sequence[Epoch]) -> None:
        """Puts a run's numbers into its tables, in place of older ones."""
        made = {(row.arm, row.seed, row.test) for row in rows}
        others = [row for row in read_rows(run.table, Row) if (row.arm, row.seed, row.test) not in made]
        write_rows(run.table, Row, in_order([*others, *rows], run.experiment))
        curves = run.table.with_suffix(".curves.csv")
        kept = [e for e in read_rows(curves, Epoch) if (e.arm, e.seed) != (run.arm.name, run.seed)]
        order = {arm.name: place for place, arm in enumerate(run.experiment.arms)}
        points = [epoch for epoch in [*kept, *curve] if epoch.arm in order]
        write_rows(curves, Epoch, sorted(points, key=lambda e: (order[e.arm], e.seed, e.epoch)))

    @contextmanager
    def _alone(self, files: Mapping[Path, Experiment]) -> Iterator[None]:
        """Nobody else writes to these tables, or in the folder of the runs, meanwhile."""
        with ExitStack() as claims:
            self.work.mkdir(parents=True, exist_ok=True)
            claims.enter_context(claimed(self.work))
            for folder in dict.fromkeys(file.resolve().parent for file in files):
                claims.enter_context(claimed(folder, name=".experiments.lock"))
            yield

    @contextmanager
    def _stopped_together(self) -> Iterator[None]:
        """Within the block SIGTERM and Ctrl-C reach every program that runs, which saves; no further one starts."""

        def stop(number: int, _: object) -> None:
            self.is_stopping = True
            with self.lock:
                for program in self.running:
                    program.send_signal(signal.SIGTERM)
            raise KeyboardInterrupt

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # ---- One run

    def _one(self, run: Run, folder: Path, slot: str | None) -> tuple[list[Row], list[Epoch]]:
        """Trains and tests; the numbers, in the order of the tests."""
        place = folder / f"{run.arm.name}_{run.experiment.training(run.arm)}_s{run.seed}"
        train, tests = self._commands(run, place)
        if self.dry_run:
            print(*(" ".join(command) for command in [train, *tests]), sep="\n", flush=True)
            return [], []
        for data in dict.fromkeys([run.arm.data, *(test.data for test in run.experiment.tests)]):
            self._make(data)
        with self._lock_of(place):  # another experiment may want the same weights
            trained = place / TRAINED
            if not trained.exists():
                place.mkdir(parents=True, exist_ok=True)
                commit, began = commit_of_code(), time.monotonic()
                self._execute(train, place / "main.txt", slot)
                write_text(
                    trained, json.dumps({"seconds": round(time.monotonic() - began, 1), "commit": commit}) + "\n"
                )
            for test, command in zip(run.experiment.tests, tests, strict=True):
                self._execute(command, place / f"{test.name}.txt", slot)
            rows, curve = rows_of(run, place, self._classes(run.arm.data)), curve_of(run, place)
            if not self.keep_weights:
                shutil.rmtree(place)
        return rows, curve

    def _commands(self, run: Run, place: Path) -> tuple[list[str], list[list[str]]]:
        """The training and the tests, in full."""
        train = self._program("main.py", run.arm.data, [*words_of(run.experiment.train), *words_of(run.arm.flags)])
        train.insert(2, "RGB")
        train += ["--seed", str(run.seed), "--resume", "auto", "--store_name", "run"]
        train += ["--root_log", str(place / "log"), "--root_model", str(place / "checkpoint")]
        weights = str(place / "checkpoint" / "run" / LATEST)
        tests = []
        for test in run.experiment.tests:
            result, scores = (str(place / f"{test.name}.{ending}") for ending in ("json", "npz"))
            left = ["--weights", weights, "--result_json", result, "--save_scores", scores]
            tests.append(self._program("test_models.py", test.data, [*words_of(test.flags), *left]))
        return train, tests

    def _program(self, script: str, data: Data, flags: Sequence[str]) -> list[str]:
        return [script, data.dataset, "--root_dataset", str(self._root(data)), *flags]

    def _root(self, data: Data) -> Path:
        return self.work / "data" / data.key

    def _classes(self, data: Data) -> int:
        names = self._root(data) / data.dataset / "category.txt"
        return len(names.read_text(encoding="utf-8").splitlines())

    def _make(self, data: Data) -> None:
        """Makes a data set, unless it is there."""
        root = self._root(data)
        with self._lock_of(root):
            if (root / MADE).exists():
                return
            root.mkdir(parents=True, exist_ok=True)
            for line in data.make:
                self._execute([*words_of(line), "--root_dataset", str(root)], root / "make.txt", None)
            (root / MADE).touch()

    def _lock_of(self, place: Path) -> threading.Lock:
        """Which threads that want to write in a folder wait for."""
        with self.lock:
            return self.writing.setdefault(place, threading.Lock())

    def _execute(self, command: Sequence[str], said: Path, slot: str | None) -> None:
        """Runs a script of ours from the repository's top, its words in a file. Raises FailedError.

        `$NAME` in a command is of the environment: where a machine has what is not of the project.
        """
        if self.is_stopping:
            raise FailedError("stopped")
        command = [os.path.expandvars(word) for word in command]
        if unset := [word for word in command if "$" in word]:
            raise FailedError(f"{', '.join(unset)}: not set in the environment")
        around = {"OMP_NUM_THREADS": str(self.threads), "CUDA_VISIBLE_DEVICES": slot or ""}
        with said.open("wb") as out:
            program = subprocess.Popen(
                (sys.executable, *command),
                cwd=REPOSITORY,
                env={**os.environ, **around},
                stdout=out,
                stderr=out,
                start_new_session=True,  # a terminal's Ctrl-C comes to us alone, who stop it
            )
            with self.lock:
                self.running.add(program)
            status = program.wait()
            with self.lock:
                self.running.discard(program)
        if status:
            last = said.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
            raise FailedError(f"status {status}, {said}:\n    " + "\n    ".join(last))

    def _said(self, failed: Mapping[Run, str]) -> int:
        if failed:
            print(f"{len(failed)} runs failed: {'; '.join(map(str, failed))}. Started again, they go on", flush=True)
        return 1 if failed else 0


def missing_runs(file: Path, experiment: Experiment, only: Sequence[str]) -> list[Run]:
    """What the table lacks of the experiment, or holds of other settings."""
    table = file.with_suffix(".csv")
    rows = read_rows(table, Row)
    runs = []
    for arm, seed in experiment.runs():
        if only and arm.name not in only:
            continue
        if any(row_of(rows, experiment, arm, seed, test) is None for test in experiment.tests):
            runs.append(Run(experiment, table, arm, seed))
    return runs


def _known(rows: Sequence[Row], run: Run, test: Test) -> Row | None:
    return row_of(rows, run.experiment, run.arm, run.seed, test)


def rows_of(run: Run, place: Path, classes: int) -> list[Row]:
    """What the programs have left in `place`."""
    log = place / "log" / "run"
    with (log / TABLE).open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    files = log / OPTIONS, log / ENVIRONMENT, place / TRAINED
    options, about, trained = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    parameters, macs = complexity(on_meta(options_from_flags(options, classes)), options["input_size"])
    rows = []
    for test in run.experiment.tests:
        result = json.loads((place / f"{test.name}.json").read_text(encoding="utf-8"))
        rows.append(
            Row(
                arm=run.arm.name,
                seed=run.seed,
                test=test.name,
                top1=round(result["top1"], 3),
                top5=round(result["top5"], 3),
                videos=result["videos"],
                changed=None if test.changed_from is None else changed(place, test.changed_from, test.name),
                train_loss=round(float(last["train_loss"]), 5),
                val_loss=round(float(last["val_loss"]), 5),
                gmacs=round(macs / 1e9, 4),
                mparams=round(parameters / 1e6, 3),
                **trained,
                torch=about["torch"],
                precision=options["precision"],
                settings=run.experiment.settings(run.arm, test),
            )
        )
    return rows


def changed(place: Path, before: str, after: str) -> float:
    """How many of a hundred videos two tests give another class."""
    scores = [named_scores(place / f"{name}.npz")[0].scores for name in (before, after)]
    first, second = (each.argmax(dim=1) for each in scores)
    return round(100 * float((first != second).double().mean()), 3)


def curve_of(run: Run, place: Path) -> list[Epoch]:
    """The learning curve that main.py has left."""
    with (place / "log" / "run" / TABLE).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))

    def number(line: Mapping[str, str], name: str) -> float | None:
        return round(float(line[name]), 5) if line[name] else None

    return [
        Epoch(
            run.arm.name, run.seed, int(line["epoch"]), round(float(line["train_loss"]), 5),
            round(float(line["train_top1"]), 3), number(line, "val_loss"), number(line, "val_top1"),
        )
        for line in lines
    ]  # fmt: skip


def commit_of_code() -> str:
    """The commit of the code that runs, with a `+` where it was changed since; `unknown` outside of a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ("git", *words), cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "*.py")
        return git("rev-parse", "--short=10", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
