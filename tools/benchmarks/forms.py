"""The forms that the work in time can take in evaluation, each forced by hand, beside the plain network.

Eager, in float32. Which is fastest depends on how fast a processor's matrix products are beside its convolutions; the
last rows say that, of the 1x1 convolutions that a ResNet-50 shifts. `deploy` takes the same forms on every processor:
the first of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ops.model.deploy import deploy
from ops.model.folded import FoldedFEX
from ops.model.frames import as_rows, mean_over_time, replace_foreground
from ops.model.layers import is_pointwise
from ops.model.temporal_shift import TemporalShift, WithTemporal, shifted
from ops.model.tsn import TSN
from tools.benchmarks import networks, sides
from tools.benchmarks.findings import Findings, Row, row
from tools.benchmarks.model import forward
from tools.benchmarks.sides import PREFIX, versus

FORMS = {
    "tsm": ("one shift, one convolution", "a sum of three convolutions", "three matrix products"),
    "fex": ("sums of convolutions", "sums of matrix products"),
}
SHAPES = ((256, 64, 56), (512, 128, 28), (1024, 256, 14), (2048, 512, 7))  # channels to channels, side of the map


def add_options(parser: argparse.ArgumentParser) -> None:
    """The network's."""
    networks.add_network_options(parser)


def measure(args: argparse.Namespace) -> Findings:
    """Row by row."""
    plain = partial(evaluation, args, "plain", "")
    rows = [
        versus(args, f"{kind}_eval_vs_plain, {form}", "ms a clip", partial(evaluation, args, kind, form), plain).row
        for kind, forms in FORMS.items()
        for form in forms
    ]
    return Findings(rows + [of_the_product(args, shape) for shape in SHAPES])


def evaluation(args: argparse.Namespace, kind: str, form: str) -> Callable[[], Any]:
    """One forward pass in this form."""
    networks.start("off", kept=True)
    network = deploy(networks.network(args, kind).eval())
    return partial(forward, forced(network, form), networks.clips(args))


def forced(network: TSN, form: str) -> TSN:
    """A deployed network, changed to compute its work in time in this one of `FORMS`."""
    for name, module in list(network.named_modules()):
        if isinstance(module, WithTemporal) and isinstance(module.temporal, TemporalShift) and is_pointwise(module.net):
            if form in (three := {"a sum of three convolutions": ThreeConvolutions, "three matrix products": Products}):
                network.set_submodule(name, three[form](module.temporal, module.net))
        elif isinstance(module, FoldedFEX) and form == "sums of matrix products":
            network.set_submodule(name, FEXByProducts(module))
    return network


class ThreeConvolutions(nn.Module):
    """The shift and a 1x1 convolution behind it: three convolutions, of the channels that move and of the others."""

    def __init__(self, shift: TemporalShift, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        self.num_segments, self.fold = shift.num_segments, conv.in_channels // shift.shift_div
        parts = conv.weight.tensor_split((self.fold, 2 * self.fold), dim=1)
        self.weights = nn.ParameterList([part.contiguous(memory_format=torch.channels_last) for part in parts])
        self.bias = conv.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to `(N·T, K, H, W)`."""
        first, second, own = self.weights
        from_next, from_previous = shifted(x, self.num_segments, self.fold)
        out = F.conv2d(x[:, 2 * self.fold :], own, self.bias)
        return out.add_(F.conv2d(from_next, first)).add_(F.conv2d(from_previous, second))


class Products(nn.Module):
    """The same as three matrix products on channels where they lie, written to frames t - 1, t and t + 1."""

    def __init__(self, shift: TemporalShift, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        self.num_segments, self.fold = shift.num_segments, conv.in_channels // shift.shift_div
        self.weight = nn.Parameter(conv.weight.flatten(1).t().contiguous())  # (C, K)
        self.bias = nn.Parameter(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to `(N·T, K, H, W)`."""
        fold, rows = self.fold, as_rows(x)  # (N·T, P, C), P = H·W
        first, second, own = self.weight.split((fold, fold, len(self.weight) - 2 * fold))
        out = torch.addmm(self.bias, rows[..., 2 * fold :].flatten(0, 1), own).unflatten(0, rows.shape[:2])
        to, of = (each.unflatten(0, (-1, self.num_segments)).flatten(1, 2) for each in (out, rows))  # (N, T·P, …)
        P, N = rows.shape[1], len(of)
        to[:, :-P].baddbmm_(of[:, P:, :fold], first.expand(N, *first.shape))
        to[:, P:].baddbmm_(of[:, :-P, fold : 2 * fold], second.expand(N, *second.shape))
        return out.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)  # (N·T, P, K) to (N·T, K, H, W)


class FEXByProducts(nn.Module):
    """A folded FEX block whose fusion is made of matrix products; FE goes into each frame's weights."""

    def __init__(self, block: FoldedFEX) -> None:
        super().__init__()
        self.block = block
        self.frame, self.moving, self.still = (
            nn.Parameter(conv.weight.flatten(1).t().contiguous()) for conv in (block.frame, block.moving, block.still)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N·T, C, H, W)` to what the layer behind the block makes of that shape."""
        block = self.block
        attention = None if block.enhancement is None else block.enhancement.attention(x)  # (N·T, C, 1, 1)
        if attention is not None and block.net is not None:
            x, attention = x * attention, None
        foreground = x[:, : block.width].contiguous(memory_format=torch.channels_last)
        rows, bias = as_rows(x if block.net is None else foreground), block.frame.bias  # (N·T, P, C), (K,)
        assert bias is not None
        if attention is None:
            frames = torch.addmm(bias, rows.flatten(0, 1), self.frame).unflatten(0, rows.shape[:2])
        else:
            frames = rows @ (self.frame * attention.flatten(2)) + bias
            foreground = foreground * attention[:, : block.width]
        frames.flatten(0, 1).addmm_(as_rows(block.tim(foreground)).flatten(0, 1), self.moving)
        scene = as_rows(block.scene(mean_over_time(foreground, block.num_segments))) @ self.still  # (N, P, K)
        frames.unflatten(0, (-1, block.num_segments)).sub_(scene[:, None])
        fused = frames.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)  # (N·T, K, H, W)
        return fused if block.net is None else block.net(replace_foreground(x, fused))


def of_the_product(args: argparse.Namespace, shape: tuple[int, int, int]) -> Row:
    """Multiply-accumulates a second of a 1x1 convolution, against the matrix product of the same numbers."""
    made = (partial(one_layer, args, shape, True), partial(one_layer, args, shape, False))
    convolution, product = sides.taking_turns(made, args.repeats, args.threads)[0]
    inside, outside, side = shape
    macs = args.batch_size * args.num_segments * inside * outside * side**2 / 1e9
    name = f"{PREFIX}convolution_vs_product, {inside} to {outside} channels, {side} × {side}"
    return row(name, [macs / s for s in convolution], [macs / s for s in product], "GMACs/s")


def one_layer(args: argparse.Namespace, shape: tuple[int, int, int], convolve: bool) -> Callable[[], Any]:
    """A 1x1 convolution of all frames, or the product that it is."""
    networks.start("off", kept=True)
    inside, outside, side = shape
    x = torch.randn(args.batch_size * args.num_segments, inside, side, side, device=networks.device())
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(outside, inside, 1, 1, device=networks.device()).contiguous(memory_format=torch.channels_last)
    if convolve:
        return partial(F.conv2d, x, weight)
    return partial(torch.mm, as_rows(x).flatten(0, 1), weight.flatten(1).t().contiguous())
