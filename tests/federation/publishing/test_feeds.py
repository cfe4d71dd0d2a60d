"""Our own feeds: when rows are sealed, what a page says, the note of heads, new epochs."""

import json

import pytest
from aiohttp import web

from cache.storage.feed_tables import deliveries, feed_epochs, feed_pages, feed_rows
from cache.verdict import Basis, Feed
from federation.actors.remote_actor import parse_actor
from federation.publishing import sealing
from federation.publishing.head import FeedHead, HeadFile
from federation.settings import FeedSettings
from federation.wire.page import digest, verify_page
from federation.wire.row import Attestation
from tests.fakes.instance import Ours
from tests.federation.publishing.feeding import actor_of


@pytest.fixture
async def alpha(store, clock, tmp_path):
    """An instance with small pages, on SQLite and on PostgreSQL in turn."""
    made = Ours(store, clock, tmp_path / "state")
    made.feed_settings = FeedSettings(seal_seconds=60, seal_flagged_seconds=10, page_rows=3)
    await made.start()
    yield made
    await made.stop()


def noted_head(ours):
    head = HeadFile(ours.state_dir).get("clean")
    assert head is not None
    return head


def counts(ours, feed=Feed.CLEAN):
    return [row.count for row in ours.rows(feed_pages) if row.feed == feed]


async def test_a_page_is_sealed_when_full_and_not_one_row_before(alpha):
    alpha.add_row("a")
    alpha.add_row("b")
    assert await alpha.federation.feeds.seal() == 0
    alpha.add_row("c")
    alpha.add_row("d")
    assert await alpha.federation.feeds.seal() == 1
    assert counts(alpha) == [3]


@pytest.mark.parametrize(
    ("feed", "op", "seconds"), [(Feed.CLEAN, 0, 60), (Feed.CLEAN, 1, 10), (Feed.FLAGGED, 0, 10)]
)
async def test_a_page_is_sealed_when_its_oldest_row_has_waited_long_enough(
    ours, clock, feed, op, seconds
):
    target = ours.add_row("target", feed)
    await ours.settle()
    await ours.stop()
    ours.feed_settings = FeedSettings(seal_seconds=60, seal_flagged_seconds=10)
    await ours.start()
    ours.add_row("a", feed, op=op, target_id=target if op else None)
    clock.now += seconds - 1
    assert await ours.federation.feeds.seal() == 0
    clock.now += 1
    assert await ours.federation.feeds.seal() == 1


async def test_pages_chain_and_rows_get_seqs_without_gaps(alpha, clock):
    for name in "abcdefg":
        alpha.add_row(name)
    clock.now += 60
    assert await alpha.federation.feeds.seal() == 3
    pages = [json.loads(row.document) for row in alpha.rows(feed_pages)]
    actor_id = alpha.feed_id()
    actor = parse_actor(
        json.loads(json.dumps(alpha.federation._instance.document("clean"))),
        actor_id,
        allow_http=True,
    )
    assert [verify_page(page, actor, clock.now).page.head.first_seq for page in pages] == [1, 4, 7]
    assert pages[1]["previousDigest"] == digest(pages[0])
    assert pages[2]["previousDigest"] == digest(pages[1])
    assert [row.seq for row in alpha.rows(feed_rows)] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_retraction_names_the_seq_or_the_epoch_and_seq_of_its_target(ours):
    target = ours.add_row("a")
    await ours.settle()
    ours.add_row("a", op=1, target_id=target)
    await ours.settle()
    await ours.stop()
    (ours.state_dir / "feed-head.json").unlink()
    await ours.start()
    ours.add_row("a", op=1, target_id=target)
    await ours.settle()
    rows = [json.loads(row.document)["rows"][0] for row in ours.rows(feed_pages)]
    first_epoch = ours.rows(feed_pages)[0].epoch
    assert [row[9] for row in rows if row[0] == 1 and row[9] == 1] == [1]
    assert [first_epoch, 1] in [row[9] for row in rows]


async def test_a_crash_while_sealing_leaves_no_trace_and_the_next_try_seals(
    ours, peer, monkeypatch
):
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.settle()
    ours.add_row("a")

    def crash(*_args):
        raise RuntimeError("killed")

    for where in ("_store", "_send", "enqueue_page"):
        with monkeypatch.context() as patched:
            patched.setattr(sealing, where, crash)
            with pytest.raises(RuntimeError):
                await ours.federation.feeds.seal()
        assert ours.rows(feed_pages) == []
        assert ours.rows(deliveries) == []
        assert ours.rows(feed_rows)[0].seq is None
    await ours.settle()
    assert len(ours.rows(feed_pages)) == 1
    assert [one["type"] for one in peer.received] == ["Accept", "Create"]


async def test_a_page_that_readers_would_find_too_large_takes_fewer_rows(ours, monkeypatch):
    names = "abcdefgh"
    for name in names:
        ours.add_row(name)
    await ours.federation.feeds.seal()
    room = sealing.ROOM_BYTES
    monkeypatch.setattr(sealing, "MAX_PAGE_BYTES", ours.rows(feed_pages)[0].size + room)
    for name in names:
        ours.add_row(name + name)
    ours.add_row("one more")
    await ours.federation.feeds.seal()
    assert counts(ours) == [8, 4, 5]
    seqs = [row.seq for row in ours.rows(feed_rows)]
    assert seqs == list(range(1, 18))


async def test_a_finding_whose_rule_is_gone_does_not_cost_its_page(ours, clock):
    ours.federation.feeds.rules = {}
    finding = {"basis": int(Basis.HUMAN), "rule": "old-rule", "finding": "upheld", "scores": None}
    ours.add_row("a", Feed.FLAGGED, **finding)
    await ours.federation.feeds.seal()
    page = json.loads(ours.rows(feed_pages)[0].document)
    verified = verify_page(page, actor_of(ours, Feed.FLAGGED), clock.now).page
    (row,) = verified.rows
    assert isinstance(row, Attestation)
    assert row.rule == "old-rule"
    assert verified.rules == {"old-rule": ""}


# --- heads and epochs ------------------------------------------------------------------------
def epochs(ours, feed=Feed.CLEAN):
    return [row for row in ours.rows(feed_epochs) if row.feed == feed]


async def restart(ours):
    await ours.stop()
    await ours.start()


async def test_a_restart_goes_on_in_the_same_epoch(ours):
    await restart(ours)  # before the first page
    ours.add_row("a")
    await ours.federation.feeds.seal()
    await restart(ours)  # sealed, but not noted yet: as after a kill -9
    await restart(ours)
    assert len(epochs(ours)) == 1


async def test_a_lost_note_begins_a_new_epoch_that_names_the_old_one(ours):
    ours.add_row("a")
    await ours.settle()
    (ours.state_dir / "feed-head.json").unlink()
    await restart(ours)
    old, new = epochs(ours)
    assert (new.previous_epoch, new.previous_page) == (old.epoch, 1)


async def test_an_unreadable_note_begins_a_new_epoch(ours):
    ours.add_row("a")
    await ours.settle()
    (ours.state_dir / "feed-head.json").write_text("[1")
    await restart(ours)
    assert len(epochs(ours)) == 2


@pytest.mark.parametrize("change", [{"page": 2}, {"digest": "zQmOther"}, {"epoch": "f" * 32}])
async def test_a_note_that_the_database_does_not_hold_begins_a_new_epoch(ours, change):
    ours.add_row("a")
    await ours.settle()
    await ours.federation.feeds.note_heads()
    noted = noted_head(ours)
    values = {"epoch": noted.epoch, "page": noted.page, "digest": noted.digest}
    await ours.stop()
    HeadFile(ours.state_dir).note("clean", FeedHead(**(values | change)))
    await ours.start()
    assert len(epochs(ours)) == 2
    assert len(epochs(ours, Feed.FLAGGED)) == 1


async def test_an_epoch_without_pages_is_not_named_by_the_next(ours):
    ours.add_row("a")
    await ours.settle()
    for _ in range(2):
        (ours.state_dir / "feed-head.json").unlink()
        await restart(ours)
    first, _, third = epochs(ours)
    assert (third.previous_epoch, third.previous_page) == (first.epoch, 1)


async def test_a_head_is_noted_before_a_page_is_first_delivered(ours, peer):
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    await ours.settle()
    noted = []

    async def look(request):
        noted.append(noted_head(ours).page)
        await request.read()
        return web.Response(status=202)

    peer.answers["/actor/inbox"] = look
    ours.add_row("a")
    await ours.settle()
    assert noted == [1]


def test_two_processes_keep_each_others_notes(tmp_path):
    first, second = HeadFile(tmp_path), HeadFile(tmp_path)
    clean, flagged = FeedHead("a" * 32, 1, "z1"), FeedHead("b" * 32, 2, "z2")
    first.note("clean", clean)
    second.note("flagged", flagged)
    second.note("clean", FeedHead("a" * 32, 0, ""))  # it is behind
    again = HeadFile(tmp_path)
    assert (again.get("clean"), again.get("flagged")) == (clean, flagged)


async def test_a_head_is_noted_before_a_page_is_first_told_of(ours, peer):
    ours.add_row("a")
    await ours.federation.feeds.seal()
    assert noted_head(ours).page == 0
    await peer.get(f"{ours.feed_id()}/outbox", sign=False)
    assert noted_head(ours).page == 1
