"""FEX blocks that are not quite the paper's: what is built, how it starts, and that its forms agree."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import literal
import pytest
import torch
from test_deploy import far
from test_model import SMALL, shaken
from torch import nn

from archs.backbone import build_backbone
from ops.errors import InputError
from ops.explaining.foreground import foreground_maps
from ops.model.deploy import deploy
from ops.model.fex import FEX, SceneSegregation, initialise_from_data
from ops.model.functional import functional
from ops.model.surgery import patch_shift, refuse_unpatchable
from ops.model.temporal_shift import TemporalShift, WithTemporal
from ops.model.tsn import TSN, build_network, network_options, options_from_flags
from ops.running.optimizer import FEX_GROUPS, build_optimizer, parameter_groups
from opts import complexity_options, run_name, training_options

VARIANTS: dict[str, dict[str, Any]] = {
    "no FE": {"parts": ("ss",)},
    "no SS": {"parts": ("fe",)},
    "sigmoid": {"attention": "sigmoid"},
    "residual": {"attention": "residual"},
    "no norms": {"norms": ()},
    "no norm in SR": {"norms": ("tim",)},
    "no norm in TIM": {"norms": ("scene",)},
}
NAMES = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)]
BLOCK = "the paper's block"


pytestmark = pytest.mark.usefixtures("double")


def variant(name: str, **changes: Any) -> TSN:
    """A small network with two such blocks, and the shift before; of two frames, whose scores differ."""
    options: dict[str, Any] = {f"fex_{key}": value for key, value in VARIANTS[name].items()}
    options |= {"arch": "mobilenetv2", "fex_stages": ("layer4",), "shift_stages": ("layer1", "layer2", "layer3")}
    network = build_network(replace(SMALL, num_segments=2, dropout=0.0, **options | changes))
    nn.init.normal_(network.classifier.weight)
    return network


@pytest.mark.parametrize(
    ("flags", "mark", "words", "fex", "shifted"),
    [
        ("--fex off", "blockres_avg", "TSM on", [], NAMES),
        ("--fex off --shift_stages layer4 layer2", "blockres_shiftin24_avg", "TSM on", [], NAMES[2:4] + NAMES[6:]),
        ("--fex off --shift_stages layer1 layer2 layer3 layer4", "blockres_avg", "TSM on", [], NAMES),
        ("--shift_stages layer1", "blockres_shiftin1_FEX_avg", f"({BLOCK})", NAMES[2:], NAMES[:2]),
        (
            "--fex_stages layer3 --shift_stages layer1 layer4",
            "blockres_shiftin14_FEX_in3_avg", f"({BLOCK})", NAMES[4:6], NAMES[:2] + NAMES[6:],
        ),
        ("--fex_parts ss", "FEX_nofe_avg", f"({BLOCK}, without FE)", NAMES[2:], []),
        ("--fex_parts fe", "FEX_noss_avg", f"({BLOCK}, without SS)", NAMES[2:], []),
        ("--fex_parts ss fe --fex_norms tim scene", "FEX_avg", f"({BLOCK})", NAMES[2:], []),
        ("--fex_attention sigmoid", "FEX_sigmoid_avg", f"({BLOCK}, sigmoid attention)", NAMES[2:], []),
        ("--fex_norms tim", "FEX_noscenebn_avg", f"({BLOCK}, no BatchNorm in SR)", NAMES[2:], []),
        (
            "--fex_norms", "FEX_noscenebn_notimbn_avg",
            f"({BLOCK}, no BatchNorm in SR, no BatchNorm in TIM)", NAMES[2:], [],
        ),
        ("--fex_init zero", "FEX_zeroinit_avg", f"({BLOCK})", NAMES[2:], []),
    ],
)  # fmt: skip
def test_what_is_built_and_what_it_is_called(
    flags: str, mark: str, words: str, fex: list[str], shifted: list[str]
) -> None:
    common = ["RGB", "--arch", "resnet18", "--shift", *flags.split()]
    assert f"_{mark}_segment3" in run_name(training_options(["demo", *common]))
    with torch.device("meta"):
        network = build_network(options_from_flags(vars(complexity_options(common)), 5))
    described = network.describe()
    assert words in described and network.patched == fex + shifted
    for what, names in (("FEX", fex), ("temporal shift", shifted)):
        assert (f"{what} before {len(names)} modules: {', '.join(names)}" in described) == bool(names)
    places = {n.removeprefix("base_model."): m for n, m in network.named_modules() if isinstance(m, WithTemporal)}
    assert [name for name, m in places.items() if isinstance(m.temporal, FEX)] == fex
    assert [name for name, m in places.items() if isinstance(m.temporal, TemporalShift)] == shifted
    assert network_options(asdict(network.options)) == network.options  # what a checkpoint stores


CONVS = {f"{conv}.{kind}" for conv in ("tim.conv", "fusion") for kind in ("weight", "bias")} | {"scene_conv.weight"}
TIM_NORM, SCENE_NORM = ({f"{norm}.{kind}" for kind in ("weight", "bias")} for norm in ("tim.bn", "scene_bn"))


@pytest.mark.parametrize(
    ("name", "enhanced", "tensors"),
    [
        ("no FE", False, CONVS | TIM_NORM | SCENE_NORM),
        ("no SS", True, set()),
        ("sigmoid", True, CONVS | TIM_NORM | SCENE_NORM),
        ("no norms", True, CONVS | {"scene_conv.bias"}),
        ("no norm in SR", True, CONVS | TIM_NORM | {"scene_conv.bias"}),
        ("no norm in TIM", True, CONVS | SCENE_NORM),
    ],
)
def test_the_parts_of_a_block(name: str, enhanced: bool, tensors: set[str]) -> None:
    for first in (True, False):
        block = FEX(32, 2, 8, enhance=first, **VARIANTS[name])
        assert (block.enhancement is not None) == (enhanced and first)
        assert {n for n, _ in block.segregation.named_parameters()} == tensors


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("behind", ["1x1", "3x3"])
def test_a_block_is_the_literal_one_forward_and_backward(name: str, training: bool, behind: str) -> None:
    T, net = 3, nn.Conv2d(32, 7, 1) if behind == "1x1" else nn.Conv2d(32, 7, 3, padding=1)
    block = shaken(FEX(32, T, 8, enhance=True, **VARIANTS[name])).train(training)
    assert isinstance(block, FEX)
    x = torch.randn(2 * T, 32, 5, 4, requires_grad=True)
    together = WithTemporal(block, net)
    weights = torch.randn(2 * T, 7, 5, 4)
    results = []
    for form in (together, lambda frames: net(literal.fex(block, frames))):
        y = form(x)
        results.append((y, *torch.autograd.grad(y, (x, *together.parameters()), weights.clone())))
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= 1e-9 * max(1.0, theirs.abs().max().item())


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "sigmoid"])
def test_it_starts_as_the_shift_in_both_modes(name: str) -> None:
    blocks, convs = [FEX(32, 3, 8, enhance=True, **VARIANTS[name]) for _ in range(2)], nn.Conv2d(32, 32, 1)
    for block in blocks:
        block.start_as_shift()
    network, x = nn.Sequential(blocks[0], convs, blocks[1]), torch.randn(6, 32, 5, 4) + 1
    with_norm = isinstance(blocks[0].segregation, SceneSegregation) and blocks[0].segregation.tim.has_norm
    assert initialise_from_data(network, x) == (2 if with_norm else 0)
    shift = TemporalShift(3, 8)
    for training in (False, True):
        with torch.no_grad():
            assert far(network.train(training)(x), shift(convs(shift(x)))) <= 1e-9


def test_sigmoid_starts_as_near_to_the_shift_as_it_comes() -> None:
    block, x = FEX(32, 2, 8, enhance=True, attention="sigmoid").eval(), torch.randn(4, 32, 3, 3)
    block.start_as_shift()
    with torch.no_grad():
        assert torch.allclose(block(x), TemporalShift(2, 8)(x) / (1 + torch.exp(torch.tensor(-4.0))))


def test_the_plain_shift_beneath_fex_makes_it_start_as_tsm_in_all_stages() -> None:
    network, clips = variant("residual"), torch.randn(1, 2, 3, 32, 32)
    tsm = build_network(replace(network.options, fex="off", shift_stages=())).eval()
    state = {name.replace(".net.", "."): value for name, value in network.state_dict().items()}
    tsm.load_state_dict({name: state[name.replace(".net.", ".")] for name in tsm.state_dict()})
    with torch.no_grad():
        assert far(network.eval()(clips), tsm(clips)) <= 1e-9


def test_zero_is_the_frameworks_start_with_tim_at_nought() -> None:
    states = []
    for start in ("plain", "zero"):
        torch.manual_seed(0)
        states.append(variant("no FE", fex_init=start).state_dict())
    plain, zero = states
    assert all(torch.equal(plain[n], zero[n]) != (".tim.conv." in n) for n in plain)
    assert not any(zero[n].any() for n in zero if ".tim.conv." in n)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_forms_for_use_are_equal(name: str) -> None:
    """With 1x1 convolutions behind the blocks; test_deploy has larger ones behind the paper's."""
    network = shaken(variant(name)).eval()
    assert isinstance(network, TSN)
    clips = torch.randn(2, 2, 3, 49, 49)
    deployed = deploy(network)
    with torch.no_grad():
        expected = network(clips)
        for form in (deployed, functional(deployed)):
            assert expected.std() > 0 and far(form(clips), expected) <= 1e-9
    assert not any(isinstance(m, nn.BatchNorm2d) for m in deployed.modules())


@pytest.mark.parametrize(("name", "blocks", "first"), [("no FE", 2, 1), ("no SS", 0, 0), ("sigmoid", 2, 1)])
def test_the_maps_of_the_blocks(name: str, blocks: int, first: int) -> None:
    network = shaken(variant(name)).eval()
    assert isinstance(network, TSN)
    found = foreground_maps(network, torch.randn(2, 3, 32, 32))
    assert (len(found), sum(block.first for block in found)) == (blocks, first)
    attentions = [block.enhancement.attention for block in found if block.enhancement is not None]
    assert len(attentions) == (1 if name == "sigmoid" else 0)
    assert all(((a > 0) & (a < 1)).all() for a in attentions)


def test_the_groups_of_fex_have_their_own_rate_and_decay() -> None:
    network = build_network(replace(SMALL, add_se=True))
    usual = {g["name"]: g for g in build_optimizer(network, 0.1, 0.9, 0.01).param_groups}
    other = {g["name"]: g for g in build_optimizer(network, 0.1, 0.9, 0.01, fex_lr=0.5, fex_wd=0.04).param_groups}
    for name, group in usual.items():
        own = name in FEX_GROUPS
        assert other[name]["lr"] == group["lr"] * (0.5 if own else 1)
        assert other[name]["weight_decay"] == (0.04 if name == "new_conv_weight" else group["weight_decay"])
        assert all(a is b for a, b in zip(other[name]["params"], group["params"], strict=True))
    assert set(FEX_GROUPS) < set(usual)
    inside = {id(p) for block in network.fex_blocks() for p in block.parameters()}
    assert {id(p) for g in parameter_groups(network) if g["name"] in FEX_GROUPS for p in g["params"]} == inside


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--shift --shift_stages layer2", r"layer2: FEX stands there \(--fex_stages\): take them out of one"),
        (
            "--no-shift --shift_stages layer2",
            "--shift_stages: the network has no shift that could stand there; leave it out, or give --shift",
        ),
        ("--shift --fex off --fex_attention sigmoid", "--fex_attention: the network has no FEX block .* leave it out"),
        (
            "--fex_parts ss --fex_norms",
            "--fex_parts: the network has no FEX block .*\n.*--fex_norms: the network has no",
        ),
        ("--shift --fex_parts ss --fex_attention sigmoid", "--fex_attention: of FE, which --fex_parts ss does without"),
        ("--shift --fex_parts fe --fex_norms tim", "--fex_norms: of SS, which --fex_parts fe does without; leave one"),
        ("--shift --fex_parts fe --fex_init zero", "--fex_init zero: of SS, which --fex_parts fe does without"),
        ("--shift --shift_stages layer0", "--shift_stages layer0: expected one of layer1"),
        ("--shift --shift_stages layer1 --shift_place inblockres", "there is no plain shift; give blockres"),
        ("--shift --fex off --arch BNInception --shift_place block --shift_stages layer2", "digits of --shift_place"),
        ("--shift --fex_parts se", "--fex_parts se: expected one of fe, ss"),
        ("--shift --fex_attention tanh", "--fex_attention tanh: expected one of linear, sigmoid, residual"),
        ("--shift --fex_norms sr", "--fex_norms sr: expected one of scene, tim"),
        ("--shift --fex released --fex_norms --fex_parts ss", "without --fex_parts, --fex_norms; give --fex paper"),
        ("--shift --fex released --fex_attention residual", "without --fex_attention; give --fex paper"),
        ("--shift --fex_lr -1", "--fex_lr -1.0: expected a number from 0 on"),
        ("--shift --fex_wd 1", "--fex_wd 1.0: expected a number from 0 to below 1"),
        ("--shift --fex off --fex_lr 2", "no FEX block that they could be of"),
        ("--fex_wd 0", "no FEX block that they could be of"),
    ],
)
def test_flags_that_cannot_be(flags: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        training_options(["demo", "RGB", *flags.split()])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shift_stages": ("layer1", "layer3")}, "--shift_stages layer3: FEX stands there"),
        ({"fex": "released", "fex_attention": "sigmoid"}, "--fex released: .* without --fex_attention"),
    ],
)
def test_networks_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_network(replace(SMALL, **changes))


def test_a_stage_that_the_backbone_lacks_is_named() -> None:
    with torch.device("meta"):
        backbone = build_backbone("resnet18")
    rest = replace(backbone, stages={name: blocks for name, blocks in backbone.stages.items() if name != "layer1"})
    with pytest.raises(InputError, match="--shift_stages layer1: a has residual blocks in layer2, layer3, layer4"):
        refuse_unpatchable(rest, "a", "--shift_stages", ("layer1", "layer2"))
    assert patch_shift(rest, lambda _: 2, 8, "blockres") == NAMES[2:]  # all that there are
