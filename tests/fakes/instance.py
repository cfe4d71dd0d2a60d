"""Our own instance as tests run it: the real Federation over a real Store, on loopback.

The loops do not run by themselves; a test drives them (`settle` runs all until nothing is left
to do), so nothing depends on time. `start` and `stop` may be called again, as a restart is.
"""

from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from sqlalchemy import select

from cache.memory.record import pipeline_row
from cache.settings import PeerDefaults
from cache.storage.feed_tables import feed_rows, follows, signing_keys
from cache.storage.tables import images, verdicts
from cache.verdict import Basis, Feed
from federation import addresses
from federation.following.followers import list_followers
from federation.instance import Instance
from federation.origin import Origin
from federation.reading.pull import pull_all_soon
from federation.service import Federation
from federation.settings import FederationSettings, FeedSettings
from federation.signing import keys
from federation.signing.keystore import ensure_keys
from tests.fakes.peer import rsa_of
from tests.federation.samples import DESCRIPTION, RULES, picture
from tests.waiting import PATIENCE


class Ours:
    """One instance of ours; `settings` and `feed_settings` may be set before `start`."""

    def __init__(self, store, clock, state_dir, name="ours"):
        self.store = store
        self.clock = clock
        self.state_dir = state_dir
        self.port = unused_port()
        self.dice = 0.99  # under 1/32, a page of every run is looked at
        self.base = Origin(f"http://127.0.0.1:{self.port}")
        self.settings = FederationSettings(allow_private_addresses=True, fetch_seconds=PATIENCE)
        self.feed_settings = FeedSettings(seal_seconds=0, seal_flagged_seconds=0)
        store.write_now(_add_rsa, keys.to_der(rsa_of(name)))
        self.keys = store.write_now(ensure_keys, clock())

    def change(self, **changes):
        self.settings = self.settings.model_copy(update=changes)

    async def start(self):
        instance = Instance(self.base, self.keys, self.clock)
        self.federation = Federation(
            self.store,
            instance,
            self.settings,
            self.feed_settings,
            state_dir=self.state_dir,
            user_agent="test",
            rules=RULES,
        )
        self.federation.puller.dice = lambda: self.dice
        app = web.Application()
        app.add_routes(self.federation.routes())
        self.server = TestServer(app, port=self.port)
        await self.server.start_server()
        await self.federation.feeds.start()
        await self.store.write(pull_all_soon)
        return self

    async def stop(self):
        await self.federation.stop()
        await self.server.close()

    async def settle(self):
        """Let every loop run until none has anything left to do."""
        parts = self.federation
        while (
            await parts.announcer.run_once()
            + await parts.feeds.seal()
            + await parts.deliverer.run_once()
            + await parts.queue.run_once()
            + await parts.puller.run_once()
        ):
            pass

    def feed_id(self, feed=Feed.CLEAN):
        return addresses.feed_url(self.base, feed)

    # --- what tests do to it -----------------------------------------------------------------
    async def follow(self, peer, feed=Feed.CLEAN):
        """Follow a feed of the peer up to its Accept, and settle."""
        name = f"{addresses.FEED_NAMES[feed]}@127.0.0.1:{peer.port}"
        await self.federation.follow(name, PeerDefaults())
        await self.settle()
        sent = [one for one in peer.received if one["type"] == "Follow"][-1]
        assert await peer.accept(self, sent) == 202
        await self.settle()

    def add_row(self, name, feed=Feed.CLEAN, **changes):
        """Append an attestation to our feed, as `cache.feeds.publish` does; returns its row id."""
        return self.store.write_now(_add_row, picture(name), feed, self.clock(), changes)

    # --- what tests see of it ----------------------------------------------------------------
    def pictures(self):
        """Return the sha256 of every verdict held, with repeats."""
        query = select(images.c.sha256).join(verdicts, verdicts.c.image_id == images.c.id)
        return sorted(self.store.read_now(lambda conn: list(conn.execute(query).scalars())))

    def rows(self, table):
        return self.store.read_now(lambda conn: list(conn.execute(select(table))))

    def follow_row(self):
        return self.rows(follows)[0]

    def followers(self):
        return self.store.read_now(list_followers)


def _add_rsa(conn, private):
    conn.execute(signing_keys.insert().values(purpose="http", private=private, created=0))


def _add_row(conn, sha256, feed, now, changes):
    values = {
        "feed": int(feed),
        "op": 0,
        "sha256": sha256,
        "pipeline_id": pipeline_row(conn, DESCRIPTION),
        "basis": int(Basis.MODEL),
        "scores": '{"sexual":12}',
        "issued": now,
        "expires": now + 30 * 86_400,
        "added": now,
    }
    return conn.execute(feed_rows.insert().values(**(values | changes))).inserted_primary_key[0]


def pictures(*names):
    """Return the sha256 of made-up pictures, sorted."""
    return sorted(picture(name) for name in names)
