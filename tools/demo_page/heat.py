"""Where the network looks, for the page: its heat maps, and how far to trust them."""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ops.explaining.drawing import failed, overlaid
from ops.explaining.explain import Explainer, Explanation
from ops.explaining.methods import METHODS
from ops.recognition.results import shown
from ops.recognition.sources import Source
from tools.demo_page.answers import data_address, templates

QUALITY = 90  # of the JPEG pictures
SMALLEST = 128  # pixels of a frame that is shown: smaller ones are enlarged


class HeatMaps:
    """Of the network of one checkpoint, which is loaded when it is first asked. classes: a file of class names."""

    def __init__(self, weights: Path, device: str = "cpu", classes: Path | None = None) -> None:
        self.weights, self.device, self.classes = weights, device, classes

    @cached_property
    def explainer(self) -> Explainer:
        """It keeps a network of its own: gradients are wanted."""
        return Explainer.from_checkpoint(self.weights, self.device, self.classes)

    def html(self, source: Source) -> str:
        """The frames that the network saw, each with the heat under it, and what the checks say, as a part of a page.

        Raises InputError for a video that cannot be read.
        """
        return html_of(self.explainer.explain(source))


def html_of(found: Explanation) -> str:
    """An explanation as a part of a page."""
    pairs = np.concatenate((found.frames, overlaid(found)), axis=1)  # (T, 2·H, W, 3)
    return templates.get_template("heat.html").render(
        name=shown(found.path),
        label=found.name,
        probability=found.probability,
        method=METHODS[found.method].words,
        damage=shown(found.damage),
        trust=found.trust,
        failed=failed(found),
        pictures=[(number, _picture(pair)) for number, pair in zip(found.numbers, pairs, strict=True)],
    )


def _picture(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    times = max(1, -(-SMALLEST // image.width))
    image = image.resize((times * image.width, times * image.height), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return data_address(content.getvalue(), "image/jpeg")
