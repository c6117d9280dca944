"""The form for other runtimes: equal to the deployed network, and functional."""

from __future__ import annotations

import pytest
import torch
from test_deploy import NETWORKS, far, pixels, trained

from ops.model.deploy import deploy
from ops.model.fex import ForegroundEnhancement
from ops.model.functional import FunctionalFEX, functional, neighbours, window_sums


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("fexnet")])
def test_it_is_the_deployed_network(name: str) -> None:
    deployed = deploy(trained(**NETWORKS[name]).double())
    form = functional(deployed)
    clips = pixels(deployed, 49)  # odd sizes on the way
    with torch.inference_mode():
        expected = deployed(clips)
        assert expected.std() > 0 and far(form(clips), expected) <= 1e-9
    assert any(isinstance(module, FunctionalFEX) for module in form.modules())
    assert not any(isinstance(module, FunctionalFEX) for module in deployed.modules())


def test_a_video_alone_is_the_same_in_a_batch() -> None:
    form = functional(deploy(trained(arch="resnet18").double()))
    clips = pixels(form, 32)
    with torch.inference_mode():
        both = form(clips)
        assert all(far(form(clips[k : k + 1])[0], both[k]) <= 1e-12 for k in range(2))


def test_neighbours() -> None:
    frames = torch.arange(1.0, 7).view(6, 1, 1, 1)  # two videos of three frames
    before, after = (moved.flatten().tolist() for moved in neighbours(frames, 3))
    assert before == [0, 1, 2, 0, 4, 5] and after == [2, 3, 0, 5, 6, 0]


@pytest.mark.parametrize("size", [(7, 5), (2, 3), (1, 1), (1, 4)])
def test_window_sums_are_those_of_the_enhancement(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    enhancement = ForegroundEnhancement(32, 3).double()
    x = torch.randn(6, 32, *size, dtype=torch.float64)
    with torch.no_grad():
        found = enhancement.attention_of(*window_sums(x))
        assert found.std() > 0 and torch.allclose(found, enhancement.attention(x), rtol=0, atol=1e-12)
