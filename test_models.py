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
from torch import nn

from ops.data.catalog import DataSource, resolve
from ops.data.clips import ClipOptions, VideoClips
from ops.data.loader import readable, video_loader
from ops.data.opposites import reversed_labels
from ops.data.records import VideoRecord
from ops.errors import reported
from ops.evaluation.metrics import accuracies
from ops.evaluation.report import check_writable, write_challenge, write_confusion, write_result, write_scores
from ops.evaluation.scores import Scores, default_views_per_forward, score_videos
from ops.model.tsn import TSN, build_network, network_options
from ops.running import checkpoint as files
from ops.running.distributed import Place, joined
from ops.running.precision import InPrecision, choose_precision
from ops.running.runlog import Progress, environment, start_logging
from opts import testing_options

logger = logging.getLogger("fexnet")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, build, score, report."""
    start_logging()
    args = testing_options(argv)
    outputs = [Path(f) for f in (args.result_json, args.save_scores, args.csv_file) if f]
    check_writable(outputs + ([Path(args.report) / "confusion_matrix.csv"] if args.report else []))
    with joined(args.gpus) as place:
        data = resolve(args.dataset, args.root_dataset, val_list=args.test_list, root_path=args.root_path)
        checkpoint = files.read_checkpoint(Path(args.weights))
        files.refuse_other_classes(checkpoint, data.name, data.categories)
        network = build(args, checkpoint).to(place.device)
        records = data.val_records()[: args.max_num if args.max_num > 0 else None]
        options = view_options(args, checkpoint, network)
        model = InPrecision(network, choose_precision(args.amp, place.device))
        facts = describe(args, model, network, options, place)
        logger.info("%s", network.describe())
        logger.info("testing %s on %d videos of %s", args.weights, len(records), data.name)
        logger.info("%s", ", ".join(f"{k} {v}" for k, v in facts.items() if k != "network"))

        start = time.perf_counter()
        clips = VideoClips(records, data.frames_root, data.template, "test", options)
        scores = score(args, clips, place.spread(model), network.options.mixes_videos, place)
        if place.is_main:
            report(args, data, records, scores, {**facts, "seconds": round(time.perf_counter() - start, 2)})


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
        input_size=args.input_size or checkpoint.input_size,
        test_mode=next((mode for mode, chosen in modes.items() if chosen), "uniform"),
        sparse_clips=args.ten_clip_count,
        crops=args.test_crops,
        full_res=args.full_res,
        reverse_time=args.reverse_time,
    )


def describe(
    args: argparse.Namespace, model: InPrecision, network: TSN, options: ClipOptions, place: Place
) -> dict[str, Any]:
    """What is evaluated and how, as it is printed and stays with the result."""
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
        "views_per_forward": views_at_once(args, options, network.options.mixes_videos, place) or "all of a batch",
        "devices": place.devices,
        "amp": model.precision.name,
    }


def views_at_once(args: argparse.Namespace, options: ClipOptions, mixes_videos: bool, place: Place) -> int | None:
    """How many views one forward takes; None: all of a batch."""
    return args.views_per_forward or default_views_per_forward(place, options.segments, mixes_videos)


def score(args: argparse.Namespace, clips: VideoClips, model: nn.Module, mixes_videos: bool, place: Place) -> Scores:
    """Every video's mean scores."""
    loader = video_loader(clips, args.workers, place.rank, place.world_size)
    at_once = views_at_once(args, clips.options, mixes_videos, place)
    with Progress("testing", len(loader), every=max(1, len(loader) // 10)) as progress:
        videos = readable(loader, args.bad_frames)
        scores = score_videos(model, videos, place, args.batch_size, at_once, progress.update)
    if args.softmax:
        scores.scores = scores.scores.softmax(dim=1)
    return scores


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
    paths = [records[i].path for i in scores.indices.tolist()]
    if args.csv_file:
        top = 5 if data.name == "somethingv2" else 1
        write_challenge(Path(args.csv_file), paths, scores.scores.numpy(), data.categories, top)
    if args.save_scores:
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
