"""Makes a small file of an own checkpoint, to use and to give away: its kernels in float16, no optimizer, no paths.

    python tools/slim_checkpoint.py --weights checkpoint/NAME/ckpt.pth --out NAME.pth

It is tested, predicted with, exported and fine-tuned (--tune_from) like the whole one; training can't go on from it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from ops.files import check_writable
from ops.running.checkpoint import save_checkpoint, weights_alone
from tools.options import documented_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, read, write."""
    parser = documented_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="a checkpoint of main.py")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the small file to write")
    args = parser.parse_args(argv)
    if args.out.resolve() == args.weights.resolve():
        raise InputError(
            f"--out {args.out}: it is --weights, from which training could then not go on; name another file"
        )
    content = weights_alone(args.weights)
    check_writable([args.out])
    save_checkpoint(args.out, content)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, of {args.weights.stat().st_size / 1e6:.2f}")


if __name__ == "__main__":
    with reported():
        main()
