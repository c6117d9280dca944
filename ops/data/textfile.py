"""Text files that people write: lists, class names, labels. What is wrong with one is said in words."""

import codecs
import re
from pathlib import Path

from ops.errors import InputError
from ops.files import read_regular

MOST_BYTES = 512 << 20  # a list of five million videos


def read_text(path: Path, what: str, most: int = MOST_BYTES) -> str:
    """A UTF-8 file, with or without a byte-order mark; its lines end in `\n` here, whatever they end in there.

    Raises InputError where it cannot be read, or is no such text.
    """
    return read_utf8(path, what, most).decode()


def read_utf8(path: Path, what: str, most: int = MOST_BYTES) -> bytes:
    """The same, not decoded."""
    try:
        content = read_regular(path, most)
    except FileNotFoundError:
        raise InputError(f"The {what} {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read: {error.strerror}.") from error
    try:
        content.decode()
        fault = content.find(b"\0")
    except UnicodeDecodeError as error:
        fault = error.start
    if fault >= 0:
        line = content.count(b"\n", 0, fault) + 1
        raise InputError(f"{path}:{line}: the {what} is not UTF-8 text: {_what_it_is(content)}.")
    content = content.removeprefix(codecs.BOM_UTF8)
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


def _what_it_is(content: bytes) -> str:
    """What a file that is not UTF-8 text looks like, and what helps."""
    if encoding := _utf16(content):
        likely = encoding
    elif b"\0" in content:
        return "it holds zero bytes, so that it is damaged, or no text"
    elif re.fullmatch(rb"(?:[\0-\x7f]|[\x81-\xfe][\xa1-\xfe])*", content):
        likely = "GBK"  # or another of two bytes a character
    else:
        likely = "LATIN1"  # or another of one byte a character
    return f"it looks like {likely}; save it as UTF-8 (iconv -f {likely} -t UTF-8 converts it)"


def _utf16(content: bytes) -> str:
    """The name of the encoding, with or without a mark at its beginning; empty if it is another."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    zeros = [content[k::2].count(0) for k in range(2)]  # one of the two bytes of a space, a digit, a line end
    ascii_bytes = len(content.translate(None, bytes(range(128, 256))))
    return "" if all(zeros) or 8 * max(zeros) < ascii_bytes else "UTF-16LE" if zeros[1] else "UTF-16BE"
