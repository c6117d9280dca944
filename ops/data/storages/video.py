"""Videos as files: frames are decoded when they are asked for, by their exact numbers."""

import contextlib
import functools
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch

from ops.data import videofile
from ops.data.decode import FrameError
from ops.data.paths import Paths
from ops.data.records import Records, VideoRecord, read_list
from ops.data.storages.checked import Checked, ContentSample, content_sample
from ops.data.video_index import VideoIndex, index_videos, probe
from ops.data.videofile import DamageError, FrameTable
from ops.errors import InputError, is_limit

logger = logging.getLogger(__name__)

# The frames of these numbers, from 1, of a video: uint8 (L, H, W, 3). Raises DamageError.
Decoder = Callable[[Path, FrameTable, Sequence[int]], torch.Tensor]


class VideoFiles:
    """Video files below `root`. What is known of each is kept beside its list (see `video_index`).

    decoded_by: the decoder, and the version of FFmpeg in it.
    """

    def __init__(self, root: Path, decoder: str = "auto") -> None:
        self.root = root
        self.decode = choose_decoder(decoder)
        self.decoded_by = version_of(self.decode)
        self.known = VideoIndex.of({})

    def records(self, list_file: Path, num_classes: int, unlabelled_too: bool = False) -> Records:
        """Lines of `path label`. Raises InputError if the list is faulty."""
        videos = read_list(list_file, num_classes, unlabelled_too, counted=False)
        logger.info("%s: %d videos, decoded by %s", list_file, len(videos), self.decoded_by)
        paths = Paths(videos.text, videos.starts, videos.ends)
        known = index_videos(list_file, self.root, paths)
        self.known |= known
        # An unreadable video stays in the list, and says why when it is asked for.
        counts = known.videos["num_frames"][known.paths.places(paths)]
        return replace(videos, num_frames=np.maximum(1, counts).astype(np.int32))

    def read(self, record: VideoRecord, numbers: Sequence[int]) -> torch.Tensor:
        """See `Storage`."""
        file, known = self.root / record.path, self.known[record.path]
        if known.table is None:
            raise FrameError(f"{file}: {known.fault}")
        try:
            if not known.state.today(file):
                raise FrameError(f"{file}: changed since its frames were counted: start again, which counts them anew")
            return self.decode(file, known.table, numbers).permute(0, 3, 1, 2)  # (L, H, W, 3) → (L, 3, H, W)
        except DamageError as error:
            raise FrameError(f"{file}: {error}") from error
        except OSError as error:
            if is_limit(error):
                raise
            raise FrameError(f"{file}: cannot be read ({error.strerror})") from error

    def reason(self, record: VideoRecord, error: FrameError) -> str:
        """See `Storage`."""
        return str(error)

    def check(self, record: VideoRecord, decode: bool) -> Checked:
        """See `Storage`; the file itself is asked, not what is known of it."""
        found = probe(record.path, self.root)
        if found.table is None:
            return Checked(0, f"{self.root / record.path}: {found.fault}")
        if decode:
            try:
                count = sum(1 for _ in videofile.frames(self.root / record.path))
            except (DamageError, OSError) as error:
                return Checked(found.num_frames, f"{self.root / record.path}: {error}")
            if count != found.num_frames:
                fault = f"{self.root / record.path}: decodes to {count} frames, its packets promise {found.num_frames}"
                return Checked(count, fault)
        return Checked(found.num_frames)

    def content_samples(self, record: VideoRecord) -> Iterator[ContentSample]:
        """The file."""
        yield content_sample(self.root / record.path)


def choose_decoder(name: str) -> Decoder:
    """`pyav`, which `auto` is too, whatever else is installed, or `torchcodec`. InputError if that does not work."""
    if name != "torchcodec":
        return decode_pyav
    if fault := torchcodec_fault():
        raise InputError(f"--decoder torchcodec: it does not work here ({fault}); give --decoder pyav, or auto")
    return decode_torchcodec


def version_of(decoder: Decoder) -> str:
    """In words: as far as the frames, or their pixels, may depend on it."""
    if decoder is decode_pyav:
        return f"PyAV, FFmpeg {'.'.join(av.ffmpeg_version_info.split('.')[:2])}"
    import torchcodec

    return f"TorchCodec {torchcodec.__version__}, FFmpeg {getattr(torchcodec, 'ffmpeg_major_version', 'unknown')}"


def decode_pyav(video: Path, table: FrameTable, numbers: Sequence[int]) -> torch.Tensor:
    """By FFmpeg, in PyAV."""
    return torch.from_numpy(np.stack(videofile.read(video, table, numbers)))


def decode_torchcodec(video: Path, table: FrameTable, numbers: Sequence[int]) -> torch.Tensor:
    """By FFmpeg, in TorchCodec; by PyAV where the two would number or show frames differently, or TorchCodec fails."""
    from torchcodec.decoders import VideoDecoder

    if len(table.keys):  # of other files (AVI) TorchCodec gives other frames than those of these numbers
        with contextlib.suppress(RuntimeError, ValueError, IndexError):  # PyAV reads it, or says what is wrong
            decoder = VideoDecoder(video, num_ffmpeg_threads=1, dimension_order="NHWC", seek_mode="exact")
            known = decoder.metadata
            # It turns frames as their display matrix says, but does not mirror them, and scales none.
            plain = getattr(known, "rotation", 0) is None and (known.width, known.height) == table.size
            if plain and known.num_frames == table.num_frames:
                return decoder.get_frames_at([number - 1 for number in numbers]).data
    return decode_pyav(video, table, numbers)


@functools.cache
def torchcodec_fault() -> str:
    """Why TorchCodec does not work here; empty if it does. Only a video tells, as it imports without FFmpeg too."""
    try:
        from torchcodec.decoders import VideoDecoder

        VideoDecoder(_tiny_video()).get_frames_at([1])
    except Exception as error:  # of many kinds, and of many lines
        return str(error).strip().splitlines()[0]
    return ""


def _tiny_video() -> bytes:
    """Two frames in an MP4."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode())
    return file.getvalue()
