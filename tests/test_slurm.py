"""scripts/slurm/train.sbatch beside a scheduler that is made of a few lines of shell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from programs import REPOSITORY

from opts import training_options

SCRIPT = REPOSITORY / "scripts" / "slurm" / "train.sbatch"
COMMANDS = {
    "scontrol": 'if [ "$1" = show ]; then printf "n1\\nn2\\n"; else echo "$*" >> "$LOG/requeued"; fi',
    "srun": 'export SLURM_NODEID=0; exec "$@"',
    "scancel": 'echo "$*" >> "$LOG/cancelled"; kill -TERM "$(cat "$LOG/pid")"',
    # As the real one at SIGTERM, which it hands on before it fails; or as ends a training by itself.
    "torchrun": 'echo "$*" > "$LOG/started"; env > "$LOG/env"; echo $$ > "$LOG/pid"; trap "sleep 0.2; exit 1" TERM\n'
    '[ "$END" = never ] || exit "$END"; while :; do sleep 0.05; done',
}
FLAGS = ["demo", "RGB", "--suffix", "two words"]


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    for name, body in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    return {**os.environ, **slurm, "LOG": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


def test_told_of_the_end_of_its_time_it_saves_and_is_queued_again(job: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(["bash", str(SCRIPT), *FLAGS], env=job | {"END": "never"}) as process:
        wait_for(tmp_path / "pid")
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == 0
    assert (tmp_path / "cancelled").read_text() == "--signal=TERM 12345\n"
    assert (tmp_path / "requeued").read_text() == "requeue 12345\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("status", [0, 1])
def test_what_ends_by_itself_is_not_queued_again(job: dict[str, str], tmp_path: Path, status: int) -> None:
    done = subprocess.run(["bash", str(SCRIPT), *FLAGS], env=job | {"END": str(status)}, timeout=60, check=False)
    assert done.returncode == status
    assert not (tmp_path / "requeued").exists()


def test_what_it_starts(job: dict[str, str], tmp_path: Path) -> None:
    subprocess.run(["bash", str(SCRIPT), *FLAGS], env=job | {"END": "0"}, timeout=60, check=True)
    started = (tmp_path / "started").read_text().strip()
    for words in (
        *("--nnodes 2 ", "--nproc_per_node gpu ", "--max-restarts 3 ", "--rdzv-id 12345 ", "--rdzv-endpoint n1:22345 "),
        "--rdzv-conf is_host=1 ",
    ):
        assert words in started
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in (tmp_path / "env").read_text()
    assert started.endswith("main.py demo RGB --suffix two words --resume auto")
    assert training_options([*FLAGS, "--resume", "auto"]).suffix == "two words"


def test_the_signal_is_for_the_script_and_the_job_may_start_again() -> None:
    asked = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --signal=B:USR1@120", "#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(asked)
    assert "#SBATCH --ntasks-per-node=1" in asked  # torchrun starts the processes
