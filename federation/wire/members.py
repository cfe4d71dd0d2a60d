"""Members that signed documents of a feed share, each read into its type; else `BadPage`.

Decides form and range only. What they mean together is decided by the module of each kind.
"""

from typing import Final

from federation.errors import BadPage, BadRequest
from federation.wire import multibase
from federation.wire.epoch import is_epoch
from federation.wire.strictjson import MAX_INTEGER, JsonObject
from federation.wire.times import from_rfc3339

PUBLISHED_AHEAD_SECONDS: Final = 3_600
"""How far in the future a document may be published."""


def read_number(value: object, name: str, least: int = 1, most: int = MAX_INTEGER) -> int:
    """Return an integer within its range; raises `BadPage`."""
    if type(value) is not int or not least <= value <= most:
        raise BadPage(f"{name} is not a number from {least} to {most}")
    return value


def read_epoch(document: JsonObject) -> str:
    """Return the epoch of a document; raises `BadPage`."""
    epoch = document.get("epoch")
    if not isinstance(epoch, str) or not is_epoch(epoch):
        raise BadPage("epoch is not 32 hexadecimal digits")
    return epoch


def read_digest(value: object, name: str) -> str:
    """Return the digest of a page or part; raises `BadPage`."""
    if not isinstance(value, str) or not multibase.is_digest(value):
        raise BadPage(f"{name} is missing, or no digest")
    return value


def read_published(document: JsonObject, now: int) -> int:
    """Return when a document was published; raises `BadPage` for one from the future."""
    try:
        published = from_rfc3339(document.get("published"))
    except BadRequest as error:
        raise BadPage("the document does not say when it was published") from error
    if not 0 <= published <= now + PUBLISHED_AHEAD_SECONDS:
        raise BadPage("the document was published in the future")
    return published
