#!/usr/bin/env bash
# Renders the data set `demo`, trains a small FEXNet on it and tests it with three crops and two clips.
# Arguments go to main.py, e.g. `--seed 1`, `--fex off` (TSM) or `--no-shift` (TSN).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements.txt

root=${FEXNET_DATASETS:-dataset}
name=$(printf '%s' "quickstart$*" | tr -cs '[:alnum:]' _)
name=${name%_}
report=report/$name

python tools/make_demo_dataset.py --root_dataset "$root"

python main.py demo RGB --root_dataset "$root" --store_name "$name" --overwrite \
  --arch resnet18 --pretrain none --num_segments 8 --input_size 64 --shift --npb \
  --epochs 12 --batch-size 16 --lr 0.02 --lr_type cos --warmup_epochs 1 --no_fc_lr5 --gd 20 --dropout 0.2 \
  --eval-freq 3 "$@"

# The last weights, not the best: the best were chosen on the very videos of the test.
test=(python test_models.py demo --root_dataset "$root" --weights="checkpoint/$name/ckpt.pth"
  --test_crops=3 --twice_sample --batch_size 8)
echo "played backwards:"
"${test[@]}" --reverse_time --result_json "$report/backwards.json"
echo "as it is:"
"${test[@]}" --result_json "$report/result.json" --report "$report"

python - "$report" <<'PY'
import json, sys
from pathlib import Path
result = json.loads(Path(sys.argv[1], "result.json").read_text())
print(f"RESULT top1={result['top1']:.2f} top5={result['top5']:.2f} report={sys.argv[1]}")
PY
