"""timm's networks: which blocks are found and patched, that shortcuts stay untouched, weights from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from programs import REPOSITORY
from test_deploy import far
from torch import nn

from archs.backbone import build_backbone
from archs.residuals import find_residuals
from ops.errors import InputError
from ops.model.deploy import deploy
from ops.model.temporal_shift import WithTemporal
from ops.model.tsn import TSN, NetworkOptions, build_network
from tools import timm_table

pytest.importorskip("timm")

TSM = NetworkOptions(5, 4, shift=True, fex="off", consensus_type="identity", dropout=0)
# One small member of each family: (patched by the shift, of them the first, patched by FEX in layer3 and layer4).
NETWORKS = {
    "tf_efficientnet_lite0": (9, "blocks.1.1.conv_pw", 7),
    "tf_efficientnetv2_b0": (15, "blocks.1.1.conv_exp", 13),  # fused blocks first
    "mobilenetv3_small_050": (7, "blocks.1.1.conv_pw", 6),
    "mnasnet_small": (10, "blocks.0.0.conv_dw", 8),  # a block without expansion
    "mixnet_s": (11, "blocks.0.0.conv_dw", 6),  # expansions by several convolutions side by side
    "ghostnet_050": (16, "blocks.0.0.ghost1.primary_conv.0", 11),
    "resnet26t": (8, "layer1.0.conv1", 4),  # a deep stem
    "legacy_seresnext26_32x4d": (8, "layer1.0.conv1", 4),  # its squeeze-and-excitation is of convolutions
    "resnest14d": (4, "layer1.0.conv1", 2),  # split attention
    "skresnet18": (8, "layer1.0.conv1", 4),  # selective kernels: two convolutions side by side
    "nf_regnet_b0": (16, "stages.0.0.conv1", 12),
    "regnetz_005": (17, "s2.b2.conv1.conv", 14),  # blocks that change the shape have no shortcut
    "convnextv2_atto": (12, "stages.0.blocks.0.conv_dw", 8),
    "hrnet_w18_small": (23, "layer1.0.conv1", 8),  # branches of four resolutions
    "darknet17": (5, "stages.0.blocks.0.conv1.conv", 2),
    "fasternet_t0": (13, "stages.0.blocks.0.spatial_mixing", 10),
}


def network(name: str, **changes: object) -> TSN:
    """A network of timm's, whose blocks start as they are trained and not as their shortcut alone."""
    torch.manual_seed(0)
    net = build_network(replace(TSM, arch=f"timm:{name}", **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim <= 1 or not parameter.any():
                parameter.add_(0.5 * torch.rand_like(parameter))
    return net


def frames_that_change(net: TSN) -> list[bool]:
    """Of each of a clip's frames whether its scores depend on the second frame's pixels."""
    clip = torch.rand(1, 4, 3, 64, 64)
    other = clip.clone()
    other[:, 1] += 1
    with torch.no_grad():
        pairs = zip(net(clip)[0], net(other)[0], strict=True)  # (T, K) each
    return [not torch.equal(*pair) for pair in pairs]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_main_paths_see_other_frames_and_the_shortcuts_none(name: str) -> None:
    shifted, first, _ = NETWORKS[name]
    net = network(name)
    assert len(net.patched) == len(set(net.patched)) == shifted and net.patched[0] == first
    assert all(frames_that_change(net))
    for module in net.modules():
        if isinstance(module, WithTemporal):  # what goes through the layer comes to nothing, and all else is left
            module.net.register_forward_hook(lambda _module, _inputs, result: 0 * result)
    assert frames_that_change(net) == [False, True, False, False]


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mixnet_s", "ghostnet_050", "resnet26t"])
def test_fex_and_flow(name: str) -> None:
    options = replace(TSM, arch=f"timm:{name}", fex="paper", fex_stages=("layer3", "layer4"), fex_init="plain")
    with torch.device("meta"):
        net = build_network(replace(options, modality="Flow")).eval()
        assert net(torch.zeros(1, 4, 10, 64, 64)).shape == (1, 4, 5)
    assert len(net.patched) == len(net.fex_blocks()) == NETWORKS[name][2]
    assert next(c for c in net.modules() if isinstance(c, nn.Conv2d)) is net.get_submodule(net.first_conv)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "mobilenetv2"])
def test_what_is_found_is_what_is_known_of_other_backbones(arch: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(arch)
    assert find_residuals(backbone.net, (3, 224, 224)).stages == backbone.stages


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("vit_tiny_patch16_224", "attention and linear layers, without a convolution"),
        ("swin_tiny_patch4_window7_224", "attention and linear layers, without a convolution"),
        ("xcit_nano_12_p16_224", "on tokens: no convolution reads a block's channels"),
        ("repvgg_a0", "begin with several layers side by side"),
        ("vgg11", "nothing in it is added to a shortcut"),
    ],
)
def test_networks_without_such_blocks_say_why(name: str, because: str) -> None:
    with torch.device("meta"):
        with pytest.raises(InputError, match=f"timm:{name}: it has no residual blocks .* give --no-shift; .*{because}"):
            build_network(replace(TSM, arch=f"timm:{name}"))
        assert build_network(replace(TSM, arch=f"timm:{name}", shift=False)).patched == []


def test_several_first_convolutions_take_rgb_only() -> None:
    with torch.device("meta"), pytest.raises(InputError, match="timm:repvgg_a0 has several first convolutions"):
        build_network(replace(TSM, arch="timm:repvgg_a0", shift=False, modality="Flow"))


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("deit_tiny_distilled_patch16_224", "it has 2 classifiers, head and head_dist"),
        ("resnet50_clip_gap", "is a Identity"),
    ],
)
def test_networks_without_one_classifier_are_no_backbones(name: str, because: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=f"timm:{name}: .*{because}.*: it can't be a backbone"):
        build_network(replace(TSM, arch=f"timm:{name}", shift=False))


@pytest.mark.parametrize(("name", "in_layer3"), [("resnext101_32x8d", 12), ("convnext_small", 27)])
def test_of_deep_resnets_alone_every_second_block_is_patched(name: str, in_layer3: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(f"timm:{name}")
        patched = build_network(replace(TSM, arch=f"timm:{name}")).patched
    names = {block.layers[0] for block in backbone.stages["layer3"]}
    assert sum(layer in names for layer in patched) == in_layer3


def test_the_whole_block_where_it_is_a_module_of_its_own() -> None:
    with torch.device("meta"):
        net = build_network(replace(TSM, arch="timm:tf_efficientnet_lite0", shift_place="block"))
        assert net.patched[:2] == ["blocks.1.1", "blocks.2.1"] and len(net.patched) == 9
        with pytest.raises(InputError, match="no module is the whole residual block of level2"):
            build_network(replace(TSM, arch="timm:dla34", shift_place="block"))


def test_a_shift_that_would_move_nothing() -> None:
    with torch.device("meta"), pytest.raises(InputError, match="--shift_div 16: moves none of 8 channels"):
        build_network(replace(TSM, arch="timm:ghostnet_050", shift_div=16))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mixnet_s"])
def test_networks_deployed_are_equal(name: str) -> None:
    net = network(name, fex="paper", fex_init="plain").double()
    clips = torch.randint(0, 256, (2, 4, 3, 33, 33), dtype=torch.uint8)
    with torch.inference_mode():
        assert far(deploy(net)(clips), net(clips)) <= 1e-9


class Made(nn.Module):
    """A residual block, `x + main(x)` or as `forward` says, behind a convolution."""

    def __init__(self, main: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.stem, self.main, self.shortcut = nn.Conv2d(3, 8, 4, 4), main, shortcut or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, 3, H, W)` to `(B, 8, H/4, W/4)`."""
        x = self.stem(x)
        return self.shortcut(x) + self.main(x)


class Inner(nn.Module):
    """A sum of a map and a convolution of it, as a branch that is merged into one convolution later."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = conv(), nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return self.norm(x) + self.conv(x)


class Modulation(nn.Module):
    """A map times a gate, both of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.out = nn.Conv2d(8, 16, 1), conv()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        x, gate = self.both(x).chunk(2, dim=1)
        return self.out(x * gate.sigmoid())


class Attention(nn.Module):
    """Among the places of a map, of whose channels one convolution makes queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Conv2d(8, 24, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
        return self.out((v @ (q.transpose(1, 2) @ k).softmax(-1)).unflatten(2, x.shape[2:]))


class Beside(nn.Module):
    """Two layers' results, side by side."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the channels."""
        return torch.cat((self.one(x), self.other(x)), dim=1)


class Twice(nn.Module):
    """One convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return self.conv(self.conv(x))


class Gated(nn.Module):
    """Squeeze-and-excitation by convolutions, then a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.conv = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(), nn.Sigmoid()), conv()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return self.conv(x.mul_(1) * self.squeeze(x))


def conv(inside: int = 8, outside: int = 8) -> nn.Conv2d:
    """3x3."""
    return nn.Conv2d(inside, outside, 3, padding=1)


def chain(*modules: nn.Module) -> nn.Module:
    """One after the other."""
    return nn.Sequential(*modules)


@pytest.mark.parametrize(
    ("made", "layers"),
    [
        (Made(chain(nn.BatchNorm2d(8), nn.ReLU(), conv(), nn.ReLU(), conv())), ("main.2", "main.4")),
        (Made(chain(conv(), conv()), chain(conv(), nn.BatchNorm2d(8))), ("main.0", "main.1")),
        (Made(chain(conv(), nn.ReLU(inplace=True)), chain(nn.BatchNorm2d(8))), ("main.0",)),
        (Made(chain(Beside(conv(8, 4), conv(8, 4)), conv())), ("main.0", "main.1")),
        (Made(chain(conv(), Attention())), ("main.0",)),  # a bottleneck around attention
        (Made(chain(Inner(), conv())), ("main.0", "main.1")),  # what is a block inside of another's layer is none
        (Made(Twice()), ("main",)),
    ],
)
def test_first_layers_of_main_paths(made: Made, layers: tuple[str, ...]) -> None:
    (block,) = find_residuals(made, (3, 32, 32)).stages["layer1"]
    assert block.layers == layers


@pytest.mark.parametrize(
    ("made", "because"),
    [
        (Made(Attention()), "queries, keys and values"),
        (Made(Modulation()), "queries, keys and values of attention, or gates"),
        (Made(chain(nn.Flatten(2), nn.Linear(64, 64), nn.Unflatten(2, (8, 8)))), "without a convolution"),
        (Made(chain(nn.Flatten(2), nn.Linear(64, 64), nn.Unflatten(2, (8, 8)), conv())), "or with a linear layer"),
        (Made(conv(), conv()), "side by side"),  # nothing says which is the shortcut
        (Made(chain(conv(), conv(), conv(), conv()), chain(conv(), conv(), conv())), "not a main path and a shortcut"),
        (Made(chain(nn.AvgPool2d(1), Gated())), "side by side"),
        (chain(conv(3, 8), conv()), "nothing in it is added to a shortcut"),
        (Made(chain(nn.AdaptiveAvgPool2d(1), conv())), "nothing in it is added to a shortcut"),  # one number a channel
        (chain(Made(conv()), conv(9, 8)), "forward pass can't be watched without numbers ("),
    ],
)
def test_sums_that_are_no_blocks_to_patch(made: nn.Module, because: str) -> None:
    found = find_residuals(made, (3, 32, 32))
    assert not found.stages and because in found.why_not


def test_the_table_is_what_the_tool_finds() -> None:
    page = (REPOSITORY / "docs" / "compatibility.md").read_text()
    match = timm_table.TABLE.search(page)
    assert match is not None
    written, found = match[0].splitlines(), timm_table.lines(["inception_v3", "sknet"])
    if found[0] not in written:
        pytest.skip(f"the table was made with another version of timm: {written[1]}")
    rows = [line for line in found if line.startswith("| ") and "`" in line]
    assert len(rows) == 3
    for row in rows:
        reason, families = row.split(" | ")[:2] if row.count("|") == 3 else ("", "")
        same = [line for line in written if line == row or (reason and line.startswith(f"{reason} |"))]
        assert len(same) == 1 and all(family in same[0] for family in families.removesuffix(" |").split(", "))
