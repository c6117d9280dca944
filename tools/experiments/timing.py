"""How long one clip takes the network of each arm of an experiment, deployed; the networks take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from statistics import quantiles
from typing import Any

import torch

from ops.model.deploy import deploy
from ops.model.tsn import build_network, options_from_flags
from opts import training_options
from tools.benchmarks.findings import processor
from tools.benchmarks.networks import device
from tools.benchmarks.sides import taking_turns
from tools.experiments.plan import Experiment, words_of
from tools.experiments.table import Time

DATASET, CLASSES = "demo", 18  # whichever it is: the network differs by its classifier alone, which costs little
REPEATS = 30


def timed(experiment: Experiment, threads: int) -> list[Time]:
    """Of every arm; the machine should do nothing else meanwhile."""
    sides = []
    for arm in experiment.arms:
        flags = [*words_of(experiment.train), *words_of(arm.flags)]
        sides.append(partial(ready, vars(training_options([DATASET, "RGB", *flags]))))
    seconds, _ = taking_turns(sides, REPEATS, threads)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    rows = []
    for arm, each in zip(experiment.arms, seconds, strict=True):
        low, middle, high = (round(1000 * value, 3) for value in quantiles(each, n=4))
        rows.append(Time(arm.name, middle, low, high, threads, where, torch.__version__, experiment.training(arm)))
    return rows


def ready(flags: Mapping[str, Any]) -> Callable[[], object]:
    """A clip's way through the network of main.py's flags."""
    torch.manual_seed(0)
    options = options_from_flags(flags, CLASSES)
    network = deploy(build_network(options).to(device()).eval())
    shape = (1, options.num_segments, network.input_stage.channels, flags["input_size"], flags["input_size"])
    clip = torch.randint(0, 256, shape, dtype=torch.uint8, device=device())

    def step() -> object:
        with torch.inference_mode():
            return network(clip).sum().item()  # which waits for the device

    return step
