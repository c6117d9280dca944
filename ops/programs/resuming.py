"""What a run goes on from: the checkpoint that `--resume` names, or the newest of its own."""

from __future__ import annotations

import argparse
import logging
import os
import socket
from dataclasses import replace
from pathlib import Path

from ops.errors import InputError, did_you_mean
from ops.files import exists
from ops.running import checkpoint as files
from ops.running.distributed import DistributedContext
from ops.running.folders import RunFolders

logger = logging.getLogger("fexnet")

AUTO = "auto"


class NothingLeftError(InputError):
    """The checkpoint has all epochs that are asked for."""


def named(args: argparse.Namespace) -> files.Checkpoint | None:
    """The checkpoint that --resume names, if it names one."""
    if args.resume in ("", AUTO):
        return None
    path = Path(args.resume)
    if (meant := did_you_mean(args.resume, [AUTO])) and not exists(path):
        raise InputError(f"--resume {path}: no such checkpoint{meant}")
    return files.read_checkpoint(path)


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


def going_on_from(
    args: argparse.Namespace, given: files.Checkpoint | None, folders: RunFolders, context: DistributedContext
) -> tuple[files.Checkpoint | None, RunFolders]:
    """The checkpoint to go on from, None for a fresh start; and the folders, which know if it is one of their own.

    With `--resume auto` that is the run's own newest whole one, and so it is whenever torchrun has started the run
    anew. Where there is none, a run that was started anew begins as it was told to.
    """
    auto = args.resume == AUTO
    if (args.evaluate and given is not None) or not (auto or started_by_torchrun()):
        return given, folders
    restarted = bool(context.agree(int(was_restarted())))  # each machine's torchrun counts its own restarts
    found = context.from_main(context.by_main(lambda: own_newest(args, folders, restarted)))
    if found is not None:
        path, of_this_job = found
        logger.info("%s: from %s", f"--resume {AUTO}" if auto else "started anew", path)
        if of_this_job and restarted:
            args.start_epoch = 0  # it was of what this job first went on from
        return files.read_checkpoint(path), replace(folders, auto=True)
    if args.evaluate:
        raise InputError(f"--evaluate: nothing to evaluate: no checkpoint in {folders.checkpoints}; name one: --resume")
    if auto or restarted:
        begins = f"from {given.path}" if given else "a fresh start"
        logger.info("%s: no checkpoint to go on from: %s", folders.checkpoints, begins)
    return given, folders


def own_newest(args: argparse.Namespace, folders: RunFolders, restarted: bool) -> tuple[Path, bool] | None:
    """The newest of the run's own checkpoints that can be read and is to be gone on from; whether this job wrote it.

    A job that has lost or got a machine is started anew, too, and no restart is counted: what it wrote tells.
    """
    for path in folders.own_checkpoints():
        try:
            checkpoint = files.read_checkpoint(path)
        except InputError as error:
            logger.warning("passed over: %s", error)
            continue
        of_this_job = started_by_torchrun() and checkpoint.training.get("job") == job()
        if of_this_job and args.overwrite and not restarted:
            raise InputError(
                f"--overwrite: {path} is of this very job ({job()}): --resume auto goes on with it; to replace it, "
                "give torchrun another --rdzv-id"
            )
        if args.resume == AUTO or of_this_job or (restarted and not args.overwrite):
            return path, of_this_job
        logger.info("%s is of an earlier run", path)
    return None


def started_by_torchrun() -> bool:
    """Torchrun is there, and may start processes in place of those that have ended."""
    return "TORCHELASTIC_RESTART_COUNT" in os.environ


def was_restarted() -> bool:
    """Torchrun has started this process in place of one that has failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def job() -> str:
    """What the processes of a run share with those that torchrun starts in their place, and with no other run's.

    The name that torchrun was given or, where it has none, torchrun itself.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return f"process {os.getppid()} on {socket.gethostname()}" if name == "none" else name
