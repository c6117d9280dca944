"""Run under torchrun by a test: of two processes the second hangs in its third step; started again, none does."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.errors import reported
from ops.running.distributed import join_processes

if __name__ == "__main__":
    with reported(), join_processes(None, timeout_minutes=0.05) as context:
        for step in range(5):
            context.beat(f"step {step}")
            if (context.rank, step, os.environ["TORCHELASTIC_RESTART_COUNT"]) == (1, 2, "0"):
                time.sleep(600)
            context.agree(step)
        began = time.perf_counter()
        for _ in range(200):
            context.agree(1)
        each = (time.perf_counter() - began) / 200
        if context.is_main:
            print(f"done; to agree takes {1e6 * each:.0f} µs")
