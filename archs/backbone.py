"""What a network needs to know of a backbone, and the one place where backbones are built by name.

Legend: `B` images, `C` channels, `H W` space, `D` features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models

from archs import state_dicts, timm_models
from archs.bninception import BNInception, from_caffe
from archs.mobilenetv2 import InvertedResidual, MobileNetV2, from_torchvision
from archs.names import ARCHS, RESNETS, TIMM_PREFIX
from archs.residuals import Block, find_residuals

RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4")
# MobileNetV2's features by resolution, as ResNet's stages: (first, last), the last one not included.
MOBILENET_STAGES = {"layer1": (2, 4), "layer2": (4, 7), "layer3": (7, 14), "layer4": (14, 18)}


@dataclass(frozen=True)
class InputConvention:
    """How a backbone wants a frame: `(pixel / 255 · white - mean) / std`, a value a channel, in RGB or `bgr` order."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    white: float = 1.0
    bgr: bool = False


@dataclass(frozen=True)
class Backbone:
    """A 2D image classifier with the names of the parts that the network around it exchanges or patches.

    `net` maps `(B, 3, H, W)` to `(B, D)` once the module called `classifier` is replaced. `stages`: the residual
    blocks by the names of ResNet's stages (stride 4, 8, 16, 32); empty where there are none, and `why_no_blocks` says
    why. `first_conv`: the convolution that sees the frames; empty where several do, side by side.
    """

    net: nn.Module
    feature_dim: int
    classifier: str
    first_conv: str
    stages: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    input: InputConvention = field(default_factory=InputConvention)
    why_no_blocks: str = ""


def build_backbone(arch: str, pretrain: str = "none") -> Backbone:
    """The backbone `arch` with the weights that `pretrain` names.

    `pretrain`: `imagenet` (torchvision's IMAGENET1K_V1, as the published code used, or timm's default), `none`, or
    the path of a state dict with the names of this backbone.

    Raises ValueError for an unknown name and OSError when weights cannot be had; both say what to do.
    """
    if arch.startswith(TIMM_PREFIX):
        return _timm(arch, pretrain)
    if arch not in ARCHS:
        raise ValueError(f"unknown backbone {arch!r}: expected one of {', '.join(ARCHS)}, or {TIMM_PREFIX}NAME")
    make = {"mobilenetv2": _mobilenetv2, "BNInception": _bninception}.get(arch, _resnet)
    backbone = make(arch)
    if pretrain != "none":
        state = _imagenet_weights(arch) if pretrain == "imagenet" else _read_state_dict(Path(pretrain))
        _load(backbone, arch, state, pretrain)
    return backbone


def _resnet(arch: str) -> Backbone:
    net = models.get_model(arch, weights=None)
    convs = ("conv1", "conv2") if arch in ("resnet18", "resnet34") else ("conv1", "conv2", "conv3")
    stages = {
        stage: tuple(_block(net, f"{stage}.{index}", convs) for index in range(len(net.get_submodule(stage))))
        for stage in RESNET_STAGES
    }
    return Backbone(net, net.fc.in_features, "fc", "conv1", stages)


def _mobilenetv2(_arch: str) -> Backbone:
    net = MobileNetV2()
    stages = {
        stage: tuple(
            _block(net, f"features.{index}", ("conv.0", "conv.3", "conv.6"))
            for index in range(*places)
            if isinstance(layer := net.features[index], InvertedResidual) and layer.has_shortcut
        )
        for stage, places in MOBILENET_STAGES.items()
    }
    return Backbone(net, net.classifier.in_features, "classifier", "features.0.0", stages)


def _block(net: nn.Module, name: str, convs: tuple[str, ...]) -> Block:
    layers = tuple(f"{name}.{conv}" for conv in convs)
    channels: list[Any] = [net.get_submodule(layer).in_channels for layer in layers]
    return Block(name, layers, tuple(channels))


def _bninception(_arch: str) -> Backbone:
    net = BNInception()
    convention = InputConvention(mean=(104.0, 117.0, 128.0), std=(1.0, 1.0, 1.0), white=255.0, bgr=True)
    return Backbone(net, net.fc.in_features, "fc", "conv1_7x7_s2", input=convention)


def _timm(arch: str, pretrain: str) -> Backbone:
    try:
        net: Any = timm_models.create(arch, pretrained=pretrain == "imagenet")
    except (URLError, OSError, RuntimeError) as error:
        if pretrain != "imagenet":
            raise
        raise OSError(_no_download(arch, error, "timm's weights of it")) from error
    config = net.pretrained_cfg
    residuals = find_residuals(net, config["input_size"])
    try:
        classifier, features = timm_models.classifier_of(net)
    except ValueError as error:
        raise ValueError(f"--arch {arch}: {error}: it can't be a backbone") from error
    first = config.get("first_conv")
    backbone = Backbone(
        net,
        features,
        classifier,
        first if isinstance(first, str) else "",
        residuals.stages,
        InputConvention(tuple(config["mean"]), tuple(config["std"])),
        residuals.why_not,
    )
    if pretrain not in ("none", "imagenet"):
        _load(backbone, arch, _read_state_dict(Path(pretrain)), pretrain)
    return backbone


def _load(backbone: Backbone, arch: str, state: dict[str, torch.Tensor], source: str) -> None:
    """Loads `state`, which may be of torchvision's or Caffe's form, into the backbone but for its classifier."""
    own = backbone.net.state_dict()
    state = state_dicts.without_prefix(state, own)
    if arch == "mobilenetv2":
        state = from_torchvision(state)
    elif arch == "BNInception":
        state = from_caffe(state)
    # A backbone trained on other classes is as good a start: its classifier is replaced anyway. Old files have no
    # counters of batches, which matter to nothing here.
    kept = [k for k in own if k.startswith(f"{backbone.classifier}.") or k.endswith("num_batches_tracked")]
    state = {k: own[k] for k in kept} | {k: v for k, v in state.items() if not k.startswith(f"{backbone.classifier}.")}
    wrong = [k for k in own if k not in state or state[k].shape != own[k].shape]
    wrong += [k for k in state if k not in own]
    if wrong:
        raise ValueError(
            f"{source}: not the weights of a {arch} (first difference: {wrong[0]}, {len(wrong)} in all); expected a "
            "state dict with the names of torchvision, timm or (BNInception) Caffe's conversion; a video network's "
            "checkpoint goes to --tune_from"
        )
    backbone.net.load_state_dict(state)


def _imagenet_weights(arch: str) -> dict[str, torch.Tensor]:
    if arch not in (*RESNETS, "mobilenetv2"):
        raise OSError(
            f"--pretrain imagenet: torchvision has no weights of {arch}. Fetch the ones converted from Caffe "
            "(bn_inception) and give their path (--pretrain FILE), or start without (--pretrain none)."
        )
    # IMAGENET1K_V1 is what TSM and FEXNet started from; V2's recipe is another network's start.
    weights = models.get_model_weights("mobilenet_v2" if arch == "mobilenetv2" else arch)["IMAGENET1K_V1"]
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise OSError(_no_download(arch, error, weights.url)) from error


def _no_download(arch: str, error: Exception, source: str) -> str:
    return (
        f"the ImageNet weights of {arch} could not be downloaded ({error}). Either fetch {source} on a machine with "
        "internet access and give its path (--pretrain FILE), put the file into "
        f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or start without them (--pretrain none)."
    )


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"--pretrain {path}: no such file; expected imagenet, none or a state dict's path")
    return state_dict_of(path, f"--pretrain {path}")


def state_dict_of(path: Path, name: str, file: IO[bytes] | None = None) -> dict[str, torch.Tensor]:
    """The state dict in a file (`file`: opened within `path`). Raises OSError or ValueError, beginning with `name`."""
    try:
        state = state_dicts.unwrapped(state_dicts.read(path, file))
    except (OSError, ValueError) as error:
        raise OSError(f"{name}: not readable as a state dict of tensors: {error}") from error
    if state is None or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{name}: expected a state dict (names to tensors)")
    if any("base_model." in key for key in state):
        raise ValueError(f"{name}: a video network's checkpoint, not a backbone's: give it to --tune_from")
    return state
