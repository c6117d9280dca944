"""Checkpoints of TSM's, FEXNet's and MMAction2's code: their tensors' names, and options read from name and tensors.

They hold no options. Of TSM and FEXNet the path names data set, modality, backbone, shift and segments, as the
published scripts write it, and as our own runs are called, of which somebody may have saved the tensors alone:
`TSM_<data set>_<modality>_<arch>[_shift<div>_<place>][…][_FEX]_<consensus>_segment<T>_e<epochs>[…]`.
MMAction2's TSM-ResNets are known by their tensors; the file's name may say data set and segments
(`tsm_…_1x1x8-…_kinetics400-rgb_….pth`), its `meta` the classes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ops.errors import InputError
from ops.names import FEX_ATTENTIONS, FEX_NORMS, FEX_PARTS

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
    ("._se_reduce_conv.", ".reduce."),
    ("._se_expand_conv.", ".expand."),
)
# Three-dimensional convolutions there whose last axes are one long; of fewer dimensions here.
FLATTENED = ("tim.conv.weight", "fusion.weight")
STAGE = re.compile(r"base_model\.(layer\d)\.")
SQUEEZED = re.compile(r"base_model\.layer\d(\.net)?\.\d+\.(reduce|expand)\.weight")
# (a pattern of MMAction2's names, here)
FROM_MMACTION = (
    (r"^cls_head\.fc_cls\.", "new_fc."),
    (r"^backbone\.", "base_model."),
    (r"\.conv(\d)\.conv\.", r".conv\1."),
    (r"\.conv(\d)\.bn\.", r".bn\1."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
)
MMACTION_DATASETS = {
    "kinetics400": "kinetics", "sthv1": "something", "sthv2": "somethingv2", "jester": "jester", "ucf101": "ucf101",
    "hmdb51": "hmdb51",
}  # fmt: skip

# Where the classifier of a published network may stand; without dropout it is in the backbone's own place.
CLASSIFIERS = ("new_fc.weight", "base_model.fc.weight", "base_model.classifier.weight")
MMACTION_CLASSIFIER = "cls_head.fc_cls.weight"

RUN_NAME = re.compile(
    r"TSM_(?P<dataset>.+?)_(?P<modality>RGBDiff|RGB|Flow)(keep)?_(?P<arch>[^_]+)"
    r"(_shift(?P<div>\d+)_(?P<place>[a-z]+|[01]{12}))?(?P<marks>(_[A-Za-z0-9]+)*?)"
    r"_(?P<consensus>avg|identity)_segment(?P<segments>\d+)(?P<after>[^.]*)"
)
BOTTLENECK_LAYER3 = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
BASIC_LAYER3 = {2: "resnet18", 6: "resnet34"}
# The first convolution's weight tells these backbones apart, and its channels the modality.
FIRST = {"BNInception": "conv1_7x7_s2", "mobilenetv2": "features.0.0", "resnet": "conv1"}
CHANNELS = {3: "RGB", 10: "Flow", 15: "RGBDiff", 18: "RGBDiff"}


def rename_published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under this project's names; own names stay as they are."""
    if is_mmaction(state):
        return _rename_mmaction(state)
    renamed = {}
    for name, value in state.items():
        for theirs, ours in RENAMED:
            name = name.replace(theirs, ours)
        if name.endswith(FLATTENED) and value.ndim == 5:
            value = value.squeeze(4)
        elif SQUEEZED.fullmatch(name) and value.ndim == 5:
            value = value.flatten(2)
        renamed[name] = value
    return renamed


def is_mmaction(state: dict[str, torch.Tensor]) -> bool:
    """The tensors are named as MMAction2 names them."""
    return MMACTION_CLASSIFIER in state


def _rename_mmaction(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, value in state.items():
        if name.startswith("data_preprocessor."):
            continue  # the normalisation, which is this project's own too
        for pattern, ours in FROM_MMACTION:
            name = re.sub(pattern, ours, name)
        renamed[name] = value
    return renamed


def published_network(path: Path, state: dict[str, torch.Tensor], from_mmaction: bool = False) -> dict[str, Any]:
    """The network's options (fields of `NetworkOptions`) from the path's name and the renamed tensors.

    Raises InputError when the name says nothing, or when name and tensors contradict each other.
    """
    values = _from_tensors(path, state)
    return values | (_from_mmaction_name(path) if from_mmaction else _from_run_name(path, values))


def mmaction_classes(content: Any, count: int) -> list[str]:
    """The `count` class names in the `meta` of what MMAction2 (1.x, 0.x) saved; none where they are not there."""
    meta = content.get("meta") if isinstance(content, dict) else None
    places = [meta, meta.get("dataset_meta")] if isinstance(meta, dict) else []
    lists = (place.get(key) for place in places if isinstance(place, dict) for key in ("classes", "CLASSES"))
    fit = (list(n) for n in lists if isinstance(n, list | tuple) and len(n) == count)
    return next((names for names in fit if all(isinstance(name, str) for name in names)), [])


def _from_tensors(path: Path, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    arch, classifier = _arch(path, state), _classifier(state)
    values: dict[str, Any] = {} if classifier == "new_fc.weight" else {"dropout": 0.0}
    first = state[f"base_model.{FIRST.get(arch, FIRST['resnet'])}.weight"]
    channels = first.shape[1] if first.ndim > 1 else 0
    if channels not in CHANNELS:
        raise InputError(f"{path}: its first convolution takes {channels} channels, expected one of {[*CHANNELS]}")
    parts = [name for name in state if ".temporal." in name]
    # FE's convolutions there have three dimensions.
    released = any(state[name].ndim == 5 for name in parts if name.endswith(".enhancement.reduce.weight"))
    paper = bool(parts) and not released
    if paper and (stages := sorted({m[1] for m in map(STAGE.match, parts) if m})):  # of ResNets
        values["fex_stages"] = tuple(stages)
    return values | {
        "num_classes": state[classifier].shape[:1].numel(),
        "modality": CHANNELS[channels],
        "keep_rgb": channels == 18,
        "arch": arch,
        "shift": any(".net." in name.replace("base_model.layer2.net.", "") for name in state),
        "fex": "released" if released else "paper" if paper else "off",
        "temporal_pool": any(name.startswith("base_model.layer2.net.") for name in state),
        "non_local": any(".nl." in name for name in state),
        "add_se": any(SQUEEZED.fullmatch(name) for name in state),
    }


def _from_run_name(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """What the name alone says; InputError where it contradicts the tensors."""
    match = _run_name(path)
    marks = set(f"{match['marks']}{match['after']}".split("_"))
    faults = [
        f"the name says {match[option]}, the tensors are of {values[option]}"
        for option in ("arch", "modality")
        if match[option] != values[option]
    ]
    if values["fex"] == "off" and marks & {"FEX", "FEXreleased"}:
        faults.append("_FEX is in the name and not in the tensors")
    for option, mark in (("temporal_pool", "tpool"), ("non_local", "nl"), ("add_se", "addse")):
        if values[option] != (mark in marks):
            having, lacking = ("tensors", "name") if values[option] else ("name", "tensors")
            faults.append(f"_{mark} is in the {having} and not in the {lacking}")
    inception = values["arch"] == "BNInception"  # its shift leaves no trace in the tensors
    if values["shift"] and match["div"] is None:
        faults.append("the tensors have a shift, the name has no '_shift<div>_<place>'")
    if not values["shift"] and match["div"] is not None and not inception:
        faults.append("the name has a shift, the tensors have none")
    if faults:
        raise InputError(f"{path}: {'; '.join(faults)}: name it as published")
    return {
        "num_segments": int(match["segments"]),
        "shift": match["div"] is not None,
        "shift_div": int(match["div"] or 8),
        "shift_place": match["place"] or "blockres",
        "consensus_type": match["consensus"],
        **_variant(match["marks"].split("_")),
    }


def _variant(marks: list[str]) -> dict[str, Any]:
    """What a run's name says of the plain shift's stages, and of a FEX block that is not as the paper draws it."""
    digits = next((mark.removeprefix("shiftin") for mark in marks if mark.startswith("shiftin")), "")
    return {
        "shift_stages": tuple(f"layer{digit}" for digit in digits),
        "fex_parts": tuple(part for part in FEX_PARTS if f"no{part}" not in marks),
        "fex_attention": next((mark for mark in marks if mark in FEX_ATTENTIONS), FEX_ATTENTIONS[0]),
        "fex_norms": tuple(norm for norm in FEX_NORMS if f"no{norm}bn" not in marks),
    }


def _from_mmaction_name(path: Path) -> dict[str, Any]:
    """MMAction2's TSM: shift before `conv1` by an eighth; segments from `1x1x<T>` in the name, else 8."""
    match = re.search(r"\d+x\d+x(\d+)", path.name)
    return {"num_segments": int(match[1]) if match else 8, "shift_div": 8, "shift_place": "blockres"}


def published_dataset(path: Path, from_mmaction: bool = False) -> str:
    """The data set that the path's name gives; empty where MMAction2's does not say."""
    if not from_mmaction:
        return _run_name(path)["dataset"]
    return next((ours for theirs, ours in MMACTION_DATASETS.items() if theirs in path.name), "")


def without_split(dataset: str) -> str:
    """A data set's name without the mark of its split: all of them have the same classes."""
    return re.sub(r"_split\d+$", "", dataset)


def names_dataset(path: Path, dataset: str) -> bool:
    """The file's name has the data set's in it, as a word: `tsm_1x1x8_mine-rgb.pth`."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(dataset)}(?![A-Za-z0-9])", path.name) is not None


def _run_name(path: Path) -> re.Match[str]:
    for part in reversed(path.parts):
        if match := RUN_NAME.match(part):
            return match
    raise InputError(
        f"{path}: no options inside and none in its name; a published checkpoint's folder or file is named like "
        "TSM_something_RGB_resnet50_shift8_blockres_avg_segment8_e50: give it that name"
    )


def _classifier(state: dict[str, torch.Tensor]) -> str:
    """The classifier's weight."""
    return next((name for name in CLASSIFIERS if name in state), CLASSIFIERS[0])


def _arch(path: Path, state: dict[str, torch.Tensor]) -> str:
    arch = next((arch for arch, conv in FIRST.items() if f"base_model.{conv}.weight" in state), None)
    if arch == "resnet":
        layer3 = (re.match(r"base_model\.layer3\.(\d+)\.", name) for name in state)
        blocks = len({match[1] for match in layer3 if match})
        bottleneck = any(re.match(r"base_model\.layer3\.0\..*conv3\.", name) for name in state)
        arch = (BOTTLENECK_LAYER3 if bottleneck else BASIC_LAYER3).get(blocks)
    if arch is None or _classifier(state) not in state:
        raise InputError(
            f"{path}: its tensors are not those of a video network around a backbone known here; an image network's "
            "weights go to main.py --pretrain"
        )
    return arch
