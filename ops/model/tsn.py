"""The whole network: every frame through a backbone patched in time, the mean of the frames' scores a clip's.

Legend: `N` videos (or clips), `T` segments, `C` channels, `H W` space, `D` features, `K` classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from archs.backbone import Backbone, InputConvention, build_backbone
from ops.errors import InputError
from ops.model.fex import FEX
from ops.model.fex_released import ReleasedFEX
from ops.model.surgery import patch_fex, patch_shift


@dataclass(frozen=True)
class NetworkOptions:
    """Everything that says which network it is; stored in every checkpoint.

    What has no effect is set to its default, so that equal networks have equal options.
    """

    num_classes: int
    num_segments: int = 8
    modality: str = "RGB"
    arch: str = "resnet50"
    shift: bool = False
    shift_div: int = 8
    shift_place: str = "blockres"
    fex: str = "paper"
    fex_init: str = "shift"
    dropout: float = 0.5
    consensus_type: str = "avg"
    partial_bn: bool = True

    def __post_init__(self) -> None:
        if not self.shift:
            self._reset("shift_div", "shift_place", fex="off")
        if self.fex == "off":
            self._reset("fex_init")

    def _reset(self, *names: str, **values: Any) -> None:
        defaults = {name: self.__dataclass_fields__[name].default for name in names}
        for name, value in {**defaults, **values}.items():
            object.__setattr__(self, name, value)

    @property
    def has_fex(self) -> bool:
        """FEX stands in the shift's place; without shift there is nothing in time."""
        return self.shift and self.fex != "off"

    @property
    def mixes_videos(self) -> bool:
        """True when a prediction depends on the videos that share its batch (the released network's defect)."""
        return self.has_fex and self.fex == "released"


class TSN(nn.Module):
    """Temporal segment network (Wang et al. 2016) around a backbone patched with temporal shift or FEX.

    `patched` lists the backbone's modules that have an operator in time before them.
    """

    def __init__(self, options: NetworkOptions, backbone: Backbone, patched: list[str]) -> None:
        super().__init__()
        self.options = options
        self.patched = patched
        self.input = backbone.input
        self.input_stage = InputStage(backbone.input)
        self.base_model = backbone.net
        classifier = nn.Linear(backbone.feature_dim, options.num_classes)
        nn.init.normal_(classifier.weight, 0, 0.001)
        nn.init.zeros_(classifier.bias)
        # Without dropout the classifier stands in the backbone's own place, and published checkpoints name it so.
        own_place = options.dropout == 0
        setattr(self.base_model, backbone.classifier, classifier if own_place else nn.Dropout(options.dropout))
        self.new_fc = nn.Identity() if own_place else classifier
        self.classifier_name = f"base_model.{backbone.classifier}" if own_place else "new_fc"
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
        self._freeze_norms()

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """`(N, T, C, H, W)` or `(N, T·C, H, W)`, uint8 pixels or normalised floating point, to scores `(N, K)`."""
        T = self.options.num_segments
        if clips.ndim == 4 and clips.shape[1] % T == 0:
            clips = clips.unflatten(1, (T, -1))  # (N, T·C, H, W) to (N, T, C, H, W)
        if clips.ndim != 5 or clips.shape[1] != T:
            raise ValueError(f"expected clips (N, T={T}, C, H, W) or (N, T·C, H, W), got {tuple(clips.shape)}")
        frames = self.input_stage(clips.flatten(0, 1))  # (N·T, C, H, W)
        scores = self.new_fc(self.base_model(frames))  # (N·T, K)
        return scores.unflatten(0, (-1, T)).mean(dim=1)

    def train(self, mode: bool = True) -> TSN:
        """Training mode; with partial BN the backbone's frozen BatchNorms stay in evaluation mode."""
        super().train(mode)
        if self.options.partial_bn:
            for norm in self._frozen_norms():
                norm.eval()
        return self

    @property
    def classifier(self) -> nn.Module:
        """The linear layer that scores every frame."""
        return self.get_submodule(self.classifier_name)

    def fex_blocks(self) -> list[FEX | ReleasedFEX]:
        """The FEX blocks, in the network's order."""
        return [m for m in self.modules() if isinstance(m, FEX | ReleasedFEX)]

    @property
    def name(self) -> str:
        """Which network this is, in words."""
        o = self.options
        if not o.shift:
            kind = "TSN (no operator in time)"
        elif not o.has_fex:
            kind = "TSM"
        else:
            kind = "FEXNet (the paper's block)" if o.fex == "paper" else "FEXNet (as released: videos of a batch mix)"
        return f"{kind} on {o.arch}, {o.num_segments} segments of {o.modality}, {o.num_classes} classes"

    def describe(self) -> str:
        """The network and what was patched, in words."""
        o, words = self.options, [self.name]
        if o.shift:
            words.append(f"shift_div {o.shift_div}, place {o.shift_place}")
            what = "FEX" if o.has_fex else "temporal shift"
            words.append(f"{what} before {len(self.patched)} modules: {', '.join(self.patched)}")
        return "; ".join(words)

    def describe_training(self, fex_is_fresh: bool) -> str:
        """Which BatchNorms learn and how FEX starts, unless a file gave its weights, in words."""
        o = self.options
        words = ["partial BN: all but the first BatchNorm stay frozen" if o.partial_bn else "all BatchNorms train"]
        if fex_is_fresh:
            words.append(f"FEX starts as {'the temporal shift' if o.fex_init == 'shift' else 'the framework draws it'}")
        return "; ".join(words)

    def _frozen_norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        inside_fex = {id(m) for block in self.fex_blocks() for m in block.modules()}
        norms = [m for m in self.base_model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        return [m for m in norms if id(m) not in inside_fex][1:]

    def _freeze_norms(self) -> None:
        if self.options.partial_bn:
            for norm in self._frozen_norms():
                norm.requires_grad_(False)


class InputStage(nn.Module):
    """Normalises uint8 frames on the device, in the backbone's convention; passes floating-point frames on."""

    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, convention: InputConvention) -> None:
        super().__init__()
        mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (convention.mean, convention.std))
        # (pixel / 255 - mean) / std = pixel · scale + offset
        self.register_buffer("scale", (1 / (255 * std)).to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("offset", (-mean / std).to(torch.get_default_dtype()), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, C, H, W)` to the same shape in the network's dtype, channels last in memory."""
        frames = frames.contiguous(memory_format=torch.channels_last)
        if frames.is_floating_point():
            return frames.to(self.scale.dtype)
        if frames.dtype != torch.uint8:
            raise TypeError(f"expected uint8 pixels or normalised floating point, got {frames.dtype}")
        return torch.addcmul(self.offset, frames.to(self.scale.dtype), self.scale)


def build_network(options: NetworkOptions, pretrain: str = "none") -> TSN:
    """The network that `options` name, its backbone started from `pretrain` (see `archs.backbone`)."""
    if options.modality != "RGB" or options.consensus_type != "avg":
        raise InputError("only --consensus_type avg and modality RGB are built")
    try:
        backbone = build_backbone(options.arch, pretrain)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    patched: list[str] = []
    T, div, place = options.num_segments, options.shift_div, options.shift_place
    if options.has_fex:
        patched = patch_fex(backbone, T, div, place, options.fex)
    elif options.shift:
        patched = patch_shift(backbone, T, div, place)
    network = TSN(options, backbone, patched)
    if options.has_fex and options.fex_init == "shift":
        for block in network.fex_blocks():
            block.start_as_shift()
    return network


def network_options(values: dict[str, Any]) -> NetworkOptions:
    """`NetworkOptions` from what a checkpoint stores; unknown names (of a newer version) are an InputError."""
    known = NetworkOptions.__dataclass_fields__
    if unknown := sorted(set(values) - set(known)):
        raise InputError(f"the network's options {', '.join(unknown)} are unknown to this version: update FEXNet")
    return NetworkOptions(**values)
