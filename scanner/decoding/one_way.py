"""Whether all viewers show a still picture alike, as near clean must ask before it reuses anything.

A scan looks at a picture by its profile where that changes it as a whole (`profiles`). To be taken
for another one unscanned it must leave less open: no four inks, whose way to colours viewers do
not agree on, and no profile that is a table or has steep steps, in which a small or faint second
picture may lie. Cameras', screens' and the usual profiles are curves and pass.
"""

import io
from contextlib import suppress

from PIL import Image

from scanner.decoding.profiles import SPACES, steepest_step

STEP_MAX = 16
"""Levels of 255 between two neighbouring samples; a linear profile has 13 in the darkest."""
TAG_START, TAG_BYTES, TAGS_MAX = 132, 12, 100
"""Of a profile's table of tags (ICC.1:2022, 7.3): the count stands before it."""
TABLES = (b"A2B", b"D2B")
"""What the names of tables begin with that go before a profile's curves."""


def is_shown_one_way(data: bytes, formats: tuple[str, ...]) -> bool:
    """Tell whether the still picture of a file has but one look, as far as its colours go."""
    with suppress(Exception), Image.open(io.BytesIO(data), formats=formats) as image:
        profile = image.info.get("icc_profile")
        if image.mode == "CMYK" or (profile is not None and not isinstance(profile, bytes)):
            return False
        if not profile:
            return True
        bare = Image.new("L" if SPACES.get(image.mode) == "GRAY" else "RGB", (1, 1))
        bare.info["icc_profile"] = profile
        return not _has_tables(profile) and steepest_step(bare) <= STEP_MAX
    return False


def _has_tables(profile: bytes) -> bool:
    count = int.from_bytes(profile[TAG_START - 4 : TAG_START])
    starts = range(TAG_START, TAG_START + TAG_BYTES * min(count, TAGS_MAX), TAG_BYTES)
    return count > TAGS_MAX or any(profile[at : at + 3] in TABLES for at in starts)
