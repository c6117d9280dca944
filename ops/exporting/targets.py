"""The forms that a network is exported to: how each is written into a folder, and how its runtime runs what lies there.

Legend: `N` clips, `T` segments, `C` channels of a segment, `H W` space, `K` classes. A runtime takes uint8
`(N, T, C, H, W)` and gives float32 `(N, K)`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ops.exporting.form import Probabilities, quiet, traced
from ops.optional import need
from ops.recognition.contract import Contract
from ops.running.checkpoint import Checkpoint, described, network_of, read_checkpoint
from ops.running.weights_file import write_safetensors

INPUT, OUTPUT = "frames", "probabilities"
OPSET = 18  # of ONNX: that of torch's exporter, from which it converts to others
Run = Callable[[np.ndarray], np.ndarray]


@dataclass
class Source:
    """What is exported: `description` is the text of model.json, which files that can have it inside."""

    checkpoint: Checkpoint
    contract: Contract
    form: Probabilities
    description: str

    @cached_property
    def program(self) -> ExportedProgram:
        """Made once for all forms."""
        return traced(self.form)

    @cached_property
    def onnx(self) -> Any:
        """torch's ONNXProgram."""
        with quiet(), redirect_stdout(io.StringIO()):
            program = torch.onnx.export(
                *(self.program, ()),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
            )
        assert program is not None
        program.model.metadata_props.update(self.metadata)
        return program

    @property
    def metadata(self) -> dict[str, str]:
        """What stands in the files: the class names alone, as many programs look for them, and all of model.json."""
        return {"classes": json.dumps(self.contract.classes, ensure_ascii=False), "fexnet": self.description}


@dataclass(frozen=True)
class Target:
    """A form by the name that `--to` knows; `packages` are those that it needs beyond torch.

    `write` and `open` take the folder of its files; `open` also the number of threads, and gives what runs them.
    """

    name: str
    files: tuple[str, ...]
    packages: tuple[str, ...]
    write: Callable[[Source, Path], None]
    open: Callable[[Path, int], Run]


def write_onnx(source: Source, folder: Path) -> None:
    """One file, weights and all."""
    source.onnx.save(folder / "model.onnx")


def open_onnx(folder: Path, threads: int, file: str = "model.onnx") -> Run:
    """By ONNX Runtime, on the CPU."""
    runtime = need("onnxruntime", "--to onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Its threads would go on to spin after a pass, and take the cores from the other runtimes here.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = runtime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
    return lambda clips: session.run([OUTPUT], {INPUT: clips})[0]


def write_torch_export(source: Source, folder: Path) -> None:
    """With model.json as an extra file inside."""
    with quiet():
        torch.export.save(source.program, folder / "model.pt2", extra_files={"model.json": source.description})


def open_torch_export(folder: Path, _threads: int) -> Run:
    """By torch; its number of threads is the process's."""
    module = torch.export.load(folder / "model.pt2").module()
    return lambda clips: run_torch(module, clips)


@torch.inference_mode()
def run_torch(module: Callable[[torch.Tensor], torch.Tensor], clips: np.ndarray) -> np.ndarray:
    """A module of torch as a runtime."""
    return module(torch.from_numpy(clips)).numpy()


def write_openvino(source: Source, folder: Path) -> None:
    """By way of ONNX, which every version of OpenVINO reads. Weights in float32, where its default is float16."""
    openvino = need("openvino", "--to openvino")
    write_onnx(source, folder)
    model = openvino.convert_model(folder / "model.onnx")
    save_openvino(model, source, folder / "model.xml")


def save_openvino(model: Any, source: Source, path: Path) -> None:
    """The two files of a model of OpenVINO."""
    for key, value in source.metadata.items():
        model.set_rt_info(value, ["fexnet", key])
    need("openvino", "--to openvino").save_model(model, path, compress_to_fp16=False)


@cache
def openvino_core() -> Any:
    """OpenVINO itself, one for as long as the process runs.

    Its CPU plugin exchanges the stack that signals are handled on, and when several end, in another order than they
    began, it leaves one that is freed: the next signal with a handler in Python, as that of a loader's process, would
    then end the program.
    """
    return need("openvino", "--to openvino").Core()


def open_openvino(folder: Path, threads: int, file: str = "model.xml", precision: str = "f32") -> Run:
    """By OpenVINO, on the CPU, in `precision`: where the CPU has bf16 its default is that."""
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    model = openvino_core().compile_model(folder / file, "CPU", settings)
    return lambda clips: model(clips)[OUTPUT].copy()


def write_weights(source: Source, folder: Path) -> None:
    """The weights as trained, and what builds their network."""
    write_safetensors(folder / "model.safetensors", network_of(source.checkpoint), described(source.checkpoint))


def open_weights(folder: Path, _threads: int) -> Run:
    """The network that the file says, deployed."""
    checkpoint = read_checkpoint(folder / "model.safetensors")
    network = network_of(checkpoint)
    form = Probabilities(network, Contract.of(checkpoint, network))
    return lambda clips: run_torch(form, clips)


TARGETS = {
    target.name: target
    for target in (
        Target("onnx", ("model.onnx",), ("onnx", "onnxscript", "onnxruntime"), write_onnx, open_onnx),
        Target("torch_export", ("model.pt2",), (), write_torch_export, open_torch_export),
        Target(
            *("openvino", ("model.bin", "model.xml"), ("onnx", "onnxscript", "openvino")),
            *(write_openvino, open_openvino),
        ),
        Target("safetensors", ("model.safetensors",), ("safetensors",), write_weights, open_weights),
    )
}
