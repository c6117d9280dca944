"""From image files to uint8 RGB tensors. What cannot be decoded whole is an error, never grey filling."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ops.data.videofile import MAX_PIXELS
from ops.errors import InputError

try:  # a third faster than Pillow, but announced (torchvision 0.29) to be removed some day
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:
    decode_jpeg = None

JPEG_START = b"\xff\xd8"
# Start-of-frame markers hold a JPEG's size. C4, C8 and CC lie in their range and mean other things.
JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})  # no length follows these


class FrameError(InputError):
    """A frame cannot be used. The message names the file and says why."""


class MissingFrameError(FrameError):
    """The frame's file is not there."""


def decode_frame(path: Path, grey: bool = False) -> torch.Tensor:
    """Decode one image file: uint8 `(3, H, W)`, RGB; grey is repeated, alpha dropped, EXIF rotation ignored.

    With `grey`, `(1, H, W)`: the luminance of a colour picture, a grey one's own values.

    The memory is H, W, 3 (what decoders write). Raises FrameError.
    """
    return _decode(path, _read(path), grey)


def decode_group(paths: Sequence[Path], grey: bool = False) -> torch.Tensor:
    """Decode frames of one video: uint8 `(L, 3, H, W)`, or `(L, 1, H, W)` if `grey`, in channels-last memory.

    Raises FrameError if one cannot be decoded or has another size than the first.
    """
    return decode_images(paths, [_read(path) for path in paths], grey)


def decode_images(names: Sequence[str | Path], data: Sequence[bytes], grey: bool = False) -> torch.Tensor:
    """As `decode_group`, of the files' contents; `names` are what errors call them."""
    images = [_decode(name, content, grey) for name, content in zip(names, data, strict=True)]
    frames = [image.permute(1, 2, 0) for image in images]  # (H, W, 3), as they lie in memory
    for name, frame in zip(names, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise FrameError(
                f"{name} is {_size(frame)} but {names[0]} of the same video is {_size(frames[0])} (width × height)"
            )
    return torch.stack(frames).permute(0, 3, 1, 2)  # (L, H, W, 3) → (L, 3, H, W), no copy


def _decode(name: str | Path, data: bytes, grey: bool) -> torch.Tensor:
    header = _jpeg_header(data)
    if header is None or header.channels not in (1, 3) or decode_jpeg is None:
        return _decode_any(name, data, grey)  # not a JPEG, or one in CMYK, which as a rule is stored inverted
    _refuse_bomb(name, header.height, header.width)
    try:
        mode = ImageReadMode.GRAY if grey else ImageReadMode.RGB
        return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=mode)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rsplit(", ", 1)[-1]  # drops the place in the C++ source
        raise FrameError(f"{name}: damaged JPEG ({reason})") from error


def _size(frame: torch.Tensor) -> str:
    return f"{frame.shape[1]} × {frame.shape[0]}"


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFrameError(f"{path}: no such file") from None
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from error
    if not data:
        raise FrameError(f"{path}: the file is empty")
    return data


class _JpegHeader(NamedTuple):
    height: int
    width: int
    channels: int


def _jpeg_header(data: bytes) -> _JpegHeader | None:
    """Size and channels from a JPEG's start-of-frame segment; None if there is no such segment.

    Read here because torchvision's decoder allocates whatever a header claims.
    """
    if not data.startswith(JPEG_START):
        return None
    place = len(JPEG_START)
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in JPEG_FRAME_MARKERS:  # FF, marker, length (2), precision (1), height (2), width (2), channels
            height, width = (int.from_bytes(data[place + k : place + k + 2], "big") for k in (5, 7))
            return _JpegHeader(height, width, data[place + 9])
        if marker == 0xFF:  # padding
            place += 1
        elif marker in JPEG_BARE_MARKERS:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _refuse_bomb(name: str | Path, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise FrameError(f"{name}: claims {width} × {height} pixels, more than the {MAX_PIXELS:,} allowed")


def _decode_any(name: str | Path, data: bytes, grey: bool) -> torch.Tensor:
    """Decode through Pillow, whatever the format."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            _refuse_bomb(name, image.height, image.width)
            image = _to_rgb(image)
            pixels = np.array(image.convert("L"))[..., None] if grey else np.array(image)
    except FrameError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, met before ours for the very largest
        raise FrameError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise FrameError(f"{name}: not an image, or of an unknown format") from error
    except Exception as error:  # each of Pillow's decoders has its own kinds: OSError, SyntaxError, zlib.error, …
        raise FrameError(f"{name}: damaged image ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)  # (H, W, 3) → (3, H, W)


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
