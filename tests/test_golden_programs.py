"""Published checkpoints through test_models.py: the golden scores of whole test runs, and the published command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from programs import evaluate
from published import save_published

FOLDERS = {
    "fexnet_released": "TSM_something_RGB_resnet18_shift8_blockres_FEX_avg_segment4_e50",
    "tsm": "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4_e50",
}
# Of the many views the first whole batches are scored: all six videos, and a last batch that is not whole, by one view.
VIEWS = {
    "crops3_twice_full_batch1": ["--test_crops=3", "--twice_sample", "--full_res", "--batch_size=1", "--max_num=2"],
    "crops3_twice_full_batch4": ["--test_crops=3", "--twice_sample", "--full_res", "--batch_size=4", "--max_num=4"],
    "crops1_batch1": ["--test_crops=1", "--batch_size=1"],
    "crops1_batch4": ["--test_crops=1", "--batch_size=4"],
    "crops10_twice_batch2": ["--test_crops=10", "--twice_sample", "--batch_size=2", "--max_num=2"],
}


@pytest.mark.parametrize("name", FOLDERS)
def test_golden_scores(golden: Path, something: Path, name: str) -> None:
    described = json.loads((golden / "end_to_end" / f"{name}.json").read_text())
    weights = something / FOLDERS[name] / "ckptbest.pth"
    save_published(weights, golden, described["keys"])
    assert set(described["scores"]) == set(VIEWS)
    for views, expected in described["scores"].items():
        saved = something / f"{views}.npz"
        evaluate(
            something, weights, "--test_segments=4", *VIEWS[views], "--save_scores", str(saved), dataset="something"
        )
        ours, expected = np.load(saved), np.array(expected)
        scored = int(VIEWS[views][-1].partition("--max_num=")[2] or 6)
        assert ours["labels"].tolist() == list(range(scored))
        assert np.abs(ours["scores"] - expected[:scored]).max() <= 0.01 * np.abs(expected).max(), views


def test_grouping_changes_the_released_network_only_and_at_the_users_word(golden: Path, something: Path) -> None:
    changed, views = {}, ["--test_crops=1", "--twice_sample", "--batch_size=4"]
    for name, folder in FOLDERS.items():
        keys = json.loads((golden / "end_to_end" / f"{name}.json").read_text())["keys"]
        weights = something / folder / "ckptbest.pth"
        save_published(weights, golden, keys)
        scores = []
        for number, extra in enumerate(([], ["--views_per_forward=2"])):
            saved, result = something / f"{name}{number}.npz", something / f"{name}{number}.json"
            out = ["--save_scores", str(saved), "--result_json", str(result)]
            evaluate(something, weights, *views, *extra, *out, dataset="something")
            scores.append(np.load(saved)["scores"])
            grouping = json.loads(result.read_text())
            assert grouping["batch_size"] == 4
            default = "all of a batch" if name == "fexnet_released" else 16
            assert grouping["views_per_forward"] == (2 if extra else default)
        changed[name] = np.abs(scores[0] - scores[1]).max() / np.abs(scores[0]).max()
    assert changed["tsm"] < 1e-5
    assert changed["fexnet_released"] > 0.01


def test_the_published_testing_command(golden: Path, something: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's command as it stands, on a made tree of 174 classes and a checkpoint filled by name."""
    data = something / "dataset" / "something"
    (data / "category.txt").write_text("".join(f"class {i}\n" for i in range(174)))
    keys = json.loads((golden / "fexnet_released_resnet50_shift6_seg8.keys.json").read_text())["keys"]
    folder = "checkpoint/TSM_something_RGB_resnet50_shift6_blockres_FEX_avg_segment8_e50"
    save_published(something / folder / "ckptbest.pth", golden, keys)
    monkeypatch.chdir(something)
    monkeypatch.delenv("FEXNET_DATASETS", raising=False)
    import test_models

    test_models.main(
        [
            "something",
            f"--weights=./{folder}/ckptbest.pth",
            "--test_segments=8",
            "--test_crops=3",
            "--batch_size",
            "32",
            "--twice_sample",
            "--full_res",
            "--max_num=1",
            "--result_json=result.json",
        ]
    )
    result = json.loads((something / "result.json").read_text())
    assert (result["clips"], result["crops"], result["segments"], result["videos"]) == (2, 3, 8, 1)
    assert result["crop_size"] == 256 and result["views_per_forward"] == "all of a batch"
