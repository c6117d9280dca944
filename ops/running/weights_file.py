"""Weights in a safetensors file, and in its metadata what a checkpoint says of their network: nothing in it can run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ops.errors import InputError
from ops.files import atomic_write, open_regular
from ops.optional import need

SAFETENSORS = ".safetensors"
KEY, DIGEST = "fexnet", "fexnet_sha256"  # in the metadata


def write_safetensors(path: Path, network: nn.Module, description: dict[str, Any]) -> None:
    """The network's tensors, and `description`: all that `read_checkpoint` wants to know, as JSON has it."""
    safetensors = need("safetensors.torch", "--to safetensors")
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    said = json.dumps(description, ensure_ascii=False)
    content = safetensors.save(tensors, {"format": "pt", KEY: said, DIGEST: digest(tensors, said)})
    with atomic_write(path) as file:
        file.write(content)


def digest(tensors: Mapping[str, torch.Tensor], said: str) -> str:
    """SHA-256 of the tensors, by name, and of what is said of them, however a program may order them in a file."""
    found = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def read_safetensors(path: Path) -> dict[str, Any]:
    """As `save_checkpoint` was given it; of a file of others, the tensors alone. Raises InputError, naming the file."""
    safetensors = need("safetensors", str(path))
    try:
        open_regular(path).close()  # the library would wait for what comes through a pipe
        with safetensors.safe_open(path, "pt") as file:
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
            said = metadata.get(KEY)
            description = json.loads(said) if said is not None else None
    except OSError:
        raise
    except Exception as error:  # the library's, for types that it has no tensors for, are of many kinds
        raise InputError(f"{path}: damaged, or no safetensors file ({error})") from error
    if DIGEST in metadata and metadata[DIGEST] != digest(tensors, said or ""):
        raise InputError(f"{path}: damaged: its SHA-256 is another than when it was written; copy or export it again")
    if description is None:
        return tensors
    if not isinstance(description, dict):
        raise InputError(f"{path}: its metadata {KEY!r} describes no network")
    return {**description, "state_dict": tensors}
