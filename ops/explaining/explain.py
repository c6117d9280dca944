"""Where a network looks: a heat map for every frame that it saw, with checks of how far to trust it.

from ops.explaining.explain import Explainer
explainer = Explainer.from_checkpoint("checkpoint/demo/ckpt.pth")
found = explainer.explain("video.mp4")      # or explain(…, label="moving something up", method="gradcam")
found.frames, found.heat                    # uint8 (T, H, W, 3) and float32 (T, H, W)
found.trust.passed, found.trust.words

The clip is that of the contract under the protocol `efficient`, the network is the one that was trained, not its form
for use: gradients are wanted.

Legend: `T` segments, `C` channels, `H W` pixels of the network's input, `h w` cells of a map.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ops.data.clips import Sample, Unreadable
from ops.data.sampling import segment_frames, test_clips
from ops.errors import InputError, did_you_mean
from ops.explaining.boxes import Box, Boxes, boxes_beside
from ops.explaining.foreground import BlockMaps, foreground_maps
from ops.explaining.methods import DEFAULT, METHODS, ClipScores, Subject, enlarged, method_named
from ops.explaining.trust import SEED, Curves, Scores, Trust, blanked, curves_to_beat, judged
from ops.model.tsn import TSN, build_network
from ops.recognition.contract import Contract, Views, network_and_contract
from ops.recognition.sources import Seen, SourceClips, as_source


@dataclass(frozen=True)
class Explanation:
    """Of one video and one class.

    path: of the video. frames: what the network saw, uint8 `(T, H, W, 3)`; numbers: which frames of the video these
    are, from 1 on. heat: float32 `(T, H, W)`, 0 to 1, a map a frame, comparable between them; cell: side of a map's
    cell in pixels. label, name, probability: of the class that is explained; predicted: the name of the most probable
    one. method: a key of `methods.METHODS`. blocks: FEX's own maps, empty without FEX. boxes: of moving objects in
    each frame, where known. trust: None where it was not asked for. damage: what is wrong with the video, of which
    only a part could be read, or empty.
    """

    path: str
    frames: np.ndarray
    numbers: tuple[int, ...]
    heat: np.ndarray
    cell: float
    label: int
    name: str
    probability: float
    predicted: str
    method: str
    blocks: tuple[BlockMaps, ...] = ()
    boxes: tuple[tuple[Box, ...], ...] | None = None
    trust: Trust | None = None
    damage: str = ""


class Explainer:
    """A trained network and what its contract says of its input, on one device. Threads may share one."""

    def __init__(self, network: TSN, contract: Contract, device: str | torch.device = "cpu") -> None:
        self.contract = contract
        self.device = torch.device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.options = contract.clip_options(Views())
        self._last: tuple[tuple[int, bytes], dict[str, Curves]] | None = None
        self._alone = threading.Lock()  # methods hang hooks on the network

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, device: str | torch.device = "cpu", classes: str | Path | None = None
    ) -> Explainer:
        """Of a checkpoint, own or published; classes: a file of class names for one that has none.

        Raises InputError for a file that cannot be used, naming it.
        """
        network, contract = network_and_contract(path, classes)
        return cls(network, contract, device)

    def explain(
        self,
        video: Any,
        label: int | str | None = None,
        method: str | None = None,
        checked: bool = True,
        boxes: Boxes | None = None,
    ) -> Explanation:
        """Of a path, an array `(n, H, W, 3)` of uint8 or a list of pictures: where it shows the class.

        label: a class's name or number; None: the most probable one. method: see `methods.METHODS`; None: the default.
        checked: whether to measure trust, which takes some seconds. boxes: of the video's moving objects; None: those
        that its data set knows, if any.

        Raises InputError for a video that cannot be read, and a class or a method that is none.
        """
        source, chosen, way = as_source(video), method or DEFAULT, method_named(method or DEFAULT)
        wanted = None if label is None else self.label_of(label)
        sample = SourceClips([source], self.options)[0, 0]
        if isinstance(sample, Unreadable):
            raise InputError(f"{sample.path}: {sample.reason}")
        assert isinstance(sample, Sample) and isinstance(sample.about, Seen)
        numbers = self._numbers(sample.about.frames)
        if boxes is None and isinstance(source.content, Path):
            boxes = boxes_beside(source.content, self.options.modality)
        here = None if boxes is None else boxes.in_clip(numbers, self.options)
        clip = sample.clip[0].to(self.device)  # (T, C, H, W)
        with self._alone:
            chances = self.probabilities(clip[None])[0]
            predicted = int(chances.argmax())
            subject = Subject(self.network, clip, predicted if wanted is None else wanted)
            maps = seeded(way.maps, subject)
            blocks = foreground_maps(self.network, clip)
            heat = normalised(maps, len(clip), clip.shape[-1])
            found = Explanation(
                source.path, self.shown(clip), tuple(numbers), heat.numpy(force=True), clip.shape[-1] / maps.shape[-1],
                subject.label, self.contract.classes[subject.label], float(chances[subject.label]),
                self.contract.classes[predicted], chosen, tuple(blocks), here, damage=sample.about.damage,
            )  # fmt: skip
            return replace(found, trust=self._trust(found, heat, subject)) if checked else found

    def label_of(self, word: int | str) -> int:
        """The number of a class by its name, or by its number. Raises InputError for none."""
        names = self.contract.classes
        if word in names:
            return names.index(str(word))
        if str(word).isdecimal() and int(word) < len(names):
            return int(word)
        close = did_you_mean(str(word), names)
        raise InputError(
            f"--label {word}: none of the {len(names)} classes; expected a name such as {names[0]!r}, or a number from "
            f"0 to {len(names) - 1}{close}"
        )

    @torch.no_grad()
    def probabilities(self, clips: torch.Tensor) -> torch.Tensor:
        """Of clips uint8 `(N, T, C, H, W)`: `(N, K)`, one by one where videos of a batch change each other's."""
        scores = ClipScores(self.network)
        mixes = self.network.options.mixes_videos
        found = torch.cat([scores(clip[None]) for clip in clips]) if mixes else scores(clips)
        return (found.double() / self.contract.temperature).softmax(dim=-1)

    def shown(self, clip: torch.Tensor) -> np.ndarray:
        """Of a clip `(T, C, H, W)` pictures `(T, H, W, 3)`: of several frames a segment the first, of flow its x."""
        first = clip[:, :3] if self.options.kind.channels == 3 else clip[:, :1].expand(-1, 3, -1, -1)
        return np.ascontiguousarray(first.permute(0, 2, 3, 1).numpy(force=True))

    def _numbers(self, frames: int) -> list[int]:
        """Which frames of a video of so many are in the clip: of each segment the first."""
        o = self.options
        (firsts,) = test_clips(frames, o.segments, o.frames_per_segment, o.test_mode, o.sparse_clips)
        return segment_frames(firsts, 1, frames)

    def _trust(self, found: Explanation, heat: torch.Tensor, subject: Subject) -> Trust:
        def scores(clips: torch.Tensor) -> torch.Tensor:
            return self.probabilities(clips)[:, subject.label]

        other = seeded(METHODS[found.method].maps, replace(subject, network=untrained(self.network, subject.clip)))
        curves = self._curves_to_beat(subject, scores) | {"map": blanked(heat, subject.clip, scores)}
        return judged(heat, found.cell, curves, normalised(other, *heat.shape[:2]), found.boxes)

    def _curves_to_beat(self, subject: Subject, scores: Scores) -> dict[str, Curves]:
        """See `trust`; kept for the next method that is asked of the same clip and class."""
        key = subject.label, hashlib.sha256(subject.clip.numpy(force=True).tobytes()).digest()
        if self._last is None or self._last[0] != key:
            self._last = key, curves_to_beat(subject.clip, scores)
        return self._last[1]


def normalised(maps: torch.Tensor, T: int, side: int) -> torch.Tensor:
    """`(T', h, w)` to `(T, side, side)`, 0 to 1, the hottest place of the clip 1; where nothing is hot, all 0.

    After temporal pooling there are fewer maps than frames; each stands for the frames it was pooled from.
    """
    maps = maps.detach().float()
    if len(maps) != T:
        maps = maps[torch.arange(T, device=maps.device) * len(maps) // T]
    heat = enlarged(maps, side)
    hottest = heat.max()
    return (heat / hottest).clamp(0, 1) if hottest > 0 else torch.zeros_like(heat)


def seeded(maps: Any, subject: Subject) -> torch.Tensor:
    """A method's maps, the same each time: what it draws is seeded, and what others draw stays as it is."""
    with torch.random.fork_rng([subject.clip.device] if subject.clip.is_cuda else []):
        torch.manual_seed(SEED)
        found: torch.Tensor = maps(subject)
    return found


def untrained(network: TSN, clip: torch.Tensor) -> TSN:
    """The same network with random weights, the same each time.

    Its BatchNorms have the statistics of the clip `(T, C, H, W)` and its mirror image: without, signals fade on their
    way through so many random layers, and a map of noise would be easy to differ from.
    """
    options = replace(network.options, fex_init="plain") if network.options.has_fex else network.options
    with torch.random.fork_rng([]):
        torch.random.default_generator.manual_seed(SEED)
        fresh = build_network(options)
    fresh = fresh.to(clip.device).eval().requires_grad_(False)
    norms = [m for m in fresh.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        fresh(torch.stack((clip, clip.flip(-1))))  # two, as a map of one cell gives no statistics of one clip
    return fresh.eval()
