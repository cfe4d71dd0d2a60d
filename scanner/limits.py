"""How large a picture may be before it is refused as over the limit.

Every limit has a unit. What is over one is `over-limit`: never clean, never flagged.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]


class Limits(BaseModel):
    """Bounds on one picture; each is the largest value that still passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_bytes: Positive = 40_000_000
    """Bytes of the file."""
    pixels: Positive = 60_000_000
    """Pixels of the canvas, and so of each frame."""
    frames: Positive = 64
    """Frames of an animation; all of them are judged."""
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
