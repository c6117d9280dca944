"""How the objects of the demo data set look, and the random draws and colours they are made of.

Scene coordinates are pixels from the frame's centre, x to the right and y down; an angle in turns grows clockwise on
the screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[float, float, float]  # red, green, blue, 0 to 255
Item = TypeVar("Item")

HEIGHT = 100  # of every video, as Something-Something V1

# ---------------------------------------------------------------------------------------------- randomness


def generator(key: Sequence[int]) -> np.random.Generator:
    """A generator that depends on `key` alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform in [low, high)."""
    return low + (high - low) * float(rng.random())


def around(rng: np.random.Generator, reach: float) -> float:
    """Uniform in [-reach, reach): what is symmetric in direction gives no class away."""
    return between(rng, -reach, reach)


def pick(rng: np.random.Generator, options: Sequence[Item]) -> Item:
    """One of `options`. By `random()`, whose stream NumPy has never changed, not by `choice`."""
    return options[int(float(rng.random()) * len(options))]


# ---------------------------------------------------------------------------------------------- objects


@dataclass(frozen=True)
class Look:
    """What the objects that act look like beside the background."""

    ground: Colour  # the background's
    pale: float = 0.0  # how far their colours go toward it, 0 to 1
    size: float = 1.0  # their radius, in shares of what is drawn

    def on_ground(self, colour: Colour) -> Colour:
        """A colour as pale as all of them."""
        return blend(colour, self.ground, self.pale)

    def outline(self) -> Colour:
        """Of every object, so that its edge is plain whatever its colours."""
        return self.on_ground((20.0, 20.0, 20.0) if max(self.ground) > 128.0 else (240.0, 240.0, 240.0))


@dataclass(frozen=True, eq=False)
class Sprite:
    """One object of the scene: how it looks, and `path`, what it does."""

    shape: str  # a key of SHAPES
    pattern: str  # a key of PATTERNS
    colours: tuple[Colour, Colour]
    outline: Colour
    flip: float  # -1 or 1: the shape as drawn or its mirror image
    path: Floats  # (F, 5): x, y, radius, angle in turns, opacity
    acts: bool = False  # whether it is what the class is about; else it is scenery


def actor(
    rng: np.random.Generator,
    look: Look,
    shape: str,
    x: Floats,
    y: Floats,
    radius: float | Floats,
    *,
    angle: Floats | None = None,
    opacity: Floats | None = None,
    pattern: str | None = None,
) -> Sprite:
    """An object of strong colours on the given path; what is not given stays as drawn at the start."""
    stays = np.zeros_like(x)
    turns = rng.random() + stays if angle is None else angle
    path = [x, y, radius * look.size + stays, turns, stays + 1.0 if opacity is None else opacity]
    main = contrasting(rng, look.ground)
    accent = contrasting(rng, main)
    return Sprite(
        shape=shape,
        pattern=pattern or pick(rng, tuple(PATTERNS)),
        colours=(look.on_ground(main), look.on_ground(accent)),
        outline=look.outline(),
        flip=pick(rng, (-1.0, 1.0)),
        path=np.stack(path, axis=1),
        acts=True,
    )


def prop(rng: np.random.Generator, look: Look, beside: Sprite, shapes: Sequence[str], place: Floats) -> list[Sprite]:
    """What stands upright at `place` (x, y, radius) and an actor has to do with: one piece for each of `shapes`.

    All have one colour, plain beside the actor's; the first of several is the inside, and darker.
    """
    colour = contrasting(rng, beside.colours[0])
    inside = blend(colour, (0.0, 0.0, 0.0), 0.65)
    path = np.tile(np.array([*place, 0.0, 1.0]), (len(beside.path), 1))
    pieces = [(shape, look.on_ground(inside if shape != shapes[-1] else colour)) for shape in shapes]
    return [Sprite(shape, "plain", (own, own), look.outline(), 1.0, path) for shape, own in pieces]


def distractor(rng: np.random.Generator, frames: int, width: int, look: Look) -> Sprite:
    """A small object at rest anywhere in the scene, paler than those that act."""
    place = (around(rng, 0.5 * width), around(rng, 0.5 * HEIGHT), between(rng, 3.0, 5.0), rng.random(), 0.6)
    colour = blend(contrasting(rng, look.ground), look.ground, 0.3 + 0.5 * look.pale)
    shape, flip = pick(rng, ANY_SHAPE), pick(rng, (-1.0, 1.0))
    return Sprite(shape, "plain", (colour, colour), colour, flip, np.tile(np.array(place), (frames, 1)))


def restless(rng: np.random.Generator, time: Floats, width: int, look: Look) -> Sprite:
    """A somewhat larger one that strolls, swings or circles about its place, alike forwards and backwards."""
    still = distractor(rng, len(time), width, look)
    path = still.path * np.array([1.0, 1.0, 1.4, 1.0, 1.25])
    path[:, :2] += pick(rng, (stroll, swing, orbit))(rng, time)
    return replace(still, path=path)


def stroll(rng: np.random.Generator, time: Floats) -> Floats:
    """Through six random places at even intervals, (F, 2)."""
    places = np.stack([32.0 * rng.random(7) - 16.0, 32.0 * rng.random(7) - 16.0], axis=1)  # the last is not reached
    at = 5.0 * time
    before = np.floor(at)
    share = (at - before)[:, None]
    share = share * share * (3.0 - 2.0 * share)
    index = before.astype(np.intp)
    return places[index] + share * (places[index + 1] - places[index])


def swing(rng: np.random.Generator, time: Floats) -> Floats:
    """To and fro along a line of any direction, (F, 2)."""
    cosine, sine = circle(rng.random())
    far, phase, rate = between(rng, 7.0, 15.0), rng.random(), between(rng, 1.0, 2.5)
    way = np.array([far * circle(phase + rate * at)[0] for at in time.tolist()])
    return np.stack([cosine * way, sine * way], axis=1)


def orbit(rng: np.random.Generator, time: Floats) -> Floats:
    """On a circle, either way round, (F, 2)."""
    far, phase, rate = between(rng, 6.0, 12.0), rng.random(), pick(rng, (-1.0, 1.0)) * between(rng, 0.7, 1.8)
    return far * np.array([circle(phase + rate * at) for at in time.tolist()])


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue, saturation and value, each 0 to 1."""

    def channel(offset: float) -> float:
        wave = (offset + 6.0 * hue) % 6.0
        return 255.0 * value * (1.0 - saturation * max(0.0, min(wave, 4.0 - wave, 1.0)))

    return channel(5.0), channel(3.0), channel(1.0)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """`first`, with `share` of the way to `second`."""
    red, green, blue = (a + share * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue


def contrasting(rng: np.random.Generator, ground: Colour) -> Colour:
    """A strong colour: of five draws the one farthest from the background's, so that edges stay plain."""
    drawn = [hsv(rng.random(), between(rng, 0.55, 1.0), between(rng, 0.35, 1.0)) for _ in range(5)]
    return max(drawn, key=lambda colour: sum(abs(a - b) for a, b in zip(colour, ground, strict=True)))


# ---------------------------------------------------------------------------------------------- the looks
# A shape is a signed distance to its edge, negative inside, in units of the object's radius; u points to the
# object's own front, v to its side. Combined half-planes err only outside corners, too little to see.


def box(u: Floats, v: Floats, half_u: float, half_v: float) -> Floats:
    return np.maximum(np.abs(u) - half_u, np.abs(v) - half_v)


def triangle(u: Floats, v: Floats) -> Floats:
    return np.maximum(-u, 0.5 * u + 0.8660254037844386 * np.abs(v)) - 0.58


def arrow_head(u: Floats, v: Floats) -> Floats:
    return np.maximum(0.05 - u, 0.571 * u + 0.821 * np.abs(v) - 0.685)


RIM, DEEP = -0.55, 0.28  # of a bucket: how high its mouth lies, and half the height of the mouth's ellipse


def mouth(u: Floats, v: Floats) -> Floats:
    """An ellipse: its implicit function over that one's slope is the distance to first order."""
    down = (v - RIM) / DEEP
    level = np.maximum(np.sqrt(u * u + down * down), 1e-9)
    return level * (level - 1.0) / np.maximum(np.sqrt(u * u + down * down / (DEEP * DEEP)), 1e-9)


def wall(u: Floats, v: Floats) -> Floats:
    """A bucket's front, narrower at the bottom and open at the top: what is in it is seen through its mouth alone."""
    sides = (np.abs(u) - 1.0 + 0.18 * (v - RIM)) * 0.984
    return np.maximum(np.maximum(np.maximum(sides, v - 0.85), RIM - v), -mouth(u, v))


Field = Callable[[Floats, Floats], Floats]
SHAPES: dict[str, Field] = {
    "disc": lambda u, v: np.sqrt(u * u + v * v) - 1.0,
    "ring": lambda u, v: np.abs(np.sqrt(u * u + v * v) - 0.7) - 0.32,
    "square": lambda u, v: box(u, v, 0.86, 0.86),
    "bar": lambda u, v: box(u, v, 1.15, 0.42),
    "cross": lambda u, v: np.minimum(box(u, v, 1.05, 0.36), box(u, v, 0.36, 1.05)),
    "triangle": triangle,
    "star": lambda u, v: np.minimum(triangle(u, v), triangle(-u, v)),
    "arrow": lambda u, v: np.minimum(box(u + 0.5, v, 0.65, 0.26), arrow_head(u, v)),
    "angle iron": lambda u, v: np.minimum(box(u + 0.45, v, 0.32, 0.95), box(u - 0.15, v - 0.63, 0.92, 0.32)),
    "kite": lambda u, v: np.maximum(0.42 * u + 0.9075 * np.abs(v) - 0.5, -0.8 * u + 0.6 * np.abs(v) - 0.6),
    "mouth": mouth,
    "wall": wall,
}
ANY_SHAPE = tuple(shape for shape in SHAPES if shape not in ("mouth", "wall"))
ROUNDISH = ("disc", "ring", "square", "cross", "triangle", "star")  # as wide as high: two can meet anyhow
POINTED = ("bar", "arrow", "angle iron", "kite")  # turned, they look turned

# A pattern is the share of the second colour, 0 to 1, at a place of the object.
PATTERNS: dict[str, Field] = {
    "plain": lambda u, v: np.zeros_like(u * v),
    "stripes": lambda u, v: np.clip(0.5 + 5.0 * (np.abs(np.remainder(1.25 * u, 1.0) - 0.5) - 0.3), 0.0, 1.0) + 0.0 * v,
    "front": lambda u, v: np.clip(0.5 + 8.0 * (u - 0.2), 0.0, 1.0) + 0.0 * v,
    "core": lambda u, v: np.clip(0.5 + 8.0 * (0.2 - (u * u + v * v)), 0.0, 1.0),
}


def circle(turns: float) -> tuple[float, float]:
    """Cosine and sine of an angle in turns: power series about the nearest quarter turn, library-free."""
    quarter = math.floor(4.0 * turns + 0.5)
    angle = (turns - 0.25 * quarter) * 6.283185307179586  # at most an eighth of a turn, 0.79
    square_ = angle * angle
    cosine, sine = 1.0, 1.0
    for n in (14, 12, 10, 8, 6, 4, 2):
        cosine = 1.0 - cosine * square_ / (n * (n - 1))
        sine = 1.0 - sine * square_ / (n * (n + 1))
    sine *= angle
    return ((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine))[quarter % 4]
