"""OpenVINO's form in eight bits: quantised after training, tried beside the others, kept only if it is worth it.

Legend: `N` clips, `T` segments, `C` channels of a segment, `H W` space, `K` classes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ops.data.catalog import resolve
from ops.data.records import UNLABELLED
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from ops.evaluation.paired import Paired, mcnemar
from ops.exporting.checking import Finding, run_all
from ops.exporting.export import MEGABYTE, Exported, beside, moved
from ops.exporting.targets import Run, open_openvino, openvino_core, save_openvino, write_openvino
from ops.exporting.videos import labelled_clips, spread
from ops.files import check_writable
from ops.optional import need, need_all
from ops.running.checkpoint import refuse_other_classes

FILES = ("model_int8.bin", "model_int8.xml")
FLOAT32, INT8 = "openvino", "openvino int8"
HALF = {"BF16": "bf16", "FP16": "f16"}  # as a device names what it has: as it is asked for


@dataclass(frozen=True)
class Bounds:
    """What eight bits must bring: so many times the speed of the best other form, top-1 at most `drop` points lower."""

    speedup: float = 1.5
    drop: float = 0.5


@dataclass(frozen=True)
class Verdict:
    """How the form in eight bits compares with the best other one, and with float32. faults: which bounds it missed."""

    best_other: str
    speedup: float
    paired: Paired
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"int8: {self.speedup:.2f} x as fast as {self.best_other} (mean over the batch sizes); "
            f"float32 and int8: {self.paired}"
        )


def export_int8(
    done: Exported,
    output: Path,
    dataset: str,
    root_dataset: str,
    storage: str | None,
    bounds: Bounds,
    calibration: int = 128,
) -> Verdict:
    """Adds OpenVINO's form in eight bits to an export that has it in float32.

    Calibrated on `calibration` of the data set's training videos, judged by its validation videos. It is written only
    within the bounds; otherwise `done.faults` says which it missed, and by how much. Raises InputError where the data
    set has other classes or no labels.
    """
    need_all(("openvino", "nncf"), "--int8")
    check_writable(output / file for file in FILES)
    contract = done.source.contract
    data = resolve(dataset, root_dataset, modality=contract.modality, storage=storage)
    refuse_other_classes(done.source.checkpoint, data.family, data.categories)
    frames = open_storage(data)
    training = spread(listed(data, frames, data.train_list), calibration)
    judged = list(listed(data, frames, data.val_list))
    if any(record.label == UNLABELLED for record in judged):
        raise InputError(f"{data.val_list}: videos without labels: by them --int8 can't be judged")
    with beside(output) as folder:
        write_openvino(done.source, folder)
        model = quantised(folder / "model.xml", (clip for clip, _ in labelled_clips(training, frames, contract)))
        save_openvino(model, done.source, folder / FILES[1])
        runs: dict[str, Run] = {FLOAT32: open_openvino(folder, done.threads)}
        runs |= {f"{FLOAT32} {name}": open_openvino(folder, done.threads, precision=name) for name in half_precisions()}
        runs[INT8] = open_openvino(folder, done.threads, FILES[1])
        timed = run_all(runs, done.clips, done.source.form.batches)
        done.findings |= {name: finding for name, finding in timed.items() if name != FLOAT32}
        done.megabytes[INT8] = sum((folder / file).stat().st_size for file in FILES) / MEGABYTE
        videos = labelled_clips(judged, frames, contract)
        hits = hits_of({name: runs[name] for name in (FLOAT32, INT8)}, videos, max(done.source.form.batches))
        verdict = judge(timed, mcnemar(hits[FLOAT32], hits[INT8]), bounds)
        if verdict.faults:
            done.faults += [f"int8: not written: {fault}" for fault in verdict.faults]
        else:
            done.written += moved(folder, output, FILES)
    return verdict


def quantised(path: Path, clips: Iterable[np.ndarray]) -> Any:
    """The model in `path` in eight bits, by the ranges that it has on the clips, each `(T, C, H, W)`."""
    nncf = need("nncf", "--int8")
    nncf.set_log_level(logging.ERROR)
    batches = [clip[None] for clip in clips]
    return nncf.quantize(openvino_core().read_model(path), nncf.Dataset(batches), subset_size=len(batches))


def half_precisions() -> list[str]:
    """Those that OpenVINO can compute in on this CPU beside float32."""
    can = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for capability, name in HALF.items() if capability in can]


def hits_of(runs: dict[str, Run], videos: Iterable[tuple[np.ndarray, int]], batch_size: int) -> dict[str, np.ndarray]:
    """Which videos each of the runtimes takes for what they are: bool `(N,)`."""
    hits: dict[str, list[bool]] = {name: [] for name in runs}
    waiting: list[tuple[np.ndarray, int]] = []

    def forward() -> None:
        clips, labels = np.stack([clip for clip, _ in waiting]), [label for _, label in waiting]
        for name, run in runs.items():
            hits[name] += (run(clips).argmax(axis=1) == labels).tolist()
        waiting.clear()

    for video in videos:
        waiting.append(video)
        if len(waiting) == batch_size:
            forward()
    if waiting:
        forward()
    return {name: np.asarray(values) for name, values in hits.items()}


def judge(timed: dict[str, Finding], paired: Paired, bounds: Bounds) -> Verdict:
    """Whether the form in eight bits is within the bounds."""
    others = {name: finding.mean_milliseconds for name, finding in timed.items() if name != INT8}
    best = min(others, key=others.__getitem__)
    speedup = others[best] / timed[INT8].mean_milliseconds
    faults = []
    if speedup < bounds.speedup:
        faults.append(f"it is {speedup:.2f} x as fast as {best}, --int8_speedup asks for {bounds.speedup:g}")
    if paired.drop > bounds.drop:
        faults.append(f"its top-1 is {paired.drop:.2f} points lower, --int8_drop allows {bounds.drop:g}; {paired}")
    return Verdict(best, speedup, paired, tuple(faults))
