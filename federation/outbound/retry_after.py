"""Reading `Retry-After` (RFC 9110, section 10.2.3), in both its forms.

Decides how many seconds a peer asks to be left alone: a whole number of them, or an HTTP-date in
one of the three forms that section 5.6.7 has recipients take. What cannot be read asks nothing.
How long we wait in the end is the caller's to say.
"""

from datetime import UTC, datetime
from typing import Final

MAX_DIGITS: Final = 9
_FORMS: Final = (
    "%a, %d %b %Y %H:%M:%S GMT",  # IMF-fixdate
    "%A, %d-%b-%y %H:%M:%S GMT",  # RFC 850
    "%a %b %d %H:%M:%S %Y",  # asctime
)


def retry_after_seconds(header: str | None, now: int) -> int | None:
    """Return the seconds from `now`, 0 for a date that is past, or None."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= MAX_DIGITS else None
    date = _date(text)
    return None if date is None else max(0, date - now)


def _date(text: str) -> int | None:
    for form in _FORMS:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except (ValueError, OverflowError):
            continue
    return None
