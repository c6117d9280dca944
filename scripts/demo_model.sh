#!/usr/bin/env bash
# Makes the model that comes with the project, checkpoint/demo/ckpt.pth, and the numbers of its card, again.
#   bash scripts/demo_model.sh [flags of main.py]
# It is calibrated on other videos than it is trained and judged on: a data set of another seed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements.txt

root=${FEXNET_DATASETS:-dataset}
others=$root/demo_calibration
report=report/demo_model
run=checkpoint/demo_model/ckpt.pth
model=checkpoint/demo/ckpt.pth

python tools/make_demo_dataset.py --root_dataset "$root"
python tools/make_demo_dataset.py --root_dataset "$others" --seed 1 --videos_per_class 1 --val_videos_per_class 200

python main.py demo RGB --root_dataset "$root" --store_name demo_model --overwrite \
  --arch mobilenetv2 --pretrain none --num_segments 8 --input_size 64 --shift --npb \
  --epochs 30 --batch-size 16 --lr 0.02 --lr_type cos --warmup_epochs 2 --no_fc_lr5 --gd 20 --dropout 0.2 \
  --eval-freq 5 --seed 0 "$@"

# The last weights, not the best: the best were chosen on the very videos of the test.
python tools/slim_checkpoint.py --weights "$run" --out "$model"
python test_models.py demo --root_dataset "$others" --weights="$model" --batch_size 8 --calibrate \
  --result_json "$report/calibration.json"
for protocol in efficient accurate; do
  python test_models.py demo --root_dataset "$root" --weights="$model" --batch_size 8 --protocol "$protocol" \
    --result_json "$report/$protocol.json"
done
python tools/demo_card.py --results "$report"
