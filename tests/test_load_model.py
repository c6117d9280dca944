"""ops.models.load_model: the network and what to know of it, from own and published files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from programs import train
from published import save_published

from ops.errors import InputError
from ops.model.tsn import NetworkOptions, build_network
from ops.models import load_model
from ops.running.checkpoint import save_checkpoint


def published(golden: Path, folder: Path) -> Path:
    """A published TSM checkpoint."""
    path = folder / "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4_e50.pth"
    save_published(path, golden, json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"])
    return path


def test_an_own_checkpoint(demo: Path) -> None:
    run = train(demo, "--shift", "--epochs", "1", "--store_name", "run") / "run"
    model, info = load_model(run / "ckpt.pth")
    assert not model.training
    assert len(info["classes"]) == info["num_class"] == 12
    expected = {"num_segments": 4, "arch": "resnet18", "fex": "paper", "shift_div": 8, "shift_place": "blockres"}
    assert {k: info[k] for k in expected} == expected
    assert (info["modality"], info["input_size"], len(info["mean"]), len(info["std"])) == ("RGB", 32, 3, 3)


def test_a_published_checkpoint_takes_pixels_and_floats_in_both_shapes(golden: Path, tmp_path: Path) -> None:
    model, info = load_model(str(published(golden, tmp_path)))
    assert info["classes"] is None
    assert (info["num_class"], info["num_segments"], info["fex"], info["input_size"]) == (11, 4, "off", 224)
    pixels = torch.randint(0, 256, (2, 12, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(info[key]).view(3, 1, 1) for key in ("mean", "std"))
    normalised = ((pixels.view(2, 4, 3, 64, 64) / 255 - mean) / std).view(2, 12, 64, 64)
    with torch.no_grad():
        scores = model(pixels)
        assert scores.shape == (2, 11) and scores.dtype == torch.float32
        for clips in (normalised, normalised.double(), pixels.view(2, 4, 3, 64, 64)):
            assert (model(clips) - scores).abs().max() < 1e-4 * scores.abs().max()
        assert model.double()(normalised).dtype == torch.float64


@pytest.mark.parametrize(("shape", "dtype"), [((2, 13, 8, 8), torch.uint8), ((2, 12, 8, 8), torch.int64)])
def test_other_clips_are_refused(golden: Path, tmp_path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    model, _ = load_model(published(golden, tmp_path))
    with pytest.raises((ValueError, TypeError), match="expected"):
        model(torch.zeros(shape, dtype=dtype))


def test_a_checkpoint_of_an_old_torch_and_one_without_dropout(golden: Path, tmp_path: Path) -> None:
    path = published(golden, tmp_path)
    content = torch.load(path, weights_only=True)
    old = tmp_path / "old" / path.name
    old.parent.mkdir()
    torch.save(content, old, _use_new_zipfile_serialization=False)
    state = {name.replace("new_fc", "base_model.fc"): value for name, value in content["state_dict"].items()}
    without = tmp_path / "without" / path.name
    without.parent.mkdir()
    torch.save({"state_dict": state}, without)
    clips = torch.randint(0, 256, (1, 12, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        expected = load_model(path)[0](clips)
        assert torch.equal(load_model(old)[0](clips), expected)
        assert torch.equal(load_model(without)[0](clips), expected)


@pytest.mark.parametrize(
    ("modality", "arch", "frames", "channels", "mean"),
    [
        ("Flow", "resnet18", 5, 10, (0.5,)),
        ("Flow", "BNInception", 5, 10, (128 / 255,)),
        ("RGBDiff", "resnet18", 6, 15, 3),
    ],
)
def test_info_says_what_to_feed(
    modality: str, arch: str, frames: int, channels: int, mean: tuple[float, ...] | int, tmp_path: Path
) -> None:
    options = NetworkOptions(5, 2, modality, arch=arch)
    content = {"state_dict": build_network(options).state_dict(), "network": asdict(options), "dataset": "a"}
    save_checkpoint(tmp_path / "a.pth", {**content, "categories": list("abcde")})
    _, info = load_model(tmp_path / "a.pth")
    assert (info["frames_per_segment"], info["channels"]) == (frames, channels)
    assert len(info["mean"]) == mean if isinstance(mean, int) else info["mean"] == pytest.approx(mean)


def test_a_missing_file() -> None:
    with pytest.raises(InputError, match=r"nowhere\.pth"):
        load_model("nowhere.pth")
