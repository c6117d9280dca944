"""What a network needs to know of a backbone, and the one place where backbones are built by name.

Legend: `B` images, `C` channels, `H W` space, `D` features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models

from archs.names import RESNETS


@dataclass(frozen=True)
class InputConvention:
    """How a backbone wants a frame: `(pixel / 255 - mean) / std`, a value a channel."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A 2D image classifier with the names of the parts that the network around it exchanges or patches.

    `net` maps `(B, 3, H, W)` to `(B, D)` once the module called `classifier` is replaced; `stages` are the
    names of its sequences of residual blocks, in order.
    """

    net: nn.Module
    feature_dim: int
    classifier: str
    stages: tuple[str, ...]
    input: InputConvention = field(default_factory=InputConvention)


def build_backbone(arch: str, pretrain: str = "none") -> Backbone:
    """The backbone `arch` with the weights that `pretrain` names.

    `pretrain`: `imagenet` (torchvision's, as the published code used), `none`, or the path of a state dict of
    torchvision's form.

    Raises ValueError for an unknown name and OSError when weights cannot be had; both say what to do.
    """
    if arch not in RESNETS:
        raise ValueError(f"unknown backbone {arch!r}: expected one of {', '.join(RESNETS)}")
    net = models.get_model(arch, weights=None)
    if pretrain != "none":
        net.load_state_dict(_weights(arch, pretrain, net))
    return Backbone(net, net.fc.in_features, "fc", ("layer1", "layer2", "layer3", "layer4"))


def _weights(arch: str, pretrain: str, net: nn.Module) -> dict[str, torch.Tensor]:
    if pretrain == "imagenet":
        return _imagenet_weights(arch)
    state = _read_state_dict(Path(pretrain))
    # A backbone trained on other classes is as good a start: its classifier is replaced anyway.
    own = net.state_dict()
    state |= {k: own[k] for k in ("fc.weight", "fc.bias")}
    wrong = [k for k in own if k not in state or state[k].shape != own[k].shape]
    wrong += [k for k in state if k not in own]
    if wrong:
        raise ValueError(
            f"{pretrain}: not the weights of a {arch} (first difference: {wrong[0]}, {len(wrong)} in all); "
            "expected a state dict with torchvision's names; a video network's checkpoint goes to --tune_from"
        )
    return state


def _imagenet_weights(arch: str) -> dict[str, torch.Tensor]:
    # IMAGENET1K_V1 is what TSM and FEXNet started from; V2's recipe is another network's start.
    weights = models.get_model_weights(arch)["IMAGENET1K_V1"]
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise OSError(
            f"the ImageNet weights of {arch} could not be downloaded ({error}). Either fetch {weights.url} on a "
            "machine with internet access and give its path (--pretrain FILE), put the file into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or start without them (--pretrain none)."
        ) from error


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"--pretrain {path}: no such file; expected imagenet, none or a state dict's path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise OSError(f"--pretrain {path}: not readable as a state dict of tensors ({error})") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"--pretrain {path}: expected a state dict (names to tensors)")
    return {name.removeprefix("module."): value for name, value in state.items()}
