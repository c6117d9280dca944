"""The networks: golden numbers, the fast forms against the literal ones, what is patched, how FEX starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import literal
import numpy as np
import pytest
import torch
from published import clip, golden_options, published_network
from torch import nn

from ops.errors import InputError
from ops.model.fex import FEX, ForegroundEnhancement, SceneSegregation, initialise_from_data
from ops.model.fex_released import ReleasedFEX
from ops.model.temporal_shift import TemporalShift, WithTemporal, shifted
from ops.model.tsn import TSN, NetworkOptions, build_network, network_options
from ops.running.published import is_mmaction, published_dataset, rename_published
from ops.running.published import published_network as read_options

SMALL = NetworkOptions(num_classes=5, num_segments=4, arch="resnet18", shift=True, partial_bn=False)


@pytest.fixture(autouse=True)
def double() -> object:
    """float64, so that equality means equality; and a fixed start of what is drawn."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def shaken(module: nn.Module) -> nn.Module:
    """Every weight and statistic away from its special start."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.ndim > 1:
                tensor.add_(0.5 * torch.randn_like(tensor) / tensor[0].numel() ** 0.5)
            elif tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
    return module


# The golden networks, and the names that their checkpoints would have.
GOLDEN = {
    "fexnet_released_resnet18_shift8_seg4": "TSM_a_RGB_resnet18_shift8_blockres_FEX_avg_segment4_e50",
    "fexnet_released_resnet50_addse_seg8": "TSM_a_RGB_resnet50_shift8_blockres_addse_FEX_avg_segment8_e50",
    "fexnet_released_resnet50_shift6_seg8": "TSM_a_RGB_resnet50_shift6_blockres_FEX_avg_segment8_e50",
    "mmaction2_tsm_resnet50_seg8": "tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb_20220831.pth",
    "tsm_bninception_shift8_block_seg8": "TSM_a_RGB_BNInception_shift8_block_avg_segment8_e50.pth",
    "tsm_flow_resnet50_shift8_seg8": "TSM_a_Flow_resnet50_shift8_blockres_avg_segment8_e50.pth",
    "tsm_mobilenetv2_shift8_blockres_seg8": "TSM_a_RGB_mobilenetv2_shift8_blockres_avg_segment8_e100_dense.pth",
    "tsm_resnet50_shift8_block_seg8": "TSM_a_RGB_resnet50_shift8_block_avg_segment8_e50.pth",
    "tsm_resnet50_shift8_blockres_nl_seg8": "TSM_a_RGB_resnet50_shift8_blockres_avg_segment8_e100_dense_nl.pth",
    "tsm_resnet50_shift8_blockres_seg8": "TSM_a_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth",
    "tsm_resnet50_tpool_seg8": "TSM_a_RGB_resnet50_shift8_blockres_tpool_avg_segment8_e50.pth",
    "tsn_bninception_seg3": "TSM_a_RGB_BNInception_avg_segment3_e50.pth",
    "tsn_resnet50_seg5": "TSM_a_RGB_resnet50_avg_segment5_e50.pth",
}


def test_every_golden_network_is_here(golden: Path) -> None:
    assert {path.name.removesuffix(".keys.json") for path in golden.glob("*.keys.json")} == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_logits(golden: Path, name: str) -> None:
    network = published_network(golden, name)
    described = json.loads((golden / f"{name}.keys.json").read_text())["input"]
    expected = np.load(golden / f"{name}.npz")
    assert expected.files
    for key in expected.files:
        count, segments = int(key.removeprefix("videos")), network.options.num_segments
        videos = clip(golden, 7, count, segments, described["size"], described["channels_per_frame"])
        with torch.no_grad():
            scores = network(videos).numpy()
        assert np.abs(scores - expected[key]).max() <= 1e-9 * np.abs(expected[key]).max()


@pytest.mark.parametrize("name", GOLDEN)
def test_options_of_published_checkpoints_are_read_from_name_and_tensors(golden: Path, name: str) -> None:
    described = json.loads((golden / f"{name}.keys.json").read_text())
    state = {key: torch.empty(shape, device="meta") for key, shape in described["keys"].items()}
    mmaction = is_mmaction(state)
    values = read_options(Path(GOLDEN[name]), rename_published(state), mmaction)
    expected = replace(golden_options(name, described["config"]), partial_bn=True)
    assert network_options(values) == expected
    if mmaction:
        assert published_dataset(Path(GOLDEN[name]), mmaction) == "kinetics"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TSM_a_Flow_resnet50_shift8_blockres_avg_segment8_e50", "says Flow, the tensors are of RGB"),
        ("TSM_a_RGB_resnet101_shift8_blockres_avg_segment8_e50", "says resnet101, the tensors are of resnet50"),
        ("TSM_a_RGB_resnet50_shift8_blockres_avg_segment8_e50_nl", "_nl is in the name and not in the tensors"),
        ("TSM_a_RGB_resnet50_avg_segment8_e50", "_shift<div>_<place>"),
    ],
)
def test_a_name_that_contradicts_the_tensors(golden: Path, name: str, words: str) -> None:
    keys = json.loads((golden / "tsm_resnet50_shift8_blockres_seg8.keys.json").read_text())["keys"]
    state = rename_published({key: torch.empty(shape, device="meta") for key, shape in keys.items()})
    with pytest.raises(InputError, match=words):
        read_options(Path(name), state)


@pytest.mark.parametrize("T", [1, 2, 3, 8])
@pytest.mark.parametrize(("channels", "div"), [(16, 8), (20, 8), (21, 6), (5, 8)])
@pytest.mark.parametrize("N", [1, 3])
def test_temporal_shift_is_the_literal_one_forward_and_backward(T: int, channels: int, div: int, N: int) -> None:
    x = torch.randn(N * T, channels, 3, 2, requires_grad=True)
    weights = torch.randn(N * T, channels, 3, 2)
    ours, theirs = TemporalShift(T, div)(x), literal.temporal_shift(x, T, div)
    assert torch.equal(ours, theirs)
    fold = channels // div
    assert torch.equal(torch.cat((*shifted(x, T, fold), x[:, 2 * fold :]), dim=1), theirs)
    with torch.no_grad():
        assert torch.equal(TemporalShift(T, div)(x), theirs)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("T", [1, 2, 3, 16])
@pytest.mark.parametrize(("channels", "div"), [(32, 8), (50, 6), (16, 2)])
@pytest.mark.parametrize("size", [(1, 1), (5, 4)])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("N", [1, 2])
@pytest.mark.parametrize("behind", ["nothing", "1x1", "1x1 with bias, stride 2", "3x3"])
def test_fex_is_the_literal_one_forward_and_backward(
    T: int, channels: int, div: int, size: tuple[int, int], training: bool, N: int, behind: str
) -> None:
    if training and N * size[0] * size[1] == 1:
        size = (1, 2)  # BatchNorm of the scene's map has no variance over one value
    net = {
        "nothing": nn.Identity(),
        "1x1": nn.Conv2d(channels, 7, 1, bias=False),
        "1x1 with bias, stride 2": nn.Conv2d(channels, 7, 1, stride=2),
        "3x3": nn.Conv2d(channels, 7, 3, padding=1),
    }[behind]
    block = shaken(FEX(channels, T, div, enhance=True)).train(training)
    x = torch.randn(N * T, channels, *size, requires_grad=True)
    kept, together = x.clone(), WithTemporal(block, net)
    inputs = (x, *together.parameters())
    results = []
    for form in (together, lambda frames: net(literal.fex(block, frames))):
        y = form(x)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        given = weights.clone()
        results.append((y, *torch.autograd.grad(y, inputs, given)))
        assert torch.equal(given, weights) and torch.equal(x, kept)  # nothing of the caller's is written to
    for name, ours, theirs in zip(["y", "x", *dict(together.named_parameters())], *results, strict=True):
        scale = max(1.0, theirs.abs().max().item())
        assert (ours - theirs).abs().max() <= 1e-9 * scale, name


def test_fex_has_second_derivatives() -> None:
    block = WithTemporal(shaken(FEX(16, 2, 8, enhance=True)).eval(), nn.Conv2d(16, 3, 1))
    x = torch.randn(2, 16, 2, 2, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, x)


def test_fe_attention_differs_between_frames() -> None:
    module = shaken(ForegroundEnhancement(32, 4))
    x = torch.rand(4, 32, 5, 5) + 0.5
    attention = (module(x) / x)[:, :, 0, 0]
    assert (attention[0] - attention[1]).abs().max() > 1e-3


def test_ss_keeps_the_background_channels() -> None:
    x = torch.randn(4, 32, 5, 5)
    y = shaken(SceneSegregation(32, 4, 8)).eval()(x)
    assert torch.equal(y[:, 8:], x[:, 8:])
    assert not torch.isclose(y[:, :8], x[:, :8]).any()


def test_one_video_alone_equals_the_same_video_in_a_batch_for_paper_and_not_for_released() -> None:
    clips = torch.randn(3, 4, 3, 64, 64)
    differences = {}
    for form in ("paper", "released", "off"):
        network = shaken(build_network(replace(SMALL, fex=form))).eval()
        with torch.no_grad():
            together = network(clips)
            alone = torch.cat([network(clip[None]) for clip in clips])
        differences[form] = ((together - alone).abs().max() / alone.abs().max()).item()
        assert network.options.mixes_videos == (form == "released")
    assert differences["paper"] < 1e-12
    assert differences["off"] < 1e-12
    assert differences["released"] > 1e-6  # the released network's defect, which is reproduced on purpose


def test_a_shift_by_whole_frames_shifts_the_shift() -> None:
    frames = torch.randn(1, 6, 16, 2, 2)
    later = torch.roll(frames, 1, dims=1)
    shift = TemporalShift(6, 8)
    ours, moved = shift(frames.flatten(0, 1)), shift(later.flatten(0, 1))
    assert torch.equal(ours[1:4], moved[2:5])  # away from the ends, where zeros come in


@pytest.mark.parametrize("form", ["paper", "off"])
def test_the_order_of_frames_matters_with_time_and_not_without(form: str) -> None:
    clips = torch.randn(1, 4, 3, 64, 64)
    backwards = clips.flip(1)
    network = shaken(build_network(replace(SMALL, fex=form))).eval()
    tsn = shaken(build_network(replace(SMALL, shift=False))).eval()
    with torch.no_grad():
        assert (network(clips) - network(backwards)).abs().max() > 1e-3 * network(clips).abs().max()
        assert (tsn(clips) - tsn(backwards)).abs().max() < 1e-12 * tsn(clips).abs().max()


@pytest.mark.parametrize(
    ("arch", "count", "last"),
    [
        ("resnet18", 6, "layer4.1.conv1"),
        ("resnet34", 13, "layer4.2.conv1"),
        ("resnet50", 13, "layer4.2.conv1"),
        ("resnet101", 16, "layer4.2.conv1"),
        ("resnet152", 24, "layer4.2.conv1"),
    ],
)
def test_what_fex_patches(arch: str, count: int, last: str) -> None:
    torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        network = build_network(replace(SMALL, arch=arch, fex_init="plain"))
    assert len(network.patched) == len(network.fex_blocks()) == count
    assert network.patched[0] == "layer2.0.conv1" and network.patched[-1] == last
    enhanced = [name for name, block in zip(network.patched, network.fex_blocks(), strict=True) if block.enhancement]
    assert enhanced == ["layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"]
    if count > 13:  # every second block
        assert [n for n in network.patched if n.startswith("layer3")][:3] == [f"layer3.{i}.conv1" for i in (0, 2, 4)]


@pytest.mark.parametrize(
    ("arch", "place", "patched"),
    [
        ("resnet18", "blockres", [f"layer{s}.{b}.conv1" for s in (1, 2, 3, 4) for b in (0, 1)]),
        ("resnet18", "block", [f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)]),
        (
            "resnet101",
            "blockres",
            [f"layer{s}.{b}.conv1" for s, n in ((1, 3), (2, 4), (3, 23), (4, 3)) for b in range(0, n, 2)],
        ),
    ],
)
def test_what_the_shift_patches(arch: str, place: str, patched: list[str]) -> None:
    with torch.device("meta"):
        network = build_network(replace(SMALL, arch=arch, fex="off", shift_place=place))
    assert network.patched == patched
    assert f"before {len(patched)} modules" in network.describe()


def test_inblockres_patches_conv1_then_conv2() -> None:
    with torch.device("meta"):
        network = build_network(replace(SMALL, arch="resnet50", shift_place="inblockres", fex_init="plain"))
    assert network.patched[:3] == ["layer2.0.conv1", "layer2.1.conv2", "layer2.2.conv2"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shift_place": "block"}, "--fex off"),
        ({"shift_div": 100}, "no foreground"),
        ({"shift_div": 1}, "--shift_div 1: expected 2 or more"),
        ({"shift_div": 1, "fex": "off"}, "--shift_div 1: expected 2 or more"),
        ({"arch": "resnet51"}, "resnet50"),
        ({"fex": "off", "shift_place": "inblockres"}, "blockres and block"),
    ],
)
def test_refused_networks(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_network(replace(SMALL, **changes))  # type: ignore[arg-type]


def test_options_of_a_newer_version_are_refused() -> None:
    assert network_options({"num_classes": 3}).arch == "resnet50"
    with pytest.raises(InputError, match="wings"):
        network_options({"num_classes": 3, "wings": 2})


def shifted_twin(network: TSN) -> TSN:
    """`network` with the plain temporal shift in place of every FEX block, all else shared."""
    twin = build_network(replace(network.options, fex_init="plain"))
    twin.load_state_dict(network.state_dict())
    for name in network.patched:
        block = twin.base_model.get_submodule(name)
        block.temporal = TemporalShift(network.options.num_segments, network.options.shift_div)
    return twin


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize("form", ["paper", "released"])
def test_a_fresh_fexnet_is_the_shift_in_evaluation(arch: str, form: str) -> None:
    network = build_network(replace(SMALL, arch=arch, fex=form))
    assert len(network.fex_blocks()) == {"resnet18": 6, "resnet50": 13}[arch]
    nn.init.normal_(network.classifier.weight)  # so that the scores are not all nearly nought
    clips = torch.randn(2, 4, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = network.eval()(clips), shifted_twin(network).eval()(clips)
    assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()


@pytest.mark.parametrize("partial_bn", [False, True])
def test_after_initialisation_from_data_it_is_the_shift_in_training_too(partial_bn: bool) -> None:
    network = build_network(replace(SMALL, partial_bn=partial_bn, dropout=0.0))
    nn.init.normal_(network.classifier.weight)
    clips = torch.randn(2, 4, 3, 64, 64)
    twin = shifted_twin(network)
    with torch.no_grad():
        expected = twin.train()(clips)
        before = network.train()(clips)
    assert (before - expected).abs().max() > 1e-3 * expected.abs().max()  # BatchNorm undid the shift

    network.load_state_dict(twin_state(network, twin))
    untouched = {k: v.clone() for k, v in network.state_dict().items() if ".tim." not in k}
    assert initialise_from_data(network, clips) == 6
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in untouched.items())
    with torch.no_grad():
        trained, evaluated = network.train()(clips), shifted_twin(network).train()(clips)
        assert (trained - evaluated).abs().max() <= 1e-9 * evaluated.abs().max()
        assert (trained - expected).abs().max() <= 1e-9 * expected.abs().max()

    fresh = build_network(replace(SMALL, partial_bn=partial_bn))
    initialise_from_data(fresh, clips)
    with torch.no_grad():
        ours, theirs = fresh.eval()(clips), shifted_twin(fresh).eval()(clips)
    assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()


def twin_state(network: TSN, twin: TSN) -> dict[str, torch.Tensor]:
    """`network`'s tensors; its statistics, which a pass has moved, from a twin that started alike."""
    return network.state_dict() | twin.state_dict()


def test_plain_initialisation_is_the_frameworks() -> None:
    plain = build_network(replace(SMALL, fex_init="plain")).fex_blocks()[0].segregation.fusion.weight
    shift = build_network(SMALL).fex_blocks()[0].segregation.fusion.weight
    bound = (1 / plain.shape[1]) ** 0.5
    assert plain.abs().max() <= bound and plain.std() > 0.4 * bound
    assert torch.equal(shift[:, : shift.shape[0], 0, 0], torch.eye(shift.shape[0]))


def test_partial_bn_freezes_all_but_the_first_and_fex_own() -> None:
    network = build_network(replace(SMALL, partial_bn=True)).train()
    training = [name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    assert training[0] == "base_model.bn1"
    assert len(training) == 1 + 2 * 6 and all(".temporal." in name for name in training[1:])
    assert not network.base_model.layer1[0].bn1.weight.requires_grad


def test_pixels_and_normalised_floats_give_the_same_scores() -> None:
    network = shaken(build_network(SMALL)).eval()
    pixels = torch.randint(0, 256, (1, 4, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        from_pixels, from_floats = network(pixels), network((pixels / 255 - mean) / std)
    assert (from_pixels - from_floats).abs().max() <= 1e-9 * from_floats.abs().max()


def test_clips_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="T=4"):
        build_network(SMALL)(torch.zeros(1, 5, 3, 64, 64))


def test_released_blocks_have_unused_attention_weights() -> None:
    blocks = build_network(replace(SMALL, fex="released")).fex_blocks()
    assert [block.enhance for block in blocks if isinstance(block, ReleasedFEX)] == [True, False] * 3
