"""From windows to segments, and what is written of them: tables, subtitles as a player reads them, a rendered video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from made_networks import save_network
from made_videos import turn, write_pictures, write_video
from PIL import Image

from ops.data.clips import ClipOptions
from ops.data.records import VideoRecord
from ops.errors import InputError
from ops.evaluation.detection import Found, average_precision, bound_errors, matches, mean_average_precision, overlap
from ops.recognition import render, subtitles, timeline_picture
from ops.recognition.frame_times import TimedFrames, Timing
from ops.recognition.recognizer import Recognizer
from ops.recognition.timeline import (
    NONE,
    Segment,
    Timeline,
    hysteresis,
    moving_average,
    segments_of,
    smoothed,
    timeline,
)
from ops.recognition.timeline_options import TimelineOptions
from ops.recognition.windows import Window
from tools import predict, timeline_quality, timelines

LEVELS = (40, 125, 210)  # grey levels of the classes
CLASSES = ("dark", "<b>middle</b> & --> $x_$", "bright\nlight")


class Eye:
    """Stands for a recognizer: a clip's class is the grey level that is nearest to its mean."""

    class contract:  # noqa: N801
        classes = CLASSES

    def __init__(self) -> None:
        self.options = ClipOptions(segments=4, input_size=32)
        self.batch_size = 3

    def scores(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        levels = torch.stack([clip.float().mean() for clip in clips])
        return -(levels[:, None] - torch.tensor(LEVELS)).abs() / 10

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.double().softmax(dim=-1)

    def timeline(self, source: Any, window: float, on_window: Any, **others: Any) -> Timeline:
        return timeline(self, source.content, TimelineOptions(window, **others), source.path, on_window)  # type: ignore[arg-type]


def in_turn(path: Path, parts: Sequence[tuple[int, int]], size: tuple[int, int] = (64, 48), **others: Any) -> Path:
    """A video of these classes, each for so many frames."""
    pictures = (np.full((size[1], size[0], 3), LEVELS[k], np.uint8) for k, count in parts for _ in range(count))
    return write_pictures(path, pictures, **others)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    video = in_turn(tmp_path_factory.mktemp("seen") / "a b.mp4", [(0, 50), (1, 100), (2, 75)])
    return timeline(Eye(), video, TimelineOptions(1, 0.2, smooth=0))  # type: ignore[arg-type]


def test_segments_of_a_video(seen: Timeline) -> None:
    assert [segment.label for segment in seen.segments] == [0, 1, 2]
    for segment, (start, end) in zip(seen.segments, [(0, 2), (2, 6), (6, 9)], strict=True):
        assert segment.name == CLASSES[segment.label] and 0.8 < segment.probability <= 1
        assert abs(segment.start - start) < 0.21 and abs(segment.end - end) < 0.21  # a stride
    assert (seen.frames, seen.seconds, seen.views, seen.damage) == (225, pytest.approx(9), 41, "")
    assert seen.at(3)[0] == seen.segments[1] and seen.at(3)[1].argmax() == 1
    assert seen.at(8.999)[1].argmax() == 2 and seen.at(0)[0] == seen.segments[0]


def test_json_and_rows(seen: Timeline) -> None:
    entry = json.loads(json.dumps(seen.to_json(scores=True)))
    assert entry["segments"][1] == {
        "start": pytest.approx(2, abs=0.21),
        "end": pytest.approx(6, abs=0.21),
        "label": 1,
        "class": "<b>middle</b> & --> $x_$",
        "probability": round(seen.segments[1].probability, 6),
    }
    assert len(entry["windows"]) == 41 and entry["windows"][0]["end"] == 1
    assert sum(entry["windows"][7]["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert entry["timeline"]["shortest"] == 0.5 and "probabilities" not in seen.to_json()["windows"][0]


def test_damage_is_told(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", 100, g="10")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = timeline(Eye(), whole, TimelineOptions(1))  # type: ignore[arg-type]
    assert found.damage and found.to_json()["damage"] == found.damage and found.windows[-1].end == found.seconds < 4


@pytest.mark.parametrize(
    ("around", "expected"), [(0, [0, 3, 6, 9]), (1, [1.5, 3, 6, 7.5]), (2, [3, 4.5, 4.5, 6]), (99, [4.5] * 4)]
)
def test_moving_average(around: int, expected: list[float]) -> None:
    values = np.array([[0.0, 1], [3, 1], [6, 1], [9, 1]])
    assert moving_average(values, around) == pytest.approx(np.array([expected, [1] * 4]).T)


def test_sure_windows_count_more() -> None:
    sure, unsure = [0.9, 0.1], [0.45, 0.55]
    (first, _), *_ = smoothed(np.array([unsure, sure, unsure]), 1)
    assert first == pytest.approx((0.45 * 0.55**4 + 0.9 * 0.9**4) / (0.55**4 + 0.9**4)) and first > 0.8
    assert smoothed(np.zeros((3, 2)), 1).tolist() == [[0, 0]] * 3
    assert smoothed(np.array([sure, unsure]), 0) == pytest.approx(np.array([sure, unsure]))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.2, 0.6, 0.4, 0.2, 0.4], [0.1] * 5, [NONE, 0, 0, NONE, NONE]),  # enters, stays, leaves, does not enter
        ([0.6, 0.4, 0.35], [0.2, 0.45, 0.6], [0, 0, 1]),  # another one must be able to enter
        ([0.6, 0.5, 0.2], [0.3, 0.5, 0.7], [0, 0, 1]),  # and be more probable
        ([0.6, 0.2, 0.2], [0.3, 0.4, 0.4], [0, NONE, NONE]),
        ([0.5, 0.3, 0.29], [0.1] * 3, [0, 0, NONE]),  # both bounds are within
    ],
)
def test_hysteresis(first: list[float], second: list[float], expected: list[int]) -> None:
    assert hysteresis(np.array([first, second]).T, 0.5, 0.3).tolist() == expected


def spans(labels: Sequence[int], shots: Sequence[int] | None = None, **options: Any) -> list[tuple[int, float, float]]:
    """Segments of windows a second apart, each two seconds long, of which each is sure."""
    windows = [Window(k, k + 2, shot) for k, shot in enumerate(shots or [0] * len(labels))]
    probabilities = np.array([[0.9 if label == k else 0.05 for k in range(3)] for label in labels])
    chosen = TimelineOptions(2, 1, **{"smooth": 0, "shortest": 0, **options})
    return [(s.label, s.start, s.end) for s in segments_of(probabilities, windows, CLASSES, chosen)]


def test_numbers_follow_from_the_window() -> None:
    options = TimelineOptions(2)
    assert (options.every, options.around, options.least) == (0.4, 2, 1)
    assert TimelineOptions(2, 0.25).around == 3 and TimelineOptions(2, smooth=0).around == 0
    assert TimelineOptions(1, 0.05, smooth=0.3).around == 2


def test_segments_by_table() -> None:
    assert spans([0, 0, 1, 1]) == [(0, 0, 2.5), (1, 2.5, 5)]
    assert spans([0, 0, 1, 0, 0], shortest=1.5) == [(0, 0, 6)]  # over a short one
    assert spans([0, 0, 1, 2, 2], shortest=1.5) == [(0, 0, 2.5), (2, 3.5, 6)]  # dropped, not given to another
    assert spans([0, 3, 3, 0]) == [(0, 0, 1.5), (0, 3.5, 5)]  # 3: no class is probable
    assert spans([0, 3, 0], shortest=1.2) == [(0, 0, 4)]
    assert spans([0], shortest=99) == [(0, 0, 2)]  # all that there is
    assert spans([3, 3]) == []
    assert spans([0, 0, 1, 0, 0], smooth=3) == [(0, 0, 6)]


def test_smoothing_and_bounds_keep_to_a_shot() -> None:
    assert spans([0, 0, 1, 1, 1], [0, 0, 1, 1, 1], smooth=3) == [(0, 0, 2), (1, 2, 6)]
    assert spans([0, 0, 1, 1, 1], smooth=3) == [(0, 0, 2.5), (1, 2.5, 6)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "--window 0"),
        ({"window": float("nan")}, "--window nan"),
        ({"window": float("inf")}, "--window inf"),
        ({"window": 2, "stride": 3}, "--stride 3: .*at most --window 2"),
        ({"window": 2, "stride": 0}, "--stride 0"),
        ({"window": 2, "smooth": -1, "stay": 0.8}, "--smooth -1.*--stay 0.8 --enter 0.5"),
        ({"window": 2, "enter": 1.5}, "--enter 1.5"),
        ({"window": 2, "shortest": -1}, "--shortest -1"),
    ],
)
def test_numbers_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TimelineOptions(**options)


@pytest.mark.parametrize(("write", "name"), [(subtitles.srt, "a.srt"), (subtitles.vtt, "a.vtt")])
def test_a_player_reads_the_subtitles(write: Any, name: str, seen: Timeline, tmp_path: Path) -> None:
    (tmp_path / name).write_text(write(seen.segments), encoding="utf-8")
    with av.open(str(tmp_path / name)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        cues = [(float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base)) for p in packets]
        texts = [line for packet in packets for line in _shown(container.streams[0], packet)]
    assert np.array(cues) == pytest.approx(np.array([(s.start, s.end) for s in seen.segments]), abs=1e-3)
    expected = [f"{s.name} ({100 * s.probability:.0f} %)".replace("\n", " ") for s in seen.segments]
    assert [text.replace(subtitles.JOINER, "") for text in texts] == expected


def _shown(stream: Any, packet: Any) -> list[str]:
    """What FFmpeg's decoder makes of a cue, as a player shows it."""
    found = [each.ass.decode().split(",", 8)[-1] for each in stream.decode(packet) or ()]
    return [text.replace(r"\h", " ") for text in found]


def test_cues_are_whole_whatever_a_name_is() -> None:
    segments = [Segment(3599.9996, 3600.0001, 0, "\n\n1\n00:00:00,000 --> 00:00:01,000\r\n{\\an8}", 0.5)]
    lines = subtitles.srt(segments).split("\n")
    assert lines[:2] == ["1", "01:00:00,000 --> 01:00:00,001"] and lines[3:] == ["", ""]
    assert "-->" not in lines[2] and "{\\" not in lines[2]
    assert subtitles.vtt(segments).count("-->") == 1 and subtitles.vtt([]) == "WEBVTT\n\n" and subtitles.srt([]) == ""


def test_the_picture_is_drawn(seen: Timeline, tmp_path: Path) -> None:
    timeline_picture.draw(seen, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] == 1200 and len(set(image.convert("L").tobytes())) > 20


@pytest.mark.parametrize(("ending", "without_x264"), [("mp4", False), ("mkv", False), ("mov", True)])
def test_a_rendered_video_has_the_frames_and_times_of_its_source(
    ending: str, without_x264: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [0, 4, 12, 16, 20, 40, 44, 60, 64, 70, 71, 72]
    video = turn(in_turn(tmp_path / "a.mp4", [(0, 6), (2, 6)], (96, 62), times=times))
    found = timeline(Eye(), video, TimelineOptions(0.3, 0.1, smooth=0))  # type: ignore[arg-type]
    if without_x264:
        monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    render.render(found, video, tmp_path / f"out.{ending}")
    shown = list(TimedFrames(tmp_path / f"out.{ending}", Timing.of(tmp_path / f"out.{ending}")))
    assert [time for time, _ in shown] == pytest.approx([time / 100 for time in times])
    pictures = [frame.to_ndarray(format="rgb24").astype(int) for _, frame in shown]
    assert pictures[0].shape == (96, 62, 3)
    assert abs(pictures[1][:40].mean() - LEVELS[0]) < 4 and abs(pictures[9][:40].mean() - LEVELS[2]) < 4
    assert abs(pictures[1][-8:].mean() - LEVELS[0]) > 8  # the strip
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_pictures_of_odd_size_are_made_even() -> None:
    picture = np.arange(5 * 3 * 3, dtype=np.uint8).reshape(5, 3, 3)
    assert render.even(picture).shape == (6, 4, 3) and (render.even(picture)[:5, :3] == picture).all()


def test_a_rendering_that_fails_leaves_nothing(seen: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "a.mp4", 10)
    (tmp_path / "out.mp4").write_text("as before")
    monkeypatch.setattr(render, "drawn", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        render.render(seen, video, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_text() == "as before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


def test_overlaps() -> None:
    assert overlap((0, 2), (1, 3)) == pytest.approx(1 / 3) and overlap((0, 1), (1, 2)) == 0
    assert overlap((0, 4), (1, 2)) == 0.25 and overlap((1, 2), (1, 2)) == 1


@pytest.mark.parametrize(
    ("hits", "scores", "true", "expected"),
    [
        ([True, True], [0.9, 0.8], 2, 1),
        ([True, False, True], [0.9, 0.8, 0.7], 2, (1 + 2 / 3) / 2),
        ([False, True], [0.9, 0.8], 1, 0.5),
        ([False, True, True], [0.9, 0.8, 0.7], 4, (2 / 3 + 2 / 3) / 4),  # the best precision at a higher recall
        ([True], [0.1], 4, 0.25),
        ([], [], 3, 0),
    ],
)
def test_average_precision(hits: list[bool], scores: list[float], true: int, expected: float) -> None:
    assert average_precision(hits, scores, true) == pytest.approx(expected)


def test_matches_and_mean_average_precision() -> None:
    true = [((0, 10), 0), ((10, 20), 1), ((20, 30), 0)]
    found = [
        Found((1, 11), 0, 0.5),  # hits the first
        Found((0, 10), 0, 0.4),  # comes too late for it
        Found((10, 20), 0, 0.9),  # of the wrong class
        Found((12, 20), 1, 0.8),
        Found((26, 40), 0, 0.7),  # overlaps too little
        Found((0, 5), 2, 0.9),  # of a class that there is not
    ]
    assert matches(found, true, 0.5) == [0, None, None, 1, None, None]
    # Class 0: 0.9 no, 0.7 no, 0.5 yes, 0.4 no: one of two at a precision of 1/3. Class 1: all.
    assert mean_average_precision(found, true) == pytest.approx((1 / 6 + 1) / 2)
    assert bound_errors(found, true).tolist() == [1, 1, 2, 0]
    assert mean_average_precision([], true) == 0 and mean_average_precision(found, true, 0.2) > 0.5


def parsed(*words: str) -> Any:
    return predict.parse(["a.mp4", "--weights", "w.pth", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--srt a.srt --stride 1", "--stride, --srt: of timelines: give --window"),
        ("--window 2 --protocol dense", "--protocol dense"),
        ("--window 2 --min_probability 0.5", "--enter and --stay"),
        ("--window 2 --render a.avi", "--render a.avi"),
        ("--window 2 --srt a.x --vtt a.x", "two results are one file"),
        ("--window 0", "--window 0"),
    ],
)
def test_options_that_do_not_go_together(words: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed(*words.split())


def test_predict_writes_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ops.recognition.sources import find_sources

    video = in_turn(tmp_path / "a.mp4", [(0, 50), (1, 50)])
    names = ("json", "csv", "srt", "vtt", "plot")
    flags = [word for name in names for word in (f"--{name}", str(tmp_path / f"out.{name}"))]
    args = parsed("--window", "1", *flags, "--render", str(tmp_path / "out.mp4"))
    status = timelines.run(Eye(), find_sources([str(video)]), args.timeline, args)  # type: ignore[arg-type]
    assert status == 0 and "dark" in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "out.json").read_text())
    assert [segment["label"] for segment in entry["segments"]] == [0, 1]
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert rows[0] == "path,start,end,label,class,probability" and rows[1].startswith(f"{video},0.0,")
    before = (tmp_path / "out.json").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        timelines.run(Eye(), find_sources([str(video)]), args.timeline, args)  # type: ignore[arg-type]
    args.overwrite = True
    assert timelines.run(Eye(), find_sources([str(video)]), args.timeline, args) == 0  # type: ignore[arg-type]
    assert (tmp_path / "out.json").read_bytes() == before


def test_one_broken_video_does_not_stop_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from ops.recognition.sources import find_sources

    (tmp_path / "0.mp4").write_text("no video")
    in_turn(tmp_path / "1.mp4", [(0, 25)])
    args = parsed("--window", "1", "--json", str(tmp_path / "out.json"))
    assert timelines.run(Eye(), find_sources([str(tmp_path)]), args.timeline, args) == 1  # type: ignore[arg-type]
    assert [entry["path"] for entry in json.loads((tmp_path / "out.json").read_text())] == [str(tmp_path / "1.mp4")]
    assert "0.mp4" in caplog.text
    args = parsed("--window", "1", "--srt", str(tmp_path / "out.srt"))
    with pytest.raises(InputError, match="2 videos are given"):
        timelines.run(Eye(), find_sources([str(tmp_path)]), args.timeline, args)  # type: ignore[arg-type]
    args = parsed("--window", "1", "--render", str(tmp_path / "1.mp4"))
    with pytest.raises(InputError, match="it is the video"):
        timelines.run(Eye(), find_sources([str(tmp_path / "1.mp4")]), args.timeline, args)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("weights") / "n.pth")


def test_a_window_over_a_video_is_its_prediction(weights: Path, tmp_path: Path) -> None:
    recognizer = Recognizer.from_checkpoint(weights, protocol="accurate", batch_size=2)
    video = write_video(tmp_path / "a.mp4", 30)
    whole = {answer.label: answer.probability for answer in recognizer(video).top}
    found = recognizer.timeline(video, window=60)
    assert found.probabilities.tolist() == [[whole[label] for label in range(len(whole))]]
    assert (found.views, found.classes) == (6, recognizer.contract.classes)
    assert recognizer.timeline(str(video), window=0.5, stride=0.25).probabilities.shape == (4, len(whole))


@pytest.mark.parametrize(
    ("name", "words"),
    [("folder", "from video files only"), ("missing.mp4", "no such file"), ("text.mp4", "text.mp4: ")],
)
def test_what_is_no_video_file_has_no_timeline(name: str, words: str, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    recognizer = Recognizer.from_checkpoint(weights)
    with pytest.raises(InputError, match=words):
        recognizer.timeline(tmp_path / name, window=1)


def test_glued_videos_are_measured(weights: Path, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--root_dataset", str(demo / "dataset"), "--seconds", "6", "--seeds", "3", "4"]
    timeline_quality.main(["--weights", str(weights), *where, "--cuts", "--json", str(demo / "out.json")])
    (row,) = json.loads((demo / "out.json").read_text())["rows"]
    assert len(row["of_each"]) == 2 and 4 <= row["true"] <= 8 and row["found"] >= row["hits"]
    assert "mAP@0.5" in capsys.readouterr().out


def test_neighbours_of_a_glued_video_differ() -> None:
    records = [VideoRecord(f"{k}", 10 + k, k // 4) for k in range(12)]
    for seed in range(20):
        chosen = timeline_quality.in_order(records, seed, 100)
        labels = [record.label for record in chosen]
        assert all(a != b for a, b in pairwise(labels)) and len({record.path for record in chosen}) == len(chosen)
        assert 70 < sum(record.num_frames for record in chosen) <= 100
