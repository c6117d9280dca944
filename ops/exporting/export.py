"""A checkpoint's network in the forms of other runtimes: written, opened again, and kept if torch agrees.

Legend: `N` clips, `T` segments, `C` channels of a segment, `H W` space, `K` classes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ops.errors import InputError
from ops.exporting.checking import TOLERANCE, Finding, fault_of, run_all, table
from ops.exporting.form import Probabilities
from ops.exporting.targets import INPUT, OUTPUT, TARGETS, Source, Target, run_torch
from ops.exporting.videos import clips_of_noise, clips_of_sources, default_videos
from ops.files import check_writable, write_text
from ops.machine import computing_with, usable_cores
from ops.optional import need_all
from ops.recognition.contract import Contract, Views
from ops.running.checkpoint import network_of, read_checkpoint

DESCRIPTION = "model.json"
TORCH = "torch (deployed)"  # what the others are compared with
MEGABYTE = 2**20


@dataclass
class Exported:
    """What became of an export. written: the files that are there now. faults: what failed its check, and how."""

    source: Source
    on: str
    clips: np.ndarray
    expected: np.ndarray
    findings: dict[str, Finding]
    megabytes: dict[str, float]
    threads: int
    written: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def kept(self) -> list[str]:
        """The forms that passed their check."""
        failed = {fault.split(":")[0] for fault in self.faults}
        return [name for name in self.megabytes if name not in failed]

    def table(self) -> str:
        """The findings, and what they are of."""
        about = f"{self.on}; {self.threads} threads; medians; differences from torch's probabilities"
        return f"{table(self.findings, self.megabytes, self.expected)}\n{about}"


def export(
    weights: Path,
    targets: Sequence[str],
    output: Path,
    videos: Sequence[str] = (),
    root: Path | None = None,
    count: int = 50,
    threads: int = 0,
    tolerance: float = TOLERANCE,
    classes: Path | None = None,
) -> Exported:
    """Writes the network of the checkpoint `weights` into the folder `output` in each of the forms `targets`.

    Every form is opened by its runtime and must give torch's probabilities, to `tolerance`, and the same top-1, in
    batches of 1, 3 and 16, for `count` clips of `videos` (see `sources.find_sources`; none: the test videos of `demo`
    below `root`, or moving noise). One that does not is not kept, and `faults` says why. classes: a file with a class
    name a line, for a checkpoint without names. Raises InputError for what can't be exported, or where files are in
    the way.
    """
    chosen = [TARGETS[name] for name in targets]
    for target in chosen:
        need_all(target.packages, f"--to {target.name}")
    source = source_of(weights, classes)
    check_writable([output / file for target in chosen for file in target.files] + [output / DESCRIPTION])
    refuse_another(output, source.description)
    videos = videos or (default_videos(root, source.contract.modality) if root else [])
    clips, on = clips_of_sources(videos, source.contract, count) if videos else clips_of_noise(source.form, count)
    threads = threads or usable_cores()
    with computing_with(threads), beside(output) as folder:
        for target in chosen:
            target.write(source, folder)
        runs = {TORCH: lambda batch: run_torch(source.form, batch)}
        runs |= {target.name: target.open(folder, threads) for target in chosen}
        findings = run_all(runs, clips, source.form.batches)
        expected = findings[TORCH].probabilities[1]
        megabytes = {target.name: size_of(folder, target) for target in chosen}
        done = Exported(source, on, clips, expected, findings, megabytes, threads)
        for target in chosen:
            if fault := fault_of(findings[target.name], expected, source.contract.classes, tolerance):
                done.faults.append(f"{target.name}: not written: {fault}")
            else:
                done.written += moved(folder, output, target.files)
    if done.written:
        write_text(output / DESCRIPTION, source.description + "\n")
        done.written.append(output / DESCRIPTION)
    return done


def source_of(weights: Path, classes: Path | None = None) -> Source:
    """Of a checkpoint. Raises InputError if it can't be read, or its network has no form for evaluation."""
    checkpoint = read_checkpoint(weights)
    network = network_of(checkpoint).eval()
    contract = Contract.of(checkpoint, network)
    contract = contract.named_by(classes, checkpoint) if classes else contract
    form = Probabilities(network, contract)
    return Source(checkpoint, contract, form, described(contract, form))


def described(contract: Contract, form: Probabilities) -> str:
    """The text of model.json: the contract, and what goes in and comes out."""
    clips: int | str = 1 if form.batches == (1,) else "N"
    content = {
        "contract": contract.described(Views()),
        "input": {"name": INPUT, "type": "uint8", "layout": "NTCHW", "shape": [clips, *form.clip]},
        "output": {"name": OUTPUT, "type": "float32", "layout": "NK", "shape": [clips, len(contract.classes)]},
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def refuse_another(output: Path, description: str) -> None:
    """InputError where the folder has the export of another network, of which some files would stay."""
    file = output / DESCRIPTION
    if not file.is_file():
        return
    try:
        same = json.loads(file.read_text(encoding="utf-8")) == json.loads(description)
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise InputError(
            f"{file}: describes another network, or another calibration: remove it, or give another --output"
        )


@contextmanager
def beside(output: Path) -> Iterator[Path]:
    """A folder in `output` for what is not checked yet; gone at the end, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def moved(folder: Path, output: Path, files: Sequence[str]) -> list[Path]:
    """The files under their final names."""
    return [(folder / file).replace(output / file) for file in files]


def size_of(folder: Path, target: Target) -> float:
    """Of its files, in MiB."""
    return sum((folder / file).stat().st_size for file in target.files) / MEGABYTE
