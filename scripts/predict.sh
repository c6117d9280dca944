#!/usr/bin/env bash
# What the model in the box (checkpoint/demo) sees: `bash scripts/predict.sh VIDEO… [flags of tools/predict.py]`.
# Without a video, of twelve of the data set `demo`, which it renders first. Needs Python and nothing else.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
requirements() { . scripts/environment.sh requirements.txt; }  # in a function: it does not see this script's arguments
requirements
top=$PWD

if [ $# -eq 0 ]; then
  root=${FEXNET_DATASETS:-dataset}
  python tools/make_demo_dataset.py --root_dataset "$root"
  set -- "$(cd "$root" && pwd)"/demo/frames/val_??_0000
fi
cd "$here"  # names of videos are from where the user stands
python "$top/tools/predict.py" --weights "$top/checkpoint/demo/ckpt.pth" "$@"
