"""The doors by which checkpoints, saved scores and logs come in, for the fuzzing of `fuzzing.py`.

Each has a name, what writes a small valid file into a folder, and what reads it as the programs do: it returns, or
raises InputError. Checksums would keep a changed byte from most of a reader. So the files of some doors are what lies
within a zip, which is sealed with its right checksums before it is read.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ops.evaluation.ensemble import Predictions, combine, read_scores
from ops.evaluation.metrics import accuracies
from ops.evaluation.outcomes import Outcomes, read_outcomes, write_outcomes
from ops.evaluation.results import write_scores
from ops.evaluation.runs import differing_options, summary
from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.recognition.contract import Contract, Views, network_and_contract
from ops.recognition.results import Results
from ops.running.checkpoint import load_weights, read_checkpoint, save_checkpoint
from ops.running.logged import read_run
from ops.running.optimizer import build_optimizer, restore_optimizer
from ops.running.weights_file import write_safetensors

CLASSES = ["drop", "lift", "turn"]
OPTIONS = NetworkOptions(len(CLASSES), 2, arch="mobilenetv2", shift=True, fex="off")
PUBLISHED = "TSM_demo_RGB_mobilenetv2_shift8_blockres_avg_segment2_e1.pth"


class Door(NamedTuple):
    """See above."""

    name: str
    make_valid: Callable[[Path], Path]
    open: Callable[[Path], object]


@cache
def network() -> TSN:
    """A small one, made once."""
    return build_network(OPTIONS)


def light(tensor: torch.Tensor) -> torch.Tensor:
    """Of its shape, and of one stored number, so that the files are small."""
    return torch.ones((), dtype=tensor.dtype).expand(tensor.shape)


def own() -> dict[str, Any]:
    """What a training's checkpoint holds."""
    optimizer = build_optimizer(network(), 0.1, 0.9, 1e-4).state_dict()
    for state in optimizer["state"].values():
        state["momentum_buffer"] = light(state["momentum_buffer"])
    weights = {name: light(tensor) for name, tensor in network().state_dict().items()}
    return {
        "network": asdict(OPTIONS),
        "categories": CLASSES,
        "dataset": "demo",
        "input_size": 32,
        "name": "run",
        "options": {"lr": 0.1, "lr_steps": [1, 2], "arch": "mobilenetv2", "resume": None},
        "data": {"classes": "a", "made": '{"short_side": 64}', "storage": "frames"},
        "calibration": {"temperature": 1.5, "views": {"crops": 1}},
        "epoch": 1,
        "validated": True,
        "best_prec1": 50.0,
        "rows": [{"epoch": 1, "lr": 0.1, "train_loss": 1.0, "val_top1": None}],
        "begun": {"videos": 8, "sums": {"loss": 3.5}},
        "optimizer": optimizer,
        "scaler": {},
        "state_dict": weights,
        "trained": weights,
        "averaged_steps": 3,
    }


def make_own(folder: Path) -> Path:
    """A checkpoint of main.py."""
    save_checkpoint(folder / "ckpt.pth", own())
    return folder / "ckpt.pth"


def make_published(folder: Path, zipped: bool = True) -> Path:
    """One of other code."""
    weights = {f"module.{name}": light(tensor) for name, tensor in network().state_dict().items()}
    content = {"epoch": 3, "arch": "mobilenetv2", "state_dict": weights, "best_prec1": torch.tensor(45.0)}
    torch.save(content, folder / PUBLISHED, _use_new_zipfile_serialization=zipped)
    return folder / PUBLISHED


def use(path: Path) -> None:
    """As testing, prediction and export do."""
    _, contract = network_and_contract(path)
    json.dumps(contract.described(Views()))


def resume(path: Path) -> None:
    """As --resume does, as far as it needs no data."""
    checkpoint = read_checkpoint(path)
    saved = checkpoint.training
    if "optimizer" not in saved:
        return
    load_weights(network(), replace(checkpoint, state_dict=saved.get("trained", checkpoint.state_dict)))
    restore_optimizer(build_optimizer(network(), 0.1, 0.9, 1e-4), saved["optimizer"], path)
    if saved["scaler"]:
        torch.amp.GradScaler("cpu").load_state_dict(saved["scaler"])
    assert all(row["epoch"] <= saved["epoch"] or row["epoch"] > 0 for row in saved.get("rows", []))
    json.dumps([saved.get("rows", []), saved["options"], saved.get("begun", {})])
    Contract.of(checkpoint, network())


def inside(make: Callable[[Path], Path], record: str) -> Callable[[Path], Path]:
    """A file of one record of a zip, named after it, beside the zip."""

    def make_record(folder: Path) -> Path:
        whole = make(folder)
        with zipfile.ZipFile(whole) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(record))
            content = archive.read(name)
        (folder / record).write_bytes(content)
        return folder / record

    return make_record


def sealed(make: Callable[[Path], Path], record: str, use: Callable[[Path], object]) -> Callable[[Path], None]:
    """Puts that file into the zip in place of its record, and uses the zip."""

    def open_zip(path: Path) -> None:
        folder = path.parent / "sealed"
        folder.mkdir(exist_ok=True)
        name, records = valid_records(make)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for each, content in records.items():
                archive.writestr(each, path.read_bytes() if each.endswith(record) else content)
        (folder / name).write_bytes(out.getvalue())
        use(folder / name)

    return open_zip


@cache
def valid_records(make: Callable[[Path], Path]) -> tuple[str, dict[str, bytes]]:
    """The name of what `make` makes, and its records."""
    with tempfile.TemporaryDirectory() as folder:
        whole = make(Path(folder))
        with zipfile.ZipFile(whole) as archive:
            return whole.name, {name: archive.read(name) for name in archive.namelist()}


def make_safetensors(folder: Path) -> Path:
    """An exported one."""
    description = {"format": 1, "network": asdict(OPTIONS), "categories": CLASSES, "dataset": "demo", "input_size": 32}
    small = torch.nn.Linear(2, 3)
    write_safetensors(folder / "model.safetensors", small, description)
    return folder / "model.safetensors"


def predictions() -> Predictions:
    """Of six videos."""
    scores = torch.arange(18.0).reshape(6, 3).cos()
    return Predictions("test", [f"v{k}" for k in range(6)], torch.arange(6) % 3, scores, left_out=("lost",))


def make_scores(folder: Path) -> Path:
    """As --save_scores writes them."""
    write_scores(folder / "scores.npz", predictions(), CLASSES)
    return folder / "scores.npz"


def judge(path: Path) -> None:
    """As test_models.py does with scores, and a comparison."""
    read = read_scores(path, CLASSES)
    together = combine([read.as_probabilities(), read.as_probabilities()], [1.0, 0.5])
    if together.labelled:
        found, _ = accuracies(together.scores, together.labels)
        assert all(0 <= value <= 100 for value in found.values())
        assert np.isfinite(read_outcomes(path).probability).all()


def make_videos(folder: Path) -> Path:
    """A report's table."""
    of = predictions()
    write_outcomes(folder / "videos.csv", Outcomes.of(of, of.as_probabilities().scores, CLASSES))
    return folder / "videos.csv"


def make_log(folder: Path, name: str = "log.csv") -> Path:
    """A run's table or options."""
    head, line = "epoch,lr,train_loss,train_top1,val_top1,val_seconds\n", "{},0.1,1.5,30,40,2.5\n"
    (folder / "log.csv").write_text(head + line.format(1) + line.format(2))
    (folder / "options.json").write_text(
        json.dumps({"name": "run", "epochs": 2, "lr_steps": [1], "data": {"val": "a"}})
    )
    return folder / name


def look(path: Path) -> None:
    """As compare_runs.py does."""
    run = read_run(path.parent)
    differing_options([run, replace(run, options={"epochs": 3})])
    assert summary(run) and run.hours and run.name and run.curve("train_loss") is not None


def make_predictions(folder: Path) -> Path:
    """predict.py's."""
    answer = {"label": 1, "class": "lift", "probability": 0.5}
    entry = {"path": "a.mp4", "top": [answer], "frames": 9, "seconds": 1.5, "views": 1}
    (folder / "predictions.json").write_text(json.dumps([entry, {**entry, "path": "b.mp4", "seconds": None}]))
    return folder / "predictions.json"


def go_on(path: Path) -> None:
    """As predict.py does with what it wrote before."""
    results = Results(CLASSES, path, path.with_name("predictions.csv"), top=1)
    results.go_on()
    results.save()


PICKLE, SCORES, NAMES = "data.pkl", "scores.npy", "categories.npy"
DOORS: Sequence[Door] = (
    Door("own checkpoint", make_own, use),
    Door("own checkpoint, inside", inside(make_own, PICKLE), sealed(make_own, PICKLE, use)),
    Door("resuming, inside", inside(make_own, PICKLE), sealed(make_own, PICKLE, resume)),
    Door("published checkpoint", make_published, use),
    Door("published checkpoint, inside", inside(make_published, PICKLE), sealed(make_published, PICKLE, use)),
    Door("published checkpoint, no zip", lambda folder: make_published(folder, zipped=False), use),
    *[Door("safetensors", make_safetensors, read_checkpoint)] * bool(find_spec("safetensors")),
    Door("scores", make_scores, judge),
    Door("scores, inside", inside(make_scores, SCORES), sealed(make_scores, SCORES, judge)),
    Door(
        "classes of scores, inside", inside(make_scores, "categories.npy"), sealed(make_scores, "categories.npy", judge)
    ),
    Door("a report's videos.csv", make_videos, read_outcomes),
    Door("log.csv", make_log, look),
    Door("options.json", lambda folder: make_log(folder, "options.json"), look),
    Door("predictions", make_predictions, go_on),
)
