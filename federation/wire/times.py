"""Times on the wire: RFC 3339 in UTC to the second in documents, IMF-fixdate in HTTP headers."""

from datetime import UTC, datetime
from email.utils import format_datetime

from federation.errors import BadRequest

_RFC3339 = "%Y-%m-%dT%H:%M:%SZ"
_IMF_FIXDATE = "%a, %d %b %Y %H:%M:%S GMT"


def to_rfc3339(seconds: int) -> str:
    """Return e.g. `2026-11-22T19:45:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_RFC3339)


def from_rfc3339(value: object) -> int:
    """Return epoch seconds; only the form that `to_rfc3339` gives is taken."""
    seconds = _parse(value, _RFC3339)
    if to_rfc3339(seconds) != value:
        raise BadRequest("a time is written otherwise than 2026-11-22T19:45:00Z")
    return seconds


def to_http_date(seconds: int) -> str:
    """Return an IMF-fixdate (RFC 9110 section 5.6.7)."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def from_http_date(value: object) -> int:
    """Return epoch seconds of an IMF-fixdate; the obsolete forms are refused."""
    return _parse(value, _IMF_FIXDATE)


def _parse(value: object, form: str) -> int:
    if not isinstance(value, str) or not value.isascii():
        raise BadRequest("a time is missing, or not a string")
    try:
        return int(datetime.strptime(value, form).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise BadRequest("a time cannot be read") from error
