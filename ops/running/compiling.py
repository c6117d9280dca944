"""torch.compile for the programs: static shapes, and on the CPU weights that are frozen for evaluation."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn


class Compiled(nn.Module):
    """`network`, compiled for evaluation, for batches of one size: the first one's.

    A smaller batch, as the last one is, is filled up with its last clip, because compiling for another size takes
    longer than that. So the network must score each clip by itself. The kernels are kept by torch between runs (in
    TORCHINDUCTOR_CACHE_DIR).
    """

    def __init__(self, network: nn.Module) -> None:
        from torch._inductor import config  # takes a second, which nobody else should pay

        super().__init__()
        self.network = network
        self.size = 0
        # Freezing packs the weights as the CPU's matrix kernels want them, and puts what is element by element into the
        # convolutions. Not an option of torch.compile: tracing does not see those, and then nothing is frozen.
        self._frozen = partial(config.patch, freezing=all(p.device.type == "cpu" for p in network.parameters()))
        self._compiled = torch.compile(network, dynamic=False)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (N, T, C, H, W) to scores (N, K)."""
        count = len(clips)
        self.size = max(self.size, count)
        if count < self.size:
            clips = torch.cat((clips, clips[-1:].expand(self.size - count, *clips.shape[1:])))  # (size, T, C, H, W)
        with self._frozen():
            return self._compiled(clips)[:count]
