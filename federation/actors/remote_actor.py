"""A peer's actor document, read strictly into a typed actor.

Decides whether a document may speak for an actor: id, inbox, shared inbox, outbox, followers
and keys share one origin, and every key belongs to the actor. That the document was fetched
from its own id, over TLS, is for the caller to see to: pass the URL it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cache.verdict import Feed
from federation.addresses import FEEDS
from federation.context import ACTOR_TERMS
from federation.errors import BadActor, BadRequest, WrongOrigin
from federation.origin import Origin, Url, exact_url, origin_of, same_origin
from federation.signing import keys
from federation.signing.request import RsaKey
from federation.wire.epoch import is_epoch
from federation.wire.graph import refuse_tricks
from federation.wire.proof import ProofKey
from federation.wire.strictjson import JsonObject
from federation.wire.times import from_rfc3339

KINDS: Final = ("Application", "Group", "Organization", "Person", "Service")
MAX_RSA_KEYS: Final = 8
MAX_PROOF_KEYS: Final = 32
MAX_NAME_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True)
class RemoteActor:
    """An actor of a peer; `feed` tells which feed of a Fediverdict it is, if it is one."""

    id: Url
    origin: Origin
    kind: str
    name: str | None
    feed: Feed | None
    inbox: Url
    shared_inbox: Url | None
    outbox: Url | None
    followers: Url | None
    rsa_keys: Mapping[str, RsaKey]
    proof_keys: Mapping[str, ProofKey]


def parse_actor(document: JsonObject, url: str, *, allow_http: bool = False) -> RemoteActor:
    """Return the actor that was fetched from `url`, which must be its id.

    Raises `BadActor`, `WrongOrigin` or `BadRequest`.
    """
    refuse_tricks(document)
    actor_id = exact_url(document.get("id"), allow_http=allow_http)
    if actor_id != url:
        raise WrongOrigin("the document is not that of the actor asked for")
    endpoints = document.get("endpoints")
    shared = endpoints.get("sharedInbox") if isinstance(endpoints, dict) else None
    return RemoteActor(
        id=actor_id,
        origin=origin_of(actor_id),
        kind=_kind(document),
        name=_name(document),
        feed=_feed(document),
        inbox=_own_url(document.get("inbox"), actor_id, allow_http),
        shared_inbox=_own_url_or_none(shared, actor_id, allow_http),
        outbox=_own_url_or_none(document.get("outbox"), actor_id, allow_http),
        followers=_own_url_or_none(document.get("followers"), actor_id, allow_http),
        rsa_keys=_rsa_keys(document, actor_id, allow_http),
        proof_keys=_proof_keys(document, actor_id, allow_http),
    )


def _kind(document: JsonObject) -> str:
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadActor(f"the actor's type is none of {', '.join(KINDS)}")
    return kind


def _name(document: JsonObject) -> str | None:
    name = document.get("preferredUsername")
    if name is not None and (not isinstance(name, str) or len(name) > MAX_NAME_CHARACTERS):
        raise BadActor("preferredUsername is not a short string")
    return name


def _feed(document: JsonObject) -> Feed | None:
    """Our own term, which counts only under our own declaration of it."""
    context = document.get("@context")
    if document.get("type") != "Service" or not isinstance(context, list):
        return None
    name = document.get("feed")
    return FEEDS.get(name) if ACTOR_TERMS in context and isinstance(name, str) else None


def _own_url(value: object, actor_id: Url, allow_http: bool) -> Url:
    url = exact_url(value, allow_http=allow_http)
    if not same_origin(url, actor_id):
        raise WrongOrigin(f"{url} is not on the origin of its actor")
    return url


def _own_url_or_none(value: object, actor_id: Url, allow_http: bool) -> Url | None:
    return None if value is None else _own_url(value, actor_id, allow_http)


def _list(value: object, limit: int) -> list[Any]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    if len(items) > limit:
        raise BadActor(f"the actor has more than {limit} keys of a kind")
    return items


def _rsa_keys(document: JsonObject, actor_id: Url, allow_http: bool) -> dict[str, RsaKey]:
    found: dict[str, RsaKey] = {}
    for item in _list(document.get("publicKey"), MAX_RSA_KEYS):
        if isinstance(item, dict):  # a reference to a key elsewhere is not followed
            key_id = _own_url(item.get("id"), actor_id, allow_http)
            _check_owner(item.get("owner"), actor_id)
            if key_id in found:
                raise BadActor("two keys of the actor have one id")
            found[key_id] = RsaKey(key_id, actor_id, keys.rsa_from_pem(item.get("publicKeyPem")))
    return found


def _proof_keys(document: JsonObject, actor_id: Url, allow_http: bool) -> dict[str, ProofKey]:
    found: dict[str, ProofKey] = {}
    for item in _list(document.get("assertionMethod"), MAX_PROOF_KEYS):
        if isinstance(item, dict) and item.get("type") == "Multikey":
            key_id = _own_url(item.get("id"), actor_id, allow_http)
            _check_owner(item.get("controller"), actor_id)
            if key_id in found:
                raise BadActor("two keys of the actor have one id")
            key = _proof_key(item, key_id, actor_id)
            if key is not None:
                found[key_id] = key
    return found


def _check_owner(owner: object, actor_id: Url) -> None:
    if owner != actor_id:
        raise BadActor("a key in the actor's document belongs to someone else")


def _proof_key(item: JsonObject, key_id: Url, actor_id: Url) -> ProofKey | None:
    """Return the key, or None for kinds other than Ed25519, which are passed over."""
    try:
        public = keys.ed25519_from_multikey(item.get("publicKeyMultibase"))
    except BadRequest:
        return None
    return ProofKey(
        key_id,
        actor_id,
        public,
        _time_or_none(item.get("expires")),
        _time_or_none(item.get("revoked")),
        _revoked_from(item.get("revokedFrom")),
    )


def _time_or_none(value: object) -> int | None:
    return None if value is None else from_rfc3339(value)


def _revoked_from(value: object) -> tuple[str, int] | None:
    if value is None:
        return None
    epoch, page = (value.get("epoch"), value.get("page")) if isinstance(value, dict) else ("", 0)
    if not isinstance(epoch, str) or not is_epoch(epoch) or type(page) is not int or page < 1:
        raise BadActor("revokedFrom does not name an epoch and a page")
    return epoch, page
