"""What the report of a test takes from both halves: the frames of its videos, and all that its numbers depend on."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ops.data import sampling
from ops.data.catalog import resolve
from ops.data.clips import ClipOptions
from ops.data.decode import FrameError
from ops.data.fingerprint import MEANINGS
from ops.data.records import Records, VideoRecord
from ops.data.storages import Storage, listed, open_storage
from ops.data.videofile import video_names
from ops.errors import InputError
from ops.evaluation.ensemble import Predictions
from ops.evaluation.motion import Motion
from ops.evaluation.outcomes import Outcomes
from ops.evaluation.report.strips import MOST_FRAMES
from ops.evaluation.report.test_report import Findings, write_report
from ops.names import PROTOCOLS
from ops.programs.member import Member, chosen
from ops.recognition.contract import SAMPLINGS, Views

READ = 1 << 20  # bytes of a file at a time
# Facts of a contract that the test's own tell, and of a member that these or the contract do.
OF_THE_TEST = {"sampling", "sampling_in_words", "clips", "crops"}
TOLD = OF_THE_TEST | {"network", "data", "views", "segments", "crop_size", "short_side", "temperature", "reverse_time"}
ACCURACIES = ("top1", "top5", "mean_class_accuracy")  # of a member by itself, where there are several


def report(
    args: argparse.Namespace,
    members: Sequence[Member],
    together: Predictions,
    probabilities: torch.Tensor,
    confusion: np.ndarray,
    motion: Motion | None,
    categories: Sequence[str],
    views: Views,
    whole: Mapping[str, Any],
) -> Path:
    """Writes the report of a test with the result `whole`; returns its page."""
    networks = " and ".join(dict.fromkeys(member.contract.network for member in members if member.contract))
    reasons = {path: why for member in reversed(members) for path, why in member.reasons.items()}
    frames = FramesOfVideos(args, members)
    tested = Findings(
        title=f"Test on {args.dataset}: {networks or 'saved scores'}",
        outcomes=Outcomes.of(together, probabilities, categories),
        probabilities=probabilities,
        labels=together.labels,
        confusion=confusion,
        categories=categories,
        accuracies=whole,
        facts=_facts(args, members, views, whole),
        left_out={path: reasons.get(path, "") for path in together.left_out},
        motion=motion,
        about_frames=frames.about,
    )
    write_report(Path(args.report), tested, frames)
    return Path(args.report) / "index.html"


class FramesOfVideos:
    """The frames that the first network of pictures saw of a video, each whole; without one, those of the data set.

    Called with a video's path it returns uint8 (n, H, W, 3); raises InputError where it cannot be read (any more).
    """

    def __init__(self, args: argparse.Namespace, members: Sequence[Member]) -> None:
        self.fault: InputError | None = None
        clips = next((m.clips for m in members if m.clips and m.clips.options.modality != "Flow"), None)
        if clips is not None:
            self.records, self.storage, self.options = clips.records, clips.storage, clips.options
            segments = self.options.segments
            few = f", {MOST_FRAMES} of them" if segments > MOST_FRAMES else ""
            which = f"the middle of each of the network's {segments} segments{few}"
        else:
            self.options = ClipOptions(MOST_FRAMES, reverse_time=args.reverse_time)
            which = f"{MOST_FRAMES}, spread over the video"
            try:
                self.records, self.storage = _pictures(args, flow=any(member.clips for member in members))
            except InputError as error:
                self.records, self.fault = [], error
        self.about = f"{which}, whole{', played backwards' * self.options.reverse_time}"
        paths = [record.path for record in self.records]
        self.places = {name: place for place, name in enumerate(video_names(paths))} | {
            path: place for place, path in enumerate(paths)
        }

    def __call__(self, path: str) -> np.ndarray:
        """See the class."""
        if self.fault:
            raise self.fault
        place = self.places.get(path, self.places.get(video_names([path])[0]))
        if place is None:
            raise InputError("not in the list of videos any more")
        record = self.records[place]
        try:
            return seen_frames(record, self.storage, self.options)
        except FrameError as error:
            raise InputError(self.storage.reason(record, error)) from error


def seen_frames(record: VideoRecord, storage: Storage, options: ClipOptions) -> np.ndarray:
    """The first frame of each segment of a video's middle clip, whole, as it is played: uint8 (T, H, W, 3)."""
    kind, count = options.frames_per_segment, record.num_frames
    (firsts,) = sampling.test_clips(count, options.segments, kind, "uniform")
    numbers, order = np.unique(firsts[::-1] if options.reverse_time else firsts, return_inverse=True)
    return storage.read(record, numbers.tolist())[torch.from_numpy(order)].permute(0, 2, 3, 1).numpy()


def _pictures(args: argparse.Namespace, flow: bool) -> tuple[Records, Storage]:
    """The data set's pictures where no network saw any. Flow's lists and folder are not theirs."""
    given, root = (None, None) if flow else (chosen(args.test_list, 0), args.root_path)
    data = resolve(args.dataset, args.root_dataset, None, given, root, "RGB", args.storage)
    storage = open_storage(data, args.decoder)
    return listed(data, storage, data.val_list, unlabelled_too=True), storage


def _facts(
    args: argparse.Namespace, members: Sequence[Member], views: Views, whole: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Headings, and below each names and values in words."""
    facts: dict[str, dict[str, Any]] = {
        "The test": {
            "data set": args.dataset,
            "videos": whole["videos"],
            "left out": whole["skipped"],
            "seconds": whole["seconds"],
            "written": f"{datetime.now():%Y-%m-%d %H:%M}",
            **(_in_words({"softmax before the sum": args.softmax}) if len(members) > 1 else {}),
        }
    }
    if any(member.contract for member in members):
        facts["The test"] |= _protocol(args, views)
    for number, member in enumerate(members):
        which = f" {number + 1} of {len(members)}" if len(members) > 1 else ""
        alone = {f"{name} by itself": f"{member.facts[name]:.2f} %" for name in ACCURACIES if name in member.facts}
        weight = {"coefficient": member.coefficient, **alone} if len(members) > 1 else {}
        file = _in_words({"file": member.weights, "sha256": _digest(Path(member.weights)), **weight})
        if member.contract is None:
            facts[f"Saved scores{which}"] = file
            continue
        said = member.contract.described(views) | {"classes": len(member.contract.classes)}
        facts[f"The network{which}: checkpoint and contract"] = file | _in_words(said, but=OF_THE_TEST)
        facts[f"How it was run{which}"] = _in_words(member.facts, but={*TOLD, *ACCURACIES})
        marks = member.facts["data"].items()
        facts[f"Its data{which}: fingerprint"] = {MEANINGS.get(key, key): mark for key, mark in marks if mark}
    facts["Environment"] = _in_words(whole["environment"])
    return facts


def _protocol(args: argparse.Namespace, views: Views) -> dict[str, Any]:
    names = [name for name in PROTOCOLS if Views.of_protocol(name) == views]
    return {
        "protocol": names[0] if names else "none of those with a name",
        "clips × crops": f"{views.clips} × {views.crops}",
        "sampling": SAMPLINGS[views.sampling],
        "played": "backwards" if args.reverse_time else "forwards",
    }


def _in_words(facts: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, str]:
    """Names without underscores; nothing of what has no value, nor of the names in `but`."""
    said = {name: value for name, value in facts.items() if value not in (None, "", [], {}) and name not in but}
    return {name.replace("_", " "): _word(value) for name, value in said.items()}


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(_word, value)) if isinstance(value, list) else str(value)


def _digest(path: Path) -> str:
    """SHA-256 of a file's content; after a test that took hours no reason to do without the rest of its report."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(READ):
                digest.update(part)
    except OSError as error:
        return f"it can't be read any more ({error.strerror})"
    return digest.hexdigest()
