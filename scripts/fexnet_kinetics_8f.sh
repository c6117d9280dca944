#!/usr/bin/env bash
# FEXNet on Kinetics-400, 8 frames over the whole video.
# Expected top-1: left open; FEXNet's own numbers are not publicly quoted, and the training is TSM's.
dataset=kinetics
train=(--arch resnet50 --num_segments 8 --shift
  --epochs 50 --lr 0.02 --lr_steps 20 40 --scale_lr_from 128 -b 128 --wd 1e-4 --gd 20 --dropout 0.5 --npb)
start=(--pretrain imagenet)
tests=("--protocol efficient" "--test_crops 10")
. "$(dirname "$0")/recipe.sh"
