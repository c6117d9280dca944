"""The recipes in scripts/: what they ask for, and that each runs on demo by setting one variable."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import REPOSITORY, shell

import main
import test_models
from opts import testing_options as read_testing_options
from opts import training_options

OTHERS = ("demo_model", "environment", "predict", "quickstart", "recipe", "run_tests", "screenshots", "test_versions")
RECIPES = sorted(path.stem for path in (REPOSITORY / "scripts").glob("*.sh") if path.stem not in OTHERS)

# One of each network and way of sampling: the others differ in numbers alone.
KINDS = (
    *("fexnet_something_8f", "fexnet_kinetics_8f_dense", "fexnet_ucf101_8f", "tsm_kinetics_8f", "tsn_kinetics_8f"),
    "tsm_kinetics_8f_dense_mobilenetv2",
)


@dataclass(frozen=True)
class Expected:
    """What a recipe must ask for, per training."""

    lr: float
    batch: int
    epochs: int
    steps: tuple[int, int]
    decay: float
    dropout: float = 0.5


KINETICS = Expected(0.02, 128, 50, (20, 40), 1e-4)
DENSE = Expected(0.02, 128, 100, (40, 80), 1e-4)
SOMETHING = Expected(0.01, 64, 50, (20, 40), 5e-4)
FEXNET = Expected(0.0025, 16, 50, (20, 40), 5e-4)
SMALL = Expected(0.001, 64, 25, (10, 20), 5e-4, dropout=0.8)


def expected(recipe: str) -> Expected:
    method, dataset, *_ = recipe.split("_")
    if dataset == "kinetics":
        return DENSE if "dense" in recipe else KINETICS
    if dataset in ("ucf101", "hmdb51"):
        return SMALL
    return FEXNET if method == "fexnet" else SOMETHING


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A folder with a `python` that prints its arguments, a line a call."""
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text('#!/bin/bash\nprintf "%q " "$@"; echo\n')
    program.chmod(0o755)
    return program.parent


def commands(recipe: str, stub: Path, *flags: str, **environment: str) -> list[list[str]]:
    """The command lines that a recipe would run."""
    path = f"{stub}:/usr/bin:/bin"
    done = shell("bash", f"scripts/{recipe}.sh", *flags, PATH=path, VIRTUAL_ENV=str(stub), **environment)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def test_every_published_number_has_a_recipe() -> None:
    assert len(RECIPES) == 25 and set(KINDS) < set(RECIPES)
    for number in ("71.2", "72.8", "72.6", "73.7", "74.1", "70.6", "75.6", "69.5", "68.8", "69.9", "45.6", "47.2"):
        assert any(number in (REPOSITORY / "scripts" / f"{recipe}.sh").read_text() for recipe in RECIPES), number
    for number in ("46.9", "48.7", "48.4", "61.2", "63.1", "63.3"):
        assert any(number in (REPOSITORY / "scripts" / f"{recipe}.sh").read_text() for recipe in RECIPES), number


# The flags of the test that a protocol of docs/experiments/published.csv is.
VIEWS = {
    "1 clip, 1 crop": "--protocol efficient",
    "1 clip, 10 crops": "--test_crops 10",
    "2 clips, 3 crops, full resolution": "--protocol accurate",
    "dense, 10 clips, 3 crops, full resolution": "--protocol dense",
}
DATA = {"Kinetics-400": "kinetics", "Something-Something V1": "something", "Something-Something V2": "somethingv2"}


def test_a_published_number_names_the_recipe_that_would_give_it() -> None:
    """Of networks that there are here, in the views that the number was measured in; and where it is from."""
    with (REPOSITORY / "docs" / "experiments" / "published.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told = {(r["network"], r["data"], r["frames"], r["protocol"], r["reported_by"]) for r in rows}
    assert len(told) == len(rows) > 40
    for row in rows:
        assert row["source"].startswith("https://") and row["reported_by"] and row["data"] in DATA, row
        assert 0 < float(row["top1"]) < 100 and row["frames"] in ("8", "16"), row
        if not row["command"]:
            continue
        shell, script = row["command"].split()
        assert shell == "bash" and row["network"].split(",")[0] in ("TSN", "TSM"), row
        text = (REPOSITORY / script).read_text()
        kind = f"{row['network'].split(',')[0].lower()}_{DATA[row['data']]}_{row['frames']}f"
        assert Path(script).stem.startswith(kind) and f'"{VIEWS[row["protocol"]]}"' in text, row
        assert ("non-local" in row["network"]) == ("--non_local" in text), row
        if "MMAction2" not in row["reported_by"]:  # what the recipe says to expect
            assert re.search(rf"^# .*\b{row['top1']}\b", text, re.MULTILINE), row


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_recipe_asks_for(recipe: str, stub: Path) -> None:
    text = (REPOSITORY / "scripts" / f"{recipe}.sh").read_text()
    assert "# Expected top-1: " in text and ("TSM's README" in text or "left open" in text)
    training, *tests = commands(recipe, stub)
    assert training[0] == "main.py" and tests and all(words[0] == "test_models.py" for words in tests)
    args, want = training_options(training[1:]), expected(recipe)
    method, dataset, frames, *_ = recipe.split("_")
    assert (args.dataset, args.num_segments) == (dataset, int(frames.removesuffix("f")))
    assert (args.shift, args.fex) == {"tsm": (True, "off"), "fexnet": (True, "paper"), "tsn": (False, "paper")}[method]
    assert (args.lr, args.batch_size, args.epochs, tuple(args.lr_steps)) == (
        want.lr, want.batch, want.epochs, want.steps,
    )  # fmt: skip
    assert (args.weight_decay, args.dropout, args.clip_gradient) == (want.decay, want.dropout, 20)
    assert args.no_partialbn and args.scale_lr_from == want.batch
    assert args.dense_sample == ("dense" in recipe) and args.non_local == recipe.endswith("_nl")
    assert args.arch == next((arch for arch in ("resnet101", "mobilenetv2") if arch in recipe), "resnet50")
    assert bool(args.tune_from) == (dataset in ("ucf101", "hmdb51"))
    for words in tests:
        tested = read_testing_options(words[1:])
        assert tested.dataset == dataset and tested.weights == [f"checkpoint/{recipe}/ckptbest.pth"]
        assert tested.dense_sample == ("dense" in recipe)


@pytest.mark.parametrize(
    "recipe", [recipe if recipe in KINDS else pytest.param(recipe, marks=pytest.mark.slow) for recipe in RECIPES]
)
def test_each_recipe_takes_a_step_on_demo(recipe: str, stub: Path, demo: Path) -> None:
    """What `DATASET=demo bash scripts/RECIPE.sh` runs, on one batch of small pictures, and its first test."""
    folder = demo / "dataset" / "demo"
    for name in ("train_videofolder.txt", "val_videofolder.txt"):
        (folder / name).write_text("".join((folder / name).read_text().splitlines(keepends=True)[:2]))
    tiny = ["--input_size", "32", "-b", "2", "--epochs", "1", "-j", "0", "--amp", "off"]
    where = ["--root_dataset", str(demo / "dataset")]
    environment = {"DATASET": "demo", "CHECKPOINTS": str(demo / "checkpoint")}
    training, test, *_ = commands(recipe, stub, *tiny, *where, "--root_log", str(demo / "log"), **environment)
    assert training[1] == "demo" and "--tune_from" not in training
    main.main(training[1:])
    test_models.main([*test[1:], *where, "-j", "0", "--max_num", "1"])
    assert (demo / "checkpoint" / f"{recipe}_on_demo" / "ckptbest.pth").is_file()


def test_a_recipe_runs_as_a_user_would_run_it(demo: Path) -> None:
    folder = demo / "dataset" / "demo"
    (folder / "train_videofolder.txt").write_text((folder / "train_videofolder.txt").read_text().splitlines()[0] + "\n")
    tiny = "--input_size 32 -b 1 --epochs 1 -j 0 --num_segments 4"
    flags = [*tiny.split(), "--root_log", str(demo / "log")]
    done = subprocess.run(
        ["bash", str(REPOSITORY / "scripts" / "tsm_kinetics_8f_dense_mobilenetv2.sh"), *flags],
        env={
            **os.environ,
            "DATASET": "demo",
            "CHECKPOINTS": str(demo / "checkpoint"),
            "FEXNET_DATASETS": str(demo / "dataset"),
            "TEST_FLAGS": "-j 0 --max_num 2",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VIRTUAL_ENV": sys.prefix,
        },
        cwd=demo,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 videos" in done.stdout and "top1" in done.stdout
