"""tools/complexity.py: the published figures."""

from __future__ import annotations

import pytest

from ops.errors import InputError
from ops.model.tsn import NetworkOptions
from tools import complexity


@pytest.mark.parametrize(
    ("options", "parameters", "macs"),
    [
        # TSM-ResNet-50 is published with 24.3 M parameters and 33 G.
        (NetworkOptions(400, 8, shift=True, fex="off"), (24.3, 0.05), (33, 0.5)),
        (NetworkOptions(400, 16, shift=True, fex="off"), (24.3, 0.05), (65, 0.5)),
        (NetworkOptions(400, 8), (24.3, 0.05), (33, 0.5)),
    ],
)
def test_published_figures(options: NetworkOptions, parameters: tuple[float, float], macs: tuple[float, float]) -> None:
    counted, multiplied = complexity.complexity(complexity.on_meta(options), 224)
    assert abs(counted / 1e6 - parameters[0]) < parameters[1]
    assert abs(multiplied / 1e9 - macs[0]) < macs[1]


def test_the_count_of_one_layer_by_hand() -> None:
    """Of two networks that differ by their classifier alone, by hand: 512 weights a class, once a frame."""
    small, large = (
        complexity.complexity(complexity.on_meta(NetworkOptions(k, 3, arch="resnet18")), 64) for k in (10, 15)
    )
    assert large[0] - small[0] == 5 * 513
    assert large[1] - small[1] == 5 * 512 * 3


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    complexity.main(["--arch=resnet18", "--num_segments=4", "--shift", "--num_classes=12", "--input_size=112"])
    out = capsys.readouterr().out
    assert "FEXNet (the paper's block) on resnet18, 4 segments of RGB, 12 classes" in out
    assert "M parameters" in out and "GMACs a clip of 4 x 112 x 112" in out
    with pytest.raises(InputError, match="--arch resnet5"):
        complexity.main(["--arch=resnet5"])
