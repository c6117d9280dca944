"""Videos to class probabilities by what tools/export.py wrote, with numpy, PyAV, Pillow and ONNX Runtime alone.

    python consumer.py EXPORTED VIDEO ...

EXPORTED is the folder of model.json and model.onnx; a VIDEO is a file, or a folder of numbered pictures.
"""

import json
import re
import sys
from pathlib import Path

import av
import numpy as np
import onnxruntime
from PIL import Image


def frames(video):
    """Every frame in order, upright, as a PIL picture."""
    if video.is_dir():
        numbered = {int(re.findall(r"\d+", p.stem)[-1]): p for p in video.iterdir() if re.search(r"\d", p.stem)}
        yield from (Image.open(numbered[number]).convert("RGB") for number in sorted(numbered))
        return
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            picture = Image.fromarray(frame.to_ndarray(format="rgb24", interpolation="BICUBIC"))
            yield picture.rotate(frame.rotation, expand=True)  # both count counterclockwise


def prepared(picture, contract):
    """Scaled down as the frames trained on, its short side scaled, and the centre cut out: uint8 (C, H, W)."""
    stored, short = contract["stored_short_side"], min(picture.size)
    if 0 < stored < short:
        picture = picture.resize([max(1, round(side * stored / short)) for side in picture.size], Image.BICUBIC)
    short, target, crop = min(picture.size), contract["short_side"], contract["crop_size"]
    picture = picture.resize([int(target * side / short) for side in picture.size], Image.BILINEAR)
    left, top = (round((side - crop) / 2) for side in picture.size)
    return np.asarray(picture.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1)


def clip_of(video, contract):
    """The middle of each of T equal parts, L frames from there: uint8 (1, T, C·L, H, W)."""
    n, T, L = sum(1 for _ in frames(video)), contract["segments"], contract["frames_per_segment"]
    places = max(1, n - L + 1)
    wanted = [min(places * (2 * t + 1) // (2 * T) + k, n - 1) for t in range(T) for k in range(L)]
    found = {i: prepared(p, contract) for i, p in enumerate(frames(video)) if i in set(wanted)}
    return np.stack([found[i] for i in wanted]).reshape(1, T, -1, *found[wanted[0]].shape[1:])


if __name__ == "__main__":
    folder, *videos = map(Path, sys.argv[1:])
    contract = json.loads((folder / "model.json").read_text("utf-8"))["contract"]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for video in videos:
        probabilities = session.run(None, {"frames": clip_of(video, contract)})[0][0].tolist()
        answer = dict(zip(contract["classes"], probabilities, strict=True))
        print(json.dumps({"path": str(video), "probabilities": answer}))
