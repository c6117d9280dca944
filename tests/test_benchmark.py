"""tools/benchmark.py: what it measures and writes; not how fast anything is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made_videos import write_video
from PIL import Image

from archs.backbone import InputConvention
from ops.data.clips import ClipMode, ClipOptions, Sample, VideoClips
from ops.data.storages.frames import FrameFolders
from ops.data.videofile import rgb_frames, scan
from ops.errors import InputError
from ops.model.deploy import deploy
from ops.model.input_stage import InputStage
from tools import benchmark, performance_page
from tools.benchmarks import (
    decode,
    findings,
    forms,
    growth,
    loader,
    model,
    networks,
    options,
    pictures,
    plots,
    sides,
    storage,
)
from tools.benchmarks.findings import Curve
from tools.benchmarks.sides import Side


def test_rows_of_decoders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "videos" / "v.mp4", 60, g="50", bf="2", sc_threshold="0")
    words = ["decode", "--videos", tmp_path / "videos", "--repeats", 2, "--json", tmp_path / "out.json"]
    assert benchmark.main([str(word) for word in words]) == 0
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["machine"]["av"] and content["machine"]["torch"]
    rows = {row["name"]: row for row in content["rows"] if row["name"].endswith("from the start")}
    assert list(rows) == [
        "v.mp4, 2 key frames: from the start", "v (a key frame a second).mp4, 3 key frames: from the start",
    ]  # fmt: skip
    for row in rows.values():
        assert row["ratio"] == row["ours"] / row["against"] and row["unit"] == "ms"
    assert "ratio" in capsys.readouterr().out


def test_the_opponents_give_the_same_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 30, g="10")
    expected = list(rgb_frames(video))
    found = decode.decode_all(video, scan(video), [3, 30])
    np.testing.assert_array_equal(np.asarray(found), np.stack([expected[2], expected[29]]))
    decode.keyed(video, tmp_path / "keyed.mp4")
    assert scan(tmp_path / "keyed.mp4").keys.tolist() == [0, 25]


def test_medians_and_spreads() -> None:
    row = findings.row("n", [1.0, 2.0, 3.0, 4.0, 100.0], [6.0] * 5, "ms")
    assert (row.ours, row.against, row.ratio) == (3.0, 6.0, 0.5)
    assert row.spread == (pytest.approx(25.25), 0.0)


def test_in_turns_warms_up() -> None:
    calls: list[str] = []
    taken = findings.in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 5 and [len(times) for times in taken.values()] == [3, 3]
    findings.in_turns({"a": lambda: calls.append("a")}, 1, before=lambda: calls.append("before"))
    assert calls[10:] == ["before", "a"] * 3


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--repeats 0"):
        benchmark.main(["decode", "--videos", str(tmp_path), "--repeats", "0"])
    with pytest.raises(InputError, match="--videos 10 0: each at least 1"):
        benchmark.main(["growth", "--frames", "--crops", "--videos", "10", "0"])
    with pytest.raises(InputError, match="nope"):  # said by a side's own process
        benchmark.main(["train", "--arch", "nope", "--repeats", "1"])
    with pytest.raises(InputError, match="--docs"):
        performance_page.main(["--docs", str(tmp_path)])


@pytest.mark.parametrize(
    ("part", "names"),
    [
        pytest.param(
            "model",
            ["tsm_eval_vs_plain", "fex_eval_vs_plain", "fex_eval_fp32_vs_literal", "fex_eval_best_vs_literal"],
            marks=pytest.mark.slow,
        ),
        ("train", ["fex_train_vs_plain", "fex_train_best_vs_literal", "train_memory_vs_literal"]),
    ],
)
def test_rows_of_networks(
    part: str, names: list[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: list[tuple[str, torch.Tensor]] = []

    def once(sides: Sequence[Side], repeats: int, threads: int) -> tuple[list[list[float]], list[float]]:
        for side in sides:  # here instead of in a process of its own, and eager
            if side.func is model.matrix_product:  # type: ignore[attr-defined]
                assert side()().shape == (16, 16)  # type: ignore[attr-defined]
                continue
            kind = side.args[1]  # type: ignore[attr-defined]
            arguments = ["off", False, False] if part == "model" else ["off"]
            result = side.func(side.args[0], kind, *arguments)()  # type: ignore[attr-defined]
            made.append((kind, result if part == "model" else result[1]))
        return [[1.0] * repeats, [2.0] * repeats], [10.0, 20.0]

    monkeypatch.setattr(sides, "taking_turns", once)
    monkeypatch.setattr(model, "SIDE", 16)
    monkeypatch.setattr(networks, "keep_freed_memory", lambda: None)  # this process is not the side's own
    torch.set_default_dtype(torch.float64)
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    words = [part, "--arch", "resnet18", "--num_segments", "2", "--input_size", "32", "--batch_size", "2"]
    assert benchmark.main([*words, "--repeats", "2", "--json", str(tmp_path / "out.json")]) == 0
    rows = {row["name"].removeprefix("gpu_"): row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    assert set(names) <= set(rows)
    for row in rows.values():  # ours took half the time, and half the memory
        expected = {
            "ms a clip": (500.0, 1000.0),
            "clips/s": (2.0, 1.0),
            "MiB": (10.0, 20.0),
            "GMACs/s": (pytest.approx(2 * 0.0744, rel=0.01), 16**3 / 1e9 / 2),  # a ResNet-18 at 32 pixels, two frames
        }[row["unit"]]
        assert (row["ours"], row["against"]) == expected and row["ratio"] == row["ours"] / row["against"]
    fex, literally = (next(scores for kind, scores in made if kind == wanted) for wanted in ("fex", "literal"))
    assert (fex - literally).abs().max() <= 1e-9 * literally.abs().max() > 0  # the same network


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind, forms_of in forms.FORMS.items() for form in forms_of]
)
def test_every_form_is_the_same_network(kind: str, form: str, arch: str) -> None:
    words = ["forms", "--arch", arch, "--num_segments", "3", "--input_size", "32", "--batch_size", "2"]
    args = benchmark.parse(words)
    network = deploy(networks.network(args, kind).double().eval())
    clips = networks.clips(args)
    expected, kinds = network(clips), {type(module).__name__ for module in network.modules()}
    found = forms.forced(network, form)
    changed = {type(module).__name__ for module in found.modules()} - kinds
    assert bool(changed) == (form != forms.FORMS[kind][0] and (arch == "resnet50" or kind == "fex"))
    assert (found(clips) - expected).abs().max() <= 1e-9 * expected.abs().max() > 0


def test_rows_of_forms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sides, "taking_turns", lambda made, repeats, _: ([[1.0] * repeats for _ in made], [1.0, 1.0]))
    assert benchmark.main(["forms", "--repeats", "2", "--json", str(tmp_path / "out.json")]) == 0
    rows = {row["name"].removeprefix("gpu_"): row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    assert len(rows) == 5 + len(forms.SHAPES)
    product = rows["convolution_vs_product, 256 to 64 channels, 56 × 56"]
    assert (product["unit"], product["ours"]) == ("GMACs/s", 8 * 256 * 64 * 56**2 / 1e9)


def test_rows_of_storages(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["storage", "--videos", "3", "--frames", "20", "--size", "64x48", "--folder", str(tmp_path)]
    assert benchmark.main([*words, "--repeats", "2", "--json", str(tmp_path / "out.json")]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    said = capsys.readouterr().err
    expected = {"storage_warm_vs_frames", "storage_warm_decoded_vs_frames", "storage_files", "storage_disk"}
    if "cold caches are left out" not in said:
        expected |= {"storage_cold_vs_frames", "storage_cold_decoded_vs_frames"}
    if "calls to the system are left out" not in said:
        expected.add("storage_syscalls")
        # A file a frame is opened, looked at, read and closed; of shards there are a few to begin with.
        assert 8 * 4 <= rows["storage_syscalls"]["against"] > rows["storage_syscalls"]["ours"] > 1
    assert set(rows) == expected and list(tmp_path.iterdir()) == [tmp_path / "out.json"]
    assert (rows["storage_files"]["ours"], rows["storage_files"]["against"]) == (5, 60)
    assert rows["storage_disk"]["ours"] < rows["storage_disk"]["against"]
    monkeypatch.setattr(storage, "resident", lambda _: 1.0)
    monkeypatch.setattr(storage.shutil, "which", lambda _: None)
    assert benchmark.main([*words, "--repeats", "1"]) == 0
    said = capsys.readouterr().err
    assert "keeps frames-00000.tar and 000" in said and "strace is not installed" in said
    with pytest.raises(InputError, match="--size"):
        benchmark.main([*words, "--size", "64"])


def test_sides_work_in_processes_of_their_own() -> None:
    seconds, peaks = sides.taking_turns((partial(nap, 0.05, 0), partial(nap, 0.01, 50)), repeats=2, threads=1)
    assert [len(each) for each in seconds] == [2, 2]
    assert min(seconds[0]) >= 0.05 and peaks[1] > peaks[0] + 30


def nap(seconds: float, megabytes: int) -> Callable[[], object]:
    """A side that takes this long and this much."""
    return partial(_nap, seconds, megabytes)


def _nap(seconds: float, megabytes: int) -> None:
    time.sleep(seconds)
    bytes(np.ones(megabytes << 20, dtype=np.uint8))


def test_growth_of_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scores: list[torch.Tensor] = []

    def once(sides: Sequence[Side], repeats: int, threads: int) -> tuple[list[list[float]], list[float]]:
        scores.extend(side()() for side in sides)  # type: ignore[arg-type]
        return [[1.0] * repeats, [2.0] * repeats], [10.0, 20.0]

    monkeypatch.setattr(sides, "taking_turns", once)
    monkeypatch.setattr(networks, "keep_freed_memory", lambda: None)  # this process is not the side's own
    tiny = "--arch resnet18 --num_segments 2 --input_size 32 --frames 1 3 --crops 1 10 --videos --repeats 2 --threads 1"
    assert benchmark.main(["growth", *tiny.split(), "--json", str(tmp_path / "out.json")]) == 0
    assert [tuple(each.shape) for each in scores] == [(1, networks.CLASSES)] * 8
    assert len({tuple(each[0].tolist()) for each in scores}) == 8  # of other frames, crops and networks
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["rows"] == [] and content["machine"]["threads"] == 1
    curves = [Curve(**curve) for curve in content["curves"]]
    assert [(c.name, c.size, c.unit, c.values) for c in curves] == [
        (name, size, unit, [value] * 2)
        for size, time_unit in (("frames a clip", "ms a clip"), ("crops a video", "ms a video"))
        for unit, values in ((time_unit, (1000.0, 2000.0)), ("MiB", (10.0, 20.0)))
        for name, value in zip(("FEXNet", "plain"), values, strict=True)
    ]
    assert [c.sizes for c in curves] == [[1.0, 3.0]] * 4 + [[1.0, 10.0]] * 4


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc")
def test_growth_of_lists() -> None:
    time_taken, peak, own = growth.of_lists([250], asked=300)
    assert (time_taken.unit, peak.unit, own.unit) == ("s", "MiB", "MiB")
    assert time_taken.sizes == [250.0] and time_taken.values[0] > 0
    assert peak.values[0] > 100 and 0 < own.values[0] < peak.values[0]


def test_plots_are_the_same_each_time(tmp_path: Path) -> None:
    curves = [
        Curve("a", "videos", "s", [1, 10, 100], [0.1, 1, 30]), Curve("b", "videos", "s", [1, 10], [0.0, 1]),
        Curve("a", "videos", "MiB", [1, 10, 100], [5, 6, 7]), Curve("a", "crops a video", "s", [1, 3], [1, 3]),
    ]  # fmt: skip
    assert {size: len(group) for size, group in plots.by_size(curves).items()} == {"videos": 3, "crops a video": 1}
    assert plots.file_name("growth", "crops a video") == "growth_crops_a_video.png"
    plots.draw(curves[:3], tmp_path / "a.png")
    plots.draw(curves[:3], tmp_path / "b.png")
    plots.draw(curves[3:], tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as two, Image.open(tmp_path / "c.png") as one:
        assert two.width == 2 * one.width == 900  # a plot for each unit
        assert len(one.convert("RGB").getcolors(1 << 16) or []) > 5


PAGE = "# Page\n\n<!-- model -->\nold\n<!-- end -->\n\nText.\n"


def test_the_page_is_filled_from_the_measurements(tmp_path: Path) -> None:
    rows = [
        findings.row("tsm_eval_vs_plain", [1.02, 1.02], [1.0, 1.0], "ms a clip"),
        findings.row("fex_eval_best_vs_literal", [3.0, 3.0], [1.0, 1.0], "clips/s"),
    ]
    found = {"machine": findings.machine(), "rows": [asdict(row) for row in rows]}
    (tmp_path / "performance").mkdir()
    (tmp_path / "performance.md").write_text(PAGE)
    with pytest.raises(InputError, match=r"benchmark\.py model --json"):
        performance_page.main(["--docs", str(tmp_path)])
    (tmp_path / "performance" / "model.json").write_text(json.dumps(found))
    performance_page.main(["--docs", str(tmp_path)])
    page = (tmp_path / "performance.md").read_text()
    assert "old" not in page and page.startswith("# Page") and page.endswith("Text.\n")
    assert "| 1.02 | ≤ 1.03 met |" in page and "| 3.00 | ≥ 4 **missed** |" in page
    performance_page.main(["--docs", str(tmp_path)])
    assert (tmp_path / "performance.md").read_text() == page


def test_the_page_shows_curves_and_draws_them(tmp_path: Path) -> None:
    curves = [
        Curve("ours", "crops a video", "ms a video", [1, 3], [10.25, 3456.7]),
        Curve("theirs", "crops a video", "ms a video", [3], [31]),
    ]
    found = {"machine": findings.machine(), "rows": [], "curves": [asdict(curve) for curve in curves]}
    (tmp_path / "performance").mkdir()
    (tmp_path / "performance" / "growth.json").write_text(json.dumps(found))
    (tmp_path / "performance.md").write_text(PAGE.replace("model", "growth"))
    performance_page.main(["--docs", str(tmp_path)])
    page = (tmp_path / "performance.md").read_text()
    assert "![Time by crops a video](performance/growth_crops_a_video.png)" in page
    assert "| crops a video | 1 | 3 |\n|---|---|---|\n" in page and "target" not in page
    assert "| ours, ms a video | 10.2 | 3,457 |\n| theirs, ms a video |  | 31 |" in page
    assert (tmp_path / "performance" / "growth_crops_a_video.png").stat().st_size > 1000
    performance_page.main(["--docs", str(tmp_path)])
    assert (tmp_path / "performance.md").read_text() == page


def test_the_committed_page_is_of_the_committed_measurements() -> None:
    page = (performance_page.DOCS / "performance.md").read_text()
    assert performance_page.filled(page, performance_page.DOCS / "performance") == page
    assert page.count("<!-- end -->") >= 3


def test_rows_of_the_loader(tmp_path: Path) -> None:
    words = "loader --videos 4 --num_segments 2 --input_size 32 --batch_size 2 --quality 75 --repeats 1"
    assert benchmark.main([*words.split(), "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    names = ["loader_427x240_vs_pillow", "loader_test_fullres_vs_pillow", "loader_176x100_vs_pillow"]
    assert [row["name"] for row in rows] == names
    assert all(row["unit"] == "frames/s" and row["ratio"] == row["ours"] / row["against"] > 0 for row in rows)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_pillows_clips_are_ours(tmp_path: Path, mode: ClipMode) -> None:
    """To a grey level and a half, before normalisation."""
    records = pictures.write_videos(tmp_path, 3, 24, (214, 120), 90)
    options = ClipOptions(2, 112, test_mode="twice", crops=3, full_res=True, mirror_labels=(0, 1, 2))
    clips = VideoClips(records, FrameFolders(tmp_path), mode, options)
    stage = InputStage(InputConvention())
    for index in range(3):
        ours, (theirs, label) = clips[(0, index)], loader.PillowClips(clips)[(0, index)]
        assert isinstance(ours, Sample) and label == ours.label
        expected = stage(ours.clip.flatten(0, 1)).flatten(0, 1)  # (V·T·3, H, W)
        assert theirs.shape == expected.shape
        assert (theirs - expected).abs().max() <= 1.5 / 255 / min(InputConvention.std) < theirs.std()


def test_rows_of_whole_passes(tmp_path: Path) -> None:
    words = "end2end --arch resnet18 --videos 2 --num_segments 2 --input_size 32 --batch_size 2 --threads 1 --repeats 1"
    assert benchmark.main([*words.split(), "--json", str(tmp_path / "out.json")]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    for what in ("train", "test"):
        assert rows[f"end2end_{what}_vs_literal"]["ours"] > 0 < rows[f"end2end_{what}_vs_literal"]["against"]
        assert 0 <= rows[f"end2end_{what}_waiting"]["ours"] <= 100


def test_rows_of_options(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scores: list[torch.Tensor] = []

    def once(made: Sequence[Side], repeats: int, threads: int) -> tuple[list[list[float]], list[float]]:
        for side in made:  # compiled ones would take long
            if "compile" not in side.args[1]:  # type: ignore[attr-defined]
                scores.append(side.func(*side.args)())  # type: ignore[attr-defined]
        return [[1.0 / (number + 1)] * repeats for number in range(len(made))], [0.0] * len(made)

    monkeypatch.setattr(sides, "taking_turns", once)
    monkeypatch.setattr(options, "has_bf16", lambda _device: False)
    torch.set_default_dtype(torch.float64)
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    words = "options --arch resnet18 --num_segments 2 --input_size 32 --repeats 2"
    assert benchmark.main([*words.split(), "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["name"].rsplit(", ", 1)[1] for row in rows] == ["alone"] * 3 + ["with all above"] * 3
    assert [row["ratio"] for row in rows] == pytest.approx([2, 3, 4, 5, 6, 7])
    assert len(scores) == 5  # the same network, whatever makes it fast
    assert all((found - scores[0]).abs().max() <= 1e-9 * scores[0].abs().max() for found in scores)
