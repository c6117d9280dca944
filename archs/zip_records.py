"""The records of a zip as torch.save and numpy.savez write it: stored as they are, whole, each with its checksum.

Neither torch nor NumPy looks at a checksum of what it loads, and both unpack what is compressed, however large it gets.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO

CHUNK = 1 << 20  # bytes read at a time
ZIP = b"PK\x03\x04"  # what such a file begins with
# The end of a zip, from its last byte: where the directory is, and before it, in large files, where that is said.
END, LOCATOR, END64 = 22, 20, 56


class UnsupportedError(ValueError):
    """A whole file, of a kind that is not read here; the message says what else to save."""


def is_zip(file: IO[bytes]) -> bool:
    """Whether it begins as one; it is left at its beginning."""
    file.seek(0)
    start = file.read(len(ZIP))
    file.seek(0)
    return start == ZIP


def check_records(file: IO[bytes]) -> dict[str, int]:
    """The names and sizes in bytes of the records, each of which has been read and has its checksum.

    One written without (its CRC-32 is then nought) is taken as it is. Raises ValueError for a file that is damaged, or
    is another zip than those programs write: with compressed records, or more in it than the file is long; of torch's
    own other zips, UnsupportedError.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            _refuse_another_end(file, size)
            _refuse_other_records(records, size)
            for record in records:
                with _opened(archive, record) as opened:
                    while opened.read(CHUNK):
                        pass
    except OSError as error:
        if error.errno is not None and error.errno != 22:  # EINVAL: a place before the file's beginning
            raise
        raise ValueError(f"damaged ({error})") from error
    # NotImplementedError and RuntimeError are zipfile's for kinds of zips that a flipped bit announces.
    except (zipfile.BadZipFile, EOFError, OverflowError, RuntimeError, struct.error, zlib.error) as error:
        raise ValueError(f"damaged ({error or 'it ends early'})") from error
    file.seek(0)
    return {record.filename: record.file_size for record in records}


def read_record(file: IO[bytes], name: str) -> bytes:
    """A record's content. Raises KeyError if there is none."""
    with zipfile.ZipFile(file) as archive, _opened(archive, archive.getinfo(name)) as opened:
        return opened.read()


def _opened(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> IO[bytes]:
    record.CRC = record.CRC or None  # type: ignore[assignment]  # which is not compared
    return archive.open(record)


def _refuse_another_end(file: IO[bytes], size: int) -> None:
    """A zip whose end can be read in two ways holds other records for one program than for another."""
    file.seek(max(0, size - END - LOCATOR))
    locator, end = file.read(LOCATOR), file.read(END)
    if not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        raise ValueError("damaged (there is something behind its end)")
    if locator.startswith(b"PK\x06\x07") and struct.unpack("<Q", locator[8:16])[0] != size - END - LOCATOR - END64:
        raise ValueError("damaged (its directory is not before its end)")


def _refuse_other_records(records: Sequence[zipfile.ZipInfo], size: int) -> None:
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise UnsupportedError(
            "a TorchScript archive, which holds code: have its maker save the weights alone: "
            "torch.save(module.state_dict(), FILE)"
        )
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
            raise ValueError(f"its record {record.filename!r} is compressed, or damaged: these programs store records")
    if len({record.orig_filename.partition("\0")[0].lower() for record in records}) < len(records):
        raise ValueError("damaged (two of its records have one name)")
    if sum(record.file_size for record in records) > size or min(r.header_offset for r in records) != 0:
        raise ValueError(f"damaged (its records are not those of a file of {size} bytes)")
