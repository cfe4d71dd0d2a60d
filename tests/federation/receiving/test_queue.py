"""Acting on what was received: side by side, each actor in order, and nothing lost by a kill."""

import asyncio
import json

import pytest

from cache.storage.feed_tables import followers, inbox
from federation.receiving.queue import ROWS_A_TURN
from federation.wire import activity, composing
from tests.fakes.instance import pictures
from tests.fakes.peer import reply


@pytest.fixture
async def followed(ours, peer):
    await ours.follow(peer)
    return ours


def undo_of(peer, follow):
    asked = activity.Follow(follow["id"], peer.id, follow["object"])
    return composing.build_undo(f"{peer.id}/undo/1", asked)


async def test_an_undo_does_not_overtake_its_follow(ours, peer, clock):
    """The actor cannot be asked when the Follow is acted on; its Undo waits for it."""
    follow, _ = await peer.follow(ours)
    await peer.send(ours, undo_of(peer, follow))
    queue, clock.now = ours.federation.queue, clock.now + 2 * 86_400
    ours.store.write_now(lambda conn: conn.exec_driver_sql("DELETE FROM remote_actors"))
    port = peer.port
    await peer.server.close()
    assert await queue.run_once() == 1
    assert [row.tries for row in ours.rows(inbox)] == [1, 0]
    await peer.start(port)
    clock.now += 700
    assert await queue.run_once() == 2
    assert [row.state for row in ours.rows(inbox)] == ["done", "done"]
    assert ours.rows(followers) == []


async def test_a_peer_that_cannot_be_asked_holds_up_nobody_else(ours, peer, third, clock):
    await peer.follow(ours)
    await third.follow(ours)
    clock.now += 2 * 86_400
    ours.store.write_now(lambda conn: conn.exec_driver_sql("DELETE FROM remote_actors"))
    await peer.server.close()
    await ours.federation.queue.run_once()
    assert [row.actor_id for row in ours.rows(followers)] == [third.id]
    assert [row.state for row in ours.rows(inbox)] == ["received", "done"]


async def test_more_rows_than_a_turn_are_all_acted_on(followed, peer):
    names = [str(number) for number in range(ROWS_A_TURN + 1)]
    for name in names:
        assert await peer.create(followed, peer.publish([peer.row(name)])) == 202
    assert await followed.federation.queue.run_once() == ROWS_A_TURN + 1
    assert followed.pictures() == pictures(*names)


async def test_a_kill_in_the_middle_loses_nothing_and_acts_on_nothing_twice(followed, peer):
    """Cut off at every step of the queue in turn, then started again."""
    names = [str(number) for number in range(5)]
    for name in names:
        await peer.create(followed, peer.publish([peer.row(name)]))
    for steps in range(40):
        running = asyncio.create_task(followed.federation.queue.run_once())
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await followed.stop()
        await followed.start()
    await followed.settle()
    assert followed.pictures() == pictures(*names)
    assert {row.state for row in followed.rows(inbox)} == {"done"}


async def test_after_so_many_tries_a_row_is_kept_as_failed(ours, peer, clock):
    await peer.follow(ours)
    ours.store.write_now(lambda conn: conn.exec_driver_sql("DELETE FROM remote_actors"))
    await peer.server.close()
    for _ in range(ours.settings.inbox_tries):
        assert [row.state for row in ours.rows(inbox)] == ["received"]
        clock.now += 50_000
        await ours.federation.queue.run_once()
    (row,) = ours.rows(inbox)
    assert (row.state, row.body) == ("failed", "")


async def test_ids_are_kept_for_a_week_and_no_longer(ours, peer, clock):
    await peer.follow(ours)
    await ours.settle()
    clock.now += ours.settings.inbox_keep_seconds
    await ours.federation.queue.tidy()
    assert len(ours.rows(inbox)) == 1
    clock.now += 1
    await ours.federation.queue.tidy()
    assert ours.rows(inbox) == []


async def test_so_many_ids_are_kept_and_the_oldest_go_first(ours, peer):
    await ours.stop()
    ours.change(inbox_kept_rows=2)
    await ours.start()
    follows = [(await peer.follow(ours))[0]["id"] for _ in range(3)]
    await ours.federation.queue.tidy()
    assert len(ours.rows(inbox)) == 3  # what was not acted on yet stays
    await ours.settle()
    await ours.federation.queue.tidy()
    assert [row.activity_id for row in ours.rows(inbox)] == follows[1:]


# --- who waits for ever ----------------------------------------------------------------------
async def asking(peer, ours, name):
    """Return an actor of the peer that asked to follow, and waits for the admin."""
    actor = f"{peer.base}/{name}"

    async def document(_request):
        return reply(json.loads(json.dumps(peer.document("actor")).replace(peer.id, actor)))

    peer.answers[f"/{name}"] = document
    follow = composing.build_follow(f"{actor}#follow", actor, ours.feed_id())
    assert await peer.send(ours, follow) == 202
    await ours.settle()
    return actor


def end_of(actor, number=0):
    return {"type": "Delete", "actor": actor, "object": actor, "id": f"{actor}#end-{number}"}


async def test_an_actor_that_says_again_that_it_ends_waits_once(ours, peer):
    actor = await asking(peer, ours, "a")
    assert [await peer.send(ours, end_of(actor, n)) for n in range(5)] == [202] * 5
    assert [row.kind for row in ours.rows(inbox) if row.state == "received"] == ["DeleteActor"]


async def test_strangers_that_wait_for_ever_leave_room_for_peers(ours, peer, third):
    """Followers that nobody approved filled the queue with what could not be acted on."""
    await ours.follow(third)
    actors = [await asking(peer, ours, name) for name in "abc"]
    await ours.stop()
    ours.change(inbox_rows=8)
    await ours.start()
    statuses = [await peer.send(ours, end_of(actor)) for actor in actors]
    assert statuses == [202, 202, 429]  # a quarter
    pages = [third.publish([third.row(name)]) for name in "abcdef"]
    assert [await third.create(ours, page) for page in pages] == [202] * 6


async def test_a_neighbour_cannot_use_up_the_id_of_what_a_feed_will_send(followed, peer):
    """Ids of pages can be told before; an actor of the same origin sent something else as that."""
    neighbour = await asking(peer, followed, "a")
    sent = composing.build_create(peer.publish([peer.row("a")]))
    other = {"id": sent["id"], "type": "Undo", "actor": neighbour, "object": f"{neighbour}/none"}
    assert [await peer.send(followed, one) for one in (other, sent)] == [202, 202]
    await followed.federation.queue.run_once()
    assert followed.pictures() == pictures("a")
