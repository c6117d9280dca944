"""Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017): scores as probabilities.

One number divides a network's scores before softmax. It moves no video's top class, and is fitted on other videos than
it is judged on. Legend: `N` videos, `K` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ops.errors import InputError
from ops.evaluation.reliability import BINS, expected_calibration_error

LEAST_PER_HALF = 2  # videos


@dataclass(frozen=True)
class Calibration:
    """A temperature, how many videos it was fitted on, and how the others, that it is judged on, speak of it.

    standard_error: of the temperature, as far as so many videos can say; large where hardly any is classified wrong.
    ece: expected calibration error in percent, nll: negative log-likelihood in nats a video, each with temperature 1
    (before) and with this one (after). seed: of the draw of the halves.
    """

    temperature: float
    standard_error: float
    fitted_on: int
    judged_on: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    bins: int
    seed: int


def calibrate(logits: torch.Tensor, labels: torch.Tensor, seed: int = 0) -> Calibration:
    """Fits a temperature on one half of logits (N, K) and labels (N,), judges it on the other.

    Raises InputError for too few videos, or where the half to fit on has no best temperature.
    """
    logits = logits.double()
    fit, judge = halves(labels, seed)
    temperature = fit_temperature(logits[fit], labels[fit])
    scores, truth = logits[judge], labels[judge]
    before, after = scores.softmax(dim=1), (scores / temperature).softmax(dim=1)
    return Calibration(
        temperature=temperature,
        standard_error=standard_error(logits[fit], temperature),
        fitted_on=len(fit),
        judged_on=len(judge),
        ece_before=100 * expected_calibration_error(before, truth),
        ece_after=100 * expected_calibration_error(after, truth),
        nll_before=negative_log_likelihood(scores, truth),
        nll_after=negative_log_likelihood(scores / temperature, truth),
        bins=BINS,
        seed=seed,
    )


def refuse_too_few(videos: int) -> None:
    """InputError where `videos` are too few for two halves."""
    if videos < 2 * LEAST_PER_HALF:
        raise InputError(
            f"--calibrate: {videos} videos are too few: it takes {2 * LEAST_PER_HALF} or more, and some hundreds to "
            "mean anything, as one half is fitted on and the other judged on"
        )


def halves(labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of two halves of labels (N,), in rising order, drawn so that each class is shared out evenly."""
    refuse_too_few(len(labels))
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = drawn[labels[drawn].argsort(stable=True)]
    return by_class[0::2].sort().values, by_class[1::2].sort().values


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature that minimises the negative log-likelihood of logits (N, K).

    It is convex in the temperature's inverse b, and its slope there, the mean of E[logit] − true logit with
    probabilities softmax(b·logits), rises with b: bisection finds its zero. Raises InputError where it has none.
    """
    logits = logits.double()
    true = logits.gather(1, labels[:, None]).squeeze(1)
    if not logits.isfinite().all():
        raise InputError("--calibrate: scores that are infinite or no numbers can't be calibrated")
    if (true >= logits.max(dim=1).values).all():
        raise InputError(
            f"--calibrate: all {len(labels)} videos to fit on are classified right, so that the smaller the "
            "temperature, the better it fits them: give a list (--test_list) of more videos, or of harder ones"
        )

    def slope(inverse: float) -> float:
        probabilities = (inverse * logits).softmax(dim=1)
        return float(((probabilities * logits).sum(dim=1) - true).mean())

    if slope(0.0) >= 0:
        raise InputError(
            f"--calibrate: on the {len(labels)} videos to fit on, the scores say no more than chance: are the classes, "
            "and the list's labels, those that the network was trained on?"
        )
    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:  # until no double lies between them
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high


def standard_error(logits: torch.Tensor, temperature: float) -> float:
    """Of a temperature fitted on logits (N, K).

    The likelihood's curvature in the inverse b is the sum over the videos of the logits' variance under
    softmax(b·logits); one over its root is the standard error of b, and T² times that the one of T = 1 / b.
    """
    logits = logits.double()
    probabilities = (logits / temperature).softmax(dim=1)
    mean = (probabilities * logits).sum(dim=1, keepdim=True)
    curvature = (probabilities * (logits - mean).square()).sum()
    return float(temperature**2 / curvature.sqrt())


def negative_log_likelihood(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Its mean over the videos in nats, of logits (N, K) and labels (N,)."""
    return float(torch.nn.functional.cross_entropy(logits.double(), labels))


def in_words(found: Calibration) -> str:
    """What a calibration found, on one line."""
    change = f"ECE {found.ece_before:.2f} → {found.ece_after:.2f} %, NLL {found.nll_before:.4f} → {found.nll_after:.4f}"
    sure = f"{found.temperature:.4f} ± {found.standard_error:.4f}"
    return f"temperature {sure}, of {found.fitted_on} videos; on {found.judged_on} others: {change}"
