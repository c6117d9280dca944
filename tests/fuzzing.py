"""Feeds mutated files to every door through which strangers' files come in, and counts what comes of it.

    python tests/fuzzing.py --cases 1000000 --jobs 2
    python tests/fuzzing.py --door jpeg --cases 20000 --seed 7

A door is a `Door` in the list DOORS of a module `fuzz_doors_*.py` beside this file. A case is a valid file of it with
one to four mutations, which follow from the seed, the door's name and the case's number alone. It must be accepted
(`open` returns) or refused (InputError, of which FrameError is one); anything else is a fault: another exception, an
end of the process, more than SECONDS of processor time or MEMORY. A faulty case is saved, and its door, number and
traceback are shown.

Ctrl-C ends it after the turn, with the table.

Doors take turns of some seconds each, so that quick ones have more cases. Cases run in forked processes, many in each;
what kills one costs that case alone.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import logging
import mmap
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from ops.errors import InputError  # noqa: E402

SECONDS = 10.0  # of processor time, for one case; ten times as long by the clock, as the machine may be busy
MEMORY = 2 << 30  # bytes of address space, beyond what the process has before
TURN = 3.0  # seconds of a door's turn
COUNTS = struct.Struct("=3q")  # of a process: the case's number, how many were accepted, and refused
PAIRS = ("()", "[]", "{}", '""')


class Door(NamedTuple):
    """name; make_valid writes a small valid file into a folder, and what else `open` needs, and returns its path;
    open reads it as the programs do, whatever the file holds by then."""

    name: str
    make_valid: Callable[[Path], Path]
    open: Callable[[Path], object]


@dataclass
class Tally:
    """Of a door: cases that it accepted and refused, kinds of faults with their numbers, and where the first lies."""

    accepted: int = 0
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    saved: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return self.accepted + self.refused + self.faults.total()

    def add(self, other: Tally) -> None:
        self.accepted += other.accepted
        self.refused += other.refused
        self.faults += other.faults
        self.saved = other.saved | self.saved
        self.seconds += other.seconds


def doors() -> list[Door]:
    """Those of all modules, by name."""
    modules = [importlib.import_module(file.stem) for file in sorted(HERE.glob("fuzz_doors_*.py"))]
    return [Door(*door) for module in modules for door in module.DOORS]


# --- mutations -------------------------------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
WORDS = (
    b"\0 \n \r \t , ; : . .. / \\ = # ~ \xff \xc3 -1 0 1e999 nan inf -inf 1e-400 null true [] {} 9999999999 1_000 0x10"
    b" {0.__class__} {:02000000000d} %s \xef\xbb\xbf \xed\xa0\x80 \xe2\x80\xa8 \xf0\x9f\x8e\xac e\xcc\x81 ../../x"
    b" /dev/zero"
).split(b" ")
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
MOST = 1 << 20  # bytes of a case


def mutated(valid: bytes, rng: random.Random) -> bytes:
    """A file like this one, with one to four mutations."""
    text = b"\0" not in valid[:1000] and _is_utf8(valid)
    kinds = (*ANY, *TEXT, *TEXT) if text else ANY
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        valid = rng.choice(kinds)(valid, rng)[:MOST]
    return valid


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _span(content: bytes, rng: random.Random, most: int = 64) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.randint(1, most))


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8)) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng, 16)
    return content[:start] + rng.randbytes(end - start) + content[end:]


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _delete(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng, rng.choice((1, 8, 256)))
    return content[:start] + content[end:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng, rng.choice((1, 16, 512)))
    return content[:start] + content[start:end] * rng.choice((2, 3, 30, 1000)) + content[end:]


def _splice(content: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = _span(content, rng, 256), _span(content, rng, 256)
    return content[:a] + content[c:d] + content[b:]


def _number(content: bytes, rng: random.Random) -> bytes:
    """A whole number in the way machines write it."""
    width = rng.choice((1, 2, 4, 4, 8))
    value = rng.choice(NUMBERS) % (1 << 8 * width)
    start = rng.randrange(len(content) + 1)
    return content[:start] + value.to_bytes(width, rng.choice(("big", "little"))) + content[start + width :]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.choice((1, 4, 64))) + content[start:]


def _word(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng, 8)
    return content[:start] + rng.choice(WORDS) + content[rng.choice((start, end)) :]


def _figure(content: bytes, rng: random.Random) -> bytes:
    """Another number in the place of one."""
    found = list(NUMBER.finditer(content[:100_000]))
    if not found:
        return _word(content, rng)
    match = rng.choice(found)
    other = rng.choice((b"-1", b"nan", b"1e400", b"9" * rng.choice((3, 9, 10, 20, 5000)), b"%d" % rng.choice(NUMBERS)))
    return content[: match.start()] + other + content[match.end() :]


def _lines(content: bytes, rng: random.Random) -> bytes:
    """A line left out, twice, in another's place, or very long."""
    lines = content.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines.insert(b, lines[a])
    elif kind == 1:
        del lines[a]
    elif kind == 2:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines[a] = lines[a].replace(b"/", b"/" + b"n" * rng.choice((250, 300, 5000)), 1) or b"n" * 5000
    return b"\n".join(lines)


def _nest(content: bytes, rng: random.Random) -> bytes:
    """Brackets in brackets, deeper than a parser may follow."""
    pair = rng.choice(PAIRS)
    deep = rng.choice((2, 100, 3000, 100_000))
    start, end = _span(content, rng, 32)
    if pair == "{}":
        opening, closing = b'{"a":', b"}"
    else:
        opening, closing = pair[0].encode(), pair[1].encode()
    return content[:start] + opening * deep + content[start:end] + closing * deep + content[end:]


ANY = (_flip, _flip, _overwrite, _truncate, _delete, _repeat, _splice, _number, _number, _insert)
TEXT = (_word, _word, _figure, _figure, _figure, _lines, _nest)


# --- running ---------------------------------------------------------------------------------------------------------


def turn(door: Door, seed: int, start: int, most: int, seconds: float, save_in: Path) -> Tally:
    """Cases from the number `start` on, in forked processes: as many as `most`, or as pass in so many seconds."""
    tally, begun = Tally(), time.monotonic()
    while tally.cases < most and (left := seconds - (time.monotonic() - begun)) > 0:
        first = start + tally.cases
        tally.add(_batch(door, seed, first, most - tally.cases, left, save_in))
    tally.seconds = time.monotonic() - begun
    return tally


def _batch(door: Door, seed: int, first: int, most: int, seconds: float, save_in: Path) -> Tally:
    """In one process, up to what kills it."""
    fast = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=fast if fast.is_dir() else None))
    receiving, sending = multiprocessing.Pipe(duplex=False)
    counted = mmap.mmap(-1, COUNTS.size)  # shared, and there when the process is not any more
    # A decoder that an earlier test has left must not be freed in the child: it would wait for threads it has not.
    gc.freeze()
    child = os.fork()
    if child:
        gc.unfreeze()
    else:
        try:
            receiving.close()
            _work(door, seed, first, most, seconds, folder, save_in, sending, counted)
            os._exit(0)
        except BaseException:
            sending.send(("", traceback.format_exc()))
        finally:
            os._exit(1)
    sending.close()
    tally, path = Tally(), None
    try:
        while True:
            path, tally = receiving.recv()
    except EOFError:
        pass
    if isinstance(tally, str):
        raise AssertionError(f"door {door.name}, not in a case: {tally}")
    _, status = os.waitpid(child, 0)
    number, tally.accepted, tally.refused = COUNTS.unpack(counted)
    if os.WIFSIGNALED(status):
        killer = signal.Signals(os.WTERMSIG(status)).name
        kind = {"SIGPROF": "too slow", "SIGALRM": "it hangs"}.get(killer, f"killed by {killer}")
        if not path:
            raise AssertionError(f"door {door.name}, not in a case: {kind}")
        _count(tally, kind, _saved(save_in, door, number, Path(path), kind))
    shutil.rmtree(folder, ignore_errors=True)
    return tally


def _work(
    door: Door,
    seed: int,
    first: int,
    most: int,
    seconds: float,
    folder: Path,
    save_in: Path,
    reports: Connection,
    counted: mmap.mmap,
) -> None:
    """The forked process. Faults are reported, the rest is `counted`."""
    _be_quiet()
    tally = Tally()
    path = door.make_valid(folder)
    valid = path.read_bytes()
    door.open(path)  # of the valid file there must be no error
    _limit_memory()
    begun = time.monotonic()
    reports.send((str(path), tally))
    for number in range(first, first + most):
        COUNTS.pack_into(counted, 0, number, tally.accepted, tally.refused)
        path.unlink(missing_ok=True)
        path.write_bytes(mutated(valid, random.Random(f"{seed}/{door.name}/{number}")))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
        try:
            door.open(path)
            tally.accepted += 1
        except InputError:
            tally.refused += 1
        except Exception as error:
            kind = _kind(error)
            _count(tally, kind, "" if kind in tally.saved else _saved(save_in, door, number, path, kind, error))
            reports.send((str(path), tally))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if time.monotonic() - begun > seconds:
            break
    COUNTS.pack_into(counted, 0, number, tally.accepted, tally.refused)


def _count(tally: Tally, kind: str, saved: str) -> None:
    tally.faults[kind] += 1
    tally.saved.setdefault(kind, saved)


def _kind(error: Exception) -> str:
    """By its type and the innermost line of ours."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(f"{HERE.parent}/")]
    place = f"{Path(ours[-1].filename).relative_to(HERE.parent)}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {place}"


def _saved(save_in: Path, door: Door, number: int, path: Path, kind: str, error: Exception | None = None) -> str:
    """The case, and beside it what was wrong."""
    save_in.mkdir(parents=True, exist_ok=True)
    file = save_in / f"{door.name}-{number}{path.suffix}"
    shutil.copyfile(path, file)
    said = "".join(traceback.format_exception(error))[-20_000:] if error else ""
    file.with_name(f"{file.name}.why").write_text(f"{kind}\n{said}", errors="backslashreplace")
    return str(file)


def _be_quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    faulthandler.disable()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    for name in ("SIGPROF", "SIGALRM"):  # which end the process, also one that waits in C
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Parse, run in turns, print the table; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description="see the file's own documentation")
    parser.add_argument("--cases", type=int, default=100_000, help="over all doors (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="doors at a time (%(default)s)")
    parser.add_argument("--door", action="append", help="this one alone; may be given several times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=Path, default=Path("fuzz_faults"), help="where faulty cases go (%(default)s)")
    args = parser.parse_args()
    chosen = [door for door in doors() if not args.door or door.name in args.door]
    if not chosen:
        parser.error(f"no such door; there are {', '.join(door.name for door in doors())}")
    tallies = {door.name: Tally() for door in chosen}

    def one(door: Door) -> None:
        left = args.cases - sum(tally.cases for tally in tallies.values())
        tally = tallies[door.name]
        most = min(left, max(100, args.cases // (4 * len(chosen))))
        tally.add(turn(door, args.seed, tally.cases, most, TURN, args.faults))

    with ThreadPoolExecutor(args.jobs) as threads, suppress(KeyboardInterrupt):  # then of what there is by then
        while sum(tally.cases for tally in tallies.values()) < args.cases:
            before = sum(tally.cases for tally in tallies.values())
            list(threads.map(one, chosen))
            now = sum(tally.cases for tally in tallies.values())
            print(f"{now:,} cases, {sum(t.faults.total() for t in tallies.values())} faults", file=sys.stderr)
            if now == before:
                break
    print(table(tallies))
    return int(any(tally.faults for tally in tallies.values()))


def table(tallies: dict[str, Tally]) -> str:
    """In Markdown, and the kinds of faults below it."""
    rows = [(name, t.cases, t.refused, t.accepted, t.faults.total(), t.seconds) for name, t in tallies.items()]
    total = ("all", *(sum(row[k] for row in rows) for k in range(1, 6)))
    lines = ["| door | cases | refused | accepted | faults | cases/s |", "|---|--:|--:|--:|--:|--:|"]
    for name, cases, refused, accepted, faults, seconds in (*rows, total):
        speed = cases / max(seconds, 1e-9)
        lines.append(f"| {name} | {cases:,} | {refused:,} | {accepted:,} | {faults:,} | {speed:,.0f} |")
    for name, tally in tallies.items():
        for kind, number in tally.faults.most_common():
            lines.append(f"{name}: {number} × {kind}: {tally.saved[kind]}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
