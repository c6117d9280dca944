"""Mixed precision: which number format the forward pass runs in, and the scaler that fp16 needs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ops.errors import InputError


@dataclass(frozen=True)
class Precision:
    """`dtype` of the autocast forward pass on `device`; None runs in the weights' own.

    `spares_depthwise`: convolutions that are slower to train in `dtype` (see `slow_in_bf16`) train in float32.
    """

    device: torch.device
    dtype: torch.dtype | None
    spares_depthwise: bool = False

    @property
    def name(self) -> str:
        """As `--amp` names it."""
        return {None: "off", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]

    def describe(self, network: nn.Module) -> str:
        """The name, and what of `network` trains in float32 all the same."""
        convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        spared = sum(slow_in_bf16(conv.weight, conv.stride) for conv in convs) if self.spares_depthwise else 0
        return f"{self.name} (float32 in {spared} depthwise convolutions, which are faster so)" if spared else self.name

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
        spares = self.precision.spares_depthwise and torch.is_grad_enabled()
        with torch.autocast(clips.device.type, dtype=dtype), DepthwiseInFloat32() if spares else nullcontext():
            return self.network(clips).float()


class DepthwiseInFloat32(TorchFunctionMode):
    """Within an autocast on the CPU: depthwise convolutions that are `slow_in_bf16` run in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and _is_slow(*args, **kwargs):
            with torch.autocast("cpu", enabled=False):
                floats: list[Any] = [arg.float() if isinstance(arg, torch.Tensor) else arg for arg in args]
                return func(*floats, **kwargs).to(args[0].dtype)
        return func(*args, **kwargs)


def slow_in_bf16(weight: torch.Tensor, stride: Any) -> bool:
    """Whether the convolution is depthwise and such that a CPU trains it faster in float32 than in bf16.

    oneDNN has fast bf16 gradients only for depthwise 3x3 of stride 1. Measured: docs/performance.md, "Number formats".
    """
    return weight.shape[1] == 1 and len(weight) > 1 and (max(weight.shape[2:]) > 3 or stride not in (1, (1, 1)))


def _is_slow(_x: Any, weight: torch.Tensor, _bias: Any = None, stride: Any = 1, *_geometry: Any, **_named: Any) -> bool:
    return slow_in_bf16(weight, stride)


def choose_precision(amp: str, device: torch.device) -> Precision:
    """`auto` takes bf16 where the hardware has it, fp16 on other GPUs, and nothing on other CPUs.

    On a CPU `auto` spares the depthwise convolutions that bf16 makes slower; `bf16` is bf16 in all of them.
    """
    # What --amp off promises is float32, also in the convolutions of newer GPUs.
    torch.backends.cudnn.allow_tf32 = amp != "off"
    if amp == "auto":
        if has_bf16(device):
            return Precision(device, torch.bfloat16, spares_depthwise=device.type == "cpu")
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
