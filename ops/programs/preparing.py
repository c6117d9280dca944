"""What a training run is before its first epoch: network, data, optimizer, and where it begins or goes on."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ops.data.catalog import CATALOG, DataSource
from ops.data.clips import ClipMode, ClipOptions, VideoClips
from ops.data.fingerprint import differences, fingerprint
from ops.data.gpu_decode import chosen_device
from ops.data.loader import Loader, eval_loader, first_training_batch, readable, train_loader
from ops.data.opposites import mirror_labels
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from ops.model.fex import initialise_from_data
from ops.model.tsn import TSN, build_network, network_options, options_from_flags
from ops.programs.resuming import NothingLeftError, job
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext
from ops.running.engine import Step, norms_in_words
from ops.running.folders import RunFolders
from ops.running.mixing import Mixing
from ops.running.optimizer import build_optimizer, restore_optimizer, set_learning_rate
from ops.running.precision import Precision, choose_precision
from ops.running.runlog import Row
from ops.running.synced_norm import synchronised

logger = logging.getLogger("fexnet")

# Options that change what a resumed run learns: it may have others, and says so.
LEARNING = (
    *("lr", "lr_type", "lr_steps", "warmup_epochs", "epochs", "batch_size", "momentum", "weight_decay"),
    *("clip_gradient", "seed", "input_size", "dense_sample", "train_list", "amp", "bad_frames", "accumulate"),
    *("scale_lr_from", "label_smoothing", "mixup", "cutmix", "randaugment", "ema", "deterministic", "follow_pretrain"),
    *("nan", "sync_bn", "fex_lr", "fex_wd"),
)


@dataclass
class Start:
    """Where a run starts: the checkpoint it goes on with, the tensors that no file gave, the classifier's rate."""

    resumed: files.Checkpoint | None = None
    fresh: Sequence[str] = ()
    classifier_lr5: bool = True


@dataclass
class Run:
    """A training run, after `epoch` epochs.

    `clips`: the training list's. `about`: what a checkpoint says of it besides its state. `frozen_epochs`: for how long
    --follow_pretrain keeps the backbone as it was loaded. `rows`: a line of the log's table for each epoch.
    `validated`: the last one has been. `begun`: how many videos of the next epoch, in its order, it has been trained on
    already, and `sums`: of their `Meters`.
    """

    folders: RunFolders
    network: TSN
    clips: VideoClips
    batches: Loader
    val_batches: Loader | None
    precision: Precision
    step: Step
    rate: float
    frozen_epochs: float
    about: dict[str, Any]
    average: AveragedModel | None = None
    epoch: int = 0
    best: float = 0.0
    rows: list[Row] = field(default_factory=list)
    validated: bool = True
    begun: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> nn.Module:
        """What is validated, and tested later: the average of the weights, if there is one."""
        return self.average.module if self.average else self.network


def validation_is_due(args: argparse.Namespace, run: Run) -> bool:
    """Whether the last epoch is to be validated, and has not been: every --eval-freq epochs, and at the end."""
    chosen = args.eval_freq and (run.epoch % args.eval_freq == 0 or run.epoch == args.epochs)
    return bool(chosen) and not run.validated


def prepare(
    args: argparse.Namespace,
    data: DataSource,
    network: TSN,
    context: DistributedContext,
    start: Start,
    folders: RunFolders,
) -> Run:
    """Data, optimizer and where to begin; FEX's start from data."""
    be_fast_or_deterministic(args.deterministic)
    share, workers = context.share_of_batch(args.batch_size), context.workers(args.workers)
    if args.sync_bn:
        synchronised(network, context)
    if least_share(share, context) == 1 and not (args.sync_bn and context.world_size > 1):
        rehearse(network, args.input_size)  # of two, every BatchNorm has two values
    training_clips = clips(args, data, "train", context)
    precision, rate = choose_precision(args.amp, context.device), scaled_rate(args)
    loader = (workers, args.seed, context.rank, context.world_size)
    run = Run(
        folders=folders,
        network=network,
        clips=training_clips,
        batches=train_loader(training_clips, share, *loader, timeout=args.read_timeout),
        val_batches=validation_loader(args, data, context) if args.eval_freq else None,
        precision=precision,
        step=step_of(args, network, precision, rate, start, context),
        rate=rate,
        frozen_epochs=min(args.lr_steps) if args.follow_pretrain else 0,
        about=described(args, data, network, folders.name, start)
        | {"data": fingerprint(data, training_clips.storage, training_clips.records)},
    )
    if start.resumed:
        changes = differences(start.resumed.training.get("data", {}), run.about["data"])
        for difference in changes:
            logger.warning("%s: the data have changed: %s", start.resumed.path, difference)
        restore(args, start.resumed, run, same_data=not changes)
    network.freeze_backbone(run.epoch < run.frozen_epochs)
    start_fex_from_data(args, network, training_clips, context, start.fresh)
    if args.ema:
        run.average = average = averaged(args, network, start.resumed)
        run.step.after = lambda: average.update_parameters(network)
    announce(args, data, run, context)
    return run


def step_of(
    args: argparse.Namespace, network: TSN, precision: Precision, rate: float, start: Start, context: DistributedContext
) -> Step:
    """How a batch becomes a step."""
    return Step(
        nn.CrossEntropyLoss(label_smoothing=args.label_smoothing),
        build_optimizer(
            network, rate, args.momentum, args.weight_decay, start.classifier_lr5, args.fex_lr, args.fex_wd
        ),
        precision.scaler(),
        args.clip_gradient,
        args.accumulate,
        mixing(args, network),
        batch_size=context.share_of_batch(args.batch_size),
        context=context,
        seed=args.seed,
        skip_not_finite=args.nan == "skip",
    )


def announce(args: argparse.Namespace, data: DataSource, run: Run, context: DistributedContext) -> None:
    """Says what is trained, and how: the videos a step and the rate are the same for any number of processes."""
    if run.network.backbone_is_frozen:
        ever = ", and so in the whole run" if run.frozen_epochs >= args.epochs else ""
        logger.info("--follow_pretrain: the backbone is frozen until epoch %g%s", run.frozen_epochs, ever)
    because = f" ({data.mirror_because})" if data.mirror_because else ""
    logger.info("%s: %d classes, mirroring: %s%s", data.name, len(data.categories), data.mirror, because)
    where, precision = f"{run.folders.name}: {context.describe()}", run.precision.describe(run.network)
    share = f" ({run.step.batch_size} of each batch a process)" if context.world_size > 1 else ""
    logger.info("%s, --amp %s, %d videos a step%s", where, precision, videos_a_step(args), share)
    own = "" if args.fex_lr == 1 else f", of FEX's own layers {args.fex_lr:g} times that"
    own += "" if args.fex_wd is None else f"; their weight decay {args.fex_wd:g}"
    logger.info("learning rate %g%s", run.rate, own)


def build(args: argparse.Namespace, data: DataSource, resumed: files.Checkpoint | None) -> tuple[TSN, Start]:
    """The network with its first weights, and where they come from."""
    torch.manual_seed(args.seed)  # the start of what is not loaded
    given = resumed or args.tune_from or args.follow_pretrain
    network = build_network(
        options_from_flags(vars(args), len(data.categories)), pretrain="none" if given else args.pretrain
    )
    if resumed:
        return network, resume(args, data, network, resumed)
    if given:
        return network, tune(args, data, network)
    return network, Start(fresh=list(network.state_dict()), classifier_lr5=not args.no_fc_lr5)


def resume(args: argparse.Namespace, data: DataSource, network: TSN, checkpoint: files.Checkpoint) -> Start:
    """Loads the weights of --resume, whose network and classes must be these."""
    if not args.evaluate and "optimizer" not in checkpoint.training:
        raise InputError(f"--resume {checkpoint.path}: it has weights only; start a run from it with --tune_from")
    files.refuse_other_classes(checkpoint, data.family, data.categories)
    checkpoint.network = asdict(network_options(checkpoint.network))  # an older file has fewer of them
    files.refuse_other_network(checkpoint, asdict(network.options), to_train=not args.evaluate)
    if not args.evaluate and "trained" in checkpoint.training:  # what --ema averages, and what training goes on with
        files.load_weights(network, replace(checkpoint, state_dict=checkpoint.training["trained"]))
    else:
        files.load_weights(network, checkpoint)
    return Start(resumed=checkpoint, classifier_lr5=checkpoint.training.get("classifier_lr5", True))


def tune(args: argparse.Namespace, data: DataSource, network: TSN) -> Start:
    """Loads what fits of --tune_from or --follow_pretrain, and says what that is.

    The classifier is only taken from --tune_from, of the same data set.
    """
    flag, path = ("--tune_from", args.tune_from) if args.tune_from else ("--follow_pretrain", args.follow_pretrain)
    checkpoint = files.read_checkpoint(Path(path))
    arch, same_data = checkpoint.network["arch"], checkpoint.has_classes(data.family, data.categories)
    if arch != args.arch:
        raise InputError(f"{flag} {path}: its backbone is {arch}: give the same --arch")
    with_classifier = same_data and bool(args.tune_from)
    matched = files.load_matching_weights(network, checkpoint, with_classifier)
    logger.info("%s %s: %d tensors loaded", flag, path, len(matched.loaded))
    for what, tensors in (("adapted", matched.adapted), ("left out", matched.left_out), ("fresh", matched.fresh)):
        logger.info("  %s (%d): %s", what, len(tensors), files.summarise(tensors))
    fresh_classifier = any(tensor.startswith(network.classifiers) for tensor in matched.fresh)
    return Start(fresh=matched.fresh, classifier_lr5=fresh_classifier and not args.no_fc_lr5)


def clips(args: argparse.Namespace, data: DataSource, mode: ClipMode, context: DistributedContext) -> VideoClips:
    """The training or the validation list as clips."""
    options = ClipOptions(
        segments=args.num_segments,
        modality=args.modality,
        randaugment=args.randaugment,
        input_size=args.input_size,
        dense=args.dense_sample,
        mirror_labels=mirror_labels(data.categories, data.mirror),
        seed=args.seed,
    )
    storage = open_storage(data, args.decoder)
    with context.main_first():  # which may look through all videos, and keep what it finds
        records = listed(data, storage, data.train_list if mode == "train" else data.val_list)
    return VideoClips(records, storage, mode, options, chosen_device(args.decode_device, context.device, storage))


def validation_loader(args: argparse.Namespace, data: DataSource, context: DistributedContext) -> Loader:
    """This process's share of the validation list; an InputError with all remedies where there is none."""
    if not data.val_list.is_file():
        without = "" if args.evaluate else "give --eval-freq 0 to train without validation, or "
        making = f", or make it: {data.how_to_get}" if data.name in CATALOG and not args.val_list else ""
        raise InputError(
            f"the validation list {data.val_list} of data set {data.name!r} is missing: {without}move some lines of "
            f"{data.train_list} into it{making}"
        )
    share = max(1, args.batch_size // context.world_size)
    processes = (context.workers(args.workers), context.rank, context.world_size)
    return eval_loader(clips(args, data, "val", context), share, *processes, timeout=args.read_timeout)


def start_fex_from_data(
    args: argparse.Namespace,
    network: TSN,
    training_clips: VideoClips,
    context: DistributedContext,
    fresh: Sequence[str],
) -> None:
    """FEX's data-dependent initialisation on the first videos of the first epoch, unless a file gave its weights."""
    if args.fex_init != "shift" or not any(".tim.bn." in tensor for tensor in fresh):
        return
    first = first_training_batch(training_clips, min(args.batch_size, 32), args.seed)
    batch = next(readable([first], args.bad_frames))
    if not len(batch):
        raise InputError(f"the first {len(batch.unreadable)} videos are unreadable: {batch.unreadable[0].reason}")
    with norms_in_words(len(batch)):
        count = initialise_from_data(network, batch.to(context.device).clips[:, 0], fresh)
    logger.info("FEX: %d BatchNorms set from %d clips", count, len(batch))


def least_share(videos: int, context: DistributedContext) -> int:
    """The fewest of a process's batch that fall to one of its GPUs."""
    return len(torch.empty(videos).chunk(max(1, len(context.gpus)))[-1])


def rehearse(network: TSN, size: int) -> None:
    """A training step's forward pass on one video of `size` pixels, without numbers, before any data are read.

    InputError where a BatchNorm would have a single value a channel.
    """
    shape = (1, network.options.num_segments, network.input_stage.channels, size, size)
    tensors = (*network.named_parameters(), *network.named_buffers())
    without = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    with norms_in_words(1), torch.no_grad():
        torch.func.functional_call(network.train(), without, torch.zeros(shape, device="meta"))


def be_fast_or_deterministic(deterministic: bool) -> None:
    """With `deterministic` only such algorithms whose result does not vary; the CPU's and ours never do."""
    # Batches have one shape, but for a rare few, so that the search for the fastest algorithm pays.
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)


def videos_a_step(args: argparse.Namespace) -> int:
    """Of all devices and all the batches that are gathered."""
    return args.batch_size * args.accumulate


def scaled_rate(args: argparse.Namespace) -> float:
    """--lr, in proportion to the videos a step if --scale_lr_from says for how many it was meant."""
    if not args.scale_lr_from:
        return args.lr
    rate = args.lr * videos_a_step(args) / args.scale_lr_from
    logger.info(
        "--lr %g is for %d videos a step; with %d it is %g", args.lr, args.scale_lr_from, videos_a_step(args), rate
    )
    return rate


def mixing(args: argparse.Namespace, network: TSN) -> Mixing | None:
    """What mixes clips, where --mixup or --cutmix asks for it."""
    if not (args.mixup or args.cutmix):
        return None
    return Mixing(network.input_stage, network.options.num_classes, args.mixup, args.cutmix)


def averaged(args: argparse.Namespace, network: TSN, resumed: files.Checkpoint | None) -> AveragedModel:
    """The moving average of the weights, as it was when `resumed` was written."""
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(args.ema), use_buffers=True)
    if resumed and "trained" in resumed.training:
        average.module.load_state_dict(resumed.state_dict)
        average.n_averaged.fill_(resumed.training["averaged_steps"])
    return average


def restore(args: argparse.Namespace, resumed: files.Checkpoint, run: Run, same_data: bool) -> None:
    """Puts the run where it was when `resumed` was written: its optimizer and scaler, its epochs and what they gave."""
    saved = resumed.training
    run.epoch = args.start_epoch or saved["epoch"]
    run.rows = [row for row in saved.get("rows", []) if row["epoch"] <= run.epoch]  # an older file has none
    run.validated = saved.get("validated", True) or run.epoch != saved["epoch"]
    due = validation_is_due(args, run)
    if run.epoch - due >= args.epochs:
        raise NothingLeftError(
            f"--resume {resumed.path}: it has {run.epoch} epochs, all that --epochs {args.epochs} asks for"
        )
    restore_optimizer(run.step.optimizer, saved["optimizer"], resumed.path)
    if run.rows:  # where only a validation is left, what is saved after it has this rate
        set_learning_rate(run.step.optimizer, run.rows[-1]["lr"])
    if saved["scaler"] and run.step.scaler.is_enabled():
        run.step.scaler.load_state_dict(saved["scaler"])
    for option in LEARNING:
        now = getattr(args, option)
        if now != (then := saved["options"].get(option, now)):  # an older version had fewer options
            logger.warning("%s: %s was %s so far and is %s from here", resumed.path, option, then, now)
    if "begun" in saved and not args.start_epoch:
        go_on_within_epoch(args, resumed, run, same_data)
    where = "with the validation of" if due else f"within epoch {run.epoch + 1}," if run.begun else "after"
    logger.info("%s: going on %s %s", resumed.path, where, progress_of(run) if run.begun else f"epoch {run.epoch}")
    # In another folder the best so far is not there to stand for its number.
    run.best = saved["best_prec1"] if resumed.path.resolve().parent == run.folders.checkpoints.resolve() else 0.0


def go_on_within_epoch(args: argparse.Namespace, resumed: files.Checkpoint, run: Run, same_data: bool) -> None:
    """Takes up the epoch in whose midst `resumed` was written, where its videos still come in the same order."""
    if not same_data or resumed.training["options"].get("seed", args.seed) != args.seed:
        logger.warning("%s: its videos come in another order now: epoch %d begins anew", resumed.path, run.epoch + 1)
        return
    run.begun, run.sums = resumed.training["begun"]["videos"], resumed.training["begun"]["sums"]


def progress_of(run: Run) -> str:
    """How far it is in an epoch."""
    return f"after {run.begun} of its {len(run.clips)} videos"


def described(args: argparse.Namespace, data: DataSource, network: TSN, name: str, start: Start) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {
        "network": asdict(network.options),
        "categories": list(data.categories),
        "dataset": data.name,
        "input_size": args.input_size,
        "name": name,
        "classifier_lr5": start.classifier_lr5,
        "job": job(),
        "options": vars(args),
    }
