"""The numbers of checkpoint/demo/README.md, the card of the model that comes with the project.

    bash scripts/demo_model.sh

trains, calibrates and tests it, and calls this tool with what the tests found: `calibration.json`, `efficient.json` and
`accurate.json`. They go into `card.json` beside the model, and from there into the card, between `<!-- numbers -->` and
`<!-- end -->`; what stands outside stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python puts tools/ there

from ops.errors import InputError, reported
from ops.evaluation.metrics import wilson_interval
from ops.evaluation.results import write_result
from ops.files import write_text
from ops.running.checkpoint import IN_THE_BOX, LATEST, read_checkpoint
from tools.options import documented_parser

FOLDER = Path(__file__).resolve().parents[1] / "checkpoint" / IN_THE_BOX
# The tests, by the names of their results, and on which videos of demo they are.
TESTS = {
    "efficient": "validation",
    "accurate": "validation",
    "calibration": "of another seed",
}
PLACE = re.compile(r"(<!-- numbers -->\n).*?(<!-- end -->)", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> None:
    """Gather, write, fill in."""
    parser = documented_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="what test_models.py found")
    parser.add_argument("--model", type=Path, default=FOLDER, metavar="DIR", help=f"its folder ({IN_THE_BOX})")
    args = parser.parse_args(argv)
    page = args.model / "README.md"
    card = gathered(args.model / LATEST, {name: read(args.results / f"{name}.json") for name in TESTS})
    write_result(args.model / "card.json", card)
    write_text(page, filled(page.read_text(encoding="utf-8"), card))
    print(*lines_of(card), sep="\n")


def read(path: Path) -> dict[str, Any]:
    """A test's result. Raises InputError where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no result of test_models.py ({error}); scripts/demo_model.sh writes it") from error


def gathered(model: Path, tested: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All numbers of the card: the file's, what the checkpoint says of itself, the tests' by their protocols."""
    checkpoint, content = read_checkpoint(model), model.read_bytes()
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(v.numel() for n, v in checkpoint.state_dict.items() if n.endswith((".weight", ".bias"))),
        "network": tested["efficient"]["network"],
        "epochs": checkpoint.training["epoch"],
        "seed": checkpoint.training["options"]["seed"],
        "calibration": checkpoint.training["calibration"],
        "tested": {name: _shown(result) for name, result in tested.items()},
        "environment": tested["efficient"]["environment"],
    }


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    """Of a test's result what the card tells."""
    right = round(result["top1"] * result["videos"] / 100)
    low, high = wilson_interval(right, result["videos"])
    kept = ("top1", "top5", "videos", "clips", "crops", "crop_size", "coverage", "seconds")
    ece = result.get("calibration", {}).get("ece_after", result["ece"])
    return {**{key: result[key] for key in kept}, "ece": ece, "interval": [100 * low, 100 * high]}


def filled(page: str, card: dict[str, Any]) -> str:
    """The card with its numbers. Raises InputError where it has no place for them."""
    if not PLACE.search(page):
        raise InputError("checkpoint/demo/README.md: expected a line <!-- numbers --> and, below it, <!-- end -->")
    return PLACE.sub(lambda match: match[1] + "".join(f"{line}\n" for line in lines_of(card)) + match[2], page)


def lines_of(card: dict[str, Any]) -> list[str]:
    """The numbers as Markdown."""
    rows = [
        f"| {r['videos']} {TESTS[name]} | {r['clips']} × {r['crops']} of {r['crop_size']} px | {r['top1']:.2f} % "
        f"| {r['interval'][0]:.2f} to {r['interval'][1]:.2f} % | {r['top5']:.2f} % | {r['ece']:.2f} % "
        f"| {1000 * r['seconds'] / r['videos']:.0f} ms |"
        for name, r in card["tested"].items()
    ]
    found, surest = card["calibration"], card["tested"]["accurate"]["coverage"]
    sure = ", ".join(f"{row['top1']:.1f} % of the surest {row['coverage']:.0f} %" for row in surest)
    return [
        f"{card['network']}: {card['parameters'] / 1e6:.2f} million parameters, kernels in float16, "
        f"{card['bytes'] / 1e6:.1f} MB; {card['epochs']} epochs, seed {card['seed']}.",
        "",
        "| videos | clips × crops | top-1 | 95 % interval | top-5 | ECE | a video |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Temperature {found['temperature']:.3f} ± {found['standard_error']:.3f}, of {found['fitted_on']} videos. On "
        f"{found['judged_on']} others the expected calibration error goes from {found['ece_before']:.2f} to "
        f"{found['ece_after']:.2f} %, the negative log-likelihood from {found['nll_before']:.4f} to "
        f"{found['nll_after']:.4f}.",
        "",
        f"At full resolution are right: {sure}.",
    ]


if __name__ == "__main__":
    with reported():
        main()
