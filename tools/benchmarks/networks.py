"""The networks that benchmarks compare: ours, the plain 2D network, and the literal form."""

from __future__ import annotations

import argparse
import copy

import torch
from torch import nn

from ops.machine import keep_freed_memory, usable_cores
from ops.model.fex import FEX
from ops.model.temporal_shift import WithTemporal
from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.precision import Precision, choose_precision
from tests import literal  # the reference of the tests' numbers: the modules as the paper's figures read

CLASSES = 174  # Something-Something's


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """What is timed."""
    add = parser.add_argument
    add("--arch", default="resnet50", help="the backbone (resnet50)")
    add("--num_segments", type=int, default=8, help="frames a clip (8)")
    add("--input_size", type=int, default=224, help="pixels (224)")
    add("--shift_div", type=int, default=8, help="one fold is 1/shift_div of the channels (8)")
    add("--batch_size", type=int, default=1, help="clips at once (1)")

    add("--threads", type=int, default=usable_cores(), help="of the CPU (one a processor)")


def device() -> torch.device:
    """The GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def start(amp: str, kept: bool) -> Precision:
    """What a program sets first: the number format, and whether freed memory is kept."""
    if kept:
        keep_freed_memory()
    torch.backends.cudnn.benchmark = True
    return choose_precision(amp, device())


def network(args: argparse.Namespace, kind: str) -> TSN:
    """`plain`, `tsm` or `fex` (the paper's)."""
    torch.manual_seed(0)
    options = NetworkOptions(
        CLASSES, args.num_segments, arch=args.arch, shift=kind != "plain", shift_div=args.shift_div,
        fex="paper" if kind == "fex" else "off", fex_init="plain", partial_bn=False,
    )  # fmt: skip
    return build_network(options).to(device())


def clips(args: argparse.Namespace) -> torch.Tensor:
    """uint8 noise, `(N, T, 3, H, W)`."""
    shape = (args.batch_size, args.num_segments, 3, args.input_size, args.input_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device())


def literal_form(fexnet: TSN) -> TSN:
    """A copy of the network with FEX blocks as the paper's figures read, in planes (NCHW)."""
    fexnet = copy.deepcopy(fexnet)
    for name, module in list(fexnet.named_modules()):
        if isinstance(module, WithTemporal) and isinstance(module.temporal, FEX):
            fexnet.set_submodule(name, nn.Sequential(LiteralFEX(module.temporal), module.net))
    fexnet.set_submodule("input_stage", nn.Sequential(fexnet.input_stage, Planes()))
    return fexnet.to(memory_format=torch.contiguous_format)


class LiteralFEX(nn.Module):
    """A FEX block, computed literally."""

    def __init__(self, block: FEX) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to the same shape."""
        return literal.fex(self.block, x)


class Planes(nn.Module):
    """Every channel a plane of its own in memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same values."""
        return x.contiguous()
