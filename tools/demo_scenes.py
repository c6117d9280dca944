"""What the demo data set shows: its classes, and the renderer of their videos.

Every pixel is the same on every machine: the generators are raw PCG64 streams, and the arithmetic keeps to what
IEEE 754 prescribes to the last bit (+ - * / sqrt, comparisons; no sums over arrays, whose order varies, and no
library sine, whose last bit does).

Legend: F frames, H W the frame's height and width. Scene coordinates are pixels from the frame's centre, x to
the right and y down; an angle in turns grows clockwise on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]  # red, green, blue, 0 to 255
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the frame
Item = TypeVar("Item")

# Class 2p + 1 is class 2p backwards. A mirrored video's class is found by swapping the words left and right,
# clockwise and counterclockwise; the other names stay, as do their videos' meaning.
CLASSES = (
    "moving something from left to right",
    "moving something from right to left",
    "moving something down",
    "moving something up",
    "something approaching",
    "something moving away",
    "turning something clockwise",
    "turning something counterclockwise",
    "something appearing",
    "something disappearing",
    "moving two things together",
    "moving two things apart",
)
SPLITS = ("train", "val")

HEIGHT = 100  # as Something-Something V1
WIDTHS = (132, 136, 140, 144, 148)
FEWEST_FRAMES, MOST_FRAMES = 16, 28
MARGIN = 24  # background beyond the frame on each side; the camera never sees more
NOISE = 6.0  # grey levels; triangular, so a deviation of 6 / sqrt(6)
VERSION = 1  # of the pixels, noted in the data set: to be raised with every change of them


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


# ---------------------------------------------------------------------------------------------- the scene


@dataclass(frozen=True, eq=False)
class Sprite:
    """One object of the scene: how it looks, and `path`, what it does."""

    shape: str  # a key of SHAPES
    pattern: str  # a key of PATTERNS
    colours: tuple[Colour, Colour]
    outline: Colour
    flip: float  # -1 or 1: the shape as drawn or its mirror image
    path: Floats  # (F, 5): x, y, radius, angle in turns, opacity


@dataclass(frozen=True, eq=False)
class Scene:
    """All that decides a video's pixels."""

    label: int
    width: int
    texture: Floats  # (H + 2 MARGIN, W + 2 MARGIN), 0 to 1
    ground: tuple[Colour, Colour]  # the background's colours at texture 0 and 1
    gain: float  # brightness of the whole video
    camera: Floats  # (F, 3): where its centre looks, x and y, and its zoom
    sprites: tuple[Sprite, ...]  # back to front: first what is at rest, then the actors
    actors: int  # how many act
    noise_key: tuple[int, ...]


def scene(seed: int, split: str, label: int, number: int) -> Scene:
    """Draw video `number` of class `label`: an even class forwards, an odd one as its partner backwards."""
    key = (seed, SPLITS.index(split), label, number)
    forwards = draw(generator((*key, 0)), label // 2, (*key, 1))
    return backwards(forwards) if label % 2 else forwards


def backwards(forwards: Scene) -> Scene:
    """The same scene, camera included, in reverse order: a video of the partner class."""
    return replace(
        forwards,
        label=forwards.label ^ 1,
        camera=forwards.camera[::-1],
        sprites=tuple(replace(sprite, path=sprite.path[::-1]) for sprite in forwards.sprites),
    )


def draw(rng: np.random.Generator, pair: int, noise_key: tuple[int, ...]) -> Scene:
    """Draw a scene of the first class of `pair`."""
    width = pick(rng, WIDTHS)
    frames = FEWEST_FRAMES + int(between(rng, 0, MOST_FRAMES - FEWEST_FRAMES + 1))
    time = np.arange(frames) / (frames - 1)
    base = hsv(rng.random(), between(rng, 0.0, 0.4), between(rng, 0.3, 0.8))
    tint = hsv(rng.random(), between(rng, 0.0, 0.4), between(rng, 0.3, 0.8))
    camera = drift(rng, time)
    texture = clouds(rng, HEIGHT + 2 * MARGIN, width + 2 * MARGIN)
    distractors = [distractor(rng, frames, width, base) for _ in range(pick(rng, (1, 2, 3)))]
    actors = MOTIONS[pair](rng, time, base)
    return Scene(
        label=2 * pair,
        width=width,
        texture=texture,
        ground=(blend(base, (0.0, 0.0, 0.0), 0.4), blend(base, tint, 0.5)),
        gain=between(rng, 0.8, 1.1),
        camera=camera,
        sprites=(*distractors, *actors),
        actors=len(actors),
        noise_key=noise_key,
    )


def drift(rng: np.random.Generator, time: Floats) -> Floats:
    """A slow, slightly curved pan of at most 8 pixels each way and a zoom of a few per cent, (F, 3)."""
    centred = time - 0.5
    bow = 4.0 * centred * centred - 0.5
    pan_x = around(rng, 8.0) * centred + around(rng, 1.5) * bow
    pan_y = around(rng, 6.0) * centred + around(rng, 1.5) * bow
    zoom = 1.0 + around(rng, 0.07) * centred
    return np.stack([pan_x, pan_y, zoom], axis=1)


def clouds(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A smooth random texture, (height, width) in [0, 1]: three octaves of interpolated lattice noise."""
    total = np.zeros((height, width))
    for cell, weight in ((44, 0.5), (19, 0.3), (8, 0.2)):
        lattice = rng.random((height // cell + 2, width // cell + 2))
        rows, columns = np.arange(height) / cell, np.arange(width) / cell
        total += weight * sample(lattice, rows, columns, smooth=True)
    return np.clip(0.5 + 1.6 * (total - 0.5), 0.0, 1.0)


def sample(image: Floats, rows: Floats, columns: Floats, smooth: bool = False) -> Floats:
    """Read `image` between its pixels, at every row of `rows` and column of `columns`: (rows, columns)."""
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    if smooth:  # no creases at the lattice's lines
        down, right = down * down * (3.0 - 2.0 * down), right * right * (3.0 - 2.0 * right)
    i, j = top.astype(np.intp), left.astype(np.intp)
    strips = image[i] + down[:, None] * (image[i + 1] - image[i])  # (rows, W)
    return strips[:, j] + right[None, :] * (strips[:, j + 1] - strips[:, j])


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


# ---------------------------------------------------------------------------------------------- the actions


def progress(rng: np.random.Generator, time: Floats) -> Floats:
    """How far the action is at each frame, (F,) from 0 to 1; onset and end are alike in distribution.

    That likeness is what makes a mirrored clockwise video one of the counterclockwise class.
    """
    return ramp(time, between(rng, 0.0, 0.18), 1.0 - between(rng, 0.0, 0.18), between(rng, 0.0, 0.8))


def ramp(time: Floats, begin: float, end: float, softness: float) -> Floats:
    """0 up to `begin`, 1 from `end`, between them straight (softness 0) to smooth (1)."""
    straight = np.clip((time - begin) / (end - begin), 0.0, 1.0)
    return straight + softness * (straight * straight * (3.0 - 2.0 * straight) - straight)


def sideways(rng: np.random.Generator, time: Floats, ground: Colour) -> list[Sprite]:
    """One object crosses the middle from left to right, a little aslant."""
    way = between(rng, 25.0, 33.0) * (2.0 * progress(rng, time) - 1.0)
    x = around(rng, 6.0) + way
    y = around(rng, 10.0) + around(rng, 0.25) * way
    return [actor(rng, ground, pick(rng, ANY_SHAPE), x, y, between(rng, 12.0, 18.0))]


def vertical(rng: np.random.Generator, time: Floats, ground: Colour) -> list[Sprite]:
    """One object goes down, a little aslant."""
    way = between(rng, 20.0, 26.0) * (2.0 * progress(rng, time) - 1.0)
    x = around(rng, 14.0) + around(rng, 0.25) * way
    y = around(rng, 4.0) + way
    return [actor(rng, ground, pick(rng, ANY_SHAPE), x, y, between(rng, 12.0, 15.0))]


def approach(rng: np.random.Generator, time: Floats, ground: Colour) -> list[Sprite]:
    """One object comes nearer: its distance falls evenly, its radius is one over that."""
    done = progress(rng, time)
    small = between(rng, 7.5, 10.0)
    large = small * between(rng, 2.4, 3.0)
    radius = 1.0 / ((1.0 - done) / small + done / large)
    x = around(rng, 9.0) + around(rng, 4.0) * (done - 0.5)
    y = around(rng, 7.0) + around(rng, 4.0) * (done - 0.5)
    return [actor(rng, ground, pick(rng, ANY_SHAPE), x, y, radius)]


def turn(rng: np.random.Generator, time: Floats, ground: Colour) -> list[Sprite]:
    """One object whose front is plain to see turns clockwise by 115 to 195 degrees."""
    angle = rng.random() + between(rng, 0.32, 0.54) * progress(rng, time)
    still = np.zeros_like(time)
    x, y = around(rng, 10.0) + still, around(rng, 8.0) + still
    radius = between(rng, 18.0, 23.0)
    return [actor(rng, ground, pick(rng, POINTED), x, y, radius, angle=angle, pattern="front")]


def appear(rng: np.random.Generator, time: Floats, ground: Colour) -> list[Sprite]:
    """One object fades in or pops up somewhere in the middle of the video, and stays."""
    middle, half = between(rng, 0.3, 0.7), between(rng, 0.05, 0.14)
    there = ramp(time, middle - half, middle + half, 1.0)
    grow = pick(rng, (0.0, 0.7))
    radius = between(rng, 14.0, 20.0) * (1.0 - grow + grow * there)
    still = np.zeros_like(time)
    x, y = around(rng, 16.0) + still, around(rng, 12.0) + still
    return [actor(rng, ground, pick(rng, ANY_SHAPE), x, y, radius, opacity=there)]


def together(rng: np.random.Generator, time: Floats, ground: Colour) -> list[Sprite]:
    """Two objects come together along a line of any direction until they all but touch."""
    radius = between(rng, 10.0, 12.5)
    far, near = between(rng, 27.0, 32.0), 1.1 * radius + between(rng, 0.0, 2.0)
    distance = far + (near - far) * progress(rng, time)
    cosine, sine = circle(rng.random())
    x, y = around(rng, 6.0), around(rng, 4.0)
    return [
        actor(rng, ground, pick(rng, ROUNDISH), x + side * cosine * distance, y + side * sine * distance, radius)
        for side in (-1.0, 1.0)
    ]


Motion = Callable[[np.random.Generator, Floats, Colour], list[Sprite]]
MOTIONS: tuple[Motion, ...] = (sideways, vertical, approach, turn, appear, together)  # one a pair of classes


def actor(
    rng: np.random.Generator,
    ground: Colour,
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
    path = [x, y, radius + stays, turns, stays + 1.0 if opacity is None else opacity]
    main = contrasting(rng, ground)
    accent = contrasting(rng, main)
    bright = max(ground) > 128.0
    return Sprite(
        shape=shape,
        pattern=pattern or pick(rng, tuple(PATTERNS)),
        colours=(main, accent),
        outline=(20.0, 20.0, 20.0) if bright else (240.0, 240.0, 240.0),
        flip=pick(rng, (-1.0, 1.0)),
        path=np.stack(path, axis=1),
    )


def distractor(rng: np.random.Generator, frames: int, width: int, ground: Colour) -> Sprite:
    """A small, pale object at rest anywhere in the scene."""
    place = (around(rng, 0.5 * width), around(rng, 0.5 * HEIGHT), between(rng, 3.0, 5.0), rng.random(), 0.6)
    colour = blend(contrasting(rng, ground), ground, 0.3)
    shape, flip = pick(rng, ANY_SHAPE), pick(rng, (-1.0, 1.0))
    return Sprite(shape, "plain", (colour, colour), colour, flip, np.tile(np.array(place), (frames, 1)))


# ---------------------------------------------------------------------------------------------- the looks
# A shape is a signed distance to its edge, negative inside, in units of the object's radius; u points to the
# object's own front, v to its side. Combined half-planes err only outside corners, too little to see.


def box(u: Floats, v: Floats, half_u: float, half_v: float) -> Floats:
    return np.maximum(np.abs(u) - half_u, np.abs(v) - half_v)


def triangle(u: Floats, v: Floats) -> Floats:
    return np.maximum(-u, 0.5 * u + 0.8660254037844386 * np.abs(v)) - 0.58


def arrow_head(u: Floats, v: Floats) -> Floats:
    return np.maximum(0.05 - u, 0.571 * u + 0.821 * np.abs(v) - 0.685)


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
}
ANY_SHAPE = tuple(SHAPES)
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


# ---------------------------------------------------------------------------------------------- the pixels


def render(what: Scene, noise: bool = True) -> Pixels:
    """Render a video, (F, H, W, 3); `noise=False` leaves out the one thing that is not the same backwards."""
    bits = generator(what.noise_key).bit_generator
    frames = []
    for index in range(len(what.camera)):
        frame = picture(what, index)
        if noise:
            frame += grain(bits, frame.shape)
        frames.append(np.rint(np.clip(frame, 0.0, 255.0)).astype(np.uint8))
    return np.stack(frames)


def picture(what: Scene, index: int) -> Floats:
    """One frame without noise, (H, W, 3) in grey levels."""
    pan_x, pan_y, zoom = (float(value) for value in what.camera[index])
    centre_x, centre_y = centre(what)
    rows = (np.arange(HEIGHT, dtype=np.float64) - centre_y) / zoom + (pan_y + centre_y + MARGIN)
    columns = (np.arange(what.width, dtype=np.float64) - centre_x) / zoom + (pan_x + centre_x + MARGIN)
    low, high = np.array(what.ground)
    frame = low + sample(what.texture, rows, columns)[:, :, None] * (high - low)  # (H, W, 1) to (H, W, 3)
    for sprite in what.sprites:
        if (laid := lay(what, sprite, index)) is not None:
            paint(frame, sprite, laid)
    return frame * what.gain


def boxes(what: Scene) -> list[list[Box]]:
    """Of each frame the boxes of the actors that are to be seen in it, however faintly.

    Each is as tight as pixels go: left, top, right, bottom, of which the last two are the first ones outside.
    """
    return [
        [found for sprite in what.sprites[-what.actors :] if (found := extent(lay(what, sprite, index)))]
        for index in range(len(what.camera))
    ]


def extent(laid: Laid | None) -> Box | None:
    """The box of the pixels that an object covers; None if there are none."""
    if laid is None:
        return None
    rows, columns = np.nonzero(laid.edge < 0.5)
    if not len(rows):
        return None
    left, top = laid.left + int(columns.min()), laid.top + int(rows.min())
    return left, top, laid.left + int(columns.max()) + 1, laid.top + int(rows.max()) + 1


def centre(what: Scene) -> tuple[float, float]:
    """The middle of its frames, x and y in pixels."""
    return 0.5 * (what.width - 1), 0.5 * (HEIGHT - 1)


class Laid(NamedTuple):
    """Where an object lies in a frame: a region from `top`, `left`, and of each of its places, (h, w), what is there.

    `u`, `v`: in the object's own coordinates. `edge`: the signed distance to its edge in pixels; from 0.5 on it does
    not cover the pixel. `radius`, in pixels; `opacity` above 0.
    """

    top: int
    left: int
    u: Floats
    v: Floats
    edge: Floats
    radius: float
    opacity: float


def lay(what: Scene, sprite: Sprite, index: int) -> Laid | None:
    """The object in frame `index`; None where nothing of it is to be seen."""
    pan_x, pan_y, zoom = (float(value) for value in what.camera[index])
    x, y, radius, turns, opacity = (float(value) for value in sprite.path[index])
    centre_x, centre_y = centre(what)
    x, y, radius = centre_x + (x - pan_x) * zoom, centre_y + (y - pan_y) * zoom, radius * zoom
    # No shape goes farther than `reach`; h, w below are the sides of that box inside the frame.
    reach = 1.35 * radius + 2.0
    top, bottom = max(0, math.floor(y - reach)), min(HEIGHT, math.ceil(y + reach))
    left, right = max(0, math.floor(x - reach)), min(what.width, math.ceil(x + reach))
    if opacity <= 0.0 or top >= bottom or left >= right:
        return None
    across = ((np.arange(left, right) - x) / radius)[None, :]  # (1, w)
    along = ((np.arange(top, bottom) - y) / radius)[:, None]  # (h, 1)
    cosine, sine = circle(turns)
    u, v = cosine * across + sine * along, sprite.flip * (cosine * along - sine * across)  # (h, w)
    return Laid(top, left, u, v, radius * SHAPES[sprite.shape](u, v), radius, opacity)


def paint(frame: Floats, sprite: Sprite, laid: Laid) -> None:
    """Draw an object over `frame` (H, W, 3) in place; edges are antialiased by their signed distance."""
    edge = laid.edge
    cover = laid.opacity * np.clip(0.5 - edge, 0.0, 1.0)
    main, accent, outline = (np.array(colour) for colour in (*sprite.colours, sprite.outline))
    rim = np.clip(0.5 + edge + 1.0 + 0.06 * laid.radius, 0.0, 1.0)[:, :, None]  # (h, w, 1)
    colour = main + PATTERNS[sprite.pattern](laid.u, laid.v)[:, :, None] * (accent - main)  # (h, w, 3)
    colour += rim * (outline - colour)
    region = frame[laid.top : laid.top + len(edge), laid.left : laid.left + edge.shape[1]]
    region += cover[:, :, None] * (colour - region)


def grain(bits: np.random.BitGenerator, shape: tuple[int, ...]) -> Floats:
    """Noise of the camera, triangular within ±NOISE grey levels: two random bytes a value, exact anywhere."""
    values = math.prod(shape)
    raw = bits.random_raw(-(-values // 4)).astype("<u8")  # four values a 64-bit word
    pairs = raw.view(np.uint8)[: 2 * values].reshape(2, *shape).astype(np.float64)
    return (pairs[0] + pairs[1] - 255.0) * (NOISE / 255.0)
