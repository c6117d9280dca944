"""Mixed precision: which number format the forward pass runs in, and the scaler that fp16 needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

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

    def scaler(self) -> torch.amp.GradScaler:
        """A loss scaler, which does nothing unless the format is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


class InPrecision(nn.Module):
    """`network`, its forward pass in mixed precision, its scores in the weights' format again.

    The context is entered in here, and not around the call, because DataParallel's threads would not inherit it.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (N, T, C, H, W) to scores (N, K)."""
        dtype = self.precision.dtype
        if dtype is None:
            return self.network(clips)
        with torch.autocast(clips.device.type, dtype=dtype):
            return self.network(clips).float()


def choose_precision(amp: str, device: torch.device) -> Precision:
    """`auto` takes bf16 where the hardware has it, fp16 on other GPUs, and nothing on other CPUs."""
    # What --amp off promises is float32, also in the convolutions of newer GPUs.
    torch.backends.cudnn.allow_tf32 = amp != "off"
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
