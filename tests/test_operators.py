"""Non-local blocks, temporal pooling, spatio-temporal SE and the input stage, against literal forms."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from test_model import shaken
from torch import nn
from torch.nn import functional as F

from archs.backbone import InputConvention
from ops.model.input_stage import InputStage, adapted_kernels
from ops.model.non_local import NonLocal
from ops.model.spatiotemporal_se import SpatioTemporalSE
from ops.model.temporal_pool import TemporalPool, pooled_segments
from ops.model.tsn import NetworkOptions, build_network
from ops.running.checkpoint import Checkpoint, load_matching_weights

EXTRAS = {"temporal_pool": True, "non_local": True, "add_se": True}


pytestmark = pytest.mark.usefixtures("double")


def test_non_local_is_the_literal_one() -> None:
    T, block = 3, shaken(NonLocal(8, 3)).eval()
    assert isinstance(block, NonLocal)
    x = torch.randn(2 * T, 8, 5, 4)
    for video, ours in zip(x.split(T), block(x).split(T), strict=True):
        clip = video.transpose(0, 1)[None]  # (1, C, T, H, W)
        query = block.theta(clip)[0].flatten(1)  # (C/2, T·H·W)
        key, value = (F.max_pool3d(m(clip), (1, 2, 2))[0].flatten(1) for m in (block.phi, block.g))
        columns = []
        for place in range(query.shape[1]):
            likeness = torch.stack([(query[:, place] * key[:, other]).sum() for other in range(key.shape[1])])
            shares = likeness.exp() / likeness.exp().sum()
            columns.append(sum(share * value[:, other] for other, share in enumerate(shares)))
        mixed = torch.stack(columns, dim=1).unflatten(1, clip.shape[2:])[None]  # type: ignore[arg-type]
        expected = (block.W(mixed) + clip)[0].transpose(0, 1)
        assert (ours - expected).abs().max() < 1e-9 * expected.abs().max()


def test_a_fresh_non_local_block_changes_nothing() -> None:
    x = torch.randn(4, 8, 4, 4)
    assert torch.equal(NonLocal(8, 2)(x), x)


@pytest.mark.parametrize("T", [1, 2, 5, 8])
def test_temporal_pool_is_the_literal_one(T: int) -> None:
    x = torch.randn(2 * T, 3, 2, 2)
    ours = TemporalPool(T)(x).unflatten(0, (2, -1))
    assert ours.shape[1] == pooled_segments(T) == (T + 1) // 2
    for video in range(2):
        frames = x[video * T : (video + 1) * T]
        for k in range(ours.shape[1]):
            near = [frames[t] for t in (2 * k - 1, 2 * k, 2 * k + 1) if 0 <= t < T]
            assert torch.equal(ours[video, k], torch.stack(near).amax(dim=0))


def test_se_is_the_literal_one_and_starts_as_published() -> None:
    T = 3
    module = SpatioTemporalSE(nn.Identity(), 32, T)
    x = torch.randn(2 * T, 32, 2, 3)
    start = 1 / (1 + torch.exp(torch.tensor(-1.0)))
    assert torch.allclose(module(x), x * start)
    shaken(module).eval()
    for video, ours in zip(x.split(T), module(x).split(T), strict=True):
        pooled = video.mean(dim=(2, 3))  # (T, C)
        hidden = literal_time_convolution(module.reduce, pooled)
        hidden = hidden / (1 + torch.exp(-hidden))
        weights = 1 / (1 + torch.exp(-literal_time_convolution(module.expand, hidden)))
        assert (ours - video * weights[:, :, None, None]).abs().max() < 1e-12


def literal_time_convolution(layer: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    """(T, C) to (T, C'), tap by tap."""
    out = layer.bias.expand(x.shape[0], -1).clone()  # type: ignore[union-attr]
    for t in range(x.shape[0]):
        for tap in range(3):
            if 0 <= t + tap - 1 < x.shape[0]:
                out[t] += layer.weight[:, :, tap] @ x[t + tap - 1]
    return out


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("fex", ["paper", "off"])
def test_all_extras_together_keep_videos_apart_and_see_time(T: int, fex: str) -> None:
    options = NetworkOptions(5, T, arch="resnet50", shift=True, fex=fex, partial_bn=False, **EXTRAS)  # type: ignore[arg-type]
    network = shaken(build_network(options)).eval()
    clips = torch.randn(2, T, 3, 32, 32)
    with torch.no_grad():
        together, alone = network(clips), torch.cat([network(clip[None]) for clip in clips])
        backwards = network(clips.flip(1))
    assert (together - alone).abs().max() < 1e-9 * together.abs().max()
    assert T == 1 or (together - backwards).abs().max() > 1e-6 * together.abs().max()


def test_what_was_added_is_said_and_named() -> None:
    with torch.device("meta"):
        network = build_network(NetworkOptions(5, 8, shift=True, fex="off", **EXTRAS))  # type: ignore[arg-type]
    words = network.describe()
    for part in ("TSM + temporal pooling + non-local blocks + SE", "4 segments from layer2", "5 non-local", "16 SE"):
        assert part in words
    shifts = [m.num_segments for m in network.modules() if type(m).__name__ == "TemporalShift"]
    assert shifts == [8] * 3 + [4] * 13
    other = build_network(replace(network.options, modality="RGBDiff", arch="resnet18", non_local=False))
    assert "15 channels a segment" in other.describe()


def test_freezing_the_backbone_leaves_what_was_added() -> None:
    options = NetworkOptions(5, 4, shift=True, non_local=True, add_se=True, partial_bn=False)
    with torch.device("meta"):
        network = build_network(replace(options, fex_init="plain")).train()
    network.freeze_backbone(True)
    free = {name for name, p in network.named_parameters() if p.requires_grad}
    assert free == {
        n for n, _ in network.named_parameters() if any(k in n for k in (".temporal.", ".nl.", "new_fc"))
    } | {n for n, _ in network.named_parameters() if ".reduce." in n or ".expand." in n}
    norms = {n: m for n, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert {n for n, m in norms.items() if m.training} == {n for n in norms if ".temporal." in n or ".nl." in n}
    network.freeze_backbone(False)
    assert all(p.requires_grad for p in network.parameters()) and all(m.training for m in norms.values())


@pytest.mark.parametrize("extras", [*({name: True} for name in EXTRAS), EXTRAS])
def test_weights_are_found_under_every_wrapper(extras: dict[str, bool]) -> None:
    """From a plain TSN to the network with operators and back: nothing of the backbone is left out or fresh."""
    options = NetworkOptions(5, 4, shift=True, fex_init="plain")
    with torch.device("meta"):
        plain = build_network(replace(options, shift=False))
        around = build_network(replace(options, **extras))  # type: ignore[arg-type]
        there = load_matching_weights(around, Checkpoint(Path("a"), plain.state_dict(), asdict(plain.options)), True)
        back = load_matching_weights(plain, Checkpoint(Path("b"), around.state_dict(), asdict(around.options)), True)
    assert len(there.loaded) == len(back.loaded) == len(plain.state_dict())
    assert not there.left_out and not back.fresh


PIXELS = torch.arange(18, dtype=torch.uint8).view(1, 18, 1, 1) * 7


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("keep_rgb", [False, True])
def test_rgbdiff_are_the_literal_differences(bgr: bool, keep_rgb: bool) -> None:
    convention = InputConvention(bgr=bgr, white=255.0) if bgr else InputConvention()
    frames = PIXELS.view(6, 3).double() * (convention.white / 255)
    order = [2, 1, 0] if bgr else [0, 1, 2]
    expected = [frames[k + 1, c] - frames[k, c] for k in range(5) for c in order]
    if keep_rgb:
        means, stds = convention.mean, convention.std
        expected = [(frames[0, c] - means[i]) / stds[i] for i, c in enumerate(order)] + expected
    out = InputStage(convention, "RGBDiff", keep_rgb)(PIXELS).flatten()
    assert torch.allclose(out, torch.stack(expected))


@pytest.mark.parametrize(
    ("convention", "still"),
    [(InputConvention(), (128 / 255 - 0.5) / 0.226), (InputConvention((104.0,) * 3, (1.0,) * 3, 255.0, True), 0)],
)
def test_still_flow_is_nought(convention: InputConvention, still: float) -> None:
    flow = torch.full((1, 10, 2, 2), 128, dtype=torch.uint8)
    assert torch.allclose(InputStage(convention, "Flow")(flow), torch.full((1, 10, 2, 2), float(still)))


def test_floats_must_be_what_the_first_convolution_takes() -> None:
    stage = InputStage(InputConvention(), "RGBDiff")
    x = torch.randn(2, 15, 3, 3)
    assert torch.equal(stage(x), x)
    with pytest.raises(ValueError, match="expected 15 normalised channels a segment, got 18"):
        stage(torch.randn(2, 18, 3, 3))


@pytest.mark.parametrize(
    ("modality", "keep_rgb", "channels"), [("Flow", False, 10), ("RGBDiff", False, 15), ("RGBDiff", True, 18)]
)
def test_the_first_convolution_is_the_mean_over_the_colours(modality: str, keep_rgb: bool, channels: int) -> None:
    rgb = torch.randn(4, 3, 7, 7)
    kernels = adapted_kernels(rgb, channels)
    mean = rgb.mean(dim=1)
    motion = kernels[:, 3 if keep_rgb else 0 :]
    assert kernels.shape[1] == channels and all(torch.equal(motion[:, k], mean) for k in range(motion.shape[1]))
    assert not keep_rgb or torch.equal(kernels[:, :3], rgb)
    with torch.device("meta"):
        network = build_network(NetworkOptions(5, 2, modality, keep_rgb, arch="resnet18"))
    assert network.get_submodule(network.first_conv).weight.shape[1] == channels
