"""test_models.py with several networks, saved scores, named protocols and lists without labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import write_flow
from made_videos import write_video
from programs import python, train

import test_models
from ops.data.catalog import resolve
from ops.data.clips import VideoClips
from ops.data.videofile import video_names
from ops.errors import InputError
from ops.evaluation import results as written
from ops.evaluation.ensemble import Predictions, combine, expected, named_scores, refuse_what_cannot_be_combined
from ops.evaluation.results import write_scores
from ops.model.tsn import build_network, network_options
from ops.programs import testing
from ops.running.distributed import DistributedContext
from opts import testing_options as read_testing_options


@pytest.fixture(scope="module")
def trained(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dataset/demo` with made flow; `a`, `b` (6 segments) and `flow`, three networks of one epoch."""
    root = tmp_path_factory.mktemp("ensemble")
    (root / "dataset").mkdir()
    demo = root / "dataset" / "demo"
    demo.mkdir()
    for entry in (rendered / "demo").iterdir():
        (demo / entry.name).symlink_to(entry)
    for part in ("train", "val"):
        lines = [line.rsplit(" ", 2) for line in (demo / f"{part}_videofolder.txt").read_text().splitlines()]
        for place, (path, _, _) in enumerate(lines):
            write_flow(demo / "flow" / path, [(40 + 3 * place + k, 90 + k) for k in range(7)], packed=place % 2 == 0)
        (demo / f"{part}_videofolder_flow.txt").write_text("".join(f"{path} 7 {label}\n" for path, _, label in lines))
    train(root, "--shift", "--epochs=1", "--store_name=a")
    train(root, "--shift", "--fex=off", "--num_segments=6", "--epochs=1", "--store_name=b", "--lr=0.01")
    train(root, "--shift", "--fex=off", "--epochs=1", "--store_name=flow", modality="Flow")
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs test_models.py on networks or files by their names; returns the result's JSON and the saved scores."""

    def call(names: str, *flags: str) -> dict[str, Any]:
        places = {name: str(trained / "checkpoint" / name / "ckpt.pth") for name in ("a", "b", "flow")}
        weights = ",".join(places.get(name, str(tmp_path / name)) for name in names.split(","))
        out = [f"--result_json={tmp_path / 'r.json'}", f"--save_scores={tmp_path / 's.npz'}"]
        root = ["--root_dataset", str(trained / "dataset")]
        test_models.main(["demo", f"--weights={weights}", *root, "-j", "0", *out, *flags])
        return json.loads((tmp_path / "r.json").read_text()) | {"saved": dict(np.load(tmp_path / "s.npz"))}

    return call


Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def videos(trained: Path) -> None:
    """The validation videos as video files too, `<path>.mp4`."""
    demo = trained / "dataset" / "demo"
    lines = [line.rsplit(" ", 2) for line in (demo / "val_videofolder.txt").read_text().splitlines()]
    for seed, (path, _, _) in enumerate(lines):
        write_video(demo / "videos" / f"{path}.mp4", 8, seed=seed)
    for part in ("train", "val"):
        (demo / f"{part}_videos.txt").write_text("".join(f"{path}.mp4 {label}\n" for path, _, label in lines))


def test_an_ensemble_is_the_weighted_sum_over_its_size(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    alone = {name: run(name)["saved"]["scores"] for name in ("a", "b", "flow")}
    result = run("a,b,flow", "--coeff=1,0.5,2")
    expected = (alone["a"] + 0.5 * alone["b"] + 2 * alone["flow"]) / 3
    assert np.abs(result["saved"]["scores"] - expected).max() <= 1e-6 * np.abs(expected).max()
    assert result["top1"] == pytest.approx(100 * (expected.argmax(1) == result["saved"]["labels"]).mean())
    assert [member["coefficient"] for member in result["members"]] == [1, 0.5, 2]
    assert [member["segments"] for member in result["members"]] == [4, 6, 4]
    assert "Flow" in result["members"][2]["network"] and "top1" in result["members"][0]
    assert "ckpt.pth (x 0.5): top1" in capsys.readouterr().out


def test_the_form_for_evaluation_gives_the_same_scores_and_is_said(run: Run) -> None:
    plain, deployed = run("a", "--no_deploy"), run("a")
    assert (plain["deployed"], deployed["deployed"], deployed["compiled"]) == (False, True, False)
    expected = plain["saved"]["scores"]
    difference = np.abs(deployed["saved"]["scores"] - expected).max()
    assert 0 < difference <= 1e-5 * np.abs(expected).max()  # it is another way to compute them


def test_softmax_comes_before_the_sum(run: Run) -> None:
    alone = [torch.tensor(run(name)["saved"]["scores"]).softmax(dim=1).numpy() for name in ("a", "b")]
    result = run("a,b", "--softmax")
    assert np.abs(result["saved"]["scores"] - sum(alone) / 2).max() < 1e-6
    assert bool(result["saved"]["softmax"])


def test_networks_with_the_same_clips_read_them_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = VideoClips.__getitem__

    def counting(self: VideoClips, key: tuple[int, int]) -> Any:
        read.append(key[1])
        return real(self, key)

    monkeypatch.setattr(VideoClips, "__getitem__", counting)
    run("a,b", "--test_segments=4")
    assert len(read) == 12  # videos
    run("a,b")
    assert len(read) == 12 + 24
    run("a,b", "--test_segments=6,6")
    assert len(read) == 12 + 24 + 12


def test_saved_scores_stand_for_their_network(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("a,flow", "--coeff=1,3")["saved"]["scores"]
    for name in ("a", "flow"):
        run(name)
        (tmp_path / "s.npz").rename(tmp_path / f"{name}.npz")
    mixed = run("a,flow.npz", "--coeff=1,3")["saved"]["scores"]
    monkeypatch.setattr(testing.files, "network_of", None)  # no network is built from here
    monkeypatch.setattr(testing, "VideoClips", None)
    saved = run("a.npz,flow.npz", "--coeff=1,3")
    assert np.abs(saved["saved"]["scores"] - whole).max() < 1e-6 and np.abs(mixed - whole).max() < 1e-6
    assert saved["videos"] == 12
    assert run("a.npz", "--max_num=5")["videos"] == 5


@pytest.mark.usefixtures("videos")
def test_rgb_from_video_files_and_flow_from_frames_are_an_ensemble(run: Run, trained: Path, tmp_path: Path) -> None:
    flags = ["--storage=video", "--max_num=4", f"--csv_file={tmp_path / 'p.csv'}"]
    alone = {name: run(name, *flags)["saved"] for name in ("a", "flow")}
    (tmp_path / "s.npz").rename(tmp_path / "flow.npz")
    lines = (trained / "dataset" / "demo" / "val_videofolder.txt").read_text().splitlines()
    names = [line.rsplit(" ", 2)[0] for line in lines[:4]]
    assert alone["a"]["paths"].tolist() == [f"{name}.mp4" for name in names]  # as they are listed
    expected = (alone["a"]["scores"] + alone["flow"]["scores"]) / 2
    for weights in ("a,flow", "flow.npz,a"):
        both = run(weights, *flags)["saved"]
        assert np.abs(both["scores"] - expected).max() <= 1e-6 * np.abs(expected).max()
        assert [line.split(";")[0] for line in (tmp_path / "p.csv").read_text().splitlines()] == names


def test_a_video_is_known_by_its_path_without_the_ending() -> None:
    paths = ["walk/v0.mp4", "V1.WebM", "clip.v2", "x/clip.v2.avi", "walk/.mp4", "mp4", ".mp4", "a/b.mp4/c", "é.mkv"]
    known = ["walk/v0", "V1", "clip.v2", "x/clip.v2", "walk/.mp4", "mp4", ".mp4", "a/b.mp4/c", "é"]
    assert video_names(paths) == known == video_names(known)
    assert video_names(["v.mp4", "v.webm", "w.mp4", "w.mp4"]) == ["v.mp4", "v.webm", "w", "w"]
    assert video_names(["v", "v.mp4"]) == ["v", "v.mp4"]


def test_an_ensembles_lists_scores_and_clips_are_checked_before_the_first_forward(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "score_videos", lambda *_: pytest.fail("a network was run"))
    lines = (trained / "dataset" / "demo" / "val_videofolder.txt").read_text().splitlines()
    (tmp_path / "fewer.txt").write_text("\n".join(lines[:-1]))
    lists = f"{trained / 'dataset' / 'demo' / 'val_videofolder.txt'},{tmp_path / 'fewer.txt'}"
    fields = [line.rsplit(" ", 2) for line in lines]
    labels = torch.tensor([int(label) for *_, label in fields])
    shares = Predictions("", [f"{path}.mp4" for path, *_ in fields], labels, torch.full((12, 12), 1 / 12), softmax=True)
    categories = (trained / "dataset" / "demo" / "category.txt").read_text().splitlines()
    write_scores(tmp_path / "shares.npz", shares, categories)
    for weights, flags, words in (
        ("a,b", [f"--test_list={lists}"], "an ensemble's lists must name the same videos"),
        ("a,shares.npz", [], r"shares\.npz holds probabilities"),
        ("a,flow", ["--reverse_time"], "flow can't be played backwards"),
    ):
        with pytest.raises(InputError, match=words):
            run(weights, *flags)


def test_each_members_scores_are_kept_as_they_come(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("a,flow,b", "--softmax", "--max_num=3")
    real, calls = testing.score_videos, []

    def dies_in_the_third_pass(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(testing, "score_videos", dies_in_the_third_pass)
        run("a,flow,b", "--softmax", "--max_num=3", f"--save_scores={tmp_path / 'new.npz'}")
    assert {path.name for path in tmp_path.glob("new*")} == {"new.member0.npz", "new.member1.npz"}
    again = run("new.member0.npz,new.member1.npz,b", "--softmax", "--max_num=3")
    assert np.abs(again["saved"]["scores"] - whole["saved"]["scores"]).max() < 1e-6
    assert not bool(np.load(tmp_path / "new.member0.npz")["softmax"])  # good for a sum of logits too


def test_what_took_hours_is_written_before_the_picture(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no font")

    flags = ["--max_num=2", f"--csv_file={tmp_path / 'p.csv'}", f"--report={tmp_path / 'out'}"]
    results = {tmp_path / name for name in ("s.npz", "p.csv", "r.json", "out/confusion_matrix.csv")}
    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"no font.*other results are written"):
        patch.setattr(written, "save_picture", fails)
        run("a", *flags)
    assert all(path.is_file() for path in results) and "top1" in capsys.readouterr().out
    for name, left in (("accuracies", {"s.npz", "p.csv"}), ("write_challenge", {"s.npz"})):
        for path in results:
            path.unlink(missing_ok=True)
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no font"):
            patch.setattr(testing, name, fails)
            run("a", *flags)
        assert {path.name for path in results if path.is_file()} == left


def test_no_output_overwrites_a_member_or_another_output(run: Run, tmp_path: Path) -> None:
    write_scores(tmp_path / "s.member1.npz", predictions("", ["x"], [0]), list("abc"))
    for weights, flags, words in (
        ("s.member1.npz", [f"--save_scores={tmp_path}/s.member1.npz"], r"s\.member1\.npz: it is one of --weights"),
        ("s.member1.npz,a", [], r"s\.member1\.npz: it is one of --weights"),  # a's are to be kept there
        ("a", [f"--csv_file={tmp_path}/r.json"], r"r\.json: .*two outputs are this file"),
    ):
        with pytest.raises(InputError, match=words):
            run(weights, *flags)


def test_a_number_of_the_released_network_says_on_what_it_depends(
    run: Run, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = torch.load(trained / "checkpoint" / "a" / "ckpt.pth")
    options = network_options(content["network"] | {"fex": "released"})
    content |= {"network": asdict(options), "state_dict": build_network(options).state_dict()}
    torch.save(content, tmp_path / "released.pth")
    for names, depends in (("released.pth", True), ("a", False)):
        result = run(names, "--batch_size=4", "--max_num=2")
        assert result["scores_depend_on_grouping"] == depends
        assert (result["batch_size"], result["processes"], result["devices"]) == (4, 1, 1)
        assert result["views_per_forward"] == ("all of a batch" if depends else 16)
    assert "depend on" not in caplog.text
    args = read_testing_options(
        ["demo", f"--weights={tmp_path / 'released.pth'}", "--root_dataset", str(trained / "dataset")]
    )
    monkeypatch.setattr(DistributedContext, "wait", lambda _: None)
    monkeypatch.setattr(DistributedContext, "spread", lambda _, network: network)
    cpu = torch.device("cpu")
    for context in (DistributedContext(cpu, 0, world_size=2), DistributedContext(cpu, gpus=(0, 1))):
        caplog.clear()
        member = testing.build_member(args, 0, resolve("demo", trained / "dataset"), context)
        assert "the released network's scores depend on" in caplog.text and context.describe() in caplog.text
        assert (member.facts["processes"], member.facts["devices"]) == (context.world_size, 2)


def test_a_list_without_labels_gives_predictions_only(
    run: Run, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = run("a")["saved"]
    lines = (trained / "dataset" / "demo" / "val_videofolder.txt").read_text().splitlines()
    (tmp_path / "list.txt").write_text("".join(line.rsplit(" ", 1)[0] + " -1\n" for line in lines))
    listed = f"--test_list={tmp_path / 'list.txt'}"
    result = run("a", listed, f"--csv_file={tmp_path / 'p.csv'}")
    assert "top1" not in result and set(result["saved"]["labels"]) == {-1}
    assert np.array_equal(result["saved"]["scores"], labelled["scores"])
    assert "no labels: predictions are written" in capsys.readouterr().out
    names = labelled["categories"][labelled["scores"].argmax(1)]
    expected = [f"{path};{name}" for path, name in zip(labelled["paths"], names, strict=True)]
    assert (tmp_path / "p.csv").read_text().splitlines() == expected
    with pytest.raises(InputError, match="leave it out"):
        run("a", listed, f"--report={tmp_path / 'report'}")
    weights = trained / "checkpoint" / "a" / "ckpt.pth"
    with pytest.raises(InputError, match="--csv_file or --save_scores"):
        test_models.main(["demo", f"--weights={weights}", "--root_dataset", str(trained / "dataset"), listed, "-j0"])


@pytest.mark.parametrize(
    ("protocol", "flags", "views", "crop"),
    [
        ("efficient", [], 1, 32),
        ("accurate", ["--twice_sample", "--test_crops=3", "--full_res"], 6, 36),
        ("dense", ["--dense_sample", "--test_crops=3", "--full_res"], 30, 36),
    ],
)
def test_a_protocol_is_its_flags(run: Run, protocol: str, flags: list[str], views: int, crop: int) -> None:
    named, spelled = run("a", f"--protocol={protocol}"), run("a", *flags)
    assert (named["views"], named["crop_size"]) == (views, crop)
    assert np.array_equal(named["saved"]["scores"], spelled["saved"]["scores"])


def test_every_view_of_flow_and_rgbdiff(run: Run, trained: Path) -> None:
    assert run("flow", "--protocol=dense")["views"] == 30
    assert run("flow", "--test_crops=10", "--ten_clip_sparse")["views"] == 30


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights=a,b,c", "--coeff=1,2"], "--coeff has 2 values for 3 --weights"),
        (["--weights=a,b", "--test_segments=8,8,8"], "--test_segments has 3 values"),
        (["--weights=a", "--test_segments=0"], "--test_segments 0: expected 1 or more"),
        (["--weights=a", "--coeff=much"], "expected numbers with commas"),
        (["--weights=a", "--coeff=nan"], "expected finite numbers"),
        (["--weights=a", "--protocol=acurate"], "--protocol acurate: .*did you mean accurate"),
        (["--weights=a", "--protocol=dense", "--twice_sample"], "says the views: leave out --twice_sample"),
    ],
)
def test_wrong_flags(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_testing_options(["demo", *flags])


def test_add_se_is_the_checkpoints_to_say(run: Run) -> None:
    with pytest.raises(InputError, match=r"--add_se: .*ckpt\.pth has no squeeze-and-excitation"):
        run("a", "--add_se")


def predictions(source: str, paths: list[str], labels: list[int], **changes: Any) -> Predictions:
    return Predictions(source, paths, torch.tensor(labels), torch.ones(len(paths), 3), **changes)


def test_videos_are_matched_by_their_paths_and_the_unreadable_left_out() -> None:
    one = Predictions("one", ["x", "y"], torch.tensor([0, 1]), torch.tensor([[1.0, 0], [2, 0]]))
    two = Predictions("two", ["z", "y"], torch.tensor([1, 1]), torch.tensor([[9.0, 9], [0, 4]]), left_out=("x",))
    one = Predictions("one", ["x", "y", "z"], torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0], [2, 0], [3, 1]]))
    both = combine([one, two], [1, 1])
    assert both.paths == ["y", "z"] and both.left_out == ("x",)
    assert both.scores.tolist() == [[1, 2], [6, 5]]


def test_a_list_may_name_a_video_twice() -> None:
    twice = Predictions("one", ["x", "x"], torch.tensor([0, 1]), torch.tensor([[1.0, 0], [1.0, 0]]))
    both = combine([twice, twice], [1, 1])
    assert both.paths == ["x", "x"] and both.labels.tolist() == [0, 1]
    lost = Predictions("two", ["x", "x", "y"], torch.tensor([0, 1, 1]), torch.ones(3, 2))
    both = combine([lost, replace(twice, left_out=("y",))], [1, 1])  # the lists were the same
    assert both.paths == ["x", "x"] and both.left_out == ("y",) and both.scores.tolist() == [[1, 0.5]] * 2
    other = Predictions("two", ["x", "x", "y"], torch.tensor([0, 1, 1]), torch.ones(3, 2))
    with pytest.raises(InputError, match="the same order"):
        combine([other, Predictions("three", ["y", "x", "x"], torch.tensor([1, 0, 1]), torch.ones(3, 2))], [1, 1])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (predictions("two", ["x"], [0]), r"two has no scores of y \(1 such\), which one has"),
        (predictions("two", ["x", "y", "z"], [0, 1, 1]), "one has no scores of z"),
        (predictions("two", ["x", "y"], [0, 2]), "two and one give y different labels"),
        (predictions("two", ["x", "y"], [0, -1]), "different labels, -1 and 1"),
        (predictions("two", ["x", "y"], [0, 1], softmax=True), "two holds probabilities"),
        (predictions("two", ["x.mp4", "y.mkv", "y.mp4"], [0, 1, 1]), r"two has no scores of y \(1 such\)"),
        (predictions("two", ["y", "x", "x"], [1, 0, 0]), "two names a video twice"),
        (Predictions("two", ["x", "y"], torch.tensor([0, 1]), torch.ones(2, 4)), "two has 4 classes and one 3"),
    ],
)
def test_members_that_do_not_fit(other: Predictions, words: str) -> None:
    paths = ["x", "x", "y"] if "twice" in words else ["x", "y"]
    one = predictions("one", paths, [0, 0, 1] if "twice" in words else [0, 1])
    with pytest.raises(InputError, match=words):
        combine([one, other], [1, 1], video_names)
    to_come = [expected(p.source, p.paths, p.labels, p.scores.shape[1], p.softmax) for p in (one, other)]
    for members in ([one, to_come[1]], [to_come[0], other], to_come):  # scores of a file and of a network
        with pytest.raises(InputError, match=words):
            refuse_what_cannot_be_combined(members, video_names)


def test_foreign_and_damaged_score_files(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.npz: no such file"):
        run("nowhere.npz")
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.savez(tmp_path / "objects.npz", paths=np.array([{}], dtype=object))
    for name in ("text.npz", "other.npz", "objects.npz"):
        with pytest.raises(InputError, match="not scores that --save_scores wrote"):
            run(name)
    saved = run("a")["saved"]
    np.savez(tmp_path / "classes.npz", **{**saved, "categories": saved["categories"][::-1]})
    with pytest.raises(InputError, match="scores of other classes"):
        run("classes.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.array([0, 7])}, "labels from 0 to 7 of 2 classes"),
        ({"labels": np.array([0, -2])}, "labels from -2 to 0 of 2 classes"),
        ({"paths": np.array("x")}, "do not go together"),
        ({"paths": np.array([1, 2])}, "do not go together"),
        ({"categories": np.array([], str), "scores": np.ones((2, 0))}, "do not go together"),
        ({"scores": np.array([[1, np.nan], [0, 1]])}, "x"),
    ],
    ids=str,
)
def test_damaged_scores_are_refused_in_words(changes: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    whole = {
        "paths": np.array(["x", "y"]),
        "labels": np.array([0, 1]),
        "scores": np.eye(2),
        "categories": np.array(["a", "b"]),
        "softmax": np.array(False),
        "left_out": np.array([], str),
    }
    np.savez(tmp_path / "s.npz", **(whole | changes))
    with pytest.raises(InputError, match=words):
        named_scores(tmp_path / "s.npz")
    np.save(tmp_path / "one", np.eye(2))
    (tmp_path / "one.npy").rename(tmp_path / "s.npz")
    with pytest.raises(InputError, match="not scores that --save_scores wrote"):
        named_scores(tmp_path / "s.npz")


def test_two_processes_ensemble_every_video_once(run: Run, trained: Path, tmp_path: Path) -> None:
    alone = run("a,flow")["saved"]
    weights = ",".join(str(trained / "checkpoint" / name / "ckpt.pth") for name in ("a", "flow"))
    done = python(
        *("-m", "torch.distributed.run", "--nproc_per_node=2", "test_models.py", "demo", f"--weights={weights}"),
        *("--root_dataset", str(trained / "dataset"), "-j", "0", f"--save_scores={tmp_path / 'two.npz'}"),
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    two = np.load(tmp_path / "two.npz")
    assert two["paths"].tolist() == alone["paths"].tolist()
    assert np.abs(two["scores"] - alone["scores"]).max() < 1e-5
