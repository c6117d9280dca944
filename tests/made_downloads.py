"""Each data set as it is downloaded, made small: the official label files in their formats, and frames or videos."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from made_videos import write_video
from PIL import Image


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def frame_folders(root: Path, names: Sequence[str]) -> None:
    """Folder k has 3 + k frames."""
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(1, 4 + k):
            pixels = np.full((48, 64, 3), (37 * k + 11 * number) % 256, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:05d}.jpg")


def video_files(root: Path, names: Sequence[str]) -> None:
    """Video k has 3 + k frames."""
    for k, name in enumerate(names):
        codec = "libvpx-vp9" if name.endswith("webm") else "mpeg4" if name.endswith("avi") else "libx264"
        write_video(root / name, 3 + k, codec=codec, seed=k)


def something(labels: Path, media: Path) -> None:
    prefix = "something-something-v1"
    categories = ["Pulling something from left to right", "Pulling something from right to left"]
    write(labels / f"{prefix}-labels.csv", "".join(f"{name}\n" for name in categories))
    write(labels / f"{prefix}-train.csv", "".join(f"{k};{categories[0]}\n" for k in (1, 2)))
    write(labels / f"{prefix}-validation.csv", f"3;{categories[1]}\n")
    write(labels / f"{prefix}-test.csv", "4\n")
    frame_folders(media, ["1", "2", "3", "4"])


def jester(labels: Path, media: Path) -> None:
    write(labels / "jester-v1-labels.csv", "Swiping Left\nSwiping Right\n")
    write(labels / "jester-v1-train.csv", "10;Swiping Right\n11;Swiping Left\n")
    write(labels / "jester-v1-validation.csv", "12;Swiping Left\n")
    frame_folders(media, ["10", "11", "12"])


def somethingv2(labels: Path, media: Path) -> None:
    classes = ["Approaching something with your camera", "Holding something in front of something"]
    write(labels / "labels.json", json.dumps({classes[1]: "1", classes[0]: "0"}))
    entries = [
        {"id": "77", "label": "holding a cup in front of a bin",
         "template": "Holding [something] in front of [something]", "placeholders": ["a cup", "a bin"]},
        {"id": "78", "label": "approaching a tree with your camera",
         "template": "Approaching [something] with your camera", "placeholders": ["a tree"]},
    ]  # fmt: skip
    write(labels / "train.json", json.dumps(entries))
    write(labels / "validation.json", json.dumps([{**entries[1], "id": "79"}]))
    write(labels / "test.json", json.dumps([{"id": "80"}]))
    video_files(media, ["77.webm", "78.webm", "79.webm", "80.webm"])


def kinetics(labels: Path, media: Path) -> None:
    head = "label,youtube_id,time_start,time_end,split\n"
    write(labels / "train.csv", head + 'tai chi,-abc_DEF123,5,15,train\n"eating, fast",xyzXYZ00000,120,130,train\n')
    write(labels / "validate.csv", head + "tai chi,qwertyuiop0,0,10,validate\n")
    write(labels / "test.csv", "youtube_id,time_start,time_end,split\nnolabel0000,3,13,test\n")
    video_files(
        media,
        [
            "tai chi/-abc_DEF123_000005_000015.mp4",
            "eating,_fast/xyzXYZ00000_000120_000130.mkv",
            "tai_chi/qwertyuiop0.mp4",
            "nolabel0000_000003_000013.mp4",
        ],
    )


def ucf101(labels: Path, media: Path) -> None:
    write(labels / "classInd.txt", "1 ApplyEyeMakeup\r\n2 ApplyLipstick\r\n")
    clips = [f"{name}/v_{name}_g{group:02d}_c01" for name in ("ApplyEyeMakeup", "ApplyLipstick") for group in (1, 2, 3)]
    for split in (1, 2, 3):
        tested = [clip for clip in clips if f"_g{split:02d}_" in clip]
        trained = [f"{clip}.avi {1 + ('Lipstick' in clip)}" for clip in clips if clip not in tested]
        write(labels / f"trainlist{split:02d}.txt", "\r\n".join(trained) + "\r\n")
        write(labels / f"testlist{split:02d}.txt", "".join(f"{clip}.avi\n" for clip in tested))
    video_files(media, [f"{clip}.avi" for clip in clips])


def hmdb51(labels: Path, media: Path) -> None:
    clips = {"brush_hair": ["a_brush (1)", "b", "c"], "wave": ["#d", "e", "f"]}
    for split in (1, 2, 3):
        for name, stems in clips.items():
            uses = [(k + split) % 3 for k in range(3)]
            lines = "".join(f"{stem}.avi {use} \n" for stem, use in zip(stems, uses, strict=True))
            write(labels / f"{name}_test_split{split}.txt", lines)
    video_files(media, [f"{name}/{stem}.avi" for name, stems in clips.items() for stem in stems])


def diving48(labels: Path, media: Path) -> None:
    write(
        labels / "Diving48_vocab.json", json.dumps([["Back", "15som", "05Twis", "FREE"], ["Forward", "Dive", "PIKE"]])
    )
    entries = [{"vid_name": f"dive_0000{k}", "label": k % 2, "start_frame": 0, "end_frame": 3 + k} for k in range(3)]
    write(labels / "Diving48_V2_train.json", json.dumps(entries[:2]))
    write(labels / "Diving48_V2_test.json", json.dumps(entries[2:]))
    video_files(media, [f"dive_0000{k}.mp4" for k in range(3)])


DOWNLOADS: dict[str, Callable[[Path, Path], None]] = {
    "something": something,
    "somethingv2": somethingv2,
    "jester": jester,
    "kinetics": kinetics,
    "kinetics600": kinetics,
    "kinetics700": kinetics,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "diving48": diving48,
}
