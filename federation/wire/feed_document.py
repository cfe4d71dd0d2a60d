"""What all signed documents of a feed share: whose they are, their context, types and proof.

Decides that a document was signed by the feed it is attributed to and is of the kind asked for.
What else stands in it is read by the module of each kind.
"""

from collections.abc import Sequence
from typing import Any

from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.errors import BadPage, BadProof, BadRequest, WrongOrigin
from federation.wire import proof
from federation.wire.graph import refuse_tricks
from federation.wire.page_head import WIRE
from federation.wire.strictjson import JsonObject


def verify_signed(
    document: JsonObject, actor: RemoteActor, context: Sequence[Any], types: Sequence[str], now: int
) -> tuple[proof.Proven, Feed]:
    """Return a document of the feed `actor`, its proof verified, and which feed that is.

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
    return proven, actor.feed


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
    if not key.is_revoked:
        return
    if key.revoked_from is None or key.revoked_from[0] != epoch:
        raise BadProof("the document is signed by a revoked key")
    if page >= key.revoked_from[1]:
        raise BadProof("the document is signed by a key revoked before its last page")
