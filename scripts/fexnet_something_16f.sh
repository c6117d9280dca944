#!/usr/bin/env bash
# FEXNet on Something-Something V1, 16 frames: the published training and testing commands', but for the frames.
# Expected top-1: left open; FEXNet's own numbers are not publicly quoted.
dataset=something
train=(--arch resnet50 --num_segments 16 --shift
  --epochs 50 --lr 0.0025 --lr_steps 20 40 --scale_lr_from 16 -b 16 --wd 5e-4 --gd 20 --dropout 0.5 --npb)
start=(--pretrain imagenet)
tests=("--protocol accurate")
. "$(dirname "$0")/recipe.sh"
