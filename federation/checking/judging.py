"""Judges what anybody shows: that it answers, WebFinger, the actor, NodeInfo, the clock. Pure.

Takes what came as bytes and says what is wrong with it in the words of `result.py`; the same
judges serve for a peer and for ourselves. What an actor must look like is `remote_actor`'s word,
so the doctor is as strict as federation is, and adds only what other software is known to want
(`FEDERATION.md`).
"""

from collections.abc import Sequence
from typing import Final

from federation.actors import nodeinfo, webfinger
from federation.actors.remote_actor import RemoteActor, parse_actor
from federation.actors.webfinger import Handle, check_agrees, parse_webfinger
from federation.checking.looking import Look, NoAnswer, is_there
from federation.checking.result import Check, Name, failed, ok, skipped, warning
from federation.client import Seen
from federation.context import (
    ACTIVITYSTREAMS,
    DATA_INTEGRITY_V2,
    DID_V1,
    MULTIKEY_V1,
    SECURITY_V1,
)
from federation.errors import BadRequest, BlockedAddress, BlockedDomain, FederationError
from federation.origin import Url, origin_of
from federation.outbound import media
from federation.signing.request import WINDOW_SECONDS
from federation.wire.strictjson import JsonObject, parse
from federation.wire.times import from_http_date

CONTEXTS: Final = (ACTIVITYSTREAMS, SECURITY_V1, DATA_INTEGRITY_V2, MULTIKEY_V1, DID_V1)
"""Without the last one Fedify does not find the keys of proofs."""

SKEW_WARNING_SECONDS: Final = 60
"""A clock that is further off is odd; a second of it is the way of the answer."""

SKEW_SECONDS: Final = WINDOW_SECONDS
"""A clock that is further off makes every signature stale."""

_TLS_WORDS: Final = ("certificate", "[ssl", "tlsv1")  # what OpenSSL and aiohttp say
_NAME_WORDS: Final = ("name or service not known", "getaddrinfo", "no address", "nodename", "dns")
_REFUSED_WORDS: Final = ("refused", "connect call failed")


def judge_reachable(look: Look) -> Check:
    """Say whether the host answers at all, and in which way it does not."""
    if isinstance(look, Seen):
        if look.status >= 500:
            todo = "Look at the log of the server and of the proxy before it."
            return failed(Name.REACHABLE, f"{look.url} answers {look.status}", todo)
        return ok(Name.REACHABLE, f"{origin_of(look.url)} answers")
    return failed(Name.REACHABLE, str(look.error), _remedy(look.error))


def _remedy(error: FederationError) -> str:
    """Return what to do about an error of the network."""
    text = str(error).lower()
    if isinstance(error, BlockedDomain):
        return "It is blocked here; `fediverdict peers unblock` takes it off the list."
    if isinstance(error, BlockedAddress):
        return "Its name must lead to public addresses, and its URL begin with https."
    if any(word in text for word in _REFUSED_WORDS):
        return "Nothing listens there: is the server running, the port open in the firewall?"
    if any(word in text for word in _NAME_WORDS):
        return "Its name must have an A or AAAA record; look for a typing error."
    if any(word in text for word in _TLS_WORDS):
        return "Its certificate must be valid for this name, unexpired, and sent with its chain."
    return "Try again in a while; if it stays so, ask its admin."


def read_document(look: Look, kind: media.Kind, max_bytes: int) -> JsonObject | str:
    """Return the document of an answer, or a sentence on why it is none."""
    if isinstance(look, NoAnswer):
        return str(look.error)
    if 300 <= look.status < 400:
        where = look.headers.get("location", "nowhere")
        return f"{look.url} redirects to {where}: it must answer where it is"
    if look.status != 200:
        return f"{look.url} answers {look.status}"
    if not media.fits(kind, look.headers.get("content-type")):
        return f"{look.url} answers with content type {look.headers.get('content-type')!r}"
    try:
        return parse(look.body, max_bytes)
    except FederationError as error:
        return f"{look.url}: {error}"


def judge_webfinger(document: JsonObject | str, handle: Handle, *, http: bool) -> Check | Url:
    """Return the actor that WebFinger names for a handle, or what is wrong."""
    todo = (
        f"Is {handle} spelled right? Feeds are called clean@HOST and flagged@HOST. If it is, "
        f"WebFinger there must answer for acct:{handle} with a link to the actor on the same host."
    )
    if isinstance(document, str):
        return failed(Name.WEBFINGER, document, todo)
    try:
        return parse_webfinger(document, handle, allow_http=http)
    except FederationError as error:
        return failed(Name.WEBFINGER, str(error), todo)


def judge_webfinger_back(actor: RemoteActor, handle: Handle) -> Check:
    """Say whether the actor calls itself by the handle."""
    try:
        check_agrees(handle, actor)
    except FederationError as error:
        todo = "preferredUsername and the handle must agree, or anybody could borrow the name."
        return failed(Name.WEBFINGER_BACK, str(error), todo)
    return ok(Name.WEBFINGER_BACK, f"the actor calls itself {handle}")


def judge_actor(document: JsonObject | str, url: Url, *, http: bool) -> Check | RemoteActor:
    """Return the actor, or what is wrong with its document."""
    todo = "The document must stand at its id, as ActivityPub JSON, with all on one origin."
    if isinstance(document, str):
        return failed(Name.ACTOR, document, todo)
    try:
        return parse_actor(document, url, allow_http=http)
    except FederationError as error:
        return failed(Name.ACTOR, f"{url}: {error}", todo)


def judge_content_type(look: Look, of: str = "") -> Check:
    """Say whether the content type is the one that every peer takes."""
    found = look.headers.get("content-type", "") if isinstance(look, Seen) else ""
    if found.replace(" ", "").lower() in (media.ACTIVITY, f"{media.ACTIVITY};charset=utf-8"):
        return ok(Name.ACTOR, f"the actor's document comes as {media.ACTIVITY}", of)
    todo = f"Send exactly {media.ACTIVITY}: Lemmy compares the whole header."
    return warning(Name.ACTOR, f"the actor's document comes as {found!r}", todo, of)


def judge_context(document: JsonObject, of: str = "") -> Check:
    """Say whether the document declares what peers look for."""
    context = document.get("@context")
    known = context if isinstance(context, list) else [context]
    missing = [one for one in CONTEXTS if one not in known]
    if missing:
        todo = "Peers that read JSON-LD do not see what is not declared; add it to @context."
        return warning(Name.CONTEXT, f"@context lacks {', '.join(missing)}", todo, of)
    return ok(Name.CONTEXT, "@context declares keys and proofs", of)


def judge_keys(actor: RemoteActor, now: int, of: str = "") -> Check:
    """Say whether there is a key for requests and, for a feed, one for proofs."""
    if not actor.rsa_keys:
        todo = "Without publicKey none of its requests can be verified."
        return failed(Name.KEYS, f"{actor.id} lists no RSA key", todo, of)
    usable = [
        key
        for key in actor.proof_keys.values()
        if key.revoked is None and (key.expires is None or key.expires > now)
    ]
    if actor.feed is not None and not usable:
        todo = "Pages need a Multikey under assertionMethod; without it none can be verified."
        return failed(Name.KEYS, f"{actor.id} lists no Ed25519 key in force", todo, of)
    said = f"{len(actor.rsa_keys)} RSA and {len(usable)} Ed25519 keys in force"
    return ok(Name.KEYS, said, of)


def judge_nodeinfo(
    links: JsonObject | str, document: JsonObject | str | None, instance: Url, *, http: bool
) -> Check:
    """Say what software it is, and whether NodeInfo leads to the instance actor (FEP-2677)."""
    if isinstance(links, str):
        todo = "Nothing of ours needs it; other servers show it and count by it."
        return warning(Name.NODEINFO, links, todo)
    try:
        found = nodeinfo.parse_links(links, origin_of(instance), allow_http=http)
        if isinstance(document, str) or document is None:
            raise BadRequest(document or "there is no link to NodeInfo 2.1")
        software = nodeinfo.parse_nodeinfo(document)
    except FederationError as error:
        return warning(Name.NODEINFO, str(error), "Serve NodeInfo 2.1 and link to it.")
    said = f"{software.software} {software.version}"
    if found.instance is None:
        todo = f"Link {webfinger.INSTANCE_REL} in /.well-known/nodeinfo (FEP-2677)."
        return warning(Name.NODEINFO, f"{said}; the instance actor is not linked", todo)
    return ok(Name.NODEINFO, said)


def judge_host_meta(look: Look) -> Check:
    """Say whether host-meta is there; WebFinger does without it."""
    if is_there(look):
        return ok(Name.HOST_META, "host-meta is there")
    return ok(Name.HOST_META, "host-meta is not there, and nothing here needs it")


def judge_clock(looks: Sequence[Look], now: int) -> Check:
    """Say how far a host's clock is from ours, by the Date of its answers."""
    for look in looks:
        if isinstance(look, Seen) and "date" in look.headers:
            try:
                skew = from_http_date(look.headers["date"]) - now
            except BadRequest:
                continue
            return _judge_skew(skew)
    return skipped(Name.CLOCK, "no answer names the time")


def _judge_skew(skew: int) -> Check:
    way = "ahead of" if skew > 0 else "behind"
    said = f"the clock there is {abs(skew)} s {way} ours"
    todo = "One of the two clocks is wrong: look at both, and run NTP."
    if abs(skew) > SKEW_SECONDS:
        return failed(Name.CLOCK, f"{said}: signatures are refused as stale", todo)
    if abs(skew) > SKEW_WARNING_SECONDS:
        return warning(Name.CLOCK, said, todo)
    return ok(Name.CLOCK, said if skew else "the clock there agrees with ours")
