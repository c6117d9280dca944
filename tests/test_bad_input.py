"""The mistakes a user makes, each met with an error that names the file, line or flag, and the remedy."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from programs import TINY, evaluate, python, train
from published import save_published

from ops.data.records import read_list
from ops.errors import InputError
from ops.running.checkpoint import read_checkpoint, save_checkpoint
from opts import testing_options as read_testing_options
from opts import training_options


@pytest.fixture(scope="session")
def trained(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a FEXNet trained for an epoch on `demo`. Not to be changed."""
    root = tmp_path_factory.mktemp("trained")
    (root / "dataset").mkdir()
    shutil.copytree(rendered / "demo", root / "dataset" / "demo")
    return train(root, "--shift", "--epochs", "1", "--store_name", "run") / "run" / "ckpt.pth"


def first_video(root: Path, split: str = "val") -> Path:
    """The folder of the first listed video."""
    demo = root / "dataset" / "demo"
    return demo / "frames" / read_list(demo / f"{split}_videofolder.txt", 12)[0].path


# What is wrong with the first validation video: how it is broken, and words of the error.
BROKEN_VIDEOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing folder": (shutil.rmtree, "does not exist"),
    "missing frame": (lambda folder: [p.unlink() for p in folder.glob("*.jpg") if int(p.stem) > 1], "promises"),
    "truncated": (lambda folder: [p.write_bytes(p.read_bytes()[:700]) for p in folder.glob("*.jpg")], "00001.jpg"),
    "text": (lambda folder: [p.write_text("no picture") for p in folder.glob("*.jpg")], "00001.jpg"),
    "other size": (
        lambda folder: [Image.new("RGB", (60, 50)).save(p) for p in sorted(folder.glob("*.jpg"))[5:]],
        "of the same video",
    ),
}


@pytest.mark.parametrize("broken", BROKEN_VIDEOS)
def test_an_unreadable_video_stops_or_is_counted(
    demo: Path, trained: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    breaking, words = BROKEN_VIDEOS[broken]
    folder = first_video(demo)
    breaking(folder)
    every_frame = ["--test_segments=16"]
    with pytest.raises(InputError) as caught:
        evaluate(demo, trained, *every_frame)
    assert folder.name in str(caught.value) and words in str(caught.value)
    assert "--bad_frames skip" in str(caught.value)
    evaluate(demo, trained, *every_frame, "--bad_frames=skip", f"--result_json={demo / 'r.json'}")
    result = json.loads((demo / "r.json").read_text())
    assert (result["videos"], result["skipped"]) == (11, 1)
    assert "1 unreadable" in capsys.readouterr().out


def test_training_stops_at_an_unreadable_video_or_counts_it(demo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = first_video(demo, "train")
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=folder.name):
        train(demo, "--epochs", "1", "-j", "2")
    train(demo, "--epochs", "1", "--bad_frames", "skip", "--overwrite")
    assert "23 videos" in capfd.readouterr().err
    (row,) = csv.DictReader(next((demo / "log").glob("*/log.csv")).open())
    assert (row["train_skipped"], row["val_skipped"]) == ("1", "0")


def test_a_whole_unreadable_list_is_an_error_whatever_the_policy(demo: Path, trained: Path) -> None:
    shutil.rmtree(demo / "dataset" / "demo" / "frames")
    (demo / "dataset" / "demo" / "frames").mkdir()
    with pytest.raises(InputError, match="not one of the 12 videos"):
        evaluate(demo, trained, "--bad_frames=skip")
    with pytest.raises(InputError, match="no readable video in the whole pass"):
        train(demo, "--epochs", "1", "--bad_frames", "skip")
    with pytest.raises(InputError, match="the first 8 videos are unreadable"):
        train(demo, "--shift", "--epochs", "1", "--bad_frames", "skip", "--overwrite")


def test_every_bad_line_of_a_list_is_reported_at_once(demo: Path, trained: Path) -> None:
    listed = demo / "dataset" / "demo" / "val_videofolder.txt"
    listed.write_text("# comment\n\nvideo one 12 0\nvideo 0 3\nvideo 5 12\nvideo x 1\nonly\n")
    with pytest.raises(InputError) as caught:
        evaluate(demo, trained)
    message = str(caught.value)
    for line, text in ((4, "video 0 3"), (5, "video 5 12"), (6, "video x 1"), (7, "only")):
        assert str(line) in message and text in message
    assert "video one" not in message and str(listed) in message


def test_testing_needs_no_training_list(demo: Path, trained: Path) -> None:
    (demo / "dataset" / "demo" / "train_videofolder.txt").write_bytes("walk/v0,8,0\n".encode("utf-16"))
    evaluate(demo, trained, f"--result_json={demo / 'r.json'}")
    data = json.loads((demo / "r.json").read_text())["data"]
    assert data["content"] == "missing" and data["train"] != "missing"


def test_an_empty_list_and_missing_files(demo: Path, trained: Path) -> None:
    folder = demo / "dataset" / "demo"
    (folder / "val_videofolder.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"val_videofolder\.txt"):
        evaluate(demo, trained)
    (folder / "val_videofolder.txt").unlink()
    with pytest.raises(InputError, match=r"tools/make_demo_dataset\.py"):
        evaluate(demo, trained)
    (folder / "category.txt").unlink()
    with pytest.raises(InputError, match=r"category.txt.*tools/make_demo_dataset.py"):
        evaluate(demo, trained)


def test_a_short_video_is_fine(demo: Path, trained: Path) -> None:
    listed = demo / "dataset" / "demo" / "val_videofolder.txt"
    path, _, label = listed.read_text().splitlines()[0].rsplit(" ", 2)
    listed.write_text(f"{path} 2 {label}\n")
    evaluate(demo, trained, f"--result_json={demo / 'r.json'}")
    assert json.loads((demo / "r.json").read_text())["videos"] == 1


def test_a_batch_larger_than_the_list(demo: Path) -> None:
    with pytest.raises(InputError, match="24 videos"):
        train(demo, "--epochs", "1", "--batch-size", "32")


@pytest.mark.parametrize(
    "flags", [["--shift"], ["--npb", "--num_segments=1"], ["--shift", "--fex=off", "--npb", "--num_segments=1"]]
)
def test_a_batch_too_small_for_batchnorm_is_refused_before_data_are_read(demo: Path, flags: list[str]) -> None:
    (demo / "dataset" / "demo" / "train_videofolder.txt").unlink()
    with pytest.raises(InputError, match=r"a BatchNorm .* 1 video a device: raise --batch-size .*--npb"):
        train(demo, *flags, "-b", "1")
    with pytest.raises(InputError, match="train_videofolder"):  # two are enough
        train(demo, *flags, "-b", "2")


# Checkpoints


def test_a_missing_and_a_truncated_checkpoint(demo: Path, trained: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.pth: no such checkpoint"):
        evaluate(demo, demo / "nowhere.pth")
    damaged = demo / "damaged.pth"
    damaged.write_bytes(trained.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"damaged.pth: damaged"):
        evaluate(demo, damaged)
    damaged.write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"damaged.pth: refused: it is damaged"):
        evaluate(demo, damaged)
    torch.save([1, 2], damaged)
    with pytest.raises(InputError, match="state_dict"):
        evaluate(demo, damaged)


class Malice:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(demo: Path, protocol: int) -> None:
    proof = demo / "proof"
    evil = demo / "TSM_demo_RGB_resnet18_avg_segment4_e1.pth"
    torch.save({"state_dict": {}, "extra": Malice(proof)}, evil, pickle_protocol=protocol)
    with pytest.raises(InputError, match=r"refused.*could run code"):
        evaluate(demo, evil)
    evil.write_bytes(pickle.dumps({"state_dict": {}, "extra": Malice(proof)}, protocol=protocol))
    with pytest.raises(InputError, match=r"refused.*could run code"):
        evaluate(demo, evil)
    assert not proof.exists()


def test_classes_of_another_data_set_are_refused_by_name(demo: Path, trained: Path) -> None:
    category = demo / "dataset" / "demo" / "category.txt"
    names = category.read_text().splitlines()
    names[3] = "waving"
    category.write_text("\n".join(names))
    with pytest.raises(InputError, match="class 3 is 'moving something up' there and 'waving' here"):
        evaluate(demo, trained)
    with pytest.raises(InputError, match="waving"):
        train(demo, "--shift", "--epochs", "2", "--resume", str(trained))


def test_a_published_checkpoint_of_another_number_of_classes(demo: Path, golden: Path) -> None:
    keys = json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"]
    weights = demo / "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4_e50.pth"
    save_published(weights, golden, keys)
    with pytest.raises(InputError, match="11 classes there, 12 here"):
        evaluate(demo, weights)
    with pytest.raises(InputError, match="--tune_from"):
        train(demo, "--shift", "--fex=off", "--resume", str(weights))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.pth", "named like"),
        ("TSM_something_RGB_resnet50_shift8_blockres_avg_segment4_e50.pth", "tensors are of resnet18"),
        ("TSM_something_RGB_resnet18_avg_segment4_e50.pth", "_shift<div>_<place>"),
        ("TSM_something_RGB_resnet18_shift8_block_avg_segment4_e50.pth", "another network's"),
    ],
)
def test_a_published_checkpoint_whose_name_does_not_fit(something: Path, golden: Path, name: str, words: str) -> None:
    keys = json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"]
    save_published(something / name, golden, keys)
    with pytest.raises(InputError, match=words):
        evaluate(something, something / name, dataset="something")


def test_resuming_nothing_another_network_or_a_finished_run(demo: Path, trained: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        train(demo, "--resume", str(demo / "nowhere.pth"))
    with pytest.raises(InputError, match="shift is True there and False here"):
        train(demo, "--epochs", "2", "--resume", str(trained))
    with pytest.raises(InputError, match="partial_bn is True there and False here"):
        train(demo, "--shift", "--npb", "--epochs", "2", "--resume", str(trained))
    with pytest.raises(InputError, match="has 1 epochs"):
        train(demo, "--shift", "--epochs", "1", "--resume", str(trained))


def test_tuning_from_another_backbone(demo: Path, trained: Path) -> None:
    flags = list(TINY)
    flags[flags.index("--arch") + 1] = "resnet50"
    with pytest.raises(InputError, match="its backbone is resnet18: give the same --arch"):
        train(demo, *flags, "--epochs", "1", "--tune_from", str(trained))


def test_a_crash_while_saving_keeps_the_former_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.pth"
    content = {"network": {"num_classes": 1}, "categories": [], "dataset": "demo", "state_dict": {"a": torch.ones(1)}}
    save_checkpoint(path, content)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(path, {**content, "extra": lambda: None})
    assert torch.equal(read_checkpoint(path).state_dict["a"], torch.ones(1))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere.pth", "no such file"),
        ("imagenett", "no such file"),
        ("wrong.pth", "not the weights of a resnet18"),
        ("text.pth", "not readable"),
    ],
)
def test_a_wrong_pretrained_backbone(demo: Path, monkeypatch: pytest.MonkeyPatch, value: str, words: str) -> None:
    monkeypatch.chdir(demo)
    torch.save({"conv1.weight": torch.ones(1)}, "wrong.pth")
    Path("text.pth").write_text("text")
    with pytest.raises(InputError, match=words):
        train(demo, "--epochs", "1", "--pretrain", value)


def test_an_imagenet_download_that_fails_says_what_to_do(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", unreachable)
    with pytest.raises(InputError, match=r"no route to host.*--pretrain FILE.*--pretrain none"):
        train(demo, "--epochs", "1", "--pretrain", "imagenet")


@pytest.mark.parametrize("content", [{"format": 1}, {"format": 9, "network": {}}, {"format": "x"}])
def test_a_checkpoint_without_what_it_must_have(tmp_path: Path, content: dict[str, object]) -> None:
    torch.save({"state_dict": {}, **content}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: (not a checkpoint|format)"):
        read_checkpoint(tmp_path / "a.pth")


def test_results_that_cannot_be_written_are_refused_before_the_work(demo: Path, trained: Path) -> None:
    (demo / "file").write_text("")
    with pytest.raises(InputError, match="its folder can't be made"):
        evaluate(demo, trained, f"--result_json={demo}/file/r.json")
    with pytest.raises(InputError, match="can't be written there"):
        evaluate(demo, trained, f"--result_json={demo}")


def test_processes_started_without_torchrun() -> None:
    done = python("main.py", "demo", "RGB", WORLD_SIZE="2")
    assert done.returncode == 2 and "torchrun" in done.stderr and "Traceback" not in done.stderr


def test_a_published_checkpoint_of_another_data_set_with_as_many_classes(something: Path, golden: Path) -> None:
    keys = json.loads((golden / "end_to_end" / "tsm.json").read_text())["keys"]
    weights = something / "TSM_somethingv2_RGB_resnet18_shift8_blockres_avg_segment4_e50.pth"
    save_published(weights, golden, keys)
    with pytest.raises(InputError, match="not trained on the classes of 'something', but on 'somethingv2'"):
        evaluate(something, weights, dataset="something")


# Flags


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["demoo", "RGB"], "unknown data set .demoo. .did you mean demo"),
        (["demo", "rgb"], "modality rgb: expected one of RGB"),
        (["demo", "RGB", "--arch=resnet5"], "--arch resnet5: .*did you mean resnet50"),
        (["demo", "RGB", "--shift", "--shift_place=blokres"], "--shift_place blokres: .*did you mean blockres"),
        (["demo", "RGB", "--shift", "--shift_place=block"], "--fex off"),
        (["demo", "RGB", "--fexx=off"], "unknown: --fexx=off .did you mean --fex"),
        (["demo", "RGB", "--shfit"], "did you mean --shift"),
        (["demo", "RGB", "--evaluate"], "--resume FILE"),
        (["demo", "RGB", "--epochs=0"], "--epochs 0: expected 1 or more"),
        (["demo", "RGB", "--eval-freq=-1"], "--eval-freq -1: expected 0 or more"),
        (["demo", "RGB", "--shift", "--shift_div=1"], "--shift_div 1: expected 2 or more, as two folds"),
        (["demo", "RGB", "--lr_steps", "20", "-4"], "--lr_steps -4: expected"),
        (["demo", "RGB", "--lr_steps", "nan"], "--lr_steps nan: expected"),
        (["demo", "RGB", "--epochs=many"], "--epochs: invalid int value"),
        (["demo", "RGB", "-b", "0"], "--batch-size 0: expected 1 or more"),
        (["demo", "RGB", "--gd=-1"], "--gd -1"),
        (["demo", "RGB", "--dropout=1"], "--dropout 1.0: expected a number from 0 to below 1"),
        (["demo", "RGB", "--lr=-1"], "--lr -1"),
        (["demo", "RGB", "--lr=nan"], "--lr nan"),
        (["demo", "RGB", "--start-epoch=3"], "--resume"),
        (["demo"], "modality"),
    ],
)
def test_wrong_training_flags(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        training_options(flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["demo"], "--weights"),
        (["demo", "--weights=x", "--test_crops=4"], "--test_crops 4: expected one of 1, 3, 5, 10"),
        (["demo", "--weights=x", "--twice_sample", "--dense_sample"], "exclude each other"),
        (["demo", "--weights=x", "--max_num=0"], "--max_num"),
        (["demo", "--weights=x", "--save_scores=a.txt"], "npz"),
        (["demo", "--weights=x", "--ten_clip_count=5"], "3 .as released. or 10"),
    ],
)
def test_wrong_testing_flags(flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_testing_options(flags)


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        training_options(["dmo", "RGB", "--arch=x", "--epochs=-1", "--frobnicate"])
    for words in ("unknown data set 'dmo'", "--arch x", "--epochs -1", "--frobnicate"):
        assert words in str(caught.value)


def test_flags_without_effect_are_accepted_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    training_options(["demo", "RGB", "--snapshot_pref=x", "--k=4"])
    assert "--snapshot_pref has no effect" in caplog.text and "--k has no effect" in caplog.text


def test_a_user_sees_one_line_and_no_traceback() -> None:
    done = python("main.py", "demoo", "RGB")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown data set 'demoo'") and "Traceback" not in done.stderr
    assert python("test_models.py", "--help").returncode == 0
