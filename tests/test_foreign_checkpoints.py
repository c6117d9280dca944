"""Checkpoints as other code leaves them: wrapped, prefixed, with objects beside the weights. None of them runs code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from programs import shell
from torch import nn
from torchvision import models

from archs.backbone import build_backbone
from ops.errors import InputError
from ops.model.tsn import NetworkOptions, build_network, network_options
from ops.running.checkpoint import load_weights, read_checkpoint, refuse_other_classes, save_checkpoint
from opts import run_name, training_options

State = dict[str, torch.Tensor]
NAME = "TSM_demo_RGB_resnet18_shift8_blockres_avg_segment2_e1.pth"
TSM = NetworkOptions(3, 2, arch="resnet18", shift=True, fex="off")


def light(make: Callable[[], nn.Module]) -> State:
    """The tensors of a network, each of one number, so that their files are small."""
    with torch.device("meta"):
        state = make().state_dict()
    return {name: torch.full((), float(k)).expand(value.shape) for k, (name, value) in enumerate(state.items())}


@pytest.fixture(scope="module")
def state() -> State:
    """The tensors of a TSM of three classes and two segments."""
    return light(lambda: build_network(TSM))


def below(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


# How other code wraps a network's tensors.
WRAPPED: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "best_prec1": torch.tensor(45.0), "state_dict": state},
    "model": lambda state: {"model": state, "args": {"lr": 0.1}},
    "model_state": lambda state: {"epoch": 3, "model_state": state, "optimizer_state": {"state": {}}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "net": lambda state: {"net": state, "acc": 12.5},
    "in two": lambda state: {"model": {"state_dict": state}, "epoch": 1},
    "DataParallel": lambda state: {"state_dict": below("module.", state)},
    "compiled": lambda state: below("_orig_mod.", state),
    "compiled in DDP": lambda state: {"model": below("module._orig_mod.", state)},
    "its backbone compiled": lambda state: {
        name.replace("base_model.", "base_model._orig_mod."): value for name, value in state.items()
    },
    "Lightning": lambda state: {
        "pytorch-lightning_version": "2.4.0",
        "hyper_parameters": {"lr": 0.1},
        "state_dict": {**below("model.", state), "criterion.weight": torch.ones(3)},
    },
    "Lightning, compiled": lambda state: {"state_dict": below("net._orig_mod.", state)},
    "averaged": lambda state: {"n_averaged": torch.tensor(7), **below("module.", state)},
    "with an average beside it": lambda state: {"state_dict": state, "state_dict_ema": below("x.", state)},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_network_is_found_under_its_wrappers(how: str, state: State, tmp_path: Path) -> None:
    torch.save(WRAPPED[how](state), tmp_path / NAME)
    read = read_checkpoint(tmp_path / NAME)
    assert list(read.state_dict) == list(state) and all(torch.equal(read.state_dict[n], state[n]) for n in state)
    assert network_options(read.network) == TSM


@pytest.mark.parametrize("how", WRAPPED)
def test_a_backbone_is_found_under_its_wrappers(how: str, tmp_path: Path) -> None:
    given = light(lambda: models.resnet18(num_classes=7))
    wrapped = WRAPPED[how](given)
    if how == "its backbone compiled":
        wrapped = {name.replace("layer1.", "layer1._orig_mod."): value for name, value in given.items()}
    torch.save(wrapped, tmp_path / "a.pth")
    loaded = build_backbone("resnet18", str(tmp_path / "a.pth")).net.state_dict()
    names = [n for n in given if not n.startswith("fc.") and not n.endswith("num_batches_tracked")]
    assert all(torch.equal(loaded[name], given[name]) for name in names)


MMACTION = {  # of five classes: what a TSM-ResNet-50 of MMAction2 is known by
    "backbone.conv1.conv.weight": torch.zeros(64, 3, 7, 7),
    "backbone.layer3.0.conv3.conv.weight": torch.zeros(()),
    **{f"backbone.layer3.{k}.conv1.conv.net.weight": torch.zeros(()) for k in range(6)},
    "cls_head.fc_cls.weight": torch.zeros(5, 1).expand(5, 2048),
}


@pytest.mark.parametrize("prefix", ["", "model.", "module._orig_mod."])
def test_mmactions_networks_too(prefix: str, tmp_path: Path) -> None:
    torch.save({"meta": {}, "state_dict": below(prefix, MMACTION)}, tmp_path / "tsm_1x1x16_ucf101-rgb.pth")
    read = read_checkpoint(tmp_path / "tsm_1x1x16_ucf101-rgb.pth")
    assert read.from_mmaction and read.dataset == "ucf101" and "new_fc.weight" in read.state_dict
    assert (read.network["num_classes"], read.network["num_segments"], read.network["shift"]) == (5, 16, True)


@pytest.mark.parametrize(
    ("meta", "file", "dataset", "words"),
    [
        ({"CLASSES": tuple("abcde")}, "best.pth", "mine", ""),
        ({"dataset_meta": {"classes": list("abcde")}, "seed": 1}, "best.pth", "mine", ""),
        ({"dataset_meta": {"CLASSES": list("abcde")}}, "tsm_1x1x8_kinetics400-rgb.pth", "mine", ""),
        ({"CLASSES": tuple("abcdx")}, "best_mine.pth", "mine", "on others .class 4 is 'x' there and 'e' here"),
        ({"CLASSES": tuple("abc")}, "tsm_1x1x8_mine-rgb.pth", "mine", ""),  # not of this classifier
        ({"CLASSES": None, "dataset_meta": "?"}, "tsm_r50_mine.pth", "mine", ""),
        ({}, "my_set-rgb.pth", "my_set", ""),
        ({}, "best.pth", "mine", r"5 classes are those of 'mine' .*: tsm_1x1x8_mine-rgb\.pth"),
        ({}, "mines.pth", "mine", "neither it nor its name says"),
        ({}, "tsm_1x1x8_sthv2-rgb.pth", "mine", "its name says somethingv2"),
    ],
)
def test_classes_of_mmactions_networks_on_ones_own_data(
    meta: dict[str, Any], file: str, dataset: str, words: str, tmp_path: Path
) -> None:
    torch.save({"meta": meta, "state_dict": MMACTION}, tmp_path / file)
    read = read_checkpoint(tmp_path / file)
    assert read.has_classes(dataset, list("abcde")) == (not words)
    if words:
        with pytest.raises(InputError, match=words):
            refuse_other_classes(read, dataset, list("abcde"))
    else:
        refuse_other_classes(read, dataset, list("abcde"))


def test_the_testing_script_asks_for_the_data_set_that_nothing_names(tmp_path: Path) -> None:
    torch.save({"meta": {}, "state_dict": MMACTION}, tmp_path / "best.pth")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = shell("bash", "testing.sh", str(tmp_path / "best.pth"), PATH=path, VIRTUAL_ENV=sys.prefix)
    assert done.returncode == 2 and "python test_models.py DATASET --weights=" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "flags",
    [
        "demo RGB --shift",
        "demo RGB --shift --fex_stages layer3 layer1",
        "demo RGB --shift --fex_stages layer3 --shift_stages layer1 --fex_parts ss --fex_norms",
        "demo RGB --shift --fex_parts fe --fex_attention residual",
        "demo RGB --shift --fex off --shift_stages layer2 layer3",
        "my_own_set RGB --shift --fex off",
        "ucf101_split2 RGB --fex off",
        "demo RGBDiff --keep_rgb --shift --dropout 0",
        "demo RGB --shift --follow_pretrain a.pth",
    ],
)
def test_an_own_network_saved_by_its_state_dict_alone(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_set").mkdir()
    (tmp_path / "my_own_set" / "dataset.toml").touch()
    monkeypatch.setenv("FEXNET_DATASETS", str(tmp_path))
    args = training_options([*flags.split(), "--arch", "resnet18", "--num_segments", "2"])
    options = network_options(
        {f: getattr(args, f) for f in NetworkOptions.__dataclass_fields__ if hasattr(args, f)} | {"num_classes": 3}
    )
    file = tmp_path / run_name(args) / "weights.pth"
    file.parent.mkdir()
    torch.save(light(lambda: build_network(options)), file)
    read = read_checkpoint(file)
    assert read.dataset == args.dataset and read.has_classes(args.dataset.removesuffix("_split2"), list("abc"))
    with torch.device("meta"):
        network, again = build_network(options), build_network(network_options(read.network))
        load_weights(again, replace(read, state_dict={name: v.to("meta") for name, v in read.state_dict.items()}))
    assert again.patched == network.patched
    assert again.options == replace(options, num_classes=3, partial_bn=True, fex_init=again.options.fex_init)


def test_two_networks_in_one_file(state: State, tmp_path: Path) -> None:
    torch.save({"state_dict": below("student.", state) | below("teacher.", state)}, tmp_path / NAME)
    with pytest.raises(InputError, match=r"several networks.*'student\.'.*'teacher\.'"):
        read_checkpoint(tmp_path / NAME)


def test_an_image_networks_weights_are_sent_to_pretrain(tmp_path: Path) -> None:
    torch.save(light(models.resnet18), tmp_path / NAME)
    with pytest.raises(InputError, match="--pretrain"):
        read_checkpoint(tmp_path / NAME)


def test_a_video_networks_weights_are_sent_to_tune_from(state: State, tmp_path: Path) -> None:
    for content in (state, {"model": below("net.", state)}):
        torch.save(content, tmp_path / NAME)
        with pytest.raises(ValueError, match="--tune_from"):
            build_backbone("resnet18", str(tmp_path / NAME))


def test_what_is_no_state_dict(tmp_path: Path) -> None:
    for content in ([1, 2], {}, {"model": "resnet18", "epoch": 3}, {"state_dict": {}}):
        torch.save(content, tmp_path / NAME)
        with pytest.raises(InputError, match=r"not a checkpoint.*state_dict"):
            read_checkpoint(tmp_path / NAME)


# Objects beside the weights


def test_numpys_numbers_are_plain_numbers(state: State, tmp_path: Path) -> None:
    beside = {
        "best_prec1": np.float64(45.5),
        "epoch": np.int64(3),
        "loss": np.array([2.5], ">f4")[0],
        "done": np.bool_(True),
        "name": np.str_("run"),
        "random": np.random.RandomState(0).get_state(),
    }
    content = {"network": {"num_classes": 3}, "categories": list("abc"), "dataset": "demo", "state_dict": state}
    save_checkpoint(tmp_path / "a.pth", content | beside)
    training = read_checkpoint(tmp_path / "a.pth").training
    values = [training[key] for key in beside if key != "random"]
    assert values == [45.5, 3, 2.5, True, "run"] and [type(v) for v in values] == [float, int, float, bool, str]
    torch.save(beside | {"state_dict": state}, tmp_path / NAME, _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / NAME).state_dict.keys() == state.keys()


def test_numbers_of_the_other_numpy(state: State, tmp_path: Path) -> None:
    torch.save({"state_dict": state, "acc": np.float64(45.5)}, tmp_path / NAME, _use_new_zipfile_serialization=False)
    ours = (tmp_path / NAME).read_bytes()
    names = b"cnumpy._core.multiarray\nscalar", b"cnumpy.core.multiarray\nscalar"
    theirs = ours.replace(*names) if names[0] in ours else ours.replace(*reversed(names))
    assert theirs != ours
    (tmp_path / NAME).write_bytes(theirs)
    assert read_checkpoint(tmp_path / NAME).state_dict.keys() == state.keys()


class Calls:
    """Unpickling it would call a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Network(nn.Linear):
    """A network whose whole module somebody pickles."""


LOGGED: dict[str, Callable[[State], Any]] = {
    "a logger": lambda state: {"state_dict": state, "logger": logging.getLogger("training")},
    "a model beside a logger": lambda state: {"model": below("module.", state), "log": logging.getLogger("training")},
    "a path": lambda state: {"net": state, "folder": Path("runs")},
}


def run_lines(message: str) -> None:
    """Runs the two lines of Python that a message advises."""
    lines = [line.strip() for line in message.splitlines() if "torch." in line and line.startswith("  ")]
    assert len(lines) == 2
    exec("\n".join(lines), {})


@pytest.mark.parametrize("what", LOGGED)
def test_the_two_lines_that_resave_a_file_with_objects_work(what: str, state: State, tmp_path: Path) -> None:
    file = tmp_path / "it's here" / NAME
    file.parent.mkdir()
    torch.save(LOGGED[what](state), file)
    with pytest.raises(InputError, match=r"refused.*(logging|pathlib).*could run code.*only if you trust") as caught:
        read_checkpoint(file)
    run_lines(str(caught.value))
    (saved,) = set(file.parent.iterdir()) - {file}
    assert read_checkpoint(saved).state_dict.keys() == state.keys()
    with pytest.raises(OSError, match=r"--pretrain .*only if you trust"):
        build_backbone("resnet18", str(file))


def test_a_whole_module_is_resaved_by_the_same_two_lines(tmp_path: Path) -> None:
    net = models.resnet18()
    net.load_state_dict(light(models.resnet18), assign=True)
    for name, content in (("a", net), ("b", {"model": net, "epoch": 3})):
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(OSError, match="torchvision") as caught:
            build_backbone("resnet18", str(tmp_path / f"{name}.pth"))
        run_lines(str(caught.value))
        build_backbone("resnet18", str(tmp_path / f"{name}.weights.pth"))


EVIL: dict[str, Callable[[Path], object]] = {
    "system": lambda proof: Calls(os.system, f"touch {proof}"),
    "eval": lambda proof: Calls(eval, f"open({str(proof)!r}, 'w')"),
    "open": lambda proof: Calls(open, str(proof), "w"),
    "a NumPy loader": lambda proof: Calls(np.load, str(proof), None, True),
    "an object array": lambda proof: np.array([Calls(open, str(proof), "w")], dtype=object),
    "a type of objects": lambda _: np.dtype("O"),
    "a structure": lambda _: np.zeros(1, [("a", "f4"), ("b", "O")])[0],
}


@pytest.mark.parametrize("what", EVIL)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_could_run_code_runs_none(what: str, zipped: bool, state: State, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    content = {"state_dict": state, "extra": EVIL[what](proof)}
    torch.save(content, tmp_path / NAME, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="refused") as caught:
        read_checkpoint(tmp_path / NAME)
    assert not proof.exists()
    if what in ("system", "eval", "open"):  # nobody is told how to run these
        assert "weights_only=False" not in str(caught.value)
    with pytest.raises(OSError, match="refused"):
        build_backbone("resnet18", str(tmp_path / NAME))
    assert not proof.exists()


def test_a_forged_numpy_type_is_not_believed(state: State, tmp_path: Path) -> None:
    class Forged:
        """A float of a gigabyte, whose flags say that it holds objects."""

        def __reduce__(self) -> Any:
            return np.dtype, ("f8", False, True), (3, "<", None, None, None, 1 << 30, 8, 0x7F)

    scalar = np.float64(0).__reduce__()[0]
    content = {"network": {"num_classes": 3}, "categories": list("abc"), "dataset": "demo", "state_dict": state}
    save_checkpoint(tmp_path / "a.pth", content | {"best_prec1": Calls(scalar, Forged(), np.float64(3).tobytes())})
    assert read_checkpoint(tmp_path / "a.pth").training["best_prec1"] == 3


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    torch.save({}, tmp_path / NAME)
    monkeypatch.setattr(torch, "load", refused)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)") as caught:
        read_checkpoint(tmp_path / NAME)
    assert "damaged" not in str(caught.value)
