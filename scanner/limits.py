"""How large a picture may be before it is refused as over the limit.

Every limit has a unit. What is over one is `over-limit`: never clean, never flagged.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from scanner.errors import OverLimit

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Limits(BaseModel):
    """Bounds on one picture; each is the largest value that still passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_bytes: Positive = 40_000_000
    """Bytes of the file."""
    pixels: Positive = 60_000_000
    """Pixels of the canvas, and so of each frame."""
    frames: Positive = 64
    """Frames of an animation or video that are judged; of one that has more, samples are. Also the
    pictures of a multi-picture JPEG, which are not sampled: more are over the limit."""
    frames_total: Positive = 5_000
    """Frames of an animation, judged or not."""
    view_pixels: Positive = 50_331_648
    """Pixels kept of all judged frames, 3 bytes each; the default is 64 frames of 512x512 in three
    views, 151 MB. Past it fewer frames are judged, and `frames_seen` says so."""
    composited_pixels: Positive = 160_000_000
    """Canvas pixels times frames of an animation: bounds the time of compositing it (some ten
    seconds on one core). A still picture is bounded by `pixels` alone."""
    scan_pixels: Positive = 4_000_000_000
    """Canvas pixels times scans of a JPEG: a progressive one is decoded once a scan, so this
    bounds the time of it (66 scans at 60 megapixels; encoders write about 10)."""
    blocks: Positive = 200_000
    """Segments in front of a JPEG's scan, chunks of a PNG, blocks and sub-blocks of a GIF."""
    exif_blocks: Positive = 16
    """EXIF blocks of a JPEG; one is usual, and the time to join them grows with their square."""
    video_tracks: Positive = 4
    """Pictures and films in a video file."""
    video_frames: Positive = 200_000
    """Frames of a video, judged or not: 1 hour and 50 minutes at 30 a second."""
    video_decoded_frames: Positive = 3_000
    """Frames of a video that are decoded to get at the judged ones. Past this, or one of the next
    two, fewer frames are judged, and `frames_seen` says so."""
    video_decoded_pixels: Positive = 4_000_000_000
    """Pixels of all these together."""
    video_seconds: Seconds = 20.0
    """Seconds that decoding a video may take."""


def within(value: int, limit: int, unit: str) -> None:
    """Raise OverLimit for a value past its limit."""
    if value > limit:
        raise OverLimit(f"{value} {unit}, the limit is {limit}")
