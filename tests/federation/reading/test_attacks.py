"""Hostile issuers and thieves: what they sign is not believed further, and no honest one pays."""

import copy
import dataclasses
import json

import pytest
from aiohttp import web

from cache.storage.feed_tables import (
    early_retractions,
    follow_snapshots,
    follows,
    remote_actors,
)
from cache.storage.peer_tables import evidence
from cache.storage.tables import verdicts
from federation.reading.heads import batched
from federation.reading.revoking import withdraw_revoked
from federation.reading.stories import resume
from federation.signing import keys
from federation.wire import composing
from federation.wire.composing import INLINE_BYTES
from federation.wire.row import Retraction
from tests.fakes.instance import Ours, pictures
from tests.federation.reading.feeds import (
    CLEAN,
    head_of,
    key_of,
    merge,
    other_story,
    pages_of,
    path_of,
    resigned,
    show,
    snapshot,
)


@pytest.fixture
async def any_ours(store, clock, tmp_path):
    """Ours on SQLite and on PostgreSQL, whose columns end sooner."""
    started = await Ours(store, clock, tmp_path / "state").start()
    yield started
    await started.stop()


async def pull(ours):
    ours.clock.now += 50_000
    await ours.settle()


async def revoke(ours, peer, revoked_from):
    """Let the actor say that its key counts no more; it signs with a new one from now on."""
    actor = await ours.federation.actors.get(peer.feed_id())
    _, key_id = key_of(peer)
    key = dataclasses.replace(actor.proof_keys[key_id], revoked=1, revoked_from=revoked_from)
    changed = dataclasses.replace(actor, proof_keys={key_id: key})
    return ours.store.write_now(withdraw_revoked, changed)


async def half_a_snapshot(ours, peer, status):
    """A newcomer has read the first of three parts; the second answers with a status."""
    ours.change(snapshot_pages=2)
    await ours.stop()
    await ours.start()
    epoch = peer.epochs[CLEAN]
    for name in "abcdef":
        peer.publish([peer.row(name)])
    live = [((epoch, seq), peer.row(name)) for seq, name in enumerate("abcde", 1)]
    _, parts = snapshot(peer, 5, live)
    show(peer, has_snapshot=True)

    async def answer(_request):
        return web.Response(status=status)

    path = path_of(peer, parts[1]["id"])
    peer.answers[path] = answer
    await ours.follow(peer)
    assert ours.pictures() == pictures("a", "b")
    del peer.answers[path]
    return live


# --- a stolen key ----------------------------------------------------------------------------
@pytest.mark.parametrize("status", [503, 404])
async def test_half_a_snapshot_under_a_stolen_key_goes_and_the_next_one_is_read(ours, peer, status):
    """No page is here that would tell of the key; 404 gives the snapshot up, 503 does not."""
    live = await half_a_snapshot(ours, peer, status)
    await revoke(ours, peer, (peer.epochs[CLEAN], 3))
    assert ours.pictures() == []
    assert ours.rows(follow_snapshots) == []
    peer.proof[CLEAN] = keys.generate_ed25519()
    pages_of(peer)[5] = resigned(peer, pages_of(peer)[5])
    snapshot(peer, 5, live)
    ours.clock.now += 50_000
    await ours.settle()
    assert ours.pictures() == pictures(*"abcdef")


@pytest.mark.parametrize("status", [503, 404])
async def test_half_a_snapshot_under_a_key_that_counts_for_it_stays(ours, peer, status):
    await half_a_snapshot(ours, peer, status)
    await revoke(ours, peer, (peer.epochs[CLEAN], 6))
    assert ours.pictures() == pictures("a", "b")


async def test_a_thief_accuses_nobody_by_old_heads_under_a_revoked_key(ours, peer, third, clock):
    await ours.follow(peer)
    for name in "abc":
        peer.publish([peer.row(name)])
    show(peer)
    await pull(ours)
    await third.follow(ours)
    await ours.settle()
    await ours.federation.approve(third.id, CLEAN)
    await ours.follow(third)
    stolen = head_of(peer, other_story(peer, pages_of(peer)[0]))
    ours.store.write_now(_revoke_known, peer)
    told = composing.build_heads(f"{third.id}/heads/1", third.id, [stolen])
    assert await third.send(ours, told) == 202
    await ours.settle()
    assert ours.rows(evidence) == []
    assert ours.pictures() == pictures(*"abc")


def _revoke_known(conn, peer):
    row = conn.execute(
        remote_actors.select().where(remote_actors.c.actor_id == peer.feed_id())
    ).one()
    document = json.loads(row.document)
    method = document["assertionMethod"][0]
    method["revoked"] = "2020-01-01T00:00:00Z"
    method["revokedFrom"] = {"epoch": peer.epochs[CLEAN], "page": 3}
    conn.execute(
        remote_actors.update()
        .where(remote_actors.c.id == row.id)
        .values(document=json.dumps(document))
    )


async def test_half_a_snapshot_under_a_key_that_is_listed_no_more_is_read_anew(ours, peer, clock):
    live = await half_a_snapshot(ours, peer, 503)
    peer.proof[CLEAN] = keys.generate_ed25519()
    pages_of(peer)[5] = resigned(peer, pages_of(peer)[5])
    snapshot(peer, 5, live[1:])
    ours.clock.now += 200_000
    await ours.settle()
    await pull(ours)
    assert ours.pictures() == pictures(*"bcdef")


# --- numbers ---------------------------------------------------------------------------------
@pytest.mark.parametrize("page", [2**31, 2**53 - 1])
async def test_an_outbox_with_a_number_past_the_column_is_an_error_like_another(
    any_ours, peer, third, page
):
    await any_ours.follow(third)
    peer.publish([peer.row("a")])
    show(peer, last_page=page)
    await any_ours.follow(peer)
    third.publish([third.row("b")])
    await pull(any_ours)
    errors = {row.actor_id: row.error for row in any_ours.rows(follows)}
    assert errors[third.feed_id()] is None
    assert errors[peer.feed_id()] is not None
    assert any_ours.pictures()[-1:] == pictures("b") or pictures("b")[0] in any_ours.pictures()


@pytest.mark.parametrize("page", [2**31, 2**53 - 1])
async def test_a_head_with_a_number_past_the_column_is_refused(any_ours, peer, page):
    peer.publish([peer.row("a")])
    far = head_of(peer, pages_of(peer)[0])
    number = {"page": page, "id": far["id"].replace("/heads/1", f"/heads/{page}")}
    far = resigned(peer, far | number)
    show(peer, signed_head=far)
    await any_ours.follow(peer)
    assert any_ours.follow_row().error is not None


# --- forks -----------------------------------------------------------------------------------
async def test_a_page_that_follows_another_story_of_the_last_one_is_evidence(ours, peer):
    """Page 3 names, signed, another page 2 than the one that was signed and read."""
    for name in "ab":
        peer.publish([peer.row(name)])
    await ours.follow(peer)
    assert ours.pictures() == pictures("a", "b")
    pages_of(peer)[1] = other_story(peer, pages_of(peer)[1])
    peer.publish([peer.row("c")])
    await pull(ours)
    (row,) = ours.rows(evidence)
    assert (row.epoch, row.page) == (peer.epochs[CLEAN], 2)
    assert ours.follow_row().halted is not None


async def test_merged_pages_that_follow_another_story_of_the_last_one_are_evidence(ours, peer):
    for name in "ab":
        peer.publish([peer.row(name)])
    await ours.follow(peer)
    pages_of(peer)[1] = other_story(peer, pages_of(peer)[1])
    for name in "cd":
        peer.publish([peer.row(name)])
    merge(peer, 3, 4)
    show(peer, merged_through=4)
    await pull(ours)
    assert [row.page for row in ours.rows(evidence)] == [2]


async def merged_otherwise(ours, peer):
    """Merged pages with other rows than the pages have whose digests they list."""
    for name in "abcd":
        peer.publish([peer.row(name)])
    run = merge(peer, 1, 4)
    rows = copy.deepcopy(run["rows"])
    for row in rows:
        row[run["columns"].index("scores")] = [0]
    peer.documents[path_of(peer, run["id"])] = resigned(peer, run, rows=rows)
    show(peer, merged_through=4)


async def test_other_rows_among_merged_pages_than_in_their_pages_are_found_and_evidence(ours, peer):
    ours.dice = 0.01
    await merged_otherwise(ours, peer)
    await ours.follow(peer)
    (row,) = ours.rows(evidence)
    assert row.page == 1
    assert json.loads(row.first)["type"][1] == "MergedPages"
    assert ours.pictures() == []
    assert ours.follow_row().halted is not None


async def test_whoever_answers_a_look_with_a_page_to_fit_the_rows_is_found_too(ours, peer):
    ours.dice = 0.01
    await merged_otherwise(ours, peer)
    (page,) = pages_of(peer)[:1]
    rows = copy.deepcopy(page["rows"])
    rows[0][page["columns"].index("scores")] = [0]
    pages_of(peer)[0] = resigned(peer, page, rows=rows)
    await ours.follow(peer)
    assert [row.page for row in ours.rows(evidence)] == [1]


async def test_merged_pages_of_which_one_is_not_there_are_not_taken(ours, peer):
    peer.publish([peer.row("a")])
    await ours.follow(peer)
    for name in "bcd":
        peer.publish([peer.row(name)])
    merge(peer, 2, 4)
    show(peer, merged_through=4)
    del pages_of(peer)[1:]
    ours.dice = 0.01
    await pull(ours)
    assert ours.pictures() == pictures("a")
    assert "page 2, which is not there" in ours.follow_row().error


async def test_true_merged_pages_are_looked_at_and_taken(ours, peer):
    ours.dice = 0.01
    epoch = peer.epochs[CLEAN]
    peer.publish([peer.row("a")])
    peer.publish([Retraction(epoch, 1), peer.row("b", scores={"gore": 7, "sexual": None})])
    peer.publish([peer.row("c", scores={})])
    merge(peer, 1, 3)
    show(peer, merged_through=3)
    await ours.follow(peer)
    assert ours.rows(evidence) == []
    assert ours.pictures() == pictures("b", "c")


async def test_a_page_told_otherwise_while_the_snapshot_was_read_is_evidence(ours, peer):
    await half_a_snapshot(ours, peer, 503)
    other = other_story(peer, pages_of(peer)[4])
    assert await peer.create(ours, other) == 202
    await pull(ours)
    assert [row.page for row in ours.rows(evidence)] == [5]
    assert ours.follow_row().halted is not None


def test_a_head_that_its_issuer_padded_is_told_to_nobody():
    heads = [{"id": "x"}, {"id": "x" * INLINE_BYTES}, {"id": "y"}]
    assert list(batched(heads)) == [[heads[0], heads[2]]]


async def test_a_second_story_that_is_pushed_is_found_by_the_pull(ours, peer):
    """It has the id of the first, and the inbox takes an activity once."""
    await ours.follow(peer)
    page = peer.publish([peer.row("a")])
    assert await peer.create(ours, page) == 202
    await ours.settle()
    pages_of(peer)[0] = other_story(peer, page)
    assert await peer.create(ours, pages_of(peer)[0]) == 202
    await ours.settle()
    assert ours.rows(evidence) == []
    await pull(ours)
    assert [row.page for row in ours.rows(evidence)] == [1]


async def test_what_an_admin_let_rest_is_not_found_again_among_merged_pages(ours, peer):
    ours.dice = 0.01
    await merged_otherwise(ours, peer)
    await ours.follow(peer)
    follow = ours.follow_row()
    assert follow.halted is not None
    ours.store.write_now(resume, follow.id, ours.clock())
    await pull(ours)
    assert ours.follow_row().halted is None
    assert ours.pictures() == pictures(*"abcd")


# --- what followers hold ---------------------------------------------------------------------
@pytest.mark.parametrize("is_merged", [False, True])
async def test_what_is_said_with_an_earlier_time_after_a_retraction_stands(ours, peer, is_merged):
    """The clock of the issuer went back: the new row is older than the one that it took back."""
    epoch = peer.epochs[CLEAN]
    peer.publish([peer.row("a")])
    await ours.follow(peer)
    earlier = peer.clock() - 5 * 86_400
    peer.publish([Retraction(epoch, 1)])
    peer.publish([peer.row("a", issued=earlier)])
    if is_merged:
        merge(peer, 2, 3)
    show(peer, merged_through=3 if is_merged else 0)
    await pull(ours)
    assert [row.seq for row in ours.rows(verdicts)] == [3]


async def test_what_is_said_with_an_earlier_time_in_the_page_of_its_retraction_stands(ours, peer):
    peer.publish([peer.row("a")])
    await ours.follow(peer)
    earlier = peer.clock() - 5 * 86_400
    peer.publish([Retraction(peer.epochs[CLEAN], 1), peer.row("a", issued=earlier)])
    await pull(ours)
    assert [row.seq for row in ours.rows(verdicts)] == [3]


# --- snapshots -------------------------------------------------------------------------------
async def test_a_part_that_was_made_anew_under_its_name_does_not_stop_reading_for_good(ours, peer):
    """The feed made a snapshot of the same page again, as after the theft of a key."""
    live = await half_a_snapshot(ours, peer, 503)
    snapshot(peer, 5, [*live[:2], *live[3:]])
    await pull(ours)
    await pull(ours)
    assert ours.pictures() == pictures(*"abdef")


async def test_what_a_snapshot_replaces_is_not_remembered_as_still_to_come(ours, peer):
    epoch = peer.epochs[CLEAN]
    peer.publish([peer.row("a")])
    await ours.follow(peer)
    for name in "abc":
        peer.publish([peer.row(name)])
    snapshot(peer, 3, [((epoch, 2), peer.row("a")), ((epoch, 3), peer.row("b"))])
    show(peer, first_page=3, has_snapshot=True)
    await pull(ours)
    assert ours.pictures() == pictures(*"abc")
    assert ours.rows(early_retractions) == []
