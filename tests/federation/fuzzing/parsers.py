"""Every parser of what strangers send, by name: bytes in, a value or a `FederationError` out.

`PARSERS` is what is tried, `SEEDS` valid inputs to begin with; the tests beside this file and the
harness in `fuzz/` take both. Signed documents are tried twice: as they come, which ends at the
proof, and signed anew by their issuer, so that what follows the proof is met as well.
"""

import functools
import json
from email.utils import formatdate
from pathlib import Path
from typing import Any

from cache.verdict import Feed
from federation.actors import nodeinfo, webfinger
from federation.actors.remote_actor import parse_actor
from federation.addresses import feed_url, outbox_url
from federation.errors import FederationError
from federation.origin import Url, parse_url
from federation.outbound import block_list, media
from federation.signing import cavage, keys, message_signatures, sender
from federation.signing.request import Request
from federation.wire import activity, composing, multibase, proof, strictjson, times
from federation.wire.activity_proof import verify_activity
from federation.wire.attestation import AttestationHead, seal_attestation, verify_attestation
from federation.wire.feed_head import PageName, seal_head, verify_head
from federation.wire.merged import seal_merged, verify_merged
from federation.wire.outbox import OutboxHead, build_outbox, parse_outbox
from federation.wire.page import EpochEnd, digest, verify_page
from federation.wire.snapshot import (
    Snapshot,
    VerifiedManifest,
    build_part,
    name_part,
    parse_part,
    seal_manifest,
    verify_manifest,
)
from tests.federation import samples

LIMIT = 262_144
"""Bytes of an input, as of an activity."""

NOW = samples.NOW
FEED_ID = feed_url(samples.BASE, Feed.FLAGGED)
PROOF_KEY = samples.proof_key()
PROOF_KEY_ID = keys.proof_key_id(FEED_ID, PROOF_KEY.public_key())
VECTORS = Path(__file__).parents[1] / "vectors"
HANDLE = webfinger.parse_handle("flagged@alpha.example")


def is_refusal(error: Exception) -> bool:
    """Tell whether an error is one that a parser may raise: the sender's fault, told as such."""
    return isinstance(error, FederationError) and 400 <= error.status < 500


# --- what signs and reads ----------------------------------------------------------------------
@functools.cache
def issuer():
    """The actor whose documents are tried; its keys are ours, so that we can sign anew."""
    return samples.feed_actor()


def _strict(data):
    return strictjson.parse(data, LIMIT)


def _signed_anew(document):
    bare = {name: value for name, value in document.items() if name != "proof"}
    return proof.sign(bare, PROOF_KEY, PROOF_KEY_ID, NOW)


def _both(verify):
    """Verify a document as it comes; where that fails, as its issuer would have signed it."""

    def tried(data):
        document = _strict(data)
        try:
            return verify(document)
        except FederationError:
            if "@context" not in document:
                raise
            return verify(_signed_anew(document))

    return tried


def _activity(data):
    document = _strict(data)
    found = activity.parse_activity(document)
    if isinstance(found, activity.CreatePage):
        verify_page(found.page, issuer(), NOW)
    return found


def _part(data):
    """A part is bound by its digest alone: the manifest is made to name whatever comes."""
    document = _strict(data)
    snapshot = samples_of().snapshot
    named = name_part(samples_of().part)
    told = type(named)(named.id, digest(document), named.count)
    manifest = VerifiedManifest(_with_parts(snapshot, told), samples.BASE, PROOF_KEY_ID)
    return parse_part(document, manifest, 1)


def _with_parts(snapshot, *parts):
    made = {name: getattr(snapshot, name) for name in Snapshot.__slots__}
    return Snapshot(**(made | {"parts": parts}))


def _request(data):
    """Read lines of headers, an empty one, and a body, as a request to our inbox."""
    head, _, body = data.partition(b"\n\n")
    lines = [line.partition(b":") for line in head.split(b"\n")]
    headers = [(name.decode("latin-1"), text.decode("latin-1")) for name, _, text in lines]
    return Request("POST" if body else "GET", "/inbox?a=b", headers, body)


def _signature(data):
    request = _request(data)
    signed = sender.read_signed(request, NOW)
    return sender.check_sender(signed, issuer(), NOW, samples.BASE)


def _text(parse):
    """Try a parser of text; bytes that are no UTF-8 come as lone surrogates."""
    return lambda data: parse(data[:LIMIT].decode("utf-8", "surrogateescape"))


PARSERS = {
    "strict-json": _strict,
    "canonical-json": lambda data: strictjson.canonical(_strict(data)),
    "activity": _activity,
    "activity-proof": _both(lambda document: verify_activity(document, issuer(), NOW)),
    "page": _both(lambda document: verify_page(document, issuer(), NOW)),
    "merged-pages": _both(lambda document: verify_merged(document, issuer(), NOW)),
    "snapshot-manifest": _both(lambda document: verify_manifest(document, issuer(), NOW)),
    "snapshot-part": _part,
    "head": _both(lambda document: verify_head(document, issuer(), NOW)),
    "attestation": _both(
        lambda document: verify_attestation(document, issuer(), samples.picture("a"), NOW)
    ),
    "outbox": lambda data: parse_outbox(_strict(data), FEED_ID, outbox_url(FEED_ID)),
    "actor": lambda data: parse_actor(_strict(data), FEED_ID),
    "webfinger": lambda data: webfinger.parse_webfinger(_strict(data), HANDLE),
    "nodeinfo-links": lambda data: nodeinfo.parse_links(_strict(data), samples.BASE),
    "nodeinfo": lambda data: nodeinfo.parse_nodeinfo(_strict(data)),
    "signature": _signature,
    "block-list": _text(lambda text: block_list.parse_list(text, "a list")),
    "url": _text(parse_url),
    "handle": _text(webfinger.parse_handle),
    "content-type": _text(lambda text: media.fits(media.Kind.ACTIVITY, text)),
    "http-date": _text(times.from_http_date),
    "date-time": _text(times.from_rfc3339),
    "multibase": _text(multibase.is_digest),
    "own-resource": _text(lambda text: webfinger.build_webfinger(text, samples.BASE)),
}


# --- what they begin with ------------------------------------------------------------------------
class _Samples:
    """Valid documents of one feed, each made by the code that makes them in earnest."""

    def __init__(self):
        first = samples.signed_page()
        second = samples.signed_page(
            [samples.model_row("b")], page=2, first_seq=5, previous_digest=digest(first)
        )
        self.pages = [first, second]
        self.merged = seal_merged(self.pages, PROOF_KEY, PROOF_KEY_ID)
        previous = (EpochEnd(samples.OTHER_EPOCH, 3),)
        bare = Snapshot(
            *(FEED_ID, Feed.FLAGGED, samples.EPOCH, 2, digest(second), 6, NOW, (), previous)
        )
        rows = [
            ((samples.OTHER_EPOCH, 9), samples.model_row("c")),
            ((samples.EPOCH, 1), samples.model_row("a")),
            ((samples.EPOCH, 2), samples.human_row()),
        ]
        described = {samples.PIPELINE: samples.DESCRIPTION}
        self.part = build_part(bare, 1, rows, described, samples.RULES)
        self.snapshot = _with_parts(bare, name_part(self.part))
        self.manifest = seal_manifest(self.snapshot, PROOF_KEY, PROOF_KEY_ID)
        name = PageName(FEED_ID, samples.EPOCH, 2, digest(second), NOW)
        self.head = seal_head(name, PROOF_KEY, PROOF_KEY_ID)
        self.attestations = [
            seal_attestation(
                AttestationHead(samples.BASE, Feed.FLAGGED, NOW, place),
                samples.model_row("a"),
                described,
                samples.RULES,
                PROOF_KEY,
                PROOF_KEY_ID,
            )
            for place in (None, (samples.EPOCH, 1))
        ]

    def activities(self):
        """One activity of each kind."""
        who, ours = FEED_ID, "https://ours.example/feeds/clean"
        follow = activity.Follow(Url(f"{who}/follows/1"), who, ours)
        theirs = activity.Follow(Url(f"{ours}/follows/1"), Url(ours), who)
        create = composing.build_create(self.pages[0])

        def about(kind, target, **more):
            return {"id": f"{who}/{kind}", "type": kind, "actor": who, "object": target} | more

        yield composing.build_follow(follow.id, who, ours)
        yield composing.build_answer(f"{who}/answers/1", theirs, accepted=True)
        yield composing.build_undo(f"{who}/undo/1", follow)
        yield from (create, composing.announced(create))
        yield from (about("Update", who), about("Delete", who), about("Like", ours))
        yield about("Flag", [f"{ours}/1", f"{ours}/2"], content="That is a cat.")
        yield about("Announce", [self.head])


@functools.cache
def samples_of():
    return _Samples()


def _signed_requests():
    """A POST and a GET in each scheme, as `_request` reads them."""
    key, key_id = samples.rsa_key(), keys.main_key_id(FEED_ID)
    for scheme in (cavage, message_signatures):
        for method, body in (("POST", b'{"a":1}'), ("GET", None)):
            url = f"{samples.BASE}/inbox?a=b"
            headers = scheme.sign_request(method, url, body, key, key_id, NOW)
            lines = [f"{name}: {text}" for name, text in headers.items()]
            yield "\n".join(lines).encode() + b"\n\n" + (body or b"")


@functools.cache
def seeds() -> dict[str, list[Any]]:
    """Return name of parser -> documents (trees) or inputs (bytes) that it takes."""
    made = samples_of()
    vectors = [json.loads(path.read_bytes()) for path in sorted(VECTORS.glob("*.json"))]
    outboxes = [None, OutboxHead(samples.EPOCH, 1, 2, digest(made.pages[1]))]
    return {
        "strict-json": vectors,
        "canonical-json": vectors,
        "activity": list(made.activities()),
        "activity-proof": [_signed_anew(one) for one in made.activities() if "@context" in one],
        "page": made.pages,
        "merged-pages": [made.merged],
        "snapshot-manifest": [made.manifest],
        "snapshot-part": [made.part],
        "head": [made.head],
        "attestation": made.attestations,
        "outbox": [build_outbox(FEED_ID, one) for one in outboxes],
        "actor": [samples.feed_document(), samples.feed_document(expires=NOW + 9)],
        "webfinger": [webfinger.build_webfinger(f"acct:{HANDLE}", samples.BASE)],
        "nodeinfo-links": [nodeinfo.build_links(samples.BASE)],
        "nodeinfo": [nodeinfo.build_nodeinfo(samples.BASE, "1.2.3")],
        "signature": list(_signed_requests()),
        "block-list": [
            b"#domain,#severity,#reject_media,#public_comment\nevil.example,suspend,true,spam\n",
            b'domain,severity\n"a.example",silence\n*.b.example,suspend\nexa***e.com,suspend',
            b"# a comment\nevil.example\nb.example, c\n",
        ],
        "url": [b"https://beta.example:8443/a/b%20c?x=y#z", b"https://[2001:db8::1]/"],
        "handle": [b"@clean@beta.example:8443", b"acct:flagged@beta.example"],
        "content-type": [b'application/ld+json; profile="https://www.w3.org/ns/activitystreams"'],
        "http-date": [formatdate(NOW, usegmt=True).encode()],
        "date-time": [b"2026-11-22T00:00:00Z", b"1970-01-01T00:00:01Z"],
        "multibase": [digest(made.pages[0]).encode()],
        "own-resource": [b"acct:clean@alpha.example", b"https://alpha.example/feeds/clean"],
    }
