"""Backbones: image classifiers that look at one frame, and how each wants its input.

Imports torch, torchvision and, where it is installed, timm; nothing here knows of time.
"""
