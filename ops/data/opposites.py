"""Which classes are each other's mirror image, and which each other's reverse in time, by the words of their names."""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal

from ops.errors import InputError

MirrorPolicy = Literal["none", "plain", "swap"]
Opposites = Mapping[str, tuple[str, ...]]  # a word and what may stand in its place, in lower case

COUNTER = ("counterclockwise", "counter-clockwise", "counter clockwise", "anticlockwise", "anti-clockwise")
SIDES: Opposites = {
    "left": ("right",),
    "right": ("left",),
    "clockwise": COUNTER,  # whichever spelling the class list uses
    **dict.fromkeys(COUNTER, ("clockwise",)),
}
COURSES: Opposites = {
    **SIDES,
    "up": ("down",),
    "down": ("up",),
    "approaching": ("moving away",),
    "moving away": ("approaching",),
    "appearing": ("disappearing",),
    "disappearing": ("appearing",),
    "together": ("apart",),
    "apart": ("together",),
}


def mirror_labels(categories: Sequence[str], policy: MirrorPolicy) -> tuple[int | None, ...]:
    """For each class the label that a clip of it has once mirrored; None if it must not be mirrored.

    `swap` looks for the class whose name has every word of a side exchanged (upper or lower case alike);
    where there is none, no class describes the mirrored clip and the answer is None.
    """
    if policy == "none":
        return (None,) * len(categories)
    if policy == "plain":
        return tuple(range(len(categories)))
    if policy != "swap":
        raise InputError(f"Unknown mirror policy {policy!r}; expected none, plain or swap.")
    return tuple(
        label if not _words(name, SIDES) else _opposite_label(name, categories, SIDES)
        for label, name in enumerate(categories)
    )


def default_policy(categories: Sequence[str]) -> tuple[MirrorPolicy, str]:
    """For a data set that declares none: `none` if a class name has a side in it, else `plain`; and why."""
    sided = [name for name in categories if _words(name, SIDES)]
    if not sided:
        return "plain", "no class name has a side in it"
    return "none", f'class {sided[0]!r} names a side; mirror = "swap" or "plain" in dataset.toml allows it'


def reversed_labels(categories: Sequence[str]) -> tuple[int | None, ...]:
    """For each class the label of a clip of it played backwards; None where no class's name says so."""
    return tuple(_opposite_label(name, categories, COURSES) for name in categories)


def _opposite_label(name: str, categories: Sequence[str], opposites: Opposites) -> int | None:
    """The class whose name is `name` with every one of its words exchanged for an opposite."""
    words = _words(name, opposites)
    around = _pattern(opposites).split(name)  # the text before, between and after the words
    label_of = {category.casefold(): label for label, category in enumerate(categories)}
    for chosen in product(*(opposites[word] for word in words)) if words else ():
        twin = "".join(text + word for text, word in zip(around, (*chosen, ""), strict=True))
        if twin.casefold() in label_of:
            return label_of[twin.casefold()]
    return None


def _words(name: str, opposites: Opposites) -> list[str]:
    return [word.lower() for word in _pattern(opposites).findall(name)]


def _pattern(opposites: Opposites) -> re.Pattern[str]:
    """Whole words only, longest first, so that "clockwise" is not found inside "counter-clockwise".

    An underscore or a digit ends a word, as in "turn_left".
    """
    longest_first = sorted(opposites, key=len, reverse=True)
    return re.compile(rf"(?<![a-z])(?:{'|'.join(longest_first)})(?![a-z])", re.IGNORECASE)
