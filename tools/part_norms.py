#!/usr/bin/env python3
"""How large the weights and gradients of a network's parts are: the backbone's, the classifier's, those of FEX.

    python tools/part_norms.py demo RGB --arch resnet18 --pretrain none --num_segments 8 --input_size 64 --shift \\
      --npb --tune_from checkpoint/demo/ckpt.pth

Flags are those of main.py: without --tune_from the network stands at its start. The first eight batches of the first
epoch give gradients in float64, without dropout. Columns: the norm of a part's weights; that of their mean gradient;
how far a step of plain gradient descent at --lr takes them, in % of their norm; how far the batches' gradients scatter
about their mean, as a multiple of it; and how far the first batch's gradient in float32, and in bf16 (as --amp bf16
trains), is from that in float64, in % of it; empty where there is no gradient. Printed is a table in Markdown; nothing
is written.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.console import start_logging
from ops.errors import InputError, reported
from ops.machine import prepare_process
from opts import training_options

if TYPE_CHECKING:
    import torch

    from ops.model.tsn import TSN

BATCHES = 8
# The first that a parameter's name matches.
PARTS = {
    "FE": r"\.enhancement\.",
    "TIM's convolution": r"\.tim\.conv\.",
    "TIM's BatchNorm": r"\.tim\.bn\.",
    "SR": r"\.scene_",
    "fusion": r"\.fusion\.",
    "classifier": r"^(new_fc|base_model\.(fc|classifier))\.",
    "backbone": "",
}
Gradients = dict[str, "torch.Tensor"]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    start_logging()
    if argv is None and sys.argv[1:] in ([], ["-h"], ["--help"]):
        print(__doc__)
        return
    args = training_options(argv)
    network, batches = loaded(args)
    import torch  # here, as it takes seconds

    in_double = [gradients(network, *batch, torch.float64) for batch in batches]
    in_single = gradients(network, *batches[0], torch.float32)
    in_half = gradients(network, *batches[0], torch.bfloat16)
    print("| part | weights | gradient | a step, % | scatter | float32, % off | bf16, % off |\n" + "|---" * 7 + "|")
    for part, names in parts_of([name for name, _ in network.named_parameters()]).items():
        weights = joined(dict(network.named_parameters()), names)
        every = torch.stack([joined(found, names) for found in in_double])  # (batches, weights)
        mean, exact = every.mean(dim=0), every[0].norm()
        scatter = ((every - mean).square().sum() / (len(every) - 1)).sqrt() / mean.norm()
        off = [100 * (joined(found, names) - every[0]).norm() / exact for found in (in_single, in_half)]
        step = 100 * args.lr * mean.norm() / weights.norm()
        cells = map(float, (weights.norm(), mean.norm(), step, scatter, *off))
        print(f"| {part} | {' | '.join(f'{cell:.2g}' if math.isfinite(cell) else '' for cell in cells)} |")


def loaded(args: argparse.Namespace) -> tuple[TSN, list[tuple[torch.Tensor, torch.Tensor]]]:
    """The network as main.py would begin with it, and clips (N, T, C, H, W) with labels (N,) of its first batches."""
    prepare_process()
    from ops.data.catalog import resolve
    from ops.data.loader import first_training_batch, readable
    from ops.programs.preparing import build, clips, start_fex_from_data
    from ops.running.distributed import ALONE

    data = resolve(args.dataset, args.root_dataset, args.train_list, args.val_list, args.root_path, args.modality)
    network, start = build(args, data, None)
    videos = clips(args, data, "train", ALONE)
    if len(videos) < BATCHES * args.batch_size:
        raise InputError(f"{data.train_list}: {len(videos)} videos, expected {BATCHES} batches of {args.batch_size}")
    start_fex_from_data(args, network, videos, ALONE, start.fresh)
    (batch,) = readable([first_training_batch(videos, BATCHES * args.batch_size, args.seed)], args.bad_frames)
    return network, list(zip(batch.clips[:, 0].chunk(BATCHES), batch.labels.chunk(BATCHES), strict=True))


def gradients(network: TSN, clips: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype) -> Gradients:
    """The loss's gradient for each parameter, in float64; bfloat16 is as --amp bf16 trains, weights in float32."""
    import copy

    import torch
    from torch import nn

    mixed = dtype is torch.bfloat16
    own = copy.deepcopy(network).to(torch.float32 if mixed else dtype).train()
    for module in own.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        scores = own(clips)
    nn.functional.cross_entropy(scores.float() if mixed else scores, labels).backward()
    return {n: (torch.zeros_like(p) if p.grad is None else p.grad).double() for n, p in own.named_parameters()}


def parts_of(parameters: Sequence[str]) -> dict[str, list[str]]:
    """The parameters of each part that there is."""
    found: dict[str, list[str]] = {part: [] for part in PARTS}
    for parameter in parameters:
        found[next(part for part, pattern in PARTS.items() if re.search(pattern, parameter))].append(parameter)
    return {part: names for part, names in found.items() if names}


def joined(tensors: Mapping[str, torch.Tensor], names: Sequence[str]) -> torch.Tensor:
    """These tensors as one vector, in float64."""
    import torch

    return torch.cat([tensors[name].detach().double().flatten() for name in names])


if __name__ == "__main__":
    with reported():
        main()
