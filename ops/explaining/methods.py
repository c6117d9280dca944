"""Heat maps of a clip: how much each place of each frame has to do with the score of a class.

Each method takes a `Subject` and gives a map a frame, not negative, of whatever resolution it has. The well-known ones
are captum's, a library that need not be installed; FEX's own foreground goes without.

Legend: `T` segments, `C` channels of a segment, `K` classes, `H W` pixels, `h w` cells of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from ops.errors import InputError, did_you_mean
from ops.explaining.foreground import energy, foreground_maps
from ops.explaining.layers import FeatureMap, feature_maps
from ops.model.tsn import TSN
from ops.optional import need

FINE = 1 / 8  # cells of a map a pixel, at least, where a method wants a finer one than the last
CELLS = 16  # a side, of maps whose pixels are added up
BLURS = 1 / 8, 1 / 16  # deviations of what stands for a frame with nothing to see, as shares of its side
WINDOW = 4  # of occlusion: a window's side is this part of the frame's; it moves by half of it
STEPS = 14  # of integrated gradients
DRAWS = 8  # of smoothed gradients


class ClipScores(nn.Module):
    """A network's scores of clips `(N, T, C, H, W)`: `(N, K)`, whatever its consensus."""

    def __init__(self, network: TSN) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        scores = self.network(clips)
        return scores.mean(dim=1) if scores.ndim == 3 else scores


@dataclass(frozen=True)
class Subject:
    """What is explained: the score of class `label` that a network in evaluation mode gives `clip` `(T, C, H, W)`.

    The clip is uint8, on the network's device.
    """

    network: TSN
    clip: torch.Tensor
    label: int

    @cached_property
    def scores(self) -> ClipScores:
        """The network as captum calls it."""
        return ClipScores(self.network)

    def log_probabilities(self, clips: torch.Tensor) -> torch.Tensor:
        """Of clips `(N, T, C, H, W)`: `(N, K)`."""
        return self.scores(clips).log_softmax(dim=1)

    @cached_property
    def inputs(self) -> torch.Tensor:
        """What the first layer sees, `(1, T, C, H, W)`."""
        return self.seen(self.clip)

    @torch.no_grad()
    def seen(self, clip: torch.Tensor) -> torch.Tensor:
        """A clip `(T, C, H, W)` uint8 as the first layer sees it, `(1, T, C', H, W)`."""
        return self.network.input_stage(clip)[None]

    @cached_property
    def layers(self) -> list[FeatureMap]:
        """The backbone's maps, the coarsest last."""
        return feature_maps(self.network, self.clip)

    @property
    def finer(self) -> FeatureMap:
        """The coarsest map that still has `FINE` cells a pixel; where there is none, the finest."""
        fine = [layer for layer in self.layers if layer.side >= FINE * self.clip.shape[-1]]
        return fine[-1] if fine else self.layers[0]


@dataclass(frozen=True)
class Method:
    """A way to make a map, in words, and its function: `(T, h, w)`, not negative, of a subject.

    own: only networks with FEX have it.
    """

    words: str
    maps: Callable[[Subject], torch.Tensor]
    own: bool = False


def grad_cam(subject: Subject, layer: FeatureMap) -> torch.Tensor:
    """Selvaraju et al. 2017: the channels of a map weighed by their gradient's mean over space, of each frame."""
    cam = _captum().LayerGradCam(subject.scores, layer.module)
    return cam.attribute(_wants_gradients(subject.inputs), subject.label, relu_attributions=True)[:, 0]


def hires_cam(subject: Subject, layer: FeatureMap) -> torch.Tensor:
    """Draelos & Carin 2020: a map times its gradient, place by place, what speaks for the class."""
    product = _captum().LayerGradientXActivation(subject.scores, layer.module)
    return product.attribute(_wants_gradients(subject.inputs), subject.label).sum(dim=1).relu()


def integrated(subject: Subject, starts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Integrated gradients (Sundararajan et al. 2017), the mean over the ways from several `starts` to the clip.

    Starts are `(1, T, C, H, W)`, as the first layer sees them. What each pixel adds to the logarithm of the class's
    probability is added up in cells, so that what speaks for the class and what speaks against it cancel where both
    come from one place; what is left for the class is shown. A network with an operator in time reads each frame beside
    its neighbours, and so are the cells.
    """
    method = _captum().IntegratedGradients(subject.log_probabilities)
    several = [
        method.attribute(subject.inputs, start, subject.label, n_steps=STEPS, internal_batch_size=1) for start in starts
    ]
    found = torch.stack(several).mean(dim=0)
    cells = functional.adaptive_avg_pool2d(found[0].sum(dim=1).float(), CELLS)  # (T, H, W) to (T, h, w)
    return (beside_neighbours(cells) if subject.network.options.shift else cells).relu()


def beside_neighbours(maps: torch.Tensor) -> torch.Tensor:
    """`(T, h, w)`: half of each map and a quarter of those before and after; the ends have themselves for that."""
    before, after = torch.cat((maps[:1], maps[:-1])), torch.cat((maps[1:], maps[-1:]))
    return maps / 2 + (before + after) / 4


def from_blurred(subject: Subject) -> torch.Tensor:
    """Integrated gradients from the clip blurred, more and less: what its details add."""
    return integrated(subject, [subject.seen(blurred(subject.clip, blur)) for blur in BLURS])


def from_frozen(subject: Subject) -> torch.Tensor:
    """Integrated gradients from the clip's mean frame, at rest: what the movement adds."""
    return integrated(subject, [subject.inputs.mean(dim=1, keepdim=True).expand_as(subject.inputs)])


def smooth_gradients(subject: Subject) -> torch.Tensor:
    """Smilkov et al. 2017: the input's gradient, squared, its mean over noisy copies of the clip."""
    captum = _captum()
    method = captum.NoiseTunnel(captum.Saliency(subject.scores))
    spread = 0.15 * float(subject.inputs.max() - subject.inputs.min())
    found = method.attribute(
        subject.inputs, nt_type="smoothgrad_sq", nt_samples=DRAWS, nt_samples_batch_size=1, stdevs=spread,
        target=subject.label,
    )  # fmt: skip
    return found[0].sum(dim=1)


@torch.no_grad()
def occlusion(subject: Subject) -> torch.Tensor:
    """Zeiler & Fergus 2014: by how much the score falls when a window of one frame takes the frame's mean colour."""
    side = max(2, subject.clip.shape[-1] // WINDOW)
    channels = subject.inputs.shape[2]
    start = subject.inputs.mean(dim=(3, 4), keepdim=True).expand_as(subject.inputs)
    method = _captum().Occlusion(subject.scores)
    step = (1, channels, side // 2, side // 2)
    found = method.attribute(subject.inputs, (1, channels, side, side), step, start, subject.label)
    return found[0].mean(dim=1).relu()


def own_foreground(subject: Subject) -> torch.Tensor:
    """What the first FEX block's Scene Segregation leaves of each frame, the root mean square of its channels."""
    blocks = foreground_maps(subject.network, subject.clip)
    if not blocks:
        raise InputError("a network without FEX's SS has no foreground of its own: give another method")
    return energy(blocks[0].segregation.foreground)


def frame_differences(subject: Subject) -> torch.Tensor:
    """How much each pixel differs from the frames before and after: no network is asked."""
    pixels = subject.clip.float().mean(dim=1)  # (T, H, W)
    steps = (pixels[1:] - pixels[:-1]).abs()
    blank = torch.zeros_like(pixels[:1])
    return torch.cat((steps, blank)) + torch.cat((blank, steps))


METHODS = {
    "gradcam": Method("Grad-CAM of the last map", lambda subject: grad_cam(subject, subject.layers[-1])),
    "gradcam_fine": Method("Grad-CAM of a finer map", lambda subject: grad_cam(subject, subject.finer)),
    "hirescam": Method("HiRes-CAM of the last map", lambda subject: hires_cam(subject, subject.layers[-1])),
    "hirescam_fine": Method("HiRes-CAM of a finer map", lambda subject: hires_cam(subject, subject.finer)),
    "integrated": Method("integrated gradients from blurred clips", from_blurred),
    "motion": Method("integrated gradients from a frozen clip", from_frozen),
    "smoothgrad": Method("smoothed squared gradients", smooth_gradients),
    "occlusion": Method("occlusion, a window of a frame at a time", occlusion),
    "foreground": Method("FEX's own foreground", own_foreground, own=True),
    "differences": Method("differences of frames", frame_differences),
}
DEFAULT = "integrated"


def blurred(clip: torch.Tensor, share: float = BLURS[0]) -> torch.Tensor:
    """What stands for nothing to see: each frame of `(T, C, H, W)` without its details.

    share: the deviation as a share of the frame's side.
    """
    side = clip.shape[-1]
    deviation = max(1.0, share * side)
    width = min(2 * round(2 * deviation) + 1, 2 * (side // 2) - 1)
    return gaussian_blur(clip, [width, width], [deviation, deviation])


def enlarged(maps: torch.Tensor, side: int) -> torch.Tensor:
    """`(T, h, w)` to `(T, side, side)`, bilinear."""
    return functional.interpolate(maps[:, None].float(), (side, side), mode="bilinear")[:, 0]


def method_named(name: str) -> Method:
    """Raises InputError for a name that is none."""
    if name not in METHODS:
        raise InputError(f"--method {name}: expected one of {', '.join(METHODS)}{did_you_mean(name, METHODS)}")
    return METHODS[name]


def _captum() -> ModuleType:
    need("captum", "heat maps by captum (FEX's own foreground goes without: --method foreground)")
    from captum import attr

    return attr


def _wants_gradients(inputs: torch.Tensor) -> torch.Tensor:
    """Of its own, so that captum marks none of ours."""
    return inputs.clone().requires_grad_()
