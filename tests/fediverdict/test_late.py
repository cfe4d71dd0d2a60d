"""`decide.fast_clean`: a peer's clean is answered first; what it let pass is found afterwards."""

import asyncio
import time

import pytest
from sqlalchemy import select

from cache.memory.record import image_row
from cache.memory.sightings import Sighting, record_sightings, source_row
from cache.storage.case_tables import case_pictures, cases
from cache.storage.tables import images
from cache.trust.notices import unread
from cache.verdict import Decision
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.late import LATE_SECONDS, Late
from fediverdict.reviewing import build_reviewer
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner
from tests.fediverdict.peers import PEER, paged, trust_peer, verdict
from tests.fediverdict.test_judge import GREEN, RED, jpeg, png

PICTURE = png(GREEN, 1)


@pytest.fixture
async def make(store):
    made = []

    def one(**decide):
        values = {"trust": {"audit": "off"}, "decide": {"fast_clean": True} | decide}
        config = Config.model_validate(values)
        judgements = Judgements(config, load_policy("test"))
        pool = DecodePool(config.scanner, Limits())
        made.append(Judge(store, judgements, pool, FakeScanner()))
        return made[-1]

    yield one
    for judge in made:
        judge.close()


@pytest.fixture
async def judge(make, store):
    """A judge whose pipeline is known, and who trusts a peer."""
    trust_peer(store)
    one = make()
    await one.judge(png(GREEN, 99))
    return one


def fingerprinted(store, data):
    found = select(images.c.fingerprinted).where(images.c.sha256 == sha256_of(data))
    return bool(store.read_now(lambda c: c.execute(found).scalar()))


def sight(connection, sha256):
    """Let the picture lie in a source."""
    source_id = source_row(connection, name="folder", kind="folder", location="/srv")
    met = Sighting(source_id, "a.jpg", 9, "mark", sha256, "judged", 1)
    record_sightings(connection, [met], [image_row(connection, sha256, now=1)])


async def matched(judge):
    """Wait until nothing is left to match."""
    while judge._late._tasks:
        await asyncio.wait(judge._late._tasks)


async def test_a_peer_s_exact_clean_is_answered_without_decoding_and_matched_afterwards(
    judge, store, monkeypatch
):
    paged(store, trust_peer(store), verdict(PICTURE, seq=1))
    pool_open, judge._open = judge._open, None
    answer = await judge.judge(PICTURE, hasty=True)
    assert (answer.decision, answer.outcome.reason) == (Decision.CLEAN, "peers-clear")
    assert answer.outcome.matches[0].verdict.issuer == PEER
    assert not fingerprinted(store, PICTURE)
    judge._open = pool_open
    await matched(judge)
    assert fingerprinted(store, PICTURE)
    assert store.read_now(unread) == []


async def test_who_is_not_hasty_has_it_matched_first(judge, store):
    paged(store, trust_peer(store), verdict(PICTURE, seq=1))
    assert (await judge.judge(PICTURE)).decision is Decision.CLEAN
    assert fingerprinted(store, PICTURE)


async def test_a_near_copy_of_what_is_flagged_here_is_found_afterwards_and_becomes_a_case(
    judge, store, tmp_path
):
    original = png(RED, 5)
    await judge.judge(original)
    copy = jpeg(original)
    paged(store, trust_peer(store), verdict(copy, seq=1))
    assert (await judge.judge(copy, hasty=True)).decision is Decision.CLEAN
    await matched(judge)
    assert (await judge.judge(copy, hasty=True)).decision is Decision.REVIEW
    [notice] = store.read_now(unread)
    assert notice.kind == "answered-too-soon"
    assert sha256_of(copy).hex() in notice.text
    store.write_now(sight, sha256_of(copy))
    config = judge.judgements.config
    folder = config.instance.model_copy(update={"state_dir": tmp_path})
    await build_reviewer(config.model_copy(update={"instance": folder}), judge).drain()
    shown = (
        select(images.c.sha256)
        .join(case_pictures, case_pictures.c.image_id == images.c.id)
        .join(cases, cases.c.id == case_pictures.c.case_id)
        .where(cases.c.state == "open")
    )
    opened = store.read_now(lambda c: c.execute(shown).scalars().all())
    assert sha256_of(copy) in opened


async def test_what_does_not_decode_is_told_and_undecodable_from_then_on(judge, store):
    broken = PICTURE[:-200]
    paged(store, trust_peer(store), verdict(broken, seq=1))
    assert (await judge.judge(broken, hasty=True)).decision is Decision.CLEAN
    await matched(judge)
    [notice] = store.read_now(unread)
    assert "undecodable" in notice.text


@pytest.mark.parametrize("data", [png(GREEN, 7), png(RED, 7)])
async def test_what_no_peer_calls_clean_is_not_answered_first(judge, store, data):
    answer = await judge.judge(data, hasty=True)
    assert answer.scanned


async def test_what_is_flagged_by_equal_bytes_is_never_answered_clean(judge, store):
    bad = png(RED, 8)
    await judge.judge(bad)
    paged(store, trust_peer(store), verdict(bad, seq=1))
    assert (await judge.judge(bad, hasty=True)).decision is Decision.FLAGGED


async def test_a_process_that_ends_before_matching_leaves_it_to_the_next_ask(make, judge, store):
    paged(store, trust_peer(store), verdict(PICTURE, seq=1))
    judge._open = lambda *_: asyncio.timeout(0)  # never gets to it
    await judge.judge(PICTURE, hasty=True)
    judge.close()
    assert not fingerprinted(store, PICTURE)
    again = make()
    assert (await again.judge(PICTURE, hasty=True)).decision is Decision.CLEAN
    await matched(again)
    assert fingerprinted(store, PICTURE)


async def test_a_match_that_fails_is_made_at_the_next_ask(judge, store, monkeypatch):
    paged(store, trust_peer(store), verdict(PICTURE, seq=1))
    with monkeypatch.context() as patch:
        patch.setattr(judge, "_open", None)
        await judge.judge(PICTURE, hasty=True)
        await matched(judge)
    assert judge._late.held_bytes == 0
    await judge.judge(PICTURE, hasty=True)
    await matched(judge)
    assert fingerprinted(store, PICTURE)


async def test_what_could_not_be_matched_is_not_answered_first_again(judge, store, monkeypatch):
    paged(store, trust_peer(store), verdict(PICTURE, seq=1))
    monkeypatch.setattr(judge, "_open", None)
    assert (await judge.judge(PICTURE, hasty=True)).decision is Decision.CLEAN
    await matched(judge)
    with pytest.raises(TypeError):
        await judge.judge(PICTURE, hasty=True)


async def test_a_picture_at_the_byte_limit_is_answered_first_and_one_past_it_is_not(make, store):
    trust_peer(store)
    other = png(GREEN, 2)
    at = make(fast_clean_bytes=len(PICTURE))
    await at.judge(png(GREEN, 99))
    paged(store, trust_peer(store), verdict(PICTURE, seq=1), verdict(other, seq=2))
    past = make(fast_clean_bytes=len(PICTURE) - 1)
    await past.judge(PICTURE, hasty=True)
    assert fingerprinted(store, PICTURE)  # it was matched first
    at = make(fast_clean_bytes=len(other))
    await at.judge(other, hasty=True)
    assert at._late.held_bytes == len(other)
    await matched(at)


# --- the queue by itself ----------------------------------------------------------------------
@pytest.fixture
def late():
    """A queue of 100 bytes whose matching is held open; `late.seen` has what was begun."""
    go = asyncio.Event()

    async def match(_data, sha256):
        vars(made)["seen"].append(sha256)
        await go.wait()

    made = Late(100, match)
    vars(made).update(go=go, seen=[])
    return made


async def test_bytes_that_wait_are_bounded(late):
    late.put(b"x" * 60, b"1")
    assert late.has_room(40, b"2")
    assert not late.has_room(41, b"2")
    late.go.set()
    await asyncio.wait(late._tasks)
    assert late.has_room(100, b"2")


async def test_a_picture_that_waits_already_is_matched_once(late):
    for _ in range(3):
        assert late.has_room(100, b"1") or late.held_bytes
        late.put(b"x" * 100, b"1")
    await asyncio.sleep(0)
    assert (late.seen, late.held_bytes) == ([b"1"], 100)
    assert late.has_room(100, b"1")
    late.go.set()


async def test_nothing_is_answered_first_while_one_waits_too_long(late, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr("fediverdict.late._now", lambda: now[0])
    late.put(b"x", b"1")
    now[0] += LATE_SECONDS - 0.001
    assert late.has_room(1, b"2")
    now[0] += 0.001
    assert not late.has_room(1, b"2")
    late.go.set()


async def test_as_many_failures_as_the_limit_are_remembered_and_past_it_the_oldest_is_let_go(
    monkeypatch,
):
    async def fail(_data, _sha256):
        raise OSError

    monkeypatch.setattr("fediverdict.late.MAX_FAILED", 2)
    late = Late(100, fail)
    for name in (b"1", b"2"):
        late.put(b"x", name)
        await asyncio.wait(late._tasks)
    assert not late.has_room(1, b"1")
    late.put(b"x", b"3")
    await asyncio.wait(late._tasks)
    assert [late.has_room(1, name) for name in (b"1", b"2", b"3")] == [True, False, False]


async def test_closing_lets_go_of_all(late):
    late.put(b"x", b"1")
    late.put(b"y", b"2")
    tasks = list(late._tasks)
    late.close()
    await asyncio.wait(tasks)
    assert late.held_bytes == 0
