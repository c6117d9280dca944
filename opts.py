"""All options of `main.py` and `test_models.py`: their names, defaults and checks. Knows no tensors.

Flags of the published scripts keep their names and defaults. Every fault of a command line is reported at once,
each with the flag, its value and the remedy.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from archs.names import ARCHS, RESNETS, TIMM_PREFIX
from ops import names
from ops.data.catalog import CATALOG, Cache, hidden, unknown
from ops.errors import InputError, did_you_mean

logger = logging.getLogger(__name__)

Number = TypeVar("Number", int, float)

# Accepted because published command lines have them; they had no effect there either.
WITHOUT_EFFECT = {
    "main.py": {"k": 3, "snapshot_pref": "", "flow_prefix": "", "img_feature_dim": 256},
    "complexity.py": {},
    "test_models.py": {"num_set_segments": 1, "pretrain": "imagenet", "comu_type": "replace", "img_feature_dim": 256},
}
SAMPLING_FLAGS = {"dense_sample": "dense", "twice_sample": "twice", "ten_clip_sparse": "ten_sparse"}
MASK = re.compile("[01]{12}")  # BNInception's stages
LR_STEPS = [50, 100]  # unless the user says otherwise, which this very list does not


class Parser(argparse.ArgumentParser):
    """argparse whose faults are InputErrors, with the nearest known flag beside an unknown one."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog, description=description, allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        for name, default in WITHOUT_EFFECT[prog].items():
            self.add_argument(f"--{name}", type=type(default), default=default, help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Raises InputError instead of leaving the program."""
        raise InputError(f"{message}; {self.prog} --help lists all flags")

    def faults_below(self, args: argparse.Namespace, least: int, *options: str) -> list[str]:
        """A fault for each of `options` whose value is below `least`, by its flag's name."""
        flags = {action.dest: action.option_strings for action in self._actions}
        given = ((max(flags[option], key=len), getattr(args, option)) for option in options)
        return [f"{flag} {v}: expected {least} or more" for flag, v in given if v is not None and v < least]

    def read(self, argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
        """The options and the faults found so far: one for each unknown flag."""
        args, unknown = self.parse_known_args(argv)
        known = [flag for action in self._actions for flag in action.option_strings]
        faults = [f"unknown: {word}{did_you_mean(word.split('=')[0], known)}" for word in unknown]
        for name, default in WITHOUT_EFFECT[self.prog].items():
            if getattr(args, name) != default:
                logger.warning("--%s has no effect, here as in the published code", name)
        return args, faults


def training_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of `main.py`; raises InputError with every fault."""
    parser = Parser("main.py", "Train FEXNet, TSM or TSN.")
    parser.add_argument("dataset", help=f"{', '.join(CATALOG)}, or one of your own (tools/prepare_videos.py)")
    parser.add_argument("modality", help=", ".join(names.MODALITIES))
    _add_data(parser)
    parser.add_argument("--train_list", help="instead of the data set's own")
    parser.add_argument("--val_list", help="instead of the data set's own")
    parser.add_argument("--dense_sample", action="store_true", help="clips from a window of 64 frames")
    parser.add_argument("--input_size", type=int, default=224, help="side of the training crops in pixels")
    add_network(parser)
    _add_learning(parser)
    _add_run(parser)
    args, faults = parser.read(argv)
    faults += _training_faults(args, parser)
    _raise(faults)
    return args


def testing_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of `test_models.py`; raises InputError with every fault."""
    parser = Parser("test_models.py", "Test a trained network, or an ensemble, with the published views.")
    weights = "checkpoints, own or published, or saved scores (.npz); several are an ensemble"
    parser.add_argument("dataset", help=f"{', '.join(CATALOG)}, or one of your own (tools/prepare_videos.py)")
    parser.add_argument("--weights", required=True, type=_files, metavar="FILE[,FILE…]", help=weights)
    _add_data(parser)
    parser.add_argument("--add_se", action="store_true", help="refuse checkpoints without it; they say it themselves")
    parser.add_argument("--test_list", type=_files, metavar="FILE[,FILE…]", help="instead of the validation list")
    views = parser.add_argument_group("views")
    views.add_argument("--protocol", help=f"instead of the flags below: {', '.join(names.PROTOCOLS)}")
    views.add_argument("--test_segments", type=_whole_numbers, metavar="T[,T…]", help="frames a clip (as trained)")
    views.add_argument("--dense_sample", action="store_true", help="ten clips, each from a window of 64 frames")
    views.add_argument("--twice_sample", action="store_true", help="two clips: the segments' middles and starts")
    views.add_argument("--ten_clip_sparse", action="store_true", help="shifted clips over the whole video")
    views.add_argument("--ten_clip_count", type=int, default=3, help="how many: 3 as released, 10 as the name says")
    views.add_argument("--test_crops", type=int, default=1, help="crops a clip: 1, 3, 5 or 10")
    views.add_argument("--full_res", action="store_true", help="crops of 256/224 of the input size")
    views.add_argument("--input_size", type=int, help="side of the crops in pixels (default: as trained)")
    views.add_argument("--reverse_time", action="store_true", help="play the videos backwards")
    views.add_argument("--crop_fusion_type", default="avg", help="consensus over segments")
    run = parser.add_argument_group("running")
    run.add_argument("--batch_size", type=int, default=1, help="videos a batch")
    run.add_argument("--views_per_forward", type=int, help="views forwarded at once (default: what fits)")
    run.add_argument("--max_num", type=int, default=-1, help="test the first so many videos only")
    run.add_argument("--amp", default="off", help=f"mixed precision: {', '.join(names.PRECISIONS)}")
    run.add_argument("--no_deploy", action="store_true", help="test the network as it was trained, nothing folded")
    run.add_argument("--compile", action="store_true", help="compile first (torch.compile): pays in long tests")
    _add_machine(run)
    out = parser.add_argument_group("results")
    out.add_argument("--result_json", metavar="FILE", help="write the result's numbers here")
    out.add_argument("--report", metavar="DIR", help="write a page (index.html), its tables and pictures here")
    still = "also score the frames shuffled, backwards and frozen: four times the work"
    out.add_argument("--motion", action="store_true", help=still)
    out.add_argument("--csv_file", metavar="FILE", help="write predictions here as the challenges want them")
    out.add_argument("--softmax", action="store_true", help="turn a video's scores into probabilities")
    out.add_argument("--coeff", type=_numbers, metavar="C[,C…]", help="weights of an ensemble's networks (1)")
    kept = "write every video's scores here (.npz); an ensemble's networks' own, as they come, beside it"
    out.add_argument("--save_scores", metavar="FILE", help=kept)
    probable = "fit a temperature on half of the videos, judge it on the others, keep it in the checkpoint"
    out.add_argument("--calibrate", action="store_true", help=probable)
    args, faults = parser.read(argv)
    faults += _apply_protocol(args)
    faults += _testing_faults(args, parser)
    _raise(faults)
    return args


def _apply_protocol(args: argparse.Namespace) -> list[str]:
    """Sets the views that --protocol names; faults for an unknown one and for flags beside it."""
    if args.protocol is None:
        return []
    if args.protocol not in names.PROTOCOLS:
        return _one_of(("--protocol", args.protocol, tuple(names.PROTOCOLS)))
    views = (*SAMPLING_FLAGS, "full_res")
    given = [f"--{view}" for view in views if getattr(args, view)] + ["--test_crops"] * (args.test_crops != 1)
    wanted = {"sampling": "uniform", "crops": 1, "full_res": False} | names.PROTOCOLS[args.protocol]
    args.test_crops, args.full_res = wanted["crops"], wanted["full_res"]
    vars(args).update({flag: sampling == wanted["sampling"] for flag, sampling in SAMPLING_FLAGS.items()})
    return [f"--protocol {args.protocol} says the views: leave out {', '.join(given)}"] if given else []


def _files(text: str) -> list[str]:
    return [text] if Path(text).is_file() else text.split(",")  # a name may have a comma in it


def _workers(text: str) -> int | None:
    """None for `auto`."""
    try:
        return None if text == "auto" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, or auto") from None


def _whole_numbers(text: str) -> list[int]:
    return _parts(text, int, "whole numbers")


def _numbers(text: str) -> list[float]:
    return _parts(text, float, "numbers")


def _parts(text: str, kind: Callable[[str], Number], what: str) -> list[Number]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {what} with commas between them") from None


def complexity_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of `tools/complexity.py`; raises InputError with every fault."""
    parser = Parser("complexity.py", "Parameters and multiply-accumulates of a network.")
    parser.add_argument("modality", nargs="?", default="RGB", help=", ".join(names.MODALITIES))
    parser.add_argument("--num_classes", dest="classes", metavar="N", type=int, default=400, help="of the classifier")
    parser.add_argument("--input_size", type=int, default=224, help="side of the frames in pixels")
    add_network(parser)
    args, faults = parser.read(argv)
    faults += _one_of(("modality", args.modality, names.MODALITIES)) + network_faults(args, parser)
    faults += parser.faults_below(args, 1, "classes", "input_size")
    _raise(faults)
    args.no_partialbn = True  # which matters to training only
    return args


def run_name(args: argparse.Namespace) -> str:
    """The run's folder: the published name, and a mark for each option that changes the network or what it starts from.

    The seed, partial BN and what else changes only how it learns are not in it: --suffix.
    """
    parts = ["TSM", args.dataset, args.modality + "keep" * args.keep_rgb, args.arch.replace(":", "-")]
    if args.shift:
        parts.append(f"shift{args.shift_div}_{args.shift_place}")
        shifted = sorted(set(args.shift_stages))
        if shifted and (_has_fex(args) or shifted != list(names.STAGES)):
            parts.append(_digits("shiftin", shifted))
    parts += ["tpool"] * args.temporal_pool + ["addse"] * args.add_se
    if _has_fex(args):
        parts.append({"paper": "FEX", "released": "FEXreleased"}[args.fex])
        stages = sorted(set(args.fex_stages))
        parts += [_digits("in", stages)] if stages != list(names.FEX_STAGES) else []
        parts += _fex_marks(args)
    parts += ["fp" + _mark(args.follow_pretrain)] if args.follow_pretrain else []
    parts += [args.consensus_type, f"segment{args.num_segments}", f"e{args.epochs}"]
    if args.pretrain != "imagenet":
        parts.append(args.pretrain if args.pretrain == "none" else f"from{_mark(args.pretrain)}")
    if args.tune_from:
        parts.append(f"tuned{_mark(args.tune_from)}")
    parts += ["nodropout"] if args.dropout == 0 else []
    parts += [args.lr_type] if args.lr_type != "step" else []
    parts += ["dense"] * args.dense_sample + ["nl"] * args.non_local
    parts += [args.suffix] if args.suffix else []
    return "_".join(parts)


def _digits(mark: str, stages: Sequence[str]) -> str:
    return mark + "".join(stage[-1] for stage in stages)


def _fex_marks(args: argparse.Namespace) -> list[str]:
    """A mark for each way in which the FEX block is not the paper's, or starts otherwise."""
    marks = [f"{args.fex_init}init"] * (args.fex_init != "shift")
    marks += [f"no{part}" for part in names.FEX_PARTS if part not in args.fex_parts]
    marks += [args.fex_attention] * (args.fex_attention != "linear")
    return marks + [f"no{norm}bn" for norm in names.FEX_NORMS if norm not in args.fex_norms]


def _mark(path: str) -> str:
    """Six digits that tell one start from another."""
    return hashlib.sha256(path.encode()).hexdigest()[:6]


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    default = os.environ.get("FEXNET_DATASETS", "dataset")
    data.add_argument("--root_dataset", default=default, metavar="DIR", help="where data sets live (FEXNET_DATASETS)")
    where = "folder of frames or videos, instead of the data set's own; of packed frames a URL too"
    data.add_argument("--root_path", metavar="DIR", type=hidden, help=where)
    what = "what is read of a URL is kept there (FEXNET_CACHE, ~/.cache/fexnet)"
    data.add_argument("--cache_dir", metavar="DIR", help=what)
    most = Cache().gigabytes
    data.add_argument("--cache_gb", type=float, default=most, metavar="GB", help=f"GB of it at most ({most:g})")
    storage = f"{', '.join(names.STORAGES)}: folders of frames, these packed, or video files"
    data.add_argument("--storage", help=f"{storage} (default: as dataset.toml says, frames)")
    data.add_argument("--decoder", default="auto", help=f"of video files: {', '.join(names.DECODERS)} (auto: pyav)")
    where = "where JPEG frames are decoded: cpu, by the loader's processes, or cuda, by nvJPEG; frames differ a little"
    data.add_argument("--decode_device", default="cpu", help=f"{where} (cpu)")
    data.add_argument("--bad_frames", default="error", help="a video that can't be read: error, or skip and count it")


def add_network(parser: argparse.ArgumentParser) -> None:
    """The options that say which network it is."""
    net = parser.add_argument_group("network")
    net.add_argument("--arch", default="resnet50", help=f"{', '.join(ARCHS)}, or {TIMM_PREFIX}NAME of a timm model")
    net.add_argument("--num_segments", type=int, default=3, help="frames a clip")
    over_time = "work in time: FEX blocks, or see --fex; without it, TSN"
    net.add_argument("--shift", action=argparse.BooleanOptionalAction, default=False, help=over_time)
    net.add_argument("--shift_div", type=int, default=8, help="one fold is 1/shift_div of the channels")
    places = f"{', '.join(names.SHIFT_PLACES)}; of BNInception block, or twelve digits"
    net.add_argument("--shift_place", default="blockres", help=places)
    where = "stages of the plain shift (default: all with --fex off, else none)"
    net.add_argument("--shift_stages", nargs="+", default=[], metavar="STAGE", help=where)
    net.add_argument("--fex", default="paper", help="paper; released: as the published checkpoint; off: TSM")
    starts = "shift: start as TSM; plain: the framework's start; zero: that, and TIM at zero"
    net.add_argument("--fex_init", default="shift", help=starts)
    net.add_argument("--fex_stages", nargs="+", default=list(names.FEX_STAGES), help=f"of {', '.join(names.STAGES)}")
    parts = "fe, ss: with one alone; in SS's place is then the plain shift"
    net.add_argument("--fex_parts", nargs="+", default=list(names.FEX_PARTS), metavar="PART", help=parts)
    weighting = f"FE's: {', '.join(names.FEX_ATTENTIONS)}; the paper's is linear"
    net.add_argument("--fex_attention", default="linear", help=weighting)
    norms = f"SS's BatchNorms, of {', '.join(names.FEX_NORMS)}; nothing: without"
    net.add_argument("--fex_norms", nargs="*", default=list(names.FEX_NORMS), metavar="NORM", help=norms)
    net.add_argument("--temporal_pool", action="store_true", help="halve the segments before layer2")
    net.add_argument("--non_local", action="store_true", help="five non-local blocks (resnet50)")
    net.add_argument("--add_se", action="store_true", help="spatio-temporal squeeze-and-excitation around the blocks")
    net.add_argument("--keep_rgb", action="store_true", help="RGBDiff: the first frame beside the differences")
    net.add_argument("--consensus_type", default="avg", help="avg, or identity: every frame is scored by itself")
    net.add_argument("--dropout", "--do", type=float, default=0.5, help="before the classifier")
    net.add_argument("--pretrain", default="imagenet", help="the backbone's start: imagenet, none or a file")
    net.add_argument("--tune_from", metavar="FILE", help="start from what fits of this checkpoint")
    frozen = "start the backbone from this TSN or TSM, frozen until the first of --lr_steps"
    net.add_argument("--follow_pretrain", default="", metavar="FILE", help=frozen)


def _add_learning(parser: argparse.ArgumentParser) -> None:
    learn = parser.add_argument_group("learning")
    learn.add_argument("--epochs", type=int, default=120, help="passes over the training list")
    learn.add_argument("-b", "--batch-size", type=int, default=128, help="videos a batch, over all devices")
    learn.add_argument("--lr", "--learning-rate", type=float, default=0.001, help="for this batch size")
    learn.add_argument("--lr_type", default="step", help="step or cos")
    learn.add_argument("--lr_steps", type=float, nargs="+", default=LR_STEPS, help="epochs where step divides by 10")
    learn.add_argument("--warmup_epochs", type=int, default=0, help="epochs in which the rate rises to --lr")
    learn.add_argument("--momentum", type=float, default=0.9, help="SGD's")
    learn.add_argument("--weight-decay", "--wd", type=float, default=5e-4, help="of weights; biases have none")
    learn.add_argument("--fex_lr", type=float, default=1.0, metavar="M", help="FEX's own layers learn M times as fast")
    learn.add_argument("--fex_wd", type=float, help="weight decay of FEX's own weights (default: --wd)")
    learn.add_argument("--clip-gradient", "--gd", type=float, help="the gradient's norm at most")
    learn.add_argument("--no_partialbn", "--npb", action="store_true", help="train every BatchNorm")
    learn.add_argument("--sync_bn", action="store_true", help="BatchNorm over all processes' videos, not each one's")
    learn.add_argument("--accumulate", type=int, default=1, help="batches whose gradients make one step")
    learn.add_argument("--scale_lr_from", type=int, metavar="B", help="--lr is for B videos a step: scale it to ours")
    learn.add_argument("--label_smoothing", type=float, default=0.0, help="probability shared among all classes")
    learn.add_argument("--mixup", type=float, default=0.0, metavar="ALPHA", help="blend pairs of clips; 0: never")
    learn.add_argument("--cutmix", type=float, default=0.0, metavar="ALPHA", help="paste boxes of other clips")
    learn.add_argument("--randaugment", action="store_true", help="random operations, alike on a clip's frames")
    learn.add_argument("--ema", type=float, default=0.0, metavar="DECAY", help="validate and keep averaged weights")
    learn.add_argument("--deterministic", action="store_true", help="the same numbers from run to run, on GPUs too")
    learn.add_argument("--no_fc_lr5", action="store_true", help="the classifier learns no faster than the rest")
    learn.add_argument("--loss_type", default="nll", help="nll (cross entropy)")
    learn.add_argument("--amp", default="auto", help=f"mixed precision: {', '.join(names.PRECISIONS)}")
    learn.add_argument("--seed", type=int, default=0, help="of everything random")


def _add_run(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("running")
    resume = "go on from this run's checkpoint; auto: from the run's own newest, or from the start"
    run.add_argument("--resume", default="", metavar="FILE|auto", help=resume)
    run.add_argument("--start-epoch", type=int, default=0, help="instead of the checkpoint's, unless 0")
    run.add_argument("-e", "--evaluate", action="store_true", help="only validate the checkpoint of --resume")
    run.add_argument("--overwrite", action="store_true", help="replace an earlier run of the name, log and all")
    run.add_argument("-p", "--print-freq", type=int, default=20, help="steps between two lines")
    run.add_argument("-ef", "--eval-freq", type=int, default=5, help="epochs between two validations; 0: never")
    run.add_argument("--save_steps", type=int, default=0, metavar="K", help="save in mid-epoch too, every K steps")
    run.add_argument("--save_minutes", type=float, default=0, metavar="M", help="the same, every M minutes")
    run.add_argument("--keep", type=int, default=0, metavar="K", help="keep a checkpoint of each of the last K epochs")
    run.add_argument("--full_disk", default="stop", help="where a checkpoint finds no room: stop, or wait for some")
    run.add_argument("--nan", default="stop", help="a loss or gradient that is no number: stop, or skip the step")
    run.add_argument("--store_name", default="", help="the run's folder (default: made of the options)")
    run.add_argument("--suffix", help="appended to the run's folder")
    run.add_argument("--root_log", default="log", metavar="DIR", help="of the runs' logs")
    run.add_argument("--root_model", default="checkpoint", metavar="DIR", help="of the runs' checkpoints")
    _add_machine(run)


def _add_machine(group: argparse._ArgumentGroup) -> None:
    workers = "loader processes; auto: as many as the device can use and the processors allow"
    group.add_argument("-j", "--workers", type=_workers, default=None, metavar="N|auto", help=f"{workers} (auto)")
    hung = "how long reading a video may take, with loader processes; 0: for ever"
    group.add_argument("--read_timeout", type=float, default=300, metavar="SECONDS", help=hung)
    waiting = "several processes: how long they wait for one that does not go on"
    group.add_argument("--timeout_minutes", type=float, default=10, metavar="M", help=waiting)
    group.add_argument("--gpus", type=int, nargs="+", help="GPUs for DataParallel (default: all)")


def _training_faults(args: argparse.Namespace, parser: Parser) -> list[str]:
    faults = _data_faults(args) + _one_of(
        ("modality", args.modality, names.MODALITIES),
        ("--lr_type", args.lr_type, names.SCHEDULES),
        ("--loss_type", args.loss_type, ("nll",)),
        ("--amp", args.amp, names.PRECISIONS),
        ("--full_disk", args.full_disk, names.FULL_DISK),
        ("--nan", args.nan, names.NOT_FINITE),
    )
    faults += network_faults(args, parser)
    counts = ("input_size", "epochs", "batch_size", "print_freq", "accumulate", "scale_lr_from")
    faults += parser.faults_below(args, 1, *counts)
    faults += parser.faults_below(args, 0, "workers", "warmup_epochs", "seed", "start_epoch", "eval_freq")
    faults += parser.faults_below(args, 0, "save_steps", "keep")
    faults += _not_from_0(("--save_minutes", args.save_minutes), ("--read_timeout", args.read_timeout))
    faults += _not_above_0(("--lr", args.lr), ("--gd", args.clip_gradient), ("--timeout_minutes", args.timeout_minutes))
    if wrong := [step for step in args.lr_steps if not step > 0]:
        faults.append(f"--lr_steps {wrong[0]:g}: expected numbers of epochs above 0")
    for flag in ("momentum", "weight_decay", "fex_wd", "label_smoothing", "ema"):
        if (value := getattr(args, flag)) is not None and not 0 <= value < 1:
            faults.append(f"--{flag.replace('weight_decay', 'wd')} {value}: expected a number from 0 to below 1")
    faults += _not_from_0(("--mixup", args.mixup), ("--cutmix", args.cutmix))  # the beta distributions' alpha
    faults += _not_from_0(("--fex_lr", args.fex_lr))
    if (args.fex_lr != 1 or args.fex_wd is not None) and not _has_fex(args):
        faults.append("--fex_lr, --fex_wd: the network has no FEX block that they could be of; give --shift (FEX)")
    if args.randaugment and args.modality == "Flow":
        faults.append("--randaugment: its operations are made for pictures, not for Flow; leave it out")
    return faults + _start_faults(args)


def _not_above_0(*given: tuple[str, float | None]) -> list[str]:
    wrong = [(flag, value) for flag, value in given if value is not None and not (value > 0 and math.isfinite(value))]
    return [f"{flag} {value}: expected a number above 0" for flag, value in wrong]


def _not_from_0(*given: tuple[str, float]) -> list[str]:
    return [f"{flag} {value}: expected a number from 0 on" for flag, value in given if not 0 <= value < math.inf]


def _data_faults(args: argparse.Namespace) -> list[str]:
    fault = unknown(args.dataset, args.root_dataset)
    bound = f"--cache_gb {args.cache_gb:g}: more than 0"
    return (
        [fault] * bool(fault)
        + [bound] * (not args.cache_gb > 0)
        + _one_of(
            ("--bad_frames", args.bad_frames, names.BAD_FRAMES),
            ("--storage", args.storage or names.STORAGES[0], names.STORAGES),
            ("--decoder", args.decoder, names.DECODERS),
            ("--decode_device", args.decode_device, names.DECODE_DEVICES),
        )
    )


def network_faults(args: argparse.Namespace, parser: Parser) -> list[str]:
    """What is wrong with the options that `add_network` made."""
    faults = _one_of(
        ("--arch", args.arch, (args.arch,) if args.arch.startswith(TIMM_PREFIX) else ARCHS),
        ("--shift_place", "block" if MASK.fullmatch(args.shift_place) else args.shift_place, names.SHIFT_PLACES),
        ("--fex", args.fex, names.FEX_FORMS),
        ("--fex_init", args.fex_init, names.FEX_INITS),
        *(("--shift_stages", stage, names.STAGES) for stage in args.shift_stages),
        *(("--fex_stages", stage, names.STAGES) for stage in args.fex_stages),
        *(("--fex_parts", part, names.FEX_PARTS) for part in args.fex_parts),
        ("--fex_attention", args.fex_attention, names.FEX_ATTENTIONS),
        *(("--fex_norms", norm, names.FEX_NORMS) for norm in args.fex_norms),
        ("--consensus_type", args.consensus_type, names.CONSENSUS),
    )
    faults += parser.faults_below(args, 1, "num_segments")
    if args.shift_div < 2:
        faults.append(f"--shift_div {args.shift_div}: expected 2 or more, as two folds of the channels move")
    if not 0 <= args.dropout < 1:
        faults.append(f"--dropout {args.dropout}: expected a number from 0 to below 1")
    if args.shift and args.arch != "BNInception":
        faults += _place_faults(args)
    elif args.shift:
        faults += _inception_faults(args)
    faults += _fex_faults(args) if _has_fex(args) else _faults_without_fex(args)
    for flag, where in (("non_local", ("resnet50",)), ("temporal_pool", RESNETS), ("add_se", RESNETS)):
        if getattr(args, flag) and args.arch not in where:
            faults.append(f"--{flag}: defined for --arch {', '.join(where)}, not {args.arch}: leave one of them out")
    if args.keep_rgb and args.modality != "RGBDiff":
        faults.append(f"--keep_rgb: only with RGBDiff, not {args.modality}")
    return faults


def _has_fex(args: argparse.Namespace) -> bool:
    return bool(args.shift and args.fex != "off")


def _fex_faults(args: argparse.Namespace) -> list[str]:
    """Stages with FEX that have the shift too, and changes of what is released or of a part that is left out."""
    faults = []
    if twice := [stage for stage in args.shift_stages if stage in args.fex_stages]:
        faults.append(f"--shift_stages {' '.join(twice)}: FEX stands there (--fex_stages): take them out of one")
    if args.shift_stages and args.shift_place == "inblockres":
        faults.append("--shift_stages: beside FEX of --shift_place inblockres there is no plain shift; give blockres")
    changed = _changes_of_fex(args)
    if args.fex == "released" and changed:
        faults.append(f"--fex released: it is as it was released, without {', '.join(changed)}; give --fex paper")
    given = [*changed, f"--fex_init {args.fex_init}"]
    for part, own in (("fe", ["--fex_attention"]), ("ss", ["--fex_norms", "--fex_init zero"])):
        lacking = part not in args.fex_parts
        without = f"of {part.upper()}, which --fex_parts {' '.join(args.fex_parts)} does without"
        faults += [f"{flag}: {without}; leave one of them out" for flag in own if lacking and flag in given]
    return faults


def _changes_of_fex(args: argparse.Namespace) -> list[str]:
    """The flags that make the FEX block another one than the paper's."""
    changed = {
        "parts": sorted(set(args.fex_parts)) != list(names.FEX_PARTS),
        "attention": args.fex_attention != names.FEX_ATTENTIONS[0],
        "norms": sorted(set(args.fex_norms)) != list(names.FEX_NORMS),
    }
    return [f"--fex_{name}" for name, given in changed.items() if given]


def _faults_without_fex(args: argparse.Namespace) -> list[str]:
    """What is of no use to a network without FEX blocks or, for its part, without the shift."""
    faults = [
        f"{flag}: the network has no FEX block that it could be of; leave it out" for flag in _changes_of_fex(args)
    ]
    if args.shift_stages and not args.shift:
        faults.append("--shift_stages: the network has no shift that could stand there; leave it out, or give --shift")
    return faults


def _place_faults(args: argparse.Namespace) -> list[str]:
    place, fex = f"--shift_place {args.shift_place}", args.fex != "off"
    if MASK.fullmatch(args.shift_place):
        return [f"{place}: a mask is for --arch BNInception; give {' or '.join(names.SHIFT_PLACES)}"]
    if fex and args.shift_place == "block":
        return [f"{place}: FEX is defined inside a residual block only; give blockres, or --fex off"]
    if not fex and args.shift_place == "inblockres":
        return [f"{place}: defined for FEX only; give blockres or block with --fex off"]
    return []


def _inception_faults(args: argparse.Namespace) -> list[str]:
    faults = []
    if args.fex != "off":
        faults.append(f"--fex {args.fex}: BNInception has no residual blocks for it; give --fex off")
    if args.shift_place != "block" and not MASK.fullmatch(args.shift_place):
        faults.append(
            f"--shift_place {args.shift_place}: BNInception has no residual blocks; give block, or twelve digits, "
            "1 for each stage to shift"
        )
    if args.shift_stages:
        faults.append("--shift_stages: of BNInception the digits of --shift_place choose the stages; leave it out")
    return faults


def _start_faults(args: argparse.Namespace) -> list[str]:
    """Options that say in contradiction where a run starts."""
    faults = []
    if args.follow_pretrain and args.tune_from:
        faults.append("--follow_pretrain and --tune_from exclude each other: both say where the weights start")
    if args.follow_pretrain and not _has_fex(args) and not args.add_se and not args.non_local:
        faults.append("--follow_pretrain: there is nothing new to train before a frozen backbone; give --shift (FEX)")
    if args.follow_pretrain and args.lr_steps is LR_STEPS and (why := _why_no_thaw(args)):
        faults.append(
            f"--follow_pretrain: the backbone would be frozen until epoch {LR_STEPS[0]}, the default of --lr_steps, "
            f"{why}: say when it thaws (--lr_steps EPOCH)"
        )
    if args.evaluate and not args.resume:
        faults.append("--evaluate: nothing to evaluate; name a checkpoint with --resume FILE")
    if args.resume == "auto" and args.overwrite:
        faults.append("--resume auto and --overwrite exclude each other: one goes on with what the other removes")
    if args.start_epoch and args.resume in ("", "auto"):  # started again, it would go back each time
        faults.append(f"--start-epoch {args.start_epoch}: only together with --resume FILE (not --resume auto)")
    return faults


def _why_no_thaw(args: argparse.Namespace) -> str:
    """Why the default of --lr_steps is not when anybody meant --follow_pretrain to end; empty if it may be."""
    if args.lr_type != "step":
        return f"which --lr_type {args.lr_type} has no other use for"
    return f"which is beyond --epochs {args.epochs}" if LR_STEPS[0] >= args.epochs else ""


def _testing_faults(args: argparse.Namespace, parser: Parser) -> list[str]:
    faults = _data_faults(args) + _one_of(
        ("--amp", args.amp, names.PRECISIONS),
        ("--crop_fusion_type", args.crop_fusion_type, ("avg",)),
    )
    faults += parser.faults_below(args, 1, "input_size", "batch_size", "views_per_forward")
    faults += parser.faults_below(args, 0, "workers") + _not_above_0(("--timeout_minutes", args.timeout_minutes))
    faults += _not_from_0(("--read_timeout", args.read_timeout))
    if args.test_crops not in names.TEST_CROPS:
        faults.append(f"--test_crops {args.test_crops}: expected one of {', '.join(map(str, names.TEST_CROPS))}")
    if args.ten_clip_count not in (3, 10):
        faults.append(f"--ten_clip_count {args.ten_clip_count}: expected 3 (as released) or 10")
    sampling = [f"--{flag}" for flag in SAMPLING_FLAGS if getattr(args, flag)]
    if len(sampling) > 1:
        faults.append(f"{' and '.join(sampling)} exclude each other: give one")
    if args.max_num == 0 or args.max_num < -1:
        faults.append(f"--max_num {args.max_num}: expected a number of videos, or -1 for all")
    if args.save_scores and not args.save_scores.endswith(".npz"):
        faults.append(f"--save_scores {args.save_scores}: expected a name that ends in .npz")
    faults += _motion_faults(args) if args.motion else []
    return faults + _ensemble_faults(args) + (_calibration_faults(args) if args.calibrate else [])


def _motion_faults(args: argparse.Namespace) -> list[str]:
    """What --motion can't be beside: it is of one network, which sees the frames in other orders."""
    faults = _one_network(args, "--motion", "runs the network: give its checkpoint")
    if args.reverse_time:
        faults.append("--motion: leave out --reverse_time: backwards is one of the orders of --motion")
    return faults


def _one_network(args: argparse.Namespace, flag: str, instead: str) -> list[str]:
    """A fault where --weights is more, or less, than the one network that a flag is of."""
    if len(args.weights) > 1:
        return [f"{flag}: is of one network, and --weights has {len(args.weights)}: give one"]
    scores = args.weights[0]
    return [f"{flag}: {instead}, not its scores {scores}"] if scores.endswith(".npz") else []


def _calibration_faults(args: argparse.Namespace) -> list[str]:
    """What --calibrate can't be beside: it is of one network, as that will be used."""
    faults = _one_network(args, "--calibrate", "keeps what it finds in a checkpoint: give that")
    for flag, why in (
        ("softmax", "it takes the scores as they are"),
        ("reverse_time", "played backwards a video shows another class"),
        ("test_segments", "the checkpoint is used with its own number of frames"),
    ):
        if getattr(args, flag):
            faults.append(f"--calibrate: leave out --{flag}: {why}")
    return faults


def _ensemble_faults(args: argparse.Namespace) -> list[str]:
    """Options that take a value for each network of --weights."""
    count, faults = len(args.weights), []
    for option in ("test_segments", "coeff", "test_list"):
        values = getattr(args, option)
        if values and len(values) not in (1, count):
            faults.append(f"--{option} has {len(values)} values for {count} --weights: give one for all, or {count}")
    if args.test_segments and min(args.test_segments) < 1:
        faults.append(f"--test_segments {min(args.test_segments)}: expected 1 or more")
    if args.coeff and not all(math.isfinite(c) for c in args.coeff):
        faults.append(f"--coeff {','.join(map(str, args.coeff))}: expected finite numbers")
    return faults


def _one_of(*choices: tuple[str, str, Sequence[str]]) -> list[str]:
    """A fault for each (flag, value, allowed) whose value is not allowed."""
    return [
        f"{flag} {value}: expected one of {', '.join(allowed)}{did_you_mean(value, allowed)}"
        for flag, value, allowed in choices
        if value not in allowed
    ]


def _raise(faults: list[str]) -> None:
    if faults:
        raise InputError(faults[0] if len(faults) == 1 else "\n  ".join(["", *faults]))
