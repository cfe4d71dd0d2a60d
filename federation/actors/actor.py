"""Our own actors: the instance (`Application`) and its two feeds (`Service`).

Decides what stands in their documents. Everything here is public; what feeds publish is for
approved followers, so no feed accepts anybody by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from cache.verdict import Feed
from federation import addresses
from federation.context import ACTOR_CONTEXT
from federation.origin import Origin, Url, netloc_of
from federation.signing import keys
from federation.wire.strictjson import JsonObject
from federation.wire.times import to_rfc3339

_SUMMARIES: Final = {
    Feed.CLEAN: "Pictures that break none of this instance's rules, as signed verdicts.",
    Feed.FLAGGED: "Pictures that break a rule of this instance, as signed verdicts.",
}


@dataclass(frozen=True, slots=True)
class OwnProofKey:
    """An Ed25519 key of a feed, current, retired or stolen; times in epoch seconds."""

    public: Ed25519PublicKey
    expires: int | None = None
    revoked: int | None = None
    revoked_from: tuple[str, int] | None = None  # epoch and first page that no longer count


def build_instance(base: Origin, rsa: RSAPublicKey) -> JsonObject:
    """Return the instance actor, which follows peers and signs fetches."""
    actor_id = addresses.instance_url(base)
    host = netloc_of(base)
    return {
        **_actor(base, actor_id, "Application", addresses.INSTANCE_NAME, rsa),
        "name": f"Fediverdict on {host}",
        "summary": "This instance itself. It follows the feeds of peers.",
    }


def build_feed(
    base: Origin, feed: Feed, rsa: RSAPublicKey, proof_keys: Sequence[OwnProofKey]
) -> JsonObject:
    """Return the actor of `feed`; `proof_keys` are all its keys, retired ones included."""
    actor_id = addresses.feed_url(base, feed)
    name = addresses.FEED_NAMES[feed]
    return {
        **_actor(base, actor_id, "Service", name, rsa),
        "name": f"{name} feed of {netloc_of(base)}",
        "summary": _SUMMARIES[feed],
        "feed": name,
        "assertionMethod": [_multikey(actor_id, key) for key in proof_keys],
    }


def _actor(base: Origin, actor_id: Url, kind: str, name: str, rsa: RSAPublicKey) -> JsonObject:
    return {
        "@context": ACTOR_CONTEXT,
        "id": actor_id,
        "type": kind,
        "preferredUsername": name,
        "inbox": addresses.inbox_url(actor_id),
        "outbox": addresses.outbox_url(actor_id),
        "followers": addresses.followers_url(actor_id),
        "endpoints": {"sharedInbox": addresses.shared_inbox_url(base)},
        "manuallyApprovesFollowers": True,
        "publicKey": {
            "id": keys.main_key_id(actor_id),
            "owner": actor_id,
            "publicKeyPem": keys.to_pem(rsa),
        },
    }


def _multikey(actor_id: Url, key: OwnProofKey) -> dict[str, Any]:
    """FEP-521a."""
    multikey: dict[str, Any] = {
        "id": keys.proof_key_id(actor_id, key.public),
        "type": "Multikey",
        "controller": actor_id,
        "publicKeyMultibase": keys.to_multikey(key.public),
    }
    if key.expires is not None:
        multikey["expires"] = to_rfc3339(key.expires)
    if key.revoked is not None:
        multikey["revoked"] = to_rfc3339(key.revoked)
    if key.revoked_from is not None:
        epoch, page = key.revoked_from
        multikey["revokedFrom"] = {"epoch": epoch, "page": page}
    return multikey
