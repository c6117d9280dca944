"""Pictures decoded on the GPU (`--decode_device cuda`): workers read files, the main process has them decoded.

JPEG goes to nvJPEG, through torchvision; whatever else a video is made of, and what nvJPEG refuses, to the CPU's
decoders, which name what is damaged. nvJPEG rounds, and scales up colours, in its own way: frames differ a little.
"""

from __future__ import annotations

import functools
import io
import logging
import warnings

import numpy as np
import torch
from PIL import Image

from ops.data.bounds import size_fault
from ops.data.decode import Pictures, decode_images, jpeg_fault, jpeg_size
from ops.data.storages import OfPictures, Storage
from ops.errors import InputError

logger = logging.getLogger(__name__)

END_OF_JPEG = b"\xff\xd9"


def decode_on(device: torch.device, pictures: Pictures) -> torch.Tensor:
    """Decode a video's image files on `device`: see `decode_images`, whose errors are raised here too."""
    if device.type != "cuda":
        return decode_images(pictures).to(device)
    why = "some are no JPEG in plain colours"
    if _is_plain(pictures):
        try:
            return _by_nvjpeg(pictures, device)
        except RuntimeError as error:
            why = str(error).split("\n", 1)[0]
    decoded = decode_images(pictures).to(device)  # or it says what is damaged
    _say(why)
    return decoded


@functools.cache
def _say(why: str) -> None:
    """A warning, once."""
    logger.warning("--decode_device cuda: the CPU decodes what is not for nvJPEG: %s", why)


def chosen_device(name: str, device: torch.device, storage: Storage) -> torch.device | None:
    """Where `--decode_device` wants this storage's pictures decoded, None for the loader's processes.

    `device` is the network's. Raises InputError where that does not work.
    """
    if name == "cpu":
        return None
    if device.type != "cuda":
        raise InputError("--decode_device cuda: the network runs on the CPU; leave it out, or make a GPU visible")
    if not isinstance(storage, OfPictures):
        raise InputError("--decode_device cuda: decodes JPEG frames, not video files; leave it out")
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    try:
        _by_nvjpeg(Pictures(["a picture"], [file.getvalue()]), device)
    except Exception as error:  # an old or a future torchvision, a build without nvJPEG, no memory: each has its own
        raise InputError(f"--decode_device cuda: it does not work here ({str(error).splitlines()[0]})") from error
    return device


def _is_plain(pictures: Pictures) -> bool:
    """Whether all are whole JPEG files of one size, within the bounds: nvJPEG would fill up a file that ends early."""
    sizes = {jpeg_size(data) if data.endswith(END_OF_JPEG) else None for data in pictures.files}
    size = sizes.pop()
    if sizes or size is None or size_fault(size[1], size[0], len(pictures.files)):
        return False
    return not any(jpeg_fault(data, *size) for data in pictures.files)


def _by_nvjpeg(pictures: Pictures, device: torch.device) -> torch.Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg  # here, as it takes two seconds to import

    mode = ImageReadMode.GRAY if pictures.grey else ImageReadMode.RGB
    files = [torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for data in pictures.files]
    with warnings.catch_warnings():  # deprecated since torchvision 0.29
        warnings.simplefilter("ignore")
        decoded = decode_jpeg(files, mode, device=device)
    return torch.stack(decoded).contiguous(memory_format=torch.channels_last)
