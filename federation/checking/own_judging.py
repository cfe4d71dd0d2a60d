"""Judges how we look from outside: does what peers get equal what we serve? Pure."""

from collections.abc import Sequence
from typing import Final

from federation.actors.webfinger import ACTIVITY_TYPES
from federation.checking.looking import Look
from federation.checking.result import Check, Name, failed, ok, skipped, warning
from federation.client import Seen
from federation.origin import Origin
from federation.outbound.address import is_public
from federation.wire.strictjson import JsonObject

_SECRET_ANSWERS: Final = {
    202: "it was taken down as if it were signed: something else than Fediverdict answers",
    403: "something before us refuses it, e.g. a web application firewall",
    404: "the proxy passes no POST on, or passes it elsewhere",
    405: "the proxy or another program takes no POST there",
    408: "the body does not arrive: the proxy holds it back",
    413: "the proxy refuses the body as too large; let 256 KiB through",
    415: "the proxy changes or drops the content type",
    429: "too many requests came lately; try again in ten minutes",
}


def judge_base_url(base: Origin, *, allow_private: bool) -> Check:
    """Say whether the base URL is one that peers can use."""
    if base.startswith("https://"):
        return ok(Name.BASE_URL, f"instance.base_url is {base}")
    said = f"instance.base_url is {base}, which is not https"
    todo = "Set instance.base_url to the https URL that peers reach this instance by."
    if allow_private:
        return warning(Name.BASE_URL, f"{said}; on loopback it will do", todo)
    return failed(Name.BASE_URL, said, todo)


def judge_dns(host: str, addresses: Sequence[str] | str, *, allow_private: bool) -> Check:
    """Say whether our name leads to public addresses alone; a sentence says why to none."""
    if isinstance(addresses, str):
        todo = "Give the name an A or AAAA record, or mend instance.base_url."
        return failed(Name.DNS, f"{host}: {addresses}", todo)
    private = sorted(one for one in addresses if not is_public(one))
    if not private:
        return ok(Name.DNS, f"{host} is {', '.join(sorted(addresses))}")
    said = f"{host} is {', '.join(private)} from here, which is no public address"
    if allow_private:
        todo = "Peers on the Internet need a public address."
        return warning(Name.DNS, said, todo)
    todo = (
        "If only this machine sees it so (split DNS, /etc/hosts), check from another one; "
        "else give the name a public address."
    )
    return failed(Name.DNS, said, todo)


def judge_own_webfinger(document: JsonObject | str, expected: JsonObject, of: str) -> Check:
    """Say whether WebFinger by the public URL answers as we do; `of` is what was asked for."""
    name = Name.WEBFINGER_ORIGIN if "://" in of else Name.WEBFINGER
    todo = "Let the proxy pass /.well-known/webfinger on to us, with its query."
    if isinstance(document, str):
        return failed(name, document, todo, of)
    if document == expected:
        return ok(name, f"WebFinger answers for {of}", of)
    if _actor_in(document) != _actor_in(expected):
        said = f"WebFinger for {of} leads to {_actor_in(document)}, not to {_actor_in(expected)}"
        return failed(name, said, todo, of)
    return warning(name, f"WebFinger for {of} answers otherwise than we do", todo, of)


def _actor_in(document: JsonObject) -> object:
    links = document.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("type") in ACTIVITY_TYPES:
            return link.get("href")
    return "nothing"


def judge_own_actor(document: JsonObject | str, expected: JsonObject, of: str) -> Check:
    """Say whether the actor by its public URL is what we serve."""
    if isinstance(document, str):
        todo = "Let the proxy pass every path on, with the Accept header, and rewrite no answer."
        return failed(Name.ACTOR, document, todo, of)
    different = sorted(
        key for key in {*document, *expected} if document.get(key) != expected.get(key)
    )
    if not different:
        return ok(Name.ACTOR, f"the actor {of} is what we serve", of)
    said = f"the actor {of} differs from what we serve in {', '.join(different)}"
    if set(different) <= {"publicKey", "assertionMethod"}:
        todo = "`serve` has other keys than this database: is it the same? Restart it."
    else:
        todo = "Does the proxy rewrite answers, or keep old ones? Has `serve` another base_url?"
    return failed(Name.ACTOR, said, todo, of)


def judge_proxy(look: Look) -> Check:
    """Say whether a POST to the inbox arrives as it was sent: one without a signature gets 401."""
    todo = "The proxy must pass POST /inbox on, body, Content-Type, Date, Digest and Signature too."
    if not isinstance(look, Seen):
        return failed(Name.PROXY, str(look.error), todo)
    if look.status == 401:
        return ok(Name.PROXY, "the inbox is reached, and refuses what is not signed")
    if look.status == 429:
        return skipped(Name.PROXY, _SECRET_ANSWERS[429])
    if look.status >= 500:
        return failed(Name.PROXY, f"POST to the inbox answers {look.status}", todo)
    meaning = _SECRET_ANSWERS.get(look.status, "something else than Fediverdict answers")
    return failed(Name.PROXY, f"POST to the inbox answers {look.status}: {meaning}", todo)


def judge_own_keys(in_use: Sequence[str], retired: int | None) -> Check:
    """Say whether every actor has its key; `in_use` are the purposes that have one."""
    if retired is not None:
        todo = "Nothing is published or followed any more; that cannot be taken back."
        return warning(Name.KEYS, "this instance was retired", todo)
    missing = sorted({"http", "clean", "flagged"} - set(in_use))
    if missing:
        todo = "Run `fediverdict init`."
        return failed(Name.KEYS, f"there is no key in use for {', '.join(missing)}", todo)
    return ok(Name.KEYS, "a key for requests, and one for each feed")
