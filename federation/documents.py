"""What our actors show to whoever asks, and pages and attestations for approved followers.

Decides who may read pages, snapshots and single attestations: an approved follower of that very
feed, by a signed GET. Everyone else gets `NotFound`, whether there is something or not, and nothing
is fetched for strangers but the actor of a follower in whose name they sign wrongly, once in
`key_refetch_seconds`: it may have a new key.
"""

from sqlalchemy import Connection, select

from cache.storage.database import Store
from cache.storage.feed_tables import followers
from cache.verdict import Feed
from federation import addresses
from federation.errors import FederationError, NotFound
from federation.following.followers import APPROVED, count_approved
from federation.instance import Instance
from federation.origin import Url, origin_of
from federation.outbound.blocking import Blocks
from federation.publishing.answering import Answers, Question
from federation.publishing.feeds import Feeds
from federation.publishing.library import Library, Reader, Served, takes_gzip
from federation.publishing.outboxes import Outboxes
from federation.signing.request import Request, headers_of
from federation.signing.sender import read_signed
from federation.signing.verifying import Verifier
from federation.wire import outbox
from federation.wire.strictjson import JsonObject


class Documents:
    """The documents of this instance; everything raises `NotFound` for what is not there."""

    def __init__(
        self,
        store: Store,
        instance: Instance,
        feeds: Feeds,
        verifier: Verifier,
        answers: Answers,
        library: Library,
        blocks: Blocks,
    ) -> None:
        self._store = store
        self._instance = instance
        self._feeds = feeds
        self._verifier = verifier
        self._answers = answers
        self._library = library
        self._outboxes = Outboxes(store, instance)
        self._blocks = blocks

    def actor(self, name: str) -> JsonObject:
        """Return an actor document, public."""
        _known(name)
        return self._instance.document(name)

    async def outbox(self, name: str) -> JsonObject:
        """Return an outbox, which counts pages and shows none; noted before it is told."""
        _known(name)
        head = None
        if name in addresses.FEEDS:
            head = await self._outboxes.head(addresses.FEEDS[name])
            await self._feeds.note_heads()
        return outbox.build_outbox(self._instance.id_of(name), head)

    async def followers(self, name: str) -> JsonObject:
        """Return a followers collection, which shows a count only."""
        _known(name)
        feed = addresses.FEEDS.get(name)
        count = await self._store.read(count_approved, feed) if feed else 0
        return outbox.build_followers(self._instance.id_of(name), count)

    async def page(self, request: Request, name: str, epoch: str, page: str) -> Served | Url:
        """Return a page, or pages `<first>-<last>` merged, or where these stand instead.

        For an approved follower of the feed alone, and so are `manifest` and `part`.
        """
        reader = await self._approved(request, name)
        found = await self._library.page(reader, epoch, page)
        await self._feeds.note_heads()
        return found

    async def manifest(self, request: Request, name: str) -> Served:
        """Return the signed manifest of the newest snapshot."""
        found = await self._library.manifest(await self._approved(request, name))
        await self._feeds.note_heads()
        return found

    async def part(self, request: Request, name: str, place: str, part: str) -> Served:
        """Return part `part` of the snapshot at `place`, `<epoch>-<page>`."""
        return await self._library.part(await self._approved(request, name), place, part)

    async def attestation(self, request: Request, name: str, question: Question) -> JsonObject:
        """Return what a feed says now of one picture, for an approved follower of it alone.

        Raises `TooManyQuestions` for one that asks too often.
        """
        reader = await self._approved(request, name)
        return await self._answers.answer(reader.feed, question, reader.actor_id)

    async def _approved(self, request: Request, name: str) -> Reader:
        """Return who asks; raises `NotFound` for all but approved followers of the feed."""
        feed = addresses.FEEDS.get(name)
        actor_id = None if feed is None else await self._reader(request, feed)
        if feed is None or actor_id is None:
            raise NotFound("no approved follower of this feed asks")
        encodings = headers_of(request, single=()).get("accept-encoding", "")
        return Reader(actor_id, feed, takes_gzip(encodings))

    async def _reader(self, request: Request, feed: Feed) -> Url | None:
        """Return which of the approved followers of the key's origin signed the request."""
        try:
            signed = read_signed(request, self._instance.clock())
            for origin in {*map(origin_of, signed.key_ids)}:
                await self._blocks.refuse(origin)
                for actor_id in await self._store.read(_approved, feed, origin):
                    if await self._signed(request, actor_id):
                        return actor_id
        except FederationError:
            return None
        return None

    async def _signed(self, request: Request, actor_id: Url) -> bool:
        try:
            await self._verifier.request_of(request, actor_id)
        except FederationError:
            return False
        return True


def _known(name: str) -> None:
    if name != addresses.INSTANCE_NAME and name not in addresses.FEEDS:
        raise NotFound("no actor of this instance is called so")


def _approved(conn: Connection, feed: Feed, origin: str) -> list[Url]:
    rows = select(followers.c.actor_id).where(
        followers.c.feed == int(feed),
        followers.c.origin == origin,
        followers.c.state == APPROVED,
    )
    return [Url(actor_id) for actor_id in conn.execute(rows).scalars()]
