"""Export: every kind of network, in every runtime, gives torch's answers; what does not is not kept."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from conftest import SHARED
from made_videos import show_by, turn, write_video
from PIL import Image
from programs import REPOSITORY, python
from test_deploy import pixels, trained
from test_model import shaken

from ops.errors import InputError
from ops.exporting import export as exporting
from ops.exporting.checking import Finding, fault_of, run_all
from ops.exporting.export import export, source_of
from ops.exporting.form import BATCHES, quiet
from ops.exporting.targets import TARGETS, open_onnx, open_openvino, openvino_core
from ops.exporting.videos import clips_of_noise
from ops.exporting.videos import spread as spread_over
from ops.model.non_local import NonLocal
from ops.names import EXPORTS
from ops.recognition.contract import Contract, Views
from ops.recognition.recognizer import Recognizer
from ops.recognition.sources import SourceClips, find_sources
from ops.running.checkpoint import network_of, read_checkpoint, save_checkpoint
from tools import export as tool

CLASSES = ["left", "right", "öben", "down", "still"]
SMALL = {"arch": "resnet18"}
LAST = {"fex_stages": ("layer4",)}
# Together all kinds that there are but non-local blocks; one by one they are slow tests.
TOGETHER: dict[str, dict[str, Any]] = {
    "tsm, SE, temporal pooling": {**SMALL, "fex": "off", "add_se": True, "temporal_pool": True},
    "fexnet inside, RGBDiff and RGB": {
        **SMALL, **LAST, "shift_place": "inblockres", "modality": "RGBDiff", "keep_rgb": True,
    },
    "mobilenet, flow": {"arch": "mobilenetv2", **LAST, "modality": "Flow"},
    "inception, block, every frame's scores": {
        "arch": "BNInception", "fex": "off", "shift_place": "block", "consensus_type": "identity",
    },
    "timm, tsn": {"arch": "timm:resnet10t", "shift": False},
    "released": {**SMALL, **LAST, "fex": "released"},
}  # fmt: skip
ONE_BY_ONE: dict[str, dict[str, Any]] = {
    "tsn": {"shift": False},
    "tsm": {"fex": "off"},
    "tsm, block": {"fex": "off", "shift_place": "block"},
    "fexnet": {},
    "fexnet inside": {"shift_place": "inblockres"},
    "fexnet of basic blocks": SMALL,
    "fexnet, FE alone": {**SMALL, "fex_parts": ("fe",), "fex_attention": "residual"},
    "fexnet, no norms": {**SMALL, "shift_stages": ("layer1",), "fex_attention": "sigmoid", "fex_norms": ()},
    "mobilenet": {"arch": "mobilenetv2"},
    "inception": {"arch": "BNInception", "fex": "off", "shift_place": "block"},
    "timm": {"arch": "timm:tf_efficientnet_lite0", "fex": "off"},
    "non-local": {"non_local": True},
    "SE": {"add_se": True},
    "temporal pooling": {"temporal_pool": True},
    "flow": {"modality": "Flow"},
    "RGBDiff": {"modality": "RGBDiff"},
    "released": {"fex": "released"},
}


def checkpoint(folder: Path, size: int = 64, classes: Sequence[str] = CLASSES, **changes: Any) -> Path:
    """A network whose probabilities are far from alike, as a checkpoint."""
    network = trained(**{"num_segments": 3, "num_classes": len(classes), **changes})
    with torch.no_grad():
        spread = network(pixels(network, size)).std()
        for parameter in network.classifier.parameters():
            parameter.mul_(2 / spread)
    path = folder / "ckpt.pth"
    content = {"network": asdict(network.options), "categories": list(classes), "dataset": "demo"}
    content |= {"input_size": size, "calibration": {"temperature": 1.5}}
    save_checkpoint(path, {**content, "state_dict": network.state_dict()})
    return path


@dataclass
class Made:
    """An export of a small network in all forms, and what was said of it."""

    weights: Path
    folder: Path
    printed: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    weights, output = checkpoint(folder, **SMALL, fex_stages=("layer3", "layer4")), folder / "exported"
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        options = ["--count", "20", "--threads", "1", "--root_dataset", str(folder)]
        status = tool.main(["--weights", str(weights), "--to", "all", "--output", str(output), *options])
    assert status == 0, said
    yield Made(weights, output, "\n".join(said))


def expected_of(weights: Path, clips: np.ndarray) -> np.ndarray:
    """As the Recognizer has them."""
    recognizer = Recognizer.from_checkpoint(weights)
    with torch.inference_mode():
        logits = recognizer.network(torch.from_numpy(clips))
    return (logits / recognizer.contract.temperature).softmax(dim=1).numpy()


def test_all_forms_give_the_recognizers_probabilities(made: Made) -> None:
    clips, _ = clips_of_noise(source_of(made.weights).form, 5)
    expected = expected_of(made.weights, clips)
    assert expected.std(axis=1).min() > 0.02 and expected.std(axis=0).max() > 0.01  # of classes and of clips
    for name in EXPORTS:
        found = TARGETS[name].open(made.folder, 1)(clips)
        assert found.dtype == np.float32 and np.abs(found - expected).max() <= 1e-5, name


def test_the_table_and_the_files(made: Made) -> None:
    rows = {line.split("  ")[0]: line for line in made.printed.split("\n")}
    assert {"torch (deployed)", *EXPORTS} <= rows.keys()
    assert all("100.0 %" in rows[name] for name in EXPORTS)
    assert "20 clips of moving noise; 1 threads" in made.printed
    files = {file for target in TARGETS.values() for file in target.files} | {"model.json"}
    assert {path.name for path in made.folder.iterdir()} == files  # and nothing temporary


def test_the_files_say_what_they_are(made: Made) -> None:
    import onnx

    said = json.loads((made.folder / "model.json").read_text(encoding="utf-8"))
    saved = read_checkpoint(made.weights)
    contract = Contract.of(saved, network_of(saved))
    assert said["contract"]["classes"] == CLASSES and said["contract"]["temperature"] == contract.temperature == 1.5
    assert said["input"]["shape"] == ["N", 3, 3, 64, 64] and said["output"]["name"] == "probabilities"
    properties = {p.key: p.value for p in onnx.load(made.folder / "model.onnx").metadata_props}
    assert json.loads(properties["classes"]) == CLASSES and json.loads(properties["fexnet"]) == said
    model = openvino_core().read_model(made.folder / "model.xml")
    assert json.loads(model.get_rt_info(["fexnet", "classes"]).value) == CLASSES
    assert json.loads(model.get_rt_info(["fexnet", "fexnet"]).value) == said
    assert model.input("frames").partial_shape.to_string().endswith(",3,3,64,64]")
    extra = {"model.json": ""}
    torch.export.load(made.folder / "model.pt2", extra_files=extra)
    assert json.loads(extra["model.json"]) == said


def test_safetensors_are_a_checkpoint(made: Made) -> None:
    ours, theirs = read_checkpoint(made.weights), read_checkpoint(made.folder / "model.safetensors")
    assert theirs.categories == CLASSES and theirs.input_size == 64 and theirs.dataset == "demo"
    network, again = network_of(ours), network_of(theirs)
    assert Contract.of(theirs, again) == Contract.of(ours, network)
    assert again.options == network.options
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      x", b"\xff" * 64, b"PK\x03\x04"])
def test_a_damaged_safetensors_file_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: "):
        read_checkpoint(file)


def test_torch_export_needs_nothing_of_ours(made: Made, tmp_path: Path) -> None:
    script = (
        "import sys, torch; m = torch.export.load(sys.argv[1]).module(); "
        "p = m(torch.zeros(7, 3, 3, 64, 64, dtype=torch.uint8)); assert abs(p.sum() - 7) < 1e-4 and p.shape == (7, 5); "
        "assert not any(n.split('.')[0] in ('ops', 'archs') for n in sys.modules)"
    )
    (tmp_path / "load.py").write_text(script)
    done = python(str(tmp_path / "load.py"), str(made.folder / "model.pt2"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TOGETHER)
def test_every_kind_of_network_exports(name: str, tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, **TOGETHER[name])
    done = export(weights, ["onnx"], tmp_path / "out", count=17, threads=1)
    assert not done.faults and done.expected.max() > 0.3
    assert done.findings["onnx"].difference(done.expected) <= 2e-5
    assert list(done.findings["onnx"].milliseconds) == ([1] if name == "released" else list(BATCHES))


def test_non_local_blocks_are_traced() -> None:
    """The whole network has too many layers for the ordinary run."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    block = shaken(NonLocal(8, 3)).eval()
    clips = torch.randn(6, 8, 6, 6)
    program = torch.export.export(block, (clips,), dynamic_shapes=({0: 3 * torch.export.Dim("clips", max=64)},))
    others = torch.randn(15, 8, 6, 6)
    with torch.no_grad():
        assert torch.equal(program.module()(others), block(others)) and not torch.equal(block(others), others)
        with quiet():
            onnx = torch.onnx.export(program, (), dynamo=True, verbose=False)
        (found,) = onnx(others)
        assert (found - block(others)).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_every_kind_by_itself_in_every_runtime(name: str, tmp_path: Path) -> None:
    done = export(checkpoint(tmp_path, **ONE_BY_ONE[name]), EXPORTS, tmp_path / "out", count=17, threads=1)
    assert not done.faults, done.faults


def wrong(by: float) -> Any:
    """ONNX Runtime, one of whose probabilities is another."""

    def opened(folder: Path, threads: int) -> Any:
        run = open_onnx(folder, threads)

        def perturbed(clips: np.ndarray) -> np.ndarray:
            found = run(clips).copy()
            found[0, 2] += by
            return found

        return perturbed

    return opened


@pytest.mark.parametrize("by", [1e-3, float("nan")])
def test_a_form_that_gives_other_answers_is_not_kept(
    by: float, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = (made.folder / "model.onnx").read_bytes()
    there = replace(TARGETS["onnx"], write=lambda _, folder: (folder / "model.onnx").write_bytes(copy), open=wrong(by))
    monkeypatch.setitem(TARGETS, "onnx", there)
    options = ["--count", "4", "--threads", "1", "--root_dataset", str(tmp_path), "--to", "onnx", "safetensors"]
    status = tool.main(["--weights", str(made.weights), "--output", str(tmp_path / "out"), *options])
    error = capsys.readouterr().err
    assert status == 1 and "onnx: not written: probabilities differ by up to" in error and "'öben'" in error
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", "model.json"}


def test_an_interrupted_export_leaves_nothing(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "run_all", stop)
    with pytest.raises(KeyboardInterrupt):
        export(made.weights, ["safetensors"], tmp_path, count=2, threads=1)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/out/model\.safetensors: its folder can't be made"):
        export(made.weights, ["safetensors"], tmp_path / "file" / "out")


def test_an_export_of_another_network_is_not_mixed_in(made: Made, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text((made.folder / "model.json").read_text().replace("1.5", "2.5"))
    with pytest.raises(InputError, match=r"model\.json: describes another network"):
        export(made.weights, ["safetensors"], tmp_path, count=2, threads=1)


@pytest.mark.parametrize(
    ("form", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino"), ("safetensors", "safetensors")]
)
def test_a_missing_package_is_named(
    form: str, package: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"--to {form}: .*pip install {package}"):
        export(made.weights, [form], tmp_path)
    if form == "safetensors":
        with pytest.raises(InputError, match="pip install safetensors"):
            read_checkpoint(made.folder / "model.safetensors")


def test_wrong_options_are_reported_together() -> None:
    words = "--weights a --output b --to onxn --int8 --count 0 --threads -1"
    with pytest.raises(InputError) as error:
        tool.parse(words.split())
    for part in ("--to onxn: expected onnx", "did you mean onnx?", "--int8: needs --dataset", "--count 0", "--threads"):
        assert part in str(error.value)


def test_openvino_in_float32_unless_asked(made: Made) -> None:
    clips, _ = clips_of_noise(source_of(made.weights).form, 3)
    exact, rough = (open_openvino(made.folder, 1, precision=name)(clips) for name in ("f32", "bf16"))
    expected = expected_of(made.weights, clips)
    assert np.abs(exact - expected).max() <= 1e-5 and np.abs(rough - expected).max() < 0.2


def test_the_videos_it_is_checked_on(made: Made, rendered: Path, tmp_path: Path) -> None:
    def on(*videos: str, root: Path = rendered, weights: Path = made.weights) -> str:
        return export(weights, ["safetensors"], tmp_path / str(len(videos)), videos, root, count=3, threads=1).on

    assert on() == f"3 videos of {rendered / 'demo' / 'val_videofolder.txt'}"
    assert on(root=tmp_path) == "3 clips of moving noise"
    (tmp_path / "empty.mp4").touch()
    frames = str(next((rendered / "demo" / "frames").iterdir()))
    assert on(frames, str(tmp_path / "empty.mp4")) == f"1 videos of {frames} {tmp_path / 'empty.mp4'}"
    with pytest.raises(InputError, match=r"--videos .*empty\.mp4: "):
        on(str(tmp_path / "empty.mp4"))
    flow = checkpoint(tmp_path, **SMALL, shift=False, modality="Flow")
    assert export(flow, ["safetensors"], tmp_path / "flow", root=rendered, count=2).on == "2 clips of moving noise"


def test_findings() -> None:
    clips = np.zeros((17, 1, 1, 1, 1), np.uint8)
    clips[:, 0, 0, 0, 0] = np.arange(17)
    seen: list[int] = []

    def run(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        first = batch[:, 0, 0, 0, 0] / 20
        return np.stack((first, 1 - first), axis=1).astype(np.float32)

    found = run_all({"a": run}, clips)["a"]
    assert all(np.allclose(found.probabilities[size][:, 0], np.arange(17) / 20) for size in BATCHES)
    assert set(seen) == {1, 3, 2, 16} and found.milliseconds.keys() == set(BATCHES)
    expected = found.probabilities[1]
    assert fault_of(found, expected, ["a", "b"], 0) == ""
    other = expected.copy()
    other[4] = other[4, ::-1]
    fault = fault_of(Finding({1: expected, 3: other}, {}), expected, ["a", "b"], 1e-4)
    assert "clip 5 in batches of 3" in fault and f"{100 * 33 / 34:.1f} %" in fault


def test_spread_takes_of_all() -> None:
    assert spread_over(range(300), 3) == [0, 100, 200] and spread_over([1, 2], 5) == [1, 2]


CONSUMER = REPOSITORY / "docs" / "consumer.py"
WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision', 'ops', 'archs', 'scipy', 'cv2', 'openvino'):
            raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Blocked())
"""


def filmed(folder: Path, video: Path) -> Path:
    """A folder of frames as an MP4."""
    pictures = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return video


def test_the_consumer_is_short_and_takes_four_packages() -> None:
    text = CONSUMER.read_text()
    assert len(text.splitlines()) <= 60
    imported = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported - sys.stdlib_module_names == {"av", "numpy", "onnxruntime", "PIL"}


def test_the_consumer_answers_as_predict_does_without_torch(made: Made, rendered: Path, tmp_path: Path) -> None:
    folders = sorted((rendered / "demo" / "frames").iterdir())[:20]
    videos = [filmed(folder, tmp_path / f"{folder.name}.mp4") for folder in folders]
    real = [path for path in sorted((SHARED / "clips").glob("*")) if path.suffix in (".avi", ".mp4")]
    turned = turn(write_video(tmp_path / "turned.mp4", size=(96, 64)))
    sources = [*folders, *videos, *real, turned]
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    words = [str(CONSUMER), str(made.folder), *map(str, sources)]
    done = python(*words, PYTHONPATH=str(tmp_path), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(sources) >= 41
    recognizer = Recognizer.from_checkpoint(made.weights)
    for answer, expected in zip(answers, recognizer.batch(sources), strict=True):
        probabilities = {each.name: each.probability for each in expected.top}
        assert max(answer["probabilities"], key=answer["probabilities"].get) == expected.top[0].name, answer["path"]
        assert all(abs(p - probabilities[name]) < 1e-3 for name, p in answer["probabilities"].items()), answer["path"]


def test_blocking_blocks(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    (tmp_path / "load.py").write_text("import torch")
    assert "torch is blocked" in python(str(tmp_path / "load.py"), PYTHONPATH=str(tmp_path)).stderr


@pytest.mark.parametrize("modality", ["RGB", "RGBDiff"])
@pytest.mark.parametrize("stored_short_side", [0, 37])
@pytest.mark.parametrize(("size", "frames"), [((98, 64), 30), ((64, 98), 5), ((32, 30), 12)])
def test_the_consumer_makes_the_contracts_clips(
    size: tuple[int, int], frames: int, stored_short_side: int, modality: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    spec = importlib.util.spec_from_file_location("consumer", CONSUMER)
    assert spec and spec.loader
    consumer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(consumer)
    per_segment = {"RGB": 1, "RGBDiff": 6}[modality]
    contract = Contract("", ("a",), modality, 8, per_segment, 31, (0.5,), (0.5,), False, stored_short_side)
    plain = write_video(tmp_path / "plain.mp4", frames, size)
    turned = turn(write_video(tmp_path / "turned.mp4", frames, size))
    halfway = show_by(write_video(tmp_path / "halfway.mp4", frames, size), -1, 0, 0, -1)
    for path in (plain, turned, halfway):
        (expected,) = SourceClips(find_sources([str(path)]), contract.clip_options(Views()))[0, 0].clip.numpy()
        (found,) = consumer.clip_of(path, contract.described(Views()))
        assert found.shape == expected.shape and found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() == 0, path
