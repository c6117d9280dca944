#!/usr/bin/env bash
# Tests a checkpoint with the published views: two clips, three crops, full resolution.
#   bash testing.sh [CHECKPOINT] [flags of test_models.py]
# Without a checkpoint, the newest of our own under checkpoint/. Its data set and segments are its own.
set -euo pipefail

weights=
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  weights=$(realpath "$1")  # from where the user stands
  shift
fi
cd "$(dirname "$0")"
activate() { . scripts/environment.sh; }  # in a function, so that it does not see this script's arguments
activate

found=$(PYTHONIOENCODING=utf-8 python - "$weights" <<'PY'
import sys
from pathlib import Path
from ops.errors import InputError, reported
from ops.running.checkpoint import newest_own, read_checkpoint
with reported():
    checkpoint = read_checkpoint(Path(sys.argv[1])) if sys.argv[1] else newest_own(Path("checkpoint"))
    if not checkpoint.dataset:
        raise InputError(f"{checkpoint.path} does not say its data set: python test_models.py DATASET --weights=FILE does")
    print(checkpoint.dataset, checkpoint.path)
PY
)
python test_models.py "${found%% *}" --weights="${found#* }" --test_crops=3 --twice_sample --full_res --batch_size 32 "$@"
