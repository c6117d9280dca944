"""The paper's blocks written as its figures read, slowly: what the fast forms are compared with.

Each takes a module of ops.model.fex for its weights. Legend: `N` videos, `T` segments, `C` channels, `H W` space.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ops.model.fex import FEX, ForegroundEnhancement, SceneSegregation, TemporalInformationModule


def temporal_shift(x: torch.Tensor, T: int, shift_div: int) -> torch.Tensor:
    """(N·T, C, H, W); element by element."""
    out = x.clone()
    fold = x.shape[1] // shift_div
    for frame in range(x.shape[0]):
        t = frame % T
        out[frame, :fold] = x[frame + 1, :fold] if t + 1 < T else 0
        out[frame, fold : 2 * fold] = x[frame - 1, fold : 2 * fold] if t > 0 else 0
    return out


def as_video(x: torch.Tensor, T: int) -> torch.Tensor:
    """(N·T, C, H, W) to (N, C, T, H, W)."""
    return x.unflatten(0, (-1, T)).transpose(1, 2)


def as_frames(x: torch.Tensor) -> torch.Tensor:
    """(N, C, T, H, W) to (N·T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def enhance(module: ForegroundEnhancement, frames: torch.Tensor) -> torch.Tensor:
    """Foreground Enhancement, steps 1 to 4 of the figure."""
    _, _, attention = enhancement_maps(module, frames)
    return as_frames(as_video(frames, module.num_segments) * attention)


def enhancement_maps(
    module: ForegroundEnhancement, frames: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Its background (N, C/r, H, W), foreground (N, C/r, T, H, W) and attention (N, C, T, 1, 1)."""
    x = as_video(frames, module.num_segments)
    reduced = F.conv3d(x, module.reduce.weight[:, :, None], module.reduce.bias)
    in_time = F.conv3d(
        reduced, module.background_temporal.weight[..., None], module.background_temporal.bias, padding=(1, 0, 0)
    )
    background = module.background_spatial(in_time.mean(dim=2))  # (N, C/r, H, W)
    foreground = reduced - background[:, :, None].expand_as(reduced)
    attention = F.conv3d(
        foreground.mean(dim=(3, 4), keepdim=True), module.expand.weight[:, :, None], module.expand.bias
    )  # (N, C, T, 1, 1)
    if module.kind == "sigmoid":
        attention = 1 / (1 + torch.exp(-attention))
    elif module.kind == "residual":
        rising, falling = torch.exp(attention), torch.exp(-attention)
        attention = 1 + (rising - falling) / (rising + falling)
    return background, foreground, attention


def segregate(module: SceneSegregation, frames: torch.Tensor) -> torch.Tensor:
    """Scene Segregation, steps 1 to 3 of the figure."""
    x = as_video(frames, module.num_segments)
    foreground, background = x[:, : module.width], x[:, module.width :]
    in_time = F.conv3d(
        foreground, module.tim.conv.weight[..., None], module.tim.conv.bias, padding=(1, 0, 0), groups=module.width
    )
    tim = tim_norm(module.tim, in_time)
    _, sr = segregation_maps(module, frames)
    fused = F.conv3d(torch.cat((tim, sr), dim=1), module.fusion.weight[..., None], module.fusion.bias)
    return as_frames(torch.cat((fused, background), dim=1))


def tim_norm(module: TemporalInformationModule, in_time: torch.Tensor) -> torch.Tensor:
    """TIM's BatchNorm of (N, F, T, H, W), where there is one."""
    norm = module.bn
    if not isinstance(norm, torch.nn.BatchNorm2d):
        return in_time
    assert norm.running_mean is not None and norm.running_var is not None
    return F.batch_norm(
        in_time,
        norm.running_mean.clone(),
        norm.running_var.clone(),
        norm.weight,
        norm.bias,
        norm.training,
        0.1,
        norm.eps,
    )


def segregation_maps(module: SceneSegregation, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Its scene (N, F, H, W), and the foreground without it (N, F, T, H, W)."""
    foreground = as_video(frames, module.num_segments)[:, : module.width]
    scene = F.relu(module.scene_bn(module.scene_conv(foreground.mean(dim=2))))
    return scene, foreground - scene[:, :, None].expand_as(foreground)


def fex(module: FEX, frames: torch.Tensor) -> torch.Tensor:
    """The whole block."""
    if module.enhancement is not None:
        frames = enhance(module.enhancement, frames)
    if not isinstance(module.segregation, SceneSegregation):
        return temporal_shift(frames, module.segregation.num_segments, module.segregation.shift_div)
    return segregate(module.segregation, frames)
