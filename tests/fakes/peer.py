"""A whole peer on loopback: actors, keys, feeds, an inbox, and a hand to misbehave with.

It keeps everything in memory and does nothing by itself: a test tells it what to publish and
what to send, and may replace any answer (`answers[path] = handler`) or any part of a request.
"""

import functools
import json
import secrets
from base64 import urlsafe_b64decode

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from cache.verdict import Basis, Feed
from federation import addresses
from federation.actors import actor, webfinger
from federation.origin import Origin
from federation.signing import cavage, keys, message_signatures
from federation.signing.identity import Scheme
from federation.wire import activity, composing, outbox, proof, strictjson
from federation.wire.attestation import AttestationHead, seal_attestation
from federation.wire.page import EpochEnd, PageHead, digest, seal_page
from federation.wire.row import Attestation
from tests.fakes import signatures
from tests.federation.samples import DESCRIPTION, PIPELINE, RULES, picture

ACTIVITY = "application/activity+json"


@functools.cache
def rsa_of(name):
    """Keys are slow to make, so every test shares those of a name."""
    return keys.generate_rsa()


class Peer:
    """See the module; `requests` holds (method, path), `received` the activities of its inboxes."""

    def __init__(self, clock, name="peer"):
        self.clock = clock
        self.rsa = rsa_of(name)
        self.proof = {feed: keys.generate_ed25519() for feed in addresses.FEED_NAMES}
        self.pages = {}  # (feed, epoch) -> list of signed pages
        self.epochs = {feed: secrets.token_hex(16) for feed in addresses.FEED_NAMES}
        self.ends = {}  # feed -> EpochEnd of the epoch before
        self.attested = {}  # (feed, sha256) -> signed attestation
        self.documents = {}  # path -> document: merged pages, snapshots and their parts
        self.answers = {}  # path -> handler that answers instead
        self.requests = []
        self.received = []
        self.takes = None  # schemes that it takes; it verifies what is signed, and answers 401
        self.refuses_with = 401
        self.knocks = []  # schemes of the signed requests that it verified, with the outcome
        self._their_keys = {}

    async def start(self, port=None):
        app = web.Application(client_max_size=10**7)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self.server = TestServer(app, port=port)
        await self.server.start_server()
        self.port = self.server.port
        self.base = Origin(f"http://127.0.0.1:{self.port}")
        self.id = addresses.instance_url(self.base)
        self.session = aiohttp.ClientSession(auto_decompress=False)
        return self

    async def stop(self):
        await self.session.close()
        await self.server.close()

    # --- what it shows -----------------------------------------------------------------------
    def feed_id(self, feed=Feed.CLEAN):
        return addresses.feed_url(self.base, feed)

    def document(self, name):
        if name == "actor":
            return actor.build_instance(self.base, self.rsa.public_key())
        feed = addresses.FEEDS[name]
        shown = [actor.OwnProofKey(self.proof[feed].public_key())]
        return actor.build_feed(self.base, feed, self.rsa.public_key(), shown)

    async def _answer(self, request):
        self.requests.append((request.method, request.path))
        if self.takes is not None and not await self._is_taken(request):
            return web.Response(status=self.refuses_with)
        if request.path in self.answers:
            return await self.answers[request.path](request)
        if request.method == "POST":
            self.received.append(json.loads(await request.read()))
            return web.Response(status=202)
        document = self.documents.get(request.path) or self._document(request)
        if document is None:
            return web.Response(status=404)
        is_jrd = request.path.startswith("/.well-known")
        return reply(document, "application/jrd+json" if is_jrd else ACTIVITY)

    def _document(self, request):
        path = request.path.removeprefix("/feeds")
        if path == "/.well-known/webfinger":
            return webfinger.build_webfinger(request.query["resource"], self.base)
        parts = path.strip("/").split("/")
        if len(parts) == 1 and (parts[0] in addresses.FEEDS or parts[0] == "actor"):
            return self.document(parts[0])
        if parts[0] == "attestations":
            sha256 = urlsafe_b64decode(request.query["sha256"] + "=")
            return self.attested.get((addresses.FEEDS[parts[1]], sha256))
        feed = addresses.FEEDS[parts[0]]
        if parts[1:] == ["outbox"]:
            return self.outbox(feed)
        pages = self.pages.get((feed, parts[1]), [])
        if len(parts) != 4 or not parts[3].isdigit():
            return None
        return pages[int(parts[3]) - 1] if int(parts[3]) <= len(pages) else None

    def outbox(self, feed):
        pages = self.pages.get((feed, self.epochs[feed]), [])
        head = None
        if pages:
            head = outbox.OutboxHead(self.epochs[feed], 1, len(pages), digest(pages[-1]))
        return outbox.build_outbox(self.feed_id(feed), head)

    async def _is_taken(self, request):
        """Verify a signed request by hand; who fetches may leave his name out, who posts not."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        scheme = signatures.scheme_of(headers)
        if scheme is None:
            return request.method == "GET"
        url, key_id = f"{self.base}{request.raw_path}", signatures.key_id_of(headers)
        body, key = await request.read(), await self._their_key(key_id)
        good = signatures.holds(request.method, url, headers, body, key)
        taken = good and scheme in (self.takes or ())
        self.knocks.append((scheme, taken))
        return taken

    async def _their_key(self, key_id):
        if key_id not in self._their_keys:
            async with self.session.get(key_id.partition("#")[0]) as answer:
                key = json.loads(await answer.read())["publicKey"]
            assert key["id"] == key_id
            self._their_keys[key_id] = keys.rsa_from_pem(key["publicKeyPem"])
        return self._their_keys[key_id]

    # --- what it publishes -------------------------------------------------------------------
    def publish(self, rows, feed=Feed.CLEAN, key=None, keep=True):
        """Seal the next page of a feed; with `keep=False` it is made but not served."""
        pages = self.pages.setdefault((feed, self.epochs[feed]), [])
        head = PageHead(
            feed_id=self.feed_id(feed),
            feed=feed,
            epoch=self.epochs[feed],
            page=len(pages) + 1,
            first_seq=1 + sum(page["count"] for page in pages),
            published=self.clock(),
            previous_digest=digest(pages[-1]) if pages else None,
            previous_epoch=None if pages else self.ends.get(feed),
        )
        key_id = keys.proof_key_id(head.feed_id, self.proof[feed].public_key())
        private = key or self.proof[feed]
        page = seal_page(head, rows, {PIPELINE: DESCRIPTION}, RULES, private, key_id)
        page = json.loads(json.dumps(page))
        if keep:
            pages.append(page)
        return page

    def attest(self, row, feed=Feed.CLEAN, place=None, key=None, keep=True, **changes):
        """Sign one attestation and answer with it; `changes` are made before signing."""
        head = AttestationHead(self.base, feed, self.clock(), place)
        key_id = keys.proof_key_id(self.feed_id(feed), self.proof[feed].public_key())
        private = key or self.proof[feed]
        made = seal_attestation(head, row, {PIPELINE: DESCRIPTION}, RULES, private, key_id)
        made.pop("proof")
        made = proof.sign(made | changes, private, key_id, self.clock())
        if keep:
            self.attested[feed, row.sha256] = made
        return made

    def new_epoch(self, feed=Feed.CLEAN, keep=None):
        """Begin a new epoch that keeps the first `keep` pages of the old one (all by default)."""
        pages = self.pages.get((feed, self.epochs[feed]), [])
        end = len(pages) if keep is None else keep
        self.ends[feed] = EpochEnd(self.epochs[feed], end)
        self.epochs[feed] = secrets.token_hex(16)

    def row(self, name, **changes):
        """An attestation of the picture `name`, valid for 30 days from now."""
        known = {
            "sha256": picture(name),
            "basis": Basis.MODEL,
            "issued": self.clock() - self.clock() % 86_400,
            "expires": self.clock() + 30 * 86_400,
            "pipeline": PIPELINE,
            "scores": {"sexual": 12},
        }
        return Attestation(**(known | changes))

    # --- what it sends -----------------------------------------------------------------------
    async def follow(self, ours, feed=Feed.CLEAN, **more):
        follow_id = f"{self.id}/follows/{secrets.token_hex(8)}"
        sent = composing.build_follow(follow_id, self.id, ours.feed_id(feed))
        return sent, await self.send(ours, sent, **more)

    async def accept(self, ours, follow, **more):
        """Accept the Follow (as it was received) by the feed that it asks for."""
        asked = activity.Follow(follow["id"], follow["actor"], follow["object"])
        answer_id = f"{follow['object']}/answers/{secrets.token_hex(8)}"
        sent = composing.build_answer(answer_id, asked, accepted=True)
        return await self.send(ours, sent, **more)

    async def create(self, ours, page, **more):
        return await self.send(ours, composing.build_create(page), **more)

    async def send(
        self,
        ours,
        sent,
        path="/inbox",
        signer=None,
        key=None,
        body=None,
        scheme=Scheme.CAVAGE,
        **headers,
    ):
        """POST an activity, signed by its actor; `body` is swapped in after signing."""
        url = f"{ours.base}{path}"
        data = sent if isinstance(sent, bytes) else strictjson.to_bytes(sent)
        who = signer or (json.loads(data)["actor"] if isinstance(sent, bytes) else sent["actor"])
        signed = self.signed("POST", url, data, who, key, scheme)
        signed |= {name.replace("_", "-"): value for name, value in headers.items()}
        signed = {name: value for name, value in signed.items() if value is not None}
        async with self.session.post(url, data=body or data, headers=signed) as answer:
            return answer.status

    async def get(
        self,
        url,
        signer=None,
        key=None,
        method="GET",
        sign=True,
        scheme=Scheme.CAVAGE,
        encoding="identity",
    ):
        """Fetch a URL as the instance actor; returns (status, headers, body) as they came."""
        headers = dict(self.signed(method, url, None, signer, key, scheme)) if sign else {}
        headers["Accept-Encoding"] = encoding
        asked = self.session.request(method, url, headers=headers, allow_redirects=False)
        async with asked as answer:
            return answer.status, dict(answer.headers), await answer.read()

    def signed(self, method, url, body, signer=None, key=None, scheme=Scheme.CAVAGE, key_id=None):
        """Return the headers that sign a request of an actor of this peer, in either scheme."""
        of_scheme = message_signatures if scheme == Scheme.RFC9421 else cavage
        named = key_id or keys.main_key_id(signer or self.id)
        return of_scheme.sign_request(method, url, body, key or self.rsa, named, self.clock())


def reply(document, content_type=ACTIVITY, **more):
    """Answer with a document under a content type."""
    return web.Response(
        body=json.dumps(document).encode(), headers={"Content-Type": content_type}, **more
    )
