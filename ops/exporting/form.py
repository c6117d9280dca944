"""The network as other runtimes get it: pixels in, probabilities out, in plain functions.

Legend: `N` clips, `T` segments, `C` channels of a segment, `H W` space, `K` classes.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from ops.errors import InputError
from ops.model.deploy import deploy
from ops.model.functional import functional
from ops.model.tsn import TSN
from ops.recognition.contract import Contract, Views

BATCHES = (1, 3, 16)  # clips in a call that every form is tried with
MOST_CLIPS = 4096  # in one call; that there is a bound keeps the arithmetic of shapes in 32 bits


class Probabilities(nn.Module):
    """A deployed network with all that the contract has around it: normalisation, consensus, temperature, softmax.

    batches: how many clips a call may have, as far as it is tried: one alone, where the clips of a batch change each
    other's scores (the released network's defect).
    """

    def __init__(self, network: TSN, contract: Contract) -> None:
        super().__init__()
        self.network = deploy(network)
        self.temperature = contract.temperature
        options = contract.clip_options(Views())
        self.clip = (options.segments, options.channels, options.input_size, options.input_size)  # (T, C, H, W)
        self.batches = (1,) if network.options.mixes_videos else BATCHES
        self.eval()

    def functional(self) -> Probabilities:
        """The same with the network in the form that other runtimes read best."""
        other = copy.copy(self)
        other._modules = {"network": functional(self.network)}
        return other

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 `(N, T, C, H, W)` to `(N, K)`."""
        scores = self.network(frames)  # (N, K); of the identity consensus (N, T, K)
        scores = scores.mean(dim=1) if scores.ndim == 3 else scores
        return (scores / self.temperature).softmax(dim=1)


@torch.no_grad()
def traced(form: Probabilities) -> ExportedProgram:
    """The form as a graph of torch's own operators, for any number of clips, or for one (see `batches`).

    Raises InputError for a network whose Python decides by the values or the number of clips.
    """
    alone = form.batches == (1,)
    clips = torch.zeros((1 if alone else 2, *form.clip), dtype=torch.uint8)  # a batch of one is taken for a constant
    sizes = None if alone else ({0: Dim("N", min=1, max=MOST_CLIPS)},)
    try:
        with quiet():
            return torch.export.export(form.functional(), (clips,), dynamic_shapes=sizes)
    except Exception as error:  # of many kinds, and of many lines
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{form.network.name}: torch.export can't read it ({reason}): report which it was") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters tell of themselves."""
    for name in ("onnx_ir", "onnxscript", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
