#!/usr/bin/env bash
# The published training command of FEXNet on Something-Something V1. Further arguments win, e.g. `--gpus 0 1`.
set -euo pipefail
cd "$(dirname "$0")"
activate() { . scripts/environment.sh; }  # in a function, so that it does not see this script's arguments
activate

python main.py something RGB --arch resnet50 --num_segments 8 --gd 20 --lr 0.0025 --lr_steps 20 40 --epochs 50 \
  --batch-size 16 -j 8 --dropout 0.5 --consensus_type=avg --eval-freq=1 --shift --shift_div=8 --shift_place=blockres \
  --npb "$@"
