"""Mixed precision: what --amp auto takes, and which convolutions it leaves in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ops.running import precision
from ops.running.precision import InPrecision, Precision, choose_precision, slow_in_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shape", "stride", "slow"),
    [
        ((8, 1, 5, 5), (1, 1), True),
        ((8, 1, 3, 3), (2, 2), True),
        ((8, 1, 3, 3), (1, 1), False),
        ((8, 1, 3, 1), (1, 1), False),  # FEX's, over three frames
        ((8, 8, 5, 5), (2, 2), False),
        ((8, 2, 5, 5), (2, 2), False),
    ],
)
def test_which_convolutions_are_slow_to_train_in_bf16(
    shape: tuple[int, ...], stride: tuple[int, int], slow: bool
) -> None:
    assert slow_in_bf16(torch.zeros(shape), stride) is slow


def test_auto_spares_them_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _device: True)
    assert choose_precision("auto", CPU) == Precision(CPU, torch.bfloat16, spares_depthwise=True)
    assert choose_precision("bf16", CPU) == Precision(CPU, torch.bfloat16)
    assert not choose_precision("auto", torch.device("cuda")).spares_depthwise
    monkeypatch.setattr(precision, "has_bf16", lambda _device: False)
    assert choose_precision("auto", CPU) == Precision(CPU, None)


@pytest.mark.parametrize(("kernel", "spared"), [(5, True), (3, False)])
def test_spared_convolutions_train_in_float32_and_are_evaluated_in_bf16(kernel: int, spared: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, kernel, groups=8)
    x = torch.randn(2, 8, 9, 9)
    exact, rounded = conv(x), InPrecision(conv, Precision(CPU, torch.bfloat16))(x)
    assert not torch.equal(exact, rounded)
    model = InPrecision(conv, Precision(CPU, torch.bfloat16, spares_depthwise=True))
    assert torch.equal(model(x), exact if spared else rounded)
    with torch.no_grad():
        assert torch.equal(model(x), rounded)
    assert torch.get_autocast_dtype("cpu") is torch.bfloat16 and not torch.is_autocast_enabled("cpu")


def test_what_lies_between_spared_convolutions_stays_in_bf16() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 5, groups=8), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
    seen: list[torch.dtype] = []
    for layer in network:
        layer.register_forward_hook(lambda _module, _inputs, result: seen.append(result.dtype))
    auto = Precision(CPU, torch.bfloat16, spares_depthwise=True)
    InPrecision(network, auto)(torch.randn(2, 3, 9, 9)).sum().backward()
    assert seen == [torch.bfloat16] * 4
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert auto.describe(network) == "bf16 (float32 in 1 depthwise convolutions, which are faster so)"
    assert Precision(CPU, torch.bfloat16).describe(network) == "bf16"
