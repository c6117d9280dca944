#!/usr/bin/env python3
"""Train FEXNet, TSM or TSN: `python main.py DATASET MODALITY …` (see `--help` and the README)."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from ops.data.catalog import DataSource, resolve
from ops.data.clips import ClipMode, ClipOptions, VideoClips
from ops.data.loader import Batch, eval_loader, readable, train_loader
from ops.data.opposites import mirror_labels
from ops.errors import InputError, reported
from ops.model.fex import initialise_from_data
from ops.model.tsn import TSN, NetworkOptions, build_network
from ops.running import checkpoint as files
from ops.running.distributed import Place, joined
from ops.running.engine import Step, in_words, train_one_epoch, validate
from ops.running.optimizer import build_optimizer, learning_rate, set_learning_rate
from ops.running.precision import choose_precision
from ops.running.runlog import Progress, RunLog, start_logging
from opts import run_name, training_options

logger = logging.getLogger("fexnet")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, build, train."""
    start_logging(is_main=True)
    args = training_options(argv)
    with joined(args.gpus) as place:
        start_logging(place.is_main)
        data = resolve(args.dataset, args.root_dataset, args.train_list, args.val_list, args.root_path)
        network, resumed, fresh = build(args, data)
        logger.info("%s", network.describe())
        if args.evaluate:
            evaluate(args, data, network.to(place.device), place)
        else:
            train(args, data, network.to(place.device), place, resumed, fresh)


def train(
    args: argparse.Namespace,
    data: DataSource,
    network: TSN,
    place: Place,
    resumed: files.Checkpoint | None,
    fresh: list[str],
) -> None:
    """All epochs: train, validate when due, log, write the checkpoint. `fresh`: the tensors no file gave."""
    name = args.store_name or run_name(args)
    folder = Path(args.root_model) / name
    train_batches, val_batches = training_loader(args, data, place), validation_loader(args, data, place)
    precision = choose_precision(args.amp, place.device)
    optimizer = build_optimizer(network, args.lr, args.momentum, args.weight_decay, classifier_lr5(args))
    step = Step(nn.CrossEntropyLoss(), optimizer, precision.scaler(), precision, args.clip_gradient)
    start, best = restore(args, resumed, step) if resumed else (0, 0.0)
    if resumed is None:
        refuse_to_overwrite(args, folder)
        start_fex_from_data(args, network, train_batches, place, fresh)
    model = place.wrap(network, find_unused=network.options.mixes_videos)
    log = RunLog(Path(args.root_log) / name, vars(args), start if resumed else None) if place.is_main else None
    logger.info("%s: %s, --amp %s, %d videos a step", name, place.describe(), precision.name, args.batch_size)

    for epoch in range(start, args.epochs):
        rate = learning_rate(epoch, args.epochs, args.lr, args.lr_type, args.lr_steps, args.warmup_epochs)
        set_learning_rate(optimizer, rate)
        seed_epoch(args.seed, epoch, place.rank)
        train_batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        with Progress(f"epoch {epoch + 1}/{args.epochs}", len(train_batches), args.print_freq) as progress:
            trained = train_one_epoch(model, readable(train_batches, args.bad_frames), step, place, progress.update)
        logger.info("epoch %d/%d train: %s", epoch + 1, args.epochs, in_words(trained))
        checked = None
        if (epoch + 1) % args.eval_freq == 0 or epoch + 1 == args.epochs:
            place.share_buffers(network)
            checked = validate(network, readable(val_batches, args.bad_frames), step.criterion, precision, place)
            logger.info("epoch %d/%d val:   %s", epoch + 1, args.epochs, in_words(checked))
        is_best = checked is not None and checked["top1"] >= best
        best = max(best, checked["top1"]) if checked else best
        if log is not None:  # the main process
            save(folder, args, data, network, step, epoch + 1, best, is_best)
            log.add(epoch + 1, rate, trained, checked)
        place.wait()
    logger.info("best top-1 %.2f %%; weights in %s", best, folder)


def evaluate(args: argparse.Namespace, data: DataSource, network: TSN, place: Place) -> None:
    """Validation alone, of the checkpoint that --resume named."""
    batches = readable(validation_loader(args, data, place), args.bad_frames)
    precision = choose_precision(args.amp, place.device)
    statistics = validate(network, batches, nn.CrossEntropyLoss(), precision, place)
    logger.info("evaluation: %s", in_words(statistics))


def build(args: argparse.Namespace, data: DataSource) -> tuple[TSN, files.Checkpoint | None, list[str]]:
    """The network with its first weights, the checkpoint to resume, and the names of the tensors no file gave."""
    options = NetworkOptions(
        num_classes=len(data.categories),
        num_segments=args.num_segments,
        modality=args.modality,
        arch=args.arch,
        shift=args.shift,
        shift_div=args.shift_div,
        shift_place=args.shift_place,
        fex=args.fex,
        fex_init=args.fex_init,
        dropout=args.dropout,
        consensus_type=args.consensus_type,
        partial_bn=not args.no_partialbn,
    )
    torch.manual_seed(args.seed)  # the start of what is not loaded
    given = args.resume or args.tune_from
    network = build_network(options, pretrain="none" if given else args.pretrain)
    if not given:
        return network, None, list(network.state_dict())
    checkpoint = files.read_checkpoint(Path(given))
    if args.resume:
        files.refuse_other_network(checkpoint, asdict(options))
        files.refuse_other_categories(checkpoint, data.categories)
        files.load_weights(network, checkpoint)
        return network, checkpoint, []
    if checkpoint.network["arch"] != args.arch:
        raise InputError(f"--tune_from {given}: its backbone is {checkpoint.network['arch']}: give the same --arch")
    loaded, left_out, fresh = files.load_matching_weights(network, checkpoint)
    logger.info("--tune_from %s: %d tensors loaded", given, len(loaded))
    for what, tensors in (("left out", left_out), ("fresh", fresh)):
        logger.info("  %s (%d): %s", what, len(tensors), files.summarise(tensors))
    return network, None, fresh


def clips(args: argparse.Namespace, data: DataSource, mode: ClipMode) -> VideoClips:
    """The training or the validation list as clips."""
    options = ClipOptions(
        segments=args.num_segments,
        input_size=args.input_size,
        dense=args.dense_sample,
        mirror_labels=mirror_labels(data.categories, data.mirror),
        seed=args.seed,
    )
    records = data.train_records() if mode == "train" else data.val_records()
    return VideoClips(records, data.frames_root, data.template, mode, options)


def training_loader(args: argparse.Namespace, data: DataSource, place: Place) -> DataLoader[Batch]:
    """Whole batches of this process's share of the training list."""
    share = place.share_of_batch(args.batch_size)
    logger.info("%s: %d classes, mirroring: %s", data.name, len(data.categories), data.mirror)
    return train_loader(clips(args, data, "train"), share, args.workers, args.seed, place.rank, place.world_size)


def validation_loader(args: argparse.Namespace, data: DataSource, place: Place) -> DataLoader[Batch]:
    """This process's share of the validation list."""
    share = place.share_of_batch(args.batch_size)
    return eval_loader(clips(args, data, "val"), share, args.workers, place.rank, place.world_size)


def classifier_lr5(args: argparse.Namespace) -> bool:
    """The classifier learns faster, as published, unless a checkpoint of the same data set is fine-tuned."""
    if args.no_fc_lr5:
        return False
    return not (args.tune_from and files.read_checkpoint(Path(args.tune_from)).dataset == args.dataset)


def start_fex_from_data(
    args: argparse.Namespace, network: TSN, batches: DataLoader[Batch], place: Place, fresh: list[str]
) -> None:
    """FEX's data-dependent initialisation on the first epoch's first batch, unless a file gave its weights."""
    if args.fex_init == "shift" and any(".tim.bn." in tensor for tensor in fresh):
        batch: Batch = next(iter(readable(batches, args.bad_frames))).to(place.device)
        count = initialise_from_data(network, batch.clips[:, 0])
        logger.info("FEX starts as the temporal shift: %d BatchNorms set from %d clips", count, len(batch))


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """What an epoch draws (dropout) follows from these three alone, so that a resumed run draws the same."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))


def refuse_to_overwrite(args: argparse.Namespace, folder: Path) -> None:
    """An earlier run of the same name is lost only when its owner says so."""
    if (folder / files.LATEST).exists() and not args.overwrite:
        raise InputError(
            f"{folder / files.LATEST} is of an earlier run of this name: go on with it (--resume "
            f"{folder / files.LATEST}), keep both (--suffix NAME), or replace it (--overwrite)"
        )


def restore(args: argparse.Namespace, resumed: files.Checkpoint, step: Step) -> tuple[int, float]:
    """Optimizer and scaler as they were when `resumed` was written; returns the next epoch and the best top-1."""
    if "optimizer" not in resumed.training:
        raise InputError(f"--resume {resumed.path}: it has weights only; start a run from it with --tune_from")
    step.optimizer.load_state_dict(resumed.training["optimizer"])
    step.scaler.load_state_dict(resumed.training["scaler"])
    epoch = resumed.training["epoch"] if args.start_epoch is None else args.start_epoch
    if epoch >= args.epochs:
        raise InputError(f"--resume {resumed.path}: it has {epoch} epochs, all that --epochs {args.epochs} asks for")
    logger.info("%s: going on after epoch %d", resumed.path, epoch)
    return epoch, resumed.training["best_prec1"]


def save(
    folder: Path,
    args: argparse.Namespace,
    data: DataSource,
    network: TSN,
    step: Step,
    epoch: int,
    best: float,
    is_best: bool,
) -> None:
    """`ckpt.pth` after `epoch` epochs; `ckptbest.pth` too where the validation was the best so far."""
    content: dict[str, Any] = {
        "network": asdict(network.options),
        "categories": list(data.categories),
        "dataset": data.name,
        "input_size": args.input_size,
        "epoch": epoch,
        "best_prec1": best,
        "state_dict": network.state_dict(),
        "optimizer": step.optimizer.state_dict(),
        "scaler": step.scaler.state_dict(),
        "options": vars(args),
    }
    files.save_checkpoint(folder / files.LATEST, content)
    if is_best:
        files.save_checkpoint(folder / files.BEST, content)


if __name__ == "__main__":
    with reported():
        main()
