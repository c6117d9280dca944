"""Paired proportions: the tests' false alarms, their power and the interval's coverage, simulated and summed up."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from ops.errors import InputError
from ops.evaluation.paired import (
    HALF_A_VIDEO,
    LEVEL,
    Paired,
    chance,
    covered,
    exact_p,
    mcnemar,
    score,
    shown_better,
    shown_equivalent,
)
from tools import comparison_power

DRAWS = 50_000
SIZES = (300, 3000, 25_000)


def paired(videos: int, b: int, c: int) -> Paired:
    """Both right on none: the counts in question are enough."""
    return Paired(videos, b, c, b, c, float(exact_p(b, c)))


def drawn(videos: int, difference: float, differing: float) -> tuple[np.ndarray, np.ndarray]:
    """How many only the first, and only the second has right, in many tests of as many videos."""
    shares = [(differing - difference) / 2, (differing + difference) / 2, 1 - differing]
    return tuple(np.random.default_rng(videos).multinomial(videos, shares, DRAWS).T[:2])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (3, 3), (7, 2), (40, 61)])
def test_the_exact_p_is_the_binomial_tests(b: int, c: int) -> None:
    assert exact_p(b, c) == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)


@pytest.mark.parametrize(
    ("videos", "b", "c", "difference"), [(100, 7, 12, 0.1), (300, 0, 9, -0.05), (40, 11, 3, 0.3), (50, 6, 0, -0.4)]
)
def test_the_score_is_of_the_likeliest_probabilities(videos: int, b: int, c: int, difference: float) -> None:
    """Found by maximising the likelihood numerically, where the score has a formula."""

    def unlikelihood(q: float) -> float:
        parts = (b, q), (c, q + difference), (videos - b - c, 1 - 2 * q - difference)
        return -sum(count * np.log(p) for count, p in parts if count)

    low, high = max(0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12
    q = minimize_scalar(unlikelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    deviation = np.sqrt(videos * (2 * q + difference - difference**2))
    away = c - b - videos * difference
    expected = np.sign(away) * (abs(away) - HALF_A_VIDEO) / deviation
    assert float(score(b, c, videos, difference)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("videos", "b", "c"), [(300, 10, 20), (25_000, 1200, 1300), (300, 0, 0), (7, 0, 7), (1, 1, 0)])
def test_the_interval_ends_where_the_score_test_refuses(videos: int, b: int, c: int) -> None:
    found = paired(videos, b, c)
    for confidence, z in ((0.95, norm.isf(0.025)), (0.9, norm.isf(0.05))):
        low, high = found.interval(confidence)
        assert -100 <= low <= found.difference <= high <= 100 and low < high
        for end in (low, high):
            assert abs(end) == 100 or abs(float(score(b, c, videos, end / 100))) == pytest.approx(z, rel=1e-6)
    low, high = found.interval(0.9)
    margin = max(-low, high)
    if margin < 99:
        assert found.equivalence(margin * 1.001) < LEVEL < found.equivalence(margin * 0.999)
    mirrored = paired(videos, c, b).interval()
    assert found.interval() == pytest.approx((-mirrored[1], -mirrored[0]))


def test_known_intervals() -> None:
    """Without a difference the bound is that of a share of which none was seen; one test twice is equivalent."""
    z, n = float(norm.isf(0.025)), 300
    same = mcnemar(np.ones(n, bool), np.ones(n, bool))
    assert (same.difference, same.p) == (0, 1)
    d = same.interval()[1] / 100
    assert (n * d - HALF_A_VIDEO) ** 2 == pytest.approx(z**2 * n * d * (1 - d))
    assert same.equivalence(3) < LEVEL < same.equivalence(0.5)


def refuted(times: np.ndarray) -> bool:
    """Whether so many of the drawn tests raised a false alarm that their rate must be above 5 %."""
    return bool(binomtest(int(times.sum()), len(times), LEVEL, alternative="greater").pvalue < 0.001)


@pytest.mark.parametrize("differing", [0.04, 0.15])
@pytest.mark.parametrize("videos", SIZES)
def test_false_alarms_are_at_most_five_percent(videos: int, differing: float) -> None:
    """Simulated, and summed up: of McNemar's test for networks alike, of equivalence for those a margin apart."""
    assert not refuted(shown_better(*drawn(videos, 0, differing)))
    assert chance(shown_better, videos, 0, differing) <= LEVEL
    for margin in (0.005, 0.01, 0.03):
        wrong = partial(shown_equivalent, videos=videos, margin=margin)
        assert not refuted(wrong(*drawn(videos, margin, differing)))
        assert chance(wrong, videos, margin, differing) <= LEVEL
    assert refuted(shown_better(*drawn(videos, margin, differing)))  # where they differ: the simulation would tell


@pytest.mark.parametrize("videos", SIZES)
def test_the_interval_holds_the_true_difference(videos: int) -> None:
    for difference in (0, 0.01, 0.03):
        held = partial(covered, videos=videos, difference=difference)
        summed = chance(held, videos, difference, 0.1)
        assert summed >= 0.95
        assert held(*drawn(videos, difference, 0.1)).mean() == pytest.approx(summed, abs=4 * deviation(summed))


@pytest.mark.parametrize("videos", SIZES)
def test_the_power_that_is_stated_is_the_simulated_one(videos: int) -> None:
    for difference in (0.005, 0.03):
        for answer in (shown_better, partial(shown_equivalent, videos=videos, margin=0.02)):
            stated = chance(answer, videos, difference, 0.1)
            found = answer(*drawn(videos, difference, 0.1)).mean()
            assert found == pytest.approx(stated, abs=4 * deviation(stated) + 1e-5)


def deviation(share: float) -> float:
    """Of a share among so many draws."""
    return float(np.sqrt(share * (1 - share) / DRAWS))


def test_the_table_of_power(capsys: pytest.CaptureFixture[str]) -> None:
    comparison_power.main(["--videos", "300", "--points", "2", "--differing", "10"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| on 10 % one alone is right | 300 videos |"
    assert lines[2] == "| 2 points better, and found so | 14.3 % |"
    for flags in (["--differing", "60"], ["--points", "11"], ["--videos", "0"]):
        with pytest.raises(InputError, match=flags[0]):
            comparison_power.main(flags)
