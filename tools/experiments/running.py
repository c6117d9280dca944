"""The runs of experiments, side by side: each a main.py and its test_models.py, as a user starts them."""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ops.errors import InputError
from ops.files import write_text
from ops.locks import claimed
from ops.running.checkpoint import LATEST
from ops.running.signals import ENDING
from tools.experiments.outcome import TRAINING, Outcome, files_of, outcome_of
from tools.experiments.plan import Data, Experiment, Run, inputs_of, unset_in, words_of
from tools.experiments.provenance import REPOSITORY, commit_of_code, conditions
from tools.experiments.table import TABLES, Row, read_rows, row_of, write_merged

TAIL = 8  # lines of a failed program's log that are shown
REPEATABLE = ("top1", "top5", "changed", "train_loss", "val_loss")  # what --verify compares


class FailedError(Exception):
    """A run can't be done: a program of it has ended with another status than 0, or what it needs is not there."""


@dataclass
class Runner:
    """Runs programs in `slots` side by side (each a GPU's number, or None for the CPU); data and runs lie in `work`."""

    work: Path
    slots: Sequence[str | None]
    threads: int
    keep_weights: bool = False
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    is_stopping: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)  # a signal may come to who holds it
    writing: dict[Path, threading.Lock] = field(default_factory=dict)
    made: set[Path] = field(default_factory=set)  # roots whose data sets are complete, and of these settings

    # ---- What is asked for

    def run(self, files: Mapping[Path, Experiment], only: Sequence[str]) -> int:
        """All runs that the tables lack; the exit status, 1 if one failed."""
        with self._alone(files):
            for file in files:  # before hours of training, which what is wrong in one would cost
                for ending, kind in TABLES.items():
                    read_rows(file.with_suffix(ending), kind)
            missing = missing_runs(files, only)
            print(f"{len(missing)} runs to do, {len(self.slots)} at a time", flush=True)
            waiting = Counter(self._place(run, self.work) for run in missing)

            def keep(run: Run, outcome: Outcome) -> None:
                with self._lock_of(run.table):  # the rows last: a run that has them is done
                    write_merged(run, ".mistakes.csv", outcome.mistakes)
                    write_merged(run, ".curves.csv", outcome.epochs)
                    write_merged(run, ".csv", outcome.rows)
                place = self._place(run, self.work)
                waiting[place] -= 1
                if not waiting[place] and not self.keep_weights:
                    remove(place)

            return _status(self._all(missing, self.work, keep))

    def show(self, files: Mapping[Path, Experiment], only: Sequence[str]) -> None:
        """Prints the commands of the runs that the tables lack."""
        shown: set[str] = set()
        for run in missing_runs(files, only):
            train, tests = self.commands(run, self._place(run, self.work))
            made = [command for data in run.data for command in self._making(data)]
            for command in [*made, train, *tests]:
                line = shlex.join(["python", *map(os.path.expandvars, command)])
                if line not in shown:
                    print(line)
                shown.add(line)
        if not shown:
            print("# no run is missing in the tables")

    def verify(self, files: Mapping[Path, Experiment], arms: Sequence[str]) -> int:
        """Trains the arms' first seed anew; 1 if a number differs from the table's, or a run failed."""
        runs = [
            Run(experiment, file.with_suffix(".csv"), arm, arm.seeds[0])
            for file, experiment in files.items()
            for arm in experiment.arms
            if arm.name in arms
        ]
        known = {run: known_rows(run) for run in runs}
        if lacking := [str(run) for run in runs if None in known[run]]:
            raise InputError(f"not in the table yet, nothing to compare with: {', '.join(lacking)}")
        found: dict[Run, Sequence[Row]] = {}
        with self._alone({}), tempfile.TemporaryDirectory(prefix="verify.", dir=self.work) as folder:
            failed = self._all(runs, Path(folder), lambda run, outcome: found.update({run: outcome.rows}))
        differing = 0
        for run, rows in found.items():
            for row, before in zip(rows, known[run], strict=True):
                assert before is not None
                same = all(getattr(row, what) == getattr(before, what) for what in REPEATABLE)
                differing += not same
                verdict = "same" if same else f"DIFFERS (there: {before.device}, {before.threads} threads)"
                print(f"{run}, {row.test}: {row.top1:.2f} %, in the table {before.top1:.2f} %: {verdict}")
        return 1 if _status(failed) or differing else 0

    # ---- Side by side

    def _all(self, runs: Sequence[Run], folder: Path, keep: Callable[[Run, Outcome], object]) -> dict[Run, str]:
        """Does the runs and keeps what each gave, before it counts as done; returns those that failed, and why."""
        free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for slot in self.slots:
            free.put(slot)

        def one(run: Run) -> str:
            slot = free.get()
            try:
                outcome = self._one(run, folder, slot)
            finally:
                free.put(slot)
            keep(run, outcome)
            accuracies = ", ".join(f"{row.test} {row.top1:.2f} %" for row in outcome.rows)
            return f"{accuracies}; {outcome.rows[0].seconds:.0f} s"

        failed: dict[Run, str] = {}
        with self._stopped_together(), ThreadPoolExecutor(len(self.slots)) as pool:
            tasks = {pool.submit(one, run): run for run in runs}
            for number, task in enumerate(as_completed(tasks), 1):
                try:
                    said = task.result()
                except Exception as error:  # of one run; the others are as good as before
                    failed[tasks[task]] = said = f"FAILED: {error or type(error).__name__}"
                print(f"{number}/{len(runs)} {tasks[task]}: {said}", flush=True)
        return failed

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
        """Within the block a signal that ends this program ends all that run, which save; no further one starts."""

        def stop(number: int, _: object) -> None:
            with self.lock:
                self.is_stopping = True
                for program in self.running:
                    program.send_signal(signal.SIGTERM)
            raise KeyboardInterrupt

        hang_up = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # a terminal that is closed
        heard = [number for number in (*ENDING, *hang_up) if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # ---- One run

    def _one(self, run: Run, folder: Path, slot: str | None) -> Outcome:
        """Trains and tests; the numbers, in the order of the tests."""
        for data in run.data:
            self._make(data)
        place = self._place(run, folder)
        train, tests = self.commands(run, place)
        with self._lock_of(place):  # another experiment may want the same weights
            self._train(train, place, slot)
            for test, command in zip(run.experiment.tests, tests, strict=True):
                self._execute(command, place / f"test.{test.name}.txt", slot)
            return outcome_of(run, place, self._classes(run.arm.data))

    def _train(self, command: Sequence[str], place: Path, slot: str | None) -> None:
        """Unless it is done. What was begun by other code, or on something else, is begun anew."""
        about = place / TRAINING
        state = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
        if state.get("complete"):
            return
        today = conditions(self.threads, slot)
        if {key: state.get(key) for key in today} != today:
            remove(place)
            place.mkdir(parents=True)
            state = {**today, "commit": commit_of_code(), "seconds": 0.0, "complete": False}
        write_text(about, json.dumps(state) + "\n")
        began = time.monotonic()
        try:
            self._execute(command, place / "main.txt", slot)
            state["complete"] = True
        finally:
            state["seconds"] = round(state["seconds"] + time.monotonic() - began, 1)
            write_text(about, json.dumps(state) + "\n")

    def commands(self, run: Run, place: Path) -> tuple[list[str], list[list[str]]]:
        """The training and the tests, in full, with what they leave in `place`."""
        train = self._program("main.py", run.arm.data, [*words_of(run.experiment.train), *words_of(run.arm.flags)])
        train.insert(2, "RGB")
        train += ["--seed", str(run.seed), "--resume", "auto", "--store_name", "run"]
        train += ["--root_log", str(place / "log"), "--root_model", str(place / "checkpoint")]
        weights = str(place / "checkpoint" / "run" / LATEST)
        tests = []
        for test in run.experiment.tests:
            result, scores = map(str, files_of(place, test.name))
            left = ["--weights", weights, "--result_json", result, "--save_scores", scores]
            tests.append(self._program("test_models.py", test.data, [*words_of(test.flags), *left]))
        return train, tests

    def _program(self, script: str, data: Data, flags: Sequence[str]) -> list[str]:
        return [script, data.dataset, "--root_dataset", str(self.root(data)), *flags]

    def _place(self, run: Run, folder: Path) -> Path:
        """Where a training is: the same in every experiment that asks for it."""
        inputs = f"_{run.inputs}" if run.inputs else ""
        return folder / f"{run.arm.name}_{run.experiment.training(run.arm)}{inputs}_s{run.seed}"

    def root(self, data: Data) -> Path:
        """The root of a data set."""
        inputs = inputs_of(data.make)
        return self.work / "data" / (f"{data.key}_{inputs}" if inputs else data.key)

    def _classes(self, data: Data) -> int:
        names = self.root(data) / data.dataset / "category.txt"
        return len(names.read_text(encoding="utf-8").splitlines())

    def _making(self, data: Data) -> list[list[str]]:
        return [[*words_of(line), "--root_dataset", str(self.root(data))] for line in data.make]

    def _make(self, data: Data) -> None:
        """Makes a data set, or has its tools say that it is complete and of their settings, once in a start."""
        root = self.root(data)
        with self._lock_of(root):
            if root not in self.made:
                root.mkdir(parents=True, exist_ok=True)
                for command in self._making(data):
                    self._execute(command, root / "make.txt", None)
                self.made.add(root)

    def _lock_of(self, place: Path) -> threading.Lock:
        """Which threads that want to write there wait for."""
        with self.lock:
            return self.writing.setdefault(place, threading.Lock())

    def _execute(self, command: Sequence[str], said: Path, slot: str | None) -> None:
        """Runs a script of ours from the repository's top, its words at the end of a file. Raises FailedError.

        `$NAME` in a command is of the environment: where a machine has what is not of the project.
        """
        if lacking := unset_in(command):
            raise FailedError(f"{', '.join(f'${name}' for name in lacking)}: not set in the environment")
        command = [os.path.expandvars(word) for word in command]
        around = {"OMP_NUM_THREADS": str(self.threads), "CUDA_VISIBLE_DEVICES": slot or ""}
        with said.open("ab") as out:
            with self.lock:
                if self.is_stopping:
                    raise FailedError("stopped")
                program = subprocess.Popen(
                    (sys.executable, *command),
                    cwd=REPOSITORY,
                    env={**os.environ, **around},
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # a terminal's Ctrl-C comes to us alone, who stop it
                )
                self.running.add(program)
            status = program.wait()
            with self.lock:
                self.running.discard(program)
        if status:
            last = said.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
            raise FailedError(f"status {status}, {said}:\n    " + "\n    ".join(last))


def remove(place: Path) -> None:
    """Removes a run's folder. InputError while a program that has outlived its runner still trains there."""
    with ExitStack() as claims:
        for folder in ("log", "checkpoint"):
            if (place / folder / "run").is_dir():
                claims.enter_context(claimed(place / folder / "run"))
        (place / TRAINING).unlink(missing_ok=True)  # first: half a folder is no training that is done
        shutil.rmtree(place, ignore_errors=True)


def missing_runs(files: Mapping[Path, Experiment], only: Sequence[str]) -> list[Run]:
    """What the tables lack of the experiments, or hold of other settings, or of other files from elsewhere."""
    runs = []
    for file, experiment in files.items():
        for arm, seed in experiment.runs():
            run = Run(experiment, file.with_suffix(".csv"), arm, seed)
            if (not only or arm.name in only) and None in known_rows(run):
                runs.append(run)
    return runs


def known_rows(run: Run) -> list[Row | None]:
    """The table's rows of a run, test by test."""
    rows = [row for row in read_rows(run.table, Row) if row.inputs == run.inputs]
    return [row_of(rows, run.experiment, run.arm, run.seed, test) for test in run.experiment.tests]


def _status(failed: Mapping[Run, str]) -> int:
    if failed:
        print(f"{len(failed)} runs failed: {'; '.join(map(str, failed))}. Started again, they go on", flush=True)
    return 1 if failed else 0
