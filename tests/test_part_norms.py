"""tools/part_norms.py: every weight is in one part, and gradients are what a step would see."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ops.errors import InputError
from ops.model.tsn import NetworkOptions, build_network
from opts import training_options
from tools import part_norms

FLAGS = "--arch resnet18 --pretrain none --num_segments 2 --input_size 32 -b 2 --npb --lr 0.5".split()


@pytest.mark.parametrize("fex", ["paper", "released"])
def test_every_weight_is_in_one_part(fex: str) -> None:
    network = build_network(NetworkOptions(12, 2, arch="resnet18", shift=True, fex=fex))
    names = [name for name, _ in network.named_parameters()]
    parts = part_norms.parts_of(names)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    ours = {"FE", "TIM's convolution", "TIM's BatchNorm", "SR", "fusion"}
    assert set(parts) == {*ours, "classifier", "backbone"}
    assert all(".temporal." in name for part in ours for name in parts[part])


def test_a_table_of_a_fresh_network(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part_norms.main(["demo", "RGB", "--root_dataset", str(demo / "dataset"), *FLAGS, "--shift"])
    head, _, *lines = (line for line in capsys.readouterr().out.splitlines() if line.startswith("|"))
    rows = {name: cells for name, *cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}
    assert head.count("|") == 8 and rows["SR"][1:] == ["0", "0", "", "", ""]  # nothing reads it yet
    weights, gradient, step, scatter, single, half = map(float, rows["backbone"])
    assert abs(step - 50 * gradient / weights) < 0.1 * step and scatter > 0
    assert 0 < single < 1 < half < 100


def test_a_gradient_is_the_losses(demo: Path) -> None:
    argv = ["demo", "RGB", "--root_dataset", str(demo / "dataset"), *FLAGS, "--shift", "--fex", "off"]
    network, batches = part_norms.loaded(training_options(argv))
    assert len(batches) == part_norms.BATCHES and all(len(labels) == 2 for _, labels in batches)
    clips, labels = batches[0]
    name, parameter = next((n, p) for n, p in network.named_parameters() if n.startswith("new_fc.bias"))
    found = part_norms.gradients(network, clips, labels, torch.float64)
    assert parameter.grad is None and set(found) == {n for n, _ in network.named_parameters()}
    with torch.no_grad():
        shares = network.double().train().apply(lambda m: m.eval() if isinstance(m, torch.nn.Dropout) else None)(clips)
    expected = shares.softmax(dim=1) - torch.nn.functional.one_hot(labels, 12)
    torch.testing.assert_close(found[name], expected.mean(dim=0), rtol=1e-9, atol=1e-12)


def test_too_few_videos_are_refused(demo: Path) -> None:
    with pytest.raises(InputError, match=r"train_videofolder\.txt: 24 videos, expected 8 batches of 16"):
        part_norms.main(["demo", "RGB", "--root_dataset", str(demo / "dataset"), *FLAGS, "-b", "16"])
