"""What `main.py` does once its options are known: all epochs of a training run, which `preparing` has made ready."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from torch import nn

from ops.data.catalog import DataSource, resolve
from ops.data.clips import VideoClips
from ops.data.loader import Loader, readable
from ops.data.urls import Cache
from ops.errors import InputError, Stopped, explained
from ops.files import in_words as fault_in_words
from ops.model.tsn import TSN
from ops.programs.preparing import Run, Start, build, prepare, validation_is_due, validation_loader
from ops.programs.resuming import NothingLeftError, going_on_from, named, run_folders
from ops.programs.saving import Saves, checkpoint_size
from ops.programs.training_report import TrainingReport
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext, join_processes
from ops.running.engine import Meters, Naming, in_words, train_one_epoch, validate
from ops.running.folders import RunFolders
from ops.running.optimizer import learning_rate, set_learning_rate
from ops.running.precision import InPrecision, choose_precision
from ops.running.runlog import Progress, RunLog, row_of, with_validation
from ops.running.sharing import shared_out
from ops.running.signals import Signals, caught

logger = logging.getLogger("fexnet")

SHOWN = 3  # videos of a batch that an error names


def run(args: argparse.Namespace, default_name: str) -> None:
    """Trains, or validates (`--evaluate`). `default_name`: of a run that neither a flag nor a checkpoint names.

    Raises Stopped where a signal ends it: what it has done so far is saved then.
    """
    with caught() as signals, join_processes(args.gpus, args.timeout_minutes) as context, ExitStack() as held:
        given = named(args)
        folders = run_folders(args, given, default_name)
        if not args.evaluate:  # from the first second, so that of two that start together one ends at once
            context.by_main(lambda: held.enter_context(folders.claimed()))
        resumed, folders = going_on_from(args, given, folders, context)
        if not (args.evaluate or args.overwrite):
            context.by_main(lambda: folders.refuse_to_overwrite(resumed))
        lists = (args.train_list, args.val_list)
        where, cache = (args.root_path, args.modality, args.storage), Cache(args.cache_dir, args.cache_gb)
        data = resolve(args.dataset, args.root_dataset, *lists, *where, cache)
        network, start = build(args, data, resumed)
        network.to(context.device)
        logger.info("%s", network.describe())
        if args.evaluate:
            evaluate(args, data, network, context)
            return
        logger.info("%s", network.describe_training(fex_is_fresh=any(".temporal." in t for t in start.fresh)))
        try:
            with explained(folders.how_to_go_on), context.failures_named():
                train(args, data, network, context, start, folders, signals)
        except Stopped as stopped:
            stopped.advice = folders.how_to_go_on()
            raise
        except NothingLeftError as error:
            if not folders.auto:
                raise
            context.by_main(lambda: folders.make_up_for(resumed, args.keep))
            logger.info("%s: nothing is left to do", error)


def train(
    args: argparse.Namespace,
    data: DataSource,
    network: TSN,
    context: DistributedContext,
    start: Start,
    folders: RunFolders,
    signals: Signals,
) -> None:
    """All epochs: train, write the checkpoint, then validate when due, and log."""
    run = prepare(args, data, network, context, start, folders)
    evaluated = context.spread(InPrecision(run.kept, run.precision))  # for validation, where processes do not meet
    done = run.epoch - validation_is_due(args, run)
    # Nothing is replaced before all else has worked.
    kept = min(args.keep, args.epochs)
    context.by_main(lambda: folders.make_room(start.resumed, checkpoint_size(run), kept))
    context.by_main(lambda: folders.make_up_for(start.resumed, kept))
    if not context.from_main((folders.checkpoints / files.BEST).is_file()):
        run.best = 0.0  # no file stands for its number
    tell = telling(args, data, run, context, after=done if start.resumed else None)
    saves, model = Saves(args, run, context, signals), None

    for epoch in range(done, args.epochs):
        if epoch == run.epoch:  # else it was stopped in this one's validation
            frozen = epoch < run.frozen_epochs
            if model is None or frozen != network.backbone_is_frozen:
                network.freeze_backbone(frozen)
                # Joined processes must learn anew which parameters are trained.
                model = context.wrap(InPrecision(network, run.precision), find_unused=network.options.mixes_videos)
            with signals.held():
                train_next(args, run, model, context, saves)
                if not validation_is_due(args, run):
                    tell()  # before its last checkpoint, behind which no resumed run makes up for it
                saves.write(files.LATEST)
        improved = validate_last(args, run, evaluated, context) if validation_is_due(args, run) else None
        with signals.held():
            if improved is not None:
                tell()
                # The best first: a crash between the two must not leave a checkpoint that claims a better one.
                saves.write(*[files.BEST] * improved, files.LATEST)
            if context.is_main:
                folders.keep(run.epoch, kept)
    best = f"best top-1 {run.best:.2f} %; " if args.eval_freq else ""
    logger.info("%sweights in %s", best, folders.checkpoints)


def telling(
    args: argparse.Namespace, data: DataSource, run: Run, context: DistributedContext, after: int | None
) -> Callable[[], None]:
    """Begins the run's log, or goes on with it `after` so many epochs; what it gives logs all epochs so far."""
    said = {**vars(args), "name": run.folders.name, "precision": run.precision.name, "devices": context.devices}
    said["data"] = run.about["data"]
    rows = [row for row in run.rows if row["epoch"] <= (after or 0)]
    log = context.by_main(lambda: RunLog(run.folders.log, said, after, rows))
    report = TrainingReport(run.folders.log, run.clips, data.categories, args) if log is not None else None

    def tell() -> None:
        if log is None or report is None:  # not the main process
            return
        try:
            log.add(run.rows)
        except OSError as error:  # no reason to lose the epoch, which is not saved yet
            logger.warning(
                "%s: can't be written: %s; the lines are kept for the next time", log.table, fault_in_words(error)
            )
        report.renew()

    return tell


def train_next(args: argparse.Namespace, run: Run, model: nn.Module, context: DistributedContext, saves: Saves) -> None:
    """One more epoch, or what is left of it, and its line without a validation."""
    epoch, begun = run.epoch, run.begun
    rate = learning_rate(epoch, args.epochs, run.rate, args.lr_type, args.lr_steps, args.warmup_epochs)
    set_learning_rate(run.step.optimizer, rate)
    run.batches.sampler.set_epoch(epoch, begun)
    batches = readable(run.batches, args.bad_frames)
    if args.bad_frames == "skip":
        batches = (shared_out(batch, context) for batch in batches)
    first = begun // args.batch_size
    last = first + len(run.batches) - 1
    meters = Meters.resumed(run.sums if context.is_main else {}, naming(run.clips))

    def after_batch(number: int, meters: Meters) -> None:
        progress.update(number, meters)
        if number < last:  # behind the last the epoch itself is saved
            saves.after_batch(begun + (number + 1 - first) * args.batch_size, (number + 1) // args.accumulate, meters)

    with Progress(f"epoch {epoch + 1}/{args.epochs}", last + 1, args.print_freq, first) as progress:
        trained = train_one_epoch(model, batches, run.step, context, after_batch, meters, (epoch, first))
    logger.info("epoch %d/%d train: %s", epoch + 1, args.epochs, in_words(trained))
    for module in (run.network, run.kept):
        context.share_buffers(module)
    run.rows.append(row_of(epoch + 1, rate, trained))
    run.epoch, run.validated, run.begun, run.sums = epoch + 1, False, 0, {}


def validate_last(args: argparse.Namespace, run: Run, model: nn.Module, context: DistributedContext) -> bool:
    """Validates the last epoch, whose weights are on the disk; whether none so far was better."""
    assert run.val_batches is not None
    try:
        batches = readable(run.val_batches, args.bad_frames)
        checked = validate(model, batches, nn.CrossEntropyLoss(), context, naming(run.val_batches))
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


def naming(videos: VideoClips | Loader) -> Naming:
    """Names the videos of a batch: the first of them, and how many more there are."""

    def name(places: Sequence[int]) -> str:
        more = f" and {len(places) - SHOWN} more videos" if len(places) > SHOWN else ""
        return f"{', '.join(videos.path(place) for place in places[:SHOWN])}{more}"

    return name


def evaluate(args: argparse.Namespace, data: DataSource, network: TSN, context: DistributedContext) -> None:
    """Validation alone, of the checkpoint that --resume named."""
    model = context.spread(InPrecision(network, choose_precision(args.amp, context.device)))
    videos = validation_loader(args, data, context)
    batches = readable(videos, args.bad_frames)
    checked = validate(model, batches, nn.CrossEntropyLoss(), context, naming(videos))
    logger.info("evaluation: %s", in_words(checked))
