"""The shape of the house: which room imports which, and that what the README says is so."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from programs import REPOSITORY, python, shell

from opts import testing_options as read_testing_options
from opts import training_options
from tools import (
    compare_reports,
    compare_runs,
    comparison_power,
    demo_app,
    export,
    heatmap_quality,
    predict,
    visualize,
)

# Each room and the rooms it may import from: data flows one way. What imports nothing of ours, or only what is as plain
# as itself, is open to all but archs, which takes nothing of ops.
PLAIN = {
    *("ops.console", "ops.machine", "ops.errors", "ops.files", "ops.heartbeat"),
    *("ops.locks", "ops.names", "ops.optional", "ops.tables"),
    *("archs.names", "archs.pickle_claims", "archs.zip_records", "archs.state_dicts"),
}
ROOMS = {
    "archs": set(),
    "ops.data": set(),
    "ops.model": {"archs"},
    "ops.running": {"ops.model"},
    "ops.evaluation": {"ops.running"},
    "ops.recognition": {"ops.data", "ops.model", "ops.running", "ops.evaluation"},  # here data and model meet
    "ops.models": {"ops.model", "ops.running", "ops.recognition"},
    "ops.exporting": {"ops.data", "ops.model", "ops.running", "ops.evaluation", "ops.recognition"},
    "ops.explaining": {"archs", "ops.data", "ops.model", "ops.running", "ops.evaluation", "ops.recognition"},
    "ops.programs": {"archs", "ops"},
    "opts": {"ops.data.catalog", "ops.data.urls"},
    "tools": {"archs", "ops", "opts"},
}
TOOLS = {  # whose documented commands are parsed
    f"tools/{tool.__name__.rpartition('.')[2]}.py": tool
    for tool in (compare_reports, compare_runs, comparison_power, demo_app, export, heatmap_quality, predict, visualize)
}
ENTRY_POINTS = {"main", "test_models"}


def own_imports(path: Path) -> set[str]:
    """The modules of this project that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if re.match(r"(archs|ops|opts|tools|main|test_models)\b", name)}


def forbidden(module: str, imported: set[str]) -> set[str]:
    """Those of `imported` that the module `module` must not import."""
    room = next((r for r in ROOMS if module == r or module.startswith(f"{r}.")), None)
    allowed = set(ROOMS) if module in ENTRY_POINTS else ROOMS.get(room or "", set()) | {room or ""}
    allowed = allowed | (PLAIN if room != "archs" else set())
    return {name for name in imported if not any(name == a or name.startswith(f"{a}.") for a in allowed)}


def source_files() -> list[Path]:
    """Every Python file of the project but the tests."""
    tops = [REPOSITORY / name for name in ("main.py", "test_models.py", "opts.py")]
    return tops + [p for room in ("archs", "ops", "tools") for p in sorted((REPOSITORY / room).rglob("*.py"))]


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_imports_go_one_way(path: Path) -> None:
    module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    if module in PLAIN:  # below every room
        below = [plain for plain in PLAIN if module.startswith("ops.") or plain.startswith("archs.")]
        assert all(name.startswith(tuple(below)) for name in own_imports(path))
    else:
        assert not forbidden(module, own_imports(path))


def test_the_rule_finds_what_it_forbids() -> None:
    assert forbidden("ops.model.tsn", {"ops.data.clips.VideoClips"})
    assert forbidden("ops.data.clips", {"ops.model.tsn.TSN"})
    assert forbidden("archs.backbone", {"ops.errors.InputError"})
    assert forbidden("ops.running.engine", {"opts.run_name"})
    assert forbidden("ops.model.fex", {"ops.running.engine"})
    assert not forbidden("main", {"ops.data.clips", "ops.model.tsn", "opts"})


def test_options_load_no_tensors() -> None:
    done = python("-c", "import sys, opts; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr


def commands(path: Path) -> list[list[str]]:
    """The command lines of a Markdown or shell file that start a program of ours, backslashes joined."""
    text = path.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ *(?:python|bash) .*$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize(
    ("document", "least"),
    [
        ("README.md", 4),
        ("docs/usage.md", 4),
        ("docs/comparing.md", 3),
        ("docs/recipes.md", 3),
        ("docs/data.md", 20),
        ("docs/export.md", 3),
        ("docs/performance.md", 3),
        ("docs/predict.md", 2),
        ("docs/reports.md", 1),
        ("docs/demo_app.md", 2),
        ("docs/explain.md", 3),
        ("docs/results.md", 2),
    ],
)
def test_documented_commands_exist_and_parse(
    document: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dataset.toml").touch()  # one's own data set, of which docs/data.md speaks
    monkeypatch.setenv("FEXNET_DATASETS", str(tmp_path))
    found = commands(REPOSITORY / document)
    assert len(found) >= least
    for words in found:
        assert (REPOSITORY / words[1]).is_file(), words
        if words[1] == "main.py":
            training_options(words[2:])
        if words[1] == "test_models.py":
            read_testing_options(words[2:])
        if tool := TOOLS.get(words[1]):
            tool.parse(words[2:])


def test_no_placeholder_is_left() -> None:
    for text in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        assert not re.search(r"TODO|TBD|[A-Z]+_TABLE", text.read_text()), text


def test_the_readmes_pictures_and_links_exist() -> None:
    for text in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text.read_text())
        assert all((text.parent / link).exists() for link in links), links


def test_the_published_training_command_is_training_sh() -> None:
    (words,) = [w for w in commands(REPOSITORY / "training.sh") if w[1] == "main.py"]
    args = training_options([word for word in words[2:] if word != "$@"])
    assert (args.dataset, args.arch, args.num_segments, args.lr, args.lr_steps) == (
        "something", "resnet50", 8, 0.0025, [20, 40],
    )  # fmt: skip
    assert args.shift and args.fex == "paper" and args.no_partialbn and args.clip_gradient == 20


SCRIPTS = ("demo_model", "predict", "quickstart", "run_tests", "screenshots", "test_versions")


@pytest.mark.parametrize(
    "script", ["training.sh", "testing.sh", "scripts/slurm/train.sbatch", *(f"scripts/{name}.sh" for name in SCRIPTS)]
)
def test_scripts_are_sound_shell(script: str) -> None:
    done = shell("bash", "-n", script)
    assert done.returncode == 0, done.stderr


def test_no_path_of_a_machine_in_the_tree() -> None:
    for path in source_files():
        assert not re.search(r"/(home|work|tmp|Users)/\w", path.read_text()), path
