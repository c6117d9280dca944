"""What main.py's options of learning do: gathered gradients, mixed clips, averaged weights, a frozen start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from programs import evaluate, train
from test_programs import interrupt, only_run
from torch import nn

from ops.data.loader import Batch
from ops.errors import InputError
from ops.model.tsn import TSN, NetworkOptions, build_network, options_from_flags
from ops.programs.preparing import scaled_rate
from ops.running.distributed import ALONE
from ops.running.engine import Step, loss_of, train_one_epoch
from ops.running.mixing import Mixing
from ops.running.optimizer import build_optimizer
from ops.running.precision import Precision
from opts import training_options

BASE = ["demo", "RGB", "--num_segments=4"]


def tiny() -> TSN:
    """A network whose BatchNorms are frozen, so that a batch's parts do not meet in them."""
    torch.manual_seed(0)
    return build_network(NetworkOptions(5, 4, arch="resnet18", dropout=0.0)).double()


def steps(network: TSN, batches: list[tuple[torch.Tensor, torch.Tensor]], accumulate: int) -> dict[str, torch.Tensor]:
    """The weights after an epoch over `batches`; whole ones are of two videos."""
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.requires_grad_(False)
    optimizer = build_optimizer(network, 0.1, 0.9, 5e-4)
    scaler = Precision(torch.device("cpu"), None).scaler()
    step = Step(nn.CrossEntropyLoss(), optimizer, scaler, 0.5, accumulate, batch_size=2)
    network.train = lambda mode=True: nn.Module.train(network, False)  # type: ignore[method-assign]
    loader = [Batch(clips[:, None], labels, labels, []) for clips, labels in batches]
    train_one_epoch(network, loader, step, ALONE)
    return network.state_dict()


@pytest.mark.parametrize("parts", [2, 3])
def test_gathered_gradients_make_the_step_of_the_whole_batch(parts: int) -> None:
    clips, labels = torch.randn(parts * 2, 4, 3, 32, 32, dtype=torch.float64), torch.arange(parts * 2) % 5
    pieces = list(zip(clips.split(2), labels.split(2), strict=True))
    whole, gathered, each = steps(tiny(), [(clips, labels)], 1), steps(tiny(), pieces, parts), steps(tiny(), pieces, 1)
    name = "base_model.conv1.weight"
    start = tiny().state_dict()[name]
    assert (gathered[name] - whole[name]).norm() < 1e-10 * (whole[name] - start).norm()
    assert (each[name] - whole[name]).norm() > 1e-3 * (whole[name] - start).norm()


def test_what_an_epoch_leaves_over_is_a_step_of_its_own_mean() -> None:
    clips, labels = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64), torch.tensor([1, 2])
    name = "base_model.conv1.weight"
    whole, left_over = steps(tiny(), [(clips, labels)], 1), steps(tiny(), [(clips, labels)], 4)
    assert torch.equal(whole[name], left_over[name])


@pytest.mark.parametrize(
    ("sizes", "accumulate", "as_if"),
    [
        ([2, 1, 2], 3, [5]),
        ([1], 1, [1]),
        ([0, 2, 1, 0], 2, [3]),  # a batch of which no video could be read
        ([1, 2, 1, 2], 3, [4, 2]),  # what is left over at the end
    ],
)
def test_a_step_weighs_every_video_alike_whatever_batch_it_came_in(
    sizes: list[int], accumulate: int, as_if: list[int]
) -> None:
    clips, labels = torch.randn(sum(sizes), 4, 3, 32, 32, dtype=torch.float64), torch.arange(sum(sizes)) % 5
    found, expected = (
        steps(tiny(), list(zip(clips.split(parts), labels.split(parts), strict=True)), gathered)
        for parts, gathered in ((sizes, accumulate), (as_if, 1))
    )
    name, start = "base_model.conv1.weight", tiny().state_dict()
    assert (found[name] - expected[name]).norm() < 1e-10 * (expected[name] - start[name]).norm()


def test_the_loss_of_the_identity_consensus_is_the_mean_over_frames() -> None:
    scores, labels = torch.randn(2, 3, 5, dtype=torch.float64), torch.tensor([1, 4])
    criterion = nn.CrossEntropyLoss()
    by_hand = sum(criterion(scores[:, t], labels) for t in range(3)) / 3
    assert loss_of(criterion, scores, labels).item() == pytest.approx(float(by_hand), rel=1e-12)
    shares = nn.functional.one_hot(labels, 5).double()
    assert loss_of(criterion, scores, shares).item() == pytest.approx(float(by_hand), rel=1e-12)


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_mixing_blends_whole_clips_and_their_labels(mixup: float, cutmix: float) -> None:
    mixing = Mixing(nn.Identity(), 5, mixup, cutmix)
    values = torch.tensor([0.0, 1.0])
    clips = values.view(2, 1, 1, 1, 1).expand(2, 4, 3, 16, 16).clone()
    mixed, shares = mixing(clips, torch.tensor([0, 3]), np.random.default_rng(1))
    assert mixed.shape == clips.shape and type(mixed) is torch.Tensor
    assert 0.01 < shares[0, 0] < 0.99
    assert torch.equal(shares.sum(dim=1), torch.ones(2))
    assert all(torch.equal(mixed[:, 0], mixed[:, t]) for t in range(4))  # all frames alike
    # The first clip is black with label 0, the second white with label 3: brightness is the share of 3.
    assert torch.allclose(mixed[0].mean(), shares[0, 3], atol=1e-6)
    assert torch.allclose(mixed[1].mean(), shares[1, 3], atol=1e-6)
    assert (mixed[0].unique().numel() == 1) == bool(mixup)


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_shares_of_a_batch_are_mixed_as_the_whole_is(mixup: float, cutmix: float) -> None:
    mixing = Mixing(nn.Identity(), 5, mixup, cutmix)
    clips, labels = torch.rand(7, 2, 3, 16, 16), torch.arange(7) % 5
    for seed in range(4):
        whole = mixing(clips, labels, np.random.default_rng(seed))
        assert torch.equal(whole[0][6], clips[6]) and whole[1][6, 1] == 1  # which has no partner
        shares = [
            mixing(*part, np.random.default_rng(seed)) for part in zip(clips.split(4), labels.split(4), strict=True)
        ]
        for k in range(2):
            assert torch.equal(torch.cat([share[k] for share in shares]), whole[k])


def test_the_rate_follows_the_videos_a_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    flags = ["--lr=0.01", "-b", "20", "--accumulate=2", "--scale_lr_from=64"]
    assert scaled_rate(training_options(BASE + flags)) == pytest.approx(0.01 * 40 / 64)
    assert "with 40 it is 0.00625" in caplog.text
    assert scaled_rate(training_options([*BASE, "--lr=0.01", "-b", "20"])) == 0.01


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--arch=resnet18", "--non_local"], "--non_local: defined for --arch resnet50, not resnet18"),
        (["--arch=mobilenetv2", "--temporal_pool"], "--temporal_pool: defined for"),
        (["--keep_rgb"], "--keep_rgb: only with RGBDiff"),
        (["--shift", "--arch=BNInception"], "give --fex off"),
        (["--shift", "--arch=BNInception", "--fex=off"], "twelve digits"),
        (["--shift", "--fex=off", "--shift_place=011111111111"], "a mask is for --arch BNInception"),
        (["--follow_pretrain=x", "--tune_from=y", "--shift"], "exclude each other"),
        (["--follow_pretrain=x"], "nothing new to train"),
        (["--follow_pretrain=x", "--shift", "--lr_type=cos"], r"--lr_type cos has no .* say when .*--lr_steps EPOCH"),
        (["--follow_pretrain=x", "--shift", "--epochs=50"], "beyond --epochs 50: say when it thaws"),
        (["--fex_stages", "layer2", "layer5"], "--fex_stages layer5: .*did you mean"),
        (["--accumulate=0"], "--accumulate 0: expected 1 or more"),
        (["--scale_lr_from=0"], "--scale_lr_from 0: expected 1 or more"),
        (["--label_smoothing=1"], "--label_smoothing 1.0: expected a number from 0 to below 1"),
        (["--ema=1"], "--ema 1.0: expected"),
        (["--mixup=-1"], "--mixup -1.0: expected a number from 0 on"),
        (["--cutmix=nan"], "--cutmix nan"),
        (["--consensus_type=max"], "--consensus_type max: expected one of avg, identity"),
    ],
)
def test_options_that_contradict_each_other(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        training_options(BASE + flags)


@pytest.mark.parametrize(
    "flags", [["--lr_type=cos", "--lr_steps", "50", "100"], ["--epochs=51"], ["--epochs=9", "--lr_steps", "10"]]
)
def test_a_backbone_may_stay_frozen_for_as_long_as_the_user_says(flags: list[str]) -> None:
    training_options([*BASE, "--follow_pretrain=x", "--shift", *flags])


def test_contradictions_are_reported_together() -> None:
    flags = ["demo", "Flow", "--arch=mobilenetv2", "--non_local", "--keep_rgb", "--randaugment", "--ema=2"]
    with pytest.raises(InputError) as caught:
        training_options(flags)
    for words in ("--non_local", "--keep_rgb", "--randaugment", "--ema 2"):
        assert words in str(caught.value)


def test_the_flags_become_the_networks_options() -> None:
    flags = ["--shift", "--add_se", "--temporal_pool", "--fex_stages", "layer4", "layer2", "--consensus_type=identity"]
    options = options_from_flags(vars(training_options(BASE + flags)), 7)
    assert (options.fex_stages, options.add_se, options.temporal_pool) == (("layer2", "layer4"), True, True)
    assert (options.consensus_type, options.num_classes, options.non_local) == ("identity", 7, False)


LEARNING = [
    *("--accumulate=2", "--label_smoothing=0.1", "--mixup=0.4", "--cutmix=1", "--randaugment", "--ema=0.6"),
    *("--scale_lr_from=64", "--deterministic", "--lr=0.02", "--shift"),
]


def test_every_option_of_learning_resumes_bit_for_bit(demo: Path) -> None:
    """Three epochs in one go, and the third after an interruption: weights and averages agree to the last bit."""
    try:
        train(demo, *LEARNING, "--epochs=3", "--store_name=whole")
        interrupt(demo, "before", *LEARNING, "--epochs=3", "--store_name=parts")
        train(demo, *LEARNING, "--epochs=3", "--resume", str(demo / "checkpoint" / "parts" / "ckpt.pth"))
    finally:
        torch.use_deterministic_algorithms(False)
    whole, resumed = (torch.load(demo / "checkpoint" / run / "ckpt.pth") for run in ("whole", "parts"))
    for key in ("state_dict", "trained"):
        assert all(torch.equal(value, resumed[key][name]) for name, value in whole[key].items())
    differ = [name for name, value in whole["trained"].items() if not torch.equal(value, whole["state_dict"][name])]
    assert "base_model.conv1.weight" in differ
    assert (
        whole["averaged_steps"] == resumed["averaged_steps"] == 6
    )  # 3 batches an epoch: a step of two, one of what is left
    evaluate(demo, demo / "checkpoint" / "whole" / "ckpt.pth")


def test_the_average_is_the_mean_that_its_decay_says(demo: Path) -> None:
    flags = ["--no_fc_lr5", "--shift", "--amp=off"]
    states = []
    for epochs in (1, 2):  # one step an epoch
        train(demo, *flags, "-b", "24", f"--epochs={epochs}", "--ema=0.75", f"--store_name=e{epochs}")
        states.append(torch.load(demo / "checkpoint" / f"e{epochs}" / "ckpt.pth"))
    name = "base_model.layer3.0.conv2.weight"
    first, second = states
    assert torch.equal(first["state_dict"][name], first["trained"][name])  # the first step is copied
    expected = 0.75 * first["trained"][name] + 0.25 * second["trained"][name]
    assert torch.allclose(second["state_dict"][name], expected, atol=1e-7)
    assert not torch.allclose(second["trained"][name], expected, atol=1e-6)


def test_following_a_pretrained_tsm(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(demo, "--shift", "--fex=off", "--epochs=1", "--store_name=tsm", "--npb")
    tsm = demo / "checkpoint" / "tsm" / "ckpt.pth"
    flags = ["--shift", "--npb", f"--follow_pretrain={tsm}", "--lr_steps", "1", "5", "--lr=0.05"]
    runs = {}
    for epochs in (1, 2):
        train(demo, *flags, f"--epochs={epochs}", f"--store_name=e{epochs}")
        runs[epochs] = torch.load(demo / "checkpoint" / f"e{epochs}" / "ckpt.pth")["state_dict"]
    given = torch.load(tsm)["state_dict"]
    frozen = {n.replace(".net.", "."): v for n, v in given.items() if n.startswith("base_model.")}
    for name, value in runs[1].items():
        if ".temporal." not in name and name.startswith("base_model."):
            assert torch.equal(value, frozen[name.replace(".net.", ".")]), name
    assert not torch.equal(runs[1]["new_fc.weight"], given["new_fc.weight"])
    learned = [n for n in runs[1] if ".temporal." in n and not torch.equal(runs[1][n], runs[2][n])]
    assert learned
    for name in ("base_model.conv1.weight", "base_model.bn1.running_mean", "base_model.layer1.0.bn1.weight"):
        assert torch.equal(runs[1][name], given[name]) and not torch.equal(runs[2][name], given[name])
    assert "--follow_pretrain" in caplog.text and "left out (2): new_fc" in caplog.text
    resumed = demo / "checkpoint" / "e1" / "ckpt.pth"
    train(demo, *flags, "--epochs=2", "--store_name=again", "--resume", str(resumed), "--root_log", str(demo / "l"))
    again = torch.load(demo / "checkpoint" / "again" / "ckpt.pth")["state_dict"]
    assert all(torch.equal(value, again[name]) for name, value in runs[2].items())


def test_the_identity_consensus_trains_and_tests(demo: Path) -> None:
    train(demo, "--shift", "--consensus_type=identity", "--epochs=1")
    run = only_run(demo / "checkpoint")
    assert "_identity_" in run.name
    evaluate(demo, run / "ckpt.pth", f"--result_json={demo / 'r.json'}")
    assert json.loads((demo / "r.json").read_text())["videos"] == 12
