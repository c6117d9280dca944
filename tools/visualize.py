#!/usr/bin/env python3
"""What a network looks at: a heat map for every frame it saw, and how far to trust it.

    python tools/visualize.py video.mp4 --weights checkpoint/demo/ckpt.pth

VIDEO is a video file or a folder of frames. Written are <video>_heat.png, a figure: what the network saw, heat on it,
of a network with FEX its own background, foreground and channel attention in each stage, and what the checks of the map
found; and <video>_heat.mp4, the same frames with their heat. A map that fails a check says so in both. What each check
means: docs/explain.md. With --label and --method the names say so, as <video>_7-<class>_<method>_heat.png: answers to
several questions lie side by side, and the same command again replaces its own.

Exit status: 0 written (whether or not the map passed), 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.console import start_logging
from ops.errors import reported
from ops.files import check_writable
from ops.machine import prepare_process
from tools.options import documented_parser
from tools.predict import device_of

logger = logging.getLogger("fexnet")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, explain, write."""
    start_logging()
    args = parse(argv)
    prepare_process()
    from ops.explaining.drawing import verdict, write_figure, write_video  # here, as they load torch
    from ops.explaining.explain import Explainer
    from ops.explaining.methods import method_named

    if args.method is not None:
        method_named(args.method)
    explainer = Explainer.from_checkpoint(args.weights, device_of(args.device), args.classes)
    label = None if args.label is None else explainer.label_of(args.label)
    name = named(args.video, label, explainer.contract.classes, args.method)
    files = [args.output / f"{name}_heat{ending}" for ending in (".png", ".mp4")]
    check_writable(files)
    logger.info("%s", explainer.contract.network)
    found = explainer.explain(args.video, label, args.method, checked=not args.no_check)
    print(f"{found.path}: {found.name}, {found.probability:.1%}; {verdict(found)}")
    if found.damage:
        print(f"   of what could be read: {found.damage}")
    if found.trust is not None:
        print(found.trust.words)
    if not found.blocks:
        logger.info("the network has no FEX: there is no foreground of its own to show")
    for file, write in zip(files, (write_figure, write_video), strict=True):
        again = file.exists()
        write(found, file)
        print(f"{file}{' (in place of an earlier one)' if again else ''}")
    return 0


def named(video: Path, label: int | None, classes: Sequence[str], method: str | None) -> str:
    """What the files begin with: the video, and what was asked of it. Of a class's name what files may be called."""
    words = [video.absolute().name if video.is_dir() else video.stem]
    if label is not None:
        said = re.sub(r"[^a-zA-Z0-9]+", "-", classes[label]).strip("-")[:40]
        words.append(f"{label}-{said}" if said else str(label))
    return "_".join([*words, *([method] if method is not None else [])])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("video", type=Path, metavar="VIDEO", help="a video file, or a folder of frames")
    add("--weights", required=True, type=Path, metavar="FILE", help="a checkpoint, own or published")
    add("--label", metavar="CLASS", help="what to explain: a class's name, or its number (the most probable class)")
    add("--method", help="how the map is made, see docs/explain.md (the one that did best there)")
    add("--output", type=Path, default=Path("heat"), metavar="DIR", help="where the pictures go (heat)")
    add("--classes", type=Path, metavar="FILE", help="class names, one a line, for a checkpoint that has none")
    add("--no_check", action="store_true", help="leave out the checks, which take most of the time")
    add("--device", default="auto", help="cpu, cuda, cuda:1, …; auto: a GPU if there is one (auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    with reported():
        sys.exit(main())
