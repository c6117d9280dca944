"""Frame indices: the published ones to the last, the rules by table, the bounds by many random draws."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ops.data import sampling
from ops.errors import InputError

PUBLISHED_NAMES = {
    "uniform": "uniform",
    "dense_sample": "dense",
    "twice_sample": "twice",
    "ten_clip_sparse": "ten_sparse",
}


def test_published_indices(golden: Path) -> None:
    table = json.loads((golden / "frame_indices.json").read_text())
    assert len(table) == 306
    for key, expected in table.items():
        split, mode, *numbers = key.split("/")
        T, L, n = (int(number[1:]) for number in numbers)
        if split == "val":
            clips = [sampling.val_indices(n, T, L)]
        else:
            clips = sampling.test_clips(n, T, L, PUBLISHED_NAMES[mode])
        assert [index for clip in clips for index in clip] == expected, key


@pytest.mark.parametrize(
    ("n", "T", "L", "expected"),
    [
        (8, 4, 1, [2, 4, 6, 8]),
        (9, 4, 1, [2, 4, 6, 8]),
        (4, 4, 1, [1, 1, 1, 1]),
        (1, 3, 1, [1, 1, 1]),
        (12, 4, 5, [2, 4, 6, 8]),
        (8, 4, 5, [1, 1, 1, 1]),
        (1, 2, 5, [1, 1]),
    ],
)
def test_validation_table(n: int, T: int, L: int, expected: list[int]) -> None:
    assert sampling.val_indices(n, T, L) == expected


@pytest.mark.parametrize(
    ("n", "T", "expected"),
    [
        (64, 4, [1, 17, 33, 49]),
        (100, 4, [19, 35, 51, 67]),  # the window of frames 19 to 82
        (20, 4, [1, 17, 13, 9]),  # wraps around after frame 20
        (1, 2, [1, 1]),
    ],
)
def test_dense_validation_is_the_middle_window(n: int, T: int, expected: list[int]) -> None:
    assert sampling.val_indices(n, T, 1, dense=True) == expected


def test_ten_sparse_offers_both_counts() -> None:
    assert len(sampling.test_clips(100, 8, 1, "ten_sparse")) == 3
    ten = sampling.test_clips(100, 5, 1, "ten_sparse", sparse_clips=10)
    assert ten == [[1 + 2 * k, 21 + 2 * k, 41 + 2 * k, 61 + 2 * k, 81 + 2 * k] for k in range(10)]


def test_training_draws_one_frame_in_each_part_and_reaches_all() -> None:
    n, T = 20, 4
    seen: list[set[int]] = [set() for _ in range(T)]
    for seed in range(300):
        for part, index in enumerate(sampling.train_indices(n, T, 1, np.random.default_rng(seed))):
            seen[part].add(index)
    assert seen == [{1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}, {11, 12, 13, 14, 15}, {16, 17, 18, 19, 20}]


def test_training_is_evenly_distributed_where_parts_are_no_whole_numbers() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([index for _ in range(6000) for index in sampling.train_indices(7, 3, 1, rng)], minlength=8)
    assert counts[0] == 0
    assert np.abs(counts[1:] / (6000 * 3 / 7) - 1).max() < 0.1


def test_dense_training_windows() -> None:
    starts = set()
    for seed in range(400):
        clip = sampling.train_indices(80, 8, 1, np.random.default_rng(seed), dense=True)
        assert [b - a for a, b in pairwise(clip)] == [8] * 7
        starts.add(clip[0])
    assert starts == set(range(1, 18))  # 0..n-64, 1-based


def test_training_repeats_with_its_generator_only() -> None:
    def draw(seed: int) -> list[int]:
        return sampling.train_indices(200, 8, 1, np.random.default_rng(seed))

    assert draw(3) == draw(3)
    assert len({tuple(draw(seed)) for seed in range(20)}) > 15


@pytest.mark.parametrize("dense", [False, True])
def test_training_segments_stay_inside(dense: bool) -> None:
    rng = np.random.default_rng(1)
    for n in (*range(1, 40), 63, 64, 65, 66, 100, 251):
        for T in (1, 3, 8, 16, 64):
            for L in (1, 5, 6):
                for _ in range(3):
                    clip = sampling.train_indices(n, T, L, rng, dense)
                    assert len(clip) == T
                    assert min(clip) >= 1
                    assert max(clip) + L - 1 <= max(n, L), (n, T, L, clip)
                    assert dense or clip == sorted(clip)


def test_evaluation_segments_stay_inside() -> None:
    for n in (*range(1, 40), 63, 64, 65, 100, 251):
        for T in (1, 3, 7, 8, 16):
            for L in (1, 5):
                clips = [sampling.val_indices(n, T, L), sampling.val_indices(n, T, L, dense=True)]
                for mode in ("uniform", "twice", "ten_sparse"):
                    clips += sampling.test_clips(n, T, L, mode)
                if L == 1:
                    clips += sampling.test_clips(n, T, L, "dense")
                for clip in clips:
                    assert len(clip) == T
                    assert min(clip) >= 1
                    assert max(clip) + L - 1 <= max(n, L), (n, T, L, clip)


def test_frames_of_segments_repeat_the_last_beyond_the_end() -> None:
    assert sampling.segment_frames([1, 4], 3, 9) == [1, 2, 3, 4, 5, 6]
    assert sampling.segment_frames([1, 4], 3, 5) == [1, 2, 3, 4, 5, 5]
    assert sampling.segment_frames([1], 5, 2) == [1, 2, 2, 2, 2]


def test_dense_refuses_more_segments_than_frames_of_its_window() -> None:
    rng = np.random.default_rng(0)
    assert len(sampling.val_indices(100, 64, 1, dense=True)) == 64
    for draw in (
        lambda: sampling.train_indices(100, 65, 1, rng, dense=True),
        lambda: sampling.val_indices(100, 65, 1, dense=True),
        lambda: sampling.test_clips(100, 65, 1, "dense"),
    ):
        with pytest.raises(InputError, match="cannot draw 65 segments from them; take at most 64"):
            draw()


def test_unknown_test_mode() -> None:
    with pytest.raises(InputError, match="Unknown test sampling 'often'; expected one of: uniform, dense"):
        sampling.test_clips(100, 8, 1, "often")
