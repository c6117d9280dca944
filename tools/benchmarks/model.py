"""Evaluation: TSM and FEXNet beside the plain 2D network, and FEXNet beside its literal form.

The plain network has the same settings. The literal form is what the paper's figures say, written down: in float32, in
planes, eager, in a program that sets nothing. Ours is in the form for evaluation, in memory that is kept; `best` is
compiled and in bf16 where the hardware has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ops.running.compiling import Compiled
from ops.running.precision import InPrecision
from tools.benchmarks import networks
from tools.benchmarks.findings import Findings, rates, row
from tools.benchmarks.sides import measured


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's."""
    networks.add_network_options(parser)


def measure(args: argparse.Namespace) -> Findings:
    """Every setting, in turns."""
    sides: dict[str, Any] = {
        kind: partial(evaluation, args, kind, "off", False) for kind in ("plain", "tsm", "fex", "literal")
    }
    sides["literal, memory kept"] = partial(evaluation, args, "literal", "off", False, True)
    sides |= {f"{kind}, compiled": partial(evaluation, args, kind, "off", True) for kind in ("plain", "tsm", "fex")}
    sides |= {f"{kind}, best": partial(evaluation, args, kind, "auto", True) for kind in ("plain", "tsm", "fex")}
    seconds = {name: side.seconds for name, side in measured(sides, args.repeats, args.threads).items()}
    each = {name: [1000 * s / args.batch_size for s in taken] for name, taken in seconds.items()}
    clips = {name: rates(taken, args.batch_size) for name, taken in seconds.items()}
    prefix = "gpu_" if torch.cuda.is_available() else ""
    rows = [
        row(f"{prefix}{kind}_eval_vs_plain{how}", each[kind + how], each["plain" + how], "ms a clip")
        for kind in ("tsm", "fex")
        for how in ("", ", compiled", ", best")
    ]
    for name, ours, theirs in (
        ("fex_eval_fp32_vs_literal", "fex, compiled", "literal"),
        ("fex_eval_fp32_vs_literal, eager", "fex", "literal"),
        ("fex_eval_fp32_vs_literal, its memory kept too", "fex, compiled", "literal, memory kept"),
        ("fex_eval_best_vs_literal", "fex, best", "literal"),
        ("fex_eval_best_vs_literal, its memory kept too", "fex, best", "literal, memory kept"),
    ):
        rows.append(row(prefix + name, clips[ours], clips[theirs], "clips/s"))
    return Findings(rows)


def evaluation(args: argparse.Namespace, kind: str, amp: str, compiled: bool, kept: bool = False) -> Callable[[], Any]:
    """One forward pass of a network that is made ready here. Of the literal form, `kept` says whether memory is."""
    literally = kind == "literal"
    precision = networks.start(amp, kept or not literally)
    network = networks.network(args, "fex" if literally else kind).eval()
    network = networks.literal_form(network) if literally else network.deploy(precision.dtype)
    model: torch.nn.Module = InPrecision(network, precision)
    return partial(_forward, Compiled(model) if compiled else model, networks.clips(args))


@torch.inference_mode()
def _forward(model: torch.nn.Module, clips: torch.Tensor) -> torch.Tensor:
    return model(clips)
