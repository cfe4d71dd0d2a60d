"""What all signed documents of a feed share: whose they are, their context, types and proof.

Decides that a document was signed by the feed it is attributed to and is of the kind asked for.
What else stands in it is read by the module of each kind.
"""

from collections.abc import Sequence
from typing import Any

from federation.actors.remote_actor import RemoteActor
from federation.errors import BadPage, BadProof, BadRequest, WrongOrigin
from federation.wire import multibase, proof
from federation.wire.epoch import is_epoch
from federation.wire.graph import refuse_tricks
from federation.wire.page_head import PUBLISHED_AHEAD_SECONDS, WIRE
from federation.wire.strictjson import MAX_INTEGER, JsonObject
from federation.wire.times import from_rfc3339


def verify_signed(
    document: JsonObject, actor: RemoteActor, context: Sequence[Any], types: Sequence[str], now: int
) -> proof.ProofKey:
    """Return the key that signed a document of the feed `actor`.

    Raises `BadProof` for a wrong proof or key, `WrongOrigin` for another's document, `BadPage`
    for one of another kind. What a revoked key still counts for is checked by `check_revoked`.
    """
    if actor.feed is None:
        raise WrongOrigin(f"{actor.id} is not a feed")
    if document.get("attributedTo") != actor.id:
        raise WrongOrigin(f"the document is not attributed to {actor.id}")
    check_kind(document, context, types)
    proven = proof.verify(document, actor.proof_keys, now)
    if not proven.is_plain:
        check_tricks(document)
    return proven.key


def check_kind(document: JsonObject, context: Sequence[Any], types: Sequence[str]) -> None:
    """Raise `BadPage` unless context, types and wire format are those of this kind."""
    if document.get("@context") != context:
        raise BadPage(f"the @context is not the one that a {types[-1]} has")
    if document.get("type") != types or document.get("wire") != WIRE:
        raise BadPage(f"the document is not a {types[-1]} of wire format 1")


def check_tricks(document: JsonObject) -> None:
    """Raise `BadPage` for a document that means another thing as JSON-LD (`graph`)."""
    try:
        refuse_tricks(document)
    except BadRequest as error:
        raise BadPage(str(error)) from error


def check_revoked(key: proof.ProofKey, epoch: str, page: int) -> None:
    """A revoked key counts only for pages of the named epoch before the named page."""
    if key.revoked is None and key.revoked_from is None:
        return
    if key.revoked_from is None or key.revoked_from[0] != epoch:
        raise BadProof("the document is signed by a revoked key")
    if page >= key.revoked_from[1]:
        raise BadProof("the document is signed by a key revoked before its last page")


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
    return read_number(published, "published", 0, now + PUBLISHED_AHEAD_SECONDS)
