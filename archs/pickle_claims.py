"""What a pickle of torch.save claims, looked at before torch acts on it.

torch.load with `weights_only` runs no code of a file, but believes its numbers: tensors larger than what is stored (of
which old versions read whatever memory lies behind), a `bytearray` of any size, keys that take for ever to hash. Here
the pickle is gone through with stand-ins for all that it names, so that nothing is made of it and nothing called.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import prod
from typing import IO, Any, ClassVar

from archs.zip_records import UnsupportedError, check_records, is_zip, read_record

ITEM_SIZES = {
    **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1},
    **{"Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "Untyped": 1},
}  # bytes of a number
SHARED = 4  # times the file: tensors may share what is stored, one network under several names
ROOM = 1 << 30  # bytes for tensors that repeat what is stored, as `expand` makes them
KEY_PARTS = 100  # of a tuple that is a key, as it is hashed part by part, again and again
HASHING = {"builtins.set", "__builtin__.set", "collections.OrderedDict", "collections.Counter"}
TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
OTHER_TENSORS = ("torch._utils._rebuild_", "torch.sparse", "torch.storage", "torch.cuda", "torch.nested")
NO_TENSORS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
LATIN = {"latin1", "latin-1"}  # how bytes stand in a pickle of protocol 2
UNKNOWN_TO_TORCH = pickle.BYTEARRAY8 + pickle.INST + pickle.OBJ + pickle.DICT + pickle.FROZENSET + pickle.ADDITEMS
PICKLES = 5  # in a file that is no zip: a number, a version, a machine, the content, the names of its storages


def check_claims(file: IO[bytes]) -> None:
    """Raises ValueError for a damaged file, or one that claims what it does not hold; leaves it at its beginning.

    UnsupportedError where it is whole, and of a kind that is not read here. What it may name is torch's to say.
    """
    if is_zip(file):
        sizes = check_records(file)
        folder = next(iter(sizes)).partition("/")[0]
        pickled = io.BytesIO(read_record(file, f"{folder}/data.pkl"))
        stored = {name.removeprefix(f"{folder}/data/"): size for name, size in sizes.items()}
        _Claims(pickled, sum(sizes.values()), stored).load()
    else:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with suppress(EOFError):  # torch says so
            for _ in range(PICKLES):
                _Claims(_Bounded(file, size), size).load()
    file.seek(0)


class _Bounded:
    """A file of so many bytes, of which no more are asked for at a time: Python would first take memory for them."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size, self.readline = file, size, file.readline

    def read(self, count: int) -> bytes:
        """Raises ValueError if it is more than the whole file."""
        if count > self.size:
            raise ValueError(f"it is shorter than the {count} bytes of text that it claims to hold")
        return self.file.read(count)


class _Storage:
    """In place of so many stored numbers of so many bytes."""

    def __init__(self, numbers: int, item_size: int) -> None:
        self.numbers, self.item_size = numbers, item_size


class _StandIn:
    """In place of anything that a pickle names, and of what it has that make."""

    def __init__(self, claims: _Claims, name: str = "") -> None:
        self.claims, self.name = claims, name

    def __call__(self, *given: Any) -> _StandIn:
        """Looks at what would be called with what."""
        name = self.name
        if name in TENSORS:
            self.claims.add_tensor(*given[:4])
        elif name == "torch._tensor._rebuild_from_type_v2":
            return given[0](*given[2])
        elif name in HASHING:
            for value in (value for part in given for value in _parts(part)):
                _check_key(next(iter(_parts(value)), None) if isinstance(value, list) else value)
        elif name.endswith("bytearray") and not all(isinstance(part, str | bytes) for part in given[:1]):
            raise ValueError("it makes a bytearray of a size of its own")
        elif name.endswith("codecs.encode") and not (len(given) == 2 and given[1] in LATIN):
            raise ValueError(f"it encodes text as {given[1:]}")
        elif (name.startswith(OTHER_TENSORS) and name not in NO_TENSORS) or name.endswith(("Tensor", "Storage")):
            raise _other_tensors(name)
        return _StandIn(self.claims)

    def __setstate__(self, state: object) -> None:
        """Takes nothing."""
        if self.name.endswith("Tensor"):
            raise _other_tensors(self.name)

    def __setitem__(self, key: object, value: object) -> None:
        """Takes nothing."""

    def extend(self, values: object) -> None:
        """Takes nothing."""

    append = extend


# In Python, as its memo grows with the file alone.
class _Claims(pickle._Unpickler):
    """A pickle's content with stand-ins. `size`: of the file in bytes; `stored`: of its records, by their names."""

    def __init__(self, file: IO[bytes] | _Bounded, size: int, stored: Mapping[str, int] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self.stack: list[Any]
        self.stored, self.unclaimed, self.left = stored, size, SHARED * size + ROOM
        self.claimed: dict[str, tuple[int, int]] = {}

    def load(self) -> Any:
        """Raises UnpicklingError for what is no pickle, EOFError for none, and ValueError for what it claims."""
        try:
            return super().load()
        except (ValueError, EOFError):
            raise
        except Exception as error:
            raise pickle.UnpicklingError(repr(error)) from error

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in, whatever it is."""
        return _StandIn(self, f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """A stand-in for stored numbers. Raises ValueError if so many are not there."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            return _StandIn(self)  # torch refuses it, or it is the source of a module
        _, kind, key, _, numbers = pid[:5]
        item_size = ITEM_SIZES.get(kind.name.rpartition(".")[2].removesuffix("Storage"))
        if item_size is None:
            raise _other_tensors(kind.name)
        if type(key) is not str or type(numbers) is not int or numbers < 0:
            raise ValueError(f"it holds a storage {key!r:.80} of {numbers!r:.80} numbers")
        if key not in self.claimed:
            there = self.unclaimed if self.stored is None else self.stored.get(key, 0)
            if numbers * item_size > there:
                raise ValueError(f"its storage {key!r} claims {numbers * item_size} bytes, of {there} that are there")
            self.unclaimed -= numbers * item_size
        if self.claimed.setdefault(key, (numbers, item_size)) != (numbers, item_size):
            raise ValueError(f"its storage {key!r} is of two sizes")
        return _Storage(numbers, item_size)

    def add_tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        """ValueError for a tensor that reaches beyond its storage, or if all stand for more than may be."""
        whole = [offset, *shape, *strides]
        if not isinstance(storage, _Storage) or not all(type(number) is int and number >= 0 for number in whole):
            raise ValueError("it holds a tensor without a storage, shape or strides")
        numbers = prod(shape)
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if numbers and last >= storage.numbers:
            raise ValueError(f"it holds a tensor {tuple(shape)} of a storage of {storage.numbers} numbers")
        self.left -= numbers * storage.item_size
        if self.left < 0:
            raise ValueError("its tensors stand for far more numbers than it holds")

    def make(self) -> None:
        """As a call."""
        given = self.stack.pop()
        self.stack.append(self.stack.pop()(*given))

    def set_item(self) -> None:
        """Looks at the key."""
        _check_key(self.stack[-2])
        self.load_setitem()  # type: ignore[attr-defined]

    def set_items(self) -> None:
        """Looks at the keys."""
        for key in self.stack[::2]:
            _check_key(key)
        self.load_setitems()  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code not in UNKNOWN_TO_TORCH
    } | {pickle.NEWOBJ[0]: make, pickle.SETITEM[0]: set_item, pickle.SETITEMS[0]: set_items}


def _other_tensors(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"it holds other tensors than plain dense ones of usual types ({name:.80}), which are not supported: have its "
        "maker save the network's weights alone, as such: torch.save(network.float().state_dict(), FILE)"
    )


def _parts(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple | dict) else ()


def _check_key(key: Any, parts: int = KEY_PARTS) -> int:
    """How many parts it may have besides. ValueError if it has too many."""
    parts -= 1
    if isinstance(key, tuple):
        for part in key[: KEY_PARTS + 1]:
            parts = _check_key(part, parts)
    if parts < 0:
        raise ValueError("a key in it has too many parts")
    return parts
