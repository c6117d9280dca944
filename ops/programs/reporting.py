"""What the report of a test takes from both halves: the frames of its videos, and all that its numbers depend on."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ops.data.catalog import resolve
from ops.data.fingerprint import MEANINGS
from ops.data.showing import FRAMES, ShownVideos
from ops.data.urls import Cache
from ops.errors import InputError
from ops.evaluation.ensemble import Predictions
from ops.evaluation.motion import Motion
from ops.evaluation.outcomes import Outcomes
from ops.evaluation.report.strips import MOST_FRAMES, Frames
from ops.evaluation.report.test_report import Findings, write_report
from ops.files import sha256_of
from ops.names import PROTOCOLS
from ops.programs.member import Member, chosen
from ops.recognition.contract import SAMPLINGS, Views

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
    frames, about_frames = frames_of(args, members)
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
        about_frames=about_frames,
    )
    write_report(Path(args.report), tested, frames)
    return Path(args.report) / "index.html"


def frames_of(args: argparse.Namespace, members: Sequence[Member]) -> tuple[Frames, str]:
    """The frames that the first network of pictures saw of a video; without one, those of the data set. And which."""
    clips = next((m.clips for m in members if m.clips and m.clips.options.modality != "Flow"), None)
    backwards = ", backwards" if args.reverse_time else ""
    if clips is not None:
        shown = ShownVideos(clips.records, clips.storage, clips.options)
        which = f"the middle of each of the network's {clips.options.segments} segments"
        return shown, f"{which}, whole{backwards}" + f" ({MOST_FRAMES} of them)" * (
            clips.options.segments > MOST_FRAMES
        )
    which = f"{FRAMES} of each video, spread evenly{backwards}"
    flow = any(member.clips for member in members)  # whose list and folder are not those of pictures
    given, root = (None, None) if flow else (chosen(args.test_list, 0), args.root_path)
    try:
        cache = Cache(args.cache_dir, args.cache_gb)
        data = resolve(args.dataset, args.root_dataset, None, given, root, "RGB", args.storage, cache)
        return ShownVideos.of_list(data, args.decoder, args.reverse_time), which
    except InputError as error:
        return partial(_none, error), which


def _none(error: InputError, _: str) -> np.ndarray:
    """There are no frames of any video, and the error says why."""
    raise error


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
    try:
        return sha256_of(path)
    except OSError as error:
        return f"it can't be read any more ({error.strerror})"
