"""What a program does before torch is loaded: its options, its terminal, what libraries read as they are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from programs import REPOSITORY, python

from ops.machine import wait_passively


@pytest.mark.parametrize("program", ["main", "test_models"])
@pytest.mark.parametrize("flags", [["--help"], ["demo", "RGB", "--no_such_flag"]])
def test_help_and_a_wrong_flag_load_no_torch(program: str, flags: list[str]) -> None:
    code = (
        f"import sys, {program}\n"
        f"try: {program}.main({flags!r})\n"
        "except (SystemExit, ValueError): sys.exit('torch' in sys.modules)\n"
        "sys.exit('went on')"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("script", ["main.py", "test_models.py", "tools/prepare_videos.py"])
def test_a_terminal_of_few_letters_gets_what_it_can_show(script: str, encoding: str) -> None:
    command, environment = [sys.executable, script, "--help"], {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"usage" in done.stdout and b"\xe2" not in done.stdout


def test_an_error_with_letters_that_the_terminal_lacks_is_printed() -> None:
    done = python("main.py", "日本…", "RGB", PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and "\\u65e5\\u672c\\u2026" in done.stderr and "Traceback" not in done.stderr


def test_output_with_letters_that_the_terminal_lacks_is_printed() -> None:
    done = python("-c", "from ops.errors import reported\nwith reported(): print('1 × 2')", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "1 \\xd7 2\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_how_threads_wait_is_set_unless_the_user_has(
    given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    wait_passively()
    assert {v: os.environ[v] for v in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if v in os.environ} == expected


def test_programs_set_how_threads_wait_before_torch_is_loaded() -> None:
    code = (
        "import os, sys\n"
        "from ops.machine import prepare_process\n"
        "prepare_process()\n"
        "assert 'torch' not in sys.modules and 'GOMP_SPINCOUNT' in os.environ"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=False)
    assert done.returncode == 0
