"""Decoding: every kind of file a frame folder may hold, and the reason given for each that cannot be used."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_data import picture, write_frames
from PIL import Image

from ops.data import decode
from ops.data.catalog import resolve
from ops.data.decode import FrameError, MissingFrameError, decode_group
from ops.data.storages import open_storage
from ops.errors import InputError


def decode_frame(path: Path) -> torch.Tensor:
    return decode_group([path])[0]


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def pixels(frame: torch.Tensor) -> np.ndarray:
    assert frame.dtype == torch.uint8
    assert frame.shape[0] == 3
    return frame.permute(1, 2, 0).numpy()


def distance(frame: torch.Tensor, expected: np.ndarray) -> int:
    return int(np.abs(pixels(frame).astype(int) - expected.astype(int)).max())


@pytest.mark.parametrize("progressive", [False, True])
def test_colour_jpeg(tmp_path: Path, progressive: bool) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(picture(0)), quality=95, progressive=progressive)
    frame = decode_frame(path)
    assert frame.shape == (3, 48, 64)
    assert distance(frame, np.asarray(Image.open(path))) <= 1
    assert distance(frame, picture(0)) < 20  # red and blue are in their places


def test_grey_jpeg_fills_three_channels(tmp_path: Path) -> None:
    grey = picture(0)[..., 0]
    frame = decode_frame(saved(tmp_path / "a.jpg", Image.fromarray(grey), quality=95))
    assert distance(frame, np.repeat(grey[..., None], 3, axis=2)) < 8


def test_cmyk_jpeg_both_ways_round(tmp_path: Path) -> None:
    """CMYK is stored inverted, as Adobe began it, with Adobe's marker or without."""
    inverted = saved(tmp_path / "adobe.jpg", Image.fromarray(picture(0)).convert("CMYK"), quality=95)
    data = inverted.read_bytes()
    adobe = data.index(b"\xff\xee\x00\x0eAdobe")
    plain = tmp_path / "plain.jpg"
    plain.write_bytes(data[:adobe] + data[adobe + 16 :])
    assert distance(decode_frame(inverted), picture(0)) < 20
    assert distance(decode_frame(plain), picture(0)) < 20


def test_png_kinds(tmp_path: Path) -> None:
    colour = Image.fromarray(picture(0))
    assert distance(decode_frame(saved(tmp_path / "rgb.png", colour)), picture(0)) == 0

    palette = colour.quantize(16)
    frame = decode_frame(saved(tmp_path / "palette.png", palette))
    assert distance(frame, np.asarray(palette.convert("RGB"))) == 0

    alpha = np.dstack([picture(0), np.full((48, 64), 90, np.uint8)])
    assert distance(decode_frame(saved(tmp_path / "alpha.png", Image.fromarray(alpha))), picture(0)) == 0

    deep = picture(0)[..., 0].astype(np.uint16) * 257
    frame = decode_frame(saved(tmp_path / "deep.png", Image.fromarray(deep)))
    assert distance(frame, np.repeat(picture(0)[..., :1], 3, axis=2)) == 0


def test_the_content_counts_not_the_ending(tmp_path: Path) -> None:
    path = saved(tmp_path / "really_png.jpg", Image.fromarray(picture(0)), format="PNG")
    assert distance(decode_frame(path), picture(0)) == 0


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.9])
def test_truncated_jpeg_is_an_error_on_both_ways(tmp_path: Path, mode: str, kept: float) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(picture(0)).convert(mode), quality=95)
    data = path.read_bytes()
    assert decode_frame(path).shape == (3, 48, 64)
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(FrameError) as caught:
        decode_frame(path)
    assert str(path) in str(caught.value)
    assert "damaged" in str(caught.value) or "not an image" in str(caught.value)


def test_truncated_png(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(picture(0)))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FrameError, match=r"a\.png: damaged image"):
        decode_frame(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>404 Not Found</html>", "not an image"),
        (b"\xff\xd8", "not an image"),
        (b"\xff\xd8\xff\xe0", "not an image"),
        (b"\xff\xd8" + b"\0" * 100, "not an image"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "00001.jpg"
    path.write_bytes(content)
    with pytest.raises(FrameError, match=reason) as caught:
        decode_frame(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize("grey", [False, True])
def test_without_the_fast_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grey: bool) -> None:
    """The same pixels, also the luminance of a colourful picture; only slower."""
    noise = np.random.default_rng(0).integers(0, 256, (49, 67, 3)).astype(np.uint8)
    paths = [
        saved(tmp_path / f"{name}.jpg", Image.fromarray(noise).convert(mode), quality=90, **options)
        for name, mode, options in (
            ("colour", "RGB", {"subsampling": 2}),
            ("progressive", "RGB", {"subsampling": 0, "progressive": True}),
            ("grey", "L", {}),
        )
    ]
    fast = decode_group(paths, grey)
    monkeypatch.setattr(decode, "simplejpeg", None)
    assert torch.equal(decode_group(paths, grey), fast)


def test_the_slow_decoder_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "category.txt").write_text("a\n")
    for simplejpeg, warnings in ((decode.simplejpeg, 0), (None, 1)):
        decode.say_if_slow.cache_clear()
        monkeypatch.setattr(decode, "simplejpeg", simplejpeg)
        for storage in ("frames", "packed", "frames"):
            open_storage(resolve("demo", tmp_path, storage=storage))
        assert len(caplog.records) == warnings
    assert "pip install simplejpeg" in caplog.text
    decode.say_if_slow.cache_clear()


def test_missing_file_and_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(MissingFrameError, match=r"00009\.jpg: no such file"):
        decode_frame(tmp_path / "00009.jpg")
    with pytest.raises(FrameError, match="cannot be read") as caught:
        decode_frame(tmp_path)
    assert not isinstance(caught.value, MissingFrameError)


def forged_jpeg(mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(0)).convert(mode).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    start_of_frame = data.index(b"\xff\xc0")
    data[start_of_frame + 5 : start_of_frame + 9] = struct.pack(">HH", 50000, 50000)
    return bytes(data)


def forged_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


BOMBS = {
    "colour": forged_jpeg("RGB"),
    "grey": forged_jpeg("L"),
    "cmyk": forged_jpeg("CMYK"),
    "png": forged_png(50000, 50000),
    "png_below_pillows_limit": forged_png(9000, 8000),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS.keys())
def test_refuses_a_decompression_bomb(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bomb.jpg"
    path.write_bytes(content)
    with pytest.raises(FrameError, match=r"bomb\.jpg: .*(50000 × 50000|2500000000|9000 × 8000) pixels"):
        decode_frame(path)


def test_group_stacks_in_order_in_channels_last_memory(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", [picture(0), picture(1)])
    paths = [folder / "00002.jpg", folder / "00001.jpg"]
    group = decode_group(paths)
    assert group.shape == (2, 3, 48, 64)
    assert group.is_contiguous(memory_format=torch.channels_last)
    for frame, path in zip(group, paths, strict=True):
        assert torch.equal(frame, decode_frame(path))


def test_group_of_different_sizes(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", [picture(0, 48, 64), picture(1, 48, 60)])
    with pytest.raises(FrameError) as caught:
        decode_group([folder / "00001.jpg", folder / "00002.jpg"])
    message = str(caught.value)
    assert f"{folder / '00002.jpg'} is 60 × 48" in message
    assert f"{folder / '00001.jpg'} of the same video is 64 × 48" in message
