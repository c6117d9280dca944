"""Checkpoints and saved scores that are damaged or made to do harm: refused in words, soon, in little memory."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_doors_checkpoints as doors
import numpy as np
import pytest
import torch

from archs.backbone import state_dict_of
from ops import files
from ops.errors import InputError
from ops.evaluation.ensemble import Predictions, combine, named_scores, read_scores
from ops.evaluation.report.runs_page import write_runs_page
from ops.evaluation.report.training_page import Sheet, write_training_page
from ops.programs.resuming import named
from ops.recognition.contract import network_and_contract
from ops.recognition.results import Results
from ops.running.checkpoint import read_checkpoint, save_checkpoint, store_calibration
from ops.running.logged import read_run
from ops.running.runlog import RunLog


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small own one. Not to be changed."""
    return doors.make_own(tmp_path_factory.mktemp("own"))


def said(path: Path) -> tuple[Any, ...]:
    """All that a checkpoint says, to be compared."""
    read = read_checkpoint(path)
    weights = {name: value.double().sum().item() for name, value in read.state_dict.items()}
    momenta = [state["momentum_buffer"].sum().item() for state in read.training.pop("optimizer")["state"].values()]
    del read.training["trained"]
    return weights, momenta, read.network, read.categories, read.training


def test_no_flipped_bit_loads_as_something_else(checkpoint: Path, tmp_path: Path) -> None:
    whole, good, chosen = checkpoint.read_bytes(), said(checkpoint), random.Random(0)
    refused = 0
    for _ in range(30):
        changed, bit = bytearray(whole), chosen.randrange(8 * len(whole))
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.pth").write_bytes(changed)
        try:
            assert said(tmp_path / "a.pth") == good, bit
        except InputError:
            refused += 1
    assert refused > 15  # the rest are in what nobody reads: padding, dates


def test_a_checkpoint_without_checksums(checkpoint: Path, tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        save_checkpoint(tmp_path / "a.pth", doors.own())
    finally:
        torch.serialization.set_crc32_options(True)
    assert said(tmp_path / "a.pth") == said(checkpoint)


def test_a_disk_that_keeps_other_bytes_keeps_the_former_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path / "a.pth", {**doors.own(), "epoch": 1})

    def fail(file: Any) -> None:
        written = Path(file.name)
        with written.open("r+b") as other:
            other.seek(written.stat().st_size // 2)
            other.write(b"\0\1\2\3" * 100)

    monkeypatch.setattr(files, "_forget", fail)
    with pytest.raises(OSError, match=r"Input/output error: .*a\.pth"), caplog.at_level(logging.ERROR):
        save_checkpoint(tmp_path / "a.pth", {**doors.own(), "epoch": 2})
    assert read_checkpoint(tmp_path / "a.pth").training["epoch"] == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pth"] and "read back" in caplog.text


def test_a_flipped_bit_in_exported_weights(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = doors.make_safetensors(tmp_path)
    whole = path.read_bytes()
    read_checkpoint(path)
    for place, words in ((len(whole) - 3, "SHA-256"), (whole.index(b"drop"), "SHA-256"), (9, "safetensors")):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match=words):
            read_checkpoint(path)


class Calls:
    """Pickled, it is a call of a function; `items` are then put into what it gives."""

    def __init__(self, function: Callable[..., object], *arguments: object, items: Any = None) -> None:
        self.function, self.arguments, self.items = function, arguments, items

    def __reduce__(self) -> Any:
        return self.function, self.arguments, None, None, self.items and iter(self.items)


def circle() -> list[Any]:
    """A list in itself."""
    found: list[Any] = []
    found.append(found)
    return found


def doubled(times: int) -> tuple[Any, ...]:
    """Of two parts that are one, and so on: small in memory, and takes for ever to hash."""
    found: tuple[Any, ...] = ()
    for _ in range(times):
        found = (found, found)
    return found


def deep(times: int) -> list[Any]:
    """A list in a list, and so on."""
    found: list[Any] = []
    for _ in range(times):
        found = [found]
    return found


def resealed(path: Path, change: Callable[[str, bytes], bytes], how: int = zipfile.ZIP_STORED) -> None:
    """The zip written again, its records changed, with their right checksums."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in records.items():
            archive.writestr(name, change(name, content))


def claiming(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Changes the pickle in a zip."""

    def change(name: str, content: bytes) -> bytes:
        assert not name.endswith("data.pkl") or old in content
        return content.replace(old, new) if name.endswith("data.pkl") else content

    return lambda path: resealed(path, change)


MILLION = b"J\x00\x00\x10\x00"
THREE = {"state_dict": {"a": torch.ones(3)}}
WIDE = torch.zeros(()).expand(1 << 15, 1 << 15)  # 4 GiB of one number
HOSTILE: dict[str, tuple[Any, Callable[[Path], object], str]] = {
    "deflated": (
        {"a": torch.zeros(1 << 20)},
        lambda p: resealed(p, lambda _, c: c, zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "a large storage": (THREE, claiming(b"K\x03tq", MILLION + b"tq"), "claims 4194304 bytes"),
    "a large tensor": (
        THREE,
        claiming(b"K\x00K\x03\x85", b"K\x00" + MILLION + b"\x85"),
        "of 3 numbers",
    ),
    "one number four billion times": ({"a": WIDE, "b": WIDE}, str, "far more numbers than it holds"),
    "more behind its end": (THREE, lambda p: p.write_bytes(p.read_bytes() + b"PK\x05\x06"), "damaged"),
    "a bytearray of any size": ({"a": Calls(bytearray, 1 << 40)}, str, "bytearray"),
    "a key that hashes for ever": (Calls(OrderedDict, items=[(doubled(60), 1)]), str, "too many parts"),
    "a set that does": (Calls(set, [doubled(60)]), str, "too many parts"),
    "an ordered dict that does": (Calls(OrderedDict, [[doubled(60), 1]]), str, "too many parts"),
    "deep": ({"a": deep(100)}, str, "too deep"),
    "a circle": ({"a": circle()}, str, "in a circle"),
    "a sparse tensor": ({"a": torch.zeros(2).to_sparse()}, str, "other tensors than plain dense ones"),
    "a complex one": ({"module.new_fc.weight": torch.zeros(2, dtype=torch.complex64)}, str, "complex64"),
    "no numbers": ({"module.new_fc.weight": torch.tensor([1, torch.nan])}, str, r"new_fc\.weight has values .*NaN"),
    "a name that is none": ({3: torch.ones(1)}, str, "called 3"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_claims_what_it_does_not_hold(what: str, zipped: bool, tmp_path: Path) -> None:
    content, change, words = HOSTILE[what]
    if not zipped and change is not str:
        return  # of zips alone
    path = tmp_path / doors.PUBLISHED
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    change(path)
    with pytest.raises(InputError, match=words) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 1000


UNSUPPORTED: dict[str, Callable[[Path], object]] = {
    "float8": lambda p: torch.save({"a": torch.ones(2), "b": torch.ones(2).to(torch.float8_e4m3fn)}, p),
    "uint16": lambda p: torch.save({"a": torch.ones(2), "b": torch.ones(2, dtype=torch.uint16)}, p),
    "sparse": lambda p: torch.save({"a": torch.ones(2), "b": torch.ones(2).to_sparse()}, p),
    "quantised": lambda p: torch.save({"b": torch.quantize_per_tensor(torch.ones(2), 1, 0, torch.qint8)}, p),
    "TorchScript": lambda p: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), p),
    "TorchScript, whose code is stored": lambda p: (UNSUPPORTED["TorchScript"](p), resealed(p, lambda _, c: c)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_is_whole_and_not_supported_is_not_called_damaged(what: str, tmp_path: Path) -> None:
    path = tmp_path / doors.PUBLISHED
    UNSUPPORTED[what](path)
    words = "a TorchScript archive" if "Script" in what else r"plain dense ones of usual types .* not supported"
    with pytest.raises(InputError, match=rf"{words}.*alone.*: torch\.save\(.*state_dict\(\), FILE\)") as caught:
        read_checkpoint(path)
    assert "damaged" not in str(caught.value) and "train it again" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("ckpt.pth", read_checkpoint),
        ("model.safetensors", read_checkpoint),
        ("backbone.pth", lambda path: state_dict_of(path, str(path))),
        ("scores.npz", named_scores),
    ],
)
def test_nobody_waits_for_a_named_pipe(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    os.mkfifo(tmp_path / name)
    # What would wait waits for this, and then reads nothing.
    writer = threading.Timer(5, lambda: (tmp_path / name).open("wb").close())
    writer.daemon = True
    writer.start()
    with pytest.raises((InputError, OSError), match="a named pipe or a device, not a file"):
        read(tmp_path / name)
    writer.cancel()


def test_a_folder_in_the_place_of_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"a folder, expected a checkpoint \(did you mean {checkpoint}\?\)"):
        read_checkpoint(checkpoint.parent)
    with pytest.raises(InputError, match=r"a folder, expected a checkpoint$"):
        read_checkpoint(tmp_path)


def test_auto_is_offered_to_who_misspells_it() -> None:
    for word in ("Auto", "atuo"):
        with pytest.raises(InputError, match=rf"--resume {word}: no such checkpoint \(did you mean auto\?\)"):
            named(argparse.Namespace(resume=word))
    with pytest.raises(InputError, match=r"^a\.pth: no such checkpoint; expected"):
        named(argparse.Namespace(resume="a.pth"))
    assert named(argparse.Namespace(resume="auto")) is None


HUGE, NAN = 10**9, float("nan")
FIELDS: list[tuple[str, Any, str]] = [
    ("format", "1", "update FEXNet"),
    ("format", torch.ones(2), "update FEXNet"),
    ("network", [1], "network is a list"),
    ("network.num_classes", HUGE, "num_classes is 1000000000, expected a whole number from 1 to 100000"),
    ("network.num_classes", 4, "it names 3 classes"),
    ("network.num_segments", HUGE, "num_segments is 1000000000"),
    ("network.num_segments", True, "num_segments is True"),
    ("network.shift_div", 0, "shift_div is 0"),
    ("network.arch", torch.ones(2), "arch is a Tensor"),
    ("network.dropout", NAN, "dropout is nan"),
    ("network.fex_stages", ["layer9"], "layer9"),
    ("network.fex_parts", ["se"], r"fex_parts\[0\] is 'se', expected one of fe, ss"),
    ("network.fex_parts", [], "fex_parts is .*, expected a list of 1 to 2"),
    ("network.shift", "yes", "shift is 'yes', expected True or False"),
    ("network.heads", circle(), "too deep"),
    ("categories", ["a", 1, "c"], r"categories\[1\] is 1"),
    ("categories", 3, "categories is 3"),
    ("dataset", None, "dataset is None"),
    ("input_size", HUGE, "input_size is 1000000000, expected a whole number from 1 to 8192"),
    ("name", 10**30, "name is a number of 100 bits"),
    ("name", "a\0b", "name is"),
    ("epoch", -1, "epoch is -1"),
    ("epoch", 2**200, "epoch is a number of 201 bits"),
    ("validated", 1, "validated is 1"),
    ("best_prec1", NAN, "best_prec1 is nan"),
    ("rows", [{"lr": 1}], r"rows\[0\] has no epoch"),
    ("rows", [{"epoch": 1, "lr": "x"}], r"rows\[0\].lr is 'x'"),
    ("options", {"lr": torch.ones(1)}, "options.lr holds a Tensor"),
    ("options", {3: 1}, "options is a dict"),
    ("data", {"train": 3}, "data.train is 3"),
    ("calibration", {"temperature": 0}, "temperature is 0"),
    ("calibration", {"temperature": 1e-30}, "temperature is 1e-30"),
    ("calibration", 1.5, "calibration is 1.5"),
    ("scaler", {"scale": 1.0}, "scaler has no growth_factor"),
    ("optimizer", {}, "optimizer.param_groups is None|optimizer.state is None"),
    ("optimizer.param_groups", [{"lr": 1}], "has no params"),
    ("optimizer.state", {0: {"momentum_buffer": torch.tensor([NAN])}}, r"state\[0\]: momentum_buffer has values"),
    ("optimizer.state", {0: {"momentum_buffer": 1.0}}, "expected a tensor"),
    ("trained", {"a": torch.tensor([torch.inf])}, "trained: a has values that are infinite .* diverged.* again$"),
    ("rows", [{"epoch": 1, "lr": 2**200}], r"rows\[0\].lr is a number of 201 bits"),
    ("averaged_steps", None, "averaged_steps is None"),
    ("begun", {"videos": -1, "sums": {}}, "begun.videos is -1"),
    ("begun", {"videos": 1, "sums": {"loss": NAN}}, "begun.sums.loss is nan"),
    ("state_dict", {"a": 1}, "a is a int"),
]


@pytest.mark.parametrize(("field", "value", "words"), FIELDS, ids=[f"{f} {str(v)[:12]}" for f, v, _ in FIELDS])
def test_a_field_of_another_kind_is_named(field: str, value: Any, words: str, tmp_path: Path) -> None:
    content = {"format": 1, **doors.own(), "state_dict": {"a": torch.ones(1)}}
    inner: dict[str, Any] = content
    *outer, last = field.split(".")
    for name in outer:
        inner[name] = inner = dict(inner[name])
    inner[last] = value
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=words) as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert len(str(caught.value)) < 500
    with pytest.raises(InputError, match=words if field != "format" else "does not look at"):
        if field == "format":
            raise InputError("which calibration does not look at")
        store_calibration(tmp_path / "a.pth", {"temperature": 1.0})


def test_a_text_that_claims_two_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / doors.PUBLISHED
    torch.save(THREE, path, _use_new_zipfile_serialization=False)
    before, mark, names = path.read_bytes().rpartition(b"]q\x00X")  # of the storages, in the last pickle
    path.write_bytes(before + mark + b"\xff\xff\xff\x7f" + names[4:])
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(InputError, match="shorter than the 2147483647 bytes of text"):
        read_checkpoint(path)


def test_a_field_that_is_missed_is_named(tmp_path: Path) -> None:
    content = {"format": 1, **doors.own()}
    for names, words in (
        (["epoch"], "optimizer and no epoch"),
        (["averaged_steps"], "trained and no averaged_steps"),
        (["categories", "dataset"], "categories, dataset missing"),
    ):
        torch.save({key: value for key, value in content.items() if key not in names}, tmp_path / "a.pth")
        with pytest.raises(InputError, match=words):
            read_checkpoint(tmp_path / "a.pth")


def test_a_loss_that_is_no_number_is_gone_on_with(tmp_path: Path) -> None:
    same = {"lr": 0.1, "train_loss": 1.0, "train_top1": 30.0, "val_top1": 40.0}
    rows = [{"epoch": k, **same, "val_loss": loss} for k, loss in enumerate((2.0, NAN, float("inf")), start=1)]
    save_checkpoint(tmp_path / "a.pth", {**doors.own(), "rows": rows})
    saved = read_checkpoint(tmp_path / "a.pth").training["rows"]
    assert str(saved) == str(rows)
    RunLog(tmp_path / "log", {}, after=3, rows=saved)
    run = read_run(tmp_path / "log")
    assert str([row["val_loss"] for row in run.rows]) == "[2.0, nan, inf]" and run.best == run.rows[2]
    write_training_page(run, Sheet())
    write_runs_page(tmp_path / "runs.html", [run, run])
    assert (tmp_path / "runs.html").stat().st_size > 1000


def test_what_is_told_of_the_frames_is_only_taken_as_json(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", {**doors.own(), "data": {"made": "[" * 9000}})
    assert network_and_contract(tmp_path / "a.pth")[1].stored_short_side == 0


# Scores


def saved(path: Path, compressed: bool = False, **changes: Any) -> Path:
    """Scores as --save_scores has them, some arrays changed."""
    with np.load(doors.make_scores(path.parent)) as file:
        arrays = dict(file)
    (np.savez_compressed if compressed else np.savez)(path, **(arrays | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compressed": True}, "compressed"),
        ({"scores": np.full((6, 3), np.nan)}, "6 of 6 videos are infinite or no numbers .*v0, v1"),
        ({"scores": np.array([[0, 0, -np.inf]] * 6)}, "infinite or no numbers"),
        ({"scores": np.array([[None] * 3] * 6)}, "allow_pickle"),
        ({"scores": np.zeros((6, 3), complex)}, "do not go together"),
        ({"labels": np.arange(6) - 2}, "labels from -2"),
        ({"labels": np.zeros(6)}, "do not go together"),
        ({"paths": np.empty(0, str), "labels": np.empty(0, int), "scores": np.empty((0, 3))}, "do not go together"),
        ({"categories": np.empty(1 << 20, "U0"), "paths": np.empty(0, str)}, "other sizes|do not go together"),
    ],
)
def test_scores_that_cannot_be(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        named_scores(saved(tmp_path / "s.npz", **changes))


def test_an_array_that_claims_a_terabyte(tmp_path: Path) -> None:
    path = doors.make_scores(tmp_path)
    resealed(path, lambda name, c: c.replace(b"(6, 3)", b"(1099511627776, 3)") if name == "scores.npy" else c)
    with pytest.raises(InputError, match="damaged"):
        named_scores(path)


def test_scores_of_another_machine(tmp_path: Path) -> None:
    scores = doors.predictions().scores.numpy()
    read = read_scores(saved(tmp_path / "s.npz", scores=scores.astype(">f8")), doors.CLASSES)
    assert torch.equal(read.scores, torch.from_numpy(scores).double())


def test_finite_scores_that_coefficients_make_infinite() -> None:
    of = doors.predictions()
    large = Predictions("large", of.paths, of.labels, of.scores.sign() * 3e38)
    with pytest.raises(InputError, match="the ensemble: scores of 6 of 6 videos"):
        combine([large, large], [1e3, 1.0])


# Logs and predictions


def test_a_damaged_log(tmp_path: Path) -> None:
    table = doors.make_log(tmp_path)
    good = table.read_text()
    for changed in (good.replace("\n2,", "\n1e9,"), good.replace("2,", "inf,"), good.replace("1.5", "\0"), "\0" * 99):
        table.write_text(changed)
        with pytest.raises(InputError, match=r"log\.csv: not the table"):
            read_run(tmp_path)
    table.write_text(good)
    (tmp_path / "options.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"options\.json: no JSON, or damaged"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", 3),
        ("path", "a\ud800"),
        ("seconds", NAN),
        ("views", "1"),
        ("top", [{"label": 1, "class": "lift"}]),
        ("top", 3),
    ],
)
def test_damaged_predictions_are_not_gone_on_with(field: str, value: Any, tmp_path: Path) -> None:
    path = doors.make_predictions(tmp_path)
    entries = json.loads(path.read_text())
    entries[1][field] = value
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"predictions\.json: no predictions .*entries\[1\]"):
        Results(doors.CLASSES, path, top=1).go_on()


@pytest.mark.parametrize("door", doors.DOORS, ids=lambda door: door.name)
def test_each_door_opens_to_what_is_valid_and_not_to_nothing(door: doors.Door, tmp_path: Path) -> None:
    path = door.make_valid(tmp_path)
    door.open(path)
    path.write_bytes(io.BytesIO(path.read_bytes()).read(20))
    with pytest.raises(InputError):
        door.open(path)
