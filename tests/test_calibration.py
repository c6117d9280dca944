"""Temperature scaling, expected calibration error and coverage; test_models.py --calibrate keeps what it finds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from programs import evaluate, train

from ops.errors import InputError
from ops.evaluation.coverage import coverage
from ops.locks import claimed
from ops.recognition.calibration import (
    calibrate,
    expected_calibration_error,
    fit_temperature,
    halves,
    negative_log_likelihood,
    standard_error,
)
from ops.recognition.contract import Contract
from ops.running.checkpoint import network_of, read_checkpoint


def made_scores(videos: int, classes: int, temperature: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, K) and labels (N,) drawn from softmax(logits / temperature): the temperature that they ask for."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.standard_normal((videos, classes))
    shares = torch.from_numpy(logits / temperature).softmax(dim=1).cumsum(dim=1)
    labels = (shares < torch.from_numpy(rng.random((videos, 1)))).sum(dim=1).clamp(max=classes - 1)
    return torch.from_numpy(logits), labels


def literal_error(probabilities: list[list[float]], labels: list[int], bins: int) -> float:
    """The definition, bin by bin: bin m holds the confidences in ((m − 1) / bins, m / bins]."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(probabilities, labels, strict=True)
            if (m - 1) / bins < max(row) <= m / bins
        ]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(top for top, _ in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize(
    ("tops", "right", "bins", "error"),
    [
        ([0.9], [True], 15, 0.1),
        ([0.9], [False], 15, 0.9),
        ([1.0, 1.0], [True, False], 15, 0.5),
        ([0.75, 0.75], [True, False], 4, 0.25),  # on a bin's upper edge, which is in it
        ([0.75, 0.76], [True, False], 4, (0.25 + 0.76) / 2),  # on two sides of it
        ([0.6, 0.9], [True, True], 1, 0.25),
        ([0.6, 0.9], [True, False], 10, (0.4 + 0.9) / 2),  # in one bin, they would weigh each other up
    ],
)
def test_expected_calibration_error(tops: list[float], right: list[bool], bins: int, error: float) -> None:
    probabilities = torch.tensor([[top, 1 - top] for top in tops], dtype=torch.float64)
    found = expected_calibration_error(probabilities, torch.tensor([0 if r else 1 for r in right]), bins)
    assert found == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_expected_calibration_error_is_the_definition(seed: int) -> None:
    logits, labels = made_scores(200, 3 + seed, temperature=2.0, seed=seed)
    probabilities = logits.softmax(dim=1)
    expected = literal_error(probabilities.tolist(), labels.tolist(), 15)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    assert expected > 0.02


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_one_that_made_the_labels(temperature: float) -> None:
    logits, labels = made_scores(20_000, 5, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.04)
    assert fit_temperature(10 * logits, labels) == pytest.approx(10 * found, rel=1e-9)
    near = [negative_log_likelihood(logits / (found * factor), labels) for factor in (0.999, 1.0, 1.001)]
    assert near[1] == min(near)


def test_the_standard_error_is_how_far_temperatures_scatter() -> None:
    drawn = [made_scores(300, 4, temperature=2.0, seed=seed) for seed in range(60)]
    found = torch.tensor([fit_temperature(*each) for each in drawn])
    said = [standard_error(logits, 2.0) for logits, _ in drawn]
    assert float(found.std()) == pytest.approx(sum(said) / len(said), rel=0.25)  # of 60, the deviation itself has 9 %


def test_a_calibration_is_judged_on_the_videos_that_it_was_not_fitted_on() -> None:
    logits, labels = made_scores(2000, 5, temperature=3.0)
    found = calibrate(logits.float(), labels)
    fit, judge = halves(labels, seed=0)
    assert (found.fitted_on, found.judged_on) == (len(fit), len(judge)) == (1000, 1000)
    assert found.temperature == pytest.approx(fit_temperature(logits[fit], labels[fit]), rel=1e-6)
    after = literal_error((logits[judge] / found.temperature).softmax(dim=1).tolist(), labels[judge].tolist(), 15)
    assert found.ece_after == pytest.approx(100 * after, abs=1e-4)
    assert found.ece_before > 20 and found.ece_after < 5 and found.nll_after < found.nll_before
    moved = labels.clone()
    moved[judge] = (labels[judge] + 1) % 5
    shuffled = calibrate(logits, labels, seed=1)
    assert shuffled.temperature != found.temperature
    assert fit_temperature(logits[fit], moved[fit]) == fit_temperature(logits[fit], labels[fit])


@pytest.mark.parametrize("videos", [4, 5, 37, 100])
def test_halves_share_out_every_class(videos: int) -> None:
    labels = torch.arange(videos) % 3
    first, second = halves(labels, seed=0)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(videos))
    assert all(abs(int((labels[first] == c).sum()) - int((labels[second] == c).sum())) <= 1 for c in range(3))
    assert first.tolist() == halves(labels, seed=0)[0].tolist()


def test_halves_are_drawn() -> None:
    labels = torch.zeros(40, dtype=torch.int64)
    assert halves(labels, seed=0)[0].tolist() != halves(labels, seed=1)[0].tolist()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[2.0, 1.0], [1.0, 2.0]], [0, 1], "all 2 videos to fit on are classified right"),
        ([[2.0, 1.0], [2.0, 1.0]], [1, 1], "no more than chance"),
        ([[0.0, math.inf], [0.0, 1.0]], [0, 0], "infinite or no numbers"),
        ([[0.0, math.nan], [0.0, 1.0]], [0, 0], "infinite or no numbers"),
    ],
)
def test_where_there_is_no_temperature(logits: list[list[float]], labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_temperature(torch.tensor(logits), torch.tensor(labels))


def test_too_few_videos() -> None:
    with pytest.raises(InputError, match="3 videos are too few: it takes 4 or more"):
        calibrate(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (100, (100.0, 0.4, 60.0)),
        (80, (80.0, 0.6, 75.0)),
        (70, (80.0, 0.6, 75.0)),  # of five videos, 70 % are four
        (40, (60.0, 0.8, 100 * 2 / 3)),  # two alike: both, or none
        (20, (20.0, 0.9, 100.0)),
        (0, (20.0, 0.9, 100.0)),
    ],
)
def test_accuracy_against_coverage(share: float, expected: tuple[float, float, float]) -> None:
    tops, right = [0.8, 0.6, 0.9, 0.4, 0.8], [False, True, True, False, True]
    rest = [[top, *[(1 - top) / 3] * 3] for top in tops]
    labels = torch.tensor([0 if r else 1 for r in right])
    (row,) = coverage(torch.tensor(rest, dtype=torch.float64), labels, [share])
    assert (row["coverage"], row["min_probability"], row["top1"]) == pytest.approx(expected)


@pytest.fixture(scope="module")
def trained(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dataset/demo`; lists with what the network `a` says as every label, as every other, and without labels."""
    root = tmp_path_factory.mktemp("calibration")
    (root / "dataset").mkdir()
    (root / "dataset" / "demo").symlink_to(rendered / "demo")
    train(root, "--shift", "--epochs=1", "--store_name=a")
    evaluate(root, root / "checkpoint" / "a" / "ckpt.pth", f"--save_scores={root / 'scores.npz'}")
    with np.load(root / "scores.npz") as saved:
        predicted = saved["scores"].argmax(axis=1).tolist()
    lines = (rendered / "demo" / "val_videofolder.txt").read_text().splitlines()
    places = [line.rsplit(" ", 1)[0] for line in lines]
    labels = [c if k % 2 else (c + 1) % 12 for k, c in enumerate(predicted)]
    (root / "half.txt").write_text("".join(f"{p} {c}\n" for p, c in zip(places, labels, strict=True)))
    (root / "right.txt").write_text("".join(f"{p} {c}\n" for p, c in zip(places, predicted, strict=True)))
    (root / "unlabelled.txt").write_text("".join(f"{p}\n" for p in places))
    return root


def copied(trained: Path, folder: Path) -> Path:
    """A checkpoint of one's own to calibrate."""
    path = folder / "ckpt.pth"
    path.write_bytes((trained / "checkpoint" / "a" / "ckpt.pth").read_bytes())
    return path


def same(one: Any, other: Any) -> bool:
    """Whether two contents of files are the same, bit by bit."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_calibrate_keeps_its_temperature_and_changes_nothing_else(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = copied(trained, tmp_path), tmp_path / "r.json"
    before = torch.load(path, weights_only=True)
    flags = (f"--test_list={trained / 'half.txt'}", f"--result_json={out}")
    evaluate(trained, path, *flags, "--calibrate", "--twice_sample")
    result, after = json.loads(out.read_text()), torch.load(path, weights_only=True)
    kept = after.pop("calibration")
    assert same(before, after) and kept == result["calibration"]
    assert kept["views"]["sampling"] == "twice" and (kept["fitted_on"], kept["judged_on"]) == (6, 6)
    said = capsys.readouterr().out
    assert (
        f"temperature {kept['temperature']:.4f} ± {kept['standard_error']:.4f}, of 6 videos; on 6 others: ECE" in said
        and "surest videos" in said
    )

    checkpoint = read_checkpoint(path)
    assert Contract.of(checkpoint, network_of(checkpoint)).temperature == kept["temperature"] != 1.0
    evaluate(trained, path, *flags)
    calibrated = json.loads(out.read_text())
    assert calibrated["temperature"] == kept["temperature"] and "calibration" not in calibrated
    assert [row["coverage"] for row in calibrated["coverage"]] == pytest.approx(
        [100 * n / 12 for n in (12, 12, 11, 10, 9, 6)]
    )
    evaluate(trained, trained / "checkpoint" / "a" / "ckpt.pth", *flags)
    plain = json.loads(out.read_text())
    assert plain["top1"] == calibrated["top1"] == plain["coverage"][0]["top1"] == 50.0
    assert plain["coverage"][0]["min_probability"] != calibrated["coverage"][0]["min_probability"]


def test_what_was_tested_is_kept_where_there_is_no_temperature(trained: Path, tmp_path: Path) -> None:
    path, out = copied(trained, tmp_path), tmp_path / "r.json"
    with pytest.raises(InputError, match="classified right"):
        evaluate(trained, path, "--calibrate", f"--test_list={trained / 'right.txt'}", f"--result_json={out}")
    assert json.loads(out.read_text())["top1"] == 100 and "calibration" not in torch.load(path, weights_only=True)


def test_training_goes_on_from_a_calibrated_checkpoint_without_its_temperature(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained / "checkpoint" / "a" / "ckpt.pth", weights_only=True)
    folder = tmp_path / "checkpoint" / "a"
    folder.mkdir(parents=True)
    torch.save({**content, "calibration": {"temperature": 2.0}}, folder / "ckpt.pth")
    (tmp_path / "dataset").symlink_to(trained / "dataset")
    train(tmp_path, "--shift", "--epochs=2", "--store_name=a", f"--resume={folder / 'ckpt.pth'}")
    assert "calibration" not in torch.load(folder / "ckpt.pth", weights_only=True)


def test_what_cannot_be_calibrated(trained: Path, tmp_path: Path, rendered: Path) -> None:
    path = copied(trained, tmp_path)
    whole = path.read_bytes()
    published = tmp_path / "TSM_demo_RGB_resnet18_shift8_blockres_FEX_avg_segment4_e1.pth"
    torch.save({"state_dict": torch.load(path, weights_only=True)["state_dict"]}, published)
    cases = [
        (path, [f"--test_list={trained / 'unlabelled.txt'}", f"--csv_file={tmp_path / 'c.csv'}"], "have no labels"),
        (path, [f"--test_list={rendered / 'demo' / 'train_videofolder.txt'}"], "was trained on"),
        (path, ["--max_num=3"], "3 videos are too few"),
        (published, [], "published file"),
        (f"{path},{path}", [], "--weights has 2"),
        (trained / "scores.npz", [], "give that, not its scores"),
        (path, ["--softmax"], "leave out --softmax"),
        (path, ["--reverse_time"], "leave out --reverse_time"),
        (path, ["--test_segments=8"], "leave out --test_segments"),
        (tmp_path / "none.pth", [], "no such checkpoint"),
    ]
    for weights, flags, message in cases:
        with pytest.raises(InputError, match=message):
            evaluate(trained, weights, "--calibrate", *flags)
    with claimed(tmp_path), pytest.raises(InputError, match="calibrate once its training has ended"):
        evaluate(trained, path, "--calibrate")
    assert path.read_bytes() == whole
