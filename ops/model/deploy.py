"""The form of a trained network that is fastest to evaluate: BatchNorm and linear maps folded into convolutions.

Legend: `N` videos, `T` segments, `C` channels, `F` foreground channels, `K` a convolution's output channels, `H W`
space. Feature maps are `(N·T, C, H, W)`, the frames of a video adjacent.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ops.model.fex import FEX, TemporalInformationModule
from ops.model.folded import FoldedFEX, FoldedShift
from ops.model.temporal_shift import TemporalShift, WithTemporal, is_pointwise
from ops.model.tsn import TSN

CONVOLUTIONS = (nn.modules.conv._ConvNd,)
WATCHED_SIZE = 224  # pixels: a size that every backbone takes


@torch.no_grad()
def deploy(network: TSN, dtype: torch.dtype | None = None) -> TSN:
    """A copy of `network` for evaluation only, equal to it to rounding: 1e-5 of the scores in float32.

    Every BatchNorm that is alone in reading a convolution's result is folded into the convolution, and each FEX block
    and temporal shift into the convolution behind it as far as it goes (see `folded`). The copy has no training mode.

    `dtype`: that of an autocast the copy will run under; its convolutions' weights are kept in it, where autocast
    would convert them in every pass.
    """
    network = copy.deepcopy(network).eval()
    for norm, conv in foldable(network).items():
        layer: Any = network.get_submodule(conv)
        batch_norm: Any = network.get_submodule(norm)
        network.set_submodule(conv, fuse_conv_bn_eval(layer, batch_norm))
        # timm's BatchNorm has an activation inside.
        network.set_submodule(norm, getattr(batch_norm, "act", nn.Identity()))
    for module in network.modules():
        if isinstance(module, TemporalInformationModule):  # which reshapes between the two
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.set_submodule("bn", nn.Identity())
    for name, module in list(network.named_modules()):
        if isinstance(module, WithTemporal) and (one := folded(module.temporal, module.net)) is not None:
            network.set_submodule(name, one)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        if isinstance(module, (*CONVOLUTIONS, FoldedFEX, FoldedShift)):
            module.to(dtype=dtype)
    return network.requires_grad_(False)


def folded(operator: nn.Module, net: nn.Module) -> nn.Module | None:
    """An operator in time and the layer behind it as one module, if they fold; BatchNorms have been folded before."""
    conv = net if isinstance(net, nn.Conv2d) and is_pointwise(net) and net.stride == (1, 1) else None
    if isinstance(operator, FEX):
        return FoldedFEX(operator, net, conv)
    if isinstance(operator, TemporalShift) and conv is not None:
        return FoldedShift(operator, conv)
    return None


def foldable(network: TSN) -> dict[str, str]:
    """The names of the BatchNorms that can be folded, each with its convolution's.

    Found by watching one forward pass without numbers: the BatchNorm reads what the convolution gave, and nothing
    else does.
    """
    meta_copy = copy.deepcopy(network).to("meta")
    shape = (1, network.options.num_segments, network.input_stage.channels, WATCHED_SIZE, WATCHED_SIZE)
    with _Readers() as readers, torch.no_grad():
        for name, module in meta_copy.named_modules():
            layer = module.net if isinstance(module, WithTemporal) else module
            if isinstance(layer, CONVOLUTIONS):
                module.register_forward_hook(partial(readers.produced, name + ".net" * (layer is not module)))
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.register_forward_pre_hook(partial(readers.enter, name))
                module.register_forward_hook(readers.leave)
        meta_copy(torch.zeros(shape, device="meta"))
    return readers.alone()


class _Readers(TorchFunctionMode):
    """Who reads the convolutions' results. These are kept, so that no other tensor gets the number of an old one."""

    def __init__(self) -> None:
        super().__init__()
        self.convs: dict[int, tuple[str, torch.Tensor]] = {}  # by the id of the result
        self.readers: dict[int, list[str]] = {}  # BatchNorms by name, all else as ""
        self.norm = ""  # the BatchNorm that is running

    def produced(self, name: str, _module: nn.Module, _inputs: Any, result: torch.Tensor) -> None:
        self.convs[id(result)], self.readers[id(result)] = (name, result), []

    def enter(self, name: str, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.norm = name
        self.readers.get(id(inputs[0]), []).append(name)

    def leave(self, *_: Any) -> None:
        self.norm = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.norm:
            for leaf in tree_leaves((args, kwargs)):
                self.readers.get(id(leaf), []).append("")
        return func(*args, **(kwargs or {}))

    def alone(self) -> dict[str, str]:
        """The BatchNorms that are a result's only reader, each with the convolution."""
        norms = {key: each[0] for key, each in self.readers.items() if len(each) == 1 and each[0]}
        return {norm: self.convs[key][0] for key, norm in norms.items()}
