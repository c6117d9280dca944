"""What the objects of the demo data set do: a function for each pair of classes, which draws the first of the two.

F frames; `time`, (F,), goes from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tools.demo_looks import (
    ANY_SHAPE,
    POINTED,
    ROUNDISH,
    Floats,
    Look,
    Sprite,
    actor,
    around,
    between,
    circle,
    pick,
    prop,
)


def progress(rng: np.random.Generator, time: Floats) -> Floats:
    """How far the action is at each frame, (F,) from 0 to 1; onset and end are alike in distribution.

    That likeness is what makes a mirrored clockwise video one of the counterclockwise class.
    """
    return ramp(time, between(rng, 0.0, 0.18), 1.0 - between(rng, 0.0, 0.18), between(rng, 0.0, 0.8))


def ramp(time: Floats, begin: float, end: float, softness: float) -> Floats:
    """0 up to `begin`, 1 from `end`, between them straight (softness 0) to smooth (1)."""
    straight = np.clip((time - begin) / (end - begin), 0.0, 1.0)
    return straight + softness * (straight * straight * (3.0 - 2.0 * straight) - straight)


def sideways(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object crosses the middle from left to right, a little aslant."""
    way = between(rng, 25.0, 33.0) * (2.0 * progress(rng, time) - 1.0)
    x = around(rng, 6.0) + way
    y = around(rng, 10.0) + around(rng, 0.25) * way
    return [actor(rng, look, pick(rng, ANY_SHAPE), x, y, between(rng, 12.0, 18.0))]


def vertical(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object goes down, a little aslant."""
    way = between(rng, 20.0, 26.0) * (2.0 * progress(rng, time) - 1.0)
    x = around(rng, 14.0) + around(rng, 0.25) * way
    y = around(rng, 4.0) + way
    return [actor(rng, look, pick(rng, ANY_SHAPE), x, y, between(rng, 12.0, 15.0))]


def approach(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object comes nearer: its distance falls evenly, its radius is one over that."""
    done = progress(rng, time)
    small = between(rng, 7.5, 10.0)
    large = small * between(rng, 2.4, 3.0)
    radius = 1.0 / ((1.0 - done) / small + done / large)
    x = around(rng, 9.0) + around(rng, 4.0) * (done - 0.5)
    y = around(rng, 7.0) + around(rng, 4.0) * (done - 0.5)
    return [actor(rng, look, pick(rng, ANY_SHAPE), x, y, radius)]


def turn(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object whose front is plain to see turns clockwise by 115 to 195 degrees."""
    angle = rng.random() + between(rng, 0.32, 0.54) * progress(rng, time)
    still = np.zeros_like(time)
    x, y = around(rng, 10.0) + still, around(rng, 8.0) + still
    radius = between(rng, 18.0, 23.0)
    return [actor(rng, look, pick(rng, POINTED), x, y, radius, angle=angle, pattern="front")]


def appear(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object fades in or pops up somewhere in the middle of the video, and stays."""
    middle, half = between(rng, 0.3, 0.7), between(rng, 0.05, 0.14)
    there = ramp(time, middle - half, middle + half, 1.0)
    grow = pick(rng, (0.0, 0.7))
    radius = between(rng, 14.0, 20.0) * (1.0 - grow + grow * there)
    still = np.zeros_like(time)
    x, y = around(rng, 16.0) + still, around(rng, 12.0) + still
    return [actor(rng, look, pick(rng, ANY_SHAPE), x, y, radius, opacity=there)]


def together(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """Two objects come together along a line of any direction until they all but touch."""
    radius = between(rng, 10.0, 12.5)
    far, near = between(rng, 27.0, 32.0), 1.1 * radius * look.size + between(rng, 0.0, 2.0)
    distance = far + (near - far) * progress(rng, time)
    cosine, sine = circle(rng.random())
    x, y = around(rng, 6.0), around(rng, 4.0)
    return [
        actor(rng, look, pick(rng, ROUNDISH), x + side * cosine * distance, y + side * sine * distance, radius)
        for side in (-1.0, 1.0)
    ]


def put(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object comes from above and the side over an open bucket and goes down until the bucket's wall hides it."""
    place = np.array([around(rng, 14.0), between(rng, 12.0, 20.0), between(rng, 24.0, 30.0) * look.size])
    radius = 0.4 * between(rng, 0.85, 1.0) * place[2]
    side, high = around(rng, 38.0), between(rng, 34.0, 44.0)
    done = progress(rng, time)
    over, into = ramp(done, 0.0, 0.55, 0.8), ramp(done, 0.35, 1.0, 0.5)
    x = place[0] + side * (1.0 - over)
    y = place[1] - high + (high + 0.3 * place[2]) * into
    thing = actor(rng, look, pick(rng, ROUNDISH), x, y, radius / look.size)
    inside, front = prop(rng, look, thing, ("mouth", "wall"), place)
    return [inside, thing, front]


def go_behind(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object goes past behind a larger one at rest, in any direction."""
    cosine, sine = circle(rng.random())
    x, y = around(rng, 8.0), around(rng, 4.0)
    large = between(rng, 17.0, 21.0) * look.size
    way, aside = between(rng, 30.0, 35.0) * (2.0 * progress(rng, time) - 1.0), around(rng, 0.3) * large
    radius = between(rng, 10.5, 13.5)
    thing = actor(
        rng, look, pick(rng, ANY_SHAPE), x + cosine * way - sine * aside, y + sine * way + cosine * aside, radius
    )
    return [thing, *prop(rng, look, thing, (pick(rng, ("disc", "square")),), np.array([x, y, large]))]


def speed_up(rng: np.random.Generator, time: Floats, look: Look) -> list[Sprite]:
    """One object sets off slowly, in any direction, and is fastest at the end."""
    cosine, sine = circle(rng.random())
    begin = between(rng, 0.0, 0.12)
    gone = np.clip((time - begin) / (1.0 - begin), 0.0, 1.0)
    bend = rng.random()
    way = between(rng, 27.0, 34.0) * (2.0 * gone * gone * (1.0 - bend + bend * gone) - 1.0)
    x, y = around(rng, 6.0) + cosine * way, around(rng, 5.0) + 0.85 * sine * way
    return [actor(rng, look, pick(rng, ANY_SHAPE), x, y, between(rng, 12.0, 16.0))]


Motion = Callable[[np.random.Generator, Floats, Look], list[Sprite]]
# One a pair of classes; the easy data set has the first six.
MOTIONS: tuple[Motion, ...] = (sideways, vertical, approach, turn, appear, together, put, go_behind, speed_up)
PASSING = 7  # the pair whose second class is not the first one backwards, but has what is behind in front
