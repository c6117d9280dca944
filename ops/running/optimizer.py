"""SGD's parameter groups as published, and the learning rate of an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ops.errors import InputError
from ops.model.tsn import TSN

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
FEX_GROUPS = ("new_conv_weight", "new_conv_bias", "new_bn")  # of its own parameters


def parameter_groups(network: TSN, classifier_lr5: bool = True, fex_lr: float = 1) -> list[dict[str, Any]]:
    """The trainable parameters in the published groups, each with `lr_mult`, `decay_mult` and `name`.

    FEX's own layers form groups of their own, which learn `fex_lr` times as fast; what no rule was published for
    (timm's) has decay where it is a matrix. `classifier_lr5`: the classifier learns 5 times as fast (its bias 10
    times), as published unless a checkpoint of the same data set is fine-tuned.
    """
    first = 5 if network.options.modality == "Flow" else 1
    multipliers = {  # name: (learning rate, weight decay), in the published order
        "new_conv_weight": (fex_lr, 1),
        "new_conv_bias": (2 * fex_lr, 0),
        "new_bn": (fex_lr, 0),
        "first_conv_weight": (first, 1),
        "first_conv_bias": (2 * first, 0),
        "normal_weight": (1, 1),
        "normal_bias": (2, 0),
        "BN scale/shift": (1, 0),
        "lr5_weight": (5, 1),
        "lr10_bias": (10, 0),
    }
    members: dict[str, list[nn.Parameter]] = {name: [] for name in multipliers}
    inside_fex = {id(m) for block in network.fex_blocks() for m in block.modules()}
    for name, module in network.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            fresh = id(module) in inside_fex
            if isinstance(module, LAYERS) and kind in ("weight", "bias"):
                if module is network.classifier and classifier_lr5:
                    group = "lr5_weight" if kind == "weight" else "lr10_bias"
                else:
                    group = (
                        f"{'new_conv' if fresh else 'first_conv' if name == network.first_conv else 'normal'}_{kind}"
                    )
            # Such as the scales of a layer in timm's ConvNeXt, or the gains (K, 1, 1, 1) in its NFNets.
            elif isinstance(module, NORMS) or parameter.numel() == parameter.shape[:1].numel():
                group = "new_bn" if fresh else "BN scale/shift"
            else:  # such as timm's position embeddings
                group = "normal_weight"
            members[group].append(parameter)
    return [
        {"params": members[name], "lr_mult": lr, "decay_mult": decay, "name": name}
        for name, (lr, decay) in multipliers.items()
        if members[name]
    ]


def build_optimizer(
    network: TSN,
    lr: float,
    momentum: float,
    weight_decay: float,
    classifier_lr5: bool = True,
    fex_lr: float = 1,
    fex_wd: float | None = None,
) -> torch.optim.SGD:
    """SGD over `parameter_groups`, each group's decay set; `set_learning_rate` sets the rates.

    `fex_wd`: the decay of FEX's own weights, where it is not `weight_decay` too.

    Every parameter's momentum is there from the start, as nought, which is what torch's own first step comes to. Torch
    makes it when a parameter first has a gradient: without numbers in it should the loss's scaler skip that step, and
    not at all for a parameter that thaws into a group whose others have theirs.
    """
    groups = parameter_groups(network, classifier_lr5, fex_lr)
    for group in groups:
        of_fex = group["name"] in FEX_GROUPS and fex_wd is not None
        group["weight_decay"] = (fex_wd if of_fex else weight_decay) * group["decay_mult"]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=True)  # one pass over weights and momentum
    set_learning_rate(optimizer, lr)
    _complete(optimizer)
    return optimizer


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], path: Path) -> None:
    """Momentum as it was when `state` was saved, nought where it has none; all else stays as built.

    InputError if unfit.
    """
    built = [{k: value for k, value in group.items() if k != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
        for group, values in zip(optimizer.param_groups, built, strict=True):
            group.update(values)
        _complete(optimizer)
    except ValueError as error:
        raise InputError(f"--resume {path}: its optimizer is of another network or other flags ({error})") from error


def _complete(optimizer: torch.optim.Optimizer) -> None:
    """Gives every parameter its momentum: what it has, or nought; nothing where the group is without.

    It lies in memory as the parameter does: the fused step reads both from end to end. ValueError for another shape.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            loaded = optimizer.state.pop(parameter, {}).get("momentum_buffer")
            if not group["momentum"]:
                continue
            if loaded is not None and loaded.shape != parameter.shape:
                raise ValueError(f"momentum {tuple(loaded.shape)} of weights {tuple(parameter.shape)}")
            momentum = torch.zeros_like(parameter)
            optimizer.state[parameter]["momentum_buffer"] = momentum if loaded is None else momentum.copy_(loaded)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Every group's rate: `lr` times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]


def learning_rate(
    epoch: int, epochs: int, lr: float, lr_type: str, lr_steps: Sequence[float] = (), warmup_epochs: int = 0
) -> float:
    """The learning rate of `epoch` (from 0), constant within it.

    `step`: times 0.1 at each of `lr_steps`; `cos`: half a cosine from `lr` to 0 over `epochs`. During the first
    `warmup_epochs` it rises in equal steps to what the schedule says.
    """
    if lr_type == "step":
        rate = lr * 0.1 ** sum(epoch >= step for step in lr_steps)
    elif lr_type == "cos":
        rate = 0.5 * lr * (1 + math.cos(math.pi * epoch / epochs))
    else:
        raise InputError(f"--lr_type {lr_type}: expected step or cos")
    return rate * min(1.0, (epoch + 1) / (warmup_epochs + 1))
