"""What `main.py` does once its options are known: all epochs of a training run, which `preparing` has made ready."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ops.data.catalog import DataSource, resolve
from ops.data.loader import readable
from ops.errors import InputError, explained
from ops.model.tsn import TSN
from ops.programs.preparing import Run, Start, build, prepare, validation_is_due, validation_loader
from ops.programs.training_report import TrainingReport
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext, join_processes
from ops.running.engine import in_words, train_one_epoch, validate
from ops.running.folders import RunFolders
from ops.running.optimizer import learning_rate, set_learning_rate
from ops.running.precision import InPrecision, choose_precision
from ops.running.runlog import Progress, RunLog, row_of, with_validation

logger = logging.getLogger("fexnet")


def run(args: argparse.Namespace, default_name: str) -> None:
    """Trains, or validates (`--evaluate`). `default_name`: of a run that neither a flag nor a checkpoint names."""
    with join_processes(args.gpus) as context, ExitStack() as held:
        resumed = files.read_checkpoint(Path(args.resume)) if args.resume else None
        folders = run_folders(args, resumed, default_name)
        if not args.evaluate:  # from the first second, so that of two that start together one ends at once
            context.by_main(lambda: held.enter_context(folders.claimed(resumed, args.overwrite)))
        lists = (args.train_list, args.val_list)
        data = resolve(args.dataset, args.root_dataset, *lists, args.root_path, args.modality, args.storage)
        network, start = build(args, data, resumed)
        network.to(context.device)
        logger.info("%s", network.describe())
        if args.evaluate:
            evaluate(args, data, network, context)
        else:
            logger.info("%s", network.describe_training(fex_is_fresh=any(".temporal." in t for t in start.fresh)))
            with explained(folders.how_to_go_on):
                train(args, data, network, context, start, folders)


def train(
    args: argparse.Namespace,
    data: DataSource,
    network: TSN,
    context: DistributedContext,
    start: Start,
    folders: RunFolders,
) -> None:
    """All epochs: train, write the checkpoint, then validate when due, and log."""
    run = prepare(args, data, network, context, start, folders)
    evaluated = context.spread(InPrecision(run.kept, run.precision))  # for validation, where processes do not meet
    said = {**vars(args), "name": folders.name, "precision": run.precision.name, "devices": context.devices}
    said["data"] = run.about["data"]
    done = run.epoch - validation_is_due(args, run)
    rows = [row for row in run.rows if row["epoch"] <= done]
    after = done if start.resumed else None
    # Nothing is replaced before all else has worked.
    context.by_main(lambda: folders.make_room(start.resumed, checkpoint_size(run)))
    log = context.by_main(lambda: RunLog(folders.log, said, after, rows))
    report = TrainingReport(folders.log, run.clips, data.categories, args) if log is not None else None
    model = None

    for epoch in range(done, args.epochs):
        if epoch == run.epoch:  # else it was stopped in this one's validation
            frozen = epoch < run.frozen_epochs
            if model is None or frozen != network.backbone_is_frozen:
                network.freeze_backbone(frozen)
                # Joined processes must learn anew which parameters are trained.
                model = context.wrap(InPrecision(network, run.precision), find_unused=network.options.mixes_videos)
            train_next(args, run, model, context)
            refuse_not_finite(run)
            save(run, context, files.LATEST)
        improved = validate_last(args, run, evaluated, context) if validation_is_due(args, run) else None
        if log is not None and report is not None:  # the main process
            log.add(run.rows)  # before the last checkpoint, behind which no resumed run makes up for it
            report.renew()
        if improved is not None:
            # The best first: a crash between the two must not leave a checkpoint that claims a better one.
            save(run, context, *[files.BEST] * improved, files.LATEST)
    best = f"best top-1 {run.best:.2f} %; " if args.eval_freq else ""
    logger.info("%sweights in %s", best, folders.checkpoints)


def train_next(args: argparse.Namespace, run: Run, model: nn.Module, context: DistributedContext) -> None:
    """One more epoch, and its line without a validation."""
    epoch = run.epoch
    rate = learning_rate(epoch, args.epochs, run.rate, args.lr_type, args.lr_steps, args.warmup_epochs)
    set_learning_rate(run.step.optimizer, rate)
    seed_epoch(args.seed, epoch, context.rank)
    run.batches.sampler.set_epoch(epoch)  # type: ignore[union-attr]
    with Progress(f"epoch {epoch + 1}/{args.epochs}", len(run.batches), args.print_freq) as progress:
        batches = readable(run.batches, args.bad_frames)
        trained = train_one_epoch(model, batches, run.step, context, progress.update)
    logger.info("epoch %d/%d train: %s", epoch + 1, args.epochs, in_words(trained))
    for module in (run.network, run.kept):
        context.share_buffers(module)
    run.rows.append(row_of(epoch + 1, rate, trained))
    run.epoch, run.validated = epoch + 1, False


def validate_last(args: argparse.Namespace, run: Run, model: nn.Module, context: DistributedContext) -> bool:
    """Validates the last epoch, whose weights are on the disk; whether none so far was better."""
    assert run.val_batches is not None
    try:
        checked = validate(model, readable(run.val_batches, args.bad_frames), nn.CrossEntropyLoss(), context)
    except InputError as error:
        latest = run.folders.checkpoints / files.LATEST
        raise InputError(
            f"{error}. Epoch {run.epoch} is kept: --resume {latest} goes on with its validation"
        ) from error
    logger.info("epoch %d/%d val:   %s", run.epoch, args.epochs, in_words(checked))
    run.rows[-1] = with_validation(run.rows[-1], checked)
    run.validated = True
    improved = checked["top1"] >= run.best
    run.best = max(run.best, checked["top1"])
    return improved


def save(run: Run, context: DistributedContext, *names: str) -> None:
    """Writes the run as it is now to these checkpoints."""
    if context.is_main:
        content = run.about | state_of(run)
        for name in names:
            files.save_checkpoint(run.folders.checkpoints / name, content)
    context.wait()


def evaluate(args: argparse.Namespace, data: DataSource, network: TSN, context: DistributedContext) -> None:
    """Validation alone, of the checkpoint that --resume named."""
    model = context.spread(InPrecision(network, choose_precision(args.amp, context.device)))
    batches = readable(validation_loader(args, data, context), args.bad_frames)
    logger.info("evaluation: %s", in_words(validate(model, batches, nn.CrossEntropyLoss(), context)))


def run_folders(args: argparse.Namespace, resumed: files.Checkpoint | None, default_name: str) -> RunFolders:
    """The run's folders: as --store_name says, those that a resumed run has, or named by what the options make."""
    name = args.store_name or default_name
    if resumed and not args.store_name and not args.evaluate:
        name = resumed.training.get("name", default_name)
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(
                f"--resume {resumed.path}: it calls its run {name!r}, which is no folder below --root_model; "
                "--store_name NAME gives another"
            )
        if args.suffix and not name.endswith(args.suffix):
            logger.warning("--suffix %s: a resumed run keeps its name %s; --store_name changes it", args.suffix, name)
    return RunFolders(name, Path(args.root_model) / name, Path(args.root_log) / name)


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """What an epoch draws (dropout) follows from these three alone, so that a resumed run draws the same."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))


def checkpoint_size(run: Run) -> int:
    """About how many bytes: the weights, their average if there is one, their momenta."""
    size = sum(tensor.nbytes for tensor in run.network.state_dict().values()) * (2 if run.average else 1)
    groups = run.step.optimizer.param_groups
    return size + sum(weight.nbytes for group in groups if group.get("momentum") for weight in group["params"])


def state_of(run: Run) -> dict[str, Any]:
    """What a run goes on from; `state_dict` is what is validated: the average, if any."""
    state = {
        "epoch": run.epoch,
        "validated": run.validated,
        "best_prec1": run.best,
        "rows": run.rows,
        "state_dict": run.kept.state_dict(),
        "optimizer": run.step.optimizer.state_dict(),
        "scaler": run.step.scaler.state_dict(),
    }
    if run.average:
        state |= {"trained": run.network.state_dict(), "averaged_steps": int(run.average.n_averaged)}
    return state


def refuse_not_finite(run: Run) -> None:
    """Raises InputError if a weight has become infinite or no number: then the checkpoints stay as they are."""
    modules = dict.fromkeys((run.network, run.kept))  # which may be one
    for name, value in (pair for module in modules for pair in module.state_dict().items()):
        if not value.isfinite().all():
            raise InputError(
                f"epoch {run.epoch} left {name} without finite numbers, and is not kept: lower --lr, clip gradients "
                "(--gd 20), or give --amp off"
            )
