"""Run under torchrun by a test: one step on a shared batch, and on the whole batch alone; prints how they differ."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.distributed import DistributedContext, join_processes
from ops.running.engine import Step
from ops.running.optimizer import build_optimizer
from ops.running.precision import InPrecision, Precision


def step_on(network: TSN, model: nn.Module, clips: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The first convolution's weights after one step; BatchNorms are frozen, as each process has its own statistics."""
    optimizer = build_optimizer(network, lr=0.1, momentum=0.9, weight_decay=5e-4)
    step = Step(nn.CrossEntropyLoss(), optimizer, Precision(torch.device("cpu"), None).scaler(), clip_gradient=1.0)
    step(model.eval(), clips, labels)
    return network.base_model.conv1.weight.detach()


def compare(context: DistributedContext) -> float:
    """The relative difference of the movement."""
    torch.manual_seed(0)
    network = build_network(NetworkOptions(5, 4, arch="resnet18", shift=True, dropout=0.0))
    nn.init.normal_(network.classifier.weight)
    alone, start = copy.deepcopy(network), network.base_model.conv1.weight.detach().clone()
    clips, labels = torch.randn(4, 4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    share = slice(context.rank, None, context.world_size)
    precision = Precision(context.device, None)
    together = step_on(network, context.wrap(InPrecision(network, precision)), clips[share], labels[share])
    whole = step_on(alone, alone, clips, labels)
    return float((together - whole).norm() / (whole - start).norm())


torch.set_default_dtype(torch.float64)
with join_processes(None) as context:
    difference = compare(context)
    if context.is_main:
        print(f"difference {difference:.3e}")
