"""Checkpoints: written whole or not at all, read without running what is in them.

An own checkpoint describes itself: weights without wrappers, the network's options, class names, optimizer,
scaler, epoch, the lines of its log and the options of its run. (There is no random state to keep: what an epoch draws
follows from the seed, the epoch and the rank.) Another's is a state dict, bare or wrapped (see `archs.state_dicts`),
and little else; `published.py` reads its options.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from archs import state_dicts
from archs.zip_records import check_records
from ops.errors import InputError, environment_fault
from ops.files import atomic_write, exists
from ops.model.input_stage import adapted_kernels
from ops.model.layers import is_convolution
from ops.model.tsn import TSN, build_network, network_options
from ops.running.fields import check_network, check_own
from ops.running.published import (
    CLASSIFIERS,
    MMACTION_CLASSIFIER,
    MMACTION_DATASETS,
    is_mmaction,
    mmaction_classes,
    names_dataset,
    published_dataset,
    published_network,
    rename_published,
    without_split,
)
from ops.running.weights_file import SAFETENSORS, read_safetensors

logger = logging.getLogger(__name__)

LATEST, BEST = "ckpt.pth", "ckptbest.pth"
IN_THE_BOX = "demo"  # the folder of the model that comes with the project
FORMAT = 1
# Of an own checkpoint, what is of use without training: what it is, what it learned from, how sure one may be.
TO_USE = ("network", "categories", "dataset", "input_size", "data", "epoch", "calibration")
# Options that say where a run's things lay and how it was started, and nothing of what it learned.
OF_THE_PLACE = (
    *("root_dataset", "root_path", "root_log", "root_model", "train_list", "val_list", "store_name", "suffix"),
    *("overwrite", "resume", "start_epoch", "evaluate", "print_freq", "workers", "gpus", "cache_dir", "cache_gb"),
    *("save_steps", "save_minutes", "keep", "full_disk", "read_timeout", "timeout_minutes"),
)


@dataclass
class Checkpoint:
    """What a file held. `network`: the fields of `NetworkOptions`; `categories`: empty when the file has none.

    `from_mmaction`: MMAction2 wrote it.
    """

    path: Path
    state_dict: dict[str, torch.Tensor]
    network: dict[str, Any]
    categories: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    from_mmaction: bool = False

    @property
    def dataset(self) -> str:
        """The data set it was trained on."""
        return str(self.training["dataset"]) if self.training else published_dataset(self.path, self.from_mmaction)

    @property
    def input_size(self) -> int:
        """The side of the crops it was trained on, in pixels."""
        return int(self.training.get("input_size", 224))

    def has_classes(self, dataset: str, categories: Sequence[str]) -> bool:
        """Its classifier tells these classes apart: by its class names or, where it has none, by its data set."""
        if self.categories:
            return self.categories == list(categories)
        named = self.from_mmaction and names_dataset(self.path, dataset)
        return named or without_split(self.dataset) == dataset


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` to `path` through a temporary file, so that a crash leaves the former one whole.

    It is read back from the disk first: the former one is kept until the new one is known to be good. Raises OSError.
    """
    with atomic_write(path, check=_refuse_damaged) as file:
        try:
            torch.save({"format": FORMAT, **content}, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides it behind "unexpected pos"
                raise error.__context__ from None
            raise


def _refuse_damaged(written: Path) -> None:
    """OSError if a checkpoint is not on the disk as it was written."""
    try:
        with written.open("rb") as file:
            check_records(file)
    except ValueError as error:
        logger.error("read back after writing: %s", error)
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from error


def store_calibration(path: Path, calibration: Mapping[str, Any]) -> None:
    """Puts it into an own checkpoint under `calibration`; everything else in the file stays as it is.

    Whoever calls it holds the file's folder (`ops.locks.claimed`), or a training there may have its weights replaced.
    Raises InputError for weights of `write_safetensors`.
    """
    if path.suffix == SAFETENSORS:
        raise InputError(f"{path}: exported weights: calibrate the checkpoint that they are of, and export it again")
    content = _load(path)
    check_own(path, content)
    save_checkpoint(path, content | {"calibration": dict(calibration)})


def weights_alone(path: Path) -> dict[str, Any]:
    """What of an own checkpoint serves to use it, its kernels and matrices in float16: a small part of the file's size.

    The vectors stay as they are: they are few, and BatchNorm's scales and variances move scores most. Raises InputError
    for another's, and for weights that float16 cannot hold.
    """
    content = _load(path)
    if not isinstance(content, dict) or not {"network", "state_dict", "options"} <= content.keys():
        raise InputError(f"{path}: not a checkpoint of main.py")
    check_own(path, content)
    state = {name: value.half() if value.dim() > 1 else value for name, value in content["state_dict"].items()}
    if lost := [name for name, value in state.items() if not value.isfinite().all()]:
        raise InputError(f"{path}: {lost[0]} has values that float16 can't hold (above 65504, or no numbers)")
    options = {name: value for name, value in content["options"].items() if name not in OF_THE_PLACE}
    return {key: content[key] for key in TO_USE if key in content} | {"options": options, "state_dict": state}


def described(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says of its network, as JSON has it: all that its weights need beside them, none of its run."""
    return {
        **{key: checkpoint.training[key] for key in TO_USE if key in checkpoint.training},
        "format": FORMAT,
        "network": checkpoint.network,
        "categories": checkpoint.categories,
        "dataset": checkpoint.dataset,
        "input_size": checkpoint.input_size,
    }


def read_checkpoint(path: Path) -> Checkpoint:
    """An own or a published checkpoint, or weights of `write_safetensors`, on the CPU.

    Raises InputError for a missing, truncated, foreign or unsafe file, naming it.
    """
    content = _load(path)
    if isinstance(content, dict) and {"format", "network"} <= content.keys():
        return _own(path, content)
    state = _tensors(path, state_dicts.unwrapped(content))
    try:
        state = state_dicts.without_prefix(state, {MMACTION_CLASSIFIER, *CLASSIFIERS})
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    from_mmaction = is_mmaction(state)
    named = state.get(MMACTION_CLASSIFIER, torch.empty(0)).shape[:1].numel()
    classes = mmaction_classes(content, named) if from_mmaction else []
    state = rename_published(state)
    _refuse_unfit(path, state)
    network = published_network(path, state, from_mmaction)
    check_network(path, network)
    return Checkpoint(path, state, network, classes, from_mmaction=from_mmaction)


def _own(path: Path, content: dict[str, Any]) -> Checkpoint:
    """Of what `save_checkpoint` wrote."""
    if type(content["format"]) is not int or content["format"] != FORMAT:
        raise InputError(f"{path}: format {content['format']!s:.20}, this version reads {FORMAT}: update FEXNet")
    check_own(path, content)
    state, network = content.pop("state_dict"), content.pop("network")
    return Checkpoint(path, state, network, list(content.pop("categories")), content)


def _tensors(path: Path, state: Any) -> dict[str, torch.Tensor]:
    """The state dict, if it is one."""
    if not isinstance(state, dict):
        known = ", ".join(repr(holder) for holder in state_dicts.HOLDERS)
        raise InputError(f"{path}: not a checkpoint: expected a state dict (names to tensors), bare or under {known}")
    if foreign := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise InputError(f"{path}: state_dict[{foreign[0]!r:.80}] is no tensor: not a checkpoint of this kind")
    if nameless := [name for name in state if not isinstance(name, str)]:
        raise InputError(f"{path}: a tensor of its state dict is called {nameless[0]!r:.80}, expected text")
    return state


def _refuse_unfit(path: Path, state: Mapping[str, Any]) -> None:
    """InputError for a tensor that no network can have."""
    try:
        state_dicts.check_tensors(state)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def newest_own(folder: Path) -> Checkpoint:
    """The newest that own runs left below `folder`: of each its best or, where nothing was validated, its latest.

    Where there are none, the model that comes with the project. InputError if there is not even that.
    """
    latest = {path.parent: path for name in (LATEST, BEST) for path in folder.glob(f"*/{name}")}
    newest = sorted(latest.values(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in sorted(newest, key=lambda path: path.parent.name == IN_THE_BOX):  # which a fresh clone has just now
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            logger.warning("passed over: %s", error)
            continue
        if checkpoint.training:
            return checkpoint
    raise InputError(f"no own checkpoint {folder}/*/{BEST}: train a network first, or name a checkpoint")


def network_of(checkpoint: Checkpoint, segments: int | None = None) -> TSN:
    """The network that the checkpoint describes, with its weights, for `segments` frames a clip (None: its own)."""
    options = network_options(checkpoint.network)
    network = build_network(replace(options, num_segments=segments) if segments else options)
    load_weights(network, checkpoint)
    return network


def load_weights(network: TSN, checkpoint: Checkpoint) -> None:
    """Loads every tensor, by name and shape; an InputError lists what does not fit."""
    own, given = network.state_dict(), checkpoint.state_dict
    # With dropout the classifier has another name, and whether to drop is not the file's to say.
    classifier = {n: v for n, v in given.items() if n.startswith(network.classifiers)}
    given = {n: v for n, v in given.items() if n not in classifier} | _renamed(network, classifier)
    faults = [f"missing {name}" for name in own if name not in given]
    faults += [f"unexpected {name}" for name in given if name not in own]
    faults += [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    if faults:
        shown = "; ".join(faults[:4]) + (f"; and {len(faults) - 4} more" if len(faults) > 4 else "")
        how = "" if checkpoint.training else "; its name says its options: give it that of the network it is"
        raise InputError(f"{checkpoint.path}: its weights are another network's than its options say: {shown}{how}")
    network.load_state_dict(given)


def refuse_other_classes(checkpoint: Checkpoint, dataset: str, categories: Sequence[str]) -> None:
    """Raises InputError when the checkpoint tells other classes apart than these, by their names and order.

    A published file has no class names: there the number of classes and the data set in its own name must agree.
    """
    theirs, ours, count = checkpoint.categories, list(categories), checkpoint.network["num_classes"]
    differ = next((i for i, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), None)
    if count != len(ours):
        where = f"{count} classes there, {len(ours)} here"
    elif differ is not None:
        where = f"class {differ} is {theirs[differ]!r} there and {ours[differ]!r} here"
    elif checkpoint.has_classes(dataset, categories):
        return
    elif not checkpoint.dataset:
        raise InputError(
            f"{checkpoint.path}: neither it nor its name says which data set it was trained on: put "
            f"{', '.join(MMACTION_DATASETS)} into its name, as MMAction2 does, or, if its {count} classes are those of "
            f"{dataset!r} in the order of its category.txt, {dataset!r}: tsm_1x1x8_{dataset}-rgb.pth"
        )
    else:
        where = f"its name says {checkpoint.dataset}, and it has no class names: rename it if they are the same"
    trained_on = f"on {checkpoint.dataset!r}" if checkpoint.dataset else "on others"
    raise InputError(
        f"{checkpoint.path}: not trained on the classes of {dataset!r}, but {trained_on} ({where}). Test "
        "it there, or fine-tune it here with main.py --tune_from"
    )


def refuse_other_network(checkpoint: Checkpoint, options: Mapping[str, Any], to_train: bool) -> None:
    """Raises InputError naming every option of the network (fields of `NetworkOptions`) that differs.

    `to_train`: those too that matter in training only.
    """
    ignored = {"num_classes", "fex_init"} | (set() if to_train else {"dropout", "partial_bn"})
    differ = [k for k, v in checkpoint.network.items() if k not in ignored and options.get(k) != v]
    if differ:
        pairs = "; ".join(f"{k} is {checkpoint.network[k]!r} there and {options.get(k)!r} here" for k in differ)
        raise InputError(f"{checkpoint.path}: another network than the flags ask for: {pairs}; give the same flags")


@dataclass
class Matched:
    """Names of tensors: loaded from a file (`adapted`: to another number of channels), left out of it, left fresh."""

    loaded: list[str]
    adapted: list[str]
    left_out: list[str]
    fresh: list[str]


def load_matching_weights(network: TSN, checkpoint: Checkpoint, with_classifier: bool) -> Matched:
    """Loads what fits by name and shape, for `--tune_from` and `--follow_pretrain`.

    The first convolution is adapted where the file's is of another modality.
    """
    own = network.state_dict()
    given = _renamed(network, checkpoint.state_dict)
    first, adapted = f"{network.first_conv}.weight", []
    other = first in given and given[first].ndim == own[first].ndim and given[first].shape[1] != own[first].shape[1]
    if other and is_convolution(network.get_submodule(network.first_conv)):
        given[first], adapted = adapted_kernels(given[first], own[first].shape[1]), [first]
    usable = {n: v for n, v in given.items() if with_classifier or not n.startswith(network.classifiers)}
    loaded = [name for name in own if name in usable and own[name].shape == usable[name].shape]
    network.load_state_dict({name: given[name] for name in loaded}, strict=False)
    left_out = [name for name in given if name not in loaded]
    fresh = [name for name in own if name not in loaded]
    return Matched(loaded, adapted, left_out, fresh)


def summarise(names: Sequence[str]) -> str:
    """Tensors' names, shortened to the blocks they lie in, each with the number of its tensors."""
    blocks = Counter(".".join(name.split(".")[:3] if ".layer" in name else name.split(".")[:2]) for name in names)
    return ", ".join(block if count == 1 else f"{block} ({count})" for block, count in blocks.items()) or "none"


def _renamed(network: TSN, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`given` under the names that the same layers have in `network`, wherever operators and classifier stand."""
    names = {_bare(name, network): name for name in network.state_dict()}
    return {names.get(_bare(name, network), name): value for name, value in given.items()}


def _bare(name: str, network: TSN) -> str:
    """A layer's name without the wrappers around it, of which there may be several."""
    for place in network.classifiers:
        if name.startswith(place):
            return name.replace(place, "classifier.")
    return re.sub(r"(\.net|\.block)+\.", ".", name)


def _load(path: Path) -> Any:
    if not exists(path):
        raise InputError(f"{path}: no such checkpoint; expected a file such as checkpoint/<run's name>/{BEST}")
    if path.is_dir():
        held = [path / name for name in (LATEST, BEST) if exists(path / name)]
        raise InputError(f"{path}: a folder, expected a checkpoint{f' (did you mean {held[0]}?)' if held else ''}")
    try:
        return read_safetensors(path) if path.suffix == SAFETENSORS else state_dicts.read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except InputError:
        raise
    except ValueError as error:
        if error.__cause__ and (fault := environment_fault(error.__cause__)):  # the file may be whole
            raise InputError(f"{path}: {fault}") from error
        raise InputError(f"{path}: {error}") from error
