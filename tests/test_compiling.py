"""What evaluation is made fast by: compiled networks, number formats, memory that is kept."""

from __future__ import annotations

import sys

import pytest
import torch
from test_deploy import far, pixels, trained
from torch import nn

from ops.machine import keep_freed_memory
from ops.model.deploy import deploy
from ops.model.folded import FoldedFEX, FoldedShift
from ops.running.compiling import Compiled
from ops.running.precision import InPrecision, Precision


def equal_when_compiled(network: torch.nn.Module, clips: torch.Tensor) -> None:
    """Compiled for the first batch, equal there and for smaller ones."""
    compiled = Compiled(network)
    with torch.inference_mode():
        for count in (3, 1, 2):
            found = compiled(clips[:count])
            assert len(found) == count and far(found, network(clips[:count])) <= 1e-5
    assert compiled.size == 3


@pytest.mark.parametrize(("fex", "layer"), [("paper", "layer2.0"), ("paper", "layer2.1"), ("off", "layer1.1")])
def test_a_compiled_block_is_equal_and_takes_smaller_batches(fex: str, layer: str) -> None:
    """FEX with FE, FEX without, temporal shift: each with the 1x1 convolution behind it, in clips of two frames."""
    network = deploy(trained(shake=False, num_segments=2, fex=fex))
    block = network.get_submodule(f"base_model.{layer}.conv1")
    assert isinstance(block, FoldedFEX | FoldedShift)
    channels = block.weight.shape[0] if isinstance(block, FoldedShift) else block.frame.shape[1]
    clips = torch.randn(3, 2, channels, 6, 6)  # (N, T, C, H, W)
    equal_when_compiled(nn.Sequential(nn.Flatten(0, 1), block, nn.Unflatten(0, (-1, 2))), clips)


def test_compiled_weights_are_packed_and_so_frozen() -> None:
    conv = torch.nn.Conv2d(16, 16, 3).eval()
    compiled, images = Compiled(conv), torch.randn(1, 16, 8, 8)
    with torch.inference_mode():
        before = compiled(images).clone()
        conv.weight.zero_()
        assert torch.equal(compiled(images), before)


@pytest.mark.slow
@pytest.mark.parametrize("fex", ["paper", "off"])
def test_a_compiled_network_is_equal(fex: str) -> None:
    network = deploy(trained(shake=False, arch="resnet18", num_segments=2, fex=fex))
    equal_when_compiled(network, pixels(network, 64).repeat(2, 1, 1, 1, 1)[:3])


def test_weights_of_a_deployed_network_lie_in_the_format_of_the_pass() -> None:
    network = trained(shake=False, num_segments=2)
    deployed = deploy(network, torch.bfloat16)
    assert {m.weight.dtype for m in deployed.modules() if isinstance(m, torch.nn.Conv2d)} == {torch.bfloat16}
    clips = pixels(network, 64)
    precision = Precision(torch.device("cpu"), torch.bfloat16)
    with torch.inference_mode():
        expected = network(clips)
        error = far(InPrecision(deployed, precision)(clips), expected)
        assert error < 2 * max(0.01, far(InPrecision(network, precision)(clips), expected))


def test_freed_memory_is_kept_where_the_c_library_can() -> None:
    assert keep_freed_memory() is sys.platform.startswith("linux")
