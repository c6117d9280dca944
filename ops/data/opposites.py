"""Which classes are each other's mirror image, and which each other's reverse in time, by the words of their names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Literal

from ops.errors import InputError

MirrorPolicy = Literal["none", "plain", "swap"]
Opposites = Mapping[str, tuple[str, ...]]  # a word and what may stand in its place, in lower case

COUNTER = ("counterclockwise", "counter clockwise", "anticlockwise", "anti clockwise")
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
    "forward": ("backward",),
    "backward": ("forward",),
    "forwards": ("backwards",),
    "backwards": ("forwards",),
    "together": ("apart",),
    "apart": ("together",),
    # Not "into" by itself: what is poured into something does not, backwards, pour out of it.
    "putting something into": ("taking something out of",),
    "taking something out of": ("putting something into",),
    "passing behind": ("passing behind",),  # as ever, backwards too
    "passing in front of": ("passing in front of",),
    "speeding up": ("slowing down",),
    "slowing down": ("speeding up",),
}
# The words in these point nowhere, unless the list has a class that differs by their opposites: "slide right out of the
# picture" beside "slide left out of the picture".
IDIOMS = (
    *("right out", "right away", "right now", "right off", "right back", "right through", "right side up"),
    *("right next to", "right in front", "right in the middle", "right on top", "right angle", "all right"),
    *("left over", "left behind", "left alone", "left the", "has left", "upside down", "up side down"),
    *("turn up", "turns up", "turning up", "turned up", "give up", "giving up"),
)
ENDINGS = "wards?|most|hand(?:ed)?"  # "leftwards", "righthanded"


def mirror_labels(categories: Sequence[str], policy: MirrorPolicy) -> tuple[int | None, ...]:
    """For each class the label that a clip of it has once mirrored; None if it must not be mirrored.

    `swap` looks for the class whose name has every word of a side exchanged (however words are written or joined, see
    `_plain`); where there is none, no class describes the mirrored clip and the answer is None.
    """
    if policy == "none":
        return (None,) * len(categories)
    if policy == "plain":
        return tuple(range(len(categories)))
    if policy != "swap":
        raise InputError(f"Unknown mirror policy {policy!r}; expected none, plain or swap.")
    twins = _opposite_labels(categories, SIDES)
    return tuple(
        label if twin is None and not _points(name, SIDES) else twin
        for label, (name, twin) in enumerate(zip(categories, twins, strict=True))
    )


def default_policy(categories: Sequence[str]) -> tuple[MirrorPolicy, str]:
    """For a data set that declares none: `none` if a class name has a side in it, else `plain`; and why."""
    keeping = zip(categories, mirror_labels(categories, "swap"), strict=True)
    sided = [name for label, (name, mirrored) in enumerate(keeping) if mirrored != label]
    if not sided:
        return "plain", "no class name has a side in it"
    return "none", f'class {sided[0]!r} names a side; mirror = "swap" or "plain" in dataset.toml allows it'


def reversed_labels(categories: Sequence[str]) -> tuple[int | None, ...]:
    """For each class the label of a clip of it played backwards; None where no class's name says so."""
    return _opposite_labels(categories, COURSES)


def _opposite_labels(categories: Sequence[str], opposites: Opposites) -> tuple[int | None, ...]:
    """For each class that whose name is its own with every word exchanged for an opposite; None if there is none."""
    label_of = {_plain(name): label for label, name in enumerate(categories)}
    return tuple(
        next((label_of[twin] for twin in _twins(_plain(name), opposites) if twin in label_of), None)
        for name in categories
    )


def _plain(name: str) -> str:
    """Its words in lower case, one space between them: "TurnLeft", "turn_left" and "Turn  left" are the same."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])", " ", name)
    return re.sub(r"[\W_]+", " ", apart).strip().lower()


def _points(name: str, opposites: Opposites) -> bool:
    """Whether one of the words is in a name, outside of idioms."""
    return any(_pattern(opposites, IDIOMS).findall(_plain(name)))


def _twins(text: str, opposites: Opposites) -> Iterator[str]:
    """A plain name with its words exchanged for opposites; first those in idioms too, then all but those."""
    for idioms in ((), IDIOMS):
        pattern = _pattern(opposites, idioms)
        words = [word for word in pattern.findall(text) if word]
        if words:
            form = pattern.sub(lambda found: "{}" if found[1] else found[0], text)  # a plain name has no braces
            yield from (form.format(*chosen) for chosen in product(*(opposites[word] for word in words)))


def _pattern(opposites: Opposites, idioms: Sequence[str]) -> re.Pattern[str]:
    """Finds words in a plain name, in its group, and idioms around them, without.

    Whole words only, longest first, so that "clockwise" is not found inside "counter clockwise".
    """
    longest_first = sorted(opposites, key=len, reverse=True)
    word = rf"({'|'.join(longest_first)})(?=(?:{ENDINGS})?\b)"
    either = "|".join([*(rf"{idiom}\b" for idiom in idioms), word])
    return re.compile(rf"\b(?:{either})")
