"""Networks of the published code as the golden files describe them: their tensors, and checkpoints made of them."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running.published import rename_published


def fill_module(golden: Path) -> ModuleType:
    """golden/fill.py."""
    spec = importlib.util.spec_from_file_location("golden_fill", golden / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled(golden: Path, keys: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Tensors named and filled as in a published checkpoint, without the wrapper's prefix."""
    fill = fill_module(golden).fill
    return {name: torch.from_numpy(np.asarray(fill(name, tuple(shape)))) for name, shape in keys.items()}


def clip(golden: Path, seed: int, videos: int, frames: int, size: int, channels: int = 3) -> torch.Tensor:
    """The golden input as (N, T, C, H, W), float64."""
    values = fill_module(golden).clip(seed, videos, frames, channels, size)
    return torch.from_numpy(values).view(videos, frames, channels, size, size)


def golden_options(name: str, config: dict[str, Any]) -> NetworkOptions:
    """The options of the golden network `name`."""
    return NetworkOptions(
        num_classes=config["num_class"],
        num_segments=config["num_segments"],
        modality=config["modality"],
        arch=config["base_model"],
        shift=config["is_shift"],
        shift_div=config.get("shift_div", 8),
        shift_place=config.get("shift_place", "blockres"),
        fex="released" if name.startswith("fexnet_released") else "off",
        temporal_pool=config.get("temporal_pool", False),
        non_local=config.get("non_local", False),
        add_se=config.get("add_se", False),
        partial_bn=False,
    )


def published_network(golden: Path, name: str, **changes: Any) -> TSN:
    """The golden network `name` in float64, filled."""
    described = json.loads((golden / f"{name}.keys.json").read_text())
    network = build_network(replace(golden_options(name, described["config"]), **changes)).double()
    network.load_state_dict(rename_published(filled(golden, described["keys"])))
    return network.eval()


def save_published(path: Path, golden: Path, keys: dict[str, list[int]]) -> None:
    """A checkpoint as the published code wrote it: a pickled dict, names with the wrapper's prefix."""
    prefix = "" if "cls_head.fc_cls.weight" in keys else "module."  # MMAction2 has none
    state = {
        f"{prefix}{name}": value.float() if value.is_floating_point() else value
        for name, value in filled(golden, keys).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 50, "arch": "resnet50", "state_dict": state, "best_prec1": torch.tensor(45.0)}, path)
