"""Optimizer groups, schedules, and whole optimizer steps against the golden numbers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from published import clip, filled
from torch import nn

from ops.data.loader import Batch
from ops.errors import InputError
from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.distributed import ALONE
from ops.running.engine import Step, count_top_k, ranks, validate
from ops.running.optimizer import build_optimizer, learning_rate, parameter_groups, restore_optimizer
from ops.running.precision import Precision, choose_precision
from ops.running.published import rename_published

CPU = torch.device("cpu")


def test_places_among_the_scores() -> None:
    nan = float("nan")
    scores = torch.tensor([[3.0, 1, 2], [3, 1, 2], [1, 1, 1], [1, 1, 1], [nan, 1, 2], [nan, 1, 2]])
    labels = torch.tensor([0, 1, 0, 2, 2, 0])
    assert ranks(scores, labels).tolist() == [1, 3, 1, 3, 2, 4]
    assert [int(count_top_k(scores, labels, k)) for k in (1, 2, 5)] == [2, 3, 6]
    first = scores[:4].argmax(dim=1) == labels[:4]  # of equal ones, as for the confusion matrix
    assert ((ranks(scores[:4], labels[:4]) == 1) == first).all()


@pytest.mark.parametrize("variant", ["tsm", "fexnet_released"])
@pytest.mark.parametrize(
    ("name", "partial_bn", "classifier_lr5"),
    [
        ("resnet50_RGB_partialbn1_fclr51", True, True),
        ("resnet50_RGB_partialbn0_fclr51", False, True),
        ("resnet50_RGB_partialbn0_fclr50", False, False),
    ],
)
def test_golden_groups(golden: Path, variant: str, name: str, partial_bn: bool, classifier_lr5: bool) -> None:
    expected = json.loads((golden / "optim_groups.json").read_text())[variant][name]
    with torch.device("meta"):
        network = build_network(
            NetworkOptions(
                174,
                shift=True,
                fex="off" if variant == "tsm" else "released",
                fex_init="plain",
                partial_bn=partial_bn,
            )
        )
    groups = parameter_groups(network, classifier_lr5)
    assert len(groups) == len(expected)
    for ours, theirs in zip(groups, expected, strict=True):
        assert ours["name"] == theirs["name"]
        assert (ours["lr_mult"], ours["decay_mult"]) == (theirs["lr_mult"], theirs["decay_mult"])
        assert len(ours["params"]) == theirs["params"]["tensors"]
        assert sum(p.numel() for p in ours["params"]) == theirs["params"]["elements"]


@pytest.mark.parametrize("fex", ["paper", "released", "off"])
@pytest.mark.parametrize("partial_bn", [False, True])
def test_every_trainable_parameter_is_in_one_group(fex: str, partial_bn: bool) -> None:
    network = build_network(NetworkOptions(5, arch="resnet18", shift=True, fex=fex, partial_bn=partial_bn))
    grouped = Counter(id(p) for group in parameter_groups(network) for p in group["params"])
    assert grouped == Counter(id(p) for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["tsm_partialbn0", "tsm_partialbn1", "fexnet_released_partialbn0"])
def test_golden_training_steps(golden: Path, name: str) -> None:
    described = json.loads((golden / f"training_steps_{name}.json").read_text())
    o = described["options"]
    network, keys = golden_network(golden, name, o)
    optimizer = build_optimizer(network, o["lr"], o["momentum"], o["weight_decay"], o["classifier_lr5"])
    precision = Precision(torch.device("cpu"), None)
    step = Step(nn.CrossEntropyLoss(), optimizer, precision.scaler(), o["clip_gradient"])
    clips = clip(golden, 11, 2, o["num_segments"], 64)
    labels = torch.tensor(o["labels"])
    for expected in described["steps"]:
        network.train()
        before = {k: v.clone() for k, v in network.state_dict().items()}
        norm = gradient_norm(network, clips, labels)
        network.load_state_dict(before)
        loss, *_ = step(network, clips, labels)
        assert loss.item() == pytest.approx(expected["loss"], rel=1e-8)
        assert norm == pytest.approx(expected["grad_norm_before_clipping"], rel=1e-8)
        after = network.state_dict()
        assert set(expected["change"]) <= set(keys) and len(expected["change"]) > 60
        for theirs, change in expected["change"].items():
            ours = next(iter(rename_published({theirs: torch.zeros(1)})))
            moved = (after[ours].double() - before[ours].double()).norm().item()
            assert moved == pytest.approx(change, rel=1e-8, abs=1e-15), theirs


def golden_network(golden: Path, name: str, o: dict[str, Any]) -> tuple[nn.Module, dict[str, list[int]]]:
    """The network of a golden training run, filled, in float64, its dropout's probability nought."""
    released = name.startswith("fexnet")
    if released:
        keys = json.loads((golden / "fexnet_released_resnet18_shift8_seg4.keys.json").read_text())["keys"]
    else:
        keys = json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"]
    network = build_network(
        NetworkOptions(
            o["num_class"],
            o["num_segments"],
            arch=o["arch"],
            shift=True,
            shift_div=o["shift_div"],
            shift_place=o["shift_place"],
            fex="released" if released else "off",
            partial_bn=o["partial_bn"],
        )
    ).double()
    network.load_state_dict(rename_published(filled(golden, keys)))
    network.base_model.fc.p = 0.0
    return network, keys


def gradient_norm(network: nn.Module, clips: torch.Tensor, labels: torch.Tensor) -> float:
    """The norm of the whole gradient, before clipping."""
    trained = [p for p in network.parameters() if p.requires_grad]
    loss = nn.CrossEntropyLoss()(network(clips), labels)
    grads = torch.autograd.grad(loss, trained, allow_unused=True)
    return torch.stack([g.norm() for g in grads if g is not None]).norm().item()


@pytest.mark.parametrize(
    ("epoch", "kind", "warmup", "expected"),
    [
        (0, "step", 0, 0.1),
        (19, "step", 0, 0.1),
        (20, "step", 0, 0.01),
        (40, "step", 0, 0.001),
        (0, "cos", 0, 0.1),
        (25, "cos", 0, 0.05),
        (49, "cos", 0, 0.1 * 0.0009866357858642205),
        (0, "step", 3, 0.025),
        (2, "step", 3, 0.075),
        (3, "step", 3, 0.1),
    ],
)
def test_learning_rate(epoch: int, kind: str, warmup: int, expected: float) -> None:
    assert learning_rate(epoch, 50, 0.1, kind, (20, 40), warmup) == pytest.approx(expected)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(InputError, match="step or cos"):
        learning_rate(0, 50, 0.1, "linear")


def test_fp16_is_refused_on_the_cpu() -> None:
    with pytest.raises(InputError, match="bf16"):
        choose_precision("fp16", torch.device("cpu"))
    assert choose_precision("bf16", torch.device("cpu")).dtype is torch.bfloat16
    assert choose_precision("off", torch.device("cpu")).dtype is None


# The optimizer's state, and steps that the loss's scaler leaves out


def small(**changes: Any) -> TSN:
    """A network of five classes, the same each time."""
    torch.manual_seed(0)
    return build_network(NetworkOptions(5, 2, arch="resnet18", dropout=0.0, partial_bn=False, **changes))


def gradients(network: TSN, seed: int) -> None:
    """Gives each parameter that is trained a gradient that `seed` decides, laid out as the parameter is."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.empty_like(parameter).copy_(drawn) if parameter.requires_grad else None


def momenta(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Each parameter's, in the groups' order."""
    return [optimizer.state[p]["momentum_buffer"] for group in optimizer.param_groups for p in group["params"]]


def test_momentum_starts_at_nought_for_every_parameter_and_steps_as_torch_does() -> None:
    ours, theirs = small(), small()
    optimizer = build_optimizer(ours, 0.1, 0.9, 5e-4)
    assert len(momenta(optimizer)) == len(list(ours.parameters()))
    assert not any(buffer.any() for buffer in momenta(optimizer))
    groups = parameter_groups(theirs)
    for group in groups:
        group |= {"lr": 0.1 * group["lr_mult"], "weight_decay": 5e-4 * group["decay_mult"]}
    lazy = torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True)  # which makes its state as it needs it
    for seed in range(3):
        for network, steps in ((ours, optimizer), (theirs, lazy)):
            gradients(network, seed)
            steps.step()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_parameters_that_thaw_later_join_those_of_their_group() -> None:
    network = small(shift=True, add_se=True)
    optimizer = build_optimizer(network, 0.1, 0.9, 5e-4)
    for frozen in (True, False):  # as --follow_pretrain does at the first of --lr_steps
        network.freeze_backbone(frozen)
        gradients(network, 0)
        optimizer.step()
    assert all(value.isfinite().all() for value in network.state_dict().values())


class Overflowing(nn.Module):
    """A network whose gradients are infinite on its first call, as in fp16 with too large a scale."""

    def __init__(self, network: TSN, skips: int) -> None:
        super().__init__()
        self.network, self.skips = network, skips

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        scores = self.network(clips)
        self.skips -= 1
        if self.skips >= 0:
            scores.register_hook(lambda gradient: gradient * float("inf"))
        return scores


@pytest.mark.parametrize("skips", [1, 3])
def test_steps_that_the_scaler_skips_leave_nothing_behind(skips: int) -> None:
    clips, labels = torch.rand(3, 2, 2, 3, 32, 32), torch.tensor([1, 3])
    runs, counts = [], []
    for skipped in (skips, 0):
        network = small().eval()
        counts.append(0)

        def count(run: int = len(counts) - 1) -> None:
            counts[run] += 1

        # One scale throughout: the run that skips halves its own.
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** (8 + skipped))
        optimizer = build_optimizer(network, 0.01, 0.9, 5e-4)
        step = Step(nn.CrossEntropyLoss(), optimizer, scaler, clip_gradient=20, after=count)
        model = Overflowing(network, skipped)
        for batch in (*[clips[0]] * skipped, *clips):
            step(model, batch, labels)
        runs.append([network.state_dict(), momenta(optimizer)])
    assert counts == [3, 3]  # what averages the weights does so after a step, not after a skipped one
    (weights, buffers), (expected, expected_buffers) = runs
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())
    assert all(torch.equal(mine, other) for mine, other in zip(buffers, expected_buffers, strict=True))


def test_gradients_that_are_never_finite_end_the_run() -> None:
    network = small().eval()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-12)
    step = Step(nn.CrossEntropyLoss(), build_optimizer(network, 0.01, 0.9, 5e-4), scaler)
    with pytest.raises(InputError, match=r"gradients are not finite, however small .* --amp off"):
        for _ in range(3):
            step(Overflowing(network, 9), torch.rand(2, 2, 3, 32, 32), torch.tensor([1, 3]))


def test_one_readable_video_too_few_for_batchnorm_is_said_in_words() -> None:
    network = small(shift=True)
    scaler = Precision(torch.device("cpu"), None).scaler()
    step = Step(nn.CrossEntropyLoss(), build_optimizer(network, 0.01, 0.9, 5e-4), scaler)
    with pytest.raises(InputError, match="a BatchNorm has a single value a channel to train on with 1 video"):
        step(network.train(), torch.rand(1, 2, 3, 32, 32), torch.tensor([1]))


def test_restored_momentum_is_whole_and_lies_as_the_weights_do() -> None:
    """From a file whose state lacks some buffers (torch's own of a frozen start) and has others in another layout."""
    network, path = small(), Path("ckpt.pth")
    optimizer = build_optimizer(network, 0.1, 0.9, 5e-4)
    gradients(network, 0)
    optimizer.step()
    saved, expected = optimizer.state_dict(), [buffer.clone() for buffer in momenta(optimizer)]
    saved["state"] = {
        key: {"momentum_buffer": state["momentum_buffer"].contiguous()} for key, state in saved["state"].items()
    }
    saved["state"][0]["momentum_buffer"] = None
    del saved["state"][1]
    expected[0], expected[1] = torch.zeros_like(expected[0]), torch.zeros_like(expected[1])
    resumed = build_optimizer(network, 0.1, 0.9, 5e-4)
    restore_optimizer(resumed, saved, path)
    assert all(torch.equal(mine, other) for mine, other in zip(momenta(resumed), expected, strict=True))
    parameters = [p for group in resumed.param_groups for p in group["params"]]
    assert all(m.stride() == p.stride() for m, p in zip(momenta(resumed), parameters, strict=True))

    without = build_optimizer(network, 0.1, 0.0, 5e-4)
    restore_optimizer(without, saved, path)
    assert not without.state_dict()["state"]  # a later run with momentum must not go on with this one's
    restore_optimizer(resumed, without.state_dict(), path)
    assert not any(buffer.any() for buffer in momenta(resumed))
    saved["state"][5]["momentum_buffer"] = torch.ones(3)
    with pytest.raises(InputError, match=r"ckpt\.pth: its optimizer is of another network"):
        restore_optimizer(resumed, saved, path)


def test_a_score_that_is_infinite_enters_no_accuracy() -> None:
    """Though it is a wrong class's, and the loss a finite number."""
    batch = Batch(torch.zeros(1, 1, 1, 3, 2, 2), torch.tensor([0]), torch.tensor([7]), [])

    class Infinite(nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, -torch.inf]])

    with pytest.raises(InputError, match="the scores are infinite or no numbers at videos 7"):
        validate(Infinite(), [batch], nn.CrossEntropyLoss(), ALONE)


def test_what_a_step_draws_follows_from_its_key() -> None:
    """From the epoch, the batch in it and the seed, and from nothing that came before."""
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2))
    clips, labels = torch.ones(2, 4, 1, 4, 4), torch.tensor([0, 1])

    def scores(key: tuple[int, int], seed: int = 0) -> torch.Tensor:
        step = Step(nn.CrossEntropyLoss(), torch.optim.SGD(network.parameters(), lr=0.0), Precision(CPU, None).scaler())
        step.seed = seed
        return step(network, clips, labels, key)[1]

    first = scores((0, 0))
    assert torch.equal(scores((0, 0)), first)
    assert not any(torch.equal(other, first) for other in (scores((1, 0)), scores((0, 1)), scores((0, 0), seed=1)))
