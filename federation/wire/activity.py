"""What of an inbound activity we understand; `composing` has those that we send.

Decides what an activity says. Who sent it is settled by the HTTP signature, whether it was
asked for by the follow it belongs to, and a page inside it is believed only after
`page.verify_page`. Kinds that mean nothing here become `Ignored`, never an error.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from federation.addresses import page_url
from federation.errors import BadRequest, WrongOrigin
from federation.origin import Url, exact_url, same_origin
from federation.wire.epoch import MAX_PAGE
from federation.wire.feed_head import TYPES as HEAD_TYPES
from federation.wire.graph import refuse_tricks
from federation.wire.multibase import is_digest
from federation.wire.page import TYPES
from federation.wire.strictjson import JsonObject

MAX_ID_CHARACTERS: Final = 2_048
MAX_DISPUTED: Final = 16
"""Attestations that one Flag may name."""

MAX_DISPUTE_BYTES: Final = 2_048
MAX_HEADS: Final = 64
"""Heads of feeds that one Announce may tell."""


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
class AnnounceHeads:
    """`actor` tells how far feeds of others are, in heads that are not verified yet."""

    id: Url
    actor: Url
    heads: tuple[JsonObject, ...]


@dataclass(frozen=True, slots=True)
class UpdateActor:
    """`actor` says that its document changed; what it says now is fetched from its id."""

    id: Url
    actor: Url


@dataclass(frozen=True, slots=True)
class DeleteActor:
    """`actor` says that it is gone for good."""

    id: Url
    actor: Url


@dataclass(frozen=True, slots=True)
class Flag:
    """`actor` disputes attestations of ours, named by their ids, in plain text."""

    id: Url
    actor: Url
    objects: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """An activity that means nothing here."""

    id: Url
    actor: Url
    kind: str


Activity: TypeAlias = (
    Follow
    | Answer
    | UndoFollow
    | CreatePage
    | AnnouncePage
    | AnnounceHeads
    | UpdateActor
    | DeleteActor
    | Flag
    | Ignored
)


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


def _parse(document: JsonObject, kind: str, activity_id: Url, actor: Url) -> Activity:
    inner = document.get("object")
    found: Activity | None = None
    match kind:
        case "Follow":
            found = Follow(activity_id, actor, _id_of(inner))
        case "Accept" | "Reject":
            found = Answer(activity_id, actor, kind == "Accept", _id_of(inner))
        case "Undo":
            found = _undo(inner, activity_id, actor)
        case "Create" if isinstance(inner, dict) and inner.get("type") == TYPES:
            found = _page(inner, activity_id, actor)
        case "Announce":
            found = _heads(inner, activity_id, actor)
        case "Update" | "Delete":
            found = _of_itself(kind, inner, activity_id, actor)
        case "Flag":
            found = _flag(document, activity_id, actor)
    return found or Ignored(activity_id, actor, kind)


def _heads(inner: object, activity_id: Url, actor: Url) -> AnnounceHeads | None:
    """Return the heads of feeds that are told, or None for an Announce of anything else."""
    told: list[Any] = inner if isinstance(inner, list) else [inner]
    heads = [one for one in told if isinstance(one, dict) and one.get("type") == HEAD_TYPES]
    if not heads or len(heads) != len(told):
        return None
    if len(heads) > MAX_HEADS:
        raise BadRequest(f"more than {MAX_HEADS} heads in one activity")
    return AnnounceHeads(activity_id, actor, tuple(heads))


def _of_itself(
    kind: str, inner: object, activity_id: Url, actor: Url
) -> UpdateActor | DeleteActor | None:
    """Return what an actor says of itself; of anything else it means nothing here."""
    target = inner.get("id") if isinstance(inner, dict) else inner
    if target != actor:
        return None
    return (UpdateActor if kind == "Update" else DeleteActor)(activity_id, actor)


def _flag(document: JsonObject, activity_id: Url, actor: Url) -> Flag:
    inner, text = document.get("object"), document.get("content", "")
    objects = inner if isinstance(inner, list) else [inner]
    if not isinstance(text, str) or len(text.encode()) > MAX_DISPUTE_BYTES:
        raise BadRequest(f"a Flag says at most {MAX_DISPUTE_BYTES} bytes of plain text")
    if not 0 < len(objects) <= MAX_DISPUTED:
        raise BadRequest(f"a Flag names 1 to {MAX_DISPUTED} objects")
    return Flag(activity_id, actor, tuple(_id_of(one) for one in objects), text)


def _undo(inner: object, activity_id: Url, actor: Url) -> UndoFollow | None:
    if isinstance(inner, str):
        return UndoFollow(activity_id, actor, _id_of(inner), None)
    if not isinstance(inner, dict) or inner.get("type") != "Follow":
        return None
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
    if not isinstance(epoch, str) or type(page) is not int or not 1 <= page <= MAX_PAGE:
        raise BadRequest("the announcement names no epoch and page")
    if url != page_url(actor, epoch, page):
        raise WrongOrigin("the announced URL is not that of the actor's page")
    if not isinstance(found, str) or not is_digest(found):
        raise BadRequest("the announcement names no digest")
    return AnnouncePage(activity_id, actor, Url(url), epoch, page, found)


def _id_of(value: object) -> str:
    found = value.get("id") if isinstance(value, dict) else value
    if not isinstance(found, str) or not 0 < len(found) <= MAX_ID_CHARACTERS:
        raise BadRequest("the activity's object has no id")
    return found
