"""torch.compile for the programs: static shapes, and on the CPU weights that are frozen for evaluation."""

from __future__ import annotations

import torch
import torch._inductor.config as inductor
from torch import nn


class Compiled(nn.Module):
    """`network`, compiled for evaluation, for batches of one size: the first one's.

    A smaller batch, as the last one is, is filled up with its last clip, because compiling for another size takes
    longer than that. So the network must score each clip by itself. What was compiled is kept by torch between runs
    (in TORCHINDUCTOR_CACHE_DIR).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.size = 0
        self.freezing = all(p.device.type == "cpu" for p in network.parameters())
        self._compiled = torch.compile(network, dynamic=False)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (N, T, C, H, W) to scores (N, K)."""
        count = len(clips)
        self.size = max(self.size, count)
        if count < self.size:
            clips = torch.cat((clips, clips[-1:].expand(self.size - count, *clips.shape[1:])))  # (size, T, C, H, W)
        # Packs the weights as the CPU's matrix kernels want them, with what is element by element put into the
        # convolutions. Not as an option of torch.compile: tracing does not see that one, and then nothing is frozen.
        with inductor.patch(freezing=self.freezing):
            return self._compiled(clips)[:count]
