"""Peers dispute what we attest: who may, how often, and what comes of it."""

import secrets

import pytest
from sqlalchemy import select, update

from cache.storage.case_tables import case_pictures, cases
from cache.storage.feed_tables import feed_rows, inbox
from cache.storage.peer_tables import disputes
from cache.verdict import Feed
from federation.addresses import attestation_url
from federation.receiving.disputes import (
    KEPT_DAYS,
    KEPT_DAYS_UNANSWERED,
    SECONDS_PER_DAY,
    WAITING_DISPUTES,
    forget_disputes,
)
from federation.wire.activity import MAX_DISPUTE_BYTES, MAX_DISPUTED
from federation.wire.composing import build_flag
from tests.federation.samples import picture


def flag(peer, ours, *names, text="it is a comic", feed=Feed.CLEAN):
    activity_id = f"{peer.id}/disputes/{secrets.token_hex(8)}"
    return build_flag(activity_id, peer.id, ours.feed_id(feed), list(names), text)


def ids(ours, feed=Feed.CLEAN):
    """Return the ids of our attestations of a feed, in their order."""
    query = select(feed_rows).where(feed_rows.c.feed == int(feed)).order_by(feed_rows.c.id)
    rows = ours.store.read_now(lambda conn: conn.execute(query).all())
    return [attestation_url(ours.base, feed, row.epoch, row.seq) for row in rows]


async def publish(ours, *names, feed=Feed.CLEAN):
    for name in names:
        ours.add_row(name, feed)
    await ours.settle()
    return ids(ours, feed)


async def approve(ours, peer, feed=Feed.CLEAN):
    await peer.follow(ours, feed)
    await ours.settle()
    await ours.federation.approve(peer.id, feed)
    await ours.settle()


async def dispute(ours, peer, *names, **more):
    status = await peer.send(ours, flag(peer, ours, *names, **more))
    await ours.settle()
    return status


@pytest.fixture
async def follower(ours, peer):
    await approve(ours, peer)
    return peer


def change(ours, *statements):
    ours.store.write_now(lambda conn: [conn.execute(one) for one in statements])


async def test_a_dispute_of_an_approved_follower_brings_the_picture_before_a_person(ours, follower):
    [name] = await publish(ours, "a")
    assert await dispute(ours, follower, name) == 202
    [row], [case], [place] = ours.rows(disputes), ours.rows(cases), ours.rows(case_pictures)
    assert (row.sha256, row.text, row.origin) == (picture("a"), "it is a comic", follower.base)
    assert (row.case_id, row.is_ours, row.answered) == (case.id, 0, None)
    assert (case.state, case.reason) == ("open", f"{follower.base} disputes that we call it clean.")
    assert (place.decision, place.finding) == ("clean", None)
    assert case.recheck < 0  # the review adds rules and grounds


async def test_several_disputes_of_one_picture_are_one_case(ours, follower, third):
    await approve(ours, third)
    first, second = await publish(ours, "a", "b")
    for peer in (follower, third):
        assert await dispute(ours, peer, first) == 202
    assert await dispute(ours, follower, first, second) == 202
    assert len(ours.rows(disputes)) == 4
    by_picture = {(row.sha256, row.case_id) for row in ours.rows(disputes)}
    assert len(by_picture) == 2 == len(ours.rows(cases))


async def test_one_activity_counts_once_however_often_it_comes(ours, follower):
    [name] = await publish(ours, "a")
    sent = flag(follower, ours, name, name)
    assert [await follower.send(ours, sent) for _ in range(2)] == [202, 202]
    await ours.settle()
    assert len(ours.rows(disputes)) == 1


@pytest.mark.parametrize("state", ["stranger", "pending", "rejected", "other feed"])
async def test_nobody_but_an_approved_follower_of_that_very_feed_may_dispute(ours, peer, state):
    [name] = await publish(ours, "a")
    if state != "stranger":
        feed = Feed.FLAGGED if state == "other feed" else Feed.CLEAN
        await peer.follow(ours, feed)
        await ours.settle()
        if state == "rejected":
            await ours.federation.reject(peer.id, feed)
        if state == "other feed":
            await ours.federation.approve(peer.id, feed)
    assert await dispute(ours, peer, name) == (401 if state == "stranger" else 403)
    assert ours.rows(disputes) == [] == ours.rows(cases)


async def test_one_who_was_rejected_before_the_dispute_was_acted_on_is_not_heard(ours, follower):
    [name] = await publish(ours, "a")
    assert await follower.send(ours, flag(follower, ours, name)) == 202
    await ours.federation.reject(follower.id, Feed.CLEAN)
    await ours.settle()
    assert ours.rows(disputes) == [] == ours.rows(cases)


async def test_what_does_not_stand_there_is_answered_as_what_does(ours, follower, clock):
    """Else the answer would tell what is in the feed, under embargo, or gone."""
    gone, expired, stands = await publish(ours, "a", "b", "c")
    change(ours, update(feed_rows).where(feed_rows.c.sha256 == picture("a")).values(live=False))
    change(ours, update(feed_rows).where(feed_rows.c.sha256 == picture("b")).values(expires=1))
    made_up = attestation_url(ours.base, Feed.CLEAN, stands[-32:], 10**9)
    for name in (gone, expired, made_up):
        assert await dispute(ours, follower, name) == 202
    assert ours.rows(disputes) == [] == ours.rows(cases)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda name: name.replace("/clean/", "/other/"),
        lambda name: name.replace("?epoch=", "?Epoch="),
        lambda name: name.replace("/1?", "/01?"),
        lambda name: name.replace("/1?", "/%31?"),
        lambda name: name + "&x=1",
        lambda name: name + "#x",
        lambda name: name.upper(),
        lambda name: "https://elsewhere.example/attestations/clean/1?epoch=" + name[-32:],
        lambda name: "https://elsewhere.example/posts/1",
    ],
)
async def test_a_flag_of_something_else_costs_no_work(ours, follower, spoilt):
    [name] = await publish(ours, "a")
    before = len(ours.rows(inbox))
    assert await dispute(ours, follower, spoilt(name)) == 202
    assert len(ours.rows(inbox)) == before
    assert ours.rows(disputes) == []


async def test_a_peer_disputes_20_attestations_a_day_and_no_more(ours, follower, clock):
    names = await publish(ours, *(str(number) for number in range(22)))
    for name in names[:18]:
        assert await dispute(ours, follower, name) == 202
    assert await dispute(ours, follower, *names[18:21]) == 429  # three, where two are left
    assert await dispute(ours, follower, *names[18:20]) == 202
    assert await dispute(ours, follower, names[20]) == 429
    assert len(ours.rows(disputes)) == 20
    clock.now += SECONDS_PER_DAY
    assert await dispute(ours, follower, names[20]) == 202


async def test_a_limit_of_0_hears_nobody(ours, follower):
    ours.change(disputes_per_day=0)
    await ours.stop()
    await ours.start()
    [name] = await publish(ours, "a")
    sent = flag(follower, ours, name)
    assert await follower.send(ours, sent) == 429
    assert ours.federation.refusals["TooManyDisputes"] == 1


async def test_disputes_that_come_at_once_stay_within_the_limit(ours, follower):
    """They are counted once more where they are written, and Flags where they are received."""
    names = await publish(ours, *(str(number) for number in range(48)))
    for first in (0, 16, 32):
        named = names[first : first + MAX_DISPUTED]
        assert await follower.send(ours, flag(follower, ours, *named)) == 202
    await ours.settle()
    assert len(ours.rows(disputes)) == 20


async def test_flags_of_rows_that_are_not_there_are_limited_as_well(ours, follower):
    [name] = await publish(ours, "a")
    made_up = [name.replace("/1?", f"/{number}?") for number in range(100, 121)]
    answers = [await dispute(ours, follower, one) for one in made_up]
    assert answers == [202] * 20 + [429]
    assert await dispute(ours, follower, name) == 429


async def test_disputes_that_wait_are_bounded_in_all(ours, follower, clock):
    [name] = await publish(ours, "a")
    row = {
        "is_ours": 0, "origin": "https://b.example", "actor_id": "https://b.example/actor",
        "feed": 1, "epoch": "e", "sha256": b"", "text": "", "created": clock(),
    }  # fmt: skip
    rows = [row | {"activity_id": str(n), "seq": n} for n in range(WAITING_DISPUTES - 1)]
    ours.store.write_now(lambda conn: conn.execute(disputes.insert(), rows))
    assert await dispute(ours, follower, name) == 202
    assert await dispute(ours, follower, name) == 429


@pytest.mark.parametrize(
    ("size", "status"), [(MAX_DISPUTE_BYTES, 202), (MAX_DISPUTE_BYTES + 1, 400)]
)
async def test_the_text_has_2_kib_at_most(ours, follower, size, status):
    [name] = await publish(ours, "a")
    assert await dispute(ours, follower, name, text="x" * size) == status
    assert [len(row.text) for row in ours.rows(disputes)] == [size] * (status == 202)


@pytest.mark.parametrize(("number", "status"), [(MAX_DISPUTED, 202), (MAX_DISPUTED + 1, 400)])
async def test_a_flag_names_16_attestations_at_most(ours, follower, number, status):
    names = await publish(ours, *(str(one) for one in range(number)))
    assert await dispute(ours, follower, *names) == status
    assert len(ours.rows(disputes)) == (number if status == 202 else 0)


async def test_text_is_kept_without_control_characters(ours, follower):
    [name] = await publish(ours, "a")
    text = "<b>one</b>\r\ntwo\x1b[31m\x00 \u202ethree\u200b \u0085four"
    assert await dispute(ours, follower, name, text=text) == 202
    [row] = ours.rows(disputes)
    assert row.text == "<b>one</b> two [31m three four"  # markup is text like any other


async def test_a_case_under_embargo_answers_no_dispute_and_is_not_moved(ours, follower):
    [name] = await publish(ours, "a")
    assert await dispute(ours, follower, name) == 202
    change(ours, update(cases).values(state="escalated", embargo=True, reason="with the police"))
    assert await dispute(ours, follower, name) == 202
    [case] = ours.rows(cases)
    assert (case.state, case.reason) == ("escalated", "with the police")
    assert [row.answered for row in ours.rows(disputes)] == [None, None]


async def test_a_decided_case_is_reopened_and_what_was_found_stays(ours, follower):
    [name] = await publish(ours, "a")
    assert await dispute(ours, follower, name) == 202
    change(ours, update(cases).values(state="dismissed"))
    change(ours, update(case_pictures).values(finding="dismissed"))
    assert await dispute(ours, follower, name) == 202
    [case], [place] = ours.rows(cases), ours.rows(case_pictures)
    assert (case.state, place.finding) == ("reopened", "dismissed")


async def test_disputes_are_forgotten_once_they_are_over(ours, follower, clock):
    names = await publish(ours, "a", "b")
    for name in names:
        assert await dispute(ours, follower, name) == 202
    answered = disputes.c.sha256 == picture("a")
    change(ours, update(disputes).where(answered).values(answered=clock()))
    for days, left in ((KEPT_DAYS, 2), (KEPT_DAYS_UNANSWERED, 1)):
        now = clock() + days * SECONDS_PER_DAY
        ours.store.write_now(forget_disputes, now, 10)
        assert len(ours.rows(disputes)) == left
        ours.store.write_now(forget_disputes, now + 1, 10)
        assert len(ours.rows(disputes)) == left - 1
