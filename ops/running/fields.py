"""What an own checkpoint's fields may hold: types and bounds, in one table, compared as soon as a file is read.

Whatever reads a field later can take it for what it should be. The bounds are far beyond what anybody trains, and small
enough that no number in a file of a few kilobytes makes a program take all memory, or for ever.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from archs.state_dicts import DivergedError, check_tensors
from ops.errors import InputError
from ops.names import FEX_ATTENTIONS, FEX_FORMS, FEX_INITS, FEX_NORMS, FEX_PARTS, MODALITIES, STAGES

Check = Callable[[str, Any], None]  # of a field's name and its value; raises ValueError

CLASSES = 100_000  # the largest data sets of pictures have a fifth of that, of videos a hundredth
SEGMENTS = 1_024  # frames of a clip
PIXELS = 8_192  # of a side of the network's input, 36 times ImageNet's
EPOCHS = 10_000_000
LETTERS = 10_000  # of a name
VALUES = 1_000_000  # in one field, all that lies within it counted
DEEP = 5  # containers within one another, of what is written as JSON elsewhere
COLDEST, HOTTEST = 1e-6, 1e6  # temperatures that float32 divides scores by without overflow

LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # a surrogate that stands for no byte (see `surrogateescape`)
SCALER = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")

_short = reprlib.Repr()
_short.maxlevel = 1


def whole(least: int, most: int) -> Check:
    """A whole number between these."""

    def check(name: str, value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} is {_shown(value)}, expected a whole number from {least} to {most}")

    return check


def number(least: float = -math.inf, most: float = math.inf) -> Check:
    """A finite number between these."""

    def check(name: str, value: Any) -> None:
        if type(value) not in (int, float) or not (abs(value) < 1e300 and least <= value <= most):
            span = "" if math.isinf(most) else f" from {least:g} to {most:g}"
            raise ValueError(f"{name} is {_shown(value)}, expected a finite number{span}")

    return check


def any_number(name: str, value: Any) -> None:
    """An infinite one, and none (NaN), as well: the mean loss of a validation may be that."""
    if type(value) not in (int, float) or (type(value) is int and abs(value) > 2**63):
        raise ValueError(f"{name} is {_shown(value)}, expected a number")


def text(name: str, value: Any) -> None:
    """Of a sane length, and such that it can be written again (see `LONE`)."""
    if type(value) is not str or len(value) > LETTERS or "\0" in value or LONE.search(value):
        raise ValueError(f"{name} is {_shown(value)}, expected text of up to {LETTERS} letters")


def flag(name: str, value: Any) -> None:
    """Yes or no."""
    if type(value) is not bool:
        raise ValueError(f"{name} is {_shown(value)}, expected True or False")


def one_of(*known: str) -> Check:
    """One of some words."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} is {_shown(value)}, expected one of {', '.join(known)}")

    return check


def none_or(other: Check) -> Check:
    """Nothing, or what `other` allows."""
    return lambda name, value: None if value is None else other(name, value)


def sequence(of: Check, most: int = VALUES, least: int = 0) -> Check:
    """A list or tuple of such."""
    count = f"{least} to {most}" if least else f"up to {most}"

    def check(name: str, value: Any) -> None:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            raise ValueError(f"{name} is {_shown(value)}, expected a list of {count}")
        for place, each in enumerate(value):
            of(f"{name}[{place}]", each)

    return check


def nothing(name: str, value: Any) -> None:
    """None."""
    if value is not None:
        raise ValueError(f"{name} is {_shown(value)}, expected a tensor or None")


def record(others: Check, needed: tuple[str, ...] = (), **checks: Check) -> Check:
    """A dict by text; of its values `checks` by name, and what `others` allows of the rest."""

    def check(name: str, value: Any) -> None:
        _mapping(name, value, str)
        if lacking := [key for key in needed if key not in value]:
            raise ValueError(f"{name} has no {', '.join(lacking)}")
        for key, each in value.items():
            checks.get(key, others)(f"{name}.{key:.40}", each)

    return check


def plain(name: str, value: Any) -> None:
    """Numbers, text, None, lists of such and dicts by text: what JSON has, and neither deep nor endless."""
    level, count = [value], 1
    for _ in range(DEEP):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                _mapping(name, each, str)
                inner += each.values()
            elif isinstance(each, list | tuple):
                inner += each
            elif not isinstance(each, int | float | str | None):
                raise ValueError(f"{name} holds {_shown(each)}, expected numbers, text, lists and dicts alone")
            elif type(each) is int and abs(each) > 2**63:
                raise ValueError(f"{name} holds {_shown(each)}, expected numbers of 64 bits")
            if count + len(inner) > VALUES:
                raise ValueError(f"{name} holds more than {VALUES} values")
        level, count = inner, count + len(inner)
    if level:
        raise ValueError(f"{name} holds lists or dicts too deep within one another")


def tensors(name: str, value: Any) -> None:
    """A state dict."""
    _mapping(name, value, str)
    try:
        check_tensors(value)
    except ValueError as error:
        raise type(error)(f"{name}: {error}") from None


def optimizer_state(name: str, value: Any) -> None:
    """The state of each parameter by its number, and the groups."""
    record(plain, ("state", "param_groups"))(name, {**_mapping(name, value, str), "state": None, "param_groups": None})
    groups, state = value.get("param_groups"), _mapping(f"{name}.state", value.get("state"), int)
    sequence(record(plain, ("params",), params=sequence(whole(0, VALUES))))(f"{name}.param_groups", groups)
    for place, of in state.items():
        where = f"{name}.state[{place}]"
        held = {key: each for key, each in _mapping(where, of, str).items() if isinstance(each, torch.Tensor)}
        tensors(where, held)
        record(plain, momentum_buffer=nothing)(where, {key: each for key, each in of.items() if key not in held})


def scaler_state(name: str, value: Any) -> None:
    """Nothing, where there was no scaler, or all that `GradScaler` wants."""
    record(number(0), SCALER if value else ())(name, value)


NETWORK: dict[str, Check] = {
    "num_classes": whole(1, CLASSES),
    "num_segments": whole(1, SEGMENTS),
    "modality": one_of(*MODALITIES),
    "keep_rgb": flag,
    "arch": text,
    "shift": flag,
    "shift_div": whole(2, 4096),  # channels of which one moves
    "shift_place": text,
    "shift_stages": sequence(one_of(*STAGES), len(STAGES)),
    "fex": one_of(*FEX_FORMS),
    "fex_init": one_of(*FEX_INITS),
    "fex_stages": sequence(one_of(*STAGES), len(STAGES)),
    "fex_parts": sequence(one_of(*FEX_PARTS), len(FEX_PARTS), least=1),
    "fex_attention": one_of(*FEX_ATTENTIONS),
    "fex_norms": sequence(one_of(*FEX_NORMS), len(FEX_NORMS)),
    "temporal_pool": flag,
    "non_local": flag,
    "add_se": flag,
    "dropout": number(0, 1),
    "consensus_type": text,
    "partial_bn": flag,
}
network = record(plain, ("num_classes",), **NETWORK)  # what else it has is of a newer version, which is said elsewhere
NEEDED = ("network", "state_dict", "categories", "dataset")
OWN: dict[str, Check] = {
    "network": network,
    "state_dict": tensors,
    "categories": sequence(text, CLASSES),
    "dataset": text,
    "input_size": whole(1, PIXELS),
    "data": record(text),
    "calibration": record(plain, temperature=number(COLDEST, HOTTEST)),
    # Of a training.
    "name": text,
    "options": record(plain),
    "classifier_lr5": flag,
    "epoch": whole(0, EPOCHS),
    "validated": flag,
    "best_prec1": number(0, 100),
    "rows": sequence(record(none_or(any_number), ("epoch",), epoch=whole(1, EPOCHS))),
    "optimizer": optimizer_state,
    "scaler": scaler_state,
    "trained": tensors,
    "averaged_steps": whole(0, 2**62),
    "begun": record(plain, ("videos", "sums"), videos=whole(0, 2**62), sums=record(number())),
}
# Fields that are of no use without others.
TOGETHER = (("trained", "averaged_steps"), ("optimizer", "scaler", "epoch", "options", "best_prec1"))


def check_own(path: Path, content: Mapping[str, Any]) -> None:
    """Raises InputError for a checkpoint of main.py that lacks a field, or has one of another kind, naming it."""
    if missing := [name for name in NEEDED if name not in content]:
        raise InputError(f"{path}: not a checkpoint: {', '.join(missing)} missing")
    try:
        for name, check in OWN.items():
            if name in content:
                check(name, content[name])
        for names in TOGETHER:
            if names[0] in content and (lacking := [name for name in names[1:] if name not in content]):
                raise ValueError(f"it has {names[0]} and no {', '.join(lacking)}")
        classes, named = content["network"]["num_classes"], len(content["categories"])
        if named not in (0, classes):
            raise ValueError(f"network.num_classes is {classes}, but it names {named} classes")
    except DivergedError as error:
        raise InputError(f"{path}: {error}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}: the file is damaged, or was made by hand") from None


def check_network(path: Path, options: Mapping[str, Any]) -> None:
    """The same of the network's options alone, where they were read from a published file and its name."""
    try:
        network("the network", options)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _mapping(name: str, value: Any, keys: type) -> dict[Any, Any]:
    if not isinstance(value, dict) or not all(type(key) is keys for key in value):
        raise ValueError(f"{name} is {_shown(value)}, expected names and values")
    return value


def _shown(value: Any) -> str:
    """Short, whatever it is."""
    if isinstance(value, int | float | str | None) and not (type(value) is int and abs(value) > 2**63):
        return _short.repr(value)
    return f"a number of {value.bit_length()} bits" if type(value) is int else f"a {type(value).__name__}"
