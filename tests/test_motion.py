"""test_models.py --motion: the frames in other orders; and scores that are no numbers, from wherever they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_networks import save_network
from programs import evaluate
from torch import nn

from ops.errors import InputError
from ops.evaluation import motion
from ops.evaluation.ensemble import Predictions, combine, named_scores
from ops.evaluation.metrics import wilson_interval
from ops.evaluation.motion import BACKWARDS, FROZEN, IN_ORDER, ORDERS, SHUFFLED, places, reordered
from ops.evaluation.results import write_scores
from ops.evaluation.scores import Scorer, score_videos
from ops.model.deploy import refuse_other_scores
from ops.running.distributed import DistributedContext
from opts import testing_options as read_testing_options

CPU = DistributedContext(torch.device("cpu"))


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_the_places_of_the_frames(frames: int) -> None:
    in_order = list(range(frames))
    assert places(IN_ORDER, frames, 0) == in_order and places(BACKWARDS, frames, 0) == in_order[::-1]
    assert places(FROZEN, frames, 0) == [frames // 2] * frames
    drawn = [places(SHUFFLED, frames, index) for index in range(40)]
    assert all(sorted(order) == in_order != order for order in drawn)
    assert drawn == [places(SHUFFLED, frames, index) for index in range(40)]
    assert frames == 2 or len(set(map(tuple, drawn))) > frames // 2


@pytest.mark.parametrize(("L", "c"), [(1, 3), (6, 3)], ids=["RGB", "RGBDiff"])
@pytest.mark.parametrize("order", ORDERS)
def test_all_frames_of_every_view_are_reordered(order: str, L: int, c: int) -> None:
    V, T, H, W = 2, 4, 3, 5
    frames = torch.randint(0, 255, (V, T * L, c, H, W), dtype=torch.uint8)
    clip = frames.reshape(V, T, L * c, H, W)
    found = reordered(order, L, clip, index=3).reshape(V, T * L, c, H, W)
    assert torch.equal(found, torch.stack([frames[:, place] for place in places(order, T * L, 3)], dim=1))


class Weighted(nn.Module):
    """Scores of clips (N, T, C, H, W): how bright the frames are, each weighing more than the one before."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        bright = clips.double().mean(dim=(2, 3, 4))  # (N, T)
        return torch.stack(
            [bright @ (2.0 ** torch.arange(clips.shape[1], dtype=torch.float64)), bright.sum(dim=1)], dim=1
        )


def test_every_video_is_scored_in_each_order_whatever_its_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randint(0, 255, (2, 4, 3, 2, 2), generator=generator, dtype=torch.uint8) for _ in range(5)]
    videos = [SimpleNamespace(clip=clip, label=0, index=7 + place) for place, clip in enumerate(clips)]
    scorer = Scorer(Weighted(), 3)
    scorers = [scorer, *motion.other_orders(scorer, 1)]
    alone, together = (score_videos(scorers, videos, CPU, batch_size).scores for batch_size in (1, 3))
    for place, order in enumerate(ORDERS):
        seen = torch.stack([clip[:, places(order, 4, 7 + k)] for k, clip in enumerate(clips)])  # (N, V, T, C, H, W)
        expected = Weighted()(seen.flatten(0, 1)).unflatten(0, (5, 2)).mean(dim=1)
        assert torch.allclose(alone[place].double(), expected) and torch.equal(alone[place], together[place])


def test_how_much_a_class_depends_on_motion() -> None:
    labels, eye = torch.tensor([0, 0, 1, 2]), torch.eye(4)
    taken = {IN_ORDER: [0, 0, 1, 2], SHUFFLED: [0, 1, 1, 2], BACKWARDS: [1, 1, 0, 2], FROZEN: [3, 3, 3, 3]}
    of = Predictions("made", list("wxyz"), labels, eye[labels])
    found = motion.motion(of, [eye[torch.tensor(taken[order])] for order in ORDERS])
    assert found.videos.tolist() == [2, 1, 1, 0]
    assert {order: right.tolist() for order, right in found.right.items()} == {
        IN_ORDER: [2, 1, 1, 0], SHUFFLED: [1, 1, 1, 0], BACKWARDS: [0, 0, 1, 0], FROZEN: [0, 0, 0, 0],
    }  # fmt: skip
    assert found.total(SHUFFLED) == pytest.approx((75, *(100 * end for end in wilson_interval(3, 4))))
    with pytest.raises(InputError, match=r"^made, frames backwards: scores of 1 of 4 videos .*: y"):
        scores = [eye[labels].clone() for _ in ORDERS]
        scores[2][2, 0] = torch.nan
        motion.motion(of, scores)


def test_the_programs_numbers_are_those_of_its_other_tests(demo: Path) -> None:
    weights = save_network(demo / "ckpt.pth", num_segments=4)
    backwards, forwards = demo / "backwards.json", demo / "forwards.json"
    flags = ["--batch_size=5", "--twice_sample", "--no_deploy"]
    evaluate(demo, weights, *flags, "--motion", f"--result_json={forwards}", f"--report={demo / 'out'}")
    evaluate(demo, weights, *flags, "--reverse_time", f"--result_json={backwards}")
    result = json.loads(forwards.read_text())
    shares = {order: result["motion"][order]["top1"] for order in ORDERS}
    assert shares[IN_ORDER] == result["top1"] and shares[BACKWARDS] == json.loads(backwards.read_text())["top1"]
    with (demo / "out" / "motion.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(np.mean([float(row[order]) for row in rows]) == pytest.approx(shares[order]) for order in ORDERS)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights=a,b"], "--motion: is of one network, and --weights has 2"),
        (["--weights=a.npz"], r"--motion: runs the network: give its checkpoint, not its scores a\.npz"),
        (["--weights=a", "--reverse_time"], "--motion: leave out --reverse_time"),
    ],
)
def test_wrong_flags(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_testing_options(["demo", "--motion", *flags])


@pytest.mark.parametrize(
    ("modality", "frames", "words"), [("Flow", 40, "flow is the motion between two frames"), ("RGB", 1, "one frame")]
)
def test_what_has_no_order_to_change_is_refused(modality: str, frames: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        motion.refuse_without_order(modality, frames)
    motion.refuse_without_order("RGBDiff", 6)


def of_a_file(path: Path, predictions: Predictions) -> None:
    write_scores(path, predictions, ["a", "b"])
    named_scores(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("come_in", [lambda path, found: combine([found], [1.0]), of_a_file], ids=["network", "file"])
def test_scores_that_are_no_numbers_are_refused_by_name(
    tmp_path: Path, value: float, come_in: Callable[[Path, Predictions], object]
) -> None:
    scores = torch.zeros(8, 2)
    scores[1:7, 1] = value
    paths = [f"video {place}" for place in range(8)]
    with pytest.raises(InputError, match=r"6 of 8 videos are infinite or no numbers.*: video 1, .*video 5, …\. "):
        come_in(tmp_path / "s.npz", Predictions("s.npz", paths, torch.zeros(8, dtype=torch.long), scores))
    scores[1:7, 1] = 0
    come_in(tmp_path / "s.npz", Predictions("s.npz", paths, torch.zeros(8, dtype=torch.long), scores))


def test_a_ruined_network_is_refused(demo: Path) -> None:
    weights = save_network(demo / "ckpt.pth")
    content = torch.load(weights)
    content["state_dict"]["new_fc.bias"][0] = 3e38  # each frame's score is a number, their sum is none
    torch.save(content, weights)
    with pytest.raises(InputError, match=r"of 12 of 12 videos are infinite .*val_00_0000"):
        evaluate(demo, weights, f"--result_json={demo / 'r.json'}")
    assert not (demo / "r.json").exists()
    with pytest.raises(InputError, match="net: its scores of a clip are infinite or no numbers"):
        refuse_other_scores("net", torch.zeros(2), torch.tensor([0.0, torch.inf]))
