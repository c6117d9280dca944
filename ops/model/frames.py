"""Passes over the frames of videos that leave no copies behind, in evaluation and, with their gradients, in training.

Legend: `N` videos, `T` segments, `C` channels, `F` the first of them, `H W` space. Feature maps are `(N·T, C, H, W)`
in channels-last memory, the frames of a video adjacent.
"""

from __future__ import annotations

from typing import Any

import torch


def as_rows(x: torch.Tensor) -> torch.Tensor:
    """`(N·T, C, H, W)` to `(N·T, P, C)`; a view of channels-last memory."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1, 2)


def mean_over_time(x: torch.Tensor, num_segments: int) -> torch.Tensor:
    """`(N·T, C, H, W)` to `(N, C, H, W)`. As a matrix product it takes a seventh of the time of `mean` on a CPU."""
    x = x.contiguous(memory_format=torch.channels_last)
    C, H, W = x.shape[1:]
    rows = x.permute(0, 2, 3, 1).flatten(1).unflatten(0, (-1, num_segments))  # (N, T, H·W·C)
    share = x.new_full((1, num_segments), 1 / num_segments)
    return (share @ rows).view(-1, H, W, C).permute(0, 3, 1, 2)  # (N, 1, H·W·C) to (N, C, H, W)


def is_traced(x: torch.Tensor) -> bool:
    """True where `x` is traced for a compiler or an exporter: these want plain functions, with nothing in place."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or isinstance(x, torch.fx.Proxy)


def with_foreground(x: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`x` as it is, and its first `width` channels, copied into memory of their own: `(N·T, F, H, W)`.

    The first result must have one reader, and one whose gradient is a tensor of its own, as a convolution's: in
    training the gradient of the second is added into it in place, where autograd's slice would fill a tensor of x's
    size with zeros.
    """
    if torch.is_grad_enabled() and x.requires_grad and not is_traced(x):
        return _WithForeground.apply(x, width)
    return x, _first(x, width)


def replace_foreground(x: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
    """`x` with `foreground` `(N·T, F, H, W)` in place of its first F channels."""
    if torch.is_grad_enabled() and (x.requires_grad or foreground.requires_grad) and not is_traced(x):
        return _ReplaceForeground.apply(x, foreground)
    return _replaced(x, foreground)


def add_over_time(frames: torch.Tensor, other: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
    """`frames` + `other`, both `(N·T, C, H, W)`, - `scene` `(N, C, H, W)` from each frame; written into `frames`."""
    if is_traced(frames):
        N = scene.shape[0]  # len() would be a constant in what is exported
        return ((frames + other).unflatten(0, (N, -1)) - scene[:, None]).flatten(0, 1)
    if torch.is_grad_enabled() and (frames.requires_grad or other.requires_grad or scene.requires_grad):
        return _AddOverTime.apply(frames, other, scene)
    return _add(frames, other, scene)


def _replaced(x: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
    return torch.cat((foreground, x[:, foreground.shape[1] :]), dim=1)


def _first(x: torch.Tensor, width: int) -> torch.Tensor:
    return x[:, :width].contiguous(memory_format=torch.channels_last)


def _add(frames: torch.Tensor, other: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
    videos = frames.add_(other).unflatten(0, (len(scene), -1))  # (N, T, C, H, W)
    videos.sub_(scene[:, None])
    return frames


class _WithForeground(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.width = width
        return x.view_as(x), _first(x, width)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        whole, first = grads
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn: leave it as it came
            whole = whole.clone()
        whole[:, : ctx.width] += first
        return whole, None


class _ReplaceForeground(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        ctx.width = foreground.shape[1]
        return _replaced(x, foreground)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rest = grads[0].clone()
        rest[:, : ctx.width] = 0
        return rest, _first(grads[0], ctx.width)


class _AddOverTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frames: torch.Tensor, other: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(frames)
        ctx.num_segments = len(frames) // len(scene)
        return _add(frames, other, scene)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        (grad,) = grads
        return grad, grad, -ctx.num_segments * mean_over_time(grad, ctx.num_segments)
