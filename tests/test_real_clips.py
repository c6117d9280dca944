"""Real videos all the way: frames extracted, cut into pieces, trained on the first halves, tested on the second."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import SHARED
from programs import evaluate, train

from ops.data.records import read_categories, read_list
from tools import vid2img

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


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not beside the repository")
def test_real_clips_from_video_to_result(tmp_path: Path) -> None:
    folder = tmp_path / "dataset" / "kinetics"
    extracted, frames = tmp_path / "extracted", folder / "frames"
    frames.mkdir(parents=True)
    flags = [
        "--videos",
        str(CLIPS),
        "--frames",
        str(extracted),
        "--short_side",
        "128",
        "--list",
        str(folder / "all.txt"),
    ]
    assert vid2img.main([*flags, "-j", "2"]) == 0
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

    schedule = "--input_size 64 --epochs 24 --lr 0.003 --lr_type cos --no_fc_lr5 --dropout 0.1 --eval-freq 24"
    run = train(tmp_path, "--shift", "--npb", *schedule.split(), "--store_name", "real", dataset="kinetics") / "real"
    views = ["--test_crops=3", "--twice_sample", "--full_res", f"--result_json={tmp_path / 'result.json'}"]
    evaluate(tmp_path, run / "ckpt.pth", *views, dataset="kinetics")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["videos"], result["skipped"]) == (len(halves["val"]), 0)
    assert (result["clips"], result["crops"], result["crop_size"]) == (2, 3, 73)
    labels = [line.rsplit(" ", 1)[1] for line in halves["val"]]
    most = max(labels.count(label) for label in labels) / len(labels)
    assert result["top1"] > 100 * most + 10  # more than always naming the most frequent class
