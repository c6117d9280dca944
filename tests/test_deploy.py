"""The form for evaluation: equal to the network it is made from, and what of it is folded."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from test_model import shaken
from torch import nn

from ops.data.modalities import MODALITIES
from ops.errors import InputError
from ops.model.deploy import deploy, watched
from ops.model.folded import FoldedFEX
from ops.model.tsn import TSN, NetworkOptions, build_network

NORMS = nn.modules.batchnorm._BatchNorm
NETWORKS: dict[str, dict[str, Any]] = {
    "fexnet": {},
    "fexnet, 6 folds": {"shift_div": 6, "num_segments": 3},
    "fexnet inside": {"shift_place": "inblockres"},
    "fexnet of basic blocks": {"arch": "resnet18"},
    "fexnet with all": {"non_local": True, "add_se": True, "temporal_pool": True},
    "fexnet of timm": {"arch": "timm:resnet26d"},
    "released": {"fex": "released"},
    "tsm": {"fex": "off"},
    "tsn": {"shift": False},
    "mobilenet": {"arch": "mobilenetv2", "fex": "off"},
    "inception": {"arch": "BNInception", "fex": "off", "shift_place": "block"},
}


def trained(shake: bool = True, **changes: Any) -> TSN:
    """A network with statistics as of training; with `shake` all weights and statistics matter."""
    torch.manual_seed(0)
    options = {"num_classes": 5, "num_segments": 4, "shift": True, "partial_bn": False, "fex_init": "plain", **changes}
    network = build_network(NetworkOptions(**options))
    nn.init.normal_(network.classifier.weight, std=0.05)
    network = shaken(network) if shake else network  # type: ignore[assignment]
    with torch.no_grad():
        for _ in range(5):
            network.train()(pixels(network, 64))
    return network.eval()


def pixels(network: TSN, size: int) -> torch.Tensor:
    """Two clips."""
    kind = MODALITIES[network.options.modality]
    shape = (2, network.options.num_segments, kind.frames * kind.channels, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a part of the largest score."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", NETWORKS)
def test_deployed_networks_are_equal(name: str) -> None:
    network = trained(**NETWORKS[name]).double()
    before = copy.deepcopy(network.state_dict())
    deployed = deploy(network)
    clips = pixels(network, 49)  # odd sizes on the way
    with torch.inference_mode():
        expected = network(clips)
        assert expected.std() > 0 and far(deployed(clips), expected) <= 1e-9
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())  # stays as it was
    assert not any(isinstance(m, NORMS) for m in deployed.modules())


@pytest.mark.parametrize("name", ["fexnet", "fexnet of basic blocks", "tsm"])
def test_in_float32_they_are_as_near_to_the_exact_scores(name: str) -> None:
    network = trained(shake=False, **NETWORKS[name])
    clips = pixels(network, 96)
    with torch.inference_mode():
        found = deploy(network)(clips)
        assert far(found, network.double()(clips)) <= 1e-5


def test_blocks_of_basic_and_bottleneck_networks_are_folded() -> None:
    for arch, alone in (("resnet50", False), ("resnet18", True)):
        folded = [m for m in deploy(trained(arch=arch)).modules() if isinstance(m, FoldedFEX)]
        assert folded and all((m.net is not None) is alone for m in folded)


def test_a_convolution_that_something_else_reads_keeps_its_batch_norm() -> None:
    network = trained(arch="timm:resnetv2_18", fex="off", num_segments=2)  # its shortcuts leave before the BatchNorm
    norms = {name for name, m in network.named_modules() if isinstance(m, NORMS)}
    kept = {name for name, m in deploy(network).named_modules() if isinstance(m, NORMS)}
    assert set(watched(network)[2]) | kept == norms and kept and len(kept) < len(norms)
    clips = pixels(network, 64)
    with torch.inference_mode():
        assert far(deploy(network.double())(clips), network(clips)) <= 1e-9


def test_it_refuses_to_score_otherwise_than_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trained(arch="resnet18", num_segments=2)
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    deploy(network.train())
    assert network.training and torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    right = FoldedFEX.forward
    monkeypatch.setattr(FoldedFEX, "forward", lambda self, x: right(self, x) * (1 + 1e-4))
    with pytest.raises(InputError, match=r"FEXNet .* on resnet18.*: by [\d.e-]+ of the largest score.*--no_deploy"):
        deploy(network)
    monkeypatch.setattr(FoldedFEX, "forward", lambda self, x: right(self, x) * float("nan"))
    with pytest.raises(InputError, match="by nan of the largest score"):
        deploy(network)


def test_a_backbone_of_one_size_of_frames() -> None:
    network = trained(arch="resnet18", num_segments=2)
    network.base_model.register_forward_pre_hook(refuse_other_sizes)
    clips = pixels(network, 64)
    with torch.inference_mode():
        assert far(deploy(network)(clips), network(clips)) <= 1e-4
    network.base_model.register_forward_pre_hook(partial(refuse_other_sizes, size=65))
    with pytest.raises(InputError, match=r"takes no frames of 32, 64, .*\(6[45] pixels\): give --no_deploy"):
        deploy(network)


def refuse_other_sizes(_module: nn.Module, inputs: tuple[torch.Tensor], size: int = 64) -> None:
    """As timm's transformers do."""
    if inputs[0].shape[-1] != size:
        raise AssertionError(f"{size} pixels")


def test_a_deployed_network_has_nothing_to_train() -> None:
    network = deploy(trained())
    assert not any(p.requires_grad for p in network.parameters())
