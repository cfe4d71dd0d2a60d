"""Refusing documents that mean one thing as JSON and another as JSON-LD.

We read documents as plain JSON. A document that could rearrange or rename what we read when a
JSON-LD processor reads it is refused (Mastodon CVE-2026-46349 and -48028, Fedify
CVE-2026-42462).
"""

import re
from itertools import chain
from typing import Any, Final

from federation.context import ACTOR_TERMS, ATTESTATION_TERMS, FEED_TERMS, TERMS
from federation.errors import BadRequest
from federation.wire.strictjson import JsonObject

KEYWORDS: Final = frozenset({"@graph", "@reverse", "@included", "@nest"})
_QUOTED: Final = re.compile(
    rb'"@(?:%s)"' % b"|".join(keyword[1:].encode() for keyword in sorted(KEYWORDS))
)
_CONTEXT_KEYWORDS: Final = KEYWORDS | {"@vocab", "@base", "@import"}
_CONTEXTS: Final = (TERMS, FEED_TERMS, ATTESTATION_TERMS, ACTOR_TERMS)
_OWN: Final = frozenset[str]().union(*_CONTEXTS)
_READ: Final = (_OWN - {"fv", "manuallyApprovesFollowers"}) | {
    *("id", "type", "actor", "object", "attributedTo", "published", "url", "proof"),
    *("inbox", "outbox", "followers", "endpoints", "sharedInbox", "preferredUsername"),
    *("publicKey", "owner", "publicKeyPem"),
    *("assertionMethod", "controller", "publicKeyMultibase", "expires", "revoked"),
}
"""The terms we read; no inline context but our own may define them."""


def is_plain(canonical: bytes) -> bool:
    """Tell by its canonical form that a document holds no trick but perhaps in its own context.

    No keyword stands in it as a key, nor as a string, and no second `@context`; far cheaper than
    `refuse_tricks`, which is to decide on all others.
    """
    return canonical.count(b'"@context"') == 1 and _QUOTED.search(canonical) is None


def refuse_tricks(document: JsonObject) -> None:
    """Raise `BadRequest` for graph keywords at any depth and for contexts that redefine terms."""
    level: list[Any] = [document]
    while level:
        objects = [item for item in level if type(item) is dict]
        for item in objects:
            if not KEYWORDS.isdisjoint(item):
                raise BadRequest("the document uses @graph, @reverse, @included or @nest")
            if "@context" in item:
                _refuse_context(item["@context"])
        level = [child for item in objects for name, child in item.items() if name != "@context"]
        level = _flat(level)


def _flat(items: list[Any]) -> list[Any]:
    """Return the objects that stand in nested arrays."""
    flat: list[Any] = []
    while items:
        flat += [item for item in items if type(item) is dict]
        items = list(chain.from_iterable(item for item in items if type(item) is list))
    return flat


def _refuse_context(context: Any) -> None:
    for entry in context if type(context) is list else [context]:
        if type(entry) is dict and entry not in _CONTEXTS:
            _refuse_inline(entry)


def _refuse_inline(context: JsonObject) -> None:
    if not _READ.isdisjoint(context):
        raise BadRequest("an inline context redefines a term that is read here")
    level: list[Any] = [context]
    while level:
        if any(type(item) is str and item in _CONTEXT_KEYWORDS for item in level):
            raise BadRequest("an inline context renames a keyword")
        objects = [item for item in level if type(item) is dict]
        if any(not _CONTEXT_KEYWORDS.isdisjoint(item) for item in objects):
            raise BadRequest("an inline context rearranges the document")
        lists = [item for item in level if type(item) is list]
        level = [child for item in objects for child in item.values()]
        level += [child for item in lists for child in item]
