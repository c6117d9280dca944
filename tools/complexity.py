"""Parameters and multiply-accumulates of a network.

    python tools/complexity.py RGB --arch resnet50 --num_segments 8 --shift --fex off

takes main.py's flags of the network and prints its parameters in millions and its GMACs (10^9 multiply-accumulates) a
clip and a frame, as torch's own counter finds them: of convolutions and matrix products. Element-wise work, such as
the temporal shift's, counts as nothing there, as in published numbers. Nothing is computed and no memory is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import reported
from ops.model.tsn import TSN, NetworkOptions, build_network, options_from_flags
from opts import complexity_options


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, count, print."""
    args = complexity_options(argv)
    options = options_from_flags(vars(args), args.classes)
    network = on_meta(options)
    parameters, macs = complexity(network, args.input_size)
    print(network.name)
    print(f"{parameters / 1e6:.2f} M parameters")
    size = f"{options.num_segments} x {args.input_size} x {args.input_size}"
    print(f"{macs / 1e9:.2f} GMACs a clip of {size}, {macs / 1e9 / options.num_segments:.2f} a segment")


def on_meta(options: NetworkOptions) -> TSN:
    """The network without its numbers."""
    return build_network(options).eval().to("meta")  # some of timm's versions can't be built there


def complexity(network: TSN, size: int) -> tuple[int, int]:
    """The number of parameters, and the multiply-accumulates of one clip of `size` pixels in the square."""
    shape = (1, network.options.num_segments, network.input_stage.channels, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(shape, device="meta"))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


if __name__ == "__main__":
    with reported():
        main()
