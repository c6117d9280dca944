"""Training steps: FEXNet beside the plain 2D network and beside its literal form; time and peak memory.

The plain network has the same settings. The literal form is what the paper's figures say, written down: in float32, in
planes, eager, in a program that sets nothing. `best` is the number format that --amp auto takes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ops.running.engine import Step
from ops.running.optimizer import build_optimizer
from ops.running.precision import InPrecision
from tools.benchmarks import networks
from tools.benchmarks.findings import Findings
from tools.benchmarks.sides import Side, versus


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's."""
    networks.add_network_options(parser)
    parser.set_defaults(batch_size=4)


def measure(args: argparse.Namespace) -> Findings:
    """Row by row."""

    def side(kind: str, amp: str) -> Side:
        return partial(training, args, kind, amp)

    rows = []
    for kind in ("tsm", "fex"):
        rows.append(versus(args, f"{kind}_train_vs_plain", "ms a clip", side(kind, "off"), side("plain", "off")).row)
        best = side(kind, "auto"), side("plain", "auto")
        rows.append(versus(args, f"{kind}_train_vs_plain, best", "ms a clip", *best).row)
    for name, amp in (("fp32", "off"), ("best", "auto")):
        both = versus(args, f"fex_train_{name}_vs_literal", "clips/s", side("fex", amp), side("literal", "off"))
        rows += [both.row, both.memory("train_memory_vs_literal" + ", best" * (name == "best"))]
    return Findings(rows)


def training(args: argparse.Namespace, kind: str, amp: str) -> Callable[[], Any]:
    """One step of a network that is made ready here, with the published optimizer."""
    literally = kind == "literal"
    precision = networks.start(amp, kept=not literally)
    network = networks.network(args, "fex" if literally else kind).train()
    network = networks.literal_form(network) if literally else network
    step = Step(nn.CrossEntropyLoss(), build_optimizer(network, 0.001, 0.9, 5e-4), precision.scaler(), 20.0)
    clips = networks.clips(args)
    labels = torch.arange(len(clips), device=clips.device) % networks.CLASSES
    return partial(step, InPrecision(network, precision), clips, labels)
