"""How the tests call the two programs, in this process or as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import main
import test_models

REPOSITORY = Path(__file__).resolve().parent.parent
# A network and a schedule small enough for two seconds an epoch.
TINY = [
    *("--arch", "resnet18", "--num_segments", "4", "--input_size", "32", "--pretrain", "none"),
    *("--batch-size", "8", "--eval-freq", "1"),
]


def train(root: Path, *flags: str, dataset: str = "demo", modality: str = "RGB") -> Path:
    """Trains on `root`/dataset in this process; returns the folder of the checkpoints."""
    out = ["--root_log", str(root / "log"), "--root_model", str(root / "checkpoint"), "-j", "0"]
    main.main([dataset, modality, "--root_dataset", str(root / "dataset"), *TINY, *out, *flags])
    return root / "checkpoint"


def evaluate(root: Path, weights: Path, *flags: str, dataset: str = "demo") -> None:
    """Tests `weights` on `root`/dataset in this process."""
    test_models.main([dataset, f"--weights={weights}", "--root_dataset", str(root / "dataset"), "-j", "0", *flags])


def shell(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command from the repository's top, as a user does."""
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script with this interpreter."""
    return shell(sys.executable, *arguments, **environment)
