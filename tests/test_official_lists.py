"""Official label files to lists: every format and spelling, candidates, faults by line, what is missing or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ops.data.catalog import CATALOG, resolve
from ops.data.records import read_categories, read_list
from ops.errors import InputError
from tools import make_lists
from tools.official_labels import READERS, Clip, read_official

TOOL = Path(__file__).resolve().parents[1] / "tools" / "make_lists.py"
HEADER = "label,youtube_id,time_start,time_end,split\n"
V2 = [
    {"id": "7", "label": "putting a mug, then a pen", "template": "Putting [something], then [something]"},
    {"id": 8, "label": "dropping a pen", "template": "Dropping [something]", "placeholders": ["a pen"]},
]
DIVES = [{"vid_name": "_x_00001", "label": 1, "start_frame": 0, "end_frame": 9}, {"vid_name": "y", "label": 0}]

# Of each data set the official files, as small as they can be.
FILES: dict[str, dict[str, str]] = {
    "something": {
        "something-something-v1-labels.csv": "Putting something, then something\nDropping something\n",
        "something-something-v1-train.csv": '7;Dropping something\n8;"Putting something, then something"\n',
        "something-something-v1-validation.csv": "9;Dropping something\n",
        "something-something-v1-test.csv": "10\n11\n",
    },
    "jester": {
        "jester-v1-labels.csv": "Swiping Left\nNo gesture\n",
        "jester-v1-train.csv": "1;No gesture\n",
        "jester-v1-validation.csv": "2;Swiping Left\n",
    },
    "somethingv2": {
        "something-something-v2-labels.json": '{"Putting something, then something": "1", "Dropping something": "0"}',
        "something-something-v2-train.json": json.dumps(V2),
        "something-something-v2-validation.json": json.dumps(V2[1:]),
        "something-something-v2-test.json": '[{"id": "12"}]',
    },
    "kinetics": {
        "kinetics_train.csv": HEADER + 'side kick,-a_b,4,14,train\n"pull, up",c,0,10,train\n',
        "kinetics_val.csv": HEADER + "side kick,d,119,129,validate\n",
        "kinetics_test.csv": "youtube_id,time_start,time_end,split\ne,3,13,test\n",
    },
    "ucf101": {
        "classInd.txt": "1 ApplyEyeMakeup\n2 Archery\n",
        "trainlist01.txt": "ApplyEyeMakeup/v_a.avi 1\nArchery/v_b.avi 2\n",
        "testlist01.txt": "Archery/v_c.avi\n",
        "trainlist03.txt": "Archery/v_c.avi 2\n",
        "testlist03.txt": "ApplyEyeMakeup/v_a.avi\nArchery/v_b.avi\n",
    },
    "hmdb51": {
        "wave_test_split1.txt": "w.1.avi 1 \nx.avi 2 \nunused.avi 0 \n",
        "brush_hair_test_split1.txt": "#20_a b.avi 1 \ny.avi 2\n",
        "wave_test_split2.txt": "w.1.avi 2\n",
        "brush_hair_test_split2.txt": "y.avi 1\n",
    },
    "diving48": {
        "Diving48_vocab.json": '[["Back", "15som", "FREE"], ["Forward", "Dive", "PIKE"]]',
        "Diving48_V2_train.json": json.dumps(DIVES),
        "Diving48_V2_test.json": json.dumps(DIVES[1:]),
    },
}
FILES["kinetics600"] = FILES["kinetics"]
FILES["kinetics700"] = FILES["kinetics"]

TWENTY_BN = ["Putting something, then something", "Dropping something"]
KINETICS = {
    "train": [("side kick/-a_b_000004_000014", 1), ("pull, up/c_000000_000010", 0)],
    "val": [("side kick/d_000119_000129", 1)],
    "test": [("e_000003_000013", -1)],
}
EYE, BOW, AIM = ("ApplyEyeMakeup/v_a", 0), ("Archery/v_b", 1), ("Archery/v_c", 1)
# What they say: the classes, and of each list the usual names of the clips with their labels.
SAID: dict[str, tuple[list[str], dict[str, list[tuple[str, int]]]]] = {
    "something": (TWENTY_BN, {"train": [("7", 1), ("8", 0)], "val": [("9", 1)], "test": [("10", -1), ("11", -1)]}),
    "jester": (["Swiping Left", "No gesture"], {"train": [("1", 1)], "val": [("2", 0)]}),
    "somethingv2": (TWENTY_BN[::-1], {"train": [("7", 1), ("8", 0)], "val": [("8", 0)], "test": [("12", -1)]}),
    **{name: (["pull, up", "side kick"], KINETICS) for name in ("kinetics", "kinetics600", "kinetics700")},
    "ucf101": (
        ["ApplyEyeMakeup", "Archery"],
        {"train": [EYE, BOW], "val": [AIM], "train_split3": [AIM], "val_split3": [EYE, BOW]},
    ),
    "hmdb51": (
        ["brush_hair", "wave"],
        {
            "train": [("brush_hair/#20_a b", 0), ("wave/w.1", 1)],
            "val": [("brush_hair/y", 0), ("wave/x", 1)],
            "train_split2": [("brush_hair/y", 0)],
            "val_split2": [("wave/w.1", 1)],
        },
    ),
    "diving48": (["Back_15som_FREE", "Forward_Dive_PIKE"], {"train": [("_x_00001", 1), ("y", 0)], "val": [("y", 0)]}),
}


def write_labels(folder: Path, files: dict[str, str], mark: bytes = b"", end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(mark + text.replace("\n", end).encode())
    return folder


def make_frames(root: Path, count: int = 2, template: str = "{:05d}.jpg") -> None:
    root.mkdir(parents=True)
    for number in range(1, count + 1):
        (root / template.format(number)).touch()


def touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


class Place:
    """A root of data sets, and beside it the official files of one data set."""

    def __init__(self, root: Path, dataset: str) -> None:
        self.dataset, self.root, self.folder = dataset, root / "dataset", root / "dataset" / dataset
        self.labels = write_labels(root / "labels", FILES[dataset])
        self.frames, self.videos = self.folder / "frames", self.folder / "videos"
        self.wanted = list(dict.fromkeys(name for clips in SAID[dataset][1].values() for name, _ in clips))

    def make(self, *flags: object) -> int:
        common = (self.dataset, "--labels", self.labels, "--root_dataset", self.root, "-j", "1")
        return make_lists.main([str(flag) for flag in (*common, *flags)])

    def written(self) -> dict[str, str]:
        """The text files in the data set's folder."""
        return {path.name: path.read_text() for path in self.folder.glob("*.t*")}

    def fill(self) -> None:
        """All folders of frames, and all videos."""
        for name in self.wanted:
            make_frames(self.frames / name)
            touch(self.videos / f"{name}.mp4")


@pytest.fixture
def something(tmp_path: Path) -> Place:
    return Place(tmp_path, "something")


# The official files.


def test_every_data_set_that_has_official_files_is_tested() -> None:
    assert set(FILES) == set(SAID) == set(READERS)
    assert set(READERS) == {name for name, entry in CATALOG.items() if not entry.family} - {"demo"}


@pytest.mark.parametrize(("mark", "end"), [(b"", "\n"), (b"\xef\xbb\xbf", "\r\n")], ids=["plain", "mark and CRLF"])
@pytest.mark.parametrize("dataset", READERS)
def test_what_the_official_files_say(tmp_path: Path, dataset: str, mark: bytes, end: str) -> None:
    official = read_official(dataset, write_labels(tmp_path, FILES[dataset], mark, end))
    lists = {name: [(clip.names[0], clip.label) for clip in clips] for name, clips in official.lists.items()}
    assert (official.categories, lists) == SAID[dataset]


@pytest.mark.parametrize(
    ("dataset", "renamed"),
    [
        ("something", {f"something-something-v1-{part}.csv": f"{part}.csv" for part in ("labels", "train", "test")}),
        ("somethingv2", {f"something-something-v2-{part}.json": f"{part}.json" for part in ("labels", "train")}),
        ("kinetics", {"kinetics_train.csv": "train.csv", "kinetics_val.csv": "validate.csv"}),
        ("kinetics", {"kinetics_train.csv": "kinetics-400_train.csv", "kinetics_val.csv": "validation.csv"}),
        ("diving48", {f"Diving48_V2_{part}.json": f"Diving48_{part}.json" for part in ("train", "test")}),
    ],
)
def test_other_spellings_of_the_files_names(tmp_path: Path, dataset: str, renamed: dict[str, str]) -> None:
    files = {renamed.get(name, name): text for name, text in FILES[dataset].items()}
    assert read_official(dataset, write_labels(tmp_path / "other", files)) == read_official(
        dataset, write_labels(tmp_path / "usual", FILES[dataset])
    )


def test_kinetics_as_json(tmp_path: Path) -> None:
    def entry(subset: str, *segment: float, **label: str) -> dict[str, object]:
        return {"annotations": {**label, "segment": segment}, "duration": 10.0, "subset": subset}

    train = {"-a_b": entry("training", 4, 14.0, label="side kick"), "c": entry("training", 0, 10, label="pull, up")}
    val, test = {"d": entry("validation", 119.0, 129.0, label="side kick")}, {"e": entry("testing", 3, 13)}
    files = {"train.json": json.dumps(train), "validate.json": json.dumps(val), "test.json": json.dumps(test)}
    assert read_official("kinetics", write_labels(tmp_path / "json", files)) == read_official(
        "kinetics", write_labels(tmp_path / "csv", FILES["kinetics"])
    )


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        (
            "kinetics",
            ("side kick/-a_b_000004_000014", "side_kick/-a_b_000004_000014", "-a_b_000004_000014", "side kick/-a_b",
             "side_kick/-a_b", "-a_b"),
        ),
        ("ucf101", ("ApplyEyeMakeup/v_a", "v_a")),
        ("hmdb51", ("brush_hair/#20_a b", "#20_a b")),
        ("something", ("7",)),
    ],
)  # fmt: skip
def test_the_names_a_clip_may_have(tmp_path: Path, dataset: str, names: tuple[str, ...]) -> None:
    official = read_official(dataset, write_labels(tmp_path, FILES[dataset]))
    assert official.lists["train"][0] == Clip(names, official.lists["train"][0].label)


V1, SSV2 = "something-something-v1-", "something-something-v2-"


@pytest.mark.parametrize(
    ("dataset", "file", "content", "faults"),
    [
        ("something", V1 + "train.csv", "7\n8;Droping something\n;Dropping something\n9;Dropping something\n1;a;b\n",
         {1: "id;class name", 2: "'Droping something'", 3: "id;class name", 5: "id;class name"}),
        ("something", V1 + "test.csv", "1\n \n;\n", {3: "id"}),
        ("something", V1 + "labels.csv", "one\n\ntwo\n", {2: "blank"}),
        ("somethingv2", SSV2 + "train.json", '[{"id": "1"}, 3, {"id": "2", "template": "Fly"}, {"template": "x"}]',
         {1: "template", 2: "id", 3: "'Fly'", 4: "id"}),
        ("somethingv2", SSV2 + "test.json", '[{"id": "1"}, {"id": ""}, {"id": null}]', {2: "id", 3: "id"}),
        ("kinetics", "kinetics_train.csv", HEADER + "a,b,0,ten,train\na,b\n,c,0,10,train\na,,0,10,train\na,d,0,inf,x\n",
         {2: "time_end", 3: "time_end", 4: "label", 5: "youtube_id", 6: "time_end"}),
        ("kinetics", "kinetics_val.csv", HEADER + "kick,a,0,1,val\nside kick,b,0,1,val\nslap,c,0,1,val\n",
         {2: "'kick'", 4: "'slap'"}),
        ("ucf101", "classInd.txt", "1 a\n3 b\nc\n", {2: "2 class name", 3: "3 class name"}),
        ("ucf101", "trainlist01.txt", "Archery/a.avi 2\nb.avi 1\nFly/c.avi 1\nArchery/d.avi 1\n",
         {2: "class/video.avi", 3: "class/video.avi", 4: "2"}),
        ("hmdb51", "wave_test_split1.txt", "a.avi 1\nb.avi\n2\nc.avi 3\n", {2: "video.avi", 3: "video.avi", 4: "0, 1"}),
        ("diving48", "Diving48_V2_train.json",
         '[{"vid_name": "a", "label": 2}, {"vid_name": "b", "label": 0}, {"label": 1}, 5, {"vid_name": ""}]',
         {1: "0..1", 3: "vid_name", 4: "vid_name", 5: "vid_name"}),
    ],
)  # fmt: skip
def test_every_malformed_line_is_named(
    tmp_path: Path, dataset: str, file: str, content: str, faults: dict[int, str]
) -> None:
    write_labels(tmp_path, FILES[dataset] | {file: content})
    with pytest.raises(InputError) as caught:
        read_official(dataset, tmp_path)
    lines = [line for line in str(caught.value).split("\n") if f"{file}:" in line]
    named = {int(line.split(f"{file}:")[1].split(":")[0]): line for line in lines if f"{file}:" in line}
    assert set(named) == set(faults)
    assert all(words in named[place] for place, words in faults.items())


@pytest.mark.parametrize(
    ("dataset", "file", "content", "words"),
    [
        ("something", V1 + "train.csv", b"7;Caf\xe9\n", "UTF-8"),
        ("something", V1 + "train.csv", b"\n", "no entry"),
        ("kinetics", "kinetics_train.csv", b"label,id\n", "header"),
        ("kinetics", "kinetics_train.csv", b"label,youtube_id,time_start,time_end\nCaf\xe9,a,0,1\n", "UTF-8"),
        ("kinetics", "kinetics_val.csv", HEADER.encode(), "no entry"),
        ("somethingv2", SSV2 + "labels.json", b'{"a": "0", "b": "2"}', "not 0 to 1"),
        ("somethingv2", SSV2 + "labels.json", b'{"a": "zero"}', "class name"),
        ("somethingv2", SSV2 + "train.json", b'{"id": 1}', "a list"),
        ("somethingv2", SSV2 + "train.json", b"[", "JSON"),
        ("hmdb51", "brush_hair_test_split1.txt", b"", "no entry"),
        ("hmdb51", "run_test_split2.txt", b"a.avi 1\n", "differ in their classes: run"),
        ("diving48", "Diving48_train.json", b"[]", "both fit"),
        ("diving48", "Diving48_vocab.json", b"{}", "list of classes"),
        ("diving48", "Diving48_vocab.json", b'[["a", "b"], ["a_b"]]', "'a_b' stands twice"),
        ("kinetics", "kinetics_val.csv", HEADER.encode() + b'side kick,"' + b"x" * 200_000, r"val\.csv:2.*CSV"),
    ],
)
def test_files_that_are_wrong_as_a_whole(tmp_path: Path, dataset: str, file: str, content: bytes, words: str) -> None:
    write_labels(tmp_path, FILES[dataset])
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_official(dataset, tmp_path)
    assert file in str(caught.value) or str(tmp_path) in str(caught.value)


def test_only_some_of_many_faults_are_shown(tmp_path: Path) -> None:
    write_labels(tmp_path, FILES["jester"] | {"jester-v1-train.csv": "x\n" * 1000})
    with pytest.raises(InputError, match=r"and \d+ more") as caught:
        read_official("jester", tmp_path)
    assert 10 < str(caught.value).count("\n") < 100


@pytest.mark.parametrize(
    ("dataset", "file"),
    [(d, f) for d in FILES for f in FILES[d] if not any(part in f for part in ("test.csv", "v2-test", "split"))],
)
def test_a_missing_file_is_named_with_where_it_comes_from(tmp_path: Path, dataset: str, file: str) -> None:
    write_labels(tmp_path, {name: text for name, text in FILES[dataset].items() if name != file})
    with pytest.raises(InputError) as caught:
        read_official(dataset, tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "download" in message
    stem = file.split("_")[-1].split("-")[-1].split(".")[0]
    assert any(part in message for part in (file, stem, "*val*"))


def test_no_file_of_hmdb51(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"_test_split1\.txt.*Serre"):
        read_official("hmdb51", tmp_path)


# The lists.


def list_names(dataset: str, kind: str) -> dict[str, str]:
    """Official list → file."""
    parts = {name: name.partition("_") for name in SAID[dataset][1]}
    return {name: f"{part}_{kind}{line}{mark}.txt" for name, (part, line, mark) in parts.items()}


@pytest.mark.parametrize("dataset", READERS)
def test_the_lists_of_frames(tmp_path: Path, dataset: str) -> None:
    place = Place(tmp_path, dataset)
    place.fill()
    assert place.make("--frames", place.frames) == 0
    categories, lists = SAID[dataset]
    files = list_names(dataset, "videofolder")
    assert set(place.written()) == {"category.txt", *files.values()}
    assert read_categories(place.folder / "category.txt") == categories
    for name, file in files.items():
        records = read_list(place.folder / file, len(categories), unlabelled_too=name == "test")
        assert [(record.path, record.num_frames, record.label) for record in records] == [
            (path, 2, label) for path, label in lists[name]
        ]
    data = resolve(dataset, place.root)
    assert data.root == place.frames and data.train_list.is_file() and data.val_list.is_file()


@pytest.mark.parametrize("dataset", READERS)
def test_the_lists_of_videos(tmp_path: Path, dataset: str) -> None:
    place = Place(tmp_path, dataset)
    place.fill()
    assert place.make("--videos", place.videos) == 0
    categories, lists = SAID[dataset]
    files = list_names(dataset, "videos")
    assert set(place.written()) == {"category.txt", *files.values()}
    for name, file in files.items():
        records = read_list(place.folder / file, len(categories), unlabelled_too=name == "test", counted=False)
        assert [(record.path, record.label) for record in records] == [
            (f"{path}.mp4", label) for path, label in lists[name]
        ]


def test_the_splits_are_data_sets(tmp_path: Path) -> None:
    place = Place(tmp_path, "hmdb51")
    place.fill()
    assert place.make("--frames", place.frames) == 0
    assert resolve("hmdb51_split2", place.root).train_list.read_text() == "brush_hair/y 2 0\n"


def test_the_first_of_the_names_that_is_there_is_taken(tmp_path: Path) -> None:
    place = Place(tmp_path, "kinetics")
    make_frames(place.frames / "side_kick" / "-a_b_000004_000014", 3)
    make_frames(place.frames / "-a_b_000004_000014", 4)
    make_frames(place.frames / "c", 5)
    make_frames(place.frames / "d", 6)
    make_frames(place.frames / "side kick" / "d", 7)
    make_frames(place.frames / "e", 8)
    assert place.make("--frames", place.frames) == 0
    written = place.written()
    assert written["train_videofolder.txt"] == "side_kick/-a_b_000004_000014 3 1\nc 5 0\n"
    assert written["val_videofolder.txt"] == "side kick/d 7 1\n" and written["test_videofolder.txt"] == "e 8 -1\n"


def test_videos_are_found_whatever_their_extension(something: Place) -> None:
    for name in ("7.webm", "7.wmv", "8.txt", "8.mkv", "9.avi", "10.MP4", "11.jpg"):
        touch(something.videos / name)
    assert something.make("--videos", something.videos) == 1
    written = something.written()
    assert written["train_videos.txt"] == "7.webm 1\n8.mkv 0\n" and written["test_videos.txt"] == "10.MP4 -1\n"
    assert written["missing.txt"] == "11: missing\n"


def test_a_file_where_a_folder_of_videos_should_be(tmp_path: Path) -> None:
    place = Place(tmp_path, "ucf101")
    touch(place.videos / "Archery")
    touch(place.videos / "v_b.avi")
    assert place.make("--videos", place.videos) == 1
    assert place.written()["train_videos.txt"] == "v_b.avi 1\n"


def test_a_name_that_begins_like_a_comment_is_not_taken_for_one(tmp_path: Path) -> None:
    place = Place(tmp_path, "hmdb51")  # some of its videos are named so
    for name in ("#20_a b", "w.1", "x", "y"):
        make_frames(place.frames / name)
        touch(place.videos / f"{name}.avi")
    assert place.make("--frames", place.frames) == place.make("--videos", place.videos) == 0
    for file, root, counted in (
        ("train_videofolder.txt", place.frames, True),
        ("train_videos.txt", place.videos, False),
    ):
        paths = [record.path for record in read_list(place.folder / file, 2, counted=counted)]
        assert len(paths) == 2 and (root / paths[0]).samefile(root / ("#20_a b" if counted else "#20_a b.avi"))


def test_what_is_missing_or_damaged_is_left_out_and_named(something: Place, capsys: pytest.CaptureFixture[str]) -> None:
    something.fill()
    (something.frames / "7" / "00001.jpg").rename(something.frames / "7" / "00004.jpg")  # 2 and 4
    (something.frames / "8" / "00003.jpg.partial").touch()
    (something.frames / "8" / "thumbs.db").touch()
    for number in (1, 2):
        (something.frames / "9" / f"{number:05d}.jpg").unlink()
        (something.frames / "10" / f"{number:05d}.jpg").unlink()
    (something.frames / "10").rmdir()
    (something.frames / "10").touch()  # a file where a folder should be
    assert something.make("--frames", something.frames) == 1
    written = something.written()
    assert written["train_videofolder.txt"] == "8 2 0\n" and written["test_videofolder.txt"] == "11 2 -1\n"
    named = written["missing.txt"].splitlines()
    assert [line.split(":")[0] for line in named] == ["7", "9", "10"]
    assert "00001.jpg" in named[0] and "00001.jpg" in named[1] and "missing" in named[2]
    said = capsys.readouterr().err
    assert "1 of 2 videos" in said and "missing or damaged: 3" in said and all(line in said for line in named)

    for name in ("7", "9", "10"):
        (something.frames / name).rename(something.root / name)
        make_frames(something.frames / name, 4)
    assert something.make("--frames", something.frames) == 0
    assert "missing.txt" not in something.written()
    assert something.written()["train_videofolder.txt"] == "7 4 1\n8 2 0\n"


@pytest.mark.parametrize(
    ("files", "gap"),
    [
        (["00000.jpg", "00001.jpg", "00002.jpg"], "00003.jpg"),  # counted from 0
        (["00001.jpg", "00002.jpg", "00004.jpg", "00005.jpg"], "00003.jpg"),
        (["1.jpg", "2.jpg"], "00001.jpg"),
    ],
)
def test_the_first_gap_is_named(something: Place, files: list[str], gap: str) -> None:
    make_frames(something.frames / "8")
    for file in files:
        touch(something.frames / "7" / file)
    assert something.make("--frames", something.frames) == 1
    first = something.written()["missing.txt"].splitlines()[0]
    assert first.startswith("7: ") and gap in first


def test_ten_of_many_missing_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path, "jester")
    (place.labels / "jester-v1-train.csv").write_text("".join(f"{k};No gesture\n" for k in range(100, 150)))
    make_frames(place.frames / "2")
    assert place.make("--frames", place.frames) == 1
    assert capsys.readouterr().err.count(": missing") == 10
    assert place.written()["missing.txt"].count("\n") == 50


def test_names_of_other_alphabets(tmp_path: Path) -> None:
    place = Place(tmp_path, "kinetics")
    (place.labels / "kinetics_train.csv").write_text(HEADER + "Тай чи 太极,ж é,1,2,train\nside kick,a,1,2,train\n")
    root = tmp_path / "кадры и 帧"
    make_frames(root / "Тай чи 太极" / "ж é_000001_000002")
    make_frames(root / "side kick" / "d")
    assert place.make("--frames", root) == 1
    assert read_categories(place.folder / "category.txt") == ["side kick", "Тай чи 太极"]
    records = read_list(place.folder / "train_videofolder.txt", 2)
    assert [(r.path, r.num_frames, r.label) for r in records] == [("Тай чи 太极/ж é_000001_000002", 2, 1)]
    assert resolve("kinetics", place.root).root == root


def test_several_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, "ucf101")
    place.fill()
    (place.frames / "Archery" / "v_b" / "00001.jpg").unlink()
    assert place.make("--frames", place.frames) == 1
    alone = place.written()
    monkeypatch.setattr(make_lists, "CHUNK", 1)
    assert place.make("--frames", place.frames, "-j", "2") == 1
    assert place.written() == alone and "v_b" in alone["missing.txt"]


def test_frames_under_another_name(something: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for name in something.wanted:
        make_frames(something.frames / name, 3, "image_{:04d}.jpg")
        (something.frames / name / "00001.jpg").touch()
    assert something.make("--frames", something.frames, "--template", "image_{:04d}.jpg") == 0
    assert something.written()["train_videofolder.txt"] == "7 3 1\n8 3 0\n"
    assert resolve("something", something.root).template == "image_{:04d}.jpg"


# Where the frames are is remembered.


def test_a_second_run_changes_nothing(something: Place, tmp_path: Path) -> None:
    something.fill()
    moved = something.frames.rename(tmp_path / 'my "frames" é 🎬')
    assert something.make("--frames", moved) == 0
    before = something.written()
    assert "dataset.toml" in before and resolve("something", something.root).root == moved
    assert something.make("--frames", moved) == 0
    assert something.written() == before


def test_only_the_line_of_the_folder_is_replaced(something: Place, tmp_path: Path) -> None:
    something.fill()
    elsewhere = something.videos.rename(tmp_path / "elsewhere")
    kept = '# mine\nmirror = "none"\n', '\n[made]\nvideos = "by hand"\nframes = 7\n'
    for before in ('frames = "other"\nvideos = "old"', 'frames = "other"'):
        (something.folder / "dataset.toml").write_text(before.join(kept))
        assert something.make("--videos", elsewhere) == 0
        text = something.written()["dataset.toml"]
        assert all(part in text for part in kept) and '"old"' not in text and 'frames = "other"' in text
        data = resolve("something", something.root, storage="video")
        assert data.root == elsewhere and data.mirror == "none"

    elsewhere.rename(something.videos)
    assert something.make("--videos", something.videos) == 0
    assert resolve("something", something.root, storage="video").root.samefile(something.videos)


def test_relative_folders_are_remembered_as_absolute(
    something: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    something.fill()
    something.frames.rename(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEXNET_DATASETS", str(something.root))
    assert make_lists.main(["something", "--labels", "labels", "--frames", "here"]) == 0
    assert resolve("something", something.root).root == tmp_path / "here"
    (tmp_path / "here").rename(something.frames)
    own = something.frames.relative_to(tmp_path)
    assert make_lists.main(["something", "--labels", "labels", "--frames", str(own)]) == 0
    assert something.written()["dataset.toml"] == ""


# What is refused, and that nothing is changed then.


def test_as_a_program(something: Place) -> None:
    flags = ["something", "--labels", something.labels, "--root_dataset", something.root]
    for program, status, words in (
        ([*flags, "--frames", something.root.parent], 2, "error: --frames"),
        (["--help"], 0, "missing.txt"),
    ):
        done = subprocess.run([sys.executable, TOOL, *program], capture_output=True, text=True, check=False)
        assert (done.returncode, words in done.stdout + done.stderr) == (status, True)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["frames", "videos"])
def test_nothing_found(something: Place, kind: str) -> None:
    something.fill()
    assert something.make(f"--{kind}", something.folder / kind) == 0
    before = something.written()
    other = something.root / "other"
    touch(other / "20bn-something" / "7" / "frame.png")
    with pytest.raises(InputError) as caught:
        something.make(f"--{kind}", other)
    message = str(caught.value)
    for words in (f"--{kind} {other}", str(other / "7"), "20bn-something", "Give the folder", "none of the 5"):
        assert words in message
    assert something.written() == before


def test_nothing_usable(something: Place) -> None:
    for name in something.wanted:
        make_frames(something.frames / name, 3, "image_{:05d}.jpg")
    with pytest.raises(InputError, match=r"7: has no frame like 00001\.jpg.*--template"):
        something.make("--frames", something.frames)
    assert something.written() == {}


def test_malformed_labels_leave_everything_as_before(something: Place) -> None:
    something.fill()
    assert something.make("--frames", something.frames) == 0
    before = something.written()
    (something.labels / "something-something-v1-validation.csv").write_text("9;Dropping something\n9\n")
    with pytest.raises(InputError, match=r"validation\.csv:2"):
        something.make("--frames", something.frames)
    assert something.written() == before


def test_a_malformed_description_leaves_everything_as_before(something: Place) -> None:
    something.fill()
    (something.folder / "dataset.toml").write_text("frames = \n")
    with pytest.raises(InputError, match=r"dataset\.toml"):
        something.make("--frames", something.frames)
    assert something.written() == {"dataset.toml": "frames = \n"}


@pytest.mark.parametrize("kind", ["frames", "videos"])
def test_a_folder_that_cannot_be_looked_into(tmp_path: Path, kind: str) -> None:
    place = Place(tmp_path, "ucf101")
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "Archery").symlink_to("Archery")  # a circle, which stops root too
    with pytest.raises(InputError, match=rf"{kind}/Archery"):
        place.make(f"--{kind}", tmp_path / kind)
    assert place.written() == {}


def test_a_list_that_cannot_be_written(something: Place) -> None:
    something.fill()
    (something.folder / "train_videofolder.txt").mkdir()
    with pytest.raises(InputError, match=r"train_videofolder\.txt"):
        something.make("--frames", something.frames)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["somethin", "--labels", ".", "--frames", "."], r"somethin\b.*did you mean something\?.*known are .*diving48"),
        (["demo", "--labels", ".", "--frames", "."], "demo.*tools/make_demo_dataset.py"),
        (["ucf101_split2", "--labels", ".", "--frames", "."], "did you mean ucf101"),
        (["jester", "--labels", "."], "one of --frames DIR and --videos DIR"),
        (["jester", "--labels", ".", "--frames", ".", "--videos", "."], "one of --frames DIR and --videos DIR"),
        (["jester", "--labels", "no", "--frames", "nor"], "--labels no: no such folder.*--frames nor: no such folder"),
        (["jester", "--labels", ".", "--frames", ".", "--template", "x.jpg", "-j", "0"], "--jobs 0.*--template"),
    ],
)
def test_wrong_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], words: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        make_lists.main(flags)
    assert not list(tmp_path.iterdir())
