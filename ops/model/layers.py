"""Whether a layer applies its weights as they are: only then may others read them in its place.

A subclass may apply something else: timm's weight-standardised convolutions are `nn.Conv2d`, too. A parametrized layer
has a type of its own, and a hook (of `weight_norm`, of pruning, of whoever looks on) wants the layer to be called. So
what is asked for is the exact type, and that nothing is put around it.
"""

from __future__ import annotations

from typing import TypeGuard

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# timm's, by name, as timm need not be installed: what they do more is done before the convolution, or after the norm.
PADDED_CONVOLUTION = "timm.layers.conv2d_same.Conv2dSame"
ACTIVATED_BATCH_NORM = "timm.layers.norm_act.BatchNormAct2d"


def is_convolution(layer: nn.Module) -> TypeGuard[nn.Conv1d | nn.Conv2d | nn.Conv3d]:
    """True for a convolution with its own weight and bias, of whatever it makes of its input's borders."""
    return (type(layer) in CONVOLUTIONS or _is_timms(layer, PADDED_CONVOLUTION)) and not is_watched(layer)


def is_pointwise(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """True for a 1x1 convolution that reads nothing but its own place."""
    if type(layer) is not nn.Conv2d or is_watched(layer):
        return False
    return layer.kernel_size == (1, 1) and layer.groups == 1 and layer.padding in (0, (0, 0))


def is_batch_norm(layer: nn.Module) -> TypeGuard[nn.modules.batchnorm._BatchNorm]:
    """True for a BatchNorm that in evaluation scales and shifts, by the statistics that training has left.

    timm's has an activation behind, as `act`.
    """
    if not (type(layer) in BATCH_NORMS or is_activated(layer)) or is_watched(layer):
        return False
    return layer.running_mean is not None


def is_activated(layer: nn.Module) -> bool:
    """True for timm's BatchNorm that has an activation behind, as `act`."""
    return _is_timms(layer, ACTIVATED_BATCH_NORM)


def is_watched(module: nn.Module) -> bool:
    """True if a hook or a `forward` of its own stands around the module, which then must be called."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(map(len, hooks)) or "forward" in module.__dict__


def _is_timms(layer: nn.Module, name: str) -> bool:
    return f"{type(layer).__module__}.{type(layer).__qualname__}" == name
