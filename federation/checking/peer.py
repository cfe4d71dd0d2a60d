"""The doctor for a peer: looks at it step by step, as federation itself would, and changes nothing.

What rests on a step that failed is skipped. Every fetch is one of a fixed number; a peer cannot
make it more.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from cache.storage.database import Store
from federation.actors import nodeinfo
from federation.actors.remote_actor import RemoteActor
from federation.actors.webfinger import Handle, parse_handle, webfinger_url
from federation.addresses import page_url
from federation.checking import feed_judging, judging
from federation.checking.feed_judging import Known
from federation.checking.looking import Look, Looker, NoAnswer, is_there
from federation.checking.result import Check, Name, failed, ok, skipped
from federation.errors import BadHandle, FederationError
from federation.following.followers import list_followers
from federation.origin import Origin, Url, origin_of, parse_url
from federation.outbound.delivery_state import delivery_state
from federation.outbound.media import Kind
from federation.reading.states import feed_states
from federation.signing.identity import Scheme
from federation.wire.outbox import OutboxHead
from federation.wire.strictjson import JsonObject

SIGNED = (Scheme.CAVAGE, Scheme.RFC9421)
_OF_ACTOR = (Name.WEBFINGER_BACK, Name.CONTEXT, Name.KEYS, Name.SIGNATURE)
_REMOTE = (
    Name.REACHABLE,
    Name.NODEINFO,
    Name.HOST_META,
    Name.CLOCK,
    Name.WEBFINGER,
    Name.WEBFINGER_BACK,
    Name.ACTOR,
    Name.CONTEXT,
    Name.KEYS,
    Name.SIGNATURE,
    Name.OUTBOX,
    Name.PAGE,
    Name.CHAIN,
    Name.LAG,
)
_OF_FEED = (Name.OUTBOX, Name.PAGE, Name.CHAIN, Name.LAG)


class PeerDoctor:
    """Checks one peer."""

    def __init__(self, looker: Looker, store: Store) -> None:
        self._looker = looker
        self._store = store
        self._http = looker.settings.allow_private_addresses
        self._bytes = looker.settings.document_bytes
        self._looks: list[Look] = []

    async def check(self, name: str) -> list[Check]:
        """Check the peer that a handle or the URL of an actor names; raises `BadHandle`."""
        handle = await self._handle(name)
        if isinstance(handle, Check):
            ties = await self._ties(name)
            return [handle, *_skip(_REMOTE, "its actor cannot be read", but=[handle.name]), *ties]
        ties = await self._ties(str(handle))
        return [*await self._remote(handle), *ties]

    async def _remote(self, handle: Handle) -> list[Check]:
        """Check all that the peer itself shows."""
        found = await self._look(webfinger_url(handle), Kind.JRD)
        checks = [judging.judge_reachable(found)]
        if isinstance(found, NoAnswer):
            return [*checks, *_skip(_REMOTE, "it does not answer", but=[Name.REACHABLE])]
        document = judging.read_document(found, Kind.JRD, self._bytes)
        actor_id = judging.judge_webfinger(document, handle, http=self._http)
        checks += await self._host(handle.origin)
        if isinstance(actor_id, Check):
            why = "without WebFinger its actor is not known"
            return [*checks, actor_id, *_skip((Name.ACTOR, *_OF_ACTOR, *_OF_FEED), why)]
        checks.append(ok(Name.WEBFINGER, f"{handle} is {actor_id}"))
        return [*checks, *await self._actor(actor_id, handle)]

    async def _handle(self, name: str) -> Handle | Check:
        """Return the handle to look at, which the actor says itself where its URL is given."""
        if not name.startswith(("https://", "http://")):
            return parse_handle(name, allow_http=self._http)
        try:
            url = parse_url(name, allow_http=self._http)
        except FederationError as error:
            raise BadHandle(str(error)) from error
        look = await self._look(url, Kind.ACTIVITY, Scheme.CAVAGE)
        if isinstance(look, NoAnswer):
            return judging.judge_reachable(look)
        document = judging.read_document(look, Kind.ACTIVITY, self._bytes)
        actor = judging.judge_actor(document, url, http=self._http)
        if isinstance(actor, Check):
            return actor
        if actor.name is None:
            todo = "Without preferredUsername it has no handle."
            return failed(Name.ACTOR, f"{actor.id} has no preferredUsername", todo)
        return Handle(actor.name, actor.origin)

    async def _host(self, origin: Origin) -> list[Check]:
        """Check what the host shows beside its actors."""
        links = await self._look(Url(f"{origin}/.well-known/nodeinfo"), Kind.NODEINFO)
        told = judging.read_document(links, Kind.NODEINFO, self._bytes)
        href = _nodeinfo_url(told, origin, http=self._http)
        document = None
        if href is not None:
            look = await self._look(href, Kind.NODEINFO)
            document = judging.read_document(look, Kind.NODEINFO, self._bytes)
        host_meta = await self._look(Url(f"{origin}/.well-known/host-meta"), Kind.NODEINFO)
        return [
            judging.judge_nodeinfo(told, document, Url(origin), http=self._http),
            judging.judge_host_meta(host_meta),
            judging.judge_clock(self._looks, self._looker.clock()),
        ]

    async def _actor(self, actor_id: Url, handle: Handle) -> list[Check]:
        """Check the actor, and its feed where it is one."""
        signed = {s: await self._look(actor_id, Kind.ACTIVITY, s) for s in SIGNED}
        unsigned = await self._look(actor_id, Kind.ACTIVITY)
        best = next((one for one in signed.values() if is_there(one)), signed[Scheme.CAVAGE])
        document = judging.read_document(best, Kind.ACTIVITY, self._bytes)
        actor = judging.judge_actor(document, actor_id, http=self._http)
        signature = feed_judging.judge_signature(unsigned, signed)
        if isinstance(document, str) or isinstance(actor, Check):
            names = [name for name in (*_OF_ACTOR, *_OF_FEED) if name is not Name.SIGNATURE]
            bad = [actor] if isinstance(actor, Check) else []
            return [*bad, signature, *_skip(names, "its actor cannot be read")]
        scheme = next((s for s, one in signed.items() if one is best), Scheme.CAVAGE)
        return [
            judging.judge_webfinger_back(actor, handle),
            judging.judge_content_type(best),
            judging.judge_context(document),
            judging.judge_keys(actor, self._looker.clock()),
            signature,
            *await self._feed(actor, scheme),
        ]

    async def _feed(self, actor: RemoteActor, scheme: Scheme) -> list[Check]:
        known = await self._store.read(_known, actor.id, self._looker.clock())
        if actor.feed is None or actor.outbox is None:
            return _skip(_OF_FEED, "it is not the feed of a Fediverdict")
        look = await self._look(actor.outbox, Kind.ACTIVITY, scheme)
        document = judging.read_document(look, Kind.ACTIVITY, self._bytes)
        outbox, head = feed_judging.judge_outbox(document, actor)
        now = self._looker.clock()
        lag = feed_judging.judge_lag(known, head, now)
        return [outbox, *await self._pages(actor, head, known, scheme), lag]

    async def _ties(self, name: str) -> list[Check]:
        """Check what binds us to the peer, as our database knows it."""
        known = await self._store.read(_known, name, self._looker.clock())
        return [
            feed_judging.judge_following(known),
            feed_judging.judge_follower(known),
            feed_judging.judge_delivery(known),
        ]

    async def _pages(
        self, actor: RemoteActor, head: OutboxHead | None, known: Known, scheme: Scheme
    ) -> list[Check]:
        if head is None:
            return _skip((Name.PAGE, Name.CHAIN), "there is no page yet")
        url = page_url(actor.id, head.epoch, head.last_page)
        look = await self._looker.page(url, scheme)
        now = self._looker.clock()
        page, verified = feed_judging.judge_page(look, actor, head, known, now)
        if verified is None:
            return [page, skipped(Name.CHAIN, "no page could be verified")]
        if head.last_page == head.first_page:
            return [page, ok(Name.CHAIN, f"page {head.last_page} is the first one")]
        before = page_url(actor.id, head.epoch, head.last_page - 1)
        look = await self._looker.page(before, scheme)
        return [page, feed_judging.judge_chain(verified, look, actor, now)]

    async def _look(self, url: Url, kind: Kind, scheme: Scheme | None = None) -> Look:
        look = await self._looker.get(url, kind, scheme)
        self._looks.append(look)
        return look


def _skip(names: Iterable[Name], why: str, but: Sequence[Name] = ()) -> list[Check]:
    return [skipped(name, why) for name in names if name not in but]


def _nodeinfo_url(document: JsonObject | str, origin: Origin, *, http: bool) -> Url | None:
    """Return where NodeInfo is on the host itself; a link that leads elsewhere is not asked."""
    if isinstance(document, str):
        return None
    try:
        return nodeinfo.parse_links(document, origin, allow_http=http).nodeinfo
    except FederationError:
        return None


def _known(conn: Connection, name: str, now: int) -> Known:
    """Return what is known here of the feed with a handle or actor id, and of its host."""
    feeds = (one for one in feed_states(conn, now) if name in (one.actor_id, one.handle))
    origin = _origin(name)
    return Known(next(feeds, None), list_followers(conn, origin), delivery_state(conn, origin))


def _origin(name: str) -> Origin:
    url = name if "://" in name else parse_handle(name, allow_http=True).origin
    return origin_of(parse_url(url, allow_http=True))
