"""The door for Python programs: a trained network from its checkpoint.

from ops.models import load_model
model, info = load_model("checkpoint/<run's name>/ckptbest.pth")
scores = model(clips)  # uint8 (N, T·3, H, W) to (N, classes)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ops.model.deploy import deploy
from ops.model.tsn import TSN
from ops.recognition.contract import Contract
from ops.running.checkpoint import network_of, read_checkpoint

__all__ = ["deploy", "load_model"]


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[TSN, dict[str, Any]]:
    """The network of an own or a published checkpoint, in evaluation mode on `device`, and what to know of it.

    The model takes clips `(N, T·3, H, W)` or `(N, T, 3, H, W)`, uint8 pixels (normalised inside) or normalised
    floating point, and gives scores `(N, classes)`, computed in the model's dtype.

    For Flow C is 10, for RGBDiff 18 pixels (six frames) or 15 differences in place of 3. With the identity
    consensus the scores are `(N, T, classes)`.

    `info`: `classes` (names, or None where the file has none), `num_class`, `num_segments`, `arch`, `modality`,
    `frames_per_segment` (1, or 5 pictures of Flow or 6 frames of RGBDiff), `channels` (of a segment once normalised),
    `shift`, `shift_div`, `shift_place`, `fex` (`paper`, `released` or `off`), `temporal_pool`, `non_local`, `add_se`,
    `consensus_type`, `input_size` in pixels, `mean` and `std` for pixels divided by 255 (a value a colour; of Flow one
    value; differences of frames are not normalised) and `bgr` (whether the colours come as blue, green, red).

    Raises InputError for a missing, damaged, unsafe or unknown file.
    """
    checkpoint = read_checkpoint(Path(path))
    model = network_of(checkpoint)
    options, contract = model.options, Contract.of(checkpoint, model)
    info = {
        "classes": checkpoint.categories or None,
        "num_class": options.num_classes,
        "num_segments": options.num_segments,
        "arch": options.arch,
        "modality": options.modality,
        "frames_per_segment": contract.frames_per_segment,
        "channels": model.input_stage.channels,
        "shift": options.shift,
        "shift_div": options.shift_div,
        "shift_place": options.shift_place,
        "fex": options.fex,
        "temporal_pool": options.temporal_pool,
        "non_local": options.non_local,
        "add_se": options.add_se,
        "consensus_type": options.consensus_type,
        "input_size": contract.input_size,
        "mean": contract.mean,
        "std": contract.std,
        "bgr": contract.bgr,
    }
    return model.to(device).eval(), info
