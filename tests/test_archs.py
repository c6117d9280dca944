"""Backbones: their parts by name, their weights from elsewhere, and what of them is patched in time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from published import golden_options
from torch import nn

from archs.backbone import build_backbone
from archs.mobilenetv2 import MobileNetV2
from ops.errors import InputError
from ops.model.surgery import patch_shift
from ops.model.temporal_shift import TemporalShift
from ops.model.tsn import NetworkOptions, build_network
from ops.running.optimizer import parameter_groups

TSM = NetworkOptions(5, 4, shift=True, fex="off")
INCEPTION = replace(TSM, arch="BNInception", shift_place="block")
STAGES = ["2", "3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]


@pytest.mark.parametrize(
    ("mask", "shifted"), [("block", STAGES), ("110010000000", ["2", "3c"]), ("0" * 11 + "1", ["5b"])]
)
def test_bninception_shifts_in_front_of_the_stages_of_the_mask(mask: str, shifted: list[str]) -> None:
    with torch.device("meta"):
        network = build_network(replace(INCEPTION, shift_place=mask))
    assert network.patched == shifted
    assert sum(isinstance(m, TemporalShift) for m in network.modules()) == len(shifted)


@pytest.mark.parametrize("mask", ["01", "2" * 12, "0" * 12, "1" + "0" * 11, "blockres"])
def test_a_wrong_mask(mask: str) -> None:
    backbone = build_backbone("BNInception")
    with pytest.raises(InputError, match="12 digits 0 or 1"):
        patch_shift(backbone, lambda _: 4, 8, mask)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch": "BNInception", "fex": "paper"}, "--fex off --shift_place block"),
        ({"arch": "mobilenetv2", "non_local": True}, "--non_local: defined for --arch resnet50"),
        ({"arch": "mobilenetv2", "add_se": True}, "--add_se: defined for --arch resnet18"),
        ({"arch": "timm:resnet10t", "temporal_pool": True}, "--temporal_pool: defined for"),
        ({"arch": "timm:vit_tiny_patch16_224"}, "no residual blocks that could be patched in time: give --no-shift"),
        ({"arch": "timm:convnext_tini"}, r"did you mean timm:convnext_tiny\?"),
        ({"arch": "timm:convnext_tiny", "fex": "paper", "shift_place": "inblockres"}, "no second convolution"),
        ({"arch": "resnet18", "modality": "Depth"}, "expected one of RGB, Flow, RGBDiff"),
    ],
)
def test_networks_that_cannot_be(changes: dict[str, str], words: str) -> None:
    if changes["arch"].startswith("timm:"):
        pytest.importorskip("timm")
    with pytest.raises(InputError, match=words):
        build_network(replace(TSM, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("fex", ["off", "paper"])
def test_mobilenetv2_is_patched_before_the_expansions_of_its_residual_blocks(fex: str) -> None:
    with torch.device("meta"):
        network = build_network(replace(TSM, arch="mobilenetv2", fex=fex, fex_init="plain"))
    blocks = [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    assert network.patched == [f"features.{k}.conv.0" for k in blocks if fex == "off" or k > 3]
    if fex == "paper":
        enhanced = [n for n, b in zip(network.patched, network.fex_blocks(), strict=True) if b.enhancement is not None]
        assert enhanced == ["features.5.conv.0", "features.8.conv.0", "features.15.conv.0"]


TIMM = {  # name: (patched by the shift, of them the first, patched by FEX)
    "resnet50d": (16, "layer1.0.conv1", 13),
    "resnetv2_50": (16, "stages.0.blocks.0.conv1", 13),
    "regnety_016": (27, "s1.b1.conv1.conv", 25),
    "convnext_tiny": (18, "stages.0.blocks.0.conv_dw", 15),
}


@pytest.mark.parametrize("name", TIMM)
def test_timms_networks_are_patched_before_each_blocks_first_convolution(name: str) -> None:
    count, first, with_fex = TIMM[name]
    for fex, expected in (("off", count), ("paper", with_fex)):
        with torch.device("meta"):
            network = build_network(replace(TSM, arch=f"timm:{name}", fex=fex, fex_init="plain"))
        assert len(network.patched) == len(set(network.patched)) == expected
        assert all(isinstance(network.base_model.get_submodule(f"{n}.net"), nn.Conv2d) for n in network.patched)
        assert not any({"downsample", "shortcut", "se"} & set(n.split(".")) for n in network.patched)
        assert fex == "paper" or network.patched[0] == first


@pytest.mark.parametrize("name", ["resnet10t", "resnetv2_18", "regnetx_002", "convnext_atto"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_timms_networks_train_and_see_time(name: str, dropout: float) -> None:
    torch.manual_seed(0)
    network = build_network(replace(TSM, arch=f"timm:{name}", fex="paper", dropout=dropout))
    with torch.no_grad():  # timm's blocks start as their shortcut alone
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand_like(parameter))
    clips = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8)
    network(clips).sum().backward()
    grouped = sum(len(group["params"]) for group in parameter_groups(network))
    assert grouped == sum(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        network.eval()
        assert (network(clips) - network(clips.flip(1))).abs().max() > 5e-5 * network(clips).abs().max()
        alone = torch.cat([network(clip[None]) for clip in clips])
        assert torch.allclose(alone, network(clips), rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


def test_a_timm_network_without_residual_blocks_is_a_tsn() -> None:
    network = build_network(NetworkOptions(5, 2, arch="timm:vit_tiny_patch16_224", dropout=0.0)).eval()
    assert network.patched == []
    with torch.no_grad():
        assert network(torch.zeros(1, 2, 3, 224, 224, dtype=torch.uint8)).shape == (1, 5)


def test_without_timm_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(InputError, match="pip install timm"):
        build_network(replace(TSM, arch="timm:resnet10t"))


def test_torchvisions_mobilenet_weights_give_the_same_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2().eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    net = build_backbone("mobilenetv2", str(tmp_path / "weights.pth")).net.eval()
    assert isinstance(net, MobileNetV2)
    net.classifier = nn.Identity()  # type: ignore[assignment]
    theirs.classifier = nn.Identity()  # type: ignore[assignment]
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net(x), theirs(x), atol=1e-6)


def test_bninceptions_weights_as_converted_from_caffe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_backbone("BNInception").net
    state = {
        name.replace("fc.", "last_linear."): value[None] if "_bn." in name and value.ndim == 1 else value
        for name, value in source.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "bn_inception.pth")
    network = build_network(INCEPTION, pretrain=str(tmp_path / "bn_inception.pth"))
    for name in ("conv1_7x7_s2.weight", "inception_5b_pool_proj_bn.running_var"):
        assert torch.equal(network.base_model.state_dict()[name], source.state_dict()[name])
    with pytest.raises(InputError, match="Fetch the ones converted from Caffe"):
        build_network(INCEPTION, pretrain="imagenet")


@pytest.mark.parametrize("size", [32, 73, 100])
def test_bninception_takes_any_size(size: int) -> None:
    assert build_backbone("BNInception").net.eval()(torch.rand(1, 3, size, size)).shape == (1, 1000)


def test_bninception_takes_blue_green_red_and_255() -> None:
    network = build_network(INCEPTION)
    pixels = torch.tensor([[[[10]], [[20]], [[30]]]], dtype=torch.uint8)
    assert network.input_stage(pixels).flatten().tolist() == pytest.approx([30 - 104, 20 - 117, 10 - 128])


def test_golden_options_are_networks_of_their_own() -> None:
    config = {"num_class": 3, "num_segments": 8, "modality": "Flow", "base_model": "resnet18", "is_shift": True}
    with torch.device("meta"):
        network = build_network(golden_options("tsm", config))
    assert network.get_submodule(network.first_conv).weight.shape[1] == 10
