"""Run under torchrun by a test: one step on shared batches, and on all their videos alone; prints how they differ."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.distributed import ALONE, DistributedContext, join_processes
from ops.running.engine import Step
from ops.running.optimizer import build_optimizer
from ops.running.precision import InPrecision, Precision

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def step_on(
    network: TSN, model: nn.Module, batches: Batches, clip_gradient: float | None, context: DistributedContext
) -> torch.Tensor:
    """The first convolution's weights after one step; BatchNorms are frozen, as each process has its own statistics."""
    optimizer = build_optimizer(network, lr=0.1, momentum=0.9, weight_decay=5e-4)
    scaler = Precision(torch.device("cpu"), None).scaler()
    step = Step(nn.CrossEntropyLoss(), optimizer, scaler, clip_gradient, len(batches), batch_size=2, context=context)
    for clips, labels in batches:
        step(model.eval(), clips, labels)
    return network.base_model.conv1.weight.detach()


def compare(context: DistributedContext, sizes: list[list[int]], clip_gradient: float | None) -> float:
    """The relative difference of the movement; `sizes`: of each process's batches, which make one step."""
    torch.manual_seed(0)
    network = build_network(NetworkOptions(5, 4, arch="resnet18", shift=True, dropout=0.0))
    nn.init.normal_(network.classifier.weight)
    alone, start = copy.deepcopy(network), network.base_model.conv1.weight.detach().clone()
    flat = [size for own in sizes for size in own]
    clips, labels = torch.randn(sum(flat), 4, 3, 32, 32), torch.arange(sum(flat)) % 5
    parts, count = list(zip(clips.split(flat), labels.split(flat), strict=True)), len(sizes[0])
    own = parts[context.rank * count : (context.rank + 1) * count]
    joined = context.wrap(InPrecision(network, Precision(context.device, None)))
    together = step_on(network, joined, own, clip_gradient, context)
    whole = step_on(alone, alone, [(clips, labels)], clip_gradient, ALONE)
    return float((together - whole).norm() / (whole - start).norm())


torch.set_default_dtype(torch.float64)
with join_processes(None) as context:
    whole_batches = compare(context, [[2], [2]], clip_gradient=1.0)
    unreadable_videos = compare(context, [[2, 1], [1, 1]], clip_gradient=None)
    if context.is_main:
        print(f"difference {max(whole_batches, unreadable_videos):.3e}")
