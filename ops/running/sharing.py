"""Batches of several processes, some of which can read none of their videos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ops.running.distributed import DistributedContext


def shared_out(batch: Any, context: DistributedContext) -> Any:
    """The batch or, where some process has none of its videos left, this one's part of what all have left.

    All processes must come here with their shares of a global batch: to a step's gradient each of them has to give
    something. Its videos are the same then, and weigh alike. Where fewer are left than there are processes, all get an
    empty one.
    """
    if not context.agree(int(not len(batch))):
        return batch
    clips, device = batch.clips.cpu(), batch.clips.device
    own = list(zip(clips.numpy(), batch.labels.tolist(), batch.indices.tolist(), strict=True))
    videos = context.gather(own)
    first, end = (len(videos) * rank // context.world_size for rank in (context.rank, context.rank + 1))
    part = videos[first:end] if len(videos) >= context.world_size else []
    labels, indices = (torch.tensor([video[k] for video in part], dtype=torch.int64, device=device) for k in (1, 2))
    empty = torch.empty((0,) * 6, dtype=torch.uint8)
    # Channels last in memory, as clips lie.
    stacked = torch.stack([torch.from_numpy(video[0]).movedim(2, -1) for video in part]) if part else None
    clips = empty if stacked is None else stacked.movedim(-1, 3)
    return replace(batch, clips=clips.to(device), labels=labels, indices=indices)
