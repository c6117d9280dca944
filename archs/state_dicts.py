"""Weights in files, whoever wrote them: read without running what is in the file, and taken out of their wrappers.

Stands below every room, so that backbones and video networks are read in one way.
"""

from __future__ import annotations

import errno
import os
import pickle
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from archs.pickle_claims import check_claims
from archs.zip_records import UnsupportedError

# The keys under which training code puts a network's weights; averaged ones come last, as they stand beside the others.
HOLDERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"),
    *("state_dict_ema", "model_ema", "ema"),
)
# What torch puts around a module, at the top or anywhere below, and so into its tensors' names.
WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# The types of numbers that a network has, and what counts or seeds beside it.
NUMBERS = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}
DEEPEST = 64  # containers within one another; what others' training code nests has ten or so
# Modules that run programs, write files or evaluate text: nobody is told how to load what uses them.
RUNNING = {"builtins", "io", "_io", "os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "ctypes", "runpy"}


def read(path: Path, file: IO[bytes] | None = None) -> Any:
    """What `torch.save` wrote, on the CPU: tensors, numbers, text, lists and dicts; nothing in the file is run.

    `file`: opened within `path`, as a part of an archive. NumPy's numbers are Python's, its arrays are there and empty.
    Raises ValueError, saying what to do, for a damaged file or one that holds other objects, OSError for one that
    cannot be read (a named pipe, which is not waited for, among them), and MemoryError.
    """
    try:
        with nullcontext(file) if file else _opened(path) as opened, torch.serialization.safe_globals(STAND_INS):
            check_claims(opened)  # of this very file, which nobody can exchange before it is loaded
            content = torch.load(opened, map_location="cpu", weights_only=True)
        _refuse_deep(content)
        return content
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, str(error))) from error
    except (OSError, MemoryError, UnsupportedError):
        raise
    except Exception as error:  # torch's, and those of what reads a pickle, are of many kinds
        raise ValueError(f"damaged or no checkpoint: copy or train it again ({_cause(str(error))})") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", opener=without_waiting) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(errno.EINVAL, "a named pipe or a device, not a file", str(path))
        yield opened


def unwrapped(content: Any, holders: int = 2) -> dict[str, Any] | None:
    """The state dict in what a file held: the content itself, or under one of `HOLDERS` or two; None if there is none.

    Some of its values may be no tensors: that is the caller's to refuse.
    """
    if not isinstance(content, dict):
        return None
    for holder in HOLDERS * bool(holders):
        if (found := unwrapped(content.get(holder), holders - 1)) is not None:
            return found
    return content if any(isinstance(value, torch.Tensor) for value in content.values()) else None


def without_prefix(state: dict[str, torch.Tensor], known: Collection[str]) -> dict[str, torch.Tensor]:
    """The tensors below that prefix (`module.`, `model.`, …) under which most of the names `known` stand, without it.

    What stands beside them (a loss's tensors, a counter) is left out. All tensors, if no name is known. Raises
    ValueError where two prefixes fit alike.
    """
    state = {WRAPPERS.sub("", name): value for name, value in state.items()}
    found: Counter[str] = Counter()
    for name in state:
        starts = [0, *(dot.end() for dot in re.finditer(r"\.", name))]
        found.update(name[:start] for start in starts if name[start:] in known)
    fit = [prefix for prefix, count in found.items() if count == max(found.values())]
    if "" in fit or not fit:
        return state
    if len(fit) > 1:
        where = " and ".join(map(repr, sorted(fit)))
        raise ValueError(f"holds several networks, under the names {where}: save the one you mean alone")
    return {name.removeprefix(fit[0]): value for name, value in state.items() if name.startswith(fit[0])}


class DivergedError(ValueError):
    """A tensor whose file may be whole, and is of no use."""


def check_tensors(state: Mapping[Any, Any]) -> None:
    """Raises ValueError, naming it, for what is no name, or no dense tensor of finite numbers (then DivergedError)."""
    for name, value in state.items():
        if not isinstance(name, str):
            raise ValueError(f"a tensor's name is a {type(name).__name__}, expected text")
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}, expected a tensor")
        if value.layout != torch.strided or value.device.type == "meta" or value.dtype not in NUMBERS:
            raise ValueError(f"{name} is a tensor of {value.dtype}, {value.layout}: expected a dense one of float32")
        if not is_finite(value):
            raise DivergedError(
                f"{name} has values that are infinite or no numbers (NaN), of a training that diverged: take an "
                "earlier checkpoint, or train it again"
            )


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all its numbers are.

    So they are if their sum is, which is had in a tenth of the time that it takes to ask each; it may overflow, though.
    """
    return bool(tensor.sum().isfinite() or tensor.isfinite().all())


def _refuse_deep(content: Any) -> None:
    """ValueError for containers deep within one another, or in a circle: level by level, each of them once."""
    level = [content]
    for _ in range(DEEPEST):
        held = {id(each): each for each in level if isinstance(each, dict | list | tuple | set)}.values()
        level = [inner for each in held for inner in (each.values() if isinstance(each, dict) else each)]
    if any(isinstance(each, dict | list | tuple | set) for each in level):
        raise ValueError("its lists and dicts lie too deep within one another, or in a circle")


def _refusal(path: Path, message: str) -> str:
    """Why a file is not loaded, and what its owner can do, of torch's message."""
    found = re.search(r"GLOBAL (\S+) was not an allowed global", message)
    name = found[1] if found else ""
    if "." not in name or name.split(".")[0] in RUNNING:  # of a builtin torch gives the bare name
        return (
            "refused: it is damaged, or holds objects other than tensors, numbers, text, lists and dicts, which could "
            f"run code when loaded ({_cause(message)}). Copy it again, or have its maker save the weights alone: "
            "torch.save(network.state_dict(), FILE)"
        )
    module = name.rpartition(".")[0]
    where = "in the script that saved it" if module == "__main__" else f"where {module} can be imported"
    load = f"held = torch.load({str(path)!r}, map_location='cpu', weights_only=False)"
    found_in = f"next((held[k] for k in {HOLDERS} if k in held), held) if isinstance(held, dict) else held"
    weights = "held.state_dict() if hasattr(held, 'state_dict') else held"
    return (
        f"refused: it holds {name} beside or around its tensors, which could run code when loaded. Two lines of "
        f"Python, {where}, save its weights alone; the first runs whatever code is in the file, so only if you trust "
        f"who made it:\n  import torch; {load}; held = {found_in}\n"
        f"  torch.save({weights}, {str(path.with_name(f'{path.stem}.weights.pth'))!r})"
    )


def _cause(message: str) -> str:
    """What torch found, without its advice to load the file unsafely."""
    text = message.split("WeightsUnpickler error:")[-1].strip()
    return (text.splitlines() or ["no reason given"])[0].split(". ")[0][:200]


# NumPy's pickles are not left to NumPy, whose types believe what a file says of their layout and flags: these stand in.


class _Type:
    """In place of `numpy.dtype`: a type of numbers or text."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biufcU]\d{1,4}", code):
            raise pickle.UnpicklingError(f"a NumPy type of other things than numbers and text ({code!r})")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Takes the byte order alone."""
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array:
    """In place of `numpy.ndarray`: an array beside the weights (a random state), which is of no use here."""

    def __setstate__(self, state: object) -> None:
        """Takes nothing."""


def _number(kind: _Type, data: bytes) -> bool | int | float | complex | str:
    return np.frombuffer(data, kind.numpy, count=1)[0].item()


def _array(*_: object) -> _Array:
    return _Array()


STAND_INS: list[Any] = [(_Type, "numpy.dtype"), (_Array, "numpy.ndarray")]
for _module in ("numpy._core.multiarray", "numpy.core.multiarray"):  # NumPy 2's, NumPy 1's
    STAND_INS += [(_number, f"{_module}.scalar"), (_array, f"{_module}._reconstruct")]
