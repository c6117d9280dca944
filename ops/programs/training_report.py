"""The report of a training, `log/<name>/index.html`: renewed after every epoch, and no reason to end one."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from ops.data.clips import ClipOptions, Sample, Unreadable, VideoClips
from ops.data.loader import first_training_keys
from ops.errors import InputError
from ops.evaluation.report.page import refuse_other_page
from ops.evaluation.report.strips import Strip, write_strip
from ops.evaluation.report.training_page import KIND, PAGE, Sheet, ShownClip, write_training_page
from ops.files import in_words
from ops.running.logged import read_run

logger = logging.getLogger("fexnet")

CLIPS = 24  # on the sheet, the first of the first epoch
SWAPPED = 4  # clips at least whose label mirroring has swapped, where it does: later ones join
TRIED = 32  # such videos, half of which are mirrored


class TrainingReport:
    """The page of the run that logs to `folder`, of which it takes all but the sheet of `clips`, drawn once, here.

    An extra: where it can't be written, whatever the reason, that is said, and the training goes on.
    """

    def __init__(self, folder: Path, clips: VideoClips, categories: Sequence[str], args: argparse.Namespace) -> None:
        self.folder = folder
        try:
            refuse_other_page(folder / PAGE, KIND)
            self.sheet = Sheet(list(shown_clips(folder, clips, categories)), made(clips.options, args))
        except Exception as error:
            self.sheet = Sheet(fault=f"The clips can't be shown: {_said(error)}")
            self._warn("the report's training clips", error)
        self.renew()

    def renew(self) -> None:
        """The page as the log has it now."""
        try:
            write_training_page(read_run(self.folder, begun=False), self.sheet)
        except Exception as error:
            self._warn("the report of the training", error)

    def _warn(self, what: str, error: Exception) -> None:
        """With a traceback where it is a fault of the program."""
        of_program = not isinstance(error, (OSError, InputError))
        logger.warning("%s: %s can't be written: %s", self.folder, what, _said(error), exc_info=of_program)


def shown_clips(folder: Path, clips: VideoClips, categories: Sequence[str]) -> Iterator[ShownClip]:
    """Those of `chosen_clips`, with their pictures in `folder`/clips; those with swapped labels first."""
    chosen = chosen_clips(clips)
    listed = {place: clips.records[item.index].label for place, item in enumerate(chosen)}
    swapped = [place for place, item in enumerate(chosen) if isinstance(item, Sample) and item.label != listed[place]]
    for place in sorted(listed, key=lambda place: place not in swapped):
        item = chosen[place]
        if isinstance(item, Sample):
            strip = write_strip(folder, f"clips/{place + 1:02d}.jpg", picture(item.clip[0], clips.options).numpy())
            label, mirrored = item.label, item.about
        else:
            strip, label, mirrored = Strip(fault=item.reason), listed[place], False
        path = clips.path(item.index)
        yield ShownClip(strip, path, categories[label], categories[listed[place]], mirrored)


def chosen_clips(clips: VideoClips) -> list[Sample | Unreadable]:
    """The first of the first epoch, as that will draw them, and some more if mirroring swaps labels and few are.

    Nothing random is drawn that would change what the training draws.
    """
    keys = first_training_keys(clips, clips.options.seed)
    chosen = [clips.finish(clips[key]) for key in islice(keys, CLIPS)]
    twins = clips.options.mirror_labels
    lacking = SWAPPED - sum(_is_swapped(clips, item) for item in chosen)
    sided = (key for key in keys if twins and twins[label := clips.records[key[1]].label] not in (None, label))
    for key in islice(sided, TRIED):
        if lacking <= 0:
            break
        if _is_swapped(clips, item := clips.finish(clips[key])):
            chosen.append(item)
            lacking -= 1
    return chosen


def _is_swapped(clips: VideoClips, item: Sample | Unreadable) -> bool:
    return isinstance(item, Sample) and item.label != clips.records[item.index].label


def picture(clip: torch.Tensor, options: ClipOptions) -> torch.Tensor:
    """A clip (T, C, H, W) of any modality as pictures, uint8 (T, H, W, 3)."""
    segments = clip.cpu().unflatten(1, (options.frames_per_segment, -1))  # (T, L·c, H, W) to (T, L, c, H, W)
    return options.kind.picture(segments).permute(0, 2, 3, 1)


def made(options: ClipOptions, args: argparse.Namespace) -> list[str]:
    """How the clips came to look so."""
    twins = options.mirror_labels
    mirrored = [label for label, twin in enumerate(twins) if twin is not None]
    swapped = [label for label in mirrored if twins[label] != label]
    side = options.input_size
    lines = [f"a crop of random size and place, scaled to {side} × {side} pixels; {options.segments} segments"]
    if mirrored:
        of = "" if len(mirrored) == len(twins) else f" of {len(mirrored)} of the {len(twins)} classes"
        swap = f"; in {len(swapped)} classes that swaps the label" if swapped else ""
        lines.append(f"half of the clips{of} mirrored{swap}")
    else:
        lines.append("never mirrored")
    if options.randaugment:
        lines.append("two operations of RandAugment, the same on all frames of a clip")
    if args.mixup or args.cutmix:
        kinds = [
            f"{name} (alpha {alpha:g})" for name, alpha in (("mixup", args.mixup), ("cutmix", args.cutmix)) if alpha
        ]
        lines.append(f"then clips are mixed in pairs by {' or '.join(kinds)}, which is not shown here")
    if options.modality == "Flow":
        lines.append("the first flow of each segment, x as red and y as green: grey is no motion")
    if options.modality == "RGBDiff":
        lines.append("the first difference of each segment: grey is no motion")
    return lines


def _said(error: Exception) -> str:
    return in_words(error) if isinstance(error, OSError) else str(error)
