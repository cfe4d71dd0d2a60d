"""Faults of answering strangers: what they can make us parse, keep, believe out of turn."""

import asyncio
import time

import pytest
from sqlalchemy import func, select

from cache.settings import PeerDefaults
from cache.storage.feed_tables import followers, inbox, remote_actors
from cache.storage.tables import metadata
from federation import addresses
from federation.errors import BadRequest
from federation.origin import Url
from federation.wire import activity, composing, strictjson
from federation.wire.row import Retraction
from tests.fakes.instance import pictures
from tests.fakes.peer import ACTIVITY, reply
from tests.federation.faults.letters import sign, write
from tests.waiting import PATIENCE

TYPED = {"Content-Type": ACTIVITY}


def create(peer, *rows, **more):
    return composing.build_create(peer.publish(list(rows) or [peer.row("a")], **more))


async def status_of(letter, peer):
    return (await letter.send(peer))[0]


# --- regular expressions ----------------------------------------------------------------------
HOSTILE = (
    *('keyId="', ",", "=", '"', 'a="', "a=", '\\"', " ", "\t", "(", "sig1=", "sig1=(", 'sig1=("a"'),
    *(';created="', ":", "sig1=:", 'keyId="x",headers="a ', "é", "0", "?0", ";a", '"\\'),
)
NAMES = ("Signature", "Signature-Input", "Authorization", "Digest", "Content-Digest", "Date")


@pytest.mark.fault("regular expressions")
async def test_a_megabyte_of_a_signature_is_refused_by_its_size(followed, peer, nothing_comes_of):
    """Fedify CVE-2025-68475: a pattern that backtracks held the whole server."""
    async with nothing_comes_of(followed, peer):
        for name in NAMES:
            for hostile in HOSTILE[:6]:
                header = f"{name}: {(hostile * 1_048_576)[:1_048_576]}".encode()
                assert await raw(followed, "POST", "/inbox", header) in (400, 413, 431), name


@pytest.mark.fault("regular expressions")
async def test_a_hostile_header_just_under_the_limit_is_refused(
    followed, peer, scheme, nothing_comes_of, clock
):
    """Fedify CVE-2025-68475, as far as the limit of the server lets it in."""
    started = time.process_time()
    async with nothing_comes_of(followed, peer):
        for name in ("Signature", "Signature-Input", "Digest", "Content-Digest"):
            for hostile in HOSTILE:
                for size in (4_000, 8_000):
                    clock.now += 1
                    letter = write(scheme, peer, followed, create(peer, keep=False))
                    text = (hostile * size)[: size // len(hostile.encode())]
                    spoilt = letter.spoilt(**{name: text})
                    assert await status_of(spoilt, peer) in (400, 401), (name, hostile)
    assert time.process_time() - started < 30  # of the processor


async def raw(ours, method, path, *headers, body=b""):
    """Send bytes as they are, over a connection of their own, and return the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    lines = [f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close".encode(), *headers]
    lines.append(f"Content-Type: {ACTIVITY}\r\nContent-Length: {len(body)}".encode())
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    async with asyncio.timeout(PATIENCE):
        status = int((await reader.readline()).split()[1])
    writer.close()
    return status


# --- state that a stranger can grow -----------------------------------------------------------
def counts(ours):
    """Return how many rows each table has."""

    def read(conn):
        tables = metadata.sorted_tables
        return {t.name: conn.scalar(select(func.count()).select_from(t)) for t in tables}

    return ours.store.read_now(read)


@pytest.mark.fault("state that a stranger can grow")
@pytest.mark.parametrize("hosts", [300, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_made_up_hosts_leave_nothing_behind(guarded, peer, internet, hosts, clock):
    """Fedify CVE-2026-69132: a row was kept for every host that anybody named."""
    before = counts(guarded)
    statuses = set()
    letter = write("cavage", peer, guarded, b"{}", key_id="x")
    for number in range(hosts):
        base = f"https://h{number}.example"
        internet.name(f"h{number}.example", ["93.184.216.200"])
        follow = composing.build_follow(f"{base}/1", f"{base}/actor", guarded.feed_id())
        body = strictjson.to_bytes(follow)
        key_id = f"{base}/actor#main-key"
        headers = sign("cavage", "POST", letter.url, body, peer=peer, key_id=key_id)
        async with peer.session.post(letter.url, data=body, headers=headers) as answer:
            statuses.add(answer.status)
        if number % 50 == 49:
            clock.now += 30
    assert statuses == {401, 429}
    assert counts(guarded) == before
    assert len(guarded.federation.actors._tried) <= 10_000


@pytest.mark.fault("state that a stranger can grow")
async def test_hosts_of_one_wildcard_are_bounded_rows(guarded, internet, clock):
    """Fedify CVE-2026-69132: and real hosts are cheap too, under one wildcard."""
    most = {"pending_followers": 10, "remote_actors": 12}
    await guarded.stop()
    guarded.change(**most)
    await guarded.start()
    evil = await internet.peer(clock, "*.evil.example")

    async def anybody(request):
        base = f"https://{request.host}"
        own = evil.document("actor")
        return reply(_moved(own, str(evil.base), base))

    evil.answers["/actor"] = anybody
    statuses = []
    for number in range(30):
        clock.now += 10
        base = f"https://h{number}.evil.example"
        follow = composing.build_follow(f"{base}/1", f"{base}/actor", guarded.feed_id())
        statuses.append(await status_of(write("cavage", evil, guarded, follow), evil))
        await guarded.settle()
    assert statuses == [202] * 10 + [429] * 20
    assert len(guarded.rows(followers)) == 10
    assert len(guarded.rows(remote_actors)) <= 12
    assert len(guarded.rows(inbox)) == 10


def _moved(value, old, new):
    if isinstance(value, dict):
        return {name: _moved(one, old, new) for name, one in value.items()}
    if isinstance(value, list):
        return [_moved(one, old, new) for one in value]
    return value.replace(old, new) if isinstance(value, str) else value


@pytest.mark.fault("state that a stranger can grow")
async def test_what_is_no_follow_leaves_nothing_behind(ours, peer, nothing_comes_of, clock):
    """Fedify CVE-2026-69132, by every kind of activity."""
    kinds = ("Accept", "Reject", "Undo", "Create", "Announce", "Update", "Delete", "Flag", "Like")
    async with nothing_comes_of(ours, peer):
        for kind in (*kinds, "Block", "Move", "Question", "x" * 2_048):
            for number in range(4):
                clock.now += 2
                actor = f"{peer.base}/u{number}"
                sent = {"id": f"{actor}/1", "type": kind, "actor": actor, "object": actor}
                assert await peer.send(ours, sent) in (202, 400, 401), kind


# --- parser differences -----------------------------------------------------------------------
WRONG = {
    "nothing": b"",
    "duplicate key": b'{"id":"a","id":"b"}',
    "duplicate key, escaped": b'{"id":"a","\\u0069d":"b"}',
    "duplicate key at depth": b'{"object":[{"id":"a","id":"b"}]}',
    "depth 33": b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
    "depth 100,000": b'{"a":' + b"[" * 100_000,
    "objects at depth": b'{"a":' * 40_000,
    "huge integer": b'{"a":9007199254740992}',
    "huge negative integer": b'{"a":-9007199254740992}',
    "number of 5,000 digits": b'{"a":' + b"9" * 5_000 + b"}",
    "number of 200,000 digits": b'{"a":' + b"9" * 200_000 + b"}",
    "fraction": b'{"a":1.0}',
    "exponent": b'{"a":1e400}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "lone surrogate in a key": b'{"\\udfff":1}',
    "surrogates the wrong way": b'{"a":"\\udc00\\ud800"}',
    "surrogate as UTF-8": b'{"a":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "BOM": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "NUL": b'{"a":1}\x00',
    "NUL in front": b'\x00{"a":1}',
    "control character": b'{"a":"\x01"}',
    "comment": b'{"a":1}//x',
    "two documents": b'{"a":1}{"a":2}',
    "trailing comma": b'{"a":1,}',
    "array": b"[]",
    "string": b'"a"',
    "null": b"null",
    "single quotes": b"{'a':1}",
    "hexadecimal": b'{"a":0x10}',
    "leading zero": b'{"a":01}',
    "no members": b"{}",
    "wrong types": b'{"id":5,"actor":["x"],"type":{},"object":null}',
    "null in a name": b'{"id":"https://a.example/\\u0000","actor":"https://a.example/"}',
}


@pytest.mark.fault("parser differences")
async def test_what_parsers_differ_on_is_400(followed, peer, scheme, nothing_comes_of):
    """jcs, json: two parsers read one text in two ways, and one of them had checked it."""
    async with nothing_comes_of(followed, peer):
        seen = {}
        for name, body in WRONG.items():
            letter = write(scheme, peer, followed, body, key_id=f"{peer.feed_id()}#main-key")
            seen[name] = await status_of(letter, peer)
        assert seen == dict.fromkeys(WRONG, 400)


def _odd_bytes(body):
    async def answer(_request):
        return reply({}) if body is None else _raw_reply(body)

    return answer


def _raw_reply(body):
    made = reply({})
    made.body = body
    return made


@pytest.mark.fault("parser differences")
async def test_an_actor_that_parsers_differ_on_is_not_taken(ours, peer, clock, nothing_comes_of):
    """jcs, json: the same for what is fetched."""
    odd = {name: body for name, body in WRONG.items() if len(body) < ours.settings.document_bytes}
    async with nothing_comes_of(ours, peer, fetches=len(odd)):
        seen = {}
        for name, body in odd.items():
            clock.now += 601
            peer.answers["/actor"] = _odd_bytes(body)
            seen[name] = (await peer.follow(ours))[1]
        assert {name: one for name, one in seen.items() if one not in (400, 401)} == {}


@pytest.mark.fault("parser differences")
async def test_a_page_that_parsers_differ_on_is_not_applied(followed, peer, clock):
    """jcs: two integers with one canonical form, under one signature."""
    page = peer.publish([peer.row("a")])
    text = strictjson.to_bytes(page)
    for spoilt in (
        text.replace(b'"count":1', b'"count":1,"count":1'),
        text.replace(b'"count":1', b'"count":1.0'),
        text.replace(b'"count":1', b'"count":9007199254740993'),
        b"\xef\xbb\xbf" + text,
    ):
        assert spoilt != text
        peer.answers[page["id"].removeprefix(peer.base)] = _odd_bytes(spoilt)
        clock.now += 50_000
        await followed.settle()
        assert followed.pictures() == []
        assert followed.follow_row().error
    peer.answers.clear()
    clock.now += 50_000
    await followed.settle()
    assert followed.pictures() == pictures("a")


@pytest.mark.fault("parser differences")
async def test_webfinger_that_parsers_differ_on_is_no_answer(ours, peer, nothing_comes_of):
    """jcs, json: the same for discovery."""
    async with nothing_comes_of(ours, peer, fetches=len(WRONG)):
        for name, body in WRONG.items():

            async def answer(_request, body=body):
                made = reply({}, "application/jrd+json")
                made.body = body
                return made

            peer.answers["/.well-known/webfinger"] = answer
            with pytest.raises(BadRequest):
                await ours.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
            assert name


# --- races with the unknown -------------------------------------------------------------------
def about(kind, actor, target):
    return {"id": f"{actor}#{kind}-1", "type": kind, "actor": actor, "object": target}


@pytest.mark.fault("races with the unknown")
async def test_a_delete_or_update_before_the_create_changes_nothing(followed, peer, third, scheme):
    """Mastodon CVE-2026-33869: a Delete by another came first, and the Create was then dropped."""
    await third.follow(followed)
    await followed.settle()
    sent = create(peer, keep=False)
    page = sent["object"]["id"]
    for kind in ("Delete", "Update", "Undo"):
        for target in (
            page,
            sent["id"],
            {"id": page, "type": "Tombstone"},
            peer.feed_id(),
            peer.id,
        ):
            told = about(kind, third.id, target)
            status = await status_of(write(scheme, third, followed, told), third)
            assert status in (202, 400, 401, 403), (kind, target)
    await followed.settle()
    assert followed.follow_row().state == "accepted"
    assert await status_of(write(scheme, peer, followed, sent), peer) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")


@pytest.mark.fault("races with the unknown")
async def test_a_retraction_of_what_another_attests_frees_nothing(followed, peer, third):
    """Mastodon CVE-2026-33869: what is taken back before it came is the taker's own alone."""
    await followed.follow(third)
    clean = addresses.FEEDS["clean"]
    epoch = peer.epochs[clean]
    retracted = create(third, Retraction(epoch, 1), Retraction(epoch, 2))
    assert await third.send(followed, retracted) == 202
    await followed.settle()
    assert await peer.send(followed, create(peer, peer.row("a"), peer.row("b"))) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a", "b")


@pytest.mark.fault("races with the unknown")
async def test_what_strangers_say_of_others_is_no_work(ours, peer, third, nothing_comes_of):
    """Mastodon CVE-2026-33869: and of those that nobody here knows."""
    async with nothing_comes_of(ours, peer, third):
        for kind in ("Delete", "Update"):
            for target in (third.id, peer.id, ours.feed_id(), f"{peer.feed_id()}/x"):
                assert await third.send(ours, about(kind, third.id, target)) == 202


@pytest.mark.fault("races with the unknown")
async def test_an_undo_that_comes_before_its_follow_approves_nobody(ours, peer):
    """Mastodon CVE-2026-33869: what came in the wrong order stayed."""
    asked = activity.Follow(Url(f"{peer.id}/follows/1"), peer.id, ours.feed_id())
    undo = composing.build_undo(f"{peer.id}/undo/1", asked)
    assert await peer.send(ours, undo) == 401
    follow = composing.build_follow(asked.id, asked.actor, asked.object)
    assert await peer.send(ours, follow) == 202
    await ours.settle()
    assert [one.state for one in ours.followers()] == ["pending"]
