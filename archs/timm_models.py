"""Backbones of timm (optional), by `timm:NAME`: where their residual blocks and convolutions are.

timm has no common form for these; what is recognised is the form of its ResNets, RegNets, ConvNeXts and their
like: stages with a feature reduction of 4, 8, 16 and 32, made of blocks that have a shortcut.
"""

from __future__ import annotations

import difflib
from types import ModuleType

from torch import nn

from archs.names import TIMM_PREFIX

STAGE_OF_REDUCTION = {4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"}
SHORTCUTS = ("downsample", "shortcut")


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


def blocks_of(net: nn.Module) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Stages by the names of ResNet's: their residual blocks, each with its convolutions' names inside."""
    stages: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for info in getattr(net, "feature_info", None) or []:
        stage = STAGE_OF_REDUCTION.get(info["reduction"])
        if stage is None:
            continue
        for name, block in net.get_submodule(info["module"]).named_modules():
            if _has_shortcut(block) and (convolutions := _convolutions(block)):
                stages.setdefault(stage, []).append((f"{info['module']}.{name}", convolutions))
    return stages


def _has_shortcut(module: nn.Module) -> bool:
    """timm's residual blocks have a module or None under one of these names; a stage of blocks has `blocks`."""
    return any(hasattr(module, name) for name in SHORTCUTS) and not hasattr(module, "blocks")


def _convolutions(block: nn.Module) -> tuple[str, ...]:
    """Those of the main path, in the order in which they were made, which is that of execution."""
    return tuple(
        name
        for name, module in block.named_modules()
        if isinstance(module, nn.Conv2d) and not {*SHORTCUTS, "se"} & set(name.split("."))
    )


def feature_dim(net: nn.Module, classifier: str) -> int:
    """How many features enter the classifier, which may then be replaced by a linear layer (or be left out)."""
    layer = net.get_submodule(classifier)
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.Conv2d) and hasattr(getattr(net, "head", None), "global_pool"):
        net.head.global_pool.flatten = nn.Flatten(1)  # type: ignore  # it keeps (B, D, 1, 1) for the convolution
        return layer.in_channels
    raise ValueError(f"its classifier {classifier} is a {type(layer).__name__}: it can't be a backbone")
