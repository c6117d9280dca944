"""What a run goes on from: the checkpoint that `--resume` names, or the newest of its own."""

from __future__ import annotations

import argparse
import logging
import os
import socket
from pathlib import Path

from ops.errors import InputError
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext
from ops.running.folders import RunFolders

logger = logging.getLogger("fexnet")

AUTO = "auto"


class NothingLeftError(InputError):
    """The checkpoint has all epochs that are asked for."""


def named(args: argparse.Namespace) -> files.Checkpoint | None:
    """The checkpoint that --resume names, if it names one."""
    return files.read_checkpoint(Path(args.resume)) if args.resume not in ("", AUTO) else None


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
    return RunFolders(name, Path(args.root_model) / name, Path(args.root_log) / name, auto=goes_on_by_itself(args))


def going_on_from(
    args: argparse.Namespace, given: files.Checkpoint | None, folders: RunFolders, context: DistributedContext
) -> files.Checkpoint | None:
    """The checkpoint to go on from; None for a fresh start.

    With `--resume auto`, and whenever torchrun has started the run anew, that is the run's own newest whole one. Where
    there is none, a run that was started anew begins as it was told to.
    """
    if not goes_on_by_itself(args):
        return given
    path = context.from_main(context.by_main(lambda: newest_whole(args, folders)))
    what = f"--resume {AUTO}" if args.resume == AUTO else "started anew"
    if path is not None:
        logger.info("%s: from %s", what, path)
        resumed = files.read_checkpoint(path)
        if was_restarted() and resumed.training.get("job") == job():
            args.start_epoch = 0  # it was of what this job first went on from
        return resumed
    begins = f"from {given.path}" if given else "a fresh start"
    logger.info("%s: no checkpoint in %s: %s", what, folders.checkpoints, begins)
    if args.evaluate and given is None:
        raise InputError(f"--evaluate: nothing to evaluate: no checkpoint in {folders.checkpoints}; name one: --resume")
    return given


def newest_whole(args: argparse.Namespace, folders: RunFolders) -> Path | None:
    """The newest of the run's own checkpoints that can be read; damaged ones are told of."""
    for path in folders.own_checkpoints():
        try:
            checkpoint = files.read_checkpoint(path)
        except InputError as error:
            logger.warning("passed over: %s", error)
            continue
        if args.overwrite and checkpoint.training.get("job") != job():
            logger.info("%s is of an earlier run, which --overwrite replaces", path)
            continue
        return path
    return None


def goes_on_by_itself(args: argparse.Namespace) -> bool:
    """Whether the run finds out itself what to go on from."""
    return args.resume == AUTO or was_restarted()


def was_restarted() -> bool:
    """Torchrun has started this process in place of one that has ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def job() -> str:
    """What a process has in common with those that torchrun starts in its place, and with no other."""
    return f"{socket.gethostname()} {os.getppid()}"
