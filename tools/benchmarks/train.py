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
from tools.benchmarks.findings import Findings, rates, row
from tools.benchmarks.sides import measured


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's."""
    networks.add_network_options(parser)
    parser.set_defaults(batch_size=4)


def measure(args: argparse.Namespace) -> Findings:
    """Every setting, in turns."""
    sides: dict[str, Any] = {kind: partial(training, args, kind, "off") for kind in ("plain", "tsm", "fex", "literal")}
    sides |= {f"{kind}, best": partial(training, args, kind, "auto") for kind in ("plain", "tsm", "fex")}
    found = measured(sides, args.repeats, args.threads)
    each = {name: [1000 * s / args.batch_size for s in side.seconds] for name, side in found.items()}
    clips = {name: rates(side.seconds, args.batch_size) for name, side in found.items()}
    prefix = "gpu_" if torch.cuda.is_available() else ""
    rows = [
        row(f"{prefix}{kind}_train_vs_plain{how}", each[kind + how], each["plain" + how], "ms a clip")
        for kind in ("tsm", "fex")
        for how in ("", ", best")
    ]
    rows.append(row(f"{prefix}fex_train_best_vs_literal", clips["fex, best"], clips["literal"], "clips/s"))
    rows.append(row(f"{prefix}fex_train_fp32_vs_literal", clips["fex"], clips["literal"], "clips/s"))
    rows.append(row(f"{prefix}train_memory_vs_literal", [found["fex"].memory], [found["literal"].memory], "MiB"))
    best = [found["fex, best"].memory]
    rows.append(row(f"{prefix}train_memory_vs_literal, best", best, [found["literal"].memory], "MiB"))
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
