"""The page: what is on it, and which function each button calls. Needs Gradio; `serving.prepared` comes before it."""

from __future__ import annotations

import html
from abc import ABCMeta
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from ops.errors import InputError, environment_fault
from ops.optional import need
from tools.demo_page.answers import Answers, fault_html
from tools.demo_page.clips import Collection
from tools.demo_page.examples import Example
from tools.demo_page.heat import HeatMaps

TITLE = "FEXNet: what happens in a video?"
KEPT = (600, 3600)  # seconds: how often is looked for files to delete, and how old these are
Result = TypeVar("Result")

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """With the system's own letters: nothing is loaded from elsewhere; words are dark enough to be read."""
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", **fonts).set(
        body_text_color_subdued="*neutral_600",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
    )


def _path_of(_: gr.Video, payload: Any) -> str | None:
    return payload.path if payload else None


async def _keep_uploaded(clip: gr.Video, file: Any) -> str | None:
    if "://" in str(file):
        raise gr.Error("an address: upload the video", print_exception=False)
    return await gr.Video.async_move_resource_to_block_cache(clip, file)


def _within(slider: gr.Slider, number: Any) -> float:
    low, high = slider.minimum, slider.maximum
    if not isinstance(number, int | float) or not low <= number <= high:
        raise gr.Error(f"{slider.label}: {number!r:.20}: expected {low:g} to {high:g}", print_exception=False)
    return number


def _derived(base: type, **own: Any) -> Any:
    """The component with some methods of our own; it looks as its base does.

    Not by `class`, of which Gradio's metaclass would write a .pyi file beside this one.
    """
    return ABCMeta.__new__(type(base), base.__name__, (base,), {"is_template": True, **own})


# A video that is uploaded or recorded, as it is: Gradio's own calls a program, ffmpeg, to drop the sound. Only what was
# uploaded: where a program gives an address instead, Gradio would have this machine fetch it.
Clip = _derived(gr.Video, preprocess=_path_of, async_move_resource_to_block_cache=_keep_uploaded)
# What a program gives that is out of its range is that program's fault: Gradio's own prints where it happened.
Slider = _derived(gr.Slider, preprocess=_within)
# Of a camera no sound, so that no microphone is needed; a size that networks make use of; shown as it is recorded.
CAMERA = gr.WebcamOptions(mirror=False, constraints={"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}})
LOOK: dict[str, Any] = {"include_audio": False, "webcam_options": CAMERA, "elem_classes": "clip"}


class Page:
    """The page of one network. collection: None: clips are not kept."""

    def __init__(
        self, answers: Answers, heat: HeatMaps, examples: list[Example], collection: Collection | None = None
    ) -> None:
        self.answers, self.heat, self.examples, self.collection = answers, heat, examples, collection

    def blocks(self) -> gr.Blocks:
        """As Gradio serves it."""
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=KEPT) as page:
            gr.HTML(f"<h1>{TITLE}</h1><p>{html.escape(self.answers.recognizer.describe())}</p>", padding=False)
            if self.collection is None:
                self._try_it()
            else:
                with gr.Tabs():
                    with gr.Tab("Try it"):
                        self._try_it()
                    with gr.Tab("Collect clips"):
                        self._collect()
        return page.queue(default_concurrency_limit=1, max_size=32, api_open=False)

    def _try_it(self) -> None:
        clip = Clip(
            label=f"a clip, up to {self.answers.longest:g} s", sources=["upload", "webcam"], render=False, **LOOK
        )
        if self.examples:
            files = [[str(example.file)] for example in self.examples]
            labels = [example.label for example in self.examples]
            gr.Examples(files, [clip], example_labels=labels, label="Examples", examples_per_page=len(files))
        with gr.Row():
            with gr.Column():
                clip.render()
                with gr.Accordion("Settings", open=False):
                    window = Slider(0.5, 10, 2, step=0.1, label="seconds of a window of the timeline")
                    least = Slider(0, 1, 0, step=0.01, label='"none of these" below this probability')
                ask = gr.Button("What happens here?", variant="primary")
                look = gr.Button("Where does the network look?")
            with gr.Column():
                answer = gr.HTML()
                maps = gr.HTML()
        ask.click(self.ask, [clip, window, least], [answer], api_name="answer", concurrency_limit=1)
        look.click(self.look, [clip], [maps], api_name="heat", concurrency_limit=1)  # by a network of its own
        clip.change(lambda: ("", ""), None, [answer, maps], queue=False, api_visibility="private")

    def _collect(self) -> None:
        assert self.collection is not None
        with gr.Row():
            with gr.Column():
                clip = Clip(label="the clip", sources=["webcam", "upload"], **LOOK)
                label = gr.Textbox(label="What it shows: the name of its class", max_lines=1)
                keep = gr.Button("Keep this clip", variant="primary")
            with gr.Column():
                kept = gr.HTML(self.collection.html())
        keep.click(self.keep, [clip, label], [kept, clip], api_name="keep")

    def ask(self, video: str | None, window: float, least: float, progress: Any = gr.Progress()) -> str:  # noqa: B008
        """The answer; what is wrong, in its place."""

        def on_window(done: float, seconds: float) -> None:
            progress((done, seconds), unit="s")

        return told(lambda: self.answers.answer(given(video), window, least, on_window), lambda fault: fault)

    def look(self, video: str | None) -> Iterator[str]:
        """That it takes a while; then heat maps, or what is wrong, in their place."""
        yield '<p role="status">Looking, and checking how far to trust what is seen: this takes some seconds …</p>'

        def maps() -> str:
            source = self.answers.source(given(video))
            need("captum", "heat maps")
            return self.heat.html(source)

        yield told(maps, lambda fault: fault)

    def keep(self, video: str | None, label: str) -> list[Any]:
        """Adds a clip to the collection: what is in it, and room for the next one."""
        collection = self.collection
        assert collection is not None

        def added() -> list[Any]:
            file = collection.add(given(video), label)
            return [collection.html(f"Kept as {file.relative_to(collection.folder).as_posix()}."), None]

        return told(added, lambda fault: [fault + collection.html(), gr.skip()])


def given(video: str | None) -> Path:
    """The clip's file. Raises InputError if there is none."""
    if video is None:
        raise InputError("no clip: upload or record one")
    return Path(video)


def told(work: Callable[[], Result], in_its_place: Callable[[str], Result]) -> Result:
    """What `work` gives; where that is wrong which a person can mend, what to show of it. Other faults go on."""
    try:
        return work()
    except InputError as error:
        return in_its_place(fault_html(str(error)))
    except Exception as error:
        if not (fault := environment_fault(error)):
            raise
        return in_its_place(fault_html(fault))
