"""Evaluation: TSM and FEXNet beside the plain 2D network, and FEXNet beside its literal form.

The plain network has the same settings. The literal form is what the paper's figures say, written down: in float32, in
planes, eager, in a program that sets nothing. Ours is in the form for evaluation, in memory that is kept; `best` is
compiled and in bf16 where the hardware has it. The last rows compare the arithmetic of the plain network with that of a
large matrix product in the same number format, as far as the hardware goes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ops.model.deploy import deploy
from ops.running.compiling import Compiled
from ops.running.precision import InPrecision
from tools.benchmarks import networks, sides
from tools.benchmarks.findings import Findings, Row, row
from tools.benchmarks.sides import PREFIX, Side, versus
from tools.complexity import complexity

SIDE = 4096  # of the matrices: large enough that reading them costs nothing beside the arithmetic


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's."""
    networks.add_network_options(parser)


def measure(args: argparse.Namespace) -> Findings:
    """Row by row."""

    def side(kind: str, how: str, kept: bool = True, **changes: int) -> Side:
        changed = argparse.Namespace(**(vars(args) | changes))
        return partial(evaluation, changed, kind, "auto" if how == "best" else "off", how != "eager", kept)

    rows = []
    for kind in ("tsm", "fex"):
        for how in ("eager", "compiled", "best"):
            name = f"{kind}_eval_vs_plain" + f", {how}" * (how != "eager")
            rows.append(versus(args, name, "ms a clip", side(kind, how), side("plain", how)).row)
    for how in ("eager", "best"):  # the published division
        name = "fex_eval_vs_plain, shift_div 6" + f", {how}" * (how != "eager")
        rows.append(versus(args, name, "ms a clip", side("fex", how, shift_div=6), side("plain", how)).row)
    for name, how in (("fp32", "compiled"), ("best", "best")):
        name = f"fex_eval_{name}_vs_literal"
        compared = {
            name: (side("fex", how), side("literal", "eager", False)),
            f"{name}, its memory kept too": (side("fex", how), side("literal", "eager", True)),
            # What FEX itself can at most be brought to, at no cost over the network without time.
            f"{name}, the plain network in our place": (side("plain", how), side("literal", "eager", False)),
        }
        rows += [versus(args, name, "clips/s", ours, theirs).row for name, (ours, theirs) in compared.items()]
    for name, how, amp in (("fp32", "compiled", "off"), ("best", "best", "auto")):
        rows.append(of_the_product(args, f"plain_eval_{name}, as arithmetic", side("plain", how), amp))
    return Findings(rows)


def of_the_product(args: argparse.Namespace, name: str, plain: Side, amp: str) -> Row:
    """Multiply-accumulates a second: the plain network's against a matrix product's."""
    (network, product), _ = sides.taking_turns((plain, partial(matrix_product, amp)), args.repeats, args.threads)
    _, macs = complexity(networks.network(args, "plain").to("meta"), args.input_size)
    return row(
        PREFIX + name,
        [args.batch_size * macs / 1e9 / s for s in network],
        [SIDE**3 / 1e9 / s for s in product],
        "GMACs/s",
    )


def matrix_product(amp: str) -> Callable[[], Any]:
    """The product of two square matrices."""
    dtype = networks.start(amp, kept=True).dtype or torch.float32
    one, other = torch.randn(2, SIDE, SIDE, dtype=dtype, device=networks.device())
    return partial(torch.mm, one, other, out=torch.empty_like(one))


def evaluation(args: argparse.Namespace, kind: str, amp: str, compiled: bool, kept: bool) -> Callable[[], Any]:
    """One forward pass of a network that is made ready here."""
    literally = kind == "literal"
    precision = networks.start(amp, kept)
    network = networks.network(args, "fex" if literally else kind).eval()
    network = networks.literal_form(network) if literally else deploy(network, precision.dtype)
    model: torch.nn.Module = InPrecision(network, precision)
    return partial(forward, Compiled(model) if compiled else model, networks.clips(args))


@torch.inference_mode()
def forward(model: torch.nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """A pass without gradients."""
    return model(clips)
