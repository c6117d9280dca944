"""Predictions as JSON and CSV: written as they come, kept when the program is stopped, and gone on with."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.errors import InputError
from ops.files import atomic_write
from ops.recognition.recognizer import Answer, Prediction
from ops.running.fields import CLASSES, none_or, number, plain, record, sequence, text, whole
from ops.tables import as_csv

SAVED_EVERY = 30.0  # seconds: so much is lost at most, whatever ends the program
AGREES = 1e-3  # a probability of the same network on another machine; rounding moves it by 1e-6
Entry = dict[str, Any]
_ANSWER = {"label": whole(0, CLASSES), "class": text, "probability": number(0, 1)}
ENTRIES = sequence(  # what a file of them may hold
    record(
        plain,
        path=text,
        top=sequence(record(plain, tuple(_ANSWER), **_ANSWER)),
        frames=whole(0, 2**62),
        seconds=none_or(number(0)),
        views=whole(0, 2**62),
        answer=none_or(text),
        scores=sequence(number()),
    ),
    most=100_000_000,
)


@dataclass
class Results:
    """Entries, one a video, and the files that they are written to.

    top: how many classes an entry names. scores: whether it holds all. least: below which probability the answer is
    "none of these"; None: not asked.
    """

    classes: Sequence[str]
    json_file: Path | None = None
    csv_file: Path | None = None
    top: int = 5
    scores: bool = False
    least: float | None = None
    entries: list[Entry] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    def add(self, prediction: Prediction) -> None:
        """One more; the files are written if they have not been for a while."""
        self.entries.append(self.entry(prediction))
        if time.monotonic() - self.saved > SAVED_EVERY:
            self.save()

    def entry(self, prediction: Prediction) -> Entry:
        """As JSON has it."""
        found: Entry = {
            "path": prediction.path,
            "top": [_as_json(answer) for answer in prediction.top[: self.top]],
            "frames": prediction.frames,
            "seconds": None if prediction.seconds is None else round(prediction.seconds, 3),
            "views": prediction.views,
        }
        if self.least is not None:
            answer = prediction.answer(self.least)
            found["answer"] = answer.name if answer else None
        if self.scores:
            found["scores"] = prediction.scores.tolist()
        if prediction.damage:
            found["damage"] = prediction.damage
        return found

    def save(self) -> None:
        """Writes what there is to the files, in the order of the entries."""
        if self.json_file:
            write(self.json_file, "[\n" + ",\n".join(json.dumps(entry) for entry in self.entries) + "\n]\n")
        if self.csv_file:
            write(self.csv_file, self._table())
        self.saved = time.monotonic()

    def _table(self) -> str:
        """A line a video: path, frames, seconds, views, then class and probability of each of the top."""
        ranks = range(1, min(self.top, len(self.classes)) + 1)
        answer = ["answer"] if self.least is not None else []
        named = [f"{what}_{rank}" for rank in ranks for what in ("class", "probability")]
        table = [["path", "frames", "seconds", "views", *answer, *named]]
        for entry in self.entries:
            row = [entry["path"], entry["frames"], entry["seconds"], entry["views"]]
            row += [entry["answer"]] if answer else []
            table.append(row + [each[what] for each in entry["top"] for what in ("class", "probability")])
        return as_csv(table)

    def go_on(self) -> None:
        """Takes up the entries that the JSON file holds, if there is one.

        Raises InputError for another file, or one of other classes.
        """
        if not self.json_file or not self.json_file.is_file():
            return
        remedy = "name another file, or give --overwrite"
        try:
            entries = json.loads(self.json_file.read_bytes())
            wanted = self._keys()
            right = isinstance(entries, list) and all(wanted <= entry.keys() for entry in entries)
            if right:
                ENTRIES("entries", entries)
            answers = [answer for entry in entries for answer in entry["top"]] if right else []
            differ = next((a for a in answers if not self._knows(a["label"], a["class"])), None)
        except (ValueError, AttributeError, RecursionError) as error:
            raise InputError(f"{self.json_file}: no predictions ({error}): {remedy}") from error
        if not right:
            raise InputError(f"{self.json_file}: no predictions with {', '.join(sorted(wanted))}: {remedy}")
        if differ:
            raise InputError(
                f"{self.json_file}: predictions of other classes: {differ['class']!r} has the label {differ['label']} "
                f"there, which here is {self._named(differ['label'])}: {remedy}"
            )
        if any(len(entry["top"]) != min(self.top, len(self.classes)) for entry in entries):
            raise InputError(f"{self.json_file}: its predictions name another number of classes: {remedy}")
        self.entries = entries

    def _keys(self) -> set[str]:
        asked = {"scores": self.scores, "answer": self.least is not None}
        return {"path", "top", "frames", "seconds", "views"} | {name for name, wanted in asked.items() if wanted}

    def _knows(self, label: int, name: str) -> bool:
        return 0 <= label < len(self.classes) and self.classes[label] == name

    def _named(self, label: int) -> str:
        return repr(self.classes[label]) if 0 <= label < len(self.classes) else "no class"

    def refuse_others(self, again: Prediction) -> None:
        """Raises InputError if an entry is not what is predicted for its video now: by another network, or other views.

        `again`: of a video that has an entry.
        """
        before = next(entry for entry in self.entries if entry["path"] == again.path)
        now = {answer.label: answer.probability for answer in again.top}
        far = max(abs(each["probability"] - now[each["label"]]) for each in before["top"])
        if before["views"] != again.views or far > AGREES:
            first, path = before["top"][0], shown(again.path)
            raise InputError(
                f"{self.json_file}: of other weights, views or videos: there {first['class']!r} has "
                f"{first['probability']:.4f} of {before['views']} views of {path}, now {now[first['label']]:.4f} of "
                f"{again.views}: name another file, or give --overwrite"
            )


def in_words(prediction: Prediction, top: int, least: float | None = None) -> str:
    """For the terminal: the video, its most probable classes, what is wrong with it."""
    length = "" if prediction.seconds is None else f", {prediction.seconds:.1f} s"
    lines = [f"{shown(prediction.path)} ({prediction.frames} frames{length})"]
    if prediction.damage:
        lines.append(f"   of what could be read: {prediction.damage}")
    if least is not None and prediction.answer(least) is None:
        lines.append(f"   none of these: none has {100 * least:g} %")
    lines += [f"  {100 * answer.probability:5.1f} %  {answer.name}" for answer in prediction.top[:top]]
    return "\n".join(lines)


def shown(path: str) -> str:
    """A path on one line, whatever is in it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in path)


def _as_json(answer: Answer) -> dict[str, Any]:
    return {"label": answer.label, "class": answer.name, "probability": round(answer.probability, 6)}


def write(path: Path, text: str) -> None:
    """Writes a text in which files' names may be."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))  # the bytes that a file's name has
