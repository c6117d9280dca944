"""From image files to uint8 RGB tensors. What cannot be decoded whole is an error, never grey filling."""

import functools
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ops.data.bounds import MAX_HELD, MAX_SCANNED, MAX_SCANS, size_fault
from ops.errors import InputError, is_limit
from ops.files import read_regular

try:
    import simplejpeg
except ImportError:  # no wheel for this platform: Pillow decodes everything, to the same pixels
    simplejpeg = None

logger = logging.getLogger(__name__)

# Those of the endings that frames may have. PostScript, for which Pillow starts Ghostscript, is not among them.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
START_OF_JPEG, START_OF_SCAN = b"\xff\xd8", b"\xff\xda"
SCAN, SEQUENTIAL = 0xDA, (0xC0, 0xC1)  # of ITU-T T.81, B.1.1.3
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # of whatever kind
WITHOUT_LENGTH = {*range(0xC0), *range(0xD0, 0xDA), 0xFF}
# What frames may not be, but pictures often are, whatever their names say: how their files begin.
OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"%!PS": "PostScript",
    b"8BPS": "Photoshop",
}
PLAIN_JPEG = ("YCbCr", "Gray", "RGB")  # not CMYK, which as a rule is stored inverted


class FrameError(InputError):
    """A frame cannot be used. The message names the file and says why."""


class MissingFrameError(FrameError):
    """The frame's file is not there."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Image files of one video that have been read, not decoded: what errors call each, and its content."""

    names: Sequence[str | Path]
    files: Sequence[bytes]
    grey: bool = False


def decode_group(paths: Sequence[Path], grey: bool = False) -> torch.Tensor:
    """Decode image files, frames of one video: see `decode_images`."""
    return decode_images(read_files(paths, grey))


def decode_images(pictures: Pictures) -> torch.Tensor:
    """Decode a video's image files: uint8 `(L, 3, H, W)`, or `(L, 1, H, W)` if `grey`, in channels-last memory.

    RGB; grey is repeated, alpha dropped, EXIF rotation ignored. With `grey`, the luminance of a colour picture, a grey
    one's own values. Raises FrameError, by its name, for one that cannot be decoded, has another size than the first,
    or is beyond the bounds (`ops.data.bounds`), and where all of them together are.
    """
    names, files, grey = pictures.names, pictures.files, pictures.grey
    group = None
    for number, (name, data) in enumerate(zip(names, files, strict=True)):
        height, width, picture = _looked_at(name, data, grey)
        if group is None:
            if fault := size_fault(width, height, len(files), 1 if grey else 3):
                raise FrameError(f"{name}: {fault}")
            group = np.empty((len(files), height, width, 1 if grey else 3), np.uint8)
        if group.shape[1:3] != (height, width):
            raise FrameError(
                f"{name} is {width} × {height} but {names[0]} of the same video is "
                f"{group.shape[2]} × {group.shape[1]} (width × height)"
            )
        if picture is None:
            _decode_jpeg(name, data, group[number])
        else:
            group[number] = picture
    assert group is not None, "no frame was asked for"
    return torch.from_numpy(group).permute(0, 3, 1, 2)  # (L, H, W, C) → (L, C, H, W), no copy


def read_files(paths: Sequence[Path], grey: bool = False) -> Pictures:
    """The files of one video's frames. Raises as `read_file` does, and where they are too much together."""
    files: list[bytes] = []
    left = MAX_HELD
    for path in paths:
        files.append(read_file(path, left))
        left -= len(files[-1])
    return Pictures(paths, files, grey)


def read_file(path: Path, most: int = MAX_HELD) -> bytes:
    """A frame file's content. Raises MissingFrameError, FrameError if it cannot be read, or OSError at a limit."""
    try:
        return read_regular(path, most)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFrameError(f"{path}: no such file") from None
    except OSError as error:
        if is_limit(error):
            raise
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from error


@functools.cache
def say_if_slow() -> None:
    """A warning, once, if pictures are decoded at half the speed."""
    if simplejpeg is None:
        logger.warning("simplejpeg is not installed: Pillow decodes JPEG, at half the speed; pip install simplejpeg")


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG in plain colours; None for all else."""
    try:
        if simplejpeg is None:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                return (image.height, image.width) if image.mode in ("RGB", "L") else None
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        return (height, width) if colours in PLAIN_JPEG else None
    except Exception:  # not a JPEG, or an odd one, for which each decoder has its own kinds
        return None


def _looked_at(name: str | Path, data: bytes, grey: bool) -> tuple[int, int, np.ndarray | None]:
    """Height and width, and the picture too if it is not a JPEG for the fast decoder."""
    if simplejpeg is not None and (size := jpeg_size(data)):
        _refuse_bomb(name, data, *size)
        return *size, None
    picture = _decode_any(name, data, grey)
    return *picture.shape[:2], picture


def _decode_jpeg(name: str | Path, data: bytes, into: np.ndarray) -> None:
    """Decode into `(H, W, 3)`, or grey into `(H, W, 1)`."""
    try:
        simplejpeg.decode_jpeg(data, "RGB" if into.shape[2] == 3 else "GRAY", buffer=into)
    except ValueError as error:
        raise FrameError(f"{name}: damaged JPEG ({error})") from error


def jpeg_fault(data: bytes, height: int, width: int) -> str:
    """What is beyond the bounds in a JPEG; empty if nothing is.

    Each scan of a progressive one goes over the whole picture, however few bytes it has.
    """
    scans = _scans(data)
    if scans > MAX_SCANS or scans * height * width > MAX_SCANNED:
        return f"{scans} scans of {width} × {height} pixels, as no encoder makes them: it would take too long"
    return size_fault(width, height)


def _scans(data: bytes) -> int:
    """How often at most a decoder goes over the picture: once where the first scan of a sequential one has all colours.

    Of others the marks of a scan's beginning are counted, which stand nowhere else but in a preview inside.
    """
    at, colours = len(START_OF_JPEG), 0
    while len(head := data[at : at + 10]) == 10 and head[0] == 0xFF and head[1] not in WITHOUT_LENGTH:
        if head[1] == SCAN:
            if head[4] == colours:
                return 1
            break
        if head[1] in FRAMES:
            colours = head[9] if head[1] in SEQUENTIAL else 0
        at += 2 + int.from_bytes(head[2:4], "big")
    return data.count(START_OF_SCAN)


def _refuse_bomb(name: str | Path, data: bytes, height: int, width: int) -> None:
    fault = jpeg_fault(data, height, width) if data.startswith(START_OF_JPEG) else size_fault(width, height)
    if fault:
        raise FrameError(f"{name}: {fault}")


def _decode_any(name: str | Path, data: bytes, grey: bool) -> np.ndarray:
    """Decode through Pillow, whatever the format: `(H, W, 3)`, or `(H, W, 1)` if `grey`."""
    if not data:
        raise FrameError(f"{name}: the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _refuse_bomb(name, data, opened.height, opened.width)
            if grey and opened.format == "JPEG":
                opened.draft("L", opened.size)  # the luminance as it is stored, as the fast decoder gives it
            image = _to_rgb(opened)
            return np.asarray(image.convert("L"))[..., None] if grey else np.asarray(image)
    except (FrameError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, met before ours for the very largest
        raise FrameError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise FrameError(f"{name}: {_not_read(data)}") from error
    except Exception as error:  # each of Pillow's decoders has its own kinds: OSError, SyntaxError, zlib.error, …
        raise FrameError(f"{name}: damaged image ({error})") from error


def _not_read(data: bytes) -> str:
    """What a file is that is of none of FORMATS, and what to do."""
    known = next((name for start, name in OTHER_FORMATS.items() if data.startswith(start)), "")
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"heic", b"mif1"):
        known = "AVIF or HEIF"
    if not known:
        return "not an image, or of an unknown format"
    return (
        f"it is {known}, whatever its name says: frames may be {', '.join(FORMATS)}; convert it (ffmpeg, ImageMagick)"
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB. Grey of 16 bits is scaled, as Pillow's own conversion would cut it off at 255."""
    if image.mode.startswith("I"):  # I;16, I;16B, …, and I, which older versions use for 16-bit PNG
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("grey values beyond 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    return image.convert("RGB")
