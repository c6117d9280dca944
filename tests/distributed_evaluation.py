"""Run by a test, alone and under torchrun: evaluates a list of videos in several ways, into the folder it is given.

One start of Python for all, as that takes longer than they do.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import main
import test_models
from ops.errors import reported
from ops.programs import training


def evaluate(root: Path, weights: Path, out: Path) -> None:
    """All videos with a report, two of them, and main.py's validation; `validation.json` has its numbers unrounded."""
    out.mkdir(exist_ok=True)
    common = ["--root_dataset", str(root / "dataset"), "-j", "0"]
    test = ["demo", f"--weights={weights}", *common, "--test_crops=3"]
    test_models.main([*test, f"--save_scores={out}/all.npz", f"--result_json={out}/all.json", f"--report={out}/report"])
    test_models.main([*test, f"--save_scores={out}/two.npz", f"--result_json={out}/two.json", "--max_num=2"])
    network = ["--arch=resnet18", "--num_segments=4", "--shift", "--input_size=32", "--pretrain=none"]
    with mock.patch.object(training, "in_words", partial(keep, out / "validation.json")):
        main.main(["demo", "RGB", "--evaluate", f"--resume={weights}", *network, *common, "--batch-size=6"])


def keep(file: Path, statistics: dict[str, float]) -> str:
    """In place of the words for a validation's statistics."""
    if os.environ.get("RANK", "0") == "0":  # else several processes write at once
        file.write_text(json.dumps(statistics))
    return "kept"


if __name__ == "__main__":
    with reported():
        evaluate(*map(Path, sys.argv[1:]))
