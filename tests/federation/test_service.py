"""The loops as `serve` runs them: they work by themselves, stop cleanly, go on after faults."""

import asyncio

import pytest

from cache.settings import PeerDefaults
from cache.storage.feed_tables import signing_keys
from cache.verdict import Feed
from federation.signing.keystore import ensure_keys
from tests.fakes.instance import Ours, pictures
from tests.waiting import until


@pytest.fixture
async def running(ours):
    """Our instance with its loops running, polling fast."""
    await ours.stop()
    ours.change(poll_seconds=0.01)
    await ours.start()
    await ours.federation.start()
    return ours


async def test_the_loops_carry_a_follow_and_a_page_by_themselves(running, peer):
    await running.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
    await until(lambda: peer.received)
    peer.publish([peer.row("a")])
    assert await peer.accept(running, peer.received[0]) == 202
    await until(lambda: running.pictures() == pictures("a"))
    await peer.follow(running)
    await until(running.followers)
    await running.federation.approve(peer.id, Feed.CLEAN)
    running.add_row("b")
    await until(lambda: [one["type"] for one in peer.received[1:]] == ["Accept", "Create"])


async def test_stopping_leaves_no_task_behind(running):
    before = {task for task in asyncio.all_tasks() if task.get_name() in {"seal", "pull", "act"}}
    assert len(before) == 3
    await running.federation.stop()
    assert all(task.done() for task in before)


async def test_a_fault_in_a_loop_does_not_end_it(running, peer, monkeypatch):
    calls = []

    async def broken(*_args):
        calls.append(1)
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(type(running.federation.feeds), "_seal_next", broken)
        await until(lambda: len(calls) > 2)
    running.add_row("a")
    await peer.follow(running)
    await until(running.followers)


async def test_keys_are_made_once(sqlite_store, clock):
    first = sqlite_store.write_now(ensure_keys, clock())
    again = sqlite_store.write_now(ensure_keys, clock())
    assert first.http.private_numbers() == again.http.private_numbers()
    for feed in (Feed.CLEAN, Feed.FLAGGED):
        assert first.proof[feed].private_bytes_raw() == again.proof[feed].private_bytes_raw()


async def test_a_retired_key_stays_shown_and_a_new_one_signs(sqlite_store, clock, tmp_path):
    ours = Ours(sqlite_store, clock, tmp_path)
    retired = signing_keys.update().where(signing_keys.c.purpose == "clean")
    sqlite_store.write_now(lambda conn: conn.execute(retired.values(expires=clock())))
    renewed = sqlite_store.write_now(ensure_keys, clock())
    assert [key.expires for key in renewed.shown[Feed.CLEAN]] == [None, clock()]
    old, new = ours.keys.proof[Feed.CLEAN], renewed.proof[Feed.CLEAN]
    assert old.private_bytes_raw() != new.private_bytes_raw()
