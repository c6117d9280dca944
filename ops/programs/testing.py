"""What `test_models.py` does once its options are known: score every video by every member, combine, report."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ops.data.catalog import DataSource, resolve
from ops.data.clips import ClipOptions, VideoClips
from ops.data.fingerprint import differences, fingerprint
from ops.data.gpu_decode import chosen_device
from ops.data.loader import readable, video_loader
from ops.data.opposites import reversed_labels
from ops.data.records import UNLABELLED, Records
from ops.data.storages import Storage, listed, open_storage
from ops.data.urls import Cache
from ops.data.videofile import video_names
from ops.errors import InputError
from ops.evaluation import coverage, motion
from ops.evaluation.ensemble import Predictions, combine, expected, read_scores, refuse_what_cannot_be_combined
from ops.evaluation.metrics import accuracies
from ops.evaluation.reliability import expected_calibration_error
from ops.evaluation.report import test_report
from ops.evaluation.report.page import refuse_other_page
from ops.evaluation.results import refuse_in_challenge, write_challenge, write_result, write_scores
from ops.evaluation.scores import Scorer, default_views_per_forward, score_videos
from ops.files import check_writable, refuse_to_overwrite
from ops.locks import claimed
from ops.model.deploy import deploy
from ops.model.tsn import TSN
from ops.programs import reporting
from ops.programs.member import Member, chosen
from ops.recognition import calibration
from ops.recognition.contract import Contract, Views
from ops.running import checkpoint as files
from ops.running.compiling import Compiled
from ops.running.distributed import DistributedContext, join_processes
from ops.running.precision import InPrecision, Precision, choose_precision
from ops.running.runlog import Progress, environment

logger = logging.getLogger("fexnet")

TINY = torch.finfo(torch.float32).tiny  # for the logarithm of a probability that is none


def run(args: argparse.Namespace) -> None:
    """Builds every member, refuses what cannot be combined, scores every video, reports."""
    kept = files_of_members(args)
    outputs = [Path(f) for f in (args.result_json, args.save_scores, args.csv_file, *kept) if f]
    if args.report:
        outputs += test_report.outputs(Path(args.report))
        refuse_other_page(Path(args.report) / test_report.PAGE, test_report.KIND)
    refuse_to_overwrite(outputs, map(Path, args.weights), "one of --weights")
    check_writable(outputs)
    with join_processes(args.gpus, args.timeout_minutes) as context, ExitStack() as held:
        if args.calibrate:
            context.by_main(lambda: held.enter_context(held_to_calibrate(Path(args.weights[0]))))
        plain = resolve(args.dataset, args.root_dataset)
        categories = plain.categories
        members = [build_member(args, index, plain, context) for index in range(len(args.weights))]
        for member, file in zip(members, kept, strict=True):
            member.file = file
        refuse_what_needs_labels(args, members)
        if args.calibrate:
            calibration.refuse_too_few(len(members[0].predictions.paths))
        refuse_what_cannot_be_combined([member.predictions for member in members], video_names)
        if args.csv_file:
            refuse_in_challenge([*categories, *members[0].predictions.paths])
        start = time.perf_counter()
        for together in passes(members):
            score(args, together, context)
        if context.is_main:
            result = report(args, members, categories, seconds=round(time.perf_counter() - start, 2))
            if args.calibrate:
                calibrate(args, members[0], result)


def held_to_calibrate(weights: Path) -> AbstractContextManager[None]:
    """Keeps trainings away from the checkpoint that --calibrate writes to; InputError where there is one."""
    if not weights.is_file():  # which is said where it is read
        return nullcontext()
    return claimed(weights.parent, "calibrate once its training has ended")


def files_of_members(args: argparse.Namespace) -> list[Path | None]:
    """Where an ensemble's networks' scores are kept as they come: `s.member0.npz`, … beside --save_scores s.npz."""
    if not args.save_scores or len(args.weights) == 1:
        return [None] * len(args.weights)
    whole = Path(args.save_scores)
    return [
        None if weights.endswith(".npz") else whole.with_name(f"{whole.stem}.member{index}.npz")
        for index, weights in enumerate(args.weights)
    ]


def build_member(args: argparse.Namespace, index: int, plain: DataSource, context: DistributedContext) -> Member:
    """The network or the scores of --weights number `index`."""
    weights, coefficient = args.weights[index], chosen(args.coeff, index, 1.0)
    if weights.endswith(".npz"):
        saved = read_scores(Path(weights), plain.categories)
        saved = saved.first(args.max_num) if args.max_num > 0 else saved
        logger.info("%s: scores of %d videos", weights, len(saved.paths))
        return Member(weights, coefficient, {}, saved.as_probabilities() if args.softmax else saved)
    checkpoint = files.read_checkpoint(Path(weights))
    files.refuse_other_classes(checkpoint, plain.family, plain.categories)
    if args.calibrate and not checkpoint.training:
        raise InputError(
            f"--calibrate: {weights} is a published file, of weights alone, which has no place for a temperature: "
            "calibrate a checkpoint of main.py (--tune_from starts one from this file)"
        )
    if args.add_se and not checkpoint.network.get("add_se"):
        raise InputError(f"--add_se: {weights} has no squeeze-and-excitation; leave the flag out")
    network = files.network_of(checkpoint, chosen(args.test_segments, index)).to(context.device)
    data, storage, records = videos_of(args, index, network.options.modality, context)
    contract = Contract.of(checkpoint, network)
    options = contract.clip_options(views_of(args))
    if args.motion:
        motion.refuse_without_order(options.modality, options.segments * options.frames_per_segment)
    clips = VideoClips(records, storage, "test", options, chosen_device(args.decode_device, context.device, storage))
    precision = choose_precision(args.amp, context.device)
    model: nn.Module = InPrecision(network if args.no_deploy else deploy(network, precision.dtype), precision)
    if args.compile:
        refuse_to_compile(network, context)
        model = Compiled(model)
    at_once = args.views_per_forward
    if at_once is None:
        mixes, gpus = network.options.mixes_videos, len(context.gpus)
        at_once = default_views_per_forward(context.device, options.segments, mixes, gpus)
    facts = describe(args, precision, network, options, at_once, context)
    facts["temperature"] = contract.temperature
    facts["data"] = fingerprint(data, storage)
    if args.calibrate:
        refuse_trained_on(args, checkpoint, facts["data"])
    compared = {key: mark for key, mark in facts["data"].items() if not (key == "val" and args.test_list)}
    for difference in differences(checkpoint.training.get("data", {}), compared):
        logger.warning("%s: trained on other data: %s", weights, difference)
    logger.info("%s", network.describe())
    logger.info("testing %s on %d videos of %s", weights, len(records), data.name)
    logger.info("%s", ", ".join(f"{k} {v}" for k, v in facts.items() if k not in ("network", "data")))
    if network.options.mixes_videos and context.devices > 1:
        logger.warning("%s", grouping_in_words(weights, args.batch_size, context))
    paths, labels = [record.name for record in records], torch.from_numpy(records.labels).long()
    to_come = expected(weights, paths, labels, network.options.num_classes, args.softmax)
    scorer = Scorer(context.spread(model), at_once)
    return Member(weights, coefficient, facts, to_come, data, contract, clips, scorer)


def refuse_trained_on(args: argparse.Namespace, checkpoint: files.Checkpoint, data: Mapping[str, str]) -> None:
    """InputError where the list to calibrate on is the one that the network was trained on."""
    if data["val"] == checkpoint.training.get("data", {}).get("train"):
        raise InputError(
            f"--calibrate --test_list {','.join(args.test_list or [])}: the videos that {checkpoint.path} was trained "
            "on, of which it is surer than of others: give a list of others, as the validation list is"
        )


def videos_of(
    args: argparse.Namespace, index: int, modality: str, context: DistributedContext
) -> tuple[DataSource, Storage, Records]:
    """What the network number `index` is tested on."""
    given, storage_name = chosen(args.test_list, index), storage_of(args, modality)
    cache = Cache(args.cache_dir, args.cache_gb)
    data = resolve(args.dataset, args.root_dataset, None, given, args.root_path, modality, storage_name, cache)
    storage = open_storage(data, args.decoder)
    with context.main_first():  # which may look through all videos, and keep what it finds
        records = listed(data, storage, data.val_list, unlabelled_too=True)
    return data, storage, records[: args.max_num if args.max_num > 0 else None]


def grouping_in_words(weights: str, batch_size: int, context: DistributedContext) -> str:
    """What to know of the released network's scores from several processes or GPUs."""
    return (
        f"{weights}: the released network's scores depend on the views that share a forward on a device: compare these "
        f"({context.describe()}, --batch_size {batch_size}) with none of another number of processes or GPUs. Without "
        "torchrun, and with --gpus 0 where there are several GPUs, they are those of one device"
    )


def refuse_to_compile(network: TSN, context: DistributedContext) -> None:
    """InputError where --compile would give other scores, or work on one GPU of several."""
    if network.options.mixes_videos:
        raise InputError("--compile: the released network's scores depend on the size of a batch; leave it out")
    if len(context.gpus) > 1:
        raise InputError("--compile: works on one GPU a process; give --gpus 0, or start a process a GPU with torchrun")


def storage_of(args: argparse.Namespace, modality: str) -> str | None:
    """--storage; flow is not in video files, whatever a member beside it reads."""
    return "frames" if modality == "Flow" and args.storage == "video" else args.storage


def views_of(args: argparse.Namespace) -> Views:
    """Which views of a video are taken."""
    modes = {"dense": args.dense_sample, "twice": args.twice_sample, "ten_sparse": args.ten_clip_sparse}
    return Views(
        sampling=next((mode for mode, chosen in modes.items() if chosen), "uniform"),
        sparse_clips=args.ten_clip_count,
        crops=args.test_crops,
        full_res=args.full_res,
        input_size=args.input_size,
        reverse_time=args.reverse_time,
    )


def describe(
    args: argparse.Namespace,
    precision: Precision,
    network: TSN,
    options: ClipOptions,
    views_at_once: int | None,
    context: DistributedContext,
) -> dict[str, Any]:
    """What is evaluated and how, as it is printed and stays with the result."""
    views, side = options.views("test")
    return {
        "network": network.name,
        "clips": views // options.crops,
        "crops": options.crops,
        "views": views,
        "segments": options.segments,
        "sampling": options.test_mode,
        "crop_size": side,
        "short_side": options.scale_size,
        "reverse_time": options.reverse_time,
        "batch_size": args.batch_size,
        "views_per_forward": views_at_once or "all of a batch",
        "devices": context.devices,
        "processes": context.world_size,
        "scores_depend_on_grouping": network.options.mixes_videos,
        "amp": precision.name,
        "deployed": not args.no_deploy,
        "compiled": args.compile,
    }


def refuse_what_needs_labels(args: argparse.Namespace, members: Sequence[Member]) -> None:
    """Without labels there are predictions and nothing else; an InputError where the options want otherwise."""
    if not any((member.predictions.labels == UNLABELLED).any() for member in members):
        return
    if args.calibrate:
        raise InputError("--calibrate: the videos have no labels, and so nothing says how sure one may be of an answer")
    for flag in [f"--report {args.report}"] * bool(args.report) + ["--motion"] * args.motion:
        raise InputError(
            f"{flag}: the videos have no labels, and so none is right or wrong; leave it out, or give a list "
            "with labels (--test_list)"
        )
    if not (args.csv_file or args.save_scores):
        raise InputError(
            "the videos have no labels: nothing can be scored; --csv_file or --save_scores takes predictions"
        )


def passes(members: Sequence[Member]) -> list[list[Member]]:
    """Those members together that see the same clips of the same videos: these are read once."""
    groups: dict[Any, list[Member]] = {}
    for member in members:
        if member.data is not None and member.clips is not None:
            groups.setdefault((member.data.val_list, member.data.root, member.clips.options), []).append(member)
    return list(groups.values())


def score(args: argparse.Namespace, members: Sequence[Member], context: DistributedContext) -> None:
    """Every video's mean scores by every one of `members`, who see the same clips."""
    clips = members[0].clips
    assert clips is not None
    workers = context.workers(args.workers)
    loader = video_loader(clips, workers, context.rank, context.world_size, timeout=args.read_timeout)
    scorers = [member.scorer for member in members if member.scorer is not None]
    if args.motion:
        scorers += motion.other_orders(scorers[0], clips.options.frames_per_segment)
    with Progress("testing", len(loader), every=max(1, len(loader) // 10)) as progress:
        videos = readable(loader, args.bad_frames)
        scores = score_videos(scorers, videos, context, args.batch_size, progress.update)
    waiting = scores.clock.waiting_percent
    logger.info("tested in %.1f s, %.0f %% of it waiting for data", scores.clock.total, waiting)
    for video in scores.unreadable:
        logger.warning("left out: %s: %s", video.path, video.reason)
    if scores.unreadable and any(member.facts["scores_depend_on_grouping"] for member in members):
        logger.warning(
            "the released network's other scores depend on that: the videos behind moved up in their batches"
        )
    left_out = tuple(video.path for video in scores.unreadable)
    paths = [clips.path(i) for i in scores.indices.tolist()]
    if args.motion:
        members[0].by_order = scores.scores
    for member, values in zip(members, scores.scores[: len(members)], strict=True):
        found = Predictions(member.weights, paths, scores.labels, values, left_out=left_out)
        if member.file is not None and member.data is not None and context.is_main:
            write_scores(member.file, found, member.data.categories)
            logger.info("%s: its scores are kept in %s", member.weights, member.file)
        member.reasons = {video.path: video.reason for video in scores.unreadable}
        member.predictions = found.as_probabilities() if args.softmax else found
        member.facts["waiting_percent"] = round(waiting, 1)


def report(
    args: argparse.Namespace, members: Sequence[Member], categories: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Writes what the options ask for, what took hours first, and prints the accuracies; the picture comes last.

    Returns the result.
    """
    predictions = [member.predictions for member in members]
    together = combine(predictions, [member.coefficient for member in members], video_names)
    if args.save_scores:
        write_scores(Path(args.save_scores), together, categories)
    if args.csv_file:
        top = 5 if args.dataset == "somethingv2" else 1
        write_challenge(Path(args.csv_file), video_names(together.paths), together.scores.numpy(), categories, top)
    result, confusion = accuracies(together.scores, together.labels) if together.labelled else ({}, None)
    if args.reverse_time and together.labelled:
        result |= partner_accuracy(together, reversed_labels(categories))
    counts = {"videos": len(together.paths), "skipped": len(together.left_out)}
    probabilities = probabilities_of(members, together)
    sureness = how_sure(probabilities, together.labels) if together.labelled else {}
    moved = motion.motion(predictions[0], members[0].by_order) if args.motion else None
    lines = []
    if len(members) > 1 and together.labelled:
        for member in members:
            own = accuracies(member.predictions.scores, member.predictions.labels)[0]
            member.facts |= own
            lines.append(f"{member.weights} (x {member.coefficient:g}): {in_words(own)}")
    whole = {**result, **sureness, **counts, **provenance(args, members), "seconds": seconds}
    if moved is not None:
        whole["motion"] = moved.described()
    if args.result_json:
        write_result(Path(args.result_json), whole)
    lines.append(f"{counts['videos']} videos, {counts['skipped']} unreadable videos left out, {seconds} s")
    lines.append(in_words(result) if result else "no labels: predictions are written, nothing is scored")
    if sureness:
        lines.append(coverage.in_words(sureness["coverage"]))
    if moved is not None:
        lines.append(motion.in_words(moved))
    print(*lines, sep="\n")
    if args.report and confusion is not None:
        views = views_of(args)
        page = reporting.report(args, members, together, probabilities, confusion, moved, categories, views, whole)
        print(f"report {page}")
    return whole


def probabilities_of(members: Sequence[Member], together: Predictions) -> torch.Tensor:
    """Those (N, K) that the scores stand for.

    A network's temperature makes its probabilities; what several are together has none.
    """
    temperature = members[0].temperature if len(members) == 1 else 1.0
    logits = together.scores.clamp_min(TINY).log() if together.softmax else together.scores
    return (logits.double() / temperature).softmax(dim=1)


def how_sure(probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """Calibration error in percent, and accuracy against coverage."""
    return {
        "ece": 100 * expected_calibration_error(probabilities, labels),
        "coverage": coverage.coverage(probabilities, labels),
    }


def calibrate(args: argparse.Namespace, member: Member, result: Mapping[str, Any]) -> None:
    """Fits a temperature and keeps it in the checkpoint; it joins the result, which is written already."""
    found = calibration.calibrate(member.predictions.scores, member.predictions.labels)
    kept = {**asdict(found), "views": asdict(views_of(args))}
    files.store_calibration(Path(member.weights), kept)
    if args.result_json:
        write_result(Path(args.result_json), {**result, "calibration": kept})
    print(f"{calibration.in_words(found)}; kept in {member.weights}")


def in_words(result: dict[str, float]) -> str:
    """The accuracies on one line."""
    return "  ".join(f"{name} {value:.2f} %" for name, value in result.items())


def provenance(args: argparse.Namespace, members: Sequence[Member]) -> dict[str, Any]:
    """What stays with a result: of one network its own facts, of an ensemble those of each member."""
    shared = {"dataset": args.dataset, "environment": environment()}
    if len(members) == 1:
        return {**members[0].facts, **shared, "weights": members[0].weights}
    own = [{"weights": m.weights, "coefficient": m.coefficient, **m.facts} for m in members]
    return {**shared, "weights": args.weights, "softmax": args.softmax, "members": own}


def partner_accuracy(predictions: Predictions, partners: Sequence[int | None]) -> dict[str, float]:
    """How many percent of the videos, played backwards, were taken for the class that is theirs in reverse."""
    expected = torch.tensor([-1 if partner is None else partner for partner in partners])[predictions.labels]
    known = expected >= 0
    hits = (predictions.scores.argmax(dim=1) == expected)[known]
    return {"reverse_partner": 100 * hits.double().mean().item()} if known.any() else {}
