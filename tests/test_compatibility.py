"""Every row of docs/compatibility.md: trained for a few steps, resumed and tested, as from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from helpers_data import write_flow
from programs import REPOSITORY, evaluate, train
from published import save_published
from test_model import GOLDEN
from test_programs import only_run

from ops.errors import InputError
from ops.models import load_model

# Flags after `main.py demo MODALITY`, and a part of the run's name.
ROWS = {
    "mobilenetv2": ("RGB --arch mobilenetv2 --shift --fex off", "_mobilenetv2_shift8_blockres_avg"),
    "mobilenetv2 with FEX": ("RGB --arch mobilenetv2 --shift", "_mobilenetv2_shift8_blockres_FEX_avg"),
    "bninception": ("RGB --arch BNInception", "_BNInception_avg"),
    "bninception shifted": ("RGB --arch BNInception --shift --fex off --shift_place block", "_shift8_block_avg"),
    "bninception mask": (
        "RGB --arch BNInception --shift --fex off --shift_place 010000000001", "_shift8_010000000001_avg",
    ),
    "timm": ("RGB --arch timm:resnet10t --shift", "_timm-resnet10t_shift8_blockres_FEX_avg"),
    "timm, inverted": (
        "RGB --arch timm:mobilenetv3_small_050 --shift --fex off", "_timm-mobilenetv3_small_050_shift8_blockres_avg",
    ),
    "non_local": ("RGB --arch resnet50 --shift --fex off --non_local", "_avg_segment4_e2_none_nl"),
    "temporal_pool": ("RGB --shift --temporal_pool", "_shift8_blockres_tpool_FEX_avg"),
    "add_se": ("RGB --shift --add_se", "_shift8_blockres_addse_FEX_avg"),
    "block": ("RGB --shift --fex off --shift_place block", "_shift8_block_avg"),
    "inblockres": ("RGB --shift --shift_place inblockres", "_shift8_inblockres_FEX_avg"),
    "released": ("RGB --shift --fex released", "_FEXreleased_avg"),
    "fex_stages": ("RGB --shift --fex_stages layer3 layer1", "_FEX_in13_avg"),
    "fex variant": (
        "RGB --shift --shift_stages layer1 --fex_stages layer4 --fex_attention sigmoid --fex_norms scene "
        "--fex_init zero --fex_lr 0.5 --fex_wd 0",
        "_shiftin1_FEX_in4_zeroinit_sigmoid_notimbn_avg",
    ),
    "identity": ("RGB --shift --consensus_type identity", "_FEX_identity_segment4"),
    "dropout 0": ("RGB --shift --dropout 0", "_nodropout"),
    "dense_sample": ("RGB --shift --dense_sample", "_dense"),
    "flow": ("Flow --shift --fex off", "_Flow_resnet18_shift8"),
    "flow with FEX": ("Flow --shift", "_Flow_resnet18_shift8_blockres_FEX_avg"),
    "flow on bninception": ("Flow --arch BNInception", "_Flow_BNInception_avg"),
    "rgbdiff": ("RGBDiff --shift --fex off", "_RGBDiff_resnet18"),
    "rgbdiff beside rgb": ("RGBDiff --shift --keep_rgb", "_RGBDiffkeep_resnet18"),
}  # fmt: skip


@pytest.fixture
def few(demo: Path) -> Path:
    """A folder with eight training and two validation videos of `demo`, and made flow of them."""
    folder = demo / "dataset" / "demo"
    for part, count in (("train", 8), ("val", 2)):
        lines = (folder / f"{part}_videofolder.txt").read_text().splitlines()[:count]
        (folder / f"{part}_videofolder.txt").write_text("\n".join(lines))
        listed = [line.rsplit(" ", 2) for line in lines]
        (folder / f"{part}_videofolder_flow.txt").write_text("".join(f"{p} 6 {label}\n" for p, _, label in listed))
        for place, (path, _, _) in enumerate(listed):
            write_flow(folder / "flow" / path, [(100 + place, 110 + k) for k in range(6)], packed=False)
    return demo


@pytest.mark.parametrize("row", ROWS)
def test_a_row_trains_resumes_and_tests(row: str, few: Path, tmp_path: Path) -> None:
    modality, *flags = ROWS[row][0].split()
    common = ["--batch-size", "4", "--no_fc_lr5", "--lr", "0.002", *flags]
    train(few, *common, "--epochs", "1", "--store_name", "first", modality=modality)
    first = few / "checkpoint" / "first" / "ckpt.pth"
    train(few, *common, "--epochs", "2", modality=modality)
    whole = next(path for path in (few / "checkpoint").iterdir() if path.name != "first")
    assert ROWS[row][1] in whole.name
    train(few, *common, "--epochs", "2", "--resume", str(first), modality=modality)
    ours, theirs = (torch.load(p / "ckpt.pth")["state_dict"] for p in (whole, first.parent))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    evaluate(few, whole / "ckpt.pth", "--protocol=accurate", f"--result_json={tmp_path / 'r.json'}")
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["videos"], result["views"]) == (2, 6)
    model, info = load_model(whole / "ckpt.pth")
    assert info["modality"] == modality and not model.training


@pytest.mark.parametrize(
    ("row", "other"),
    [("add_se", "temporal_pool"), ("non_local", "dense_sample"), ("flow", "rgbdiff"), ("fex_stages", "released")],
)
def test_another_network_than_the_checkpoints_is_refused(row: str, other: str, few: Path) -> None:
    modality, *flags = ROWS[row][0].split()
    train(few, "--batch-size", "4", *flags, "--epochs", "1", modality=modality)
    checkpoint = only_run(few / "checkpoint") / "ckpt.pth"
    modality, *flags = ROWS[other][0].split()
    with pytest.raises(InputError, match="another network than the flags ask for"):
        train(few, "--batch-size", "4", *flags, "--epochs", "2", "--resume", str(checkpoint), modality=modality)


MMACTION = "mmaction2_tsm_resnet50_seg8"


def test_an_mmaction_checkpoint_is_loaded_tested_and_tuned_from(
    few: Path, golden: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    weights = few / GOLDEN[MMACTION]
    keys = json.loads((golden / f"{MMACTION}.keys.json").read_text())["keys"]
    save_published(weights, golden, keys)
    content = torch.load(weights)
    torch.save({"meta": {"epoch": 50, "seed": 0}, "state_dict": content["state_dict"]}, weights)
    _, info = load_model(weights)
    assert (info["num_class"], info["num_segments"], info["arch"], info["fex"]) == (400, 8, "resnet50", "off")
    (few / "dataset" / "demo").rename(few / "dataset" / "kinetics")
    names = "".join(f"class {k}\n" for k in range(400))
    (few / "dataset" / "kinetics" / "category.txt").write_text(names)
    scores = few / "s.npz"
    evaluate(few, weights, "--input_size=64", f"--save_scores={scores}", dataset="kinetics")
    flags = ["--arch", "resnet50", "--num_segments", "8", "-b", "2", "--epochs", "1", "--shift", "--tune_from"]
    train(few, *flags, str(weights), dataset="kinetics")
    assert "320 tensors loaded" in caplog.text and "left out (0)" in caplog.text
    unnamed = weights.rename(few / "tsm.pth")
    with pytest.raises(InputError, match="put kinetics400, sthv1"):
        evaluate(few, unnamed, dataset="kinetics")
    train(few, *flags, str(unnamed), "--store_name=again", dataset="kinetics")  # of another data set, for all it says
    assert "318 tensors loaded" in caplog.text and "left out (2): new_fc" in caplog.text


def test_flow_starts_from_rgb(few: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(few, "-b", "4", "--shift", "--fex=off", "--epochs", "1", "--store_name=rgb")
    rgb = few / "checkpoint" / "rgb" / "ckpt.pth"
    flags = ["-b", "4", "--shift", "--fex=off", "--epochs", "1", "--lr=1e-12", "--wd=0", "--store_name=flow"]
    train(few, *flags, "--tune_from", str(rgb), modality="Flow")
    given, tuned = (torch.load(path)["state_dict"] for path in (rgb, few / "checkpoint" / "flow" / "ckpt.pth"))
    mean = given["base_model.conv1.weight"].mean(dim=1, keepdim=True).expand(-1, 10, -1, -1)
    assert torch.allclose(tuned["base_model.conv1.weight"], mean, atol=1e-6)
    assert "adapted (1): base_model.conv1" in caplog.text


def test_the_table_names_tests_that_exist() -> None:
    text = (REPOSITORY / "docs" / "compatibility.md").read_text().split("<!-- timm -->")[0]  # the rest is a tool's
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", text)
    assert len(rows) > 50 and len(named) > 50
    for file, test in named:
        path = REPOSITORY / "tests" / file
        assert path.is_file(), file
        assert not test or re.search(rf"^def {test}\(", path.read_text(), re.MULTILINE), f"{file}::{test}"
    for row in rows:
        assert "test_" in row or row.endswith("| test |"), row
