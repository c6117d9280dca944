"""BatchNorm over all processes: what it keeps of the network (its numbers: `distributed_step.py`)."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn

from ops.errors import InputError
from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.distributed import ALONE, DistributedContext
from ops.running.optimizer import parameter_groups
from ops.running.synced_norm import SyncedBatchNorm, synchronised

TWO = DistributedContext(torch.device("cpu"), 0, 2)


@pytest.fixture
def network() -> TSN:
    torch.manual_seed(0)
    return build_network(NetworkOptions(5, 4, arch="mobilenetv2", shift=True))


def test_a_checkpoint_fits_with_and_without(network: TSN) -> None:
    plain = copy.deepcopy(network).eval()
    synced = synchronised(network, TWO).eval()
    assert list(synced.state_dict()) == list(plain.state_dict())
    assert not any(type(m) is nn.BatchNorm2d for m in synced.modules())
    clips = torch.randn(2, 4, 3, 32, 32)
    assert torch.equal(synced(clips), plain(clips))
    synced.load_state_dict(plain.state_dict())
    plain.load_state_dict(synced.state_dict())
    assert torch.equal(copy.deepcopy(synced)(clips), plain(clips))  # as --ema copies it


def test_the_same_parameters_learn_in_the_same_groups(network: TSN) -> None:
    names = {id(p): name for name, p in network.named_parameters()}

    def groups() -> list[tuple[str, list[str]]]:
        return [(group["name"], [names[id(p)] for p in group["params"]]) for group in parameter_groups(network)]

    before = groups()
    synchronised(network, TWO)
    assert groups() == before


def test_partial_bn_still_freezes_all_but_the_first(network: TSN) -> None:
    synchronised(network, TWO)
    norms = {n: m for n, m in network.train().named_modules() if isinstance(m, SyncedBatchNorm)}
    training = [name for name, norm in norms.items() if norm.training]
    assert len(norms) > 50
    assert [name for name in training if "temporal" not in name] == ["base_model.features.0.1"]
    network.freeze_backbone(True)
    assert all("temporal" in name for name, norm in norms.items() if norm.training)


def test_alone_it_has_no_effect_and_says_so(network: TSN, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert synchronised(network, ALONE) is network
    assert "no effect" in caplog.text
    assert not any(isinstance(module, SyncedBatchNorm) for module in network.modules())


def test_data_parallel_is_refused_with_what_does_it(network: TSN) -> None:
    with pytest.raises(InputError, match=r"torchrun --nproc_per_node 2 main\.py"):
        synchronised(network, DistributedContext(torch.device("cuda", 0), gpus=(0, 1)))
