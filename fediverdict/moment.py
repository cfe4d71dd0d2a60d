"""Reads a moment as people give it: a date, a date and time (UTC unless said), or how long ago."""

import re
from datetime import UTC, datetime

from fediverdict.errors import UsageError

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
AGO = re.compile(r"([0-9]{1,9})([smhdw])")


def parse_moment(text: str, now: float) -> float:
    """Return epoch seconds for `2026-01-31`, `2026-01-31T12:00` or `7d`; raises UsageError."""
    if ago := AGO.fullmatch(text):
        return now - int(ago[1]) * SECONDS[ago[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text} is no time; write 2026-01-31, 2026-01-31T12:00+01:00, or how long ago: "
            "90m, 12h, 7d, 2w"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
