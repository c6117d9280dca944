#!/usr/bin/env python3
"""Test a trained network: `python test_models.py DATASET --weights=FILE …` (see `--help` and the README)."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ops.data.catalog import DataSource, resolve
from ops.data.clips import ClipOptions, VideoClips
from ops.data.loader import readable, video_loader
from ops.data.opposites import reversed_labels
from ops.data.records import VideoRecord
from ops.errors import reported
from ops.evaluation.metrics import accuracies
from ops.evaluation.report import write_confusion, write_result, write_scores
from ops.evaluation.scores import Scores, default_views_per_forward, score_videos
from ops.model.tsn import TSN, build_network, network_options
from ops.running import checkpoint as files
from ops.running.distributed import Place, joined
from ops.running.precision import choose_precision
from ops.running.runlog import Progress, environment, start_logging
from opts import testing_options

logger = logging.getLogger("fexnet")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, build, score, report."""
    start_logging(is_main=True)
    args = testing_options(argv)
    with joined(args.gpus) as place:
        start_logging(place.is_main)
        data = resolve(args.dataset, args.root_dataset, val_list=args.test_list, root_path=args.root_path)
        checkpoint = files.read_checkpoint(Path(args.weights))
        files.refuse_other_categories(checkpoint, data.categories)
        network = build(args, checkpoint)
        records = data.val_records()[: args.max_num if args.max_num > 0 else None]
        options = view_options(args, checkpoint, network)
        described = describe_views(args, network, options, place)
        logger.info("%s", network.describe())
        logger.info("testing %s on %d videos of %s", args.weights, len(records), data.name)
        logger.info("%s", ", ".join(f"{k} {v}" for k, v in described.items() if k != "network"))

        start = time.perf_counter()
        scores = score(args, data, records, options, network, place)
        seconds = time.perf_counter() - start
        if place.is_main:
            report(args, data, records, scores, {**described, "seconds": round(seconds, 2)})


def build(args: argparse.Namespace, checkpoint: files.Checkpoint) -> TSN:
    """The network that the checkpoint describes, with its weights, for `--test_segments` frames a clip."""
    options = network_options(checkpoint.network)
    if args.test_segments:
        options = replace(options, num_segments=args.test_segments)
    network = build_network(options)
    files.load_weights(network, checkpoint)
    return network


def view_options(args: argparse.Namespace, checkpoint: files.Checkpoint, network: TSN) -> ClipOptions:
    """Which views of a video are taken."""
    modes = {"dense": args.dense_sample, "twice": args.twice_sample, "ten_sparse": args.ten_clip_sparse}
    return ClipOptions(
        segments=network.options.num_segments,
        input_size=args.input_size or checkpoint.training.get("input_size", 224),
        test_mode=next((mode for mode, chosen in modes.items() if chosen), "uniform"),
        sparse_clips=args.ten_clip_count,
        crops=args.test_crops,
        full_res=args.full_res,
        reverse_time=args.reverse_time,
    )


def describe_views(args: argparse.Namespace, network: TSN, options: ClipOptions, place: Place) -> dict[str, Any]:
    """What is evaluated, as it is printed and stays with the result."""
    views = args.views_per_forward or default_views_per_forward(place, options.segments, network.options.mixes_videos)
    clips = {"uniform": 1, "twice": 2, "ten_sparse": options.sparse_clips, "dense": 10}[options.test_mode]
    return {
        "network": network.name,
        "clips": clips,
        "crops": options.crops,
        "views": clips * options.crops,
        "segments": options.segments,
        "sampling": options.test_mode,
        "crop_size": options.scale_size if options.full_res else options.input_size,
        "short_side": options.scale_size,
        "reverse_time": options.reverse_time,
        "batch_size": args.batch_size,
        "views_per_forward": views or "all of a batch",
        "amp": choose_precision(args.amp, place.device).name,
    }


def score(
    args: argparse.Namespace,
    data: DataSource,
    records: list[VideoRecord],
    options: ClipOptions,
    network: TSN,
    place: Place,
) -> Scores:
    """Every record's mean scores."""
    clips = VideoClips(records, data.frames_root, data.template, "test", options)
    loader = video_loader(clips, args.workers, place.rank, place.world_size)
    mixes = network.options.mixes_videos
    with Progress("testing", len(loader), every=max(1, len(loader) // 10)) as progress:
        return score_videos(
            place.spread(network.to(place.device)),
            readable(loader, args.bad_frames),
            place,
            choose_precision(args.amp, place.device),
            args.batch_size,
            args.views_per_forward or default_views_per_forward(place, options.segments, mixes),
            progress.update,
        )


def report(
    args: argparse.Namespace, data: DataSource, records: list[VideoRecord], scores: Scores, described: dict[str, Any]
) -> None:
    """Prints the accuracies and writes what the options ask for."""
    result, confusion = accuracies(scores.scores, scores.labels)
    if args.reverse_time:
        result |= partner_accuracy(scores, reversed_labels(data.categories))
    counts = {"videos": len(scores.labels), "skipped": len(scores.unreadable)}
    print(f"{counts['videos']} videos, {counts['skipped']} unreadable videos left out, {described['seconds']} s")
    print("  ".join(f"{name} {value:.2f} %" for name, value in result.items()))
    for video in scores.unreadable:
        logger.warning("left out: %s: %s", video.path, video.reason)
    if args.result_json:
        context = {"dataset": data.name, "weights": args.weights, "environment": environment()}
        write_result(Path(args.result_json), {**result, **counts, **described, **context})
    if args.report:
        write_confusion(Path(args.report), confusion, data.categories)
    if args.save_scores:
        paths = [records[i].path for i in scores.indices.tolist()]
        write_scores(Path(args.save_scores), paths, scores.labels.numpy(), scores.scores.numpy(), data.categories)


def partner_accuracy(scores: Scores, partners: Sequence[int | None]) -> dict[str, float]:
    """How many percent of the videos, played backwards, were taken for the class that is theirs in reverse."""
    expected = torch.tensor([-1 if partner is None else partner for partner in partners])[scores.labels]
    known = expected >= 0
    hits = (scores.scores.argmax(dim=1) == expected)[known]
    return {"reverse_partner": 100 * hits.double().mean().item()} if known.any() else {}


if __name__ == "__main__":
    with reported():
        main()
