"""main.py and test_models.py end to end on tiny data: what they leave, resuming, fine-tuning, several processes."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from programs import REPOSITORY, TINY, evaluate, python, train
from published import save_published
from torchvision import models

import main
from ops.data.records import read_list
from ops.errors import InputError
from ops.programs import training
from ops.running.checkpoint import newest_own
from ops.running.runlog import RunLog
from opts import run_name, training_options

SHIFT = ("--shift", "--npb")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def only_run(folder: Path) -> Path:
    """The one run's folder below `folder`."""
    (run,) = [entry for entry in folder.iterdir() if entry.is_dir()]
    return run


def test_a_run_and_its_test_leave_what_is_promised(demo: Path) -> None:
    run = only_run(train(demo, *SHIFT, "--epochs", "2"))
    assert run.name == "TSM_demo_RGB_resnet18_shift8_blockres_FEX_avg_segment4_e2_none"
    log = demo / "log" / run.name
    rows = list(csv.DictReader((log / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["train_loss"]) > 0 and float(row["train_seconds"]) > 0 for row in rows)
    assert all(0 <= float(row["train_waiting_percent"]) <= 100 and row["val_videos"] == "12" for row in rows)
    assert json.loads((log / "options.json").read_text())["shift"] is True
    environment = json.loads((log / "environment.json").read_text())
    assert environment["torch"] == torch.__version__ and environment["pillow"] == PIL.__version__
    assert list(log.glob("events.out.tfevents.*"))
    assert {p.name for p in run.iterdir()} == {"ckpt.pth", "ckptbest.pth"}
    content = torch.load(run / "ckpt.pth", weights_only=True)
    assert content["network"]["fex"] == "paper" and len(content["categories"]) == 12 and content["epoch"] == 2
    assert not any(name.startswith("module.") for name in content["state_dict"])

    out = demo / "out"
    flags = ["--test_crops=3", "--twice_sample", "--batch_size=5", f"--report={out}", f"--result_json={out}/r.json"]
    evaluate(demo, run / "ckptbest.pth", *flags, f"--save_scores={out}/s.npz", "--reverse_time")
    result = json.loads((out / "r.json").read_text())
    expected = {"clips": 2, "crops": 3, "segments": 4, "videos": 12, "skipped": 0, "crop_size": 32, "sampling": "twice"}
    assert {k: result[k] for k in expected} == expected
    saved = np.load(out / "s.npz")
    top1 = 100 * (saved["scores"].argmax(1) == saved["labels"]).mean()
    assert result["top1"] == pytest.approx(top1) == pytest.approx(result["mean_class_accuracy"])
    assert result["reverse_partner"] == pytest.approx(100 * (saved["scores"].argmax(1) == saved["labels"] ^ 1).mean())
    assert saved["paths"][0].startswith("val_") and len(saved["categories"]) == 12
    table = list(csv.reader((out / "confusion_matrix.csv").open()))
    assert np.array(table[1:])[:, 1:].astype(int).sum() == 12
    assert Image.open(out / "confusion_matrix.png").size[0] > 400


def interrupt(demo: Path, when: str, *flags: str) -> None:
    """Trains, and is stopped in the second epoch: in its validation, `before` or `after` its line is written."""
    calls: dict[str, int] = {"validate": 0, "add": 0}
    real: dict[str, Callable[..., Any]] = {"validate": training.validate, "add": RunLog.add}

    def stopping(what: str, moments: Sequence[str], *arguments: Any) -> Any:
        calls[what] += 1
        if calls[what] == 2 and when == moments[0]:
            raise KeyboardInterrupt
        result = real[what](*arguments)
        if calls[what] == 2 and when == moments[-1]:
            raise KeyboardInterrupt
        return result

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "validate", lambda *them: stopping("validate", ["in validation"], *them))
        patch.setattr(RunLog, "add", lambda *them: stopping("add", ["before", "after"], *them))
        train(demo, *flags)


def timeless(table: Path) -> list[dict[str, str]]:
    """A log's table without what the clock decides."""
    rows = list(csv.DictReader(table.open()))
    return [{k: v for k, v in row.items() if not k.endswith(("seconds", "waiting_percent"))} for row in rows]


@pytest.mark.parametrize(
    ("fex", "when", "whole_workers", "parts_workers"),
    [("paper", "in validation", "0", "2"), ("off", "before", "2", "0")],
)
def test_resuming_gives_bit_for_bit_the_uninterrupted_run(
    demo: Path, fex: str, when: str, whole_workers: str, parts_workers: str
) -> None:
    flags = [*SHIFT, "--fex", fex, "--epochs", "3"]
    run = train(demo, *flags, "--store_name", "whole", "-j", whole_workers) / "whole"
    interrupt(demo, when, *flags, "--store_name", "parts", "-j", parts_workers)
    parts = demo / "checkpoint" / "parts"
    train(demo, *flags, "--resume", str(parts / "ckpt.pth"), "-j", parts_workers)
    for name in ("ckpt.pth", "ckptbest.pth"):
        whole, resumed = (torch.load(folder / name, weights_only=True) for folder in (run, parts))
        assert all(torch.equal(value, resumed["state_dict"][key]) for key, value in whole["state_dict"].items())
        momenta = [[group["momentum_buffer"] for group in c["optimizer"]["state"].values()] for c in (whole, resumed)]
        assert momenta[0] and all(torch.equal(w, r) for w, r in zip(*momenta, strict=True))
        assert all(whole[key] == resumed[key] for key in ("epoch", "validated", "best_prec1"))
    logs = [demo / "log" / name / "log.csv" for name in ("whole", "parts")]
    assert [row["epoch"] for row in timeless(logs[1])] == ["1", "2", "3"]
    assert timeless(logs[0]) == timeless(logs[1])


def test_a_tuned_run_resumes_with_the_same_flags_in_its_folder(demo: Path) -> None:
    first = train(demo, *SHIFT, "--epochs", "1", "--store_name", "first") / "first" / "ckpt.pth"
    flags = [*SHIFT, "--epochs", "3", "--tune_from", str(first)]
    interrupt(demo, "after", *flags)
    (folder,) = (entry for entry in (demo / "checkpoint").iterdir() if entry.name != "first")
    train(demo, *flags, "--resume", str(folder / "ckpt.pth"), "--wd", "0.1")
    content = torch.load(folder / "ckpt.pth", weights_only=True)
    assert content["epoch"] == 3 and content["classifier_lr5"] is False
    assert {group["weight_decay"] for group in content["optimizer"]["param_groups"]} == {0.0, 0.1}


def test_the_seed_decides_everything(demo: Path) -> None:
    weights = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run = train(demo, *SHIFT, "--epochs", "1", "--seed", seed, "--store_name", name) / name
        weights.append(torch.load(run / "ckpt.pth", weights_only=True)["state_dict"]["new_fc.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_start_says_what_was_built(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = {
        (): "TSN (no operator in time) on resnet18",
        ("--shift",): "FEX before 6 modules: layer2.0.conv1",
        ("--shift", "--fex", "released"): "FEXNet (as released",
        ("--shift", "--fex", "off"): "TSM on resnet18",
    }
    for number, (flags, expected) in enumerate(words.items()):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            train(demo, *flags, "--epochs", "1", "--store_name", str(number))
        assert expected in caplog.text
        assert "partial BN" in caplog.text
        assert ("FEX starts as the temporal shift" in caplog.text) == ("FEX" in expected)


def test_an_earlier_run_is_not_overwritten_unasked(demo: Path) -> None:
    train(demo, "--epochs", "1")
    with pytest.raises(InputError, match="--overwrite"):
        train(demo, "--epochs", "1")
    run = only_run(demo / "checkpoint")
    (run / "ckpt.pth").unlink()  # as if ckptbest.pth were a published file put there
    with pytest.raises(InputError, match="--overwrite"):
        train(demo, "--epochs", "1")
    train(demo, "--epochs", "1", "--overwrite")
    for flags in (
        ["--resume", str(run / "ckptbest.pth")],  # beside a ckpt.pth, which it would replace
        ["--resume", str(run / "ckpt.pth"), "--store_name", "other"],
    ):
        train(demo, "--epochs", "1", "--store_name", "other", "--overwrite")
        with pytest.raises(InputError, match="holds checkpoints already"):
            train(demo, "--epochs", "2", *flags)


def test_tuning_takes_what_fits_and_says_so(demo: Path, golden: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = demo / "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4_e50.pth"
    keys = json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"]
    save_published(weights, golden, keys)
    with caplog.at_level(logging.INFO):
        run = only_run(train(demo, *SHIFT, "--epochs", "1", "--lr", "1e-30", "--tune_from", str(weights)))
    assert "left out (2): new_fc.weight, new_fc.bias\n" in caplog.text  # eleven classes there, twelve here
    assert "6 BatchNorms set" in caplog.text
    state = torch.load(run / "ckpt.pth", weights_only=True)["state_dict"]
    theirs = torch.load(weights, weights_only=True)["state_dict"]["module.base_model.layer2.0.conv1.net.weight"]
    assert torch.equal(state["base_model.layer2.0.conv1.net.weight"], theirs)

    train(demo, *SHIFT, "--epochs", "1", "--tune_from", str(run / "ckpt.pth"), "--store_name", "again")
    assert caplog.text.count("BatchNorms set") == 1  # the second time the file gave FEX's own


def test_without_dropout_the_classifier_is_found_wherever_it_stands(
    demo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(demo, *SHIFT, "--epochs", "1", "--dropout", "0", "--store_name", "first") / "first" / "ckpt.pth"
    state = torch.load(first, weights_only=True)["state_dict"]
    assert "base_model.fc.weight" in state and "new_fc.weight" not in state
    with caplog.at_level(logging.INFO):
        train(demo, *SHIFT, "--evaluate", "--resume", str(first))
        train(demo, *SHIFT, "--epochs", "1", "--tune_from", str(first), "--store_name", "tuned", "--lr", "1e-30")
    assert "evaluation: loss" in caplog.text and "left out (0): none" in caplog.text
    content = torch.load(demo / "checkpoint" / "tuned" / "ckpt.pth", weights_only=True)
    assert torch.equal(content["state_dict"]["new_fc.weight"], state["base_model.fc.weight"])
    assert content["classifier_lr5"] is False
    with pytest.raises(InputError, match=r"dropout is 0\.0 there and 0\.5 here"):
        train(demo, *SHIFT, "--epochs", "2", "--resume", str(first))


def test_tuning_finds_layers_under_another_operator(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = train(demo, "--epochs", "1", "--store_name", "tsn") / "tsn" / "ckpt.pth"
    places = {"block": ["--fex", "off"], "blockres": []}
    for place, flags in places.items():
        caplog.clear()
        with caplog.at_level(logging.INFO):
            tuned = ["--tune_from", str(first), "--store_name", place]
            train(demo, "--shift", "--shift_place", place, *flags, "--epochs", "1", *tuned)
        assert "left out (0): none" in caplog.text
        assert ("fresh (0): none" in caplog.text) == (place == "block")
    caplog.clear()
    with caplog.at_level(logging.INFO):  # the first block of each stage has its FEX in the same place in both
        tuned = ["--tune_from", str(demo / "checkpoint" / "blockres" / "ckpt.pth"), "--store_name", "inblockres"]
        train(demo, "--shift", "--shift_place", "inblockres", "--epochs", "1", *tuned)
    assert "3 BatchNorms set" in caplog.text


def test_evaluation_alone(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = only_run(train(demo, *SHIFT, "--epochs", "1"))
    with caplog.at_level(logging.INFO):
        train(demo, *SHIFT, "--evaluate", "--resume", str(run / "ckpt.pth"))
    assert "evaluation: loss" in caplog.text and "12 videos" in caplog.text


def test_a_pretrained_backbone_from_a_file(demo: Path) -> None:
    path = demo / "backbone.pth"
    state = models.resnet18(num_classes=7).state_dict()
    torch.save(state, path)
    flags = list(TINY)
    at = flags.index("--pretrain")
    flags[at + 1] = str(path)
    out = ["--root_log", str(demo / "log"), "--root_model", str(demo / "checkpoint"), "-j", "0", "--lr", "1e-30"]
    main.main(["demo", "RGB", "--root_dataset", str(demo / "dataset"), *flags, *out, "--shift", "--epochs", "1"])
    run = only_run(demo / "checkpoint")
    ours = torch.load(run / "ckpt.pth", weights_only=True)["state_dict"]["base_model.layer2.0.conv1.net.weight"]
    assert torch.equal(ours, state["layer2.0.conv1.weight"])
    assert "_from" in run.name


def test_two_processes_train(demo: Path) -> None:
    # The last video is of no use to both: thirteen videos are shared out unevenly.
    listed = demo / "dataset" / "demo" / "val_videofolder.txt"
    lines = listed.read_text().splitlines()
    listed.write_text("\n".join([*lines, lines[0]]) + "\n")
    out = ["--root_log", str(demo / "log"), "--root_model", str(demo / "checkpoint")]
    flags = [*TINY, "--root_dataset", str(demo / "dataset"), "-j", "0", *out, *SHIFT, "--epochs", "2"]
    trained = python(*TORCHRUN, "main.py", "demo", "RGB", *flags, OMP_NUM_THREADS="1")
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr.count("epoch 2/2 train") == 1 and "2 processes on cpu" in trained.stderr
    assert "13 videos" in trained.stderr
    assert (only_run(demo / "checkpoint") / "ckpt.pth").is_file()


def test_shared_batches_give_the_steps_of_all_their_videos() -> None:
    done = python(*TORCHRUN, "tests/distributed_step.py", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["agreed"] == 2 * [[0, 1, 3, 0]]
    assert len(found["steps"]) == 6 and len(found["norms"]) in (6, 8)  # without and with timm
    assert max(found["norms"].values()) < 1e-12
    for name, steps in found["steps"].items():
        assert steps["between processes"] == 0 and steps["movement"] > 1e-4, name
        # What each process's own BatchNorms would do shows that the others' are one.
        assert steps["difference"] > 0.01 if name == "own" else steps["difference"] < 1e-9, name


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_two_processes_meet_an_unreadable_video(demo: Path, policy: str) -> None:
    record = read_list(demo / "dataset" / "demo" / "train_videofolder.txt", 12)[0]
    shutil.rmtree(demo / "dataset" / "demo" / "frames" / record.path)
    common = ["--root_dataset", str(demo / "dataset"), "-j", "0", "--root_log", str(demo / "log")]
    command = [*TORCHRUN, "main.py", "demo", "RGB", *TINY, *common, "--root_model", str(demo / "checkpoint")]
    done = python(*command, "--epochs", "1", "--bad_frames", policy, OMP_NUM_THREADS="1")
    assert (done.returncode == 0) == (policy == "skip"), done.stderr
    assert ("23 videos" if policy == "skip" else f"error: {record.path}") in done.stderr


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ([], "TSM_something_RGB_resnet50_avg_segment3_e120"),
        (["--dropout=0"], "TSM_something_RGB_resnet50_avg_segment3_e120_nodropout"),
        (["--shift", "--fex", "off"], "TSM_something_RGB_resnet50_shift8_blockres_avg_segment3_e120"),
        (["--shift"], "TSM_something_RGB_resnet50_shift8_blockres_FEX_avg_segment3_e120"),
        (["--shift", "--fex=released"], "TSM_something_RGB_resnet50_shift8_blockres_FEXreleased_avg_segment3_e120"),
        (
            ["--shift", "--fex_init=plain", "--lr_type=cos", "--dense_sample", "--suffix=mine"],
            "TSM_something_RGB_resnet50_shift8_blockres_FEX_plaininit_avg_segment3_e120_cos_dense_mine",
        ),
    ],
)
def test_run_names(changes: list[str], name: str) -> None:
    assert run_name(training_options(["something", "RGB", *changes])) == name


PUBLISHED = (
    "something RGB --arch resnet50 --num_segments 8 --gd 20 --lr 0.0025 --lr_steps 20 40 --epochs 50 --batch-size 16 "
    "-j 8 --dropout 0.5 --consensus_type=avg --eval-freq=1 --shift --shift_div=8 --shift_place=blockres --npb"
).split()


def published_tree(something: Path, monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    """Eighteen videos to train on, and made weights where torchvision would put its download."""
    lists = something / "dataset" / "something"
    (lists / "train_videofolder.txt").write_text(3 * (lists / "val_videofolder.txt").read_text())
    cache = something / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.manual_seed(0)
    name = Path(models.get_model_weights(arch)["IMAGENET1K_V1"].url).name
    torch.save(models.get_model(arch).state_dict(), cache / name)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(something / "hub"))
    monkeypatch.setenv("FEXNET_DATASETS", str(lists.parent))
    monkeypatch.chdir(something)


def test_the_published_training_command_on_a_smaller_network(something: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published_tree(something, monkeypatch, "resnet18")
    main.main([*PUBLISHED, "--arch", "resnet18", "--input_size", "64", "--epochs", "1", "-j", "2"])
    run = something / "checkpoint" / "TSM_something_RGB_resnet18_shift8_blockres_FEX_avg_segment8_e1"
    assert torch.load(run / "ckptbest.pth", weights_only=True)["network"]["num_classes"] == 11


@pytest.mark.slow
def test_the_published_training_command(something: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published_tree(something, monkeypatch, "resnet50")
    main.main([*PUBLISHED, "--epochs", "1"])
    assert (something / "checkpoint/TSM_something_RGB_resnet50_shift8_blockres_FEX_avg_segment8_e1/ckpt.pth").is_file()


def test_challenge_files_and_probabilities(something: Path, golden: Path) -> None:
    keys = json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"]
    weights = something / "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4_e50.pth"
    save_published(weights, golden, keys)
    shutil.copytree(something / "dataset" / "something", something / "dataset" / "somethingv2")
    shutil.copy(weights, something / weights.name.replace("something", "somethingv2"))
    for dataset in ("something", "somethingv2"):
        weights = something / weights.name.replace("something_", f"{dataset}_")
        out = [f"--csv_file={something}/{dataset}.csv", f"--save_scores={something}/s.npz", "--softmax"]
        evaluate(something, weights, *out, dataset=dataset)
    scores = np.load(something / "s.npz")["scores"]
    assert scores.sum(axis=1) == pytest.approx(np.ones(6)) and scores.min() >= 0
    best = np.argsort(-scores, axis=1)
    first = (something / "something.csv").read_text().splitlines()
    second = (something / "somethingv2.csv").read_text().splitlines()
    assert first[2] == f"002;class {best[2, 0]}"
    assert second[2] == ";".join(["002", *map(str, best[2, :5])])


def test_newest_own_checkpoint_is_what_testing_sh_takes(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="train a network first"):
        newest_own(demo / "checkpoint")
    for name in ("old", "new"):
        train(demo, "--epochs", "1", "--store_name", name)
    assert newest_own(demo / "checkpoint").path.parent.name == "new"


def test_testing_sh_on_a_checkpoint(demo: Path) -> None:
    weights = train(demo, "--epochs", "1", "--store_name", "run") / "run" / "ckptbest.pth"
    result = demo / "r.json"
    flags = ["-j", "0", f"--result_json={result}", "--input_size=64"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(REPOSITORY / "testing.sh"), "checkpoint/run/ckptbest.pth", *flags]
    done = subprocess.run(
        command,
        cwd=demo,  # a path from where the user stands
        env={**os.environ, "FEXNET_DATASETS": str(demo / "dataset"), "PATH": path, "VIRTUAL_ENV": sys.prefix},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(result.read_text())
    assert (values["views"], values["crop_size"], values["weights"]) == (6, 73, str(weights))
