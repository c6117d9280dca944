#!/usr/bin/env bash
# Tests a checkpoint with the published views: two clips, three crops, full resolution.
#   bash testing.sh [CHECKPOINT] [flags of test_models.py]
# Without a checkpoint, the newest of our own under checkpoint/ or, before there is one, the model that comes with the
# project. Its data set and segments are its own; `demo` is rendered where it has not been.
set -euo pipefail

weights=
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  weights=$(realpath "$1")  # from where the user stands
  shift
fi
cd "$(dirname "$0")"
activate() { . scripts/environment.sh; }  # in a function, so that it does not see this script's arguments
activate

found=$(PYTHONIOENCODING=utf-8 python - "$weights" "$@" <<'PY'
import argparse, sys
from pathlib import Path
from ops.errors import InputError, reported
from ops.running.checkpoint import newest_own, read_checkpoint
from tools.options import add_root
with reported():
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_root(parser)
    root = parser.parse_known_args(sys.argv[2:])[0].root_dataset
    checkpoint = read_checkpoint(Path(sys.argv[1])) if sys.argv[1] else newest_own(Path("checkpoint"))
    if not checkpoint.dataset:
        raise InputError(f"{checkpoint.path} does not say its data set: python test_models.py DATASET --weights=FILE does")
    print(checkpoint.dataset, checkpoint.path, root, sep="\n")
PY
)
{ IFS= read -r dataset; IFS= read -r weights; IFS= read -r root; } <<< "$found"
if [ "$dataset" = demo ] && [ ! -e "$root/demo" ]; then
  python tools/make_demo_dataset.py --root_dataset "$root" >&2  # which says so
fi
python test_models.py "$dataset" --weights="$weights" --test_crops=3 --twice_sample --full_res --batch_size 32 "$@"
