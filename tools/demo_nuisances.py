"""What disturbs a video of the demo data set: how its camera and its background move, and how the background flickers.

Each has a strength, 0 for none, and draws from a generator of its own, so that the same scene can be had with each.
All are alike forwards and backwards in distribution, and so give no class away. F frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.demo_looks import Floats, around, between, circle

BACKGROUNDS = ("static", "moving", "flicker")
CAMERAS = ("still", "pan", "shake")
UNMOVED = ("static", "still")  # of these there is no more and no less
FASTEST = 3.0  # pixels a frame that a moving background goes at strength 1; about what the objects do
STRONGEST = 10.0  # beyond it the zoom of a panning camera could reach 0


@dataclass(frozen=True)
class Nuisance:
    """One of BACKGROUNDS or CAMERAS and how strong it is; 1 is the normal strength, 0 none at all."""

    kind: str
    strength: float = 1.0


def drift(rng: np.random.Generator, time: Floats, reach: float = 1.0) -> Floats:
    """A slow, slightly curved pan of at most 8 pixels each way and a zoom of a few per cent, times `reach`, (F, 3)."""
    centred = time - 0.5
    bow = 4.0 * centred * centred - 0.5
    pan_x = around(rng, 8.0 * reach) * centred + around(rng, 1.5 * reach) * bow
    pan_y = around(rng, 6.0 * reach) * centred + around(rng, 1.5 * reach) * bow
    zoom = 1.0 + around(rng, 0.07 * reach) * centred
    return np.stack([pan_x, pan_y, zoom], axis=1)


def camera_path(rng: np.random.Generator, camera: Nuisance, panning: Floats) -> Floats:
    """Where the camera looks, x and y, and its zoom, (F, 3); `panning` is what `drift` drew."""
    still = np.array([0.0, 0.0, 1.0])
    jitter = smooth_noise(rng, len(panning)) * np.array([8.0, 8.0, 0.05])
    away = {"still": 0.0 * jitter, "pan": panning - still, "shake": jitter}[camera.kind]
    return still + camera.strength * away


def smooth_noise(rng: np.random.Generator, frames: int) -> Floats:
    """Three independent values for each frame, within ±1, that change little from one to the next, (F, 3)."""
    white = 2.0 * rng.random((frames + 2, 3)) - 1.0
    return 0.25 * white[:-2] + 0.5 * white[1:-1] + 0.25 * white[2:]


def mirrored(places: Floats, size: int) -> Floats:
    """Places of an endless row as those of `size` pixels and their mirror image in turn; inside they stay as they are.

    The last pixel itself is left out, so that one more can always be read.
    """
    last = size - 1.0
    within = np.remainder(places, 2.0 * last)
    return np.minimum(np.minimum(within, 2.0 * last - within), last - 1e-9)


def background_shift(rng: np.random.Generator, background: Nuisance, frames: int) -> Floats:
    """How far the background has moved on, x and y in pixels, (F, 2): evenly, in any direction, about the middle."""
    cosine, sine = circle(rng.random())
    speed = between(rng, 0.3 * FASTEST, FASTEST) * background.strength * (background.kind == "moving")
    way = speed * (np.arange(frames) - 0.5 * (frames - 1))
    return np.stack([cosine * way, sine * way], axis=1)


def background_light(rng: np.random.Generator, background: Nuisance, frames: int) -> Floats:
    """What the background's red, green and blue are multiplied by, (F, 3): all as one, and each a little by itself."""
    all_as_one = 2.0 * rng.random((frames, 1)) - 1.0
    each = 2.0 * rng.random((frames, 3)) - 1.0
    strength = background.strength * (background.kind == "flicker")
    return np.maximum(1.0 + strength * (0.35 * all_as_one + 0.2 * each), 0.0)
