"""What the processes of one run know of each other: who goes on, and whom the others wait for in vain.

All of it lies in the store that torchrun gives them, which answers even while a process hangs in a collective.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import torch
from torch import distributed as dist

from ops.errors import MachineError

LONG = timedelta(days=30)  # of a collective that `Peers.meet` watches over: it ends by the beats, not by a clock
WHY = 500  # letters of why a process has ended, for the others
GRACE = 2.0  # seconds in which all who met the same failure say so: who gives up closes its connections at once
# What gloo and NCCL raise besides torch's own classes: plain RuntimeErrors.
_BROKEN = re.compile(r"gloo|NCCL|Connection (?:reset|closed)|Broken pipe|Timed out waiting")


class Peers:
    """The other processes, as the store knows them.

    Each says with `beat` what it does; who waits for the others reads it. `patience`: seconds without a word after
    which a process is taken to hang. The first to name a culprit leaves its words, so that all end with the same line.
    """

    def __init__(self, store: dist.Store, rank: int, world_size: int, patience: float) -> None:
        self.store = store
        self.rank = rank
        self.world_size = world_size
        self.patience = patience
        self._period = min(1.0, patience / 20)  # seconds between two beats
        self._due = 0.0
        self._numbers = count()
        self._meetings = 0  # that this process has come to
        self._is_there = True  # the store: where torchrun is killed it is gone, but the processes can still save
        self._forwards: deque[torch.cuda.Event] = deque(maxlen=2)  # the ends of the last two on the GPU
        store.set(f"who/{rank}", f"process {rank} (pid {os.getpid()} on {socket.gethostname()})")
        self._say("it had just been started")

    def beat(self, what: str) -> None:
        """This process goes on, and with what; the others are told once a second at most."""
        if time.monotonic() >= self._due:
            self._say(what)

    def meet(self, work: dist.Work) -> None:
        """Waits for a collective to which others may come much later, for as long as they go on.

        Raises MachineError that names those who do not.
        """
        self._meetings += 1
        self._say("waiting for the others")
        heard = [(b"", 0.0)] * self.world_size  # each one's last word, and since when there has been no other
        pause, look = 0.001, time.monotonic()
        while not work.is_completed():
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
            if (now := time.monotonic()) < look:
                continue
            look = now + self.patience / 20
            beats = self._beats()
            heard = [old if new == old[0] else (new, now) for new, old in zip(beats, heard, strict=True)]
            silent = [rank for rank, (_, since) in enumerate(heard) if now - since > self.patience]
            absent = [rank for rank in silent if json.loads(beats[rank])[1] < self._meetings]
            if absent or len(silent) == self.world_size:
                raise MachineError(self._agreed(self._hanging(absent)))
        work.wait()

    def after_forward(self, *_: object) -> None:
        """A forward pass has been put into the GPU's queue: before the collective that the others' GPUs wait in."""
        event = torch.cuda.Event()
        event.record()
        self._forwards.append(event)

    def await_device(self) -> None:
        """Waits until this GPU has done the last forward pass but one, which it has long unless it hangs.

        So that its process does not agree to a step: the others' GPUs wait for this one, and all processes for theirs.
        Raises MachineError after `patience`.
        """
        deadline = time.monotonic() + self.patience
        while len(self._forwards) == 2 and not self._forwards[0].query():
            if time.monotonic() > deadline:
                minutes = f"{self.patience / 60:g} minutes (--timeout_minutes)"
                raise MachineError(self._agreed(f"the GPU of {self._names([self.rank])} hangs for {minutes}"))
            time.sleep(0.001)

    def leave(self, error: BaseException) -> None:
        """This process ends by itself, and has said why."""
        self.store.set(f"ended/{self.rank}", str(error)[:WHY] or type(error).__name__)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Makes a MachineError, which names the culprit, of what a collective raises within the block."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, MachineError) or not (isinstance(error, dist.DistError) or _BROKEN.search(str(error))):
                raise
            try:
                words = self._diagnosis(late="imed out" in str(error) or "imeout" in str(error))
            except RuntimeError:  # the store as well
                words = "the other processes can't be reached any more: has the first one's torchrun ended?"
            raise MachineError(words) from error

    def _say(self, what: str) -> None:
        self._due = time.monotonic() + self._period
        if self._is_there:
            try:
                self.store.set(f"beat/{self.rank}", json.dumps([next(self._numbers), self._meetings, what]))
            except dist.DistError:
                self._is_there = False

    def _beats(self) -> list[bytes]:
        """What each has said last; of nobody anything new once the store is gone."""
        if self._is_there:
            try:
                return self._of_all("beat")
            except dist.DistError:
                self._is_there = False
        return [json.dumps([0, 0, ""]).encode()] * self.world_size

    def _of_all(self, key: str) -> list[bytes]:
        return self.store.multi_get([f"{key}/{rank}" for rank in range(self.world_size)])

    def _diagnosis(self, late: bool) -> str:
        """Whose fault it is that a collective has failed: who ended, or who does not come to say that it failed too."""
        self.store.set(f"failed/{self.rank}", "")
        if late:
            self.store.set("late", "")
        deadline = time.monotonic() + min(GRACE, self.patience / 2)
        while (missing := self._without("failed", "ended")) and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = [rank for rank in range(self.world_size) if self.store.check([f"ended/{rank}"])]
        if ended:
            why = self.store.get(f"ended/{ended[0]}").decode()
            return self._agreed(f"{self._names(ended)} has ended: {why}")
        if self.store.check(["late"]):
            return self._agreed(self._hanging(missing))
        if missing:
            return self._agreed(f"{self._names(missing)} has ended or can't be reached; {self._last_words(missing)}")
        return self._agreed("the connection between the processes broke: see to the network")

    def _without(self, *keys: str) -> list[int]:
        """The processes that have set none of these keys."""
        return [r for r in range(self.world_size) if not any(self.store.check([f"{key}/{r}"]) for key in keys)]

    def _hanging(self, ranks: Sequence[int]) -> str:
        minutes = f"{self.patience / 60:g} minutes (--timeout_minutes)"
        if not ranks:
            return f"all processes wait for one another since {minutes}: see to the network between them"
        return (
            f"{self._names(ranks)} has not gone on for {minutes}, so that the run ends; {self._last_words(ranks)}. "
            "Where it hangs, py-spy dump --pid tells while it is there"
        )

    def _names(self, ranks: Sequence[int]) -> str:
        who = self._of_all("who")
        return ", ".join(who[rank].decode() for rank in ranks)

    def _last_words(self, ranks: Sequence[int]) -> str:
        beats = self._of_all("beat")
        return "last heard of: " + ", ".join(json.loads(beats[rank])[2] for rank in ranks)

    def _agreed(self, words: str) -> str:
        """These words, or those of the process that was first to find some."""
        return bytes(self.store.compare_set("verdict", "", words)).decode()


def own_prefix(store: dist.Store, rank: int, world_size: int, patience: float) -> dist.Store:
    """The store below a prefix of this start's own.

    torchrun keeps its store from one start of a group to the next, with the addresses of processes that are dead. How
    often a group was started nobody says: each agent counts its own failures, and no change of the members. So the
    first process chooses a name, and answers with it every call it has not answered yet; a dead one's calls, too, but
    nobody reads those answers. Raises torch's DistStoreError if one of the processes does not come.
    """
    store.set_timeout(timedelta(seconds=patience))
    if rank:
        call = uuid.uuid4().hex
        store.set(f"call/{rank}", call)
        name = store.get(f"answer/{call}").decode()
        store.add(f"{name}/here", 1)
        return dist.PrefixStore(name, store)
    name, answered = uuid.uuid4().hex, set[bytes]()
    deadline = time.monotonic() + patience
    while store.add(f"{name}/here", 0) < world_size - 1:
        if time.monotonic() > deadline:
            raise dist.DistStoreError(f"not all of the {world_size} processes came")
        for key in [f"call/{other}" for other in range(1, world_size)]:
            if store.check([key]) and (heard := store.get(key)) not in answered:
                answered.add(heard)
                store.set(f"answer/{heard.decode()}", name)
        time.sleep(0.01)
    return dist.PrefixStore(name, store)
