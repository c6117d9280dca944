"""How far a heat map can be trusted: what is measured of it, and from where on it counts as passed.

- Deletion and insertion (Petsiuk et al. 2018): a clip's pixels are blanked, the hottest first, over all frames, and the
  class's probability is followed; or they come back to a blank clip in the same order. The areas under both curves are
  compared with those of a map that always points to the middle, and of random maps.
- Randomisation (Adebayo et al. 2018): a map of what the network has learned is not that of the same network with random
  weights.
- Boxes: where a video's moving objects are known, heat should lie on them, more than that of a map that always points
  to the middle.

Legend: `N` clips, `T` segments, `C` channels, `H W` pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ops.explaining.boxes import Box, inside
from ops.explaining.methods import blurred, enlarged

# What each check asks for. All must hold, or the map is not to be trusted.
MOST_ALIKE = 0.3  # rank correlation with the map of the same network with random weights, whatever its sign
LEAST_POINTED = 0.75  # of the frames with an object, those with a hit; and no fewer than the centre's
LEAST_PROBABILITY = 0.1  # of the class, for curves to fall or rise: below it they say nothing
MOST_KEPT = 0.5  # of that probability when all is blurred: above it there is as little to say

SHARES = (np.arange(13) / 12) ** 2  # of the pixels that are blanked: close together where little is, and most happens
RANDOM_MAPS, RANDOM_CELLS = 3, 16  # how many random maps, and their cells a side
SEED = 0

Scores = Callable[[torch.Tensor], torch.Tensor]  # clips uint8 (N, T, C, H, W) to a class's probability (N,)


@dataclass(frozen=True)
class Curves:
    """The class's probability with more and more pixels blanked, hottest first, and with them coming back."""

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """Under the curve, 0 to 1: small where the hot pixels matter."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Under the curve, 0 to 1: large where the hot pixels are enough."""
        return area(self.insertion)


@dataclass(frozen=True)
class Check:
    """One question put to a map."""

    name: str
    passed: bool
    words: str


@dataclass(frozen=True)
class OnObjects:
    """Of the frames with an object: how many there are, and what of a map is on objects.

    hits: frames whose hottest place is in a box, grown by half a cell. in_box: the share of heat in boxes; box_area: of
    pixels.
    """

    hits: int
    frames: int
    in_box: float
    box_area: float


@dataclass(frozen=True)
class Trust:
    """All that was measured of a map.

    curves: of the map, of the `centre` and of `random` maps (their mean). correlation: with the map of random weights,
    None where one of the two is the same everywhere. objects: None where no boxes are known, or none is in the clip.
    """

    checks: tuple[Check, ...]
    curves: dict[str, Curves]
    correlation: float | None
    objects: OnObjects | None = None

    @property
    def passed(self) -> bool:
        """Every check."""
        return all(check.passed for check in self.checks)

    @property
    def words(self) -> str:
        """A line a check, its outcome first."""
        return "\n".join(f"{'passed' if check.passed else 'FAILED'}: {check.words}" for check in self.checks)


def judged(
    heat: torch.Tensor,
    cell: float,
    curves: dict[str, Curves],
    untrained: torch.Tensor,
    boxes: Sequence[Sequence[Box]] | None = None,
) -> Trust:
    """Of a map `heat` `(T, H, W)` whose cells are so many pixels.

    curves: see `Trust`. untrained: the map that random weights give. boxes: those of each frame of the clip.
    """
    alike = rank_correlation(heat, untrained)
    checks = [*_of_curves(curves), _of_weights(alike)]
    if boxes is None or not any(boxes):
        return Trust(tuple(checks), curves, alike)
    objects, centre = (on_objects(maps, boxes, cell) for maps in (heat, centre_prior(*heat.shape[:2])))
    return Trust((*checks, _of_boxes(objects, centre)), curves, alike, objects)


def curves_to_beat(clip: torch.Tensor, scores: Scores) -> dict[str, Curves]:
    """Those of maps that know nothing of the clip `(T, C, H, W)`."""
    T, side = len(clip), clip.shape[-1]
    several = [blanked(random_map(T, side, SEED + k), clip, scores) for k in range(RANDOM_MAPS)]
    return {"centre": blanked(centre_prior(T, side), clip, scores), "random": mean_curves(several)}


def area(curve: np.ndarray) -> float:
    """Under a curve over `SHARES`, 0 to 1."""
    return float((np.diff(SHARES) * (curve[1:] + curve[:-1]) / 2).sum())


def blanked(heat: torch.Tensor, clip: torch.Tensor, scores: Scores) -> Curves:
    """Blurs the clip away, hottest pixels of all frames first, and brings it back in the same order."""
    blank = blurred(clip)
    rank = hotter_share(heat).to(clip.device)[:, None]  # (T, 1, H, W)
    removed = torch.stack([torch.where(rank < share, blank, clip) for share in SHARES.tolist()])
    returned = torch.stack([torch.where(rank < share, clip, blank) for share in SHARES.tolist()])
    return Curves(*(scores(clips).double().cpu().numpy() for clips in (removed, returned)))


def hotter_share(heat: torch.Tensor) -> torch.Tensor:
    """Of each pixel the share of all that are hotter, `(T, H, W)`, 0 to below 1; equals are in random order."""
    flat = heat.flatten().cpu()
    shuffled = torch.randperm(len(flat), generator=torch.Generator().manual_seed(SEED))
    order = shuffled[flat[shuffled].argsort(descending=True, stable=True)]
    share = torch.empty(len(flat))
    share[order] = torch.arange(len(flat)) / len(flat)
    return share.view(heat.shape)


def centre_prior(T: int, side: int) -> torch.Tensor:
    """A map `(T, side, side)` that falls off from the middle of every frame."""
    away = (torch.arange(side) + 0.5) / side - 0.5
    return (-(away[:, None].square() + away[None, :].square())).exp().expand(T, side, side)


def random_map(T: int, side: int, seed: int) -> torch.Tensor:
    """A random map `(T, side, side)`."""
    drawn = torch.rand(T, RANDOM_CELLS, RANDOM_CELLS, generator=torch.Generator().manual_seed(seed))
    return enlarged(drawn, side)


def mean_curves(several: Sequence[Curves]) -> Curves:
    """Point by point."""
    deletions, insertions = ([getattr(curves, name) for curves in several] for name in ("deletion", "insertion"))
    return Curves(np.mean(deletions, axis=0), np.mean(insertions, axis=0))


def rank_correlation(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """Spearman's, over all pixels; None where one of the maps is the same everywhere."""
    from scipy.stats import rankdata

    ranks = [rankdata(heat.flatten().cpu().numpy()) for heat in (one, other)]
    if any(rank.min() == rank.max() for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def on_objects(heat: torch.Tensor, boxes: Sequence[Sequence[Box]], cell: float) -> OnObjects:
    """Of a map whose cells are so many pixels."""
    return OnObjects(*pointing(heat, boxes, cell), *share_inside(heat, boxes))


def pointing(heat: torch.Tensor, boxes: Sequence[Sequence[Box]], cell: float) -> tuple[int, int]:
    """In how many frames the hottest pixel's middle is in a box grown by half a cell; and of how many with a box.

    A frame without any heat points nowhere.
    """
    hits, frames = 0, 0
    for frame, around in zip(heat.cpu(), boxes, strict=True):
        if not around:
            continue
        frames += 1
        place = int(frame.argmax())
        y, x = place // frame.shape[1] + 0.5, place % frame.shape[1] + 0.5
        grown = ((a - cell / 2, b - cell / 2, c + cell / 2, d + cell / 2) for a, b, c, d in around)
        hits += bool(frame.max() > 0) and any(a <= x <= c and b <= y <= d for a, b, c, d in grown)
    return hits, frames


def share_inside(heat: torch.Tensor, boxes: Sequence[Sequence[Box]]) -> tuple[float, float]:
    """Of the frames with a box: the share of heat in boxes, and the share of pixels there."""
    masks = torch.from_numpy(np.stack([inside(around, heat.shape[-1]) for around in boxes]))
    seen = torch.tensor([bool(around) for around in boxes])
    heat = heat.cpu()[seen].double()
    total = float(heat.sum())
    return float((heat * masks[seen]).sum()) / total if total else 0.0, float(masks[seen].double().mean())


def _of_curves(curves: dict[str, Curves]) -> list[Check]:
    first, last = (float(curves["map"].deletion[place]) for place in (0, -1))
    why = ""
    if first < LEAST_PROBABILITY:
        why = f"the class has a probability of {first:.2f} to begin with: there is nothing to lose"
    elif last > MOST_KEPT * first:
        why = f"blurred all over, the clip still has the class (probability {last:.2f}): there is nothing to lose"
    if why:
        return [Check(name, False, f"{name}: {why}") for name in ("deletion", "insertion")]
    checks = []
    for name, better in (("deletion", "less"), ("insertion", "more")):
        own, centre, random = (getattr(curves[key], f"{name}_area") for key in ("map", "centre", "random"))
        passed = own < min(centre, random) if better == "less" else own > max(centre, random)
        effect = "hot pixels blurred away, the class loses" if better == "less" else "hot pixels alone win the class"
        words = (
            f"{name}: {effect} (area {own:.2f}; wanted {better} than of the centre {centre:.2f}, random {random:.2f})"
        )
        checks.append(Check(name, passed, words))
    return checks


def _of_weights(alike: float | None) -> Check:
    name = "random weights"
    if alike is None:
        return Check(name, False, f"{name}: this map, or theirs, is the same everywhere: there is nothing to compare")
    wanted = f"rank correlation; wanted between -{MOST_ALIKE} and {MOST_ALIKE}"
    return Check(name, abs(alike) < MOST_ALIKE, f"{name}: their map is like this one by {alike:.2f} ({wanted})")


def _of_boxes(own: OnObjects, centre: OnObjects) -> Check:
    """Of a map, and of one that always points to the middle."""
    passed = own.hits >= max(LEAST_POINTED * own.frames, centre.hits) and own.in_box > centre.in_box
    words = (
        f"boxes: hottest on a moving object in {own.hits} of {own.frames} frames with one (wanted {LEAST_POINTED:.0%}, "
        f"and no fewer than of the centre {centre.hits}); {own.in_box:.0%} of the heat in boxes (wanted more than of "
        f"the centre {centre.in_box:.0%})"
    )
    return Check("boxes", passed, words)
