"""`python consumer.py EXPORTED VIDEO …` prints probabilities, by the model.json and model.onnx of tools/export.py."""

import json
import re
import sys
from pathlib import Path

import av
import numpy as np
import onnxruntime
from PIL import Image

CUBIC = 2, lambda x: np.where(x < 1, 1 + x * x * (1.5 * x - 2.5), 2 + x * (x * (2.5 - 0.5 * x) - 4))  # reach, kernel


def frames(video):
    """Every frame in order, upright, uint8 (H, W, 3): of a video file, or of a folder of numbered pictures."""
    if video.is_dir():
        numbered = {int(re.findall(r"\d+", p.stem)[-1]): p for p in video.iterdir() if re.search(r"\d", p.stem)}
        yield from (np.asarray(Image.open(numbered[number]).convert("RGB")) for number in sorted(numbered))
    else:
        for frame in av.open(str(video)).decode(video=0):
            yield np.rot90(frame.to_ndarray(format="rgb24", interpolation="BICUBIC"), frame.rotation // 90)


def scaled(pixels, size, reach, kernel):
    """To size (H, W) with antialiasing, by weights of 16 bits as torch scales bytes: across, then down."""
    for axis, n, m in [(k, pixels.shape[k], size[k]) for k in (1, 0) if pixels.shape[k] != size[k]]:
        away = np.abs(np.arange(n) + 0.5 - (np.arange(m)[:, None] + 0.5) * (n / m)) / max(1, n / m)
        weights = (near := np.where(away < reach, kernel(away), 0)) / near.sum(axis=1, keepdims=True)
        unit = max(2**bits for bits in range(23) if int(weights.max() * 2**bits + 0.5) < 2**15)
        sums = np.tensordot(np.trunc(weights * unit + np.copysign(0.5, weights)), pixels, (1, axis)) / unit
        pixels = np.clip(np.moveaxis(sums, 0, axis) + 0.5, 0, 255).astype(np.uint8)
    return pixels


def prepared(pixels, contract):
    """Scaled down as the frames trained on, its short side scaled, and the centre cut out: uint8 (C, H, W)."""
    stored, short, crop = contract["stored_short_side"], min(pixels.shape[:2]), contract["crop_size"]
    if 0 < stored < short:
        pixels = scaled(pixels, [max(1, round(side * stored / short)) for side in pixels.shape[:2]], *CUBIC)
    size = [int(contract["short_side"] * side / min(pixels.shape[:2])) for side in pixels.shape[:2]]
    top, left = (round((side - crop) / 2) for side in size)
    return scaled(pixels, size, 1, lambda x: 1 - x)[top : top + crop, left : left + crop].transpose(2, 0, 1)


def clip_of(video, contract):
    """The middle of each of T equal parts, L frames from there: uint8 (1, T, C·L, H, W)."""
    n, T, L = sum(1 for _ in frames(video)), contract["segments"], contract["frames_per_segment"]
    wanted = [min(max(1, n - L + 1) * (2 * t + 1) // (2 * T) + k, n - 1) for t in range(T) for k in range(L)]
    found = {i: prepared(p, contract) for i, p in enumerate(frames(video)) if i in set(wanted)}
    return np.stack([found[i] for i in wanted]).reshape(1, T, -1, *found[wanted[0]].shape[1:])


if __name__ == "__main__":
    contract = json.loads(Path(sys.argv[1], "model.json").read_text("utf-8"))["contract"]
    session = onnxruntime.InferenceSession(Path(sys.argv[1], "model.onnx"))
    for video in sys.argv[2:]:
        (found,) = session.run(None, {"frames": clip_of(Path(video), contract)})[0].tolist()
        print(json.dumps({"path": video, "probabilities": dict(zip(contract["classes"], found, strict=True))}))
