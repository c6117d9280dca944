"""What evaluation is made fast by: compiled networks, number formats, memory that is kept."""

from __future__ import annotations

import sys

import pytest
import torch
from test_deploy import far, pixels, trained
from torch import nn

from ops.machine import keep_freed_memory
from ops.model.deploy import deploy, folded
from ops.model.fex import FEX
from ops.model.folded import FoldedFEX
from ops.model.temporal_shift import TemporalShift, WithTemporal
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


@pytest.mark.parametrize(
    ("arch", "fex", "layer", "channels"),
    [
        ("resnet50", "paper", "layer2.0", 256),
        ("resnet50", "paper", "layer2.1", 512),
        ("resnet50", "off", "layer1.1", 256),
        ("resnet18", "off", "layer1.1", 64),
    ],
)
def test_a_compiled_block_is_equal_and_takes_smaller_batches(arch: str, fex: str, layer: str, channels: int) -> None:
    """FEX with FE, FEX without, temporal shift: each with the 1x1 convolution behind it, in clips of two frames.

    Temporal shift with a 3x3 one, too.
    """
    network = deploy(trained(shake=False, arch=arch, num_segments=2, fex=fex))
    block = network.get_submodule(f"base_model.{layer}.conv1")
    assert isinstance(block, FoldedFEX if fex == "paper" else WithTemporal)
    clips = torch.randn(3, 2, channels, 6, 6)  # (N, T, C, H, W)
    equal_when_compiled(nn.Sequential(nn.Flatten(0, 1), block, nn.Unflatten(0, (-1, 2))), clips)


SHIFTED = {
    "alone": nn.Identity(),
    "before a 1x1 convolution": nn.Conv2d(16, 6, 1),
    "before one with a stride and no bias": nn.Conv2d(16, 6, 1, stride=2, bias=False),
    "before a 3x3 convolution": nn.Conv2d(16, 6, 3, padding=1),
}


def shifted(net: str) -> tuple[nn.Module, torch.Tensor]:
    """A temporal shift, and two clips of three frames for it."""
    torch.manual_seed(0)
    return WithTemporal(TemporalShift(3, 8), SHIFTED[net]).eval(), torch.randn(6, 16, 5, 5)


@pytest.mark.parametrize("net", SHIFTED)
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_shift_is_slices_and_concatenations(net: str, strict: bool) -> None:
    module, frames = shifted(net)
    exported = torch.export.export(module, (frames,), strict=strict)
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert all(name.startswith("aten.") or "getitem" in name for name in called) and "aten.cat.default" in called
    with torch.no_grad():
        assert far(exported.module()(frames), module(frames)) <= 1e-6


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("net", SHIFTED)
def test_a_traced_shift_takes_other_batches(net: str) -> None:
    module, frames = shifted(net)
    with torch.no_grad():
        traced = torch.jit.trace(module, frames)
        for others in (frames, torch.randn(9, 16, 7, 5)):
            assert far(traced(others), module(others)) <= 1e-6
            assert far(torch.fx.symbolic_trace(module)(others), module(others)) <= 1e-6
    assert all(node.kind().startswith(("aten::", "prim::")) for node in traced.inlined_graph.nodes())


@pytest.mark.parametrize("net", SHIFTED)
def test_a_compiled_shift_is_slices_and_concatenations_with_gradients(net: str) -> None:
    module, frames = shifted(net)
    frames.requires_grad_()
    called: list[str] = []

    def eager(graph: torch.fx.GraphModule, _inputs: object) -> torch.fx.GraphModule:
        called.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    found, expected = torch.compile(module, fullgraph=True, backend=eager)(frames), module(frames)
    assert any("cat" in name for name in called) and not any("fexnet" in name.lower() for name in called)
    weights = torch.randn_like(expected)
    assert far(found, expected) <= 1e-6
    ours, theirs = (torch.autograd.grad((y * weights).sum(), frames)[0] for y in (found, expected))
    assert far(ours, theirs) <= 1e-6


@pytest.mark.parametrize("net", ["before a 1x1 convolution", "before a 3x3 convolution"])
@pytest.mark.parametrize("deployed", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_fex_block_is_plain(net: str, deployed: bool, strict: bool) -> None:
    """It has neither operators of its own nor any that work in place, with gradients or without."""
    torch.manual_seed(0)
    both = WithTemporal(FEX(16, 3, 8, enhance=True), SHIFTED[net]).eval()
    block = folded(both.temporal, both.net) if deployed else both
    assert block is not None
    frames = torch.randn(6, 16, 5, 4)
    exported = torch.export.export(block, (frames,), strict=strict)
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    plain = [name for name in called if name.startswith("aten.") and not name.split(".")[1].endswith("_")]
    assert len(plain) == len([name for name in called if "getitem" not in name])
    with torch.no_grad():
        assert far(exported.module()(frames), both(frames)) <= 1e-6


def test_an_exported_network_has_no_operator_of_its_own() -> None:
    network = deploy(trained(shake=False, arch="resnet18", num_segments=2, fex="off"))
    clips = pixels(network, 32)
    exported = torch.export.export(network, (clips,))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert all(name.startswith("aten.") for name in called)
    with torch.inference_mode():
        assert far(exported.module()(clips), network(clips)) <= 1e-6


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
