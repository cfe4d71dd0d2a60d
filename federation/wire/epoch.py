"""Epochs, 128 random bits in lower-case hex that name one history of a feed, and their pages."""

import string
from typing import Final

DIGITS: Final = 32
MAX_PAGE: Final = 2**31 - 1
"""The highest number of a page: what the columns of all databases hold."""

_HEX_DIGITS: Final = frozenset(string.digits + "abcdef")


def is_epoch(value: object) -> bool:
    """Return whether `value` has the form of an epoch."""
    return isinstance(value, str) and len(value) == DIGITS and _HEX_DIGITS.issuperset(value)
