"""Arrays in an .npz file, which may be forged: no more memory than its bytes, and nothing but the arrays."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

LONGEST_HEADER = 1 << 12  # bytes; those of the arrays here have some hundred


def stored_arrays(content: bytes, forms: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    """The arrays of these names and forms of a file that `np.savez` wrote: `(n,)` each, of one value `(1,)`; no copies.

    Raises ValueError for any other file: a compressed one, whose arrays may be of any size, among them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member.filename: member for member in archive.infolist()}
        if sorted(members) != sorted(f"{name}.npy" for name in forms):
            raise ValueError(f"holds {list(members)[:10]}")
        return {name: _stored(content, members[f"{name}.npy"], form) for name, form in forms.items()}
    except Exception as error:  # zipfile raises many; a damaged header is parsed as Python, and claims a lot
        raise ValueError(str(error) or type(error).__name__) from error


def _stored(content: bytes, member: zipfile.ZipInfo, form: np.dtype) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"{member.filename} is compressed")
    # Before the data: 30 bytes, the last four of which tell how long a name and what more follow.
    name, more = struct.unpack_from("<HH", content, member.header_offset + 26)
    start = member.header_offset + 30 + name + more
    end = start + member.file_size
    if zlib.crc32(memoryview(content)[start:end]) != member.CRC:
        raise ValueError(f"{member.filename} is damaged")
    header = io.BytesIO(content[start : start + LONGEST_HEADER])
    version = np.lib.format.read_magic(header)
    if version != (1, 0):
        raise ValueError(f"{member.filename} is of version {version}")
    shape, _, found = np.lib.format.read_array_header_1_0(header)
    count, start = math.prod(shape), start + header.tell()
    if found != form or len(shape) > 1 or count * form.itemsize != end - start:
        raise ValueError(f"{member.filename} holds {shape} of {found}")
    return np.frombuffer(content, form, count, start)
