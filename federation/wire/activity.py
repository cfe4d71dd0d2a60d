"""The activities we send, and what of an inbound one we understand.

Decides what an activity says. Who sent it is settled by the HTTP signature, whether it was
asked for by the follow it belongs to, and a page inside it is believed only after
`page.verify_page`. Kinds that mean nothing here become `Ignored`, never an error.
"""

import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from federation.addresses import followers_url
from federation.context import ACTIVITYSTREAMS, PAGE_CONTEXT
from federation.errors import BadRequest, WrongOrigin
from federation.origin import Origin, Url, exact_url, origin_of, same_origin
from federation.wire.graph import refuse_tricks
from federation.wire.multibase import is_digest
from federation.wire.page import TYPES, digest
from federation.wire.strictjson import MAX_INTEGER, JsonObject

INLINE_BYTES: Final = 48 * 1_024
"""Activities stay under this; Misskey's inbox takes 64 KiB at most."""

MAX_ID_CHARACTERS: Final = 2_048
_ANSWERS: Final = ("Accept", "Reject")


@dataclass(frozen=True, slots=True)
class Follow:
    """`actor` asks to follow `object`, which is one of our feeds or nothing."""

    id: Url
    actor: Url
    object: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`actor` accepts or rejects the Follow `follow_id`, if that was ever sent to it."""

    id: Url
    actor: Url
    accepted: bool
    follow_id: str


@dataclass(frozen=True, slots=True)
class UndoFollow:
    """`actor` takes back its Follow `follow_id`; `object` is whom it followed, where told."""

    id: Url
    actor: Url
    follow_id: str
    object: str | None


@dataclass(frozen=True, slots=True)
class CreatePage:
    """`actor` sends a page inline, which is not verified yet."""

    id: Url
    actor: Url
    page: JsonObject


@dataclass(frozen=True, slots=True)
class AnnouncePage:
    """`actor` says that a page is there to be fetched from `url`."""

    id: Url
    actor: Url
    url: Url
    epoch: str
    page: int
    digest: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """An activity that means nothing here."""

    id: Url
    actor: Url
    kind: str


Activity: TypeAlias = Follow | Answer | UndoFollow | CreatePage | AnnouncePage | Ignored


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


def build_create(page: JsonObject) -> JsonObject:
    """Return the Create of a signed page: inline where it stays small, else as a stub."""
    inline = _create(page, [ACTIVITYSTREAMS], page)  # hoisting its @context breaks the proof
    if len(to_bytes(inline)) < INLINE_BYTES:
        return inline
    return _create(page, PAGE_CONTEXT, _stub(page))


def to_bytes(activity: JsonObject) -> bytes:
    """Return the body that is signed and sent."""
    return json.dumps(activity, ensure_ascii=False, separators=(",", ":")).encode()


def parse_activity(document: JsonObject, *, allow_http: bool = False) -> Activity:
    """Return what an inbound activity says.

    Raises `BadRequest` for a malformed one and `WrongOrigin` where id and actor, or an embedded
    object and its actor, do not belong together.
    """
    refuse_tricks(document)
    actor = exact_url(document.get("actor"), allow_http=allow_http)
    activity_id = exact_url(document.get("id"), allow_http=allow_http)
    if not same_origin(actor, activity_id):
        raise WrongOrigin("the activity's id is not on the origin of its actor")
    kind = document.get("type")
    if not isinstance(kind, str) or len(kind) > MAX_ID_CHARACTERS:
        raise BadRequest("the activity has no type")
    return _parse(document, kind, activity_id, actor)


def origin(activity: Activity) -> Origin:
    """Return the origin of the activity's actor."""
    return origin_of(activity.actor)


def _parse(document: JsonObject, kind: str, activity_id: Url, actor: Url) -> Activity:
    inner = document.get("object")
    if kind == "Follow":
        return Follow(activity_id, actor, _id_of(inner))
    if kind in _ANSWERS:
        return Answer(activity_id, actor, kind == "Accept", _id_of(inner))
    if kind == "Undo" and isinstance(inner, dict) and inner.get("type") == "Follow":
        return _undo(inner, activity_id, actor)
    if kind == "Undo" and isinstance(inner, str):
        return UndoFollow(activity_id, actor, _id_of(inner), None)
    if kind == "Create" and isinstance(inner, dict) and inner.get("type") == TYPES:
        return _page(inner, activity_id, actor)
    return Ignored(activity_id, actor, kind)


def _undo(inner: JsonObject, activity_id: Url, actor: Url) -> UndoFollow:
    if inner.get("actor") != actor:
        raise WrongOrigin("only who follows can undo a Follow")
    return UndoFollow(activity_id, actor, _id_of(inner), _id_of(inner.get("object")))


def _page(inner: JsonObject, activity_id: Url, actor: Url) -> CreatePage | AnnouncePage:
    if inner.get("attributedTo") != actor:
        raise WrongOrigin("the page is attributed to someone else than the activity's actor")
    if "rows" in inner:
        return CreatePage(activity_id, actor, inner)
    url, epoch, page = (inner.get(name) for name in ("url", "epoch", "page"))
    found = inner.get("digestMultibase")
    if not isinstance(epoch, str) or type(page) is not int or not 1 <= page <= MAX_INTEGER:
        raise BadRequest("the announcement names no epoch and page")
    if url != f"{actor}/{epoch}/pages/{page}":
        raise WrongOrigin("the announced URL is not that of the actor's page")
    if not isinstance(found, str) or not is_digest(found):
        raise BadRequest("the announcement names no digest")
    return AnnouncePage(activity_id, actor, Url(url), epoch, page, found)


def _id_of(value: object) -> str:
    found = value.get("id") if isinstance(value, dict) else value
    if not isinstance(found, str) or not 0 < len(found) <= MAX_ID_CHARACTERS:
        raise BadRequest("the activity's object has no id")
    return found


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
