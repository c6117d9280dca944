"""Backbones: image classifiers that look at one frame, and how each wants its input.

Imports torch and torchvision only; nothing here knows of time.
"""
