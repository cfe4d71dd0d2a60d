"""The words of a dispute: plain text, shown as such wherever it is shown, never as HTML."""

from federation.wire.activity import MAX_DISPUTE_BYTES

__all__ = ["MAX_DISPUTE_BYTES", "plain"]


def plain(text: str) -> str:
    """Return `text` on one line without control and formatting characters.

    Line ends, escape sequences and marks that turn the direction of writing become spaces.
    """
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
