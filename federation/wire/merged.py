"""Merged pages: a run of pages of one epoch in a single signed document.

A reader verifies one proof and gets the very pages of the run, each with its number, digest, time
and rows. The digests are what the feed signed of its own pages: one that differs from a page seen
elsewhere shows that it told two stories. Which pages make up a run is the issuer's to decide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.uncollected import uncollected
from cache.verdict import Feed
from federation.actors.remote_actor import RemoteActor
from federation.addresses import run_url
from federation.context import FEED_CONTEXT
from federation.errors import BadPage
from federation.origin import Origin, Url
from federation.wire import proof
from federation.wire.epoch import MAX_PAGE
from federation.wire.feed_document import check_revoked, verify_signed
from federation.wire.joining import join_tables
from federation.wire.members import (
    PUBLISHED_AHEAD_SECONDS,
    read_digest,
    read_epoch,
    read_number,
    read_published,
)
from federation.wire.page import MAX_ROWS, AttestationPage, digest
from federation.wire.page_head import (
    WIRE,
    PageHead,
    parse_first_seq,
    parse_previous,
)
from federation.wire.page_rows import ISSUED_AFTER_PAGE_SECONDS, Tables, parse_rows
from federation.wire.page_tables import parse_labels, parse_pipelines, parse_rules
from federation.wire.row import Attestation, Row
from federation.wire.strictjson import JsonObject
from federation.wire.times import from_rfc3339

TYPES: Final = ["Document", "MergedPages"]
MAX_RUN_ROWS: Final = 5_000
BLOCK_PAGES: Final = 256
"""Pages of a block: 1-256, 257-512 and so on. A run lies within one block."""

_LISTED_CELLS: Final = 3


@dataclass(frozen=True, slots=True)
class VerifiedRun:
    """The pages of a run, in order and chained, whose proof, issuer and form have been verified."""

    pages: tuple[AttestationPage, ...]
    origin: Origin
    key_id: str
    document: JsonObject


def build_merged(pages: Sequence[JsonObject]) -> JsonObject:
    """Return the unsigned document of consecutive signed pages; the same for the same pages."""
    first, last = pages[0], pages[-1]
    before = ("previousDigest", "previousEpoch")
    joined = join_tables(pages)
    return {
        "@context": FEED_CONTEXT,
        "type": list(TYPES),
        "id": run_url(Url(first["attributedTo"]), first["epoch"], first["page"], last["page"]),
        "attributedTo": first["attributedTo"],
        "published": last["published"],
        "wire": WIRE,
        "epoch": first["epoch"],
        "firstPage": first["page"],
        "lastPage": last["page"],
        "firstSeq": first["firstSeq"],
        "pages": [[page["count"], from_rfc3339(page["published"]), digest(page)] for page in pages],
        **{name: first[name] for name in before if name in first},
        **joined,
    }


def seal_merged(pages: Sequence[JsonObject], private: Ed25519PrivateKey, key_id: str) -> JsonObject:
    """Return the signed document of consecutive signed pages."""
    return sign_merged(build_merged(pages), private, key_id)


def sign_merged(document: JsonObject, private: Ed25519PrivateKey, key_id: str) -> JsonObject:
    """Return merged pages signed; the proof is as old as the last of the pages."""
    return proof.sign(document, private, key_id, from_rfc3339(document["published"]))


@uncollected()
def verify_merged(document: JsonObject, actor: RemoteActor, now: int) -> VerifiedRun:
    """Verify that `document` is a run of pages of the feed `actor`, in all its parts.

    Raises `BadProof` for a wrong or revoked key, `WrongOrigin` for another's document, `BadPage`
    for one against the rules of the wire format.
    """
    proven, feed = verify_signed(document, actor, FEED_CONTEXT, TYPES, now)
    heads = tuple(_heads(document, actor.id, feed, now))
    if document.get("id") != run_url(actor.id, heads[0].epoch, heads[0].page, heads[-1].page):
        raise BadPage("the id does not follow from its feed, epoch, first and last page")
    check_revoked(proven.key, heads[-1].epoch, heads[-1].page)
    return VerifiedRun(tuple(_pages(document, heads)), actor.origin, proven.key.id, document)


def _heads(document: JsonObject, feed_id: Url, feed: Feed, now: int) -> Iterator[PageHead]:
    """Yield where each page stands; raises `BadPage` unless they fit each other."""
    epoch, listed = read_epoch(document), _listed(document, now)
    first = read_number(document.get("firstPage"), "firstPage", 1, MAX_PAGE)
    last = first + len(listed) - 1
    read_number(document.get("lastPage"), "lastPage", last, min(last, MAX_PAGE))
    if (first - 1) // BLOCK_PAGES != (last - 1) // BLOCK_PAGES:
        raise BadPage(f"a run lies within a block of {BLOCK_PAGES} pages")
    first_seq, before = parse_first_seq(document, first), parse_previous(document, epoch, first)
    for place, (count, published, name) in enumerate(listed):
        yield PageHead(feed_id, feed, epoch, first + place, first_seq, published, *before)
        first_seq, before = first_seq + count, (name, None)


def _listed(document: JsonObject, now: int) -> list[tuple[int, int, str]]:
    """Return the rows, time and digest of each page that is listed."""
    pages, published = document.get("pages"), read_published(document, now)
    if not isinstance(pages, list) or not 0 < len(pages) <= BLOCK_PAGES:
        raise BadPage(f"a run has 1 to {BLOCK_PAGES} pages")
    listed = [_one(page, now) for page in pages]
    if listed[-1][1] != published:
        raise BadPage("a run is published when the last of its pages is")
    return listed


def _one(page: object, now: int) -> tuple[int, int, str]:
    if not isinstance(page, list) or len(page) != _LISTED_CELLS:
        raise BadPage("a page is listed by its count, time and digest")
    return (
        read_number(page[0], "the count of a page", 1, MAX_ROWS),
        read_number(page[1], "the time of a page", 0, now + PUBLISHED_AHEAD_SECONDS),
        read_digest(page[2], "the digest of a page"),
    )


def _pages(document: JsonObject, heads: Sequence[PageHead]) -> Iterator[AttestationPage]:
    """Yield the pages, each with its own rows."""
    listed, last = document["pages"], heads[-1]
    total = sum(page[0] for page in listed)
    rows = document.get("rows")
    if not isinstance(rows, list) or len(rows) != total or total > MAX_RUN_ROWS:
        raise BadPage(f"the rows are not those of the listed pages, or over {MAX_RUN_ROWS}")
    read_number(document.get("count"), "count", total, total)
    labels, rules = parse_labels(document.get("labels")), parse_rules(document.get("rules"))
    pipelines = parse_pipelines(document.get("pipelines"))
    latest = max(head.published for head in heads)
    tables = Tables(last.feed, last.epoch, latest, labels, rules, pipelines)
    parsed = parse_rows(document, tables)
    start = 0
    for head, (count, _, name) in zip(heads, listed, strict=True):
        own = parsed[start : start + count]
        _check_issued(own, head.published + ISSUED_AFTER_PAGE_SECONDS)
        yield AttestationPage(head, pipelines, rules, own, name)
        start += count


def _check_issued(rows: Sequence[Row], latest: int) -> None:
    if any(type(row) is Attestation and row.issued > latest for row in rows):
        raise BadPage("a row was issued after its page was published")
