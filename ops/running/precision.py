"""Mixed precision: which number format the forward pass runs in, and the scaler that fp16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from ops.errors import InputError


@dataclass(frozen=True)
class Precision:
    """`dtype` of the autocast forward pass on `device`; None runs in the weights' own."""

    device: torch.device
    dtype: torch.dtype | None

    @property
    def name(self) -> str:
        """As `--amp` names it."""
        return {None: "off", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]

    def autocast(self) -> AbstractContextManager[None]:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def full(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores out of autocast's format: losses and averages are taken in the weights' own."""
        return scores if self.dtype is None else scores.float()

    def scaler(self) -> torch.amp.GradScaler:
        """A loss scaler, which does nothing unless the format is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def choose_precision(amp: str, device: torch.device) -> Precision:
    """`auto` takes bf16 where the hardware has it, fp16 on other GPUs, and nothing on other CPUs."""
    if amp == "auto":
        if has_bf16(device):
            return Precision(device, torch.bfloat16)
        return Precision(device, torch.float16 if device.type == "cuda" else None)
    if amp == "fp16" and device.type != "cuda":
        raise InputError("--amp fp16 needs a GPU: on the CPU give --amp bf16, auto or off")
    return Precision(device, {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp])


def has_bf16(device: torch.device) -> bool:
    """True where bf16 arithmetic is done in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch says it of x86 CPUs through functions without a public name; a version without them counts as no.
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)
