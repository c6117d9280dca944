"""Checks a data set before time is spent on it.

    python tools/check_dataset.py NAME
    python tools/check_dataset.py NAME --decode

What is checked. Every line of the lists, every folder and the frames it promises (with --storage video: every file,
its frames counted anew; with --storage packed: every shard and video); with --decode every frame is decoded, and if
packed compared with its checksum. Then: videos that are in training and in validation, by name or by content (byte by
byte; a re-encoded copy is not found), videos listed twice (with two labels: an error), classes without videos, or with
ten times the videos of another, another number of classes than the official one.

What is written, in --report DIR (report/check_NAME): report.txt and report.json; contact_sheet.png, frames of some
videos with their labels; balance.png, the videos of each class and the lengths of all.

Exit status: 0 no errors (there may be warnings), 1 errors, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops import names
from ops.data.catalog import CATALOG, DataSource, resolve
from ops.data.decode import FrameError
from ops.data.fingerprint import MISSING, content_of, fingerprint
from ops.data.parallel import in_parallel, stop_if_told
from ops.data.records import UNLABELLED, Records, VideoRecord
from ops.data.sampling import val_indices
from ops.data.storages import Storage, listed, open_storage
from ops.data.storages.checked import Checked
from ops.data.storages.video import VideoFiles
from ops.errors import InputError, reported
from ops.evaluation.drawing import as_written, save_picture
from ops.files import check_writable, write_text
from ops.machine import computing_with
from tools.options import add_jobs, add_root, common_faults, documented_parser

CHUNK = 32  # videos checked by a process at a time
SHOWN = 20  # errors, and warnings, that are named on the terminal; all are in the report
IMBALANCE = 10
SHEET_VIDEOS, SHEET_FRAMES = 12, 4


@dataclass
class Report:
    """What was found, of each list and in all."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    videos: dict[str, Records] = field(default_factory=dict)
    content: dict[str, list[str]] = field(default_factory=dict)  # of each list a mark for each video


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, report; the exit status."""
    args = parse(argv)
    lists = (args.train_list, args.val_list)
    data = resolve(args.dataset, args.root_dataset, *lists, args.root_path, args.modality, args.storage)
    folder = args.report or Path("report") / f"check_{args.dataset}"
    check_writable([folder / "report.txt"])
    storage = open_storage(data, "pyav")
    report = Report()
    for name, file in (("train", data.train_list), ("val", data.val_list), ("test", data.test_list)):
        if name != "test" or file.is_file():
            check_list(report, name, file, data, storage, args)
    look_at_classes(report, data)
    look_for_duplicates(report)
    write_report(report, folder, data, storage)
    return 1 if report.errors else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("dataset", help=f"{', '.join(CATALOG)}, or one of your own")
    add_root(parser)
    add("--modality", default="RGB", choices=names.MODALITIES, help="RGB, Flow or RGBDiff (RGB)")
    add("--storage", choices=names.STORAGES, help=f"{', '.join(names.STORAGES)} (as dataset.toml says, or frames)")
    for flag, what in (("train_list", "FILE"), ("val_list", "FILE"), ("root_path", "DIR")):
        add(f"--{flag}", metavar=what, help="instead of the data set's own")
    add("--decode", action="store_true", help="decode every frame")
    add("--report", type=Path, metavar="DIR", help="where the report goes (report/check_NAME)")
    add_jobs(parser)
    args = parser.parse_args(argv)
    if faults := common_faults(args):
        raise InputError("; ".join(faults))
    return args


def check_list(
    report: Report, name: str, file: Path, data: DataSource, storage: Storage, args: argparse.Namespace
) -> None:
    """Every line and every video of a list."""
    try:
        records = listed(data, storage, file, unlabelled_too=name != "train")
    except InputError as error:
        report.errors.append(f"{name}: {error}")
        return
    found: dict[int, tuple[Checked, str]] = {}
    bare = VideoFiles(data.root, "pyav") if isinstance(storage, VideoFiles) else storage  # without all it knows
    numbered = iter(enumerate(records))
    chunks = list(iter(lambda: tuple(islice(numbered, CHUNK)), ()))
    with closing(in_parallel(partial(check, storage=bare, decode=args.decode), chunks, args.jobs, "chunk")) as checked:
        for chunk, results in checked:
            found.update(zip((place for place, _ in chunk), results, strict=True))
    for place, record in enumerate(records):
        result = found[place][0]
        if result.fault:
            report.errors.append(f"{name}: {record.name}: {result.fault}")
        if result.remark:
            report.warnings.append(f"{name}: {record.name}: {result.remark}")
    report.videos[name] = records
    report.content[name] = [found[place][1] for place in range(len(records))]


def check(chunk: Sequence[tuple[int, VideoRecord]], storage: Storage, decode: bool) -> list[tuple[Checked, str]]:
    """What a look at each video found, and a mark of its content."""
    results = []
    with computing_with(1):
        for _, record in chunk:
            stop_if_told()
            results.append((storage.check(record, decode), content_of(storage, record)))
    return results


def look_at_classes(report: Report, data: DataSource) -> None:
    """Warnings about the classes' numbers of videos."""
    if data.classes and len(data.categories) != data.classes:
        report.warnings.append(f"{len(data.categories)} classes; {data.name} officially has {data.classes}")
    for name in ("train", "val"):
        counts = Counter(record.label for record in report.videos.get(name, []))
        if not counts or UNLABELLED in counts:
            continue
        without = [category for label, category in enumerate(data.categories) if not counts[label]]
        report.warnings += [f"{name}: no video of class {category!r}" for category in without]
        (most, n), (least, m) = counts.most_common(1)[0], counts.most_common()[-1]
        if n >= IMBALANCE * m:
            pair = f"{data.categories[most]!r} has {n} videos, {data.categories[least]!r} {m}"
            report.warnings.append(f"{name}: the classes are out of balance: {pair}")


def look_for_duplicates(report: Report) -> None:
    """Warnings about videos that stand twice in a list, or in two, by name or by content; errors if labels differ."""
    by_content: dict[str, list[tuple[str, VideoRecord]]] = defaultdict(list)
    by_path: dict[str, list[tuple[str, VideoRecord]]] = defaultdict(list)
    for name, records in report.videos.items():
        for record, mark in zip(records, report.content[name], strict=True):
            by_path[record.name].append((name, record))
            if mark != MISSING:
                by_content[mark].append((name, record))
    for path, same in by_path.items():
        if len(labels_of(same)) > 1:
            said = " and ".join(f"{record.label} in {name}" for name, record in same)
            report.errors.append(f"{path} has label {said}: a video has one here")
        elif len(same) > 1:
            report.warnings.append(f"{path} is listed {len(same)} times: in {', '.join(name for name, _ in same)}")
    for same in by_content.values():
        if len({record.path for _, record in same}) > 1:
            labels = ", with different labels" * (len(labels_of(same)) > 1)
            where = "different lists" if len({name for name, _ in same}) > 1 else f"one list{labels}"
            distinct = dict.fromkeys(f"{name}: {record.name}" for name, record in same)
            report.warnings.append(f"the same content in {where}: {'; '.join(distinct)}")


def labels_of(videos: Sequence[tuple[str, VideoRecord]]) -> set[int]:
    """Those that are known."""
    return {record.label for _, record in videos} - {UNLABELLED}


def write_report(report: Report, folder: Path, data: DataSource, storage: Storage) -> None:
    """The report as text, JSON and pictures; its most important on the terminal."""
    train: Sequence[VideoRecord] = report.videos.get("train", [])
    counts = {name: len(records) for name, records in report.videos.items()}
    lengths = {
        name: [min(n), sorted(n)[len(n) // 2], max(n)]
        for name, records in report.videos.items()
        if (n := [record.num_frames for record in records])
    }
    summary = {
        "dataset": data.name,
        "storage": data.storage,
        "root": str(data.root),
        "classes": len(data.categories),
        "videos": counts,
        "frames_min_median_max": lengths,
        "mirroring": data.mirror,
        "fingerprint": fingerprint(data, storage, report.videos.get("train")),
    }
    write_text(
        folder / "report.json",
        json.dumps({**summary, "errors": report.errors, "warnings": report.warnings}, indent=1, ensure_ascii=False)
        + "\n",
    )
    head = [f"{key}: {value}" for key, value in summary.items()]
    found = [f"{kind}: {line}" for kind, lines in found_by_kind(report) for line in lines]
    write_text(folder / "report.txt", "".join(f"{line}\n" for line in [*head, "", *found]))
    print(*head, sep="\n")
    for kind, lines in found_by_kind(report):
        print(f"{kind}s: {len(lines)}", *lines[:SHOWN], *["…"] * (len(lines) > SHOWN), sep="\n  ")
    draw_balance(report, data, folder / "balance.png")
    draw_sheet(train, data, storage, folder / "contact_sheet.png")
    print(f"report: {folder}")


def found_by_kind(report: Report) -> list[tuple[str, list[str]]]:
    """Errors, then warnings."""
    return [("error", report.errors), ("warning", report.warnings)]


def draw_balance(report: Report, data: DataSource, file: Path) -> None:
    """Videos of each class, the most frequent first, and the lengths of all videos."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    by_class = {name: Counter(r.label for r in records) for name, records in report.videos.items()}
    K = len(data.categories)
    order = sorted(range(K), key=lambda label: -by_class.get("train", Counter())[label])
    bottom = [0] * K
    for name, counts in by_class.items():
        heights = [counts[label] for label in order]
        left.bar(range(K), heights, bottom=bottom, width=1.0 if K > 40 else 0.8, label=name)
        bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    if K <= 40:  # more names would not be readable
        left.set_xticks(range(K), [as_written(data.categories[label]) for label in order], rotation=90, fontsize=8)
    left.set(ylabel="videos", xlabel="" if K <= 40 else "classes, the most frequent first")
    for name, records in report.videos.items():
        right.hist([record.num_frames for record in records], bins=40, histtype="step", label=name)
    right.set(xlabel="frames", ylabel="videos")
    if report.videos:
        left.legend()
        right.legend()
    save_picture(figure, file, dpi=90)


def draw_sheet(train: Sequence[VideoRecord], data: DataSource, storage: Storage, file: Path) -> None:
    """Some frames of training videos of as many classes as fit, with their labels."""
    chosen = spread_over_classes(train, SHEET_VIDEOS)
    figure = Figure(figsize=(1.8 * SHEET_FRAMES, 1.6 * max(1, len(chosen))), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(1, len(chosen)), SHEET_FRAMES, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, record in zip(grid, chosen, strict=False):
        label = data.categories[record.label] if record.label != UNLABELLED else "no label"
        title = f"{as_written(label)}: {as_written(record.name)}, {record.num_frames} frames"
        row[0].text(0, 1.04, title, fontsize=8, transform=row[0].transAxes, in_layout=False)
        numbers = sorted(set(val_indices(record.num_frames, SHEET_FRAMES, 1)))
        try:
            frames = storage.read(record, numbers)  # (L, c, H, W)
        except FrameError:
            row[0].text(0, 0.5, "cannot be read", fontsize=8)
            continue
        for axes, frame in zip(row, frames.flip(0) if record.backwards else frames, strict=False):
            pixels = frame.permute(1, 2, 0).numpy()  # (H, W, c)
            axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
    save_picture(figure, file, dpi=90)


def spread_over_classes(records: Sequence[VideoRecord], most: int) -> list[VideoRecord]:
    """At most so many videos: of as many classes as fit, spread over them all, then a second of each and so on."""
    by_class: dict[int, list[VideoRecord]] = defaultdict(list)
    for record in records:
        by_class[record.label].append(record)
    labels = sorted(by_class)
    labels = labels[:: max(1, len(labels) // most)]
    rounds = zip_longest(*(by_class[label] for label in labels))
    return [record for turn in rounds for record in turn if record is not None][:most]


if __name__ == "__main__":
    with reported():
        sys.exit(main())
