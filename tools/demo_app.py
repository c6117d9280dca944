#!/usr/bin/env python3
"""A page to try a network: upload or record a clip, see what happens when in it, and where the network looks.

    python tools/demo_app.py --weights checkpoint/demo/ckpt.pth
    python tools/demo_app.py --weights checkpoint/demo/ckpt.pth --collect my_videos

It prints the address to open in a browser, and runs until Ctrl-C. Nobody but this machine reaches it, and it asks
nothing of any other: it works without a network. What is uploaded is deleted an hour later, or at the end.

With --collect DIR clips can be labelled and kept, in a folder for each class, of which tools/prepare_videos.py makes a
data set to train with: see docs/demo_app.md.

--share_with_network lets in everybody who reaches this machine, without a password and unencrypted. They can use this
machine's time, read whatever the page shows, and with --collect fill its disk.

Exit status: 2 wrong input, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import math
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops import names
from ops.console import start_logging
from ops.errors import InputError, did_you_mean, reported
from ops.files import check_writable
from ops.machine import prepare_process
from ops.optional import need_all
from tools.demo_page import serving
from tools.options import documented_parser
from tools.predict import device_of

logger = logging.getLogger("fexnet")

WEIGHTS = Path(__file__).resolve().parents[1] / "checkpoint" / "demo" / "ckpt.pth"
PROTOCOLS = tuple(name for name in names.PROTOCOLS if name != "dense")  # whose clips are of no time


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, serve until the end."""
    start_logging()
    args = parse(argv)
    if args.collect:
        check_writable([args.collect / ".on trial"])
    prepare_process()
    with serving.prepared() as folder:
        need_all(["gradio"], "tools/demo_app.py")
        run(args, folder)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises InputError with every fault."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("--weights", default=WEIGHTS, type=Path, metavar="FILE", help="a checkpoint (the small model in the box)")
    add("--classes", type=Path, metavar="FILE", help="class names, one a line, for a checkpoint that has none")
    add("--protocol", default="efficient", help=f"views of a video: {', '.join(PROTOCOLS)} (efficient)")
    add("--collect", type=Path, metavar="DIR", help="keep labelled clips there, in a folder for each class")
    add("--device", default="auto", help="cpu, cuda, cuda:1, …; auto: a GPU if there is one (auto)")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max_upload", type=float, default=200, metavar="MB", help="of a file (200)")
    limits.add_argument("--longest", type=float, default=120, metavar="SECONDS", help="of a video (120)")
    where = parser.add_argument_group("where")
    where.add_argument("--port", type=int, metavar="N", help=f"(the first free one from {serving.FIRST_PORT} on)")
    where.add_argument("--share_with_network", action="store_true", help="let in other machines: see above")
    args = parser.parse_args(argv)
    faults = []
    if args.protocol not in PROTOCOLS:
        faults.append(
            f"--protocol {args.protocol}: expected {' or '.join(PROTOCOLS)}{did_you_mean(args.protocol, PROTOCOLS)}"
        )
    faults += [
        f"--{flag} {value:g}: expected a number above 0"
        for flag, value in (("max_upload", args.max_upload), ("longest", args.longest))
        if not 0 < value < math.inf
    ]
    if args.port is not None and not 0 < args.port < 65536:
        faults.append(f"--port {args.port}: expected a number from 1 to 65535")
    if faults:
        raise InputError("; ".join(faults))
    return args


def run(args: argparse.Namespace, folder: Path) -> None:
    """Serves the page until Ctrl-C; all that the server writes goes into `folder`."""
    from ops.recognition.recognizer import Recognizer
    from tools.demo_page import examples
    from tools.demo_page.answers import Answers
    from tools.demo_page.clips import Collection
    from tools.demo_page.heat import HeatMaps
    from tools.demo_page.layout import STYLE, Page, theme

    device = device_of(args.device)
    recognizer = Recognizer.from_checkpoint(args.weights, device, args.protocol, args.classes)
    logger.info("%s", recognizer.describe())
    collection = Collection(args.collect) if args.collect else None
    if collection:
        logger.info("a data set of the clips: %s", collection.next_command(str(args.collect)))
    page = Page(
        Answers(recognizer, args.longest),
        HeatMaps(args.weights, device, args.classes),
        examples.make(folder / "examples", recognizer.contract.classes),
        collection,
    )
    host = serving.EVERYWHERE if args.share_with_network else serving.LOOPBACK
    with serving.served(
        page.blocks(), host, args.port, round(args.max_upload * serving.MB), theme=theme(), css=STYLE
    ) as port:
        if args.share_with_network:
            logger.warning(
                "open to everybody who reaches this machine, without a password: http://%s:%d/",
                socket.gethostname(),
                port,
            )
        print(f"http://{serving.LOOPBACK}:{port}/  (Ctrl-C ends it)", flush=True)
        serving.wait_for_the_end()


if __name__ == "__main__":
    with reported():
        main()
