"""Weights in a safetensors file, and in its metadata what a checkpoint says of their network: nothing in it can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ops.errors import InputError
from ops.files import atomic_write
from ops.optional import need

SAFETENSORS = ".safetensors"
KEY = "fexnet"  # in the metadata


def write_safetensors(path: Path, network: nn.Module, description: dict[str, Any]) -> None:
    """The network's tensors, and `description`: all that `read_checkpoint` wants to know, as JSON has it."""
    safetensors = need("safetensors.torch", "--to safetensors")
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    content = safetensors.save(tensors, {"format": "pt", KEY: json.dumps(description, ensure_ascii=False)})
    with atomic_write(path) as file:
        file.write(content)


def read_safetensors(path: Path) -> dict[str, Any]:
    """As `save_checkpoint` was given it; of a file of others, the tensors alone. Raises InputError, naming the file."""
    safetensors = need("safetensors", str(path))
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            said = (file.metadata() or {}).get(KEY)
            description = json.loads(said) if said is not None else None
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged, or no safetensors file ({error})") from error
    if description is None:
        return tensors
    if not isinstance(description, dict):
        raise InputError(f"{path}: its metadata {KEY!r} describes no network")
    return {**description, "state_dict": tensors}
