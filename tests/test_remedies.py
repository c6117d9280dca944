"""A flag that a tool's message names is one of that tool's flags."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from programs import REPOSITORY

from opts import training_options

TOOLS = ("check_dataset", "extract_flow", "make_demo_dataset", "make_lists", "pack_frames", "prepare_videos", "vid2img")
# Modules without a command line, and the tools that show their messages.
SHARED = {
    "official_labels": ("make_lists",),
    "video_folders": ("extract_flow", "prepare_videos", "vid2img"),
    "video_frames": ("extract_flow", "prepare_videos", "vid2img"),
}
OF_MAIN = {"prepare_videos": "--arch resnet18 --pretrain none --num_segments 8 --shift --npb --lr 0.005 --eval-freq 1"}


def named_in(module: str) -> set[str]:
    """The flags in the texts of a module of tools/, but for its own documentation, which may be of other programs."""
    tree = ast.parse((REPOSITORY / "tools" / f"{module}.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {flag for text in texts if text != ast.get_docstring(tree, clean=False) for flag in flags_in(text)}


def flags_in(text: str) -> list[str]:
    return re.findall(r"--[a-z][\w-]*", text)


def flags_of(tool: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The flags that `--help` lists."""
    with pytest.raises(SystemExit):
        importlib.import_module(f"tools.{tool}").main(["--help"])
    return set(re.findall(r"^  (?:-\w(?: \S+)?, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE))


@pytest.mark.parametrize("module", [*TOOLS, *SHARED])
def test_no_message_names_a_flag_that_is_not_there(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    of_another = set(flags_in(OF_MAIN.get(module, "")))
    for tool in SHARED.get(module, (module,)):
        assert named_in(module) - of_another <= flags_of(tool, capsys)


def test_the_flags_of_the_training_command_are_main_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dataset.toml").touch()
    monkeypatch.setenv("FEXNET_DATASETS", str(tmp_path))
    for words in OF_MAIN.values():
        training_options(["mine", "RGB", *words.split()])
