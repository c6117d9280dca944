"""How much a picture, a video or a list may ask for: what none of an honest one reaches, and a machine still has.

docs/reliability.md states what memory and time they come to.
"""

MAX_PIXELS = 64_000_000  # 8000 × 8000: no video frame is larger, and a forged header must not take all memory
# Bytes of one video's frames, or of their files, at a time: 345 frames of 3840 × 2160, 1380 of 1920 × 1080. The largest
# test, ten clips of 16 segments, looks at 160 frames, and of RGBDiff at 960.
MAX_HELD = 8 << 30
MAX_SCANNED = 2_000_000_000  # pixels of all scans of a progressive JPEG: 31 scans of the largest; encoders make 10
MAX_SCANS = 200
MAX_FRAMES = 10_000_000  # of a video: 92 hours at 30 a second
MAX_SOUND = 20_000_000  # of a video's sound, samples as they are stored: 118 hours of AAC at 48 kHz, 47 a second


def size_fault(width: int, height: int, frames: int = 1, channels: int = 3) -> str:
    """Why so many frames of this size are not decoded; empty if they may be."""
    if width * height > MAX_PIXELS:
        return f"{width} × {height} pixels are more than the {MAX_PIXELS:,} allowed"
    if frames * width * height * channels > MAX_HELD:
        return (
            f"{frames} frames of {width} × {height} pixels are more than the {MAX_HELD >> 30} GiB allowed at a time: "
            "scale them down (tools/vid2img.py --short_side), or take fewer segments or clips"
        )
    return ""
