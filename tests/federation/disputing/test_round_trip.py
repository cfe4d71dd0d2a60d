"""Two instances of ours: one disputes, a person of the other agrees, and the row goes."""

import shutil

import pytest
from sqlalchemy import update

from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.storage.feed_tables import feed_rows
from cache.storage.peer_tables import disputes
from cache.verdict import Basis, Feed
from federation.disputing.listing import list_disputes
from federation.disputing.sending import Target, followed_actor, held_of_picture, send_dispute
from tests.fakes.instance import Ours
from tests.federation.samples import picture


@pytest.fixture
async def theirs(_sqlite_template, tmp_path, clock):
    """Another instance of ours, which publishes."""
    path = tmp_path / "theirs.sqlite3"
    shutil.copy(_sqlite_template, path)
    store = Store.open(f"sqlite:///{path}")
    started = await Ours(store, clock, tmp_path / "theirs", name="theirs").start()
    yield started
    await started.stop()
    store.close()


async def settle(*instances):
    """Let both do what there is to do, until what one sends makes no work for the other."""
    for _ in range(3):
        for one in instances:
            await one.settle()


def states(ours):
    found = ours.store.read_now(list_disputes, ours.federation._instance, 10)
    return [(one.is_ours, one.state.value) for one in found]


async def test_a_dispute_crosses_and_its_row_is_retracted_once_a_person_agrees(ours, theirs, clock):
    await ours.federation.follow(theirs.feed_id(Feed.FLAGGED), PeerDefaults())
    await settle(ours, theirs)
    await theirs.federation.approve(f"{ours.base}/actor", Feed.FLAGGED)
    row_id = theirs.add_row("a comic", Feed.FLAGGED, pdq=bytes(32), pdq_quality=80)
    await settle(theirs, ours)
    assert ours.pictures() == [picture("a comic")]

    read = ours.store.read_now
    actor_id = read(followed_actor, theirs.base, Feed.FLAGGED)
    rows = read(held_of_picture, theirs.base, picture("a comic"))
    target = Target(theirs.base, actor_id, (await ours.federation.actors.get(actor_id)).inbox)
    ours.store.write_now(
        send_dispute, ours.federation._instance, ours.settings, target, rows, "a comic"
    )
    assert states(ours) == [(True, "open")]
    await settle(ours, theirs)
    [received] = theirs.rows(disputes)
    assert (received.origin, received.sha256, received.text) == (
        ours.base, picture("a comic"), "a comic",
    )  # fmt: skip
    assert states(theirs) == [(False, "open")]

    theirs.store.write_now(_retract, row_id, clock())
    await settle(theirs, ours)
    assert ours.pictures() == []
    assert states(ours) == [(True, "withdrawn")]


def _retract(conn, row_id, now):
    """Append the retraction, as `cache.feeds.statements` does."""
    conn.execute(update(feed_rows).where(feed_rows.c.id == row_id).values(live=False))
    conn.execute(
        feed_rows.insert().values(
            feed=int(Feed.FLAGGED), op=1, sha256=picture("a comic"), basis=int(Basis.MODEL),
            issued=now, expires=now + 86_400, target_id=row_id, live=False, added=now,
        )
    )  # fmt: skip
