"""Epochs: 128 random bits that name one history of a feed, in lower-case hex."""

import string
from typing import Final

DIGITS: Final = 32
_HEX_DIGITS: Final = frozenset(string.digits + "abcdef")


def is_epoch(value: object) -> bool:
    """Return whether `value` has the form of an epoch."""
    return isinstance(value, str) and len(value) == DIGITS and _HEX_DIGITS.issuperset(value)
