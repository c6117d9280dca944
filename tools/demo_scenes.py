"""What the demo data set shows: its classes, and the renderer of their videos.

Every pixel is the same on every machine: the generators are raw PCG64 streams, and the arithmetic keeps to what
IEEE 754 prescribes to the last bit (+ - * / sqrt, comparisons; no sums over arrays, whose order varies, and no
library sine, whose last bit does).

Legend: F frames, H W the frame's height and width. Scene coordinates are pixels from the frame's centre, x to
the right and y down; an angle in turns grows clockwise on the screen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.demo_actions import MOTIONS, PASSING
from tools.demo_footage import Film, Footage, film_of
from tools.demo_looks import (
    HEIGHT,
    PATTERNS,
    SHAPES,
    Colour,
    Floats,
    Look,
    Sprite,
    between,
    blend,
    circle,
    distractor,
    generator,
    hsv,
    pick,
    restless,
)
from tools.demo_nuisances import Nuisance, background_light, background_shift, camera_path, drift, mirrored

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the frame

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
# The harder data sets' classes; of the six more, those about passing keep their class backwards.
ALL_CLASSES = (
    *CLASSES,
    "putting something into something",
    "taking something out of something",
    "something passing behind something",
    "something passing in front of something",
    "something speeding up",
    "something slowing down",
)
SPLITS = ("train", "val")

WIDTHS = (132, 136, 140, 144, 148)
FEWEST_FRAMES, MOST_FRAMES = 16, 28
MARGIN = 24  # background beyond the frame on each side; farther out it goes on as its mirror image
NOISE = 6.0  # grey levels; triangular, so a deviation of 6 / sqrt(6)
VERSION = 1  # of the pixels, noted in the data set: to be raised with every change of them


@dataclass(frozen=True)
class Difficulty:
    """What makes the videos of a data set easy or hard."""

    name: str
    classes: tuple[str, ...]
    resting: tuple[int, ...]  # how many small objects at rest there may be
    restless: tuple[int, ...]  # and how many that move by themselves
    size: float  # radius of the objects that act, in shares of the easy ones'
    pale: float  # how far their colours go toward the background's, 0 to 1
    reach: float  # how far the camera pans, in shares of the easy one's
    background: str  # a kind of nuisance where none is asked for
    camera: str


DIFFICULTIES = {
    each.name: each
    for each in (
        Difficulty("easy", CLASSES, (1, 2, 3), (0,), 1.0, 0.0, 1.0, "static", "pan"),
        Difficulty("medium", ALL_CLASSES, (2, 3, 4), (1, 2), 0.9, 0.15, 1.75, "static", "pan"),
        Difficulty("hard", ALL_CLASSES, (4, 5, 6), (2, 3, 4), 0.75, 0.4, 1.75, "moving", "shake"),
    )
}


@dataclass(frozen=True)
class Style:
    """How the videos of a data set are drawn, whatever their class."""

    difficulty: Difficulty
    background: Nuisance
    camera: Nuisance
    footage: Footage | None = None  # real pixels for the background

    def described(self) -> dict[str, object]:
        """What may be chosen of it, by name."""
        return {
            "difficulty": self.difficulty.name,
            "background": self.background.kind,
            "background_strength": self.background.strength,
            "camera": self.camera.kind,
            "camera_strength": self.camera.strength,
            "backgrounds": self.footage and self.footage.described(),
        }


def style(difficulty: str) -> Style:
    """A difficulty's own."""
    its = DIFFICULTIES[difficulty]
    return Style(its, Nuisance(its.background), Nuisance(its.camera))


EASY = style("easy")


# ---------------------------------------------------------------------------------------------- the scene
@dataclass(frozen=True, eq=False)
class Scene:
    """All that decides a video's pixels."""

    label: int
    width: int
    texture: Floats  # (H + 2 MARGIN, W + 2 MARGIN), 0 to 1
    ground: tuple[Colour, Colour]  # the background's colours at texture 0 and 1
    gain: float  # brightness of the whole video
    camera: Floats  # (F, 3): where its centre looks, x and y, and its zoom
    shift: Floats  # (F, 2): how far the background has moved on, x and y
    light: Floats  # (F, 3): what the background's colours are multiplied by
    film: Film | None  # real pixels in place of the texture, shift and ground
    sprites: tuple[Sprite, ...]  # back to front
    noise_key: tuple[int, ...]


def scene(seed: int, split: str, label: int, number: int, style: Style = EASY) -> Scene:
    """Draw video `number` of class `label`: an even class as drawn, an odd one as its partner's counterpart."""
    key = (seed, SPLITS.index(split), label, number)
    first = draw(key, label // 2, style)
    if label % 2 == 0:
        return first
    return in_front(first) if label // 2 == PASSING else backwards(first)


def backwards(forwards: Scene) -> Scene:
    """The same scene, camera and background included, in reverse order: a video of the partner class, if any."""
    return replace(
        forwards,
        label=forwards.label if forwards.label // 2 == PASSING else forwards.label ^ 1,
        camera=forwards.camera[::-1],
        shift=forwards.shift[::-1],
        light=forwards.light[::-1],
        film=forwards.film and replace(forwards.film, numbers=forwards.film.numbers[::-1]),
        sprites=tuple(replace(sprite, path=sprite.path[::-1]) for sprite in forwards.sprites),
    )


def in_front(behind: Scene) -> Scene:
    """What passes behind something, as the last two objects do, in front of it instead."""
    *others, thing, obstacle = behind.sprites
    return replace(behind, label=behind.label ^ 1, sprites=(*others, obstacle, thing))


def draw(key: tuple[int, ...], pair: int, style: Style = EASY) -> Scene:
    """Draw a scene of the first class of `pair`.

    Each nuisance has its own generator: the rest of the scene is the same whatever is chosen of them.
    """
    rng, its = generator((*key, 0)), style.difficulty
    width = pick(rng, WIDTHS)
    frames = FEWEST_FRAMES + int(between(rng, 0, MOST_FRAMES - FEWEST_FRAMES + 1))
    time = np.arange(frames) / (frames - 1)
    base = hsv(rng.random(), between(rng, 0.0, 0.4), between(rng, 0.3, 0.8))
    tint = hsv(rng.random(), between(rng, 0.0, 0.4), between(rng, 0.3, 0.8))
    panning = drift(rng, time, its.reach)
    texture = clouds(rng, HEIGHT + 2 * MARGIN, width + 2 * MARGIN)
    look = Look(base, its.pale, its.size)
    at_rest = [distractor(rng, frames, width, look) for _ in range(pick(rng, its.resting))]
    acting = MOTIONS[pair](rng, time, look)
    gain = between(rng, 0.8, 1.1)
    on_the_move = [restless(rng, time, width, look) for _ in range(pick(rng, its.restless))]
    of_background = generator((*key, 2))
    film = None
    if style.footage:
        stretches = (style.footage.train, style.footage.val)[key[1]]
        film = film_of(generator((*key, 4)), stretches, style.background, frames, texture.shape[::-1])
    return Scene(
        label=2 * pair,
        width=width,
        texture=texture,
        ground=(blend(base, (0.0, 0.0, 0.0), 0.4), blend(base, tint, 0.5)),
        gain=gain,
        camera=camera_path(generator((*key, 3)), style.camera, panning),
        shift=background_shift(of_background, style.background, frames),
        light=background_light(of_background, style.background, frames),
        film=film,
        sprites=(*at_rest, *on_the_move, *acting),
        noise_key=(*key, 1),
    )


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
    frame = backdrop(what, index, rows, columns)
    for sprite in what.sprites:
        if (laid := lay(what, sprite, index)) is not None:
            paint(frame, sprite, laid)
    return frame * what.gain


def backdrop(what: Scene, index: int, rows: Floats, columns: Floats) -> Floats:
    """What is behind all objects at these places of the texture, (rows, columns, 3) in grey levels."""
    height, width = what.texture.shape
    if what.film:
        rows, columns = mirrored(rows, height), mirrored(columns, width)
        channels = np.moveaxis(what.film.picture(index), 2, 0)  # (height, width, 3) to (3, height, width)
        return np.stack([sample(channel, rows, columns) for channel in channels], axis=2) * what.light[index]
    shift_x, shift_y = (float(value) for value in what.shift[index])
    rows, columns = mirrored(rows - shift_y, height), mirrored(columns - shift_x, width)
    low, high = np.array(what.ground) * what.light[index]
    return low + sample(what.texture, rows, columns)[:, :, None] * (high - low)  # (rows, columns, 1) to (…, 3)


def boxes(what: Scene) -> list[list[Box]]:
    """Of each frame the boxes of the actors that are to be seen in it, however faintly.

    Each is as tight as pixels go: left, top, right, bottom, of which the last two are the first ones outside. Of what
    stands partly behind something at rest it is the rest's box, and of what is quite hidden there is none.
    """
    return [boxes_of(what, index) for index in range(len(what.camera))]


def boxes_of(what: Scene, index: int) -> list[Box]:
    """The boxes of frame `index`, back to front."""
    hidden = np.zeros((HEIGHT, what.width), dtype=np.bool_)
    found = []
    for sprite in reversed(what.sprites):
        laid = lay(what, sprite, index)
        if laid is None:
            continue
        behind = hidden[laid.top : laid.top + len(laid.edge), laid.left : laid.left + laid.edge.shape[1]]
        if not sprite.acts:
            behind |= (laid.edge <= -0.5) & (laid.opacity == 1.0)
        elif box := extent(laid, behind):
            found.append(box)
    return found[::-1]


def extent(laid: Laid, hidden: NDArray[np.bool_]) -> Box | None:
    """The box of the pixels that an object covers, but for those hidden, (h, w); None if there are none."""
    rows, columns = np.nonzero((laid.edge < 0.5) & ~hidden)
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
