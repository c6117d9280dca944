"""Long videos as windows of time: which frames each sees, that none is decoded twice, and what damage leaves."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED
from made_videos import cut_by_edit_list, turn, write_pictures, write_video
from programs import REPOSITORY

from ops.data.clips import ClipOptions, Sample
from ops.data.upright import Upright
from ops.data.videofile import DamageError
from ops.errors import InputError
from ops.recognition import frame_times
from ops.recognition.ahead import ahead
from ops.recognition.cuts import cuts_of, places_of_cuts
from ops.recognition.frame_times import TimedFrames, Timing
from ops.recognition.sources import Source, SourceClips
from ops.recognition.windows import VideoWindows, Window, planned

OPTIONS = ClipOptions(segments=4, input_size=32, test_mode="uniform")
SIDE = (64, 48)


def grey(level: int) -> np.ndarray:
    return np.full((SIDE[1], SIDE[0], 3), level, np.uint8)


def levels(clip: torch.Tensor) -> list[int]:
    """The grey level of each frame of each view, one after the other."""
    return clip.float().mean(dim=(-3, -2, -1)).round().flatten().int().tolist()


def clip_in_testing(video: Path, options: ClipOptions) -> torch.Tensor:
    """What a video that is tested gives."""
    item = SourceClips([Source(str(video), video)], options)[0, 0]
    assert isinstance(item, Sample), item
    return item.clip


@pytest.mark.parametrize(
    ("seconds", "length", "stride", "expected"),
    [
        (6, 2, 2, [(0, 2), (2, 4), (4, 6)]),
        (6, 2, 1, [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6)]),
        (5, 2, 2, [(0, 2), (2, 4), (3, 5)]),  # one more, up to the end
        (2, 2, 1, [(0, 2)]),
        (1.5, 2, 1, [(0, 1.5)]),  # shorter than a window
        (2.0005, 2, 1, [(0, 2)]),  # by less than times are rounded
        (0.7, 0.3, 0.1, [(k / 10, k / 10 + 0.3) for k in range(5)]),  # though 0.7 - 0.3 is 0.39999999999999997
        (0, 2, 1, []),
    ],
)
def test_windows_cover_a_video(seconds: float, length: float, stride: float, expected: list[Any]) -> None:
    found = [(window.start, window.end) for window in planned(0, seconds, length, stride)]
    assert np.array(found) == pytest.approx(np.array(expected))


def test_an_endless_plan_takes_no_memory() -> None:
    plan = planned(0, 1e15, 2, 0.001)
    assert [next(plan).start for _ in range(3)] == [0, 0.001, 0.002]


def turned(path: Path) -> Path:
    return turn(write_video(path / "turned.mp4", 21))


def edited(path: Path) -> Path:
    return cut_by_edit_list(write_video(path / "edited.mp4", 30, bf="2"), 10)


@pytest.mark.parametrize(
    "make",
    [
        turned,
        edited,
        lambda path: write_video(path / "b.mkv", 23, bf="2"),
        lambda path: write_video(path / "b.avi", 23, codec="mpeg4", bf="2"),  # whose times, of packets, are none
        lambda path: write_video(path / "b.ts", 23),
        lambda path: write_video(path / "ten.mp4", 12, pixel_format="yuv420p10le"),
        lambda path: write_video(path / "one.mp4", 1),
        lambda path: write_video(path / "4k.mp4", 2, (3840, 2160), preset="ultrafast"),
        lambda _: SHARED / "cases" / "hevc10.mp4",
        lambda _: SHARED / "cases" / "size_changes.webm",
        lambda _: SHARED / "cases" / "duration_by_clock.mkv",
        lambda _: SHARED / "clips" / "apply_eye_makeup.avi",
    ],
)
def test_a_window_over_a_whole_video_is_its_clip_in_testing(make: Callable[[Path], Path], tmp_path: Path) -> None:
    video = make(tmp_path)
    if not video.exists():
        pytest.skip("no shared videos")
    ((window, clip),) = VideoWindows(video, OPTIONS, 3600, 900)
    assert window.start == 0
    if video.stem == "duration_by_clock":  # its last frame is shown longer than the others
        assert clip.shape == clip_in_testing(video, OPTIONS).shape
    else:
        assert torch.equal(clip, clip_in_testing(video, OPTIONS))


@pytest.mark.parametrize(
    "options",
    [
        ClipOptions(4, 32, test_mode="twice", crops=3, full_res=True),
        ClipOptions(3, 32, test_mode="ten_sparse", sparse_clips=4, crops=10),
        ClipOptions(4, 32, modality="RGBDiff", test_mode="twice"),
        ClipOptions(4, 32, modality="RGBDiff", reverse_time=True),
        ClipOptions(4, 32, reverse_time=True, stored_short_side=40),
        ClipOptions(8, 32, modality="RGBDiff"),
    ],
)
@pytest.mark.parametrize("frames", [31, 7, 4])
def test_every_view_lies_in_a_window_as_in_a_video(options: ClipOptions, frames: int, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", frames)
    ((_, clip),) = VideoWindows(video, options, 10, 1)
    assert torch.equal(clip, clip_in_testing(video, options))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("sampling", ["uniform", "twice"])
def test_constant_and_variable_rates_agree(ending: str, sampling: str, tmp_path: Path) -> None:
    shown = [20 + 3 * k for k in range(60) for _ in range(1 + k % 3)]  # held for one, two, three frames
    changes = [k for k, level in enumerate(shown) if not k or level != shown[k - 1]]
    last = write_pictures(tmp_path / f"constant.{ending}", map(grey, [*shown, 210]))
    changes.append(len(shown))
    pictures = [grey(level) for level in [*(shown[k] for k in changes[:-1]), 210]]
    variable = write_pictures(tmp_path / f"variable.{ending}", pictures, times=[4 * k for k in changes])
    options = ClipOptions(4, 32, test_mode=sampling)
    one, other = ([*VideoWindows(video, options, 1.5, 0.4)] for video in (last, variable))
    assert len(one) == 10
    assert [window for window, _ in one] == [window for window, _ in other]
    assert [levels(clip) for _, clip in one] == [levels(clip) for _, clip in other]
    assert len({tuple(levels(clip)) for _, clip in one}) == 10


def test_a_window_sees_the_frames_that_are_shown_at_its_times(tmp_path: Path) -> None:
    video = write_pictures(tmp_path / "a.mp4", map(grey, range(20, 220, 2)))  # four seconds of 25 frames
    for window, clip in VideoWindows(video, OPTIONS, 1.2, 0.52):
        times = [window.start + (2 * t + 1) / 8 * 1.2 for t in range(4)]
        assert np.abs(np.array(levels(clip)) - [20 + 2 * math.floor(25 * time + 1e-6) for time in times]).max() <= 1


def test_a_video_is_decoded_once_and_only_wanted_frames_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "a.mp4", 200)
    opened, converted = [], []
    frames, upright = frame_times.frames, Upright.__call__
    monkeypatch.setattr(frame_times, "frames", lambda video: opened.append(video) or frames(video))
    monkeypatch.setattr(Upright, "__call__", lambda self, frame: converted.append(frame.pts) or upright(self, frame))
    assert len(list(VideoWindows(video, OPTIONS, 2, 1))) == 7
    assert opened == [video]
    # At 0.25, 0.75, … 7.75 s: every half of a second, which two windows share.
    assert len(converted) == len(set(converted)) == 16


def test_a_cut_off_video_gives_the_windows_of_what_is_there(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", 150, g="10")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(0.7 * whole.stat().st_size)])
    found = VideoWindows(cut, OPTIONS, 1.5, 0.5)
    given = list(found)
    assert found.damage and 80 < found.frames < 150
    assert found.seconds == pytest.approx(found.frames / 25)
    assert [window for window, _ in given] == list(planned(0, found.seconds, 1.5, 0.5))
    for (window, clip), (same, expected) in zip(given[:-1], VideoWindows(whole, OPTIONS, 1.5, 0.5), strict=False):
        assert window == same and torch.equal(clip, expected)
    ((window, clip),) = VideoWindows(cut, OPTIONS, 60, 60)
    assert window == Window(0, found.seconds)


def test_a_video_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    (tmp_path / "b.mp4").touch()
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(DamageError):
            list(VideoWindows(tmp_path / name, OPTIONS, 2, 1))


def test_joined_captures_go_on_in_time(tmp_path: Path) -> None:
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(write_video(tmp_path / f"{k}.ts", 50, seed=k).read_bytes() for k in range(2)))
    found = VideoWindows(both, OPTIONS, 1, 0.5)
    assert [window for window, _ in found] == list(planned(0, 4, 1, 0.5))
    assert (found.frames, found.seconds) == (100, pytest.approx(4))


def test_times_rise_whatever_a_file_says(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mkv", 5, times=[0, 4, 400_000, 400_004, 400_010])  # an hour's leap
    times = [time for time, _ in TimedFrames(video, Timing.of(video))]
    assert times[0] == 0 and all(0 < b - a < 1 for a, b in pairwise(times))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ClipOptions(4, 32, test_mode="dense"), "--protocol dense"),
        (ClipOptions(4, 32, modality="Flow"), "optical flow"),
    ],
)
def test_what_has_no_windows_is_refused(options: ClipOptions, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        VideoWindows(tmp_path / "a.mp4", options, 2, 1)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1, 1, 30, 1, 1], [2]),
        ([30, 30, 30, 30, 30], []),  # all moves
        ([1, 1, 7, 1, 1], []),  # too little
        ([30, 1, 1, 1, 30], [0, 4]),
        ([10, 12, 60, 11, 9], [2]),
        ([30], [0]),
        ([], []),
    ],
)
def test_a_cut_differs_from_what_is_around_it(differences: list[float], expected: list[int]) -> None:
    assert places_of_cuts(np.array(differences, dtype=float)) == expected


def test_no_window_goes_beyond_a_cut(tmp_path: Path) -> None:
    shots = [(40, 40), (200, 12), (90, 50)]  # level, frames
    video = write_pictures(tmp_path / "a.mp4", (grey(level) for level, count in shots for _ in range(count)))
    assert cuts_of(video, Timing.of(video)) == (pytest.approx([1.6, 2.08]), pytest.approx(4.08))
    given = list(VideoWindows(video, OPTIONS, 1, 0.5, at_cuts=True))
    assert [window.shot for window, _ in given] == [0, 0, 0, 1, 2, 2, 2]
    for window, clip in given:
        assert np.abs(np.array(levels(clip)) - shots[window.shot][0]).max() <= 2
    assert given[3][0] == Window(pytest.approx(1.6), pytest.approx(2.08), 1)  # type: ignore[arg-type]


def test_work_ahead_keeps_order_and_faults() -> None:
    assert list(ahead(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(ahead([])) == []

    def faulty() -> Any:
        yield 1
        raise InputError("two")

    items = ahead(faulty())
    assert next(items) == 1
    with pytest.raises(InputError, match="two"):
        next(items)


def test_work_ahead_stops_with_who_asks() -> None:
    made = []
    items = ahead((made.append(k) or k for k in range(1000)), 2)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert len(made) < 10


MEMORY = """
import resource, sys
from pathlib import Path
import torch
from ops.data.clips import ClipOptions
from ops.recognition.windows import VideoWindows
torch.set_num_threads(1)
for _, clip in VideoWindows(Path(sys.argv[1]), ClipOptions(8, 224), 2, 0.5):
    print(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_a_videos_length(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 15000, (320, 240), preset="ultrafast")  # ten minutes
    words = [sys.executable, "-c", MEMORY, str(video)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    resident = np.array([float(line) for line in done.stdout.split()])  # MiB
    assert len(resident) == 1197
    assert resident.max() - resident[0] < 100  # all crops would be 1400
    assert abs(np.median(resident[-300:]) - np.median(resident[300:600])) < 10
