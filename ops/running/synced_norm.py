"""BatchNorm over the videos of all processes (`--sync_bn`), not over each one's own share.

On GPUs torch's `SyncBatchNorm`. That one refuses tensors on the CPU; there `SyncedBatchNorm` does the same by gloo.

Legend: `N` videos or frames, `C` channels, `*` any further dimensions.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ops.errors import InputError
from ops.model.layers import is_activated
from ops.running.distributed import DistributedContext

logger = logging.getLogger(__name__)


def synchronised(network: nn.Module, context: DistributedContext) -> nn.Module:
    """`network` with every BatchNorm replaced by one that counts all processes' videos in training.

    Its parameters and buffers stay the same objects under the same names, so that checkpoints fit. One that is in
    evaluation mode, as partial BN leaves most, does as ever. Raises InputError for DataParallel.
    """
    if len(context.gpus) > 1:
        raise InputError(
            f"--sync_bn: DataParallel, which trains on GPUs {' '.join(map(str, context.gpus))} here, has none: start a "
            f"process a GPU (torchrun --nproc_per_node {len(context.gpus)} main.py …, without --gpus)"
        )
    if context.world_size == 1:
        logger.info("--sync_bn has no effect: there is one process")
        return network
    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    for name, norm in norms:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, _counterpart(norm, on_gpu=context.device.type == "cuda"))
    return network


def _counterpart(norm: _BatchNorm, on_gpu: bool) -> nn.Module:
    if not on_gpu:
        return SyncedBatchNorm.of(norm)
    if is_activated(norm):
        from timm.layers import convert_sync_batchnorm  # whose norm it is

        return convert_sync_batchnorm(norm)
    return nn.SyncBatchNorm.convert_sync_batchnorm(norm)


class SyncedBatchNorm(_BatchNorm):
    """A BatchNorm of tensors `(N, C, *)` over all processes, each of which may have another N, or none."""

    @classmethod
    def of(cls, norm: _BatchNorm) -> SyncedBatchNorm:
        """In place of `norm`, whose parameters, buffers and mode it takes, and timm's activation if it has one."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        made._parameters, made._buffers, made.training = norm._parameters, norm._buffers, norm.training
        for name, behind in norm.named_children():
            made.add_module(name, behind)
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Like `nn.BatchNorm2d`; raises ValueError where all processes together have one value a channel."""
        y = self._over_all(x) if self.training else super().forward(x)
        for behind in self.children():  # timm's dropout and activation
            y = behind(y)
        return y

    def _over_all(self, x: torch.Tensor) -> torch.Tensor:
        dims = [0, *range(2, x.ndim)]  # all but C
        wide = x if x.dtype == torch.float64 else x.float()
        count = wide.new_tensor([x.numel() // x.shape[1]])
        sums = _SumOverAll.apply(torch.cat([wide.sum(dims), count]))  # (C + 1,)
        total = sums[-1].detach()
        if total <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got {total:.0f} in all processes")
        mean = sums[:-1] / total  # (C,)
        centred = wide - _along_channels(mean, x)
        # A second round in place of the sum of squares, which loses digits where the mean is large.
        variance = _SumOverAll.apply(centred.square().sum(dims)) / total  # (C,)
        self._track(mean.detach(), variance.detach() * (total / (total - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        y = centred * _along_channels(scale, x)
        return (y if self.bias is None else y + _along_channels(self.bias, x)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """The running statistics, of means (C,) and unbiased variances (C,)."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (N, C, …), got {tuple(input.shape)}")


class _SumOverAll(torch.autograd.Function):
    """The sum over all processes, whose losses' gradients by it are added up in turn."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _along_channels(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Values (C,) as (C, 1, …), which spreads over x `(N, C, *)`."""
    return values.view(-1, *[1] * (x.ndim - 2))
