"""Real videos all the way: frames extracted, cut into pieces, trained on the first halves, tested on the second."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import SHARED
from programs import evaluate, train

from ops.data.records import read_categories, read_list
from tools import extract_flow, vid2img

CLIPS = SHARED / "clips"
PIECE = 12  # frames


def cut(frames: Path, source: Path, length: int) -> list[str]:
    """Pieces of `length` frames each of the extracted folder `source`, as folders of their own; their names."""
    pictures = sorted(source.glob("*.jpg"))
    names = []
    for start in range(0, len(pictures) - length + 1, length):
        names.append(f"{source.name} from {start}")
        (frames / names[-1]).mkdir()
        for number, picture in enumerate(pictures[start : start + length], start=1):
            shutil.copy(picture, frames / names[-1] / f"{number:05d}.jpg")
    return names


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dataset/kinetics` of the real clips: pieces of the first halves to train, the others to test."""
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not beside the repository")
    top = tmp_path_factory.mktemp("real")
    folder, extracted = top / "dataset" / "kinetics", top / "extracted"
    frames = folder / "frames"
    frames.mkdir(parents=True)
    flags = ["--videos", CLIPS, "--frames", extracted, "--short_side", 128, "--list", folder / "all.txt", "-j", 2]
    assert vid2img.main([str(flag) for flag in flags]) == 0
    categories = read_categories(folder / "category.txt")
    assert categories == ["apply_eye_makeup", "arm_wrestling", "playing_basketball"]
    halves: dict[str, list[str]] = {"train": [], "val": []}
    for record in read_list(folder / "all.txt", len(categories)):
        pieces = cut(frames, extracted / record.path, PIECE)
        middle = len(pieces) // 2
        halves["train"] += [f"{name} {PIECE} {record.label}" for name in pieces[:middle]]
        halves["val"] += [f"{name} {PIECE} {record.label}" for name in pieces[middle:]]
    for split, lines in halves.items():
        (folder / f"{split}_videofolder.txt").write_text("\n".join(lines) + "\n")
    assert len(halves["train"]) >= 16 and len(halves["val"]) >= 16
    return top


def test_real_clips_from_video_to_result(root: Path) -> None:
    schedule = "--input_size 48 --epochs 10 --lr 0.01 --lr_type cos --no_fc_lr5 --dropout 0.1 --eval-freq 10"
    run = train(root, "--shift", "--npb", *schedule.split(), "--store_name", "real", dataset="kinetics") / "real"
    views = ["--test_crops=3", "--twice_sample", "--full_res", f"--result_json={root / 'result.json'}"]
    evaluate(root, run / "ckpt.pth", *views, dataset="kinetics")
    result = json.loads((root / "result.json").read_text())
    listed = (root / "dataset" / "kinetics" / "val_videofolder.txt").read_text().splitlines()
    assert (result["videos"], result["skipped"]) == (len(listed), 0)
    assert (result["clips"], result["crops"], result["crop_size"]) == (2, 3, 54)
    labels = [line.rsplit(" ", 1)[1] for line in listed]
    most = max(labels.count(label) for label in labels) / len(labels)
    assert result["top1"] > 100 * most + 10  # more than always naming the most frequent class


@pytest.mark.slow
def test_real_clips_in_every_modality_and_protocol(root: Path) -> None:
    """Flow is extracted from the real frames; each modality's network is tested by each protocol, then all together."""
    pytest.importorskip("cv2")
    demand = ["kinetics", "--root_dataset", root / "dataset", "--method", "dis", "--short_side", 64, "-j", 2]
    assert extract_flow.main([str(word) for word in demand]) == 0
    weights = {}
    for modality in ("RGB", "Flow", "RGBDiff"):
        flags = ["--shift", "--epochs=1", "--input_size=64", "--store_name", modality]
        weights[modality] = train(root, *flags, dataset="kinetics", modality=modality) / modality / "ckpt.pth"
        for protocol, views in (("efficient", 1), ("accurate", 6), ("dense", 30)):
            out = ["--max_num=4", f"--protocol={protocol}", f"--result_json={root / 'p.json'}"]
            evaluate(root, weights[modality], *out, dataset="kinetics")
            result = json.loads((root / "p.json").read_text())
            assert (result["views"], result["videos"]) == (views, 4)
            assert modality in result["network"]
    together = ",".join(map(str, weights.values()))
    out = ["--coeff=1,1.5,1", f"--result_json={root / 'e.json'}", "--softmax"]
    evaluate(root, Path(together), *out, dataset="kinetics")
    assert [member["coefficient"] for member in json.loads((root / "e.json").read_text())["members"]] == [1, 1.5, 1]
