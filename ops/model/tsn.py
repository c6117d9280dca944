"""The whole network: every frame through a backbone patched in time, the mean of the frames' scores a clip's.

Legend: `N` videos (or clips), `T` segments, `C` channels, `H W` space, `D` features, `K` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from archs.backbone import Backbone, build_backbone
from ops.errors import InputError
from ops.model.fex import FEX, SceneSegregation, TemporalInformationModule
from ops.model.fex_released import ReleasedFEX
from ops.model.input_stage import InputStage, adapt_first_convolution
from ops.model.non_local import NonLocal
from ops.model.spatiotemporal_se import SpatioTemporalSE
from ops.model.surgery import add_non_local, add_se, patch_fex, patch_shift, pool_in_time, refuse_unpatchable
from ops.model.temporal_pool import pooled_segments
from ops.names import CONSENSUS, FEX_NORMS, FEX_PARTS, FEX_STAGES, MODALITIES, STAGES

NORMS = {"tim": "TIM", "scene": "SR"}  # where they are in the paper's figure
STARTS = {
    "shift": "as the temporal shift",
    "plain": "as the framework draws it",
    "zero": "as the released network did, TIM at zero",
}


@dataclass(frozen=True)
class NetworkOptions:
    """Everything that says which network it is; stored in every checkpoint.

    What has no effect is set to its default, so that equal networks have equal options. `shift_stages`: where the plain
    shift stands; without any in every stage of a TSM, and nowhere beside FEX.
    """

    num_classes: int
    num_segments: int = 8
    modality: str = "RGB"
    keep_rgb: bool = False
    arch: str = "resnet50"
    shift: bool = False
    shift_div: int = 8
    shift_place: str = "blockres"
    shift_stages: tuple[str, ...] = ()
    fex: str = "paper"
    fex_init: str = "shift"
    fex_stages: tuple[str, ...] = FEX_STAGES
    fex_parts: tuple[str, ...] = FEX_PARTS
    fex_attention: str = "linear"
    fex_norms: tuple[str, ...] = FEX_NORMS
    temporal_pool: bool = False
    non_local: bool = False
    add_se: bool = False
    dropout: float = 0.5
    consensus_type: str = "avg"
    partial_bn: bool = True

    def __post_init__(self) -> None:
        for name in ("shift_stages", "fex_stages", "fex_parts", "fex_norms"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        if not self.shift:
            self._reset("shift_div", "shift_place", "shift_stages", fex="off")
        if self.fex == "off":
            self._reset("fex_init", "fex_stages", "fex_parts", "fex_attention", "fex_norms")
            if self.shift_stages == STAGES:
                self._reset("shift_stages")
        if "fe" not in self.fex_parts:
            self._reset("fex_attention")
        if "ss" not in self.fex_parts:
            self._reset("fex_norms")
        if self.modality != "RGBDiff":
            self._reset("keep_rgb")

    def _reset(self, *names: str, **values: Any) -> None:
        defaults = {name: self.__dataclass_fields__[name].default for name in names}
        for name, value in {**defaults, **values}.items():
            object.__setattr__(self, name, value)

    @property
    def has_fex(self) -> bool:
        """FEX stands in the shift's place; without shift there is nothing in time."""
        return self.shift and self.fex != "off"

    @property
    def fex_variant(self) -> dict[str, Any]:
        """What of a FEX block is not as the paper draws it, as arguments of `FEX`."""
        names = ("parts", "attention", "norms")
        values = {name: getattr(self, f"fex_{name}") for name in names}
        return {k: value for k, value in values.items() if value != self.__dataclass_fields__[f"fex_{k}"].default}

    def segments(self, stage: str) -> int:
        """How many frames a clip has in a stage of the backbone."""
        pooled = self.temporal_pool and stage != "layer1"
        return pooled_segments(self.num_segments) if pooled else self.num_segments

    @property
    def mixes_videos(self) -> bool:
        """True when a prediction depends on the videos that share its batch (the released network's defect)."""
        return self.has_fex and self.fex == "released"


class TSN(nn.Module):
    """Temporal segment network (Wang et al. 2016) around a backbone patched with temporal shift or FEX.

    `patched` lists the backbone's modules that have an operator in time before them, FEX's first. `classifiers`: where
    the classifier may stand, by the beginnings of its tensors' names.
    """

    def __init__(self, options: NetworkOptions, backbone: Backbone, patched: list[str]) -> None:
        super().__init__()
        self.options = options
        self.patched = patched
        self.input = backbone.input
        self.input_stage = InputStage(backbone.input, options.modality, options.keep_rgb)
        self.base_model = backbone.net
        self.first_conv = f"base_model.{backbone.first_conv}"
        classifier = nn.Linear(backbone.feature_dim, options.num_classes)
        nn.init.normal_(classifier.weight, 0, 0.001)
        nn.init.zeros_(classifier.bias)
        # Without dropout the classifier stands in the backbone's own place, and published checkpoints name it so.
        own_place = options.dropout == 0
        head = classifier if own_place else nn.Dropout(options.dropout)
        self.base_model.set_submodule(backbone.classifier, head)
        self.new_fc = nn.Identity() if own_place else classifier
        self.classifier_name = f"base_model.{backbone.classifier}" if own_place else "new_fc"
        self.classifiers = ("new_fc.", f"base_model.{backbone.classifier}.")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
        self.backbone_is_frozen = False
        self._freeze_norms()

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """`(N, T, C, H, W)` or `(N, T·C, H, W)`, uint8 pixels or normalised floating point, to scores `(N, K)`.

        With the identity consensus `(N, T, K)`: every frame's own.
        """
        T = self.options.num_segments
        if clips.ndim == 4 and clips.shape[1] % T == 0:
            clips = clips.unflatten(1, (T, -1))  # (N, T·C, H, W) to (N, T, C, H, W)
        if clips.ndim != 5 or clips.shape[1] != T:
            raise ValueError(f"expected clips (N, T={T}, C, H, W) or (N, T·C, H, W), got {tuple(clips.shape)}")
        frames = self.input_stage(clips.flatten(0, 1))  # (N·T, C, H, W)
        scores = self.new_fc(self.base_model(frames))  # (N·T, K)
        scores = scores.unflatten(0, (-1, self.options.segments("layer4")))  # (N, T, K)
        return scores if self.options.consensus_type == "identity" else scores.mean(dim=1)

    def train(self, mode: bool = True) -> TSN:
        """Training mode; the backbone's frozen BatchNorms (partial BN, `freeze_backbone`) stay in evaluation mode."""
        super().train(mode)
        for norm in self._frozen_norms():
            norm.eval()
        return self

    def freeze_backbone(self, frozen: bool) -> None:
        """Whether the backbone stays as it is: its weights and BatchNorms, not what was added and the classifier."""
        self.backbone_is_frozen = frozen
        for module in self._backbone_modules():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(not frozen)
        self._freeze_norms()
        self.train(self.training)

    @property
    def classifier(self) -> nn.Module:
        """The linear layer that scores every frame."""
        return self.get_submodule(self.classifier_name)

    def fex_blocks(self) -> list[FEX | ReleasedFEX]:
        """The FEX blocks, in the network's order."""
        return [m for m in self.modules() if isinstance(m, FEX | ReleasedFEX)]

    def segregating_blocks(self) -> list[FEX | ReleasedFEX]:
        """Those of them that have Scene Segregation, and so a foreground, not the plain shift in its place."""
        return [block for block in self.fex_blocks() if isinstance(block.segregation, SceneSegregation)]

    @property
    def name(self) -> str:
        """Which network this is, in words."""
        o = self.options
        if not o.shift:
            kind = "TSN (no operator in time)"
        elif not o.has_fex:
            kind = "TSM"
        elif o.fex == "released":
            kind = "FEXNet (as released: videos of a batch mix)"
        else:
            kind = f"FEXNet ({', '.join(self._fex_in_words())})"
        extras = ("temporal pooling", o.temporal_pool), ("non-local blocks", o.non_local), ("SE", o.add_se)
        kind = " + ".join([kind, *(extra for extra, there in extras if there)])
        return f"{kind} on {o.arch}, {o.num_segments} segments of {o.modality}, {o.num_classes} classes"

    def _fex_in_words(self) -> list[str]:
        """The block, and what of it is not as the paper draws it."""
        o = self.options
        words = ["the paper's block", *(f"without {part.upper()}" for part in FEX_PARTS if part not in o.fex_parts)]
        words += [f"{o.fex_attention} attention"] * (o.fex_attention != "linear")
        return words + [f"no BatchNorm in {NORMS[norm]}" for norm in FEX_NORMS if norm not in o.fex_norms]

    def describe(self) -> str:
        """The network and what was patched, in words."""
        o, words = self.options, [self.name]
        if o.shift:
            words.append(f"shift_div {o.shift_div}, place {o.shift_place}")
            count = len(self.fex_blocks())
            for what, names in (("FEX", self.patched[:count]), ("temporal shift", self.patched[count:])):
                words += [f"{what} before {len(names)} modules: {', '.join(names)}"] if names else []
        if o.temporal_pool:
            words.append(f"{o.segments('layer4')} segments from layer2 on")
        for what, kind in (("non-local", NonLocal), ("SE", SpatioTemporalSE)):
            count = sum(isinstance(m, kind) for m in self.modules())
            words += [f"{count} {what} blocks"] if count else []
        if o.modality != "RGB":
            words.append(f"{self.input_stage.channels} channels a segment")
        return "; ".join(words)

    def describe_training(self, fex_is_fresh: bool) -> str:
        """Which BatchNorms learn and how FEX starts, unless a file gave its weights, in words."""
        o = self.options
        words = ["partial BN: all but the first BatchNorm stay frozen" if o.partial_bn else "all BatchNorms train"]
        if fex_is_fresh:
            words.append(f"FEX starts {STARTS[o.fex_init]}")
        return "; ".join(words)

    def _backbone_modules(self) -> list[nn.Module]:
        """The backbone's own modules: neither what was added nor the classifier."""
        added = {id(self.classifier)}
        for module in self.base_model.modules():
            if isinstance(module, FEX | ReleasedFEX | NonLocal):
                added |= {id(m) for m in module.modules()}
            elif isinstance(module, SpatioTemporalSE):
                added |= {id(module.reduce), id(module.expand)}
        return [m for m in self.base_model.modules() if id(m) not in added]

    def _frozen_norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        norms = [m for m in self._backbone_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if self.backbone_is_frozen:
            return norms
        return norms[1:] if self.options.partial_bn else []

    def _freeze_norms(self) -> None:
        for norm in self._frozen_norms():
            norm.requires_grad_(False)


def build_network(options: NetworkOptions, pretrain: str = "none") -> TSN:
    """The network that `options` name, its backbone started from `pretrain` (see `archs.backbone`)."""
    for word, value, known in (
        ("modality", options.modality, MODALITIES), ("consensus", options.consensus_type, CONSENSUS)
    ):  # fmt: skip
        if value not in known:
            raise InputError(f"{word} {value}: expected one of {', '.join(known)}")
    if options.shift_div < 2:
        raise InputError(f"--shift_div {options.shift_div}: expected 2 or more, as two folds of the channels move")
    try:
        backbone = build_backbone(options.arch, pretrain)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    if options.modality != "RGB":
        if not backbone.first_conv:
            raise InputError(f"{options.arch} has several first convolutions, which take RGB only: give another --arch")
        adapt_first_convolution(backbone, options.arch, options.modality, options.keep_rgb)
    network = TSN(options, backbone, patch(backbone, options))
    if options.has_fex and options.fex_init == "shift":
        for block in network.fex_blocks():
            block.start_as_shift()
    elif options.fex_init == "zero":
        for module in network.modules():
            if isinstance(module, TemporalInformationModule):
                module.start_at_zero()
    return network


def patch(backbone: Backbone, options: NetworkOptions) -> list[str]:
    """Puts everything in time into the backbone; returns the names of the modules that shift or FEX stand before."""
    patched: list[str] = []
    o, how = options, (options.segments, options.shift_div, options.shift_place)
    if o.has_fex:
        if twice := [stage for stage in o.shift_stages if stage in o.fex_stages]:
            raise InputError(f"--shift_stages {' '.join(twice)}: FEX stands there (--fex_stages): take them out of one")
        refuse_unpatchable(backbone, o.arch, "--fex_stages", o.fex_stages)
        patched += patch_fex(backbone, *how, o.fex, o.fex_stages, o.fex_variant)
    if o.shift_stages or (o.shift and not o.has_fex):
        refuse_unpatchable(backbone, o.arch, "--shift_stages", o.shift_stages)
        patched += patch_shift(backbone, *how, o.shift_stages)
    if options.add_se:
        add_se(backbone, options.segments, options.arch)
    if options.non_local:
        add_non_local(backbone, options.segments, options.arch)
    if options.temporal_pool:
        pool_in_time(backbone, options.num_segments, options.arch)
    return patched


def options_from_flags(flags: Mapping[str, Any], num_classes: int) -> NetworkOptions:
    """`NetworkOptions` from the flags of the same names; `no_partialbn` says the contrary of `partial_bn`."""
    values = {name: flags[name] for name in NetworkOptions.__dataclass_fields__ if name in flags}
    return NetworkOptions(num_classes=num_classes, partial_bn=not flags["no_partialbn"], **values)


def network_options(values: dict[str, Any]) -> NetworkOptions:
    """`NetworkOptions` from what a checkpoint stores; unknown names (of a newer version) are an InputError."""
    known = NetworkOptions.__dataclass_fields__
    if unknown := sorted(set(values) - set(known)):
        raise InputError(f"the network's options {', '.join(unknown)} are unknown to this version: update FEXNet")
    return NetworkOptions(**values)
