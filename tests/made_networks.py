"""Checkpoints made for tests: networks that have not been trained, but whose scores tell videos apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.checkpoint import save_checkpoint
from tools.demo_scenes import CLASSES


def lively(network: TSN, size: int = 32) -> TSN:
    """The network, its BatchNorms fitted to noise and its classifier such that probabilities are not all alike."""
    torch.manual_seed(1)
    T, C = network.options.num_segments, network.input_stage.channels
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)):
        norm.momentum = 0.5
    with torch.no_grad():
        network.train()
        for _ in range(4):
            network(torch.randn(4, T, C, size, size))
        network.eval()
        torch.nn.init.normal_(network.classifier.weight, 0, 0.3)  # type: ignore[arg-type]
    return network


def save_network(
    path: Path, categories: Sequence[str] = CLASSES, dataset: str = "demo", input_size: int = 32, **options: Any
) -> Path:
    """Writes an own checkpoint, as little as one may hold; `options` are those of the network, beside `extra`."""
    extra = options.pop("extra", {})
    torch.manual_seed(0)
    chosen = {"arch": "resnet18", "num_segments": 4, "shift": True, **options}
    network = lively(build_network(NetworkOptions(num_classes=len(categories), **chosen)), max(32, input_size))
    content = {
        "network": asdict(network.options),
        "categories": list(categories),
        "dataset": dataset,
        "input_size": input_size,
        "state_dict": network.state_dict(),
        **extra,
    }
    save_checkpoint(path, content)
    return path
