"""Prediction: the scores of the test whatever the video is, bad input, and what is written."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import picture, write_flow, write_frames
from made_networks import save_network
from made_videos import turn, write_video
from PIL import Image
from programs import evaluate, python
from published import save_published

from ops.data.videofile import rgb_frames
from ops.errors import InputError
from ops.exporting.export import source_of
from ops.recognition.contract import Contract, Views
from ops.recognition.recognizer import Answer, Prediction, Recognizer
from ops.recognition.sources import find_sources
from ops.running.checkpoint import network_of, read_checkpoint
from tools import predict

PROTOCOLS = ("efficient", "accurate", "dense")
Run = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FEXNet on ResNet-18, four segments of 32 pixels, the classes of `demo`."""
    return save_network(tmp_path_factory.mktemp("weights") / "fexnet.pth")


@pytest.fixture(scope="module")
def recognizer(weights: Path) -> Recognizer:
    return Recognizer.from_checkpoint(weights)


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Run:
    """Runs the tool; its exit status and what it wrote as JSON."""

    def run(*words: str | Path, weights: Path = weights) -> tuple[int, list[dict[str, Any]]]:
        out = tmp_path / "out.json"
        status = predict.main([*map(str, words), f"--weights={weights}", f"--json={out}", "-j", "0"])
        return status, json.loads(out.read_text())

    return run


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_scores_of_the_test_to_the_last_bit(demo: Path, weights: Path, run: Run, protocol: str) -> None:
    some = demo / "dataset" / "demo" / "some.txt"
    some.write_text("\n".join((some.parent / "val_videofolder.txt").read_text().splitlines()[::4]))
    evaluate(demo, weights, f"--protocol={protocol}", f"--test_list={some}", f"--save_scores={demo / 's.npz'}")
    saved = np.load(demo / "s.npz")
    status, found = run(some, "--scores", f"--protocol={protocol}")
    assert status == 0 and [Path(each["path"]).name for each in found] == saved["paths"].tolist()
    assert np.array_equal(np.float32([each["scores"] for each in found]), saved["scores"])
    assert {each["views"] for each in found} == {{"efficient": 1, "accurate": 6, "dense": 30}[protocol]}


@pytest.mark.parametrize("protocol", PROTOCOLS[:2])
def test_the_scores_of_the_test_of_video_files(tmp_path: Path, weights: Path, run: Run, protocol: str) -> None:
    folder = tmp_path / "dataset" / "demo"
    videos = [write_video(folder / "videos" / f"{k}.mp4", 10 + 7 * k, seed=k) for k in range(3)]
    categories = read_checkpoint(weights).categories
    (folder / "category.txt").write_text("\n".join(categories))
    for split in ("train", "val"):
        (folder / f"{split}_videos.txt").write_text("".join(f"{v.name} {k}\n" for k, v in enumerate(videos)))
    flags = ("--storage=video", f"--protocol={protocol}", f"--save_scores={tmp_path / 's.npz'}")
    evaluate(tmp_path, weights, *flags)
    for source in (folder / "videos", folder / "val_videos.txt", folder / "videos" / "*.mp4"):
        status, found = run(source, "--scores", "--overwrite", f"--protocol={protocol}")
        assert status == 0
        scores = np.load(tmp_path / "s.npz")["scores"]
        assert np.array_equal(np.float32([each["scores"] for each in found]), scores)
    assert [each["seconds"] for each in found] == [0.4, 0.68, 0.96] and found[0]["frames"] == 10


def test_a_file_frames_in_memory_and_pictures_are_one_video(recognizer: Recognizer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 12)
    frames = np.stack(list(rgb_frames(video)))
    expected = recognizer(video)
    for other in (frames, torch.from_numpy(frames), list(frames), [Image.fromarray(frame) for frame in frames]):
        found = recognizer(other)
        assert np.array_equal(found.scores, expected.scores) and found.frames == 12
    assert expected.seconds == pytest.approx(0.48) and sum(a.probability for a in expected.top) == pytest.approx(1)
    several = recognizer.batch([video, frames[:5]])
    assert np.array_equal(several[0].scores, expected.scores) and several[1].frames == 5


def test_batches_change_nothing_but_rounding(weights: Path, tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{k}.mp4", 8 + k, seed=k) for k in range(5)]
    alone, together = (
        Recognizer.from_checkpoint(weights, batch_size=size).batch(videos, workers=size - 1) for size in (1, 3)
    )
    assert [p.path for p in alone] == [p.path for p in together] == [str(video) for video in videos]
    assert max(np.abs(a.scores - b.scores).max() for a, b in zip(alone, together, strict=True)) < 1e-5


@pytest.mark.parametrize(
    ("video", "words"),
    [
        (7, "int is no video"),
        (np.zeros((4, 8, 8), np.uint8), r"array \(4, 8, 8\) of uint8"),
        (np.zeros((4, 8, 8, 3), np.float32), "of float32"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], "several sizes"),
        ([], "list is no video"),
        ("nowhere.mp4", r"nowhere\.mp4: no such file"),
    ],
)
def test_what_is_no_video_in_python(recognizer: Recognizer, video: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        recognizer(video)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_scores_that_are_no_numbers_are_no_prediction(recognizer: Recognizer, value: float) -> None:
    with pytest.raises(InputError, match="its scores are infinite or no numbers"):
        recognizer.probabilities(torch.tensor([1.0, value]))


def broken(folder: Path) -> dict[str, Path]:
    """Files and folders that are no video, each by what is to be said of it."""
    folder.mkdir()
    (folder / "notes.mp4").write_text("no video")
    (folder / "empty.mp4").touch()
    (folder / "nothing").mkdir()
    (folder / "empty.txt").touch()
    shutil.copytree(write_video(folder / "both" / "v.mp4", 3).parent, folder / "more")
    write_frames(folder / "both" / "pictures", [picture(1)])
    shutil.move(folder / "both" / "pictures" / "00001.jpg", folder / "both" / "00001.jpg")
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    (folder / "list.txt").write_text("# a comment\n\nnotes.mp4\nmissing/v 12 3\n")
    return {
        "Invalid data": folder / "notes.mp4",
        "the file is empty": folder / "empty.mp4",
        "a folder without a video": folder / "nothing",
        "a list without a video": folder / "empty.txt",
        r"holds frames \(1 frame, 00001.jpg\) and videos \(v.mp4\)": folder / "both",
        "a picture: give the folder": folder / "one.png",
        r"list.txt, line 4: no such video": folder / "list.txt",
        "no such file": folder / "absent.mp4",
        "no file matches": folder / "absent*.mp4",
    }


def test_broken_ones_are_reported_and_do_not_stop_the_rest(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [write_video(tmp_path / f"{k}.mp4", 6, seed=k) for k in range(2)]
    faults = broken(tmp_path / "broken")
    status, found = run(good[0], *faults.values(), good[1])
    assert status == 1 and [each["path"] for each in found] == [str(path) for path in good]
    assert capsys.readouterr().out.count("(6 frames, 0.2 s)") == 2
    for words, path in faults.items():
        assert re.search(words, caplog.text), path
    assert "10 of 12 videos could not be read" in caplog.text


def test_of_a_cut_video_what_can_be_read_is_predicted_and_said(
    run: Run, recognizer: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_video(tmp_path / "whole.mkv", 40)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    status, (found,) = run(cut)
    assert status == 0 and 10 < found["frames"] < 40
    assert "early" in found["damage"] or "after" in found["damage"]
    assert f"of what could be read: {found['damage']}" in capsys.readouterr().out
    frames = np.stack(list(rgb_frames(whole)))[: found["frames"]]
    assert found["top"][0]["probability"] == pytest.approx(recognizer(frames).top[0].probability, abs=1e-6)


ODD_NAMES = ["with space.mp4", 'it\'s "quoted".mp4', "line\nbreak.mp4", "-leading.mp4", "ü*[1].mp4"]


def test_odd_names(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ODD_NAMES:
        write_video(tmp_path / name, 4)
    monkeypatch.chdir(tmp_path)
    status, found = run(*(f"./{name}" for name in ODD_NAMES))
    assert status == 0 and [each["path"] for each in found] == [f"./{name}" for name in ODD_NAMES]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\0".join(ODD_NAMES)))
    status, found = run("-", "--overwrite")
    assert status == 0 and [each["path"] for each in found] == ODD_NAMES
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(ODD_NAMES) * 6  # each name takes one line


def test_a_dash_before_a_name(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "-v.mp4", 4)
    monkeypatch.chdir(tmp_path)
    assert predict.main([f"--weights={weights}", "--json=o.json", "-j", "0", "--", "-v.mp4"]) == 0
    assert json.loads(Path("o.json").read_text())[0]["path"] == "-v.mp4"


@pytest.mark.parametrize(
    ("numbers", "damage"), [(range(1, 9), None), (range(8), None), (range(100, 108), None), ([1, 2, 5, 6], "gaps")]
)
def test_picture_sequences_begin_anywhere(
    recognizer: Recognizer, run: Run, tmp_path: Path, numbers: list[int], damage: str | None
) -> None:
    folder = write_frames(tmp_path / "made", [picture(k) for k in range(len(numbers))])
    frames = tmp_path / "frames"
    frames.mkdir()
    for place, number in enumerate(numbers, 1):
        (folder / f"{place:05d}.jpg").rename(frames / f"img_{number}.jpg")
    status, (found,) = run(frames)
    assert status == 0 and found["frames"] == len(numbers) and found["seconds"] is None
    assert ("damage" in found) == (damage is not None) and (not damage or damage in found["damage"])
    stack = np.stack([np.asarray(Image.open(frames / f"img_{number}.jpg")) for number in numbers])
    assert found["top"][0]["probability"] == pytest.approx(recognizer(stack).top[0].probability, abs=1e-6)


@pytest.mark.parametrize("make", [{"size": (3840, 2160)}, {"codec": "libx265", "pixel_format": "yuv420p10le"}, {}])
def test_large_ten_bit_and_turned_videos(recognizer: Recognizer, tmp_path: Path, make: dict[str, Any]) -> None:
    video = write_video(tmp_path / "v.mp4", 3, **make)
    if not make:
        turn(video)
    frames = np.stack(list(rgb_frames(video)))
    assert make or frames.shape[1] > frames.shape[2]  # it stands upright
    assert np.array_equal(recognizer(video).scores, recognizer(frames).scores)


def test_flow(tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    weights = save_network(tmp_path / "flow.pth", modality="Flow", fex="off")
    write_flow(tmp_path / "flow" / "a", [(100 + k, 128 + k) for k in range(9)], packed=False)
    write_flow(tmp_path / "flow" / "b", [(100 + k, 128 + k) for k in range(9)], packed=True)
    status, found = run(tmp_path / "flow", weights=weights)
    assert status == 0 and [Path(each["path"]).name for each in found] == ["a", "b"]
    status, found = run(write_video(tmp_path / "v.mp4", 4), "--overwrite", weights=weights)
    assert status == 1 and not found and "tools/extract_flow.py" in caplog.text


def test_two_runs_are_equal_and_a_stopped_one_is_gone_on_with(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [write_video(tmp_path / f"{k}.mp4", 6, seed=k) for k in range(4)]
    out = tmp_path / "out.json"
    run(*videos)
    whole = out.read_bytes()
    run(*videos, "--overwrite")
    assert out.read_bytes() == whole
    real = Recognizer.predict

    def stopped(self: Recognizer, *arguments: Any) -> Any:
        for number, found in enumerate(real(self, *arguments)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Recognizer, "predict", stopped)
        run(*videos, "--overwrite")
    assert len(json.loads(out.read_text())) == 2
    for _ in range(2):  # the second time nothing is left to do
        assert run(*videos)[0] == 0
        assert out.read_bytes() == whole


def test_results_of_others_are_not_gone_on_with(run: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 6)
    run(video)
    other_classes = save_network(tmp_path / "classes.pth", ["jumping", "running"])
    other_weights = save_network(tmp_path / "weights.pth", fex="off")
    before = (tmp_path / "out.json").read_bytes()
    for words, flags, more in (
        ("another number of classes|other classes", [], {"weights": other_classes}),
        ("of other weights, views or videos", [], {"weights": other_weights}),
        ("of other weights, views or videos", ["--protocol=accurate"], {}),
        ("no predictions with .*scores", ["--scores"], {}),
    ):
        with pytest.raises(InputError, match=words):
            run(video, *flags, **more)
        assert (tmp_path / "out.json").read_bytes() == before
    (tmp_path / "out.json").write_text("{}")
    with pytest.raises(InputError, match="no predictions"):
        run(video)


def test_the_table_and_none_of_these(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "v.mp4", 6)
    table = tmp_path / "out.csv"
    _, (found,) = run(video, f"--csv={table}", "--min_probability=1", "--top=2")
    assert found["answer"] is None and len(found["top"]) == 2
    assert "none of these" in capsys.readouterr().out
    (row,) = csv.DictReader(table.open())
    assert row["answer"] == "" and row["class_1"] == found["top"][0]["class"]
    assert float(row["probability_2"]) == found["top"][1]["probability"]
    _, (found,) = run(video, "--min_probability=0", "--overwrite")
    assert found["answer"] == found["top"][0]["class"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--protocol=eficient"], "did you mean efficient"),
        (["--top=0", "--min_probability=2"], "--top 0.*--min_probability 2"),
        (["--scores"], "--json FILE"),
        (["--device=cuda:9"], "--device cuda:9: it does not work here"),
        (["--csv=/proc/nowhere/p.csv"], "can't be (made|written)"),
    ],
)
def test_wrong_flags(weights: Path, flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        predict.main(["v.mp4", f"--weights={weights}", *flags])


def test_by_the_command_line(weights: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 6)
    done = python("tools/predict.py", str(video), f"--weights={weights}", "--json", str(tmp_path / "p.json"))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6 and "FEXNet" in done.stderr
    done = python("tools/predict.py", str(video), f"--weights={tmp_path / 'none.pth'}")
    assert done.returncode == 2 and "no such checkpoint" in done.stderr and "Traceback" not in done.stderr


def test_a_published_checkpoint_and_its_class_names(golden: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4_e50.pth"
    save_published(path, golden, json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"])
    video = write_video(tmp_path / "v.mp4", 6)
    _, (found,) = run(video, weights=path)
    assert found["top"][0]["class"] == f"class {found['top'][0]['label']}"
    (tmp_path / "names.txt").write_text("\n".join(f"name {k}" for k in range(11)))
    _, (named,) = run(video, f"--classes={tmp_path / 'names.txt'}", "--overwrite", weights=path)
    assert named["top"][0]["class"] == f"name {found['top'][0]['label']}"
    assert source_of(path, tmp_path / "names.txt").contract.classes[10] == "name 10"
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"2 class names, but .* has 11"):
        run(video, f"--classes={tmp_path / 'names.txt'}", "--overwrite", weights=path)


def test_the_contract_says_all_that_a_consumer_needs(tmp_path: Path) -> None:
    made = {"short_side": 40, "quality": 95}
    extra = {"data": {"storage": "frames", "made": json.dumps(made)}, "calibration": {"temperature": 2.0}}
    checkpoint = read_checkpoint(save_network(tmp_path / "a.pth", extra=extra))
    contract = Contract.of(checkpoint, network_of(checkpoint, segments=6))
    said = json.loads(json.dumps(contract.described(Views.of_protocol("accurate"))))
    assert (said["segments"], said["frames_per_segment"], said["clips"], said["crops"]) == (6, 1, 2, 3)
    assert (said["short_side"], said["crop_size"], said["stored_short_side"]) == (36, 36, 40)
    assert said["made"] == made and said["temperature"] == 2 and len(said["classes"]) == 12
    strange = read_checkpoint(save_network(tmp_path / "c.pth", extra={"data": {"made": "by hand"}}))
    said = Contract.of(strange, network_of(strange)).described(Views())
    assert said["made"] == {} and said["stored_short_side"] == 0
    with pytest.raises(InputError, match="temperature is -1"):
        bad = read_checkpoint(save_network(tmp_path / "b.pth", extra={"calibration": {"temperature": -1.0}}))
        Contract.of(bad, network_of(bad))


def test_videos_are_scaled_down_as_the_frames_were_that_were_trained_on(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 6, size=(320, 240))
    made = {"data": {"storage": "frames", "made": json.dumps({"short_side": 24})}}
    plain, small = (
        Recognizer.from_checkpoint(save_network(tmp_path / f"{bool(extra)}.pth", extra=extra)) for extra in ({}, made)
    )
    stored = [Image.fromarray(f).resize((32, 24), Image.Resampling.BICUBIC) for f in rgb_frames(video)]
    expected = plain(stored).scores
    assert np.abs(small(video).scores - expected).max() < 0.02 * np.abs(expected).max()
    assert np.abs(plain(video).scores - expected).max() > 0.05 * np.abs(expected).max()


def test_sources_are_found_once_each_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/2.mp4", "a/1.avi", "a/.hidden.mp4", "a/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    write_frames(tmp_path / "b" / "frames", [picture(1)] * 2)
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert [source.path for source in find_sources(["."])] == ["a/1.avi", "b/2.mp4", "b/frames"]
    (tmp_path / "list.txt").write_text("a/1.avi 4\nb/frames 1 7\n")
    sources = find_sources(["list.txt", "-"], ["b/2.mp4\n"])
    assert [source.path for source in sources] == ["a/1.avi", "b/frames", "b/2.mp4"]
    assert [source.num_frames for source in sources] == [0, 1, 0]


def test_answers() -> None:
    prediction = Prediction("v", np.zeros(2), (Answer(1, "b", 0.7), Answer(0, "a", 0.3)), 1, 5)
    assert prediction.answer(0.7) == prediction.top[0] and prediction.answer(0.71) is None
