"""Experiments: descriptions, runs side by side that go on where they were stopped, tables, the pages made of them."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from programs import REPOSITORY, shell

import opts
from ops.errors import InputError
from ops.evaluation.ensemble import Predictions
from ops.evaluation.results import write_scores
from ops.locks import claimed
from tools import marked_page, results_page, run_experiments
from tools.experiments import outcome, overview, page, running
from tools.experiments.plan import Run, inputs_of, read_experiment, unset_in
from tools.experiments.provenance import conditions
from tools.experiments.running import FailedError, Runner, missing_runs
from tools.experiments.statistics import mean, paired
from tools.experiments.table import Epoch, Mistake, Row, read_rows, values, write_rows

TINY = "--arch resnet18 --pretrain none --num_segments 2 --input_size 32 -b 8 --epochs 1 --npb --amp off -j 0"
TEXT = f"""
title = "A title"
question = "Which is better?"
baseline = "tsm"
seeds = [3, 4]

[data.small]
make = ["tools/make_demo_dataset.py --videos_per_class 1 --val_videos_per_class 1 --jobs 1"]

[train]
data = "small"
flags = "{TINY}"

[tests.plain]
data = "small"
flags = "-j 0 --batch_size 8"

[arms.tsm]
words = "TSM"
flags = "--shift --fex off"

[arms.tsn]
words = "TSN"
flags = "--no-shift"
seeds = [3]
"""


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """The file of an experiment of two arms and three runs, in `docs/experiments` of a folder of its own."""
    folder = tmp_path / "docs" / "experiments"
    folder.mkdir(parents=True)
    file = folder / "small.toml"
    file.write_text(TEXT)
    return file


def row(arm: str = "tsm", seed: int = 3, top1: float = 50.0, **others: Any) -> Row:
    """A line of the table of `TEXT`, of its settings."""
    numbers = {
        "top5": 90.0,
        "videos": 12,
        "changed": None,
        "train_loss": 1.5,
        "val_loss": 1.4,
        "gmacs": 0.1,
        "mparams": 11.2,
        "seconds": 60.0,
    }
    about = {"commit": "abc", "torch": "2.14", "device": "cpu", "threads": 1, "precision": "off", "inputs": ""}
    of = {"settings": "of the description"}
    return Row(arm, seed, others.pop("test", "plain"), top1, **{**numbers, **about, **of, **others})


def settings(file: Path, arm: int) -> str:
    experiment = read_experiment(file)
    return experiment.settings(experiment.arms[arm], experiment.tests[0])


def filled(file: Path) -> list[Row]:
    """The table of all three runs, written."""
    tsm, tsn = (settings(file, arm) for arm in (0, 1))
    rows = [row(settings=tsm), row(seed=4, top1=60.0, settings=tsm), row("tsn", top1=40.0, settings=tsn)]
    write_rows(file.with_suffix(".csv"), Row, rows)
    return rows


# ---- Descriptions


def test_runs_come_seed_by_seed(described: Path) -> None:
    runs = [(arm.name, seed) for arm, seed in read_experiment(described).runs()]
    assert runs == [("tsm", 3), ("tsn", 3), ("tsm", 4)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('title = "A title"', "", "title: missing"),
        ("seeds = [3, 4]", "seeds = [3, 3]", r"seeds \[3, 3\]: expected different whole numbers"),
        ("seeds = [3, 4]", "seeds = 3", "seeds: expected a list"),
        ("question", "queston", r"queston: unknown \(did you mean question\?\)"),
        ('baseline = "tsm"', 'baseline = "tsx"', r"baseline tsx: no arm \(did you mean ts[mn]\?\)"),
        ('[train]\ndata = "small"', '[train]\ndata = "smal"', r"arms.tsm: no data smal \(did you mean small\?\)"),
        ('words = "TSN"', "words = 3", "arms.tsn.words: expected text"),
        ('["tools/make_demo', '["rm -r /", "tools/make_demo', r"data.small: rm -r /: expected a command of tools/"),
        ('flags = "-j 0 --batch_size 8"', "", "tests.plain.flags: missing"),
        ("[train]", "[train", "not TOML"),
        ("[arms.tsn]", '[arms."../tsn"]', r"arms\.\.\./tsn: expected a name of letters"),
        ("[arms.tsn]", '[arms."../x.tsn"]', r"arms\.\.\./x\.tsn: expected a name of letters"),
        ("[arms.tsn]", '[arms.""]', r"arms\.: expected a name of letters"),
        (
            'make = ["tools/make_demo_dataset.py --videos_per_class 1 --val_videos_per_class 1 --jobs 1"]',
            "make = []",
            r"data\.small\.make: expected commands of tools/",
        ),
        ("--no-shift", "--no-shift 'x", "arms.tsn.flags: --no-shift 'x: No closing quotation"),
        (
            'flags = "-j 0 --batch_size 8"',
            'flags = "-j 0"\nchanged_from = "plain"',
            "changed_from plain: expected another test on small",
        ),
    ],
)
def test_a_faulty_description_is_refused_by_name(described: Path, old: str, new: str, words: str) -> None:
    assert old in TEXT
    described.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(InputError, match=words) as fault:
        read_experiment(described)
    assert str(described) in str(fault.value)


def test_other_settings_have_another_mark(described: Path) -> None:
    before = settings(described, 0), settings(described, 1)
    described.write_text(TEXT.replace("--fex off", "--fex off --shift_div 4"))
    assert settings(described, 0) != before[0] and settings(described, 1) == before[1]
    described.write_text(TEXT.replace("--videos_per_class 1", "--videos_per_class 2"))
    assert settings(described, 0) != before[0] and settings(described, 1) != before[1]


# ---- Tables


def test_a_comparison_is_of_the_other_tests_settings_too(described: Path) -> None:
    more = '\n[tests.alone]\ndata = "small"\nflags = "-j 0"\nchanged_from = "plain"\n'

    def marks() -> list[str]:
        experiment = read_experiment(described)
        return [experiment.settings(experiment.arms[0], test) for test in experiment.tests]

    described.write_text(TEXT + more)
    before = marks()
    described.write_text(TEXT.replace("--batch_size 8", "--batch_size 16") + more)
    assert all(mark != was for mark, was in zip(marks(), before, strict=True))


def test_an_empty_description_is_refused(described: Path) -> None:
    described.write_text('title = ""\nquestion = ""\nseeds = [0]\ndata = {}\ntests = {}\narms = {}\ntrain = {}\n')
    with pytest.raises(InputError, match="data: empty; tests: empty; arms: empty"):
        read_experiment(described)


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [row(settings="12"), row("=tsn", settings="34")]
    write_rows(tmp_path / "a.csv", Row, rows)
    assert read_rows(tmp_path / "a.csv", Row) == rows
    curve = [Epoch("tsm", 0, 1, 2.5, 10.0, None, None, "a"), Epoch("tsm", 0, 2, 2.4, 11.0, 2.3, 12.5, "a")]
    write_rows(tmp_path / "b.csv", Epoch, curve)
    assert read_rows(tmp_path / "b.csv", Epoch) == curve
    with pytest.raises(InputError, match=r"b\.csv: line 1: expected arm,seed,test"):
        read_rows(tmp_path / "b.csv", Row)
    (tmp_path / "b.csv").write_text((tmp_path / "b.csv").read_text().replace("2.4", "x"))
    with pytest.raises(InputError, match=r"b\.csv: line 3: .*'x'"):
        read_rows(tmp_path / "b.csv", Epoch)


def test_what_is_in_the_table_is_not_run_again_unless_its_settings_differ(described: Path) -> None:
    def missing() -> list[tuple[str, int]]:
        files = {described: read_experiment(described)}
        return [(run.arm.name, run.seed) for run in missing_runs(files, [])]

    assert len(missing()) == 3
    filled(described)
    assert missing() == []
    described.write_text(TEXT.replace("--no-shift", "--no-shift --lr 0.1").replace("[3, 4]", "[3, 4, 5]"))
    assert missing() == [("tsn", 3), ("tsm", 5)]


# ---- Statistics


def test_a_mean_and_its_interval() -> None:
    found = mean([90.0, 94.0, 95.0])  # deviation 2.6458; t of two degrees of freedom 4.3027
    assert found.value == 93 and found.half is not None and abs(found.half - 4.3027 * 2.6458 / 3**0.5) < 1e-3
    assert str(found) == "93.0 ± 6.6" and str(mean([4.0])) == "4.0"
    steady = paired({0: 90.0, 1: 80.0, 2: 85.0}, {0: 91.0, 1: 81.2, 2: 85.9, 7: 0.0})
    assert steady is not None and steady.n == 3 and abs(steady.value - 3.1 / 3) < 1e-9 and steady.is_beyond_zero
    assert paired({0: 1.0}, {1: 1.0}) is None and not mean([1.0]).is_beyond_zero


def test_a_pair_has_the_seed_the_device_and_torch_in_common() -> None:
    rows = [row(), row(device="GPU"), row("tsn", top1=53.0), row("tsn", seed=4, top1=90.0), row("tsn", torch="2.6")]
    found = paired(values(rows, "tsm", "plain"), values(rows, "tsn", "plain"))
    assert found is not None and (found.n, found.value) == (1, 3.0)


# ---- Pages


def test_the_pages_are_made_of_the_tables(described: Path) -> None:
    top = described.parents[2]
    filled(described)
    experiment = read_experiment(described)
    training = experiment.training(experiment.arms[0])
    write_rows(described.with_suffix(".curves.csv"), Epoch, [Epoch("tsm", 3, 1, 2.5, 10.0, None, None, training)])
    wrong = [
        ("tsm", 3, "up", "down", 5),  # and none with seed 4
        ("tsm", 3, "up", "left", 5),
        ("tsm", 8, "up", "down", 50),  # seeds that are described no more
        ("tsm", 9, "up", "down", 50),
        ("tsn", 3, "a", "b", 1),
    ]
    marks = {"tsm": settings(described, 0), "tsn": "of other settings"}
    write_rows(described.with_suffix(".mistakes.csv"), Mistake, [Mistake(*line, marks[line[0]]) for line in wrong])
    (described.parent / "published.csv").write_text(
        "network,data,frames,protocol,top1,reported_by,source,command\nTSM,V1,8,one,45.6,TSM,https://a.b/c,bash x.sh\n"
    )
    (top / "docs" / "results.md").write_text(
        "Before\n<!-- small -->\nold\n<!-- end -->\n<!-- published -->\n<!-- end -->\n"
    )
    (top / "README.md").write_text("<!-- small -->\n<!-- end -->\nAfter\n")
    results_page.main(["--top", str(top)])
    text = (top / "docs" / "results.md").read_text()
    assert text.startswith("Before\n<!-- small -->\n") and "old" not in text and "**Which is better?**" in text
    assert "| TSM | 2 | 55.0 ± 63.5 | 1.500 | 1.400 | 0.1 | 11.2 |" in text
    assert "| TSN | 1 | 40.0 (-10.0) | 1.500 | 1.400 | 0.1 | 11.2 |" in text
    assert "| TSM | 5 | up for down 50, up for left 50 |" in text and "a for b" not in text
    assert "| TSM | V1 | 8 | one | 45.6 | [TSM](https://a.b/c) | `bash x.sh` |" in text
    assert (
        (described.parent / "small.png").stat().st_size > 1000 < (described.parent / "small.curves.png").stat().st_size
    )
    assert (top / "README.md").read_text().endswith("<!-- end -->\nAfter\n")
    again = text
    (described.parent / "published.csv").write_text((described.parent / "published.csv").read_text() + "TSM,V2\n")
    with pytest.raises(InputError, match=r"published\.csv: line 3: 2 cells, expected 8"):
        results_page.main(["--top", str(top)])
    assert (top / "docs" / "results.md").read_text() == text
    (described.parent / "published.csv").write_text(
        "".join((described.parent / "published.csv").read_text().splitlines(keepends=True)[:2])
    )
    results_page.main(["--top", str(top)])
    assert (top / "docs" / "results.md").read_text() == again
    described.write_text(TEXT.replace(TINY, f"{TINY} --lr 0.5"))
    with pytest.raises(InputError, match=r"small\.csv: nothing yet: python tools/run_experiments\.py"):
        results_page.main(["--top", str(top)])


def test_networks_are_compared_in_every_test_but_those_of_other_predictions(described: Path) -> None:
    more = "".join(
        f'\n[tests.{name}]\ndata = "small"\nflags = "-j 0"\n{line}\n'
        for name, line in (("slow", "x = 0"), ("fast", "x = 4"), ("alone", 'changed_from = "plain"'))
    )
    described.write_text(TEXT + more)
    experiment = read_experiment(described)
    numbers = {"plain": (50.0, 40.0), "slow": (50.0, 45.0), "fast": (50.0, 30.0), "alone": (50.0, 40.0)}
    rows = [
        replace(row(arm, top1=top1, changed=25.0 if test == "alone" else None, settings=""), test=test)
        for test, both in numbers.items()
        for arm, top1 in zip(("tsm", "tsn"), both, strict=True)
    ]
    heads, _, _, tsn = page.table(experiment, rows, {})
    found = dict(zip(heads.split(" | "), tsn.split(" | "), strict=True))
    accuracy = "top-1 % (less TSM, paired)"
    assert found[f"fast: {accuracy}"] == "30.0 (-20.0)" and found[f"plain: {accuracy}"] == "40.0 (-10.0)"
    assert found["alone: other predictions, %"] == "25.0" and f"alone: {accuracy}" not in found
    rows.append(replace(rows[1], seed=4))  # which the baseline has not been run with
    assert page.table(experiment, rows, {})[-1].startswith("| TSN | 2 | 40.0 ± 0.0 (-10.0, of 1) |")


def test_fex_is_shown_beside_tsm_by_the_pairs_that_a_table_has(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "docs" / "experiments" / "order.toml", tmp_path)
    experiment = read_experiment(tmp_path / "order.toml")
    marks = {arm.name: experiment.settings(arm, experiment.tests[0]) for arm in experiment.arms}
    numbers = {("fex", 0): 60.0, ("fex", 1): 64.0, ("tsm", 0): 59.0, ("tsm", 1): 63.0, ("tsm3", 1): 70.0}
    rows = [row(*run, top1, test=experiment.tests[0].name, settings=marks[run[0]]) for run, top1 in numbers.items()]
    write_rows(tmp_path / "order.csv", Row, rows)
    _, _, line, *_ = overview.part(tmp_path, "gains")
    assert line == "| The order of the frames alone | **+1.0 ± 0.0**, n = 2 | -6.0, n = 1 |  |"
    overview.draw(tmp_path, "gains")
    assert (tmp_path / "gains.png").stat().st_size > 1000


def test_the_pages_of_the_project_are_what_its_tables_make() -> None:
    """Whoever adds to a table makes the pages anew; pictures aside, which another matplotlib draws otherwise."""
    folder = REPOSITORY / "docs" / "experiments"
    assert all((folder / f"{name}.toml").is_file() for name in overview.TRAINED)
    for name, make in (("docs/results.md", overview.part), ("README.md", page.brief)):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        assert marked_page.parts_of(text) and marked_page.filled(text, partial(make, folder)) == text


# ---- Runs


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Programs that leave what the real ones leave, at once; what they were told. `fail`: of which the names end so."""
    told: dict[str, Any] = {"commands": [], "fail": "", "error": FailedError("status 1")}

    def execute(self: Runner, command: list[str], said: Path, slot: str | None) -> None:
        told["commands"].append(command)
        flags = dict(itertools.pairwise(command))
        if command[0] == "main.py":
            if told["fail"] and told["fail"] in " ".join(command):
                raise told["error"]
            log = Path(flags["--root_log"]) / "run"
            log.mkdir(parents=True)
            (log / "log.csv").write_text("epoch,train_loss,train_top1,val_loss,val_top1\n1,2.5,10,,\n")
            network = {"modality": "RGB", "arch": "resnet18", "num_segments": 2, "fex": "off"}
            (log / "options.json").write_text(json.dumps({**network, "input_size": 32, "precision": "off"}))
            (log / "environment.json").write_text('{"torch": "2.14", "gpus": [], "threads": 1}')
        elif command[0] == "test_models.py":
            assert (Path(flags["--weights"]).parents[2] / "log" / "run" / "log.csv").is_file()  # trained before
            result = {"top1": 50.0 + len(told["commands"]), "top5": 90.0, "videos": 4}
            Path(flags["--result_json"]).write_text(json.dumps(result))
            right = 1 if flags["--batch_size"] == "1" else 0  # of one video in four
            scores = torch.eye(2)[[0, 1, 0, right]]
            predictions = Predictions("a test", list("abcd"), torch.zeros(4, dtype=torch.int64), scores)
            write_scores(Path(flags["--save_scores"]), predictions, ["x", "y"])
        else:
            folder = Path(flags["--root_dataset"]) / "demo"
            folder.mkdir(exist_ok=True)
            (folder / "category.txt").write_text("a\nb\n")

    monkeypatch.setattr(Runner, "_execute", execute)
    monkeypatch.setattr(outcome, "options_from_flags", lambda options, classes: (options, classes))
    monkeypatch.setattr(outcome, "on_meta", lambda options: options)
    monkeypatch.setattr(outcome, "complexity", lambda network, size: (11_200_000, 123_000_000))
    return told


def test_runs_fill_the_tables_and_failures_are_told(
    described: Path, tmp_path: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(described), "--work", str(tmp_path / "work"), "--jobs", "2"]
    quick["fail"] = "--no-shift"
    assert run_experiments.main(argv) == 1
    assert "small: tsn, seed 3: FAILED: status 1" in capsys.readouterr().out
    rows = read_rows(described.with_suffix(".csv"), Row)
    assert [(r.arm, r.seed, r.gmacs, r.mparams) for r in rows] == [("tsm", 3, 0.123, 11.2), ("tsm", 4, 0.123, 11.2)]
    makes = [command for command in quick["commands"] if command[0].startswith("tools/")]
    assert len(makes) == 1  # though two runs wanted it at once
    quick["fail"], quick["commands"] = "", []
    assert run_experiments.main(argv) == 0
    assert [r.arm for r in read_rows(described.with_suffix(".csv"), Row)] == ["tsm", "tsm", "tsn"]
    # Each start asks the tool anew whether the data are complete and of its settings.
    assert [command[0] for command in quick["commands"]] == ["tools/make_demo_dataset.py", "main.py", "test_models.py"]
    assert len(read_rows(described.with_suffix(".curves.csv"), Epoch)) == 3
    wrong = [
        (m.arm, m.seed, m.label, m.predicted, m.videos)
        for m in read_rows(described.with_suffix(".mistakes.csv"), Mistake)
    ]
    assert wrong == [(arm, seed, "x", "y", 1) for arm, seed in (("tsm", 3), ("tsm", 4), ("tsn", 3))]
    assert not list((tmp_path / "work").glob("ts*"))


def test_a_fault_of_one_run_takes_nothing_of_the_others(
    described: Path, tmp_path: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    quick["fail"], quick["error"] = "--seed 3", OSError("no space")
    assert run_experiments.main([str(described), "--work", str(tmp_path / "work"), "--jobs", "1"]) == 1
    assert "tsm, seed 3: FAILED: no space" in capsys.readouterr().out
    assert [(r.arm, r.seed, r.val_loss) for r in read_rows(described.with_suffix(".csv"), Row)] == [("tsm", 4, None)]


def test_predictions_that_differ_between_two_tests_are_counted(
    described: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    more = '\n[tests.alone]\ndata = "small"\nflags = "-j 0 --batch_size 1"\nchanged_from = "plain"\n'
    described.write_text(TEXT + more)
    assert run_experiments.main([str(described), "--work", str(tmp_path / "work"), "--only", "tsn"]) == 0
    rows = read_rows(described.with_suffix(".csv"), Row)
    assert [(row.test, row.changed) for row in rows] == [("plain", None), ("alone", 25.0)]


def test_two_experiments_share_what_they_both_train(described: Path, tmp_path: Path, quick: dict[str, Any]) -> None:
    other = described.with_name("other.toml")
    other.write_text(TEXT)
    argv = [str(described), str(other), "--work", str(tmp_path / "work"), "--jobs", "2", "--only", "tsn"]
    assert run_experiments.main(argv) == 0
    assert [command[0] for command in quick["commands"]].count("main.py") == 1
    assert len(read_rows(described.with_suffix(".csv"), Row)) == len(read_rows(other.with_suffix(".csv"), Row)) == 1
    assert [path.name for path in (tmp_path / "work").glob("ts*")] == []


def test_other_files_from_elsewhere_make_other_numbers(
    described: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    described.write_text(TEXT.replace("--fex off", "--fex off --pretrain $MY_WEIGHTS"))
    given = tmp_path / "weights.pth"
    argv = [str(described), "--work", str(tmp_path / "work"), "--only", "tsm"]
    marks = []
    for content in ("one", "two"):
        given.write_text(content)
        monkeypatch.setenv("MY_WEIGHTS", str(given))
        quick["commands"].clear()
        assert run_experiments.main(argv) == 0
        assert [command[0] for command in quick["commands"]].count("main.py") == 2
        marks.append({row.inputs for row in read_rows(described.with_suffix(".csv"), Row)})
    assert len(marks[0]) == len(marks[1]) == 1 and marks[0] != marks[1] and {""} not in marks


@pytest.mark.parametrize("line", ["--tune_from $MY_FILE", "--tune_from=$MY_FILE", "--tune_from ${MY_FILE}"])
def test_a_file_from_elsewhere_has_a_mark_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    given = tmp_path / "weights.pth"
    given.write_text("one")
    monkeypatch.setenv("MY_FILE", str(given))
    before = inputs_of(["--plain 3", line])
    given.write_text("two")
    assert before and inputs_of(["--plain 3", line]) not in (before, "")
    monkeypatch.setenv("MY_FILE", "")
    assert inputs_of([line]) == "" and unset_in(line.split()) == ["MY_FILE"]


def test_a_tests_files_from_elsewhere_are_marked_too(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described.write_text(TEXT.replace('flags = "-j 0 --batch_size 8"', 'flags = "-j 0 --test_list $MY_FILE"'))
    monkeypatch.setenv("MY_FILE", str(described))
    experiment = read_experiment(described)
    assert Run(experiment, described.with_suffix(".csv"), experiment.arms[0], 3).inputs


def test_rows_that_took_different_files_are_no_arm(described: Path) -> None:
    mark = settings(described, 0)
    rows = [row(settings=mark, inputs="one"), row(seed=4, settings=mark, inputs="two")]
    write_rows(described.with_suffix(".csv"), Row, rows)
    with pytest.raises(InputError, match=r"small\.csv: tsm: its rows took different files from elsewhere \(one, two\)"):
        page.read(described.parent, "small")


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match=r"\$NO_SUCH_FILE: not set in the environment"):
        Runner(tmp_path, [None], 1)._execute(["main.py", "--pretrain", "$NO_SUCH_FILE"], tmp_path / "said.txt", None)


@pytest.mark.parametrize("differs", ["code", "torch", "device", "threads"])
def test_what_was_begun_otherwise_is_begun_anew(
    described: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch, differs: str
) -> None:
    argv = [str(described), "--work", str(tmp_path / "work"), "--only", "tsn"]
    monkeypatch.setattr(running, "commit_of_code", lambda: "older")
    quick["fail"] = "--no-shift"
    assert run_experiments.main(argv) == 1
    (place,) = (tmp_path / "work").glob("tsn_*")
    (place / "half").touch()
    assert run_experiments.main(argv) == 1 and (place / "half").exists()  # the same: gone on with
    quick["fail"] = ""
    monkeypatch.setattr(running, "commit_of_code", lambda: "newer")
    monkeypatch.setattr(running, "conditions", lambda *given: {**conditions(*given), differs: "other"})
    assert run_experiments.main([*argv, "--keep_weights"]) == 0
    assert not (place / "half").exists()
    assert [row.commit for row in read_rows(described.with_suffix(".csv"), Row)] == ["newer"]


def test_a_folder_in_which_somebody_trains_is_not_removed(tmp_path: Path) -> None:
    place = tmp_path / "tsm"
    (place / "checkpoint" / "run").mkdir(parents=True)
    with claimed(place / "checkpoint" / "run"), pytest.raises(InputError, match="wait for its end"):
        running.remove(place)
    assert (place / "checkpoint" / "run").is_dir()
    running.remove(place)
    assert not place.exists()


def test_a_folder_that_is_removed_by_half_is_no_training_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / running.TRAINING).touch()
    monkeypatch.setattr(running.shutil, "rmtree", lambda *_, **__: None)
    running.remove(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_broken_table_is_told_before_anything_is_trained(
    described: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    described.with_suffix(".curves.csv").write_text("<<<<<<< ours\n")
    with pytest.raises(InputError, match=r"small\.curves\.csv: line 1: expected arm,seed,epoch"):
        run_experiments.main([str(described), "--work", str(tmp_path / "work")])
    assert not quick["commands"]


def test_commands_are_shown(
    described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_experiments.main([str(described), "--work", str(tmp_path / "a folder"), "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    programs = [shlex.split(line)[1] for line in lines]
    assert programs == ["tools/make_demo_dataset.py", *["main.py", "test_models.py"] * 3]
    assert "a folder/data" in shlex.split(lines[0])[-1]
    described.write_text(TEXT.replace("--fex off", "--fex off --tune_from $MY_FILE"))
    monkeypatch.setenv("MY_FILE", "my file.pth")
    assert run_experiments.main([str(described), "--work", str(tmp_path), "--dry_run"]) == 0
    assert "my file.pth" in shlex.split(capsys.readouterr().out.splitlines()[1])  # as a shell takes it
    described.write_text(TEXT)
    filled(described)
    assert run_experiments.main([str(described), "--work", str(tmp_path), "--dry_run"]) == 0
    assert capsys.readouterr().out == "# no run is missing in the tables\n"


def test_a_number_is_verified(
    described: Path, tmp_path: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(described), "--work", str(tmp_path / "work"), "--verify", "tsn"]
    with pytest.raises(InputError, match="not in the table yet, nothing to compare with: small: tsn, seed 3"):
        run_experiments.main(argv)
    rows = filled(described)
    assert run_experiments.main(argv) == 1  # the programs above give 53 %
    assert "53.00 %, in the table 40.00 %: DIFFERS" in capsys.readouterr().out
    assert read_rows(described.with_suffix(".csv"), Row) == rows


def test_unknown_arms_and_flags_that_do_not_go_together(described: Path) -> None:
    with pytest.raises(InputError, match=r"--only tsx: no arm of small \(did you mean ts[mn]\?\)"):
        run_experiments.main([str(described), "--only", "tsx"])
    with pytest.raises(InputError, match=r"--verify tsx: no arm of small"):
        run_experiments.main([str(described), "--verify", "tsx"])
    with pytest.raises(InputError, match=r"--jobs 0: at least 1; --only --verify: one of them"):
        run_experiments.main([str(described), "--jobs", "0", "--only", "tsm", "--verify", "tsm"])


@pytest.mark.parametrize(
    ("count", "words"), [(0, "--gpus 1: torch sees no GPU here"), (1, "--gpus 1: expected 0 to 0$"), (2, None)]
)
def test_gpus_that_are_not_there(
    described: Path, monkeypatch: pytest.MonkeyPatch, count: int, words: str | None
) -> None:
    """CUDA would leave them out, and the runs would be on the CPU."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    argv = [str(described), "--gpus", "1", "1", "MIG-x"]
    if words is None:
        assert run_experiments.parse(argv).gpus == ["1", "1", "MIG-x"]
    else:
        with pytest.raises(InputError, match=words):
            run_experiments.parse(argv)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the runs' own is another
        assert run_experiments.parse(argv).gpus


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "docs" / "experiments").glob("*.toml")), ids=lambda file: file.stem
)
def test_the_programs_take_the_flags_of_the_projects_experiments(file: Path, tmp_path: Path) -> None:
    experiment = read_experiment(file)
    runner = Runner(tmp_path, [None], 1)
    for arm in experiment.arms:
        own = runner.root(arm.data) / arm.data.dataset
        own.mkdir(parents=True, exist_ok=True)
        (own / "dataset.toml").write_text('mirror = "none"\n')  # by which a data set of one's own is known
    for arm, seed in experiment.runs():
        train, tests = runner.commands(Run(experiment, file, arm, seed), tmp_path)
        assert train[0] == "main.py" and opts.training_options(train[1:]).seed == seed
        for test in tests:
            assert test[0] == "test_models.py" and opts.testing_options(test[1:]).save_scores


@pytest.mark.slow
def test_real_programs_stopped_and_gone_on_with(described: Path, tmp_path: Path) -> None:
    """SIGTERM in the second epoch; the next start goes on from it. One number is then given again."""
    command = [sys.executable, "tools/run_experiments.py", str(described), "--work", str(tmp_path / "work")]
    described.write_text(TEXT.replace("seeds = [3, 4]", "seeds = [3]").replace("--epochs 1", "--epochs 20"))
    started = subprocess.Popen([*command, "--only", "tsm"], cwd=REPOSITORY, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "work").glob("tsm_*/checkpoint/run/ckpt.pth")):
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 130
    done = shell(*command, "--only", "tsm", "--keep_weights")
    assert done.returncode == 0 and "1/1 small: tsm, seed 3: plain " in done.stdout, done.stdout + done.stderr
    (said,) = (tmp_path / "work").glob("tsm_*/main.txt")
    assert "--resume auto: from " in said.read_text() and "going on " in said.read_text()
    (found,) = read_rows(described.with_suffix(".csv"), Row)
    assert 0.03 < found.gmacs < 0.2 and 11 < found.mparams < 12 and found.videos == 12
    assert len(read_rows(described.with_suffix(".curves.csv"), Epoch)) == 20
    again = shell(*command, "--verify", "tsm")
    assert again.returncode == 0 and again.stdout.rstrip().endswith(": same"), again.stdout + again.stderr
