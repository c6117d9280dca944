"""The page to try a network: its answers, the clips it keeps, its limits, two people at a time, and in a browser."""

from __future__ import annotations

import base64
import http.client
import io
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import browser
import numpy as np
import pytest
from browser import NARROW, WIDE, OpenPage
from made_videos import forget_lengths, write_pictures, write_video
from PIL import Image
from programs import REPOSITORY

from ops.data.videofile import rgb_frames
from ops.errors import InputError
from ops.explaining.explain import Explanation
from ops.explaining.methods import METHODS
from ops.explaining.trust import Check, Trust
from ops.recognition.recognizer import Answer, Prediction, Recognizer
from ops.recognition.sources import Source, as_source
from ops.recognition.timeline import Segment, Timeline
from ops.recognition.timeline_options import TimelineOptions
from ops.recognition.windows import Window
from tools import demo_app, prepare_videos
from tools.demo_page import answers, examples, serving
from tools.demo_page.answers import Answers
from tools.demo_page.clips import LONGEST_NAME, Collection, class_name
from tools.demo_page.heat import HeatMaps
from tools.demo_scenes import CLASSES

EVIL = '"><img src=x onerror=alert(1)>${1+1}{{7*7}}'
LONGEST = 20  # seconds
MOST = 4 * serving.MB
PATIENCE = 60  # seconds
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
SHOWN = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"  # of the camera's picture
# Faults that axe-core finds in what Gradio itself draws: rule, and where.
GRADIOS = (("nested-interactive", 'class="toast-header'),)  # the message that a file is too large


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    """The model in the box."""
    return Recognizer.from_checkpoint(demo_app.WEIGHTS)


class Looking:
    """Stands for an explainer, whose checks take a while."""

    def explain(self, source: Source) -> Explanation:
        frames = np.stack(list(rgb_frames(Path(str(source.content))))[:3])
        checks = (Check("boxes", True, f"in its box {EVIL}"), Check("random weights", False, "as with random weights"))
        heat = np.zeros(frames.shape[:3], np.float32)
        heat[:, 10:20] = 1
        facts: Any = {"label": 0, "name": EVIL, "probability": 0.6, "predicted": "b", "method": next(iter(METHODS))}
        return Explanation(source.path, frames, (1, 4, 9), heat, cell=8, trust=Trust(checks, {}, 0.5), **facts)


class App:
    """A page that is served."""

    def __init__(self, address: str, folder: Path, collected: Path, shown: list[examples.Example]) -> None:
        self.address, self.folder, self.collected, self.examples = address, folder, collected, shown

    def left(self) -> list[Path]:
        """Parts of uploads: whole ones are in folders."""
        return [file for file in (self.folder / "uploads").iterdir() if file.is_file()]


@pytest.fixture(scope="module")
def app(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One server for all tests, in this process."""
    pytest.importorskip("gradio", reason="pip install -r requirements-optional.txt")
    collected = tmp_path_factory.mktemp("collected") / "clips"
    with serving.prepared() as folder:
        from tools.demo_page.layout import STYLE, Page, theme

        shown, heat = examples.make(folder / "examples", recognizer.contract.classes), HeatMaps(demo_app.WEIGHTS)
        heat.explainer = Looking()  # type: ignore[assignment]
        page = Page(Answers(recognizer, LONGEST), heat, shown, Collection(collected))
        with serving.served(page.blocks(), serving.LOOPBACK, None, MOST, theme=theme(), css=STYLE) as port:
            yield App(f"http://127.0.0.1:{port}/", folder, collected, shown)


# ---------------------------------------------------------------------------------------------- the command


def test_options() -> None:
    args = demo_app.parse([])
    assert args.weights.is_file() and not args.share_with_network and args.collect is None and args.port is None
    for words, fault in (
        ("--protocol efficent", "did you mean"),
        ("--protocol dense", "expected efficient or accurate"),
        ("--max_upload inf", "--max_upload inf: expected a number above 0"),
        ("--longest nan", "--longest nan"),
        ("--port 70000", "from 1 to 65535"),
    ):
        with pytest.raises(InputError, match=fault):
            demo_app.parse(words.split())


def test_without_gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"tools/demo_app\.py: needs .*pip install gradio"):
        demo_app.main([])
    assert "GRADIO_TEMP_DIR" not in os.environ


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind((serving.LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {taken}: taken"):
            serving.free_port(serving.LOOPBACK, taken)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(serving, "FIRST_PORT", taken)
            assert taken < serving.free_port(serving.LOOPBACK, None) < taken + serving.TRIED_PORTS
            patch.setattr(serving, "TRIED_PORTS", 1)
            with pytest.raises(InputError, match="all taken"):
                serving.free_port(serving.LOOPBACK, None)


@pytest.mark.parametrize("number", serving.ENDS)
def test_what_ends_the_process_deletes_the_uploads(number: int) -> None:
    missed: list[int] = []

    def earlier(number: int, _: object) -> None:
        missed.append(number)

    before = signal.signal(number, earlier)
    try:
        with pytest.raises(KeyboardInterrupt), serving.prepared() as folder:
            (folder / "uploads").mkdir()
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(number)  # once more, while it tidies up
        assert not folder.exists() and not missed and signal.getsignal(number) is earlier
        signal.signal(number, signal.SIG_IGN)
        with serving.prepared():
            signal.raise_signal(number)  # as nohup wants it
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


# ---------------------------------------------------------------------------------------------- clips to train with


@pytest.mark.parametrize(
    ("typed", "name"),
    [("wave", "wave"), ("  wave  hand ", "wave hand"), ("e\u0301", "é"), ("手", "手"), ("a" * LONGEST_NAME,) * 2],
)
def test_names_of_classes(typed: str, name: str) -> None:
    assert class_name(typed) == name


@pytest.mark.parametrize(
    "typed",
    [
        *("", " \n", "a/b", "a\\b", "..", ".", ".hidden", "end.", "C:", "a\0b", "a\u202eb", "\ud800"),
        *("é" * LONGEST_NAME, "train", "Validation", "#wave"),
    ],
)
def test_what_is_no_name_of_a_class(typed: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="class"):
        Collection(tmp_path / "clips").add(write_video(tmp_path / "a.mp4", 2), typed)
    assert not (tmp_path / "clips").exists()


def as_recorded(file: Path, seed: int = 0) -> Path:
    """As Chromium records: VP8 in WebM, its frames at uneven times, nothing said of its length."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 255, (14, 48, 64, 3), np.uint8)
    write_pictures(file, frames, "libvpx", times=np.cumsum(rng.integers(3, 12, 14)).tolist())
    return forget_lengths(file)


def test_clips_become_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Collection(Path("my clips"))
    for k in range(4):
        kept.add(as_recorded(tmp_path / "sample.webm", k), ("wave", "clap")[k % 2])
    assert kept.counts() == {"clap": 2, "wave": 2} and "&#39;my clips&#39;" in kept.html()
    with pytest.raises(InputError, match="there is 'wave'"):
        kept.add(tmp_path / "sample.webm", "Wave")
    words = kept.next_command("my clips").split("--videos")[1].replace("'my clips'", "my_clips").split()
    Path("my clips").rename("my_clips")
    assert prepare_videos.main(["--videos", *words, "-j", "1", "--root_dataset", str(tmp_path / "d")]) == 0
    lists = [(tmp_path / "d" / "mine" / f"{split}_videofolder.txt").read_text() for split in ("train", "val")]
    assert (
        sorted(line.split()[1:] for text in lists for line in text.splitlines())
        == [["14", "0"]] * 2 + [["14", "1"]] * 2
    )


def test_people_at_a_time_lose_nothing(tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{k}" / "sample.mp4", 3, seed=k) for k in range(6)]
    kept = Collection(tmp_path / "clips")
    with ThreadPoolExecutor(6) as people:
        files = list(people.map(lambda video: kept.add(video, "wave"), videos))
    assert [file.read_bytes() for file in files] == [video.read_bytes() for video in videos]
    assert kept.counts() == {"wave": 6} and len(list((tmp_path / "clips" / "wave").iterdir())) == 6


@pytest.mark.parametrize("name", ["a.mp4", "cut.mp4", "a.txt", "empty.webm"])
def test_what_is_no_whole_video_is_not_kept(tmp_path: Path, name: str) -> None:
    whole = write_video(tmp_path / "whole.mp4", 20).read_bytes()
    contents = {"a.mp4": b"no video" * 99, "cut.mp4": whole[: len(whole) // 2], "a.txt": whole, "empty.webm": b""}
    (tmp_path / name).write_bytes(contents[name])
    with pytest.raises(InputError, match=re.escape(name)):
        Collection(tmp_path / "clips").add(tmp_path / name, "wave")
    assert not (tmp_path / "clips").exists()


# ---------------------------------------------------------------------------------------------- answers


def prediction(*chances: float, **others: Any) -> Prediction:
    top = tuple(Answer(k, f"{k} {EVIL}", chance) for k, chance in enumerate(chances))
    return Prediction(f"{EVIL}.mp4", np.zeros(len(chances), np.float32), top, 1, 30, **others)


def timeline(*segments: Segment) -> Timeline:
    windows = tuple(Window(k, k + 2.0) for k in range(3))
    chances = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    options = TimelineOptions(2, 1)
    return Timeline(f"{EVIL}.mp4", options, ("a", "b"), 30, 4.0, "", 3, windows, chances, segments)


def test_what_comes_from_files_is_text() -> None:
    html = answers.html_of(prediction(0.6, 0.4, damage=EVIL), timeline(Segment(0, 4, 0, EVIL, 0.5)), 0.0)
    assert "<img" not in html and "onerror=alert(1)&gt;" in html and "onerror" not in answers.fault_html(EVIL)[:60]
    assert "<img" not in answers.fault_html(EVIL)


def test_none_of_these_and_no_segment() -> None:
    html = answers.html_of(prediction(0.6, 0.4), timeline(), 0.7)
    assert ">none of these</h2>" in html and "no class has 70 %" in html and "In none of 3 windows of 2 s" in html
    assert ">none of these</h2>" not in answers.html_of(prediction(0.6, 0.4), timeline(), 0.6)


def test_the_picture_of_a_timeline() -> None:
    found = timeline(Segment(0, 1.5, 0, "a", 0.8), Segment(1.5, 3, 1, "b", 0.6), Segment(3, 4, 0, "a", 0.4))
    first, second = answers.rows_of(found)
    assert (first.name, first.spans) == ("a", [(0, 37.5), (75, 25)]) and second.spans == [(37.5, 37.5)]
    assert first.curve == "25.0,10 50.0,50 75.0,80"
    many = replace(found, segments=tuple(Segment(0, 1, k % 2, str(k), 0.5) for k in range(50)))
    assert len(answers.rows_of(many)) == 2


def test_frames_that_are_too_large(tmp_path: Path, recognizer: Recognizer) -> None:
    upright = write_video(tmp_path / "upright.mp4", 1, (2160, 3842), preset="ultrafast")
    for work in (
        lambda: Answers(recognizer, LONGEST).answer(upright, 2, 0),
        lambda: Collection(tmp_path / "clips").add(upright, "wave"),
    ):
        with pytest.raises(InputError, match=r"^upright\.mp4: frames of 2160 × 3842 .* 3840 × 2160.*ffmpeg"):
            work()
    assert Answers(recognizer, LONGEST).source(write_video(tmp_path / "a.mp4", 1, (2160, 3840), preset="ultrafast"))


def test_a_video_that_is_too_long(tmp_path: Path, recognizer: Recognizer) -> None:
    video = write_video(tmp_path / "long.mp4", 30)
    with pytest.raises(InputError, match=r"^long\.mp4: 1 s long; this page takes up to 1 s"):
        Answers(recognizer, 1).answer(video, 2, 0)


@pytest.mark.parametrize("name", ["a.mp4", "empty.mp4", "a.png"])
def test_a_bad_file_gets_the_words_of_predict(tmp_path: Path, recognizer: Recognizer, name: str) -> None:
    (tmp_path / name).write_bytes(b"" if name == "empty.mp4" else b"no video" * 99)
    with pytest.raises(InputError) as told:
        recognizer(tmp_path / name)
    with pytest.raises(InputError) as here:
        Answers(recognizer, LONGEST).answer(tmp_path / name, 2, 0)
    assert str(here.value) == str(told.value).replace(f"{tmp_path}/", "", 1)
    assert str(tmp_path) not in str(here.value) or name == "a.png"  # whose remedy names the folder


def test_examples_are_what_they_say(tmp_path: Path, recognizer: Recognizer) -> None:
    made = examples.make(tmp_path, CLASSES)
    found = [recognizer(example.file).top[0].name for example in made]
    assert found == [example.label for example in made] and len(found) == 6
    assert examples.make(tmp_path / "others", CLASSES[:-1]) == [] and not (tmp_path / "others").exists()


def test_heat_maps_say_how_far_to_trust_them(tmp_path: Path) -> None:
    heat, video = HeatMaps(demo_app.WEIGHTS), write_video(tmp_path / "a.mp4", 3)
    heat.explainer = Looking()  # type: ignore[assignment]
    html = heat.html(replace(as_source(video), path="a.mp4"))
    assert (
        "Not to be trusted: the map fails: random weights." in html
        and "<img src=x" not in html
        and str(tmp_path) not in html
    )
    assert html.count("data:image/jpeg") == 3 and "✓ in its box" in html and "✗ as with random weights" in html
    content = base64.b64decode(re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)[0])
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (128, 192)  # twice the frame, and that with heat below


@pytest.mark.slow
def test_where_the_model_in_the_box_looks(tmp_path: Path, recognizer: Recognizer) -> None:
    made = examples.make(tmp_path, CLASSES)[0]
    source = Answers(recognizer, LONGEST).source(made.file)
    assert made.label in (html := HeatMaps(demo_app.WEIGHTS).html(source)) and html.count("data:image/jpeg") == 8


# ---------------------------------------------------------------------------------------------- the server


def client(address: str) -> Any:
    """A program that asks the page."""
    from gradio_client import Client

    return Client(address, verbose=False, download_files=False)


def ask(address: str, video: Path) -> str:
    from gradio_client import handle_file

    return client(address).predict(handle_file(video), 2, 0, api_name="/answer")


def test_two_people_at_a_time_do_not_mix(app: App) -> None:
    from gradio_client import handle_file

    def rounds(example: examples.Example) -> list[str]:
        person = client(app.address)
        return [person.predict(handle_file(example.file), 2, 0, api_name="/answer") for _ in range(4)]

    with ThreadPoolExecutor(2) as people:
        for example, found in zip(app.examples[:2], people.map(rounds, app.examples[:2]), strict=True):
            assert all(f'<h2 dir="auto">{example.label}</h2>' in html for html in found)
            assert all(f"{example.file.name}:" in html for html in found)


def test_no_address_is_fetched(app: App) -> None:
    from gradio_client.exceptions import AppError

    with socket.socket() as other:
        other.bind((serving.LOOPBACK, 0))
        other.listen()
        other.settimeout(0.1)
        address = f"http://127.0.0.1:{other.getsockname()[1]}/a.mp4"
        video = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
        with pytest.raises(AppError, match="an address: upload the video"):
            client(app.address).predict(video, 2, 0, api_name="/answer")
        with pytest.raises(TimeoutError):
            other.accept()


def test_a_slider_out_of_its_range(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    for window, least, said in ((99, 0, "99: expected 0.5 to 10"), (2, "x" * 99, "expected 0 to 1")):
        with pytest.raises(AppError, match=said):
            client(app.address).predict(handle_file(app.examples[0].file), window, least, api_name="/answer")
    assert capfd.readouterr().err == ""


def test_without_captum(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio_client import handle_file

    monkeypatch.setitem(sys.modules, "captum", None)
    html = client(app.address).predict(handle_file(app.examples[0].file), api_name="/heat")
    assert "heat maps: needs the package captum" in html and "pip install captum" in html and "--method" not in html


def test_where_clips_are_kept_is_not_told(app: App) -> None:
    with urlopen(f"{app.address}config") as answer:
        config = answer.read().decode()
    assert f"No clips in {app.collected.name} yet" in config and str(app.collected.parent) not in config


def upload(app: App, length: int | None, sent: bytes) -> socket.socket:
    """Begins an upload of so many bytes; None: in chunks, of which the whole of `sent` is one."""
    sender = socket.create_connection((serving.LOOPBACK, int(app.address.split(":")[-1].strip("/"))))
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    said = f"Host: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n{size}\r\n"
    body = head + sent if length is not None else b"%x\r\n%s" % (len(sent), sent)
    sender.sendall(f"POST /gradio_api/upload HTTP/1.1\r\n{said}\r\n".encode() + body)
    return sender


def answer_of(sender: socket.socket) -> tuple[int, str]:
    """The status and the words of an answer, which comes in any number of pieces."""
    sender.settimeout(PATIENCE)
    with http.client.HTTPResponse(sender) as answer:
        answer.begin()
        return answer.status, answer.read().decode()


def wait_until(true: Any, seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


def test_an_upload_that_stops_in_the_middle(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    sender = upload(app, 1_000_000, b"x" * 300_000)
    assert wait_until(app.left)
    sender.close()
    assert wait_until(lambda: not app.left())
    assert app.examples[0].label in ask(app.address, app.examples[0].file)
    assert capfd.readouterr() == ("", "")


def test_300_mb_are_refused_before_they_come(app: App) -> None:
    with upload(app, 300_000_000, b"x" * 1000) as sender:
        status, words = answer_of(sender)
    assert status == 413 and words == serving.too_large(MOST) and not app.left()


def all_uploads(app: App) -> set[Path]:
    return {file for file in (app.folder / "uploads").rglob("*") if file.is_file()}


def test_many_files_in_one_request_are_counted_together(app: App) -> None:
    before, files = all_uploads(app), b""
    for k in range(6):
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{k}.mp4"\r\n\r\n'
        files += head.encode() + b"%d" % k * 900_000 + b"\r\n"
    with upload(app, None, files[: MOST + serving.FORM_BYTES + 1]) as sender:
        assert answer_of(sender) == (413, serving.too_large(MOST))
    assert all_uploads(app) == before


def test_no_room_for_another_upload(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = serving.stored(app.folder / "uploads")
    monkeypatch.setattr(serving, "KEPT_UPLOADS", (kept + 3_000_000) / MOST)
    with upload(app, 2_000_000, b"x" * 1000):
        assert wait_until(app.left)
        with upload(app, 2_000_000, b"x" * 1000) as second:  # there would be, without the first
            status, words = answer_of(second)
            assert status == 507 and words == serving.no_room(MOST)
    assert wait_until(lambda: not app.left())
    assert app.examples[0].label in ask(app.address, app.examples[0].file)
    monkeypatch.setattr(serving, "KEPT_UPLOADS", 0)
    with upload(app, 1000, b"") as sender:
        assert answer_of(sender)[0] == 507


# ---------------------------------------------------------------------------------------------- in a browser


def faults(opened: browser.Opened) -> list[str]:
    """Those that are ours."""
    return [found for found in opened.faults() if not any(rule in found and place in found for rule, place in GRADIOS)]


def assert_sound(opened: browser.Opened) -> None:
    """In a narrow and in a wide window, and in the dark, as the system's settings change while it is open."""
    from playwright.sync_api import expect

    opened.page.add_style_tag(content="* { transition: none !important }")  # of no colour half way to another
    for look, (width, height) in (("light", NARROW), ("light", WIDE), ("dark", WIDE)):
        opened.page.emulate_media(color_scheme=look)
        opened.page.set_viewport_size({"width": width, "height": height})
        expect(opened.page.locator("body.dark")).to_have_count(int(look == "dark"))
        assert not faults(opened) and opened.fits()


def clearing(page: Any) -> Any:
    """What is there once a clip is; twice for a moment, as Gradio shows it anew by the name it has on the server."""
    return page.get_by_role("button", name="Clear").last


def test_in_a_browser(app: App, open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    opened = open_page(app.address)
    page = opened.page
    answer = page.locator(".answer")
    page.get_by_role("button", name="What happens here?").click()
    expect(answer.get_by_role("alert")).to_have_text("no clip: upload or record one")
    page.get_by_role("button", name=app.examples[3].label).click()
    expect(page.locator("video")).to_be_visible()
    page.get_by_role("button", name="What happens here?").click()
    expect(answer.get_by_role("heading", level=2)).to_have_text(app.examples[3].label)
    page.get_by_role("button", name="Where does the network look?").click()
    expect(answer.get_by_role("heading", level=3)).to_contain_text(["When", EVIL])
    page.get_by_role("button", name="Settings").click()
    assert_sound(opened)
    with page.expect_download() as download:
        page.get_by_role("link", name=".srt").click()
    assert download.value.suggested_filename == f"{app.examples[3].label}.srt"
    assert app.examples[3].label in Path(download.value.path()).read_text()
    page.get_by_role("tab", name="Collect clips").click()
    page.get_by_role("button", name="Keep this clip").click()
    expect(answer.get_by_role("alert")).to_have_text("no clip: upload or record one")
    assert_sound(opened)
    assert not opened.requests_elsewhere(app.address) and not opened.errors


def test_bad_uploads_in_a_browser(
    app: App, open_page: OpenPage, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import expect

    opened = open_page(app.address)
    page = opened.page
    (tmp_path / "no.mp4").write_bytes(b"no video" * 999)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "no.mp4")
    expect(clearing(page)).to_be_visible()
    page.get_by_role("button", name="What happens here?").click()
    expect(page.locator(".answer").get_by_role("alert")).to_have_text(re.compile(r"^no\.mp4: "))
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(300_000_000)
    clearing(page).click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "large.mp4")
    expect(page.get_by_text("exceed the maximum allowed size of 4")).to_be_visible()
    assert not faults(opened) and not opened.requests_elsewhere(app.address)
    monkeypatch.setattr(serving, "KEPT_UPLOADS", 0)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "no.mp4")
    expect(page.get_by_text("This page keeps up to")).to_be_visible()
    assert not app.left() and capfd.readouterr().err == ""


def test_a_clip_is_recorded_and_kept(app: App, chromium: Any) -> None:
    """As the camera of a browser records it: a WebM that says no length."""
    from playwright.sync_api import expect

    with (
        chromium.browser_type.launch(executable_path=browser.program(), args=[*browser.FLAGS, *FAKE_CAMERA]) as other,
        browser.opener(other) as open_page,
    ):
        page = open_page(app.address).page
        page.get_by_role("tab", name="Collect clips").click()
        page.get_by_text("Click to Access Webcam").click()
        button = page.get_by_role("button", name="start recording")  # its name stays, its text changes
        button.click()
        expect(button).to_have_text("Stop")
        enough = page.evaluate(SHOWN) + 20  # about a second of them
        assert wait_until(lambda: page.evaluate(SHOWN) >= enough)
        button.click()
        expect(clearing(page)).to_be_visible()
        page.get_by_label("What it shows").fill(" beeping ")
        page.get_by_role("button", name="Keep this clip").click()
        expect(page.locator(".answer [role=status]")).to_have_text(re.compile(r"Kept as beeping/.*\.(webm|mp4)\."))
        expect(page.get_by_text("Click to Access Webcam")).to_be_visible()  # for the next one
        (file,) = (app.collected / "beeping").iterdir()
        assert list(rgb_frames(file))
        page.get_by_role("tab", name="Try it").click()
        page.locator("input[type=file]").first.set_input_files(file)
        clearing(page).wait_for()
        page.get_by_role("button", name="What happens here?").click()
        expect(page.locator(".answer table.top")).to_be_visible()


@contextmanager
def alone(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command where there is nothing but the loopback, and a proxy that does not answer; and its address."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))) or subprocess.run(["unshare", "-n", "true"]).returncode:
        pytest.skip("no network namespace of one's own: that takes Linux, root, util-linux and iproute2")
    command = shlex.join([sys.executable, "tools/demo_app.py", *words])
    around = {"TMPDIR": str(folder), "HTTP_PROXY": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", f"ip link set lo up && exec {command}"],
            **{"cwd": REPOSITORY, "env": os.environ | around, "text": True, "stdout": subprocess.PIPE, "stderr": log},
        )
        try:
            assert running.stdout is not None
            there, _, _ = select.select([running.stdout], [], [], PATIENCE)
            line = running.stdout.readline() if there else ""
            assert line, f"no address (status {running.poll()}): {(folder / 'log').read_text()}"
            yield running, line.split()[0]
        finally:
            running.kill()
            running.communicate()


def test_an_app_that_dies_says_why(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="--protocol dense: expected"), alone(tmp_path, "--protocol", "dense"):
        raise RuntimeError("it has begun")


def test_without_a_network(chromium: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    inside = tmp_path / "inside"
    with alone(tmp_path, "--port", "7860") as (running, address):
        inside.write_text(f'#!/bin/sh\nexec nsenter -n -t {running.pid} {browser.program()} "$@"\n')
        inside.chmod(0o755)
        with (
            chromium.browser_type.launch(executable_path=inside, args=browser.FLAGS) as there,
            browser.opener(there) as open_page,
        ):
            opened = open_page(address)
            failed: list[str] = []
            opened.page.on("requestfailed", lambda request: failed.append(f"{request.url}: {request.failure}"))
            opened.page.locator("input[type=file]").first.set_input_files(write_video(tmp_path / "a.mp4", 30))
            clearing(opened.page).wait_for()
            opened.page.get_by_role("button", name="What happens here?").click()
            expect(opened.page.locator(".answer table.top")).to_be_visible()
            assert not opened.requests_elsewhere(address) and not opened.errors
            assert all(each.endswith("ERR_ABORTED") for each in failed)  # Gradio's stream of news, which it ends itself
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE) == 130
    assert (tmp_path / "log").read_text().splitlines()[1:] == ["stopped"]  # after the line that describes the network
    assert not list(tmp_path.glob("fexnet-*"))
