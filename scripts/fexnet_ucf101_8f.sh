#!/usr/bin/env bash
# FEXNet on UCF101, 8 frames, from Kinetics-400.
# Expected top-1: left open; FEXNet's own numbers are not publicly quoted.
# Starts from fexnet_kinetics_8f.sh, or the checkpoint that KINETICS names.
dataset=ucf101
train=(--arch resnet50 --num_segments 8 --shift
  --epochs 25 --lr 0.001 --lr_steps 10 20 --scale_lr_from 64 -b 64 --wd 5e-4 --gd 20 --dropout 0.8 --npb)
start=(--tune_from "${KINETICS:-checkpoint/fexnet_kinetics_8f/ckptbest.pth}")
tests=("--protocol accurate")
. "$(dirname "$0")/recipe.sh"
