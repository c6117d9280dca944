"""Layers whose weights are not all that they apply: nothing reads those as if they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_deploy import far
from test_model import shaken
from torch import nn
from torch.nn.utils import parametrizations, prune

from ops.errors import InputError
from ops.model.deploy import deploy, folded
from ops.model.fex import FEX
from ops.model.temporal_shift import TemporalShift, WithTemporal
from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.optimizer import parameter_groups

timm_layers = pytest.importorskip("timm.layers")


class Doubled(nn.Conv2d):
    """What a user may derive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(2 * x)


def pointwise() -> nn.Conv2d:
    return nn.Conv2d(16, 6, 1)


def pruned() -> nn.Conv2d:
    """Its weight is made anew in each pass, from one that training has moved since."""
    conv = prune.random_unstructured(pointwise(), "weight", 0.5)
    nn.init.normal_(conv.weight_orig)
    return conv


def with_hook() -> nn.Conv2d:
    conv = pointwise()
    conv.register_forward_hook(lambda _module, _inputs, result: 2 * result)
    return conv


def with_own_forward() -> nn.Conv2d:
    conv = pointwise()
    conv.forward = lambda x: 2 * nn.Conv2d.forward(conv, x)  # type: ignore[method-assign]
    return conv


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "standardised": lambda: timm_layers.StdConv2d(16, 6, 1),
    "standardised, its input padded": lambda: timm_layers.StdConv2dSame(16, 6, 1),
    "scaled and standardised": lambda: timm_layers.ScaledStdConv2d(16, 6, 1),
    "derived": lambda: Doubled(16, 6, 1),
    "parametrized": lambda: parametrizations.weight_norm(pointwise()),
    "pruned": pruned,
    "with a hook": with_hook,
    "with a forward of its own": with_own_forward,
    "transposed": lambda: nn.ConvTranspose2d(16, 6, 1),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("fex", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_layer_behind_an_operator_is_called(name: str, fex: bool, training: bool) -> None:
    torch.manual_seed(0)
    operator = FEX(16, 2, 8, enhance=True) if fex else TemporalShift(2, 8)
    both = shaken(WithTemporal(operator, OTHERS[name]())).double().train(training)
    assert isinstance(both, WithTemporal)
    x = torch.randn(4, 16, 5, 5, dtype=torch.double)
    expected = both.net(both.temporal(x))
    assert far(both(x), expected) <= 1e-9
    if not training and (one := folded(both.temporal, both.net)) is not None:
        assert far(one(x), expected) <= 1e-9


TIMM: dict[str, dict[str, Any]] = {
    "weight standardisation": {"arch": "timm:resnetv2_50x1_bit", "fex": "paper"},
    "scaled weight standardisation": {"arch": "timm:nf_resnet26", "fex": "paper"},
    "padding as needed": {"arch": "timm:tf_efficientnet_lite0", "shift": False},
}


def shaken_network(arch: str, **changes: Any) -> tuple[TSN, torch.Tensor]:
    """In float64 and in evaluation mode, with a clip of two frames."""
    torch.manual_seed(0)
    options = {"shift": True, "fex": "off", "fex_init": "plain", "partial_bn": False, **changes}
    network = build_network(NetworkOptions(5, 2, arch=arch, **options))
    clip = torch.randint(0, 256, (1, 2, 3, 32, 32), dtype=torch.uint8)
    return shaken(network).double().eval(), clip  # type: ignore[return-value]


@pytest.mark.parametrize("name", TIMM)
def test_timms_networks_deployed_and_trained_are_the_plain_composition(name: str) -> None:
    network, clip = shaken_network(**TIMM[name])
    with torch.inference_mode():
        expected = network(clip)
        assert expected.std() > 0 and far(deploy(network)(clip), expected) <= 1e-9
        training = in_training(network, clip)
        for module in network.modules():
            if isinstance(module, WithTemporal):
                module.forward = lambda x, m=module: m.net(m.temporal(x))
        assert far(in_training(network, clip), training) <= 1e-9


def in_training(network: TSN, clip: torch.Tensor) -> torch.Tensor:
    """Scores as a training step has them: what is drawn is drawn the same."""
    torch.manual_seed(1)
    with torch.no_grad():
        return network.train()(clip.repeat(2, 1, 1, 1, 1))


class Activated(nn.BatchNorm2d):
    """A BatchNorm that does more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


def doubled(_module: nn.Module, _inputs: Any, result: torch.Tensor) -> torch.Tensor:
    """A hook."""
    return 2 * result


def changed(block: Any, number: int) -> None:
    """A basic residual block, in which something is not what it looks like."""
    width = block.bn2.num_features
    if number == 0:
        block.conv2 = block.conv1  # one convolution with two norms
    elif number == 1:
        block.bn2 = block.bn1
    elif number == 2:
        block.bn2 = Activated(width)
    elif number == 3:
        block.bn2 = nn.BatchNorm2d(width, track_running_stats=False)
    elif number == 4:
        block.bn2 = nn.BatchNorm2d(width, affine=False)
    elif number == 5:
        block.conv2 = nn.ConvTranspose2d(width, width, 3, padding=1, bias=False)
    elif number == 6:
        block.conv2 = nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect")
    else:
        block.bn2.register_forward_hook(doubled)


def test_a_network_whose_layers_are_not_what_they_look_like() -> None:
    network, clip = shaken_network("resnet18", fex="paper")
    net: Any = network.base_model
    for number, block in enumerate(
        block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage
    ):
        changed(block, number)
    shaken(network).double().eval()
    with torch.no_grad():
        assert far(deploy(network)(clip.repeat(1, 1, 1, 2, 2)), network(clip.repeat(1, 1, 1, 2, 2))) <= 1e-9


def test_parametrized_fex_blocks_are_left_as_they_are() -> None:
    network, clip = shaken_network("resnet18", fex="paper")
    for block in network.fex_blocks():
        assert isinstance(block, FEX)
        parametrizations.weight_norm(block.segregation.fusion)
        parametrizations.weight_norm(block.segregation.tim.conv)
    with torch.no_grad():
        assert far(deploy(network)(clip), network(clip)) <= 1e-9


def test_a_hook_on_an_operator_is_called() -> None:
    block = WithTemporal(FEX(16, 2, 8, enhance=False), pointwise())
    block.temporal.register_forward_hook(doubled)
    x = torch.randn(2, 16, 3, 3)
    assert torch.equal(block(x), block.net(block.temporal(x))) and folded(block.temporal, block.net) is None


@pytest.mark.parametrize("arch", ["timm:resnetv2_50x1_bit", "timm:nf_resnet26"])
def test_kernels_that_are_not_applied_are_not_averaged(arch: str) -> None:
    with pytest.raises(InputError, match=f"--modality Flow: the first convolution of {arch} .*--modality RGB"):
        build_network(NetworkOptions(5, 2, "Flow", arch=arch, shift=True, fex="off"))


def test_a_padded_first_convolution_has_its_kernels_averaged() -> None:
    network = build_network(NetworkOptions(5, 2, "Flow", arch="timm:tf_efficientnet_lite0"))
    assert network.get_submodule(network.first_conv).weight.shape[1] == 10


def test_gains_are_trained_as_scales() -> None:
    network = build_network(NetworkOptions(5, 2, arch="timm:nf_resnet26", shift=True, fex="off", partial_bn=False))
    groups = {group["name"]: group["params"] for group in parameter_groups(network)}
    gains = {id(p) for name, p in network.named_parameters() if name.endswith(".gain")}
    assert gains and gains <= {id(p) for p in groups["BN scale/shift"]}
    assert sum(map(len, groups.values())) == len(list(network.parameters()))
