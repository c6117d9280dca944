"""Checkpoints of TSM's and FEXNet's published code: their tensors' names, and options read from name and tensors.

They hold no options. The path names data set, modality, backbone, shift and segments, as the published scripts
write it:
`TSM_<data set>_<modality>_<arch>[_shift<div>_<place>][…][_FEX]_<consensus>_segment<T>_e<epochs>[…]`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ops.errors import InputError

# (in a released checkpoint, here)
RENAMED = (
    (".shift_block.attention_model.scene_encoding_conv.", ".temporal.enhancement.reduce."),
    (".shift_block.attention_model.bg_T_encoding_conv.", ".temporal.enhancement.background_temporal."),
    (".shift_block.attention_model.bg_S_encoding_conv.", ".temporal.enhancement.background_spatial."),
    (".shift_block.attention_model.att_encoding_conv.", ".temporal.enhancement.expand."),
    (".shift_block.ST_model.temporal_conv.", ".temporal.segregation.tim.conv."),
    (".shift_block.ST_model.temporal_bn.", ".temporal.segregation.tim.bn."),
    (".shift_block.ST_model.SR.reinf_conv.", ".temporal.segregation.scene_conv."),
    (".shift_block.ST_model.fusion_conv.", ".temporal.segregation.fusion."),
)
# Three-dimensional convolutions there whose last axis is one long; two-dimensional here.
FLATTENED = ("tim.conv.weight", "fusion.weight")

RUN_NAME = re.compile(
    r"TSM_(?P<dataset>[^_]+)_(?P<modality>RGB|Flow|RGBDiff)_(?P<arch>[^_]+)"
    r"(_shift(?P<div>\d+)_(?P<place>[a-z]+))?(?P<marks>(_[A-Za-z]+)*?)"
    r"_(?P<consensus>avg|identity)_segment(?P<segments>\d+)"
)
BOTTLENECK_LAYER3 = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
BASIC_LAYER3 = {2: "resnet18", 6: "resnet34"}


def rename_published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under this project's names, without the wrapper's `module.`; own names stay as they are."""
    renamed = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        for theirs, ours in RENAMED:
            name = name.replace(theirs, ours)
        if name.endswith(FLATTENED) and value.ndim == 5:
            value = value.squeeze(4)
        renamed[name] = value
    return renamed


def published_network(path: Path, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The network's options (fields of `NetworkOptions`) from the path's name and the renamed tensors.

    Raises InputError when the name says nothing, or when name and tensors contradict each other.
    """
    match = _run_name(path)
    arch, fex, shifted = _arch(path, state), _has_fex(state), any(".net." in name for name in state)
    if match["arch"] != arch:
        raise InputError(f"{path}: the name says {match['arch']}, the tensors are a {arch}'s")
    if shifted and match["div"] is None:
        raise InputError(
            f"{path}: the tensors have a shift, the name has no '_shift<div>_<place>': name it as published"
        )
    values = {"dropout": 0.0} if _classifier(state) == "base_model.fc.weight" else {}
    return values | {
        "num_classes": state[_classifier(state)].shape[0],
        "num_segments": int(match["segments"]),
        "modality": match["modality"],
        "arch": arch,
        "shift": match["div"] is not None,
        "shift_div": int(match["div"] or 8),
        "shift_place": match["place"] or "blockres",
        "fex": "released" if fex else "off",
        "consensus_type": match["consensus"],
    }


def published_dataset(path: Path) -> str:
    """The data set that the path's name gives."""
    return _run_name(path)["dataset"]


def _run_name(path: Path) -> re.Match[str]:
    for part in reversed(path.parts):
        if match := RUN_NAME.match(part):
            return match
    raise InputError(
        f"{path}: no options inside and none in its name; a published checkpoint's folder or file is named like "
        "TSM_something_RGB_resnet50_shift8_blockres_avg_segment8_e50: give it that name"
    )


def _classifier(state: dict[str, torch.Tensor]) -> str:
    """The classifier's weight; published networks trained without dropout have it in the backbone's own place."""
    return "new_fc.weight" if "new_fc.weight" in state else "base_model.fc.weight"


def _has_fex(state: dict[str, torch.Tensor]) -> bool:
    return any(".temporal.segregation." in name for name in state)


def _arch(path: Path, state: dict[str, torch.Tensor]) -> str:
    blocks = {int(m[1]) for name in state if (m := re.match(r"base_model\.layer3\.(\d+)\.", name))}
    bottleneck = any(re.match(r"base_model\.layer3\.0\..*conv3\.", name) for name in state)
    arch = (BOTTLENECK_LAYER3 if bottleneck else BASIC_LAYER3).get(len(blocks))
    if arch is None or _classifier(state) not in state:
        raise InputError(f"{path}: its tensors are not those of a video network around a ResNet of torchvision's")
    return arch
