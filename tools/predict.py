#!/usr/bin/env python3
"""Which action a video shows: any video in, the most probable classes out.

    python tools/predict.py video.mp4 --weights checkpoint/demo/ckpt.pth

SOURCE is a video file, a folder of frames, a folder that holds either (class folders and all), a pattern such as
'clips/*.mp4', a list file (.txt: a path a line; a data set's lists too) or - for paths from standard input (separated
by line breaks or, as `find -print0` writes them, NULs). A name that begins with a dash stands behind --.

Frames, crops and scores are those of test_models.py under the same --protocol: the checkpoint says all that is needed.
A video that cannot be read is reported and does not stop the rest; of one that is cut off, what can be read is taken,
and said. --json and --csv are written as results come and kept on Ctrl-C; the same command goes on with what --json
holds (after seeing that the first of it comes out the same), --overwrite starts anew.

With --window SECONDS a video's answer is a timeline: segments of one class each, see docs/predict.md.

Exit status: 0 all predicted, 1 some could not be read, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops import names
from ops.console import start_logging
from ops.errors import InputError, did_you_mean, reported
from ops.files import check_writable
from ops.machine import prepare_process, usable_cores
from tools import timelines
from tools.options import documented_parser

logger = logging.getLogger("fexnet")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict; how it went (see above)."""
    start_logging()
    args = parse(argv)
    check_writable([file for file in (args.json, args.csv, *timelines.outputs_of(args)) if file])
    prepare_process()
    return run(args)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises InputError with every fault."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="videos: see above")
    add("--weights", required=True, type=Path, metavar="FILE", help="a checkpoint, own or published")
    add("--protocol", default="efficient", help=f"views of a video: {', '.join(names.PROTOCOLS)} (efficient)")
    add("--classes", type=Path, metavar="FILE", help="class names, one a line, for a checkpoint that has none")
    add("--top", type=int, default=5, metavar="N", help="classes that are shown (5)")
    least = 'below this probability the answer is "none of these"'
    add("--min_probability", type=float, metavar="P", help=least)
    out = parser.add_argument_group("results")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the predictions here, or go on with them")
    out.add_argument("--scores", action="store_true", help="all classes' averaged logits too, in --json")
    out.add_argument("--csv", type=Path, metavar="FILE", help="write the predictions here")
    out.add_argument("--overwrite", action="store_true", help="do not go on with --json, but start anew")
    timelines.add_options(parser)
    run = parser.add_argument_group("running")
    run.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, …; auto: a GPU if there is one (auto)")
    run.add_argument("--amp", default="off", help=f"mixed precision: {', '.join(names.PRECISIONS)} (off)")
    run.add_argument("--batch_size", type=int, default=1, metavar="N", help="videos a batch (1)")
    run.add_argument("-j", "--workers", type=int, metavar="N", help="processes that read videos (one a processor)")
    args = parser.parse_args(argv)
    if faults := faults_of(args):
        raise InputError("; ".join(faults))
    args.timeline = timelines.options_of(args)
    return args


def faults_of(args: argparse.Namespace) -> list[str]:
    """What is wrong with the options."""
    faults = []
    for flag, value, known in (
        ("--protocol", args.protocol, names.PROTOCOLS), ("--amp", args.amp, names.PRECISIONS)
    ):  # fmt: skip
        if value not in known:
            faults.append(f"{flag} {value}: expected one of {', '.join(known)}{did_you_mean(value, known)}")
    for flag, value, low in (("top", args.top, 1), ("batch_size", args.batch_size, 1), ("workers", args.workers, 0)):
        if value is not None and value < low:
            faults.append(f"--{flag} {value}: expected {low} or more")
    if args.min_probability is not None and not 0 <= args.min_probability <= 1:
        faults.append(f"--min_probability {args.min_probability}: expected a number from 0 to 1")
    if args.scores and not args.json:
        faults.append("--scores: goes into --json FILE: give that too")
    results = [file for file in (args.json, args.csv, *timelines.outputs_of(args)) if file]
    if len({file.resolve() for file in results}) < len(results):
        faults.append(f"{', '.join(map(str, results))}: two results are one file; name another")
    if args.weights in results:
        faults.append(f"{args.weights}: it is --weights; name another file for the results")
    return faults


def run(args: argparse.Namespace) -> int:
    """Predicts every video, prints and writes; 0, or 1 if some could not be read."""
    from tqdm import tqdm

    from ops.data.clips import Unreadable
    from ops.recognition.recognizer import Recognizer
    from ops.recognition.results import Results, in_words, shown
    from ops.recognition.sources import find_sources
    from ops.running.runlog import Progress

    recognizer = Recognizer.from_checkpoint(
        args.weights, device_of(args.device), args.protocol, args.classes, amp=args.amp, batch_size=args.batch_size
    )
    logger.info("%s", recognizer.describe())
    if args.timeline:
        return timelines.run(recognizer, find_sources(args.sources, sys.stdin), args.timeline, args)
    results = Results(recognizer.contract.classes, args.json, args.csv, args.top, args.scores, args.min_probability)
    sources = find_sources(args.sources, sys.stdin)
    if not args.overwrite:
        results.go_on()
    kept = {entry["path"] for entry in results.entries}
    if again := next((source for source in sources if source.path in kept), None):
        results.refuse_others(recognizer(again))
        logger.info("%s: goes on, %d predictions are there", args.json, len(kept))
    sources = [source for source in sources if source.path not in kept]
    workers = usable_cores() if args.workers is None else args.workers
    workers = max(0, min(workers, len(sources) - 1))  # one video, or none, is not worth a process
    unreadable = 0
    try:
        with Progress("predicting", len(sources), every=max(20, len(sources) // 10)) as progress:
            for number, found in enumerate(recognizer.predict(sources, workers)):
                progress.update(number, "videos")
                if isinstance(found, Unreadable):
                    unreadable += 1
                    logger.warning("left out: %s: %s", shown(found.path), found.reason)
                else:
                    results.add(found)
                    tqdm.write(in_words(found, args.top, args.min_probability))
    finally:
        results.save()
    if unreadable:
        logger.warning("%d of %d videos could not be read", unreadable, len(sources))
    return 1 if unreadable else 0


def device_of(name: str) -> str:
    """`auto` as the device that it means. Raises InputError for one that is not here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name}: it does not work here ({reason}); give cpu, or auto") from error
    return name


if __name__ == "__main__":
    with reported():
        sys.exit(main())
