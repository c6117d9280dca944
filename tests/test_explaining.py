"""Heat maps: FEX's own as in the paper's figures, a map for each frame, checks that tell good maps from bad ones."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import literal
import numpy as np
import pytest
import torch
from made_networks import lively, save_network
from made_videos import write_video
from PIL import Image
from programs import REPOSITORY

from ops.data.clips import ClipOptions, evaluation_crops
from ops.errors import InputError
from ops.explaining import methods, trust
from ops.explaining.boxes import Boxes, boxes_beside, inside
from ops.explaining.drawing import overlaid, title
from ops.explaining.explain import Explainer, normalised
from ops.explaining.foreground import enhancement, foreground_maps, segregation
from ops.explaining.layers import feature_maps
from ops.explaining.methods import METHODS, Subject, enlarged
from ops.model.fex import FEX
from ops.model.tsn import NetworkOptions, build_network
from ops.recognition.recognizer import Recognizer
from tools import demo_scenes, heatmap_quality, visualize
from tools.demo_page.heat import html_of

BOX = REPOSITORY / "checkpoint" / "demo" / "ckpt.pth"


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FEXNet on ResNet-18, four segments of 32 pixels, the classes of `demo`."""
    return save_network(tmp_path_factory.mktemp("weights") / "fexnet.pth")


@pytest.fixture(scope="module")
def explainer(weights: Path) -> Explainer:
    return Explainer.from_checkpoint(weights)


@pytest.fixture(autouse=True)
def few_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of networks that know nothing rough maps do, which are made in a fifth of the time."""
    if "in_the_box" not in request.fixturenames:
        monkeypatch.setattr(methods, "STEPS", 3)
        monkeypatch.setattr(methods, "DRAWS", 2)
        monkeypatch.setattr(methods, "WINDOW", 2)


@pytest.fixture(scope="module")
def in_the_box() -> Explainer:
    return Explainer.from_checkpoint(BOX)


def video_of(label: int) -> np.ndarray:
    return demo_scenes.render(demo_scenes.scene(0, "val", label, 0))


# ------------------------------------------------------------------------------------------------ FEX's own maps


def test_the_maps_are_those_of_the_papers_figures() -> None:
    block = FEX(32, 4, 8, enhance=True).double().eval()
    for tensor in (*block.parameters(), *block.buffers()):
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.1, 1)
    assert block.enhancement is not None
    x = torch.randn(4, 32, 6, 7, dtype=torch.float64)
    with torch.no_grad():
        background, foreground, attention = literal.enhancement_maps(block.enhancement, x)
        found = enhancement(block.enhancement, x)
        torch.testing.assert_close(found.background, background[0])
        torch.testing.assert_close(found.foreground, foreground[0].transpose(0, 1))
        torch.testing.assert_close(found.attention, attention[0, :, :, 0, 0].T)
        scene, rest = literal.segregation_maps(block.segregation, x)
        of_scene = segregation(block.segregation, x)
        torch.testing.assert_close(of_scene.scene, scene[0])
        torch.testing.assert_close(of_scene.foreground, rest[0].transpose(0, 1))


def test_every_block_of_a_network_is_seen_with_what_enters_it(explainer: Explainer) -> None:
    clip = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    blocks = foreground_maps(explainer.network, clip)
    assert [block.name for block in blocks] == explainer.network.patched
    assert [block.first for block in blocks] == [True, False] * 3
    assert [len(block.segregation.foreground) for block in blocks] == [4] * 6
    modules = explainer.network.fex_blocks()
    seen: list[torch.Tensor] = []
    handle = modules[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        explainer.network(clip[None])
        handle.remove()
        scene, _ = literal.segregation_maps(modules[1].segregation, seen[0])
    torch.testing.assert_close(blocks[1].segregation.scene, scene[0])


def test_of_the_released_form_there_is_scene_segregation_alone() -> None:
    options = NetworkOptions(5, 4, arch="resnet18", shift=True, fex="released")
    blocks = foreground_maps(build_network(options).eval(), torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    assert len(blocks) == 6 and all(block.enhancement is None for block in blocks)
    assert [block.first for block in blocks] == [True, False] * 3


# ------------------------------------------------------------------------------------------------ layers and methods


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("resnet18", ["relu", "layer1", "layer2", "layer3", "layer4"]),
        ("mobilenetv2", ["features.1", "features.3", "features.6", "features.13", "features"]),
        ("BNInception", ["conv1_7x7_s2_bn", "conv2_3x3_bn", "inception_3b_output", "inception_4d_output"]),
        ("timm:tf_efficientnet_lite0", ["bn1", "blocks.1", "blocks.2", "blocks.4", "bn2"]),
    ],
)
def test_no_layer_needs_a_name(arch: str, names: list[str]) -> None:
    place = "block" if arch == "BNInception" else "blockres"
    options = NetworkOptions(5, 2, arch=arch, shift=True, fex="off", shift_place=place)
    found = feature_maps(build_network(options).eval(), torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert [layer.name for layer in found][: len(names)] == names
    assert [layer.side for layer in found] == [32, 16, 8, 4, 2]
    assert arch != "BNInception" or found[-1].name == "inception_5b_output"


@pytest.mark.parametrize("changes", [{"temporal_pool": True}, {"consensus_type": "identity"}, {"modality": "RGBDiff"}])
def test_other_networks_have_maps_too(changes: dict[str, object]) -> None:
    options = replace(NetworkOptions(5, 4, arch="resnet18", shift=True), **changes)  # type: ignore[arg-type]
    network = build_network(options).eval()
    clip = torch.randint(256, (4, 18 if options.modality == "RGBDiff" else 3, 32, 32), dtype=torch.uint8)
    for name in ("gradcam_fine", "foreground"):
        maps = METHODS[name].maps(Subject(network, clip, 2))
        heat = normalised(maps, 4, 32)
        assert heat.shape == (4, 32, 32) and 0 <= heat.min() <= heat.max() <= 1


def test_a_map_is_of_its_own_frame() -> None:
    """Without an operator in time, what happens in a frame changes its own map and no other."""
    network = lively(build_network(NetworkOptions(5, 4, arch="resnet18")), 64)
    clip = torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8)
    other = clip.clone()
    other[2, :, 10:30, 10:30] = 255
    for name in ("gradcam_fine", "hirescam"):
        before, after = (METHODS[name].maps(Subject(network, each, 1)) for each in (clip, other))
        changed = [not torch.allclose(before[t], after[t], atol=1e-9) for t in range(4)]
        assert changed == [False, False, True, False], name


@pytest.mark.parametrize("method", ["smoothgrad", "integrated"])
def test_the_same_video_has_the_same_map(explainer: Explainer, method: str) -> None:
    torch.manual_seed(1)
    first = explainer.explain(video_of(3), method=method, checked=False)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    second = explainer.explain(video_of(3), method=method, checked=False)
    assert first.heat.any() and np.array_equal(first.heat, second.heat)
    torch.manual_seed(1)
    assert torch.rand(1) == drawn  # what others draw is left alone


def test_every_method_gives_a_map_a_frame(explainer: Explainer) -> None:
    for name in METHODS:
        found = explainer.explain(video_of(0), method=name, checked=False)
        assert found.heat.shape == (4, 32, 32) and found.heat.dtype == np.float32
        assert found.heat.max() == pytest.approx(1)
        assert not np.array_equal(found.heat[0], found.heat[-1]), name
        assert overlaid(found).shape == found.frames.shape == (4, 32, 32, 3)


def test_an_explanation_says_what_the_recognizer_says(weights: Path, explainer: Explainer) -> None:
    video = video_of(5)
    best = Recognizer.from_checkpoint(weights)(video).top[0]
    found = explainer.explain(video, method="differences", checked=False)
    assert (found.label, found.name, found.predicted) == (best.label, best.name, best.name)
    assert found.probability == pytest.approx(best.probability, abs=1e-5)
    other = explainer.explain(video, label=demo_scenes.CLASSES[7], method="differences", checked=False)
    assert (other.label, other.predicted) == (7, best.name)
    same = explainer.explain(video, label="7", method="differences", checked=False)
    assert same.probability == other.probability


def test_of_a_damaged_video_it_says_what_was_read(
    explainer: Explainer, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "frames" / "gappy"
    folder.mkdir(parents=True)
    for number in (1, 2, 3, 4, 9):
        Image.fromarray(video_of(3)[number]).save(folder / f"{number:05d}.jpg")
    gaps = "its frames have gaps: 5 frames, 00001.jpg … 00009.jpg without 00005.jpg, 00006.jpg"
    found = explainer.explain(folder, method="differences", checked=False)
    assert found.damage.startswith(gaps) and gaps in title(found).replace("\n", " ")
    assert f"Of what could be read: {gaps}" in html_of(replace(found, trust=trust.Trust((), {}, None)))
    words = [str(folder), f"--weights={weights}", f"--output={tmp_path}", "--method=differences", "--no_check"]
    assert visualize.main(words) == 0 and f"of what could be read: {gaps}" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ boxes


def test_an_objects_pixels_are_in_its_box_and_reach_its_sides() -> None:
    for label in (0, 4, 6, 8, 10):
        scene = demo_scenes.scene(0, "val", label, 1)
        bare = replace(scene, sprites=tuple(sprite for sprite in scene.sprites if not sprite.acts))
        for index, boxes in enumerate(demo_scenes.boxes(scene)):
            differs = np.any(demo_scenes.picture(scene, index) != demo_scenes.picture(bare, index), axis=2)
            covered = np.zeros_like(differs)
            for left, top, right, bottom in boxes:
                covered[top:bottom, left:right] = True
            assert not np.any(differs & ~covered)
            assert differs.any() == bool(boxes)
            if len(boxes) == 1:
                ((left, top, right, bottom),) = boxes
                rows, columns = np.nonzero(differs)
                assert (left, top, right, bottom) == (*(columns.min(), rows.min()), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("stored", [0, 60])
def test_boxes_go_where_the_pixels_go(stored: int) -> None:
    options = ClipOptions(segments=2, input_size=48, stored_short_side=stored)
    box = 40, 30, 70, 60
    frames = torch.zeros(2, 3, 100, 140, dtype=torch.uint8)
    frames[:, :, box[1] : box[3], box[0] : box[2]] = 255
    shown = evaluation_crops(frames, options)[0, 0, 0] > 127  # (H, W)
    (moved, empty) = Boxes(140, 100, ((box,), ())).in_clip([1, 2], options)
    mask = inside(moved, 48)
    assert not empty and (mask ^ shown.numpy()).sum() <= 2 * sum(shown.any(dim=0)).item() + 2  # a pixel at its edge
    outside = Boxes(140, 100, (((0, 0, 5, 5),),)).in_clip([1], options)
    assert outside == ((),)  # the crop does not show it


def test_a_data_set_knows_its_boxes(rendered: Path) -> None:
    folder = rendered / "demo" / "frames" / "val_04_0000"
    found = boxes_beside(folder)
    scene = demo_scenes.scene(0, "val", 4, 0)
    assert found is not None and (found.width, found.height) == (scene.width, demo_scenes.HEIGHT)
    assert [list(boxes) for boxes in found.frames] == demo_scenes.boxes(scene)
    assert boxes_beside(rendered / "demo" / "frames") is None


def boxes_json(width: object = 64, height: object = 48, frames: int = 2) -> str:
    return json.dumps({"a": {"width": width, "height": height, "frames": [[[1, 2, 9, 9]]] * frames}})


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (boxes_json(), ""),
        (boxes_json().replace('"a"', '"b"'), ""),
        ("[]", "not the boxes of a data set's videos"),
        ('{"a": [[1, 2]]}', "not the boxes"),
        ('{"a": {"width": 5}}', "not the boxes"),
        (boxes_json(float("inf")), "not the boxes"),
        ("no json", "not the boxes"),
        (boxes_json(width=0), "boxes of frames of 0 × 48 pixels: expected sides of 1 or more"),
        (boxes_json(frames=1), r"boxes are of 1 frames of 64 × 48 pixels, and .*/a has 2 frames of 64 × 48"),
        (boxes_json(width=48, height=64), "boxes are of 2 frames of 48 × 64 pixels, and .* 2 frames of 64 × 48"),
    ],
)
def test_boxes_that_are_not_the_videos_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, warning: str
) -> None:
    folder = tmp_path / "frames" / "a"
    folder.mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (64, 48)).save(folder / f"{number:05d}.jpg")
    assert boxes_beside(folder) is None and not caplog.records
    (tmp_path / "boxes.json").write_text(content)
    found = boxes_beside(folder)
    assert (found is not None) == (content == boxes_json())
    assert bool(caplog.records) == bool(warning) and re.search(warning, caplog.text)
    assert not warning or f"{tmp_path / 'boxes.json'} is left out: " in caplog.text


def test_boxes_of_too_few_frames_are_named(explainer: Explainer) -> None:
    video = video_of(0)
    boxes = Boxes(video.shape[2], video.shape[1], (((1, 1, 9, 9),),))
    with pytest.raises(InputError, match=r"boxes of 1 frames: expected those of frame [0-9]+ too"):
        explainer.explain(video, method="differences", checked=False, boxes=boxes)


# ------------------------------------------------------------------------------------------------ trust

SIDE, T = 32, 4
OBJECT = (20.0, 4.0, 30.0, 14.0)  # of every frame


def at_object() -> torch.Tensor:
    return torch.from_numpy(inside([OBJECT], SIDE)).float().expand(T, SIDE, SIDE)


def scores(clips: torch.Tensor) -> torch.Tensor:
    """As if a network looked at nothing but the object: the share of its pixels that are still white."""
    return ((clips[:, :, 0] > 200) * at_object()).sum(dim=(1, 2, 3)) / at_object().sum()


def white(clips: torch.Tensor) -> torch.Tensor:
    """The share of the middle's 64 pixels a frame that are still white."""
    return (clips[:, :, 0] > 200).sum(dim=(1, 2, 3)) / (64 * T)


def judged(heat: torch.Tensor, untrained: torch.Tensor | None = None) -> trust.Trust:
    clip = (255 * at_object()[:, None]).to(torch.uint8)  # (T, 1, H, W)
    curves = trust.curves_to_beat(clip, scores) | {"map": trust.blanked(heat, clip, scores)}
    other = trust.random_map(T, SIDE, 3) if untrained is None else untrained
    return trust.judged(heat, 2, curves, other, [[OBJECT]] * T)


@pytest.mark.parametrize(
    ("heat", "failed"),
    [
        (at_object(), set()),
        (trust.random_map(T, SIDE, 9), {"deletion", "insertion", "boxes"}),
        (torch.ones(T, SIDE, SIDE), {"deletion", "insertion", "boxes"}),
        (torch.zeros(T, SIDE, SIDE), {"deletion", "insertion", "boxes"}),
        (trust.centre_prior(T, SIDE), {"deletion", "insertion", "boxes"}),
        (1 - at_object(), {"deletion", "insertion", "boxes"}),
    ],
    ids=["perfect", "random", "constant", "cold", "centre", "contrary"],
)
def test_checks_tell_good_maps_from_bad_ones(heat: torch.Tensor, failed: set[str]) -> None:
    found = judged(heat)
    assert {check.name for check in found.checks if not check.passed} >= failed
    assert found.passed == (not failed)
    assert found.words.count("passed: ") + found.words.count("FAILED: ") == len(found.checks) == 4


@pytest.mark.parametrize("sign", [1, -1], ids=["alike", "opposite"])
def test_a_map_that_random_weights_give_too_fails(sign: int) -> None:
    found = judged(at_object(), untrained=sign * (at_object() + 0.1 * trust.random_map(T, SIDE, 1)))
    assert [check.name for check in found.checks if not check.passed] == ["random weights"]
    assert found.correlation is not None and sign * found.correlation > 0.3


def test_a_blank_map_of_random_weights_is_nothing_to_compare_with() -> None:
    found = judged(at_object(), untrained=torch.zeros(T, SIDE, SIDE))
    assert [check.name for check in found.checks if not check.passed] == ["random weights"]
    assert found.correlation is None and "the same everywhere: there is nothing to compare" in found.words


def test_always_pointing_to_the_middle_never_passes() -> None:
    """Even where every object is there: the prior itself fails by its heat, a steeper one by its order of pixels."""
    middle = [[(12.0, 12.0, 20.0, 20.0)]] * T
    prior = trust.centre_prior(T, SIDE)
    clip = (255 * torch.from_numpy(inside(middle[0], SIDE)).expand(T, 1, SIDE, SIDE)).to(torch.uint8)
    curves = trust.curves_to_beat(clip, white)
    for heat, names in ((prior, {"deletion", "insertion", "boxes"}), (prior**20, {"deletion", "insertion"})):
        own = curves | {"map": trust.blanked(heat, clip, white)}
        found = trust.judged(heat, 2, own, trust.random_map(T, SIDE, 3), middle)
        assert found.objects is not None and found.objects.hits == T
        assert {check.name for check in found.checks if not check.passed} == names


def test_fewer_hits_than_the_middle_has_are_too_few() -> None:
    boxes = [[(12.0, 12.0, 20.0, 20.0)]] * 8
    sharp = torch.from_numpy(inside(boxes[0], SIDE)).float().repeat(8, 1, 1)
    curves = dict.fromkeys(("map", "centre", "random"), trust.Curves(1 - trust.SHARES, trust.SHARES))
    untrained = trust.random_map(8, SIDE, 3)
    assert trust.judged(sharp, 2, curves, untrained, boxes).checks[-1].passed
    sharp[0, 0, 0] = 2  # one frame of eight, and the middle has all
    check = trust.judged(sharp, 2, curves, untrained, boxes).checks[-1]
    assert (
        not check.passed and "in 7 of 8 frames with one (wanted 75%, and no fewer than of the centre 8)" in check.words
    )


def test_a_class_that_blurring_leaves_cannot_be_checked() -> None:
    clip = torch.full((T, 1, SIDE, SIDE), 255, dtype=torch.uint8)
    curves = trust.curves_to_beat(clip, scores) | {"map": trust.blanked(at_object(), clip, scores)}
    found = trust.judged(at_object(), 2, curves, trust.random_map(T, SIDE, 3))
    assert not found.passed and "still has the class (probability 1.00)" in found.words


def test_a_class_without_probability_cannot_be_checked() -> None:
    clip = torch.zeros(T, 1, SIDE, SIDE, dtype=torch.uint8)
    curves = trust.curves_to_beat(clip, scores) | {"map": trust.blanked(at_object(), clip, scores)}
    found = trust.judged(at_object(), 2, curves, trust.random_map(T, SIDE, 3))
    assert not found.passed and "nothing to lose" in found.words
    assert found.objects is None and len(found.checks) == 3


def test_numbers_by_hand() -> None:
    heat = torch.zeros(2, 4, 4)
    heat[0, 1, 1], heat[1, 3, 3] = 2.0, 1.0
    assert trust.pointing(heat, [[(1, 1, 2, 2)], [(0, 0, 2, 2)]], cell=2) == (1, 2)
    assert trust.pointing(heat, [[(1, 1, 2, 2)], [(0, 0, 2, 2)]], cell=3) == (2, 2)  # grown by 1.5 on each side
    assert trust.pointing(heat, [[], [(0, 0, 2, 2)]], cell=2) == (0, 1)  # only frames with an object count
    assert trust.pointing(torch.zeros(1, 4, 4), [[(0, 0, 4, 4)]], cell=1) == (0, 1)
    assert trust.share_inside(heat, [[(1, 1, 2, 2)], [(0, 0, 2, 2)]]) == (pytest.approx(2 / 3), 5 / 32)
    assert trust.share_inside(heat, [[], [(2, 2, 4, 4)]]) == (1.0, 0.25)
    rank = trust.hotter_share(heat)
    assert (rank[0, 1, 1], rank[1, 3, 3]) == (0.0, 1 / 32)
    assert trust.area(np.ones(len(trust.SHARES))) == pytest.approx(1)
    assert trust.area(1 - trust.SHARES) == pytest.approx(0.5)
    ramp = torch.arange(9.0).view(1, 3, 3)
    assert trust.rank_correlation(ramp, ramp.exp()) == pytest.approx(1)
    assert trust.rank_correlation(ramp, -ramp) == pytest.approx(-1)
    assert trust.rank_correlation(ramp, torch.ones(1, 3, 3)) is None
    assert torch.equal(normalised(torch.zeros(2, 2, 2), 4, 8), torch.zeros(4, 8, 8))
    pooled = normalised(torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]), 4, 8)
    assert pooled.amax(dim=(1, 2)).tolist() == [0, 0, 1, 1]
    assert enlarged(torch.ones(1, 2, 2), 6).shape == (1, 6, 6)


@pytest.mark.parametrize(
    ("labels", "least"),
    [
        ((0,), trust.LEAST_POINTED),
        pytest.param(range(12), 0.9, marks=pytest.mark.slow),  # the table's of docs/explain.md
    ],
    ids=["one", "all"],
)
def test_the_model_in_the_box_looks_at_the_object(
    in_the_box: Explainer, rendered: Path, labels: Sequence[int], least: float
) -> None:
    hits, frames, deletion, centre, alike = 0, 0, [], [], []
    for label in labels:
        found = in_the_box.explain(rendered / "demo" / "frames" / f"val_{label:02d}_0000")
        assert found.label == label and found.trust is not None and found.trust.objects is not None
        hits, frames = hits + found.trust.objects.hits, frames + found.trust.objects.frames
        deletion.append(found.trust.curves["map"].deletion_area)
        centre.append(found.trust.curves["centre"].deletion_area)
        alike.append(abs(found.trust.correlation or 0))
    assert hits >= least * frames
    assert np.mean(deletion) < np.mean(centre)
    assert np.mean(alike) < (trust.MOST_ALIKE if len(labels) > 1 else 0.5)  # of single videos up to 0.4


# ------------------------------------------------------------------------------------------------ the tools


def test_visualize_writes_a_figure_and_a_video(
    weights: Path, rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = rendered / "demo" / "frames" / "val_10_0000"
    words = [str(video), f"--weights={weights}", f"--output={tmp_path}", "--method=hirescam_fine"]
    name = "val_10_0000_3-moving-something-up_hirescam_fine_heat"
    (tmp_path / f"{name}.png").write_text("an old one")
    assert visualize.main([*words, "--label=3"]) == 0
    said = capsys.readouterr().out
    assert "boxes: hottest on a moving object" in said and "random weights" in said
    assert said.count("(in place of an earlier one)") == 1
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png", f"{name}.mp4"}
    with Image.open(tmp_path / f"{name}.png") as figure:
        assert figure.width > 400 and figure.height > 800 and np.asarray(figure.convert("L")).std() > 10
    with av.open(str(tmp_path / f"{name}.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4 and frames[0].shape == (360, 640, 3)
    assert not np.array_equal(frames[0][:320, :320], frames[0][:320, 320:])  # seen, and with heat


@pytest.mark.parametrize(
    ("video", "label", "method", "name"),
    [
        ("a/b.mp4", None, None, "b"),
        ("a/b.mp4", None, "motion", "b_motion"),
        ("a/b.mp4", 0, None, "b_0-" + f"b-{99 * 'x'}"[:40]),
        ("a/b.mp4", 1, "motion", "b_1_motion"),
        ("a/b.c.mp4", 2, None, "b.c_2-up"),
    ],
)
def test_what_was_asked_is_in_the_names(video: str, label: int | None, method: str | None, name: str) -> None:
    assert visualize.named(Path(video), label, ["../<b>\n" + 99 * "x", "猫", "up"], method) == name


def test_visualize_without_fex_and_without_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    weights = save_network(tmp_path / "tsn.pth", categories=["a $cat$", "<b>"], dataset="pets", shift=False)
    video = write_video(tmp_path / "my video.mp4", 12)
    caplog.set_level("INFO")
    assert visualize.main([str(video), f"--weights={weights}", f"--output={tmp_path / 'out'}", "--no_check"]) == 0
    assert "the map was not checked" in capsys.readouterr().out and "no foreground of its own" in caplog.text
    assert len(list((tmp_path / "out").iterdir())) == 2
    with pytest.raises(InputError, match="without FEX's SS has no foreground"):
        visualize.main([str(video), f"--weights={weights}", f"--output={tmp_path / 'out'}", "--method=foreground"])


def test_bad_input_is_named(weights: Path, explainer: Explainer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", 12)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 99)
    with pytest.raises(InputError) as predicted:
        Recognizer.from_checkpoint(weights)(broken)
    for words, message in (
        ([video, "--label=turning something clokwise"], "did you mean turning something clockwise"),
        ([video, "--label=12"], "a number from 0 to 11"),
        ([video, "--method=gradcamm"], "--method gradcamm: expected .*did you mean gradcam"),
        ([video, "--device=nonsense"], "--device nonsense"),
        ([tmp_path / "none.mp4"], "no such file or folder"),
    ):
        with pytest.raises(InputError, match=message):
            visualize.main([*map(str, words), f"--weights={weights}", f"--output={tmp_path / 'out'}"])
    with pytest.raises(InputError) as explained:
        explainer.explain(broken)
    assert str(explained.value) == str(predicted.value)
    with pytest.raises(InputError, match="no such checkpoint"):
        visualize.main([str(video), f"--weights={tmp_path / 'none.pth'}", f"--output={tmp_path / 'out'}"])
    assert not list((tmp_path / "out").iterdir())  # nothing half-written


def test_without_captum_it_says_what_to_install(explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(InputError, match=r"needs the package captum .*pip install captum"):
        explainer.explain(video_of(0))
    assert explainer.explain(video_of(0), method="foreground", checked=False).heat.any()


def test_the_table_of_methods(rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--weights={BOX}", f"--root_dataset={rendered}", "--videos=1"]
    few = tmp_path / "demo"
    shutil.copytree(rendered / "demo", few)
    (few / "val_videofolder.txt").write_text((few / "val_videofolder.txt").read_text().splitlines()[0])
    words[1] = f"--root_dataset={tmp_path}"
    heatmap_quality.main([*words, "--methods", "gradcam_fine", "differences", f"--csv={tmp_path / 't.csv'}"])
    said = capsys.readouterr().out
    assert "1 of 1 videos are right; 8 frames with an object" in said and "| gradcam_fine | " in said
    lines = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()]
    assert [line[0] for line in lines] == ["method", "gradcam_fine", "differences", "centre", "random"]
    values = dict(zip(lines[0][1:], lines[2][1:], strict=True))
    assert float(values["correlation"]) == 1 and "differences 0" in said  # the network has no part in it
    assert values["passed"] == "0" and values["videos"] == "1" and 0.05 < float(values["box_area"]) < 0.5
    nowhere = {"width": 1, "height": 1, "frames": []}
    name = (few / "val_videofolder.txt").read_text().split()[0]
    (few / "boxes.json").write_text(json.dumps({name: nowhere}))  # and so none that fit
    with pytest.raises(InputError, match="has 1 of the 1 videos right, and in the clips of 1 of these no object"):
        heatmap_quality.main([*words, "--methods", "differences"])
    without = save_network(tmp_path / "fe.pth", fex_parts=("fe",))
    with pytest.raises(InputError, match=r"--methods foreground: .*fe\.pth has no SS of FEX: give other methods"):
        heatmap_quality.main([f"--weights={without}", words[1], "--methods", "foreground"])
    (few / "boxes.json").unlink()
    with pytest.raises(InputError, match="no videos with boxes"):
        heatmap_quality.main(words)
    with pytest.raises(InputError, match="did you mean gradcam"):
        heatmap_quality.main([*words, "--methods", "grad_cam"])
