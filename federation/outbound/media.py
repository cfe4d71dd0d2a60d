"""Which content types carry ActivityPub, WebFinger and NodeInfo documents.

Decides what a `Content-Type` header may say for each kind of document; ActivityPub JSON
under any other type is refused (Mastodon CVE-2024-25623: uploads served as actors).
"""

from email.message import Message
from enum import Enum

ACTIVITY = "application/activity+json"
JRD = "application/jrd+json"
_AS_PROFILE = "https://www.w3.org/ns/activitystreams"


class Kind(Enum):
    """What is asked for; the value is the `Accept` header."""

    ACTIVITY = f'{ACTIVITY}, application/ld+json; profile="{_AS_PROFILE}"'
    JRD = f"{JRD}, application/json"
    NODEINFO = "application/json"


def fits(kind: Kind, content_type: str | None) -> bool:
    """Tell whether a `Content-Type` header may carry a document of `kind`."""
    text = content_type or ""
    if not text.isascii():  # which `Message` may fail to read
        return False
    header = Message()
    header["content-type"] = text
    media_type = header.get_content_type()  # text/plain for what cannot be read
    if kind is Kind.ACTIVITY:
        return media_type == ACTIVITY or (
            media_type == "application/ld+json"
            and _AS_PROFILE in str(header.get_param("profile", "")).split()
        )
    return media_type == "application/json" or (kind is Kind.JRD and media_type == JRD)
