"""Backbones of timm (optional), by `timm:NAME`. timm has no common form for residual blocks: see `residuals`."""

from __future__ import annotations

import difflib
from types import ModuleType
from typing import Any

from torch import nn

from archs.names import TIMM_PREFIX


def timm_library() -> ModuleType:
    """timm, or a ValueError that says how to get it."""
    try:
        import timm
    except ImportError:
        raise ValueError(f"--arch {TIMM_PREFIX}NAME needs timm: pip install timm") from None
    return timm


def create(arch: str, pretrained: bool) -> nn.Module:
    """timm's model of that name. ValueError for an unknown name; whatever timm raises when weights can't be had."""
    timm, name = timm_library(), arch.removeprefix(TIMM_PREFIX)
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f" (did you mean {TIMM_PREFIX}{near[0]}?)" if near else ""
        raise ValueError(f"--arch {arch}: timm has no such model{hint}; timm.list_models() names them all")
    return timm.create_model(name, pretrained=pretrained)


def classifier_of(net: Any) -> tuple[str, int]:
    """The name of its classifier, which may be replaced by a linear layer or be left out, and how many features enter.

    Raises ValueError if there is none such.
    """
    name = net.pretrained_cfg.get("classifier")
    if not isinstance(name, str):
        raise ValueError(f"it has {len(name)} classifiers, {' and '.join(name)}" if name else "it has no classifier")
    try:
        layer = net.get_submodule(name)
    except AttributeError:
        raise ValueError("it has no classifier") from None
    if isinstance(layer, nn.Linear):
        return name, layer.in_features
    pool: Any = getattr(getattr(net, "head", net), "global_pool", None)
    if isinstance(layer, nn.Conv2d) and hasattr(pool, "flatten"):
        pool.flatten = nn.Flatten(1)  # it keeps (B, D, 1, 1) for the convolution
        return name, layer.in_channels
    raise ValueError(f"its classifier {name} is a {type(layer).__name__}")
