"""What each way of being fast gains in FEXNet's evaluation, alone and together, beside the literal form.

*Alone*: the literal form with this and nothing else. *With all above*: added one after the other, in this order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ops.model.deploy import deploy
from ops.running.compiling import Compiled
from ops.running.precision import InPrecision, has_bf16
from tools.benchmarks import networks, sides
from tools.benchmarks.findings import Findings, row
from tools.benchmarks.model import forward
from tools.benchmarks.sides import Side

WAYS = {
    "form": "fast forms, channels last",
    "deploy": "everything folded",
    "kept": "memory kept",
    "compile": "--compile",
    "bf16": "--amp bf16",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's."""
    networks.add_network_options(parser)


def measure(args: argparse.Namespace) -> Findings:
    """All in turns; bf16 where the hardware has it."""
    ways = [way for way in WAYS if way != "bf16" or has_bf16(networks.device())]
    settings: dict[str, tuple[str, ...]] = {"literal form": ()}
    # What is folded is in the fast form, so that it has no row alone.
    settings |= {f"{WAYS[way]}, alone": (way,) for way in ways if way != "deploy"}
    settings |= {f"{WAYS[way]}, with all above": tuple(ways[: n + 1]) for n, way in enumerate(ways) if n}
    made: list[Side] = [partial(evaluation, args, chosen) for chosen in settings.values()]
    seconds, _ = sides.taking_turns(made, args.repeats, args.threads)
    literal, *others = ([args.batch_size / s for s in each] for each in seconds)
    names = list(settings)[1:]
    return Findings(
        [row(sides.PREFIX + name, own, literal, "clips/s") for name, own in zip(names, others, strict=True)]
    )


def evaluation(args: argparse.Namespace, ways: tuple[str, ...]) -> Callable[[], Any]:
    """One forward pass with these of `WAYS`."""
    precision = networks.start("bf16" if "bf16" in ways else "off", kept="kept" in ways)
    network = networks.network(args, "fex").eval()
    if "deploy" in ways:
        network = deploy(network, precision.dtype)
    elif "form" not in ways:
        network = networks.literal_form(network)
    model: torch.nn.Module = InPrecision(network, precision)
    return partial(forward, Compiled(model) if "compile" in ways else model, networks.clips(args))
