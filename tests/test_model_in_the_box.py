"""checkpoint/demo: small, as its card says, right on demo; what makes a file small; what testing.sh takes."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from programs import REPOSITORY, evaluate, train

from ops.errors import InputError
from ops.evaluation.metrics import wilson_interval
from ops.recognition.contract import Contract
from ops.running.checkpoint import OF_THE_PLACE, network_of, newest_own, read_checkpoint
from opts import training_options
from tools import demo_card, slim_checkpoint
from tools.demo_scenes import CLASSES

FOLDER = REPOSITORY / "checkpoint" / "demo"
MODEL = FOLDER / "ckpt.pth"


def words_in(content: Any) -> list[str]:
    """All text in what a file holds, keys too."""
    if isinstance(content, dict):
        return [word for pair in content.items() for part in pair for word in words_in(part)]
    if isinstance(content, list | tuple):
        return [word for part in content for word in words_in(part)]
    return [content] if isinstance(content, str) else []


def test_the_file_is_small_and_holds_weights_alone() -> None:
    content = torch.load(MODEL, weights_only=True)
    assert MODEL.stat().st_size <= 12e6
    assert content.keys() == {
        *("format", "network", "categories", "dataset", "input_size", "data", "epoch", "options", "state_dict"),
        "calibration",
    }
    state = content["state_dict"]
    assert {value.dtype for value in state.values() if value.dim() > 1} == {torch.float16}
    assert {value.dtype for value in state.values() if value.dim() < 2} == {torch.float32, torch.int64}
    assert not [word for word in words_in(content) if word.startswith(("/", "~")) or ":\\" in word]
    assert content["categories"] == list(CLASSES) and content["network"]["fex"] == "paper"


def test_it_is_right_on_demo(rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dataset").symlink_to(rendered)
    evaluate(tmp_path, MODEL, f"--result_json={tmp_path / 'r.json'}", "--batch_size=4")
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["videos"] == 12 and result["top1"] > 80
    assert result["temperature"] == Contract.of(read_checkpoint(MODEL), network_of(read_checkpoint(MODEL))).temperature
    assert "surest videos" in capsys.readouterr().out


def test_the_card_tells_what_was_measured() -> None:
    card, page = json.loads((FOLDER / "card.json").read_text()), (FOLDER / "README.md").read_text()
    assert demo_card.filled(page, card) == page
    assert card["sha256"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert card["calibration"] == read_checkpoint(MODEL).training["calibration"]
    assert [found["videos"] for found in card["tested"].values()] == [300, 300, 2400]
    for found in card["tested"].values():
        assert found["interval"][0] < found["top1"] <= found["interval"][1] + 1e-9


def test_a_card_without_a_place_for_its_numbers() -> None:
    with pytest.raises(InputError, match="<!-- numbers -->"):
        demo_card.filled("no place", {})


def test_the_script_that_makes_it_is_how_it_was_made() -> None:
    text = (REPOSITORY / "scripts" / "demo_model.sh").read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("python main.py")]
    said = vars(training_options([word for word in shlex.split(line)[2:] if word != "$@"]))
    options = read_checkpoint(MODEL).training["options"]
    since = {"nan", "sync_bn"}  # options that have come since
    since |= {"shift_stages", "fex_parts", "fex_attention", "fex_norms", "fex_lr", "fex_wd"}
    assert options == {name: value for name, value in said.items() if name not in {*OF_THE_PLACE, *since}}
    assert read_checkpoint(MODEL).training["epoch"] == said["epochs"]


@pytest.mark.parametrize(
    ("right", "videos", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (291, 300, 0.9440, 0.9841)],
)
def test_wilson_interval(right: int, videos: int, low: float, high: float) -> None:
    assert wilson_interval(right, videos) == pytest.approx((low, high), abs=5e-5)


@pytest.fixture(scope="module")
def trained(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's checkpoint."""
    root = tmp_path_factory.mktemp("slim")
    (root / "dataset").symlink_to(rendered)
    return train(root, "--shift", "--epochs=1", "--store_name=a") / "a" / "ckpt.pth"


def test_a_slim_checkpoint_scores_as_the_whole(trained: Path, tmp_path: Path) -> None:
    slim = tmp_path / "slim.pth"
    slim_checkpoint.main(["--weights", str(trained), "--out", str(slim)])
    assert slim.stat().st_size < trained.stat().st_size / 3.5
    whole, half = read_checkpoint(trained), read_checkpoint(slim)
    assert "optimizer" not in half.training and half.training["data"] == whole.training["data"]
    assert str(trained.parent) not in "".join(words_in(half.training))
    networks = [network_of(checkpoint).eval() for checkpoint in (whole, half)]
    assert {value.dtype for value in networks[1].state_dict().values()} == {torch.float32, torch.int64}
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = [network(clips) for network in networks]
    assert 0 < (one - other).abs().max() < 1e-3 and torch.equal(one.argmax(1), other.argmax(1))
    slim_checkpoint.main(["--weights", str(slim), "--out", str(tmp_path / "again.pth")])
    assert (tmp_path / "again.pth").read_bytes() == slim.read_bytes()


def test_what_cannot_be_made_slim(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained, weights_only=True)
    name = next(iter(content["state_dict"]))
    torch.save(content["state_dict"], tmp_path / "bare.pth")
    content["state_dict"][name] = content["state_dict"][name] + 1e5
    torch.save(content, tmp_path / "large.pth")
    for weights, out, message in (
        (tmp_path / "bare.pth", "o.pth", "not a checkpoint of main.py"),
        (tmp_path / "large.pth", "o.pth", "float16 can't hold"),
        (tmp_path / "none.pth", "o.pth", "no such checkpoint"),
        (tmp_path / "bare.pth", "bare.pth", "it is --weights"),
    ):
        with pytest.raises(InputError, match=message):
            slim_checkpoint.main(["--weights", str(weights), "--out", str(tmp_path / out)])
    assert not (tmp_path / "o.pth").exists()


def test_own_runs_come_before_the_model_in_the_box(tmp_path: Path) -> None:
    for number, name in enumerate(("run", "later", "demo")):  # the box is the newest file, as in a fresh clone
        (tmp_path / name).mkdir()
        shutil.copy(MODEL, tmp_path / name)
        os.utime(tmp_path / name / "ckpt.pth", (number, number))
    assert newest_own(tmp_path).path.parent.name == "later"
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(tmp_path / "later")
    assert newest_own(tmp_path).path.parent.name == "demo"


STAND_IN = """
import shutil, sys
from pathlib import Path
assert sys.argv[1] == "--root_dataset"
print("rendering")
shutil.copytree({small!r}, Path(sys.argv[2], "demo"))
"""


def test_testing_sh_takes_the_model_in_the_box_and_renders_its_data(rendered: Path, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"  # of which the renderer alone is another: it takes a minute
    (clone / "tools").mkdir(parents=True)
    for name in (
        "archs",
        "ops",
        "scripts",
        "opts.py",
        "test_models.py",
        "testing.sh",
        "checkpoint/demo",
        "tools/options.py",
    ):
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).symlink_to(REPOSITORY / name)
    (clone / "tools" / "__init__.py").touch()
    (clone / "tools" / "make_demo_dataset.py").write_text(STAND_IN.format(small=str(rendered / "demo")))
    result = tmp_path / "r.json"
    flags = ["--root_dataset", "data sets", "-j", "0", f"--result_json={result}"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for rendering, further in ((True, ["--max_num=2"]), (False, ["--help"])):
        done = subprocess.run(
            ["bash", str(clone / "testing.sh"), *flags, *further],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert ("rendering" in done.stderr) == rendering and (clone / "data sets" / "demo").is_dir()
    values = json.loads(result.read_text())
    assert (values["weights"], values["views"], values["crop_size"]) == ("checkpoint/demo/ckpt.pth", 6, 73)
