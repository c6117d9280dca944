#!/usr/bin/env bash
# TSM on Something-Something V1, 8 frames.
# Expected top-1: 45.6 % with one clip and the centre crop, 47.2 % with two clips at full resolution
# (TSM's README).
dataset=something
train=(--arch resnet50 --num_segments 8 --shift --fex off
  --epochs 50 --lr 0.01 --lr_steps 20 40 --scale_lr_from 64 -b 64 --wd 5e-4 --gd 20 --dropout 0.5 --npb)
start=(--pretrain imagenet)
tests=("--protocol efficient" "--protocol accurate")
. "$(dirname "$0")/recipe.sh"
