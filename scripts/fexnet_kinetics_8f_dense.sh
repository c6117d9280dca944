#!/usr/bin/env bash
# FEXNet on Kinetics-400, 8 frames of a window of 64.
# Expected top-1: left open; FEXNet's own numbers are not publicly quoted, and the training is TSM's.
dataset=kinetics
train=(--arch resnet50 --num_segments 8 --shift
  --epochs 100 --lr 0.02 --lr_steps 40 80 --scale_lr_from 128 -b 128 --wd 1e-4 --gd 20 --dropout 0.5 --npb --dense_sample)
start=(--pretrain imagenet)
tests=("--protocol dense")
. "$(dirname "$0")/recipe.sh"
