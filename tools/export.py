"""Exports a trained network to other runtimes: uint8 frames in, probabilities out, and checked before it is kept.

    python tools/export.py --weights checkpoint/demo/ckpt.pth --to all --output exported
    python tools/export.py --weights checkpoint/demo/ckpt.pth --to openvino --output exported --int8 --dataset demo

Written are model.onnx, model.pt2 (torch.export), model.xml and .bin (OpenVINO), model.safetensors (the weights as
trained), and model.json, which says how a video becomes the input; docs/consumer.py follows it without torch. Each
form is opened again and compared with torch, in batches of 1, 3 and 16; one that gives other probabilities is not
kept, and the exit status is 1. docs/export.md tells more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.console import start_logging
from ops.data.catalog import resolve
from ops.errors import InputError, did_you_mean, reported
from ops.machine import prepare_process
from ops.names import EXPORTS
from ops.optional import need_all
from tools.options import add_root, documented_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, export, print; the exit status."""
    start_logging()
    args = parse(argv)
    prepare_process()
    from ops.exporting.export import export  # torch takes seconds

    data = args.dataset, args.root_dataset, args.storage
    if args.int8:  # known to be there before the work begins
        need_all(("openvino", "nncf"), "--int8")
        resolve(args.dataset, args.root_dataset, storage=args.storage)
    how = {"count": args.count, "threads": args.threads, "tolerance": args.tolerance, "classes": args.classes}
    done = export(args.weights, args.to, args.output, args.videos or (), Path(args.root_dataset), **how)
    verdict = None
    if args.int8 and "openvino" in done.kept:
        from ops.exporting.int8 import Bounds, export_int8

        bounds = Bounds(args.int8_speedup, args.int8_drop)
        verdict = export_int8(done, args.output, *data, bounds, calibration=args.calibration)
    print(done.table())
    if verdict:
        print(verdict)
    for path in done.written:
        print(f"written: {path}")
    for fault in done.faults:
        print(fault, file=sys.stderr)
    return 1 if done.faults else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises InputError that names all that are wrong."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--weights", type=Path, required=True, metavar="FILE", help="the checkpoint, own or published")
    add("--to", nargs="+", required=True, metavar="FORM", help=f"{', '.join(EXPORTS)}, or all")
    add("--classes", type=Path, metavar="FILE", help="class names, one a line, for a checkpoint that has none")
    add("--output", type=Path, required=True, metavar="DIR", help="the folder to write to")
    add(
        "--videos", nargs="+", metavar="SOURCE", help="to check on, as tools/predict.py takes them (demo's test videos)"
    )
    add("--count", type=int, default=50, metavar="N", help="of them, spread over all (50)")
    add("--threads", type=int, default=0, metavar="N", help="of each runtime (one a core)")
    add("--tolerance", type=float, default=1e-4, metavar="P", help="by which a probability may differ (0.0001)")
    add_root(parser)
    add("--int8", action="store_true", help="OpenVINO's form in eight bits too, if it is fast and accurate enough")
    add(
        "--dataset", metavar="NAME", help="--int8: whose training videos calibrate it, whose validation videos judge it"
    )
    add("--storage", help="--int8: of that data set: frames, packed or video")
    add("--calibration", type=int, default=128, metavar="N", help="--int8: so many training videos (128)")
    add("--int8_speedup", type=float, default=1.5, metavar="X", help="--int8: at least X times as fast (1.5)")
    add("--int8_drop", type=float, default=0.5, metavar="POINTS", help="--int8: top-1 at most so much lower (0.5)")
    args = parser.parse_args(argv)
    faults = [f"--to {to}: expected {', '.join(EXPORTS)} or all{did_you_mean(to, EXPORTS)}" for to in unknown(args.to)]
    args.to = list(EXPORTS) if "all" in args.to else list(dict.fromkeys(args.to))
    for name in ("count", "calibration"):
        if getattr(args, name) < 1:
            faults.append(f"--{name} {getattr(args, name)}: at least 1")
    if args.threads < 0:
        faults.append(f"--threads {args.threads}: at least 1, or 0 for one a core")
    if args.int8 and not args.dataset:
        faults.append("--int8: needs --dataset, whose training videos calibrate it")
    if args.int8 and "openvino" not in args.to:
        faults.append("--int8: is OpenVINO's; add openvino to --to")
    if faults:
        raise InputError("; ".join(faults))
    return args


def unknown(names: Sequence[str]) -> list[str]:
    """Those that are no form."""
    return [name for name in names if name not in (*EXPORTS, "all")]


if __name__ == "__main__":
    with reported():
        sys.exit(main())
