"""The activities we send; every one stays under `INLINE_BYTES`, whatever it carries."""

from typing import Any, Final

from federation.addresses import followers_url
from federation.context import ACTIVITYSTREAMS, PAGE_CONTEXT
from federation.origin import Url
from federation.wire.activity import Follow
from federation.wire.page import TYPES, digest
from federation.wire.strictjson import JsonObject, to_bytes

INLINE_BYTES: Final = 48 * 1_024
"""Activities stay under this; Misskey's inbox takes 64 KiB at most."""

PUBLIC: Final = f"{ACTIVITYSTREAMS}#Public"


def build_follow(activity_id: str, actor: str, target: str) -> JsonObject:
    """Return a Follow of `target`."""
    return _activity("Follow", activity_id, actor, target) | {"to": [target]}


def build_answer(activity_id: str, follow: Follow, *, accepted: bool) -> JsonObject:
    """Return the Accept or Reject of a Follow, by the feed that it was for."""
    kind = "Accept" if accepted else "Reject"
    return _activity(kind, activity_id, follow.object, _follow(follow)) | {"to": [follow.actor]}


def build_undo(activity_id: str, follow: Follow) -> JsonObject:
    """Return the Undo of a Follow that we sent."""
    return _activity("Undo", activity_id, follow.actor, _follow(follow)) | {"to": [follow.object]}


def build_update(activity_id: str, document: JsonObject) -> JsonObject:
    """Return the Update that tells an actor's document, as its peers fetch it."""
    inner = {name: value for name, value in document.items() if name != "@context"}
    told = _activity("Update", activity_id, document["id"], inner)
    return told | {"@context": document["@context"], "to": [PUBLIC]}


def build_delete(actor_id: str) -> JsonObject:
    """Return the Delete of one of our actors, for good."""
    return _activity("Delete", f"{actor_id}#delete", actor_id, actor_id) | {"to": [PUBLIC]}


def build_flag(
    activity_id: str, actor: str, feed_id: str, objects: list[Url], text: str
) -> JsonObject:
    """Return a Flag that disputes attestations of a feed, named by their ids, in plain text."""
    flag = _activity("Flag", activity_id, actor, objects)
    return flag | {"content": text, "to": [feed_id]}


def build_heads(activity_id: str, actor: str, heads: list[JsonObject]) -> JsonObject:
    """Return the Announce of signed heads of feeds, each with its own @context and proof."""
    return _activity("Announce", activity_id, actor, heads)


def build_create(page: JsonObject) -> JsonObject:
    """Return the Create of a signed page: inline where it stays small, else as a stub."""
    inline = _create(page, [ACTIVITYSTREAMS], page)  # hoisting its @context breaks the proof
    if len(to_bytes(inline)) < INLINE_BYTES:
        return inline
    return _create(page, PAGE_CONTEXT, _stub(page))


def announced(create: JsonObject) -> JsonObject:
    """Return the Create of a page as a stub, from one that may hold it inline."""
    page = create["object"]
    return _create(page, PAGE_CONTEXT, _stub(page)) if "rows" in page else create


def _activity(kind: str, activity_id: str, actor: str, target: object) -> JsonObject:
    return {
        "@context": ACTIVITYSTREAMS,
        "id": activity_id,
        "type": kind,
        "actor": actor,
        "object": target,
    }


def _follow(follow: Follow) -> JsonObject:
    return {"id": follow.id, "type": "Follow", "actor": follow.actor, "object": follow.object}


def _create(page: JsonObject, context: list[Any], target: JsonObject) -> JsonObject:
    feed_id = page["attributedTo"]
    return {
        **_activity("Create", f"{page['id']}#create", feed_id, target),
        "@context": context,
        "published": page["published"],
        "to": [followers_url(feed_id)],
    }


def _stub(page: JsonObject) -> JsonObject:
    kept = ("attributedTo", "published", "wire", "epoch", "page", "firstSeq", "count")
    return {
        "id": f"{page['id']}#announce",
        "type": list(TYPES),
        **{name: page[name] for name in kept},
        "digestMultibase": digest(page),
        "url": page["id"],
    }
