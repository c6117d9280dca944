"""What `main.py` does once its options are known: data, network, optimizer, and all epochs of a training run."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ops.data.catalog import DataSource, resolve
from ops.data.clips import ClipMode, ClipOptions, VideoClips
from ops.data.fingerprint import differences, fingerprint
from ops.data.gpu_decode import chosen_device
from ops.data.loader import Loader, eval_loader, first_training_batch, readable, train_loader
from ops.data.opposites import mirror_labels
from ops.data.storages import listed, open_storage
from ops.errors import InputError
from ops.model.fex import initialise_from_data
from ops.model.tsn import TSN, build_network, network_options, options_from_flags
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext, join_processes
from ops.running.engine import Step, in_words, train_one_epoch, validate
from ops.running.mixing import Mixing
from ops.running.optimizer import build_optimizer, learning_rate, restore_optimizer, set_learning_rate
from ops.running.precision import InPrecision, Precision, choose_precision
from ops.running.runlog import Progress, RunLog

logger = logging.getLogger("fexnet")

# Options that change what a resumed run learns: it may have others, and says so.
LEARNING = (
    *("lr", "lr_type", "lr_steps", "warmup_epochs", "epochs", "batch_size", "momentum", "weight_decay"),
    *("clip_gradient", "seed", "input_size", "dense_sample", "train_list", "amp", "bad_frames", "accumulate"),
    *("scale_lr_from", "label_smoothing", "mixup", "cutmix", "randaugment", "ema", "deterministic", "follow_pretrain"),
)


def run(args: argparse.Namespace, default_name: str) -> None:
    """Trains, or validates (`--evaluate`). `default_name`: of a run that neither a flag nor a checkpoint names."""
    with join_processes(args.gpus) as context:
        lists = (args.train_list, args.val_list)
        data = resolve(args.dataset, args.root_dataset, *lists, args.root_path, args.modality, args.storage)
        network, start = build(args, data)
        network.to(context.device)
        logger.info("%s", network.describe())
        if args.evaluate:
            evaluate(args, data, network, context)
        else:
            logger.info("%s", network.describe_training(fex_is_fresh=any(".temporal." in t for t in start.fresh)))
            train(args, data, network, context, start, default_name)


@dataclass
class Start:
    """Where a run starts: the checkpoint it goes on with, the tensors that no file gave, the classifier's rate."""

    resumed: files.Checkpoint | None = None
    fresh: Sequence[str] = ()
    classifier_lr5: bool = True


@dataclass
class Run:
    """A training run, made ready to go on after `first_epoch` epochs."""

    name: str
    folder: Path
    batches: Loader
    val_batches: Loader
    precision: Precision
    step: Step
    rate: float
    frozen_epochs: float  # for how long --follow_pretrain keeps the backbone as it was loaded
    fingerprint: dict[str, str]
    average: AveragedModel | None = None
    first_epoch: int = 0
    best: float = 0.0


def train(
    args: argparse.Namespace,
    data: DataSource,
    network: TSN,
    context: DistributedContext,
    start: Start,
    default_name: str,
) -> None:
    """All epochs: train, validate when due, log, write the checkpoint."""
    run = prepare(args, data, network, context, start, default_name)
    refuse_to_overwrite(args, run.folder, context)  # nothing is replaced before all else has worked
    kept = run.average.module if run.average else network  # what is validated, and tested later
    evaluated = context.spread(InPrecision(kept, run.precision))  # for validation, where processes do not meet
    said = {**vars(args), "name": run.name, "precision": run.precision.name, "devices": context.devices}
    said["data"] = run.fingerprint
    after = run.first_epoch if start.resumed else None
    log = RunLog(Path(args.root_log) / run.name, said, after) if context.is_main else None
    best, model = run.best, None

    for epoch in range(run.first_epoch, args.epochs):
        frozen = epoch < run.frozen_epochs
        if model is None or frozen != network.backbone_is_frozen:
            network.freeze_backbone(frozen)
            # Joined processes must learn anew which parameters are trained.
            model = context.wrap(InPrecision(network, run.precision), find_unused=network.options.mixes_videos)
        rate = learning_rate(epoch, args.epochs, run.rate, args.lr_type, args.lr_steps, args.warmup_epochs)
        set_learning_rate(run.step.optimizer, rate)
        seed_epoch(args.seed, epoch, context.rank)
        run.batches.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        with Progress(f"epoch {epoch + 1}/{args.epochs}", len(run.batches), args.print_freq) as progress:
            batches = readable(run.batches, args.bad_frames)
            trained = train_one_epoch(model, batches, run.step, context, progress.update)
        logger.info("epoch %d/%d train: %s", epoch + 1, args.epochs, in_words(trained))
        checked = None
        if (epoch + 1) % args.eval_freq == 0 or epoch + 1 == args.epochs:
            for module in (network, kept):
                context.share_buffers(module)
            checked = validate(evaluated, readable(run.val_batches, args.bad_frames), nn.CrossEntropyLoss(), context)
            logger.info("epoch %d/%d val:   %s", epoch + 1, args.epochs, in_words(checked))
        is_best = checked is not None and checked["top1"] >= best
        best = max(best, checked["top1"]) if checked else best
        if log is not None:  # the main process
            state = state_of(network, run.average, run.step, epoch + 1, best)
            content = described(args, data, network, run, start) | state
            # The best first: a crash between the two must not leave a checkpoint that claims a better one.
            for file in [files.BEST] * is_best + [files.LATEST]:
                files.save_checkpoint(run.folder / file, content)
            log.add(epoch + 1, rate, trained, checked)
        context.wait()
    logger.info("best top-1 %.2f %%; weights in %s", best, run.folder)


def prepare(
    args: argparse.Namespace,
    data: DataSource,
    network: TSN,
    context: DistributedContext,
    start: Start,
    default_name: str,
) -> Run:
    """Data, optimizer and where to begin; FEX's start from data."""
    be_fast_or_deterministic(args.deterministic)
    name = args.store_name or (start.resumed.training["name"] if start.resumed else default_name)
    if start.resumed and args.suffix and not name.endswith(args.suffix):
        logger.warning("--suffix %s: a resumed run keeps its name %s; --store_name gives another", args.suffix, name)
    training_clips = clips(args, data, "train", context)
    share, workers = context.share_of_batch(args.batch_size), context.workers(args.workers)
    precision, rate = choose_precision(args.amp, context.device), scaled_rate(args)
    optimizer = build_optimizer(network, rate, args.momentum, args.weight_decay, start.classifier_lr5)
    criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
    run = Run(
        name=name,
        folder=Path(args.root_model) / name,
        batches=train_loader(training_clips, share, workers, args.seed, context.rank, context.world_size),
        val_batches=validation_loader(args, data, context),
        precision=precision,
        step=Step(criterion, optimizer, precision.scaler(), args.clip_gradient, args.accumulate, mixing(args, network)),
        rate=rate,
        frozen_epochs=min(args.lr_steps) if args.follow_pretrain else 0,
        fingerprint=fingerprint(data, training_clips.storage),
    )
    if start.resumed:
        for difference in differences(start.resumed.training.get("data", {}), run.fingerprint):
            logger.warning("--resume %s: the data have changed: %s", args.resume, difference)
    if start.resumed:
        run.first_epoch, run.best = restore(args, start.resumed, run.step, run.folder)
    network.freeze_backbone(run.first_epoch < run.frozen_epochs)
    start_fex_from_data(args, network, training_clips, context, start.fresh)
    if args.ema:
        run.average = average = averaged(args, network, start.resumed)
        run.step.after = lambda: average.update_parameters(network)
    if network.backbone_is_frozen:
        logger.info("--follow_pretrain: the backbone is frozen until epoch %g", run.frozen_epochs)
    because = f" ({data.mirror_because})" if data.mirror_because else ""
    logger.info("%s: %d classes, mirroring: %s%s", data.name, len(data.categories), data.mirror, because)
    amp = precision.describe(network)
    logger.info("%s: %s, --amp %s, %d videos a step", name, context.describe(), amp, videos_a_step(args))
    return run


def evaluate(args: argparse.Namespace, data: DataSource, network: TSN, context: DistributedContext) -> None:
    """Validation alone, of the checkpoint that --resume named."""
    model = context.spread(InPrecision(network, choose_precision(args.amp, context.device)))
    batches = readable(validation_loader(args, data, context), args.bad_frames)
    logger.info("evaluation: %s", in_words(validate(model, batches, nn.CrossEntropyLoss(), context)))


def build(args: argparse.Namespace, data: DataSource) -> tuple[TSN, Start]:
    """The network with its first weights, and where they come from."""
    torch.manual_seed(args.seed)  # the start of what is not loaded
    given = args.resume or args.tune_from or args.follow_pretrain
    network = build_network(
        options_from_flags(vars(args), len(data.categories)), pretrain="none" if given else args.pretrain
    )
    if args.resume:
        return network, resume(args, data, network)
    if given:
        return network, tune(args, data, network)
    return network, Start(fresh=list(network.state_dict()), classifier_lr5=not args.no_fc_lr5)


def resume(args: argparse.Namespace, data: DataSource, network: TSN) -> Start:
    """Loads the weights of --resume, whose network and classes must be these."""
    checkpoint = files.read_checkpoint(Path(args.resume))
    if not args.evaluate and "optimizer" not in checkpoint.training:
        raise InputError(f"--resume {args.resume}: it has weights only; start a run from it with --tune_from")
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
    """This process's share of the validation list."""
    share = context.share_of_batch(args.batch_size)
    return eval_loader(
        clips(args, data, "val", context), share, context.workers(args.workers), context.rank, context.world_size
    )


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
    count = initialise_from_data(network, batch.to(context.device).clips[:, 0], fresh)
    logger.info("FEX: %d BatchNorms set from %d clips", count, len(batch))


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


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """What an epoch draws (dropout) follows from these three alone, so that a resumed run draws the same."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))


def refuse_to_overwrite(args: argparse.Namespace, folder: Path, context: DistributedContext) -> None:
    """What another run (or a user) left in the folder is replaced only when --overwrite says so; then all of it."""
    resumed = Path(args.resume).resolve()
    earlier = [file for file in (folder / files.LATEST, folder / files.BEST) if file.exists()]
    goes_on = args.resume and (not earlier or earlier[0].resolve() == resumed)
    if goes_on or not any(context.gather([bool(earlier)])):
        return
    if not args.overwrite:
        raise InputError(
            f"{folder} holds checkpoints already: go on with that run (--resume {folder / files.LATEST}), keep both "
            "(--suffix NAME or --store_name NAME), or replace it (--overwrite)"
        )
    if context.is_main:
        for file in earlier:
            if file.resolve() != resumed:
                file.unlink()
    context.wait()


def restore(args: argparse.Namespace, resumed: files.Checkpoint, step: Step, folder: Path) -> tuple[int, float]:
    """Optimizer and scaler as they were when `resumed` was written; returns the epochs done and the best top-1."""
    saved = resumed.training
    epoch = args.start_epoch or saved["epoch"]
    if epoch >= args.epochs:
        raise InputError(f"--resume {resumed.path}: it has {epoch} epochs, all that --epochs {args.epochs} asks for")
    restore_optimizer(step.optimizer, saved["optimizer"], resumed.path)
    if saved["scaler"] and step.scaler.is_enabled():
        step.scaler.load_state_dict(saved["scaler"])
    for option in LEARNING:
        now = getattr(args, option)
        if now != (then := saved["options"].get(option, now)):  # an older version had fewer options
            logger.warning("%s: %s was %s so far and is %s from here", resumed.path, option, then, now)
    logger.info("%s: going on after epoch %d", resumed.path, epoch)
    # In another folder the best so far is not there to stand for its number.
    return epoch, saved["best_prec1"] if resumed.path.resolve().parent == folder.resolve() else 0.0


def described(args: argparse.Namespace, data: DataSource, network: TSN, run: Run, start: Start) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {
        "network": asdict(network.options),
        "categories": list(data.categories),
        "dataset": data.name,
        "input_size": args.input_size,
        "name": run.name,
        "data": run.fingerprint,
        "classifier_lr5": start.classifier_lr5,
        "options": vars(args),
    }


def state_of(network: TSN, average: AveragedModel | None, step: Step, epoch: int, best: float) -> dict[str, Any]:
    """What a run goes on from, after `epoch` epochs; `state_dict` is what was validated: the average, if any."""
    state = {
        "epoch": epoch,
        "best_prec1": best,
        "state_dict": (average.module if average else network).state_dict(),
        "optimizer": step.optimizer.state_dict(),
        "scaler": step.scaler.state_dict(),
    }
    if average:
        state |= {"trained": network.state_dict(), "averaged_steps": int(average.n_averaged)}
    return state
