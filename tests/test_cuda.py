"""The programs on GPUs, where there are any: alone and, with several, under DataParallel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import VISIBLE_GPUS
from programs import TINY, evaluate, python


def on_gpus(*arguments: str, visible: str | None = VISIBLE_GPUS) -> str:
    """Runs a script that sees the GPUs which the tests hide from themselves; returns what it printed."""
    # An empty value hides all; a machine where nothing was set shows all, for which CUDA has no value of its own.
    everything = ",".join(map(str, range(16)))
    done = python(*arguments, CUDA_VISIBLE_DEVICES=everything if visible is None else visible)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def gpu_count() -> int:
    """How many GPUs the programs would see; without any, the test is skipped."""
    count = int(on_gpus("-c", "import torch; print(torch.cuda.device_count())").split()[0])
    if count == 0:
        pytest.skip("needs a GPU")
    return count


@pytest.mark.parametrize(("fex", "amp"), [("paper", "auto"), ("paper", "fp16"), ("released", "off"), ("off", "off")])
def test_train_resume_and_test(demo: Path, gpu_count: int, fex: str, amp: str) -> None:
    root = ["--root_dataset", str(demo / "dataset"), "-j", "1"]
    out = ["--root_log", str(demo / "log"), "--root_model", str(demo / "checkpoint"), "--store_name", "run"]
    flags = ["main.py", "demo", "RGB", *TINY, *root, *out, "--shift", "--npb", "--fex", fex, "--amp", amp]
    said = on_gpus(*flags, "--epochs", "1")
    assert ("DataParallel on GPUs" if gpu_count > 1 else "run: cuda:0") in said
    weights = demo / "checkpoint" / "run" / "ckpt.pth"
    assert "epoch 2/2 val" in on_gpus(*flags, "--epochs", "2", "--resume", str(weights))
    there, here = demo / "gpu.npz", demo / "cpu.npz"
    on_gpus("test_models.py", "demo", f"--weights={weights}", *root, "--gpus", "0", f"--save_scores={there}")
    evaluate(demo, weights, f"--save_scores={here}")
    ours, theirs = np.load(there)["scores"], np.load(here)["scores"]
    assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max()


NVJPEG = """
import sys, torch
from pathlib import Path
from ops.data.decode import decode_images, read_files
from ops.data.gpu_decode import _by_nvjpeg
pictures = read_files(sorted(Path(sys.argv[1]).rglob("*.jpg"))[:8])
there, here = _by_nvjpeg(pictures, torch.device("cuda")), decode_images(pictures)
assert there.shape == here.shape and there.is_cuda
print("mean difference", float((there.cpu().float() - here.float()).abs().mean()))
"""


def test_pictures_decoded_there(demo: Path, gpu_count: int) -> None:
    assert float(on_gpus("-c", NVJPEG, str(demo / "dataset")).split()[-1]) <= 1.5
    root = ["--root_dataset", str(demo / "dataset"), "-j", "1", "--decode_device", "cuda"]
    out = ["--root_log", str(demo / "log"), "--root_model", str(demo / "checkpoint"), "--store_name", "run"]
    said = on_gpus("main.py", "demo", "RGB", *TINY, *root, *out, "--shift", "--npb", "--epochs", "1")
    assert "epoch 1/1 val" in said
    weights = demo / "checkpoint" / "run" / "ckpt.pth"
    scores = [demo / "there.npz", demo / "here.npz"]
    for flags, saved in zip((root, root[:-2]), scores, strict=True):
        on_gpus("test_models.py", "demo", f"--weights={weights}", *flags, "--gpus", "0", f"--save_scores={saved}")
    there, here = (np.load(saved)["scores"] for saved in scores)
    assert np.abs(there - here).max() <= 0.05 * np.abs(here).max()  # pixels differ by some grey levels
