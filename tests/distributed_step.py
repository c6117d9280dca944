"""Run under torchrun by a test: steps of two processes and the same alone; prints how far apart they end.

Each process has 8 videos of a batch, alone it is all 16. A case's difference is the largest of a parameter or buffer,
of the averaged ones too, after its steps; its movement is how far the steps took them.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ops.data.loader import Batch
from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.distributed import ALONE, DistributedContext, join_processes
from ops.running.engine import Step, train_one_epoch
from ops.running.mixing import Mixing
from ops.running.optimizer import build_optimizer
from ops.running.precision import InPrecision, Precision
from ops.running.synced_norm import synchronised

SHARE, CLASSES, SEGMENTS = 8, 5, 2
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """What a training has on. `norms`: synced, frozen (in evaluation mode), or own (each process's, which must differ).

    `sizes`: videos of each process in each batch.
    """

    norms: str
    accumulate: int = 1
    clip: float | None = None
    ema: float = 0.0
    mixed: bool = False
    sizes: tuple[tuple[int, int], ...] = ((SHARE, SHARE), (SHARE, SHARE))


FEWER = ((2, 1), (1, 2))  # the others can't be read
CASES = {
    "synced, accumulated, averaged": Case("synced", accumulate=2, ema=0.5, sizes=((SHARE, SHARE),) * 4),
    "synced, clipped, mixed": Case("synced", clip=0.1, mixed=True),
    "synced, fewer": Case("synced", sizes=FEWER),
    "frozen, all of these": Case("frozen", accumulate=2, clip=0.1, ema=0.5, mixed=True),
    "frozen, fewer": Case("frozen", accumulate=2, sizes=FEWER),
    "own": Case("own", sizes=((3, 3),)),
}


class InMode(nn.Module):
    """A network that `train()` leaves with its BatchNorms frozen."""

    def __init__(self, network: TSN, frozen: bool) -> None:
        super().__init__()
        self.network, self.frozen = network, frozen

    def train(self, mode: bool = True) -> InMode:
        super().train(mode and not self.frozen)
        return self

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(clips)
        return scores


def train(network: TSN, case: Case, batches: list[Batch], context: DistributedContext) -> dict[str, torch.Tensor]:
    """All that the network holds after one epoch of these batches, and all that its average holds."""
    if case.norms == "synced":
        synchronised(network, context)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(case.ema), use_buffers=True)
    optimizer, scaler = (
        build_optimizer(network, lr=0.01, momentum=0.9, weight_decay=5e-4),
        Precision(CPU, None).scaler(),
    )
    step = Step(nn.CrossEntropyLoss(), optimizer, scaler, case.clip, case.accumulate, batch_size=SHARE, context=context)
    step.mix = Mixing(network.input_stage, CLASSES, mixup=0.8, cutmix=1.0) if case.mixed else None
    step.after = lambda: average.update_parameters(network)
    model = InMode(network, case.norms == "frozen")
    train_one_epoch(context.wrap(InPrecision(model, Precision(CPU, None))), batches, step, context)
    for module in (network, average.module):
        context.share_buffers(module)
    return {**network.state_dict(), **{f"average.{k}": v for k, v in average.module.state_dict().items() if case.ema}}


def compare(case: Case, context: DistributedContext) -> dict[str, float]:
    """How far the processes' training ends from the same alone."""
    torch.manual_seed(0)
    options = NetworkOptions(CLASSES, SEGMENTS, arch="mobilenetv2", shift=True, dropout=0.0, partial_bn=False)
    network = build_network(options)
    nn.init.normal_(network.classifier.weight, std=0.1)
    start, alone = copy.deepcopy(network.state_dict()), copy.deepcopy(network)
    wholes, shares = [], []
    for sizes in case.sizes:
        clips, labels = torch.randn(sum(sizes), 1, SEGMENTS, 3, 32, 32), torch.arange(sum(sizes)) % CLASSES
        parts = [Batch(c, y, y, []) for c, y in zip(clips.split(sizes), labels.split(sizes), strict=True)]
        wholes.append(Batch(clips, labels, labels, []))
        shares.append(parts[context.rank])
    together = train(network, case, shares, context)
    sums = context.gather([[float(value.double().sum()) for value in together.values()]])
    if not context.is_main:
        return {}
    whole = train(alone, case, wholes, ALONE)
    return {
        "between processes": max(abs(a - b) for a, b in zip(*sums, strict=True)),
        "difference": max(float((together[name] - whole[name]).abs().max()) for name in whole),
        "movement": max(float((whole[name] - start[name]).abs().max()) for name, _ in alone.named_parameters()),
    }


def norm_difference(norm: nn.Module, sizes: tuple[int, int], context: DistributedContext) -> Iterator[float]:
    """What a synced norm gives and learns from unequal shares, and the same norm from all of it."""
    torch.manual_seed(1)
    x, weight = 3 + torch.randn(sum(sizes), 4, 3, 2), torch.randn(sum(sizes), 4, 3, 2)
    whole, holder = copy.deepcopy(norm), nn.Sequential(copy.deepcopy(norm))
    synchronised(holder, context)
    ours, all_of_it = x.split(sizes)[context.rank].clone().requires_grad_(), x.clone().requires_grad_()
    for _ in range(2):
        y, expected = holder(ours), whole(all_of_it)
        (y * weight.split(sizes)[context.rank]).sum().backward()
        (expected * weight).sum().backward()
    mine = (slice(sizes[0]), slice(sizes[0], None))[context.rank]
    yield from ((y - expected[mine]).abs().flatten().tolist())
    assert ours.grad is not None and all_of_it.grad is not None
    yield from ((ours.grad - all_of_it.grad[mine]).abs().flatten().tolist())
    for own, theirs in zip(holder.parameters(), whole.parameters(), strict=True):
        assert own.grad is not None and theirs.grad is not None
        summed = torch.tensor(context.sum(own.grad.tolist()))
        yield from ((summed - theirs.grad).abs().tolist())
    for buffer, expected in zip(holder.buffers(), whole.buffers(), strict=True):
        yield from ((buffer - expected).abs().double().flatten().tolist())


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    with join_processes(None) as context:
        found = {name: compare(case, context) for name, case in CASES.items()}
        norms = {
            "BatchNorm2d": nn.BatchNorm2d(4),
            "cumulative": nn.BatchNorm2d(4, momentum=None),
            "without scale": nn.BatchNorm2d(4, affine=False),
        }
        with suppress(ImportError):  # an optional package
            from timm.layers import BatchNormAct2d

            norms["timm's"] = BatchNormAct2d(4)
        exact = {
            f"{name} {sizes}": max(context.gather(list(norm_difference(norm, sizes, context))))
            for name, norm in norms.items()
            for sizes in ((3, 5), (0, 8))
        }
        # Wishes of none, of the other, of the main process alone; then its word.
        wishes = [context.agree(wish) for wish in (0, context.rank, 3 * (1 - context.rank))]
        agreed = context.gather([[*wishes, context.from_main(context.rank)]])
        if context.is_main:
            print(json.dumps({"steps": found, "norms": exact, "agreed": agreed}))
