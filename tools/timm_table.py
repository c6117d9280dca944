"""The table of timm's networks in docs/compatibility.md: which can be patched in time, and before which layers.

    python tools/timm_table.py

tries the smallest network of each of timm's families, without numbers (some minutes), and writes the table anew between
`<!-- timm -->` and `<!-- end -->`. `--only resnet ghostnet` prints the lines of those of timm's modules instead.
"""

from __future__ import annotations

import copy
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from archs.backbone import Backbone, build_backbone
from archs.names import TIMM_PREFIX
from archs.residuals import Block
from archs.timm_models import classifier_of, create, timm_library
from ops.errors import InputError, reported
from ops.files import write_text
from ops.model.tsn import NetworkOptions, patch
from ops.names import FEX_STAGES
from tools.options import documented_parser

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compatibility.md"
TABLE = re.compile(r"(<!-- timm -->\n).*?(<!-- end -->)", re.DOTALL)
# The part of a name that stands for its family: `resnext` of `resnext50_32x4d`, `convnextv2` of `convnextv2_atto`.
FAMILY = re.compile(
    r"(?:(?:dm|gc|legacy|sam2|test|tf)_)?((?:(?:eca|ese|nf|tiny|wide)_)?[a-z]+(?:\d[a-z]{3,})?(?:(?<=v)\d)?)"
)


@dataclass(frozen=True)
class Finding:
    """What can be patched of a network: how many blocks, before what; or why none can."""

    example: str
    before: str = ""
    shift: str = ""
    fex: str = ""
    why_not: str = ""


def main(argv: Sequence[str] | None = None) -> None:
    """Try all, write the table."""
    parser = documented_parser(__doc__)
    parser.add_argument("--only", nargs="+", metavar="MODULE", help="print these modules' lines; nothing is written")
    parser.add_argument(
        "--page", type=Path, default=PAGE, metavar="FILE", help="where the table stands (docs/compatibility.md)"
    )
    args = parser.parse_args(argv)
    try:
        modules = timm_library().list_modules()
    except ValueError as error:
        raise InputError(str(error)) from error
    if unknown := set(args.only or ()) - set(modules):
        raise InputError(f"--only {' '.join(sorted(unknown))}: timm has the modules {', '.join(modules)}")
    if args.only:
        print("\n".join(lines(args.only)))
        return
    text = args.page.read_text(encoding="utf-8")
    if not TABLE.search(text):
        raise InputError(f"{args.page}: no line `<!-- timm -->` with `<!-- end -->` after it")
    table = "\n".join(lines(modules))
    write_text(args.page, TABLE.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text))


def lines(modules: Iterable[str]) -> list[str]:
    """The table's: a row for what is patched alike in a module, then those that cannot be, by the reason."""
    rows, refused = [], defaultdict(list)
    for module in modules:
        alike: dict[str, list[tuple[str, Finding]]] = defaultdict(list)
        for family, example in smallest(module).items():  # the smallest first
            found = finding(example)
            if found.why_not:
                refused[found.why_not].append(f"{family} (`{example}`)")
            else:
                alike[found.before].append((family, found))
        rows += [row(module, found) for found in alike.values()]
    return [
        f"With timm {timm_library().__version__}:",
        "",
        "| timm's module | families | example | patched before | blocks, shift | blocks, FEX |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "| not patched, because | families, with an example |",
        "|---|---|",
        *(f"| {reason} | {', '.join(sorted(families))} |" for reason, families in sorted(refused.items())),
    ]


def row(module: str, alike: Sequence[tuple[str, Finding]]) -> str:
    """Families whose blocks are patched before the same layers, with the first one's example."""
    families, found = ", ".join(sorted(family for family, _ in alike)), alike[0][1]
    return f"| {module} | {families} | `{found.example}` | {found.before} | {found.shift} | {found.fex} |"


def smallest(module: str) -> dict[str, str]:
    """Of each family in timm's `module` the network with the fewest parameters (of those with one classifier, if any).

    The smallest first.
    """
    members: dict[str, list[tuple[bool, int, str]]] = defaultdict(list)
    names = timm_library().list_models(module=module)
    for name in (name for name in names if not name.startswith("test_")):  # timm's own tests'
        match = FAMILY.match(name)
        assert match is not None, name
        with torch.device("meta"):
            net = create(f"{TIMM_PREFIX}{name}", pretrained=False)
        members[match[1]].append((_is_headless(net), sum(p.numel() for p in net.parameters()), name))
    best = {min(sizes): family for family, sizes in members.items()}
    return {best[size]: size[2] for size in sorted(best)}


def _is_headless(net: torch.nn.Module) -> bool:
    try:
        classifier_of(net)
    except ValueError:
        return True
    return False


def finding(name: str) -> Finding:
    """What of timm's network of that name can be patched."""
    arch = f"{TIMM_PREFIX}{name}"
    try:
        with torch.device("meta"):
            backbone = build_backbone(arch)
        patched = _patched(backbone, arch, fex="off")
    except ValueError as error:
        return Finding(name, why_not=str(error).removeprefix(f"--arch {arch}: ").split("give --no-shift; ")[-1])
    before = dict.fromkeys(_inside(block) for blocks in backbone.stages.values() for block in blocks)
    return Finding(name, ", ".join(f"`{layer}`" for layer in before), str(patched), _with_fex(backbone, arch))


def _with_fex(backbone: Backbone, arch: str) -> str:
    """How many blocks FEX takes, and in which stages if not in all that it is meant for."""
    counts = {}
    for stage in FEX_STAGES:
        with suppress(InputError):  # too few channels, or no block there
            counts[stage] = _patched(backbone, arch, fex="paper", fex_stages=(stage,))
    where = f" ({' '.join(counts)})" if 0 < len(counts) < len(FEX_STAGES) else ""
    return f"{sum(counts.values())}{where}"


def _patched(backbone: Backbone, arch: str, **changes: Any) -> int:
    # The narrowest network has channels for two folds of a half.
    return len(patch(copy.deepcopy(backbone), NetworkOptions(2, 8, arch=arch, shift=True, shift_div=2, **changes)))


def _inside(block: Block) -> str:
    """The name of its first layer, without the block's own where it has one."""
    layer = block.layers[0]
    return layer.removeprefix(f"{block.name}.") if block.name else ".".join(layer.split(".")[-2:])


if __name__ == "__main__":
    with reported():
        main()
