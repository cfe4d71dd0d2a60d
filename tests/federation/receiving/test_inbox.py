"""Receiving, through the front door: what is refused leaves nothing behind but a count."""

import asyncio
import gzip
import json

import pytest
from aiohttp import web

from cache.settings import PeerDefaults
from cache.storage.feed_tables import followers, inbox, remote_actors
from cache.verdict import Feed
from federation.origin import Url
from federation.receiving import queue as queue_module
from federation.routes import MAX_PACKED
from federation.signing.cavage import sign_request
from federation.signing.keys import main_key_id
from federation.wire import activity, composing, strictjson
from federation.wire.strictjson import MAX_OBJECTS, MAX_PIECES
from tests.fakes.clock import Clock
from tests.fakes.instance import pictures
from tests.fakes.peer import reply, rsa_of
from tests.federation.samples import proof_key


@pytest.fixture
async def followed(ours, peer):
    """Ours follows the clean feed of the peer, which has accepted."""
    await ours.follow(peer)
    return ours


def nothing_stored(ours):
    """No row waits, and no verdict is held (the Accept that began it all is done)."""
    kinds = [row.kind for row in ours.rows(inbox) if row.kind != "Answer"]
    return kinds == [] and ours.pictures() == []


# --- pages that lie --------------------------------------------------------------------------
def _in_one_byte(page):
    text = json.dumps(page)
    assert text.count("[12]") == 1
    return json.loads(text.replace("[12]", "[92]"))


async def test_a_page_that_is_true_is_applied(followed, peer):
    assert await peer.create(followed, peer.publish([peer.row("a")])) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")


async def test_a_page_changed_in_one_byte_is_refused(followed, peer):
    page = _in_one_byte(peer.publish([peer.row("a")]))
    assert await peer.create(followed, page) == 401
    await followed.settle()
    assert followed.federation.refusals["BadProof"] == 1
    assert [row.kind for row in followed.rows(inbox)] == ["Answer"]


async def test_a_page_signed_by_another_key_is_refused(followed, peer):
    page = peer.publish([peer.row("a")], key=proof_key("stranger"), keep=False)
    assert await peer.create(followed, page) == 401
    await followed.settle()
    assert nothing_stored(followed)


async def test_a_page_attributed_to_another_actor_is_refused(followed, peer, third):
    page = third.publish([third.row("a")])
    sent = composing.build_create(page) | {"actor": peer.feed_id(), "id": f"{peer.feed_id()}/x"}
    assert await peer.send(followed, sent) == 401
    await followed.settle()
    assert nothing_stored(followed)


async def test_a_page_of_the_flagged_feed_is_refused_from_the_clean_one(followed, peer):
    page = peer.publish([peer.row("a")], Feed.FLAGGED)
    sent = composing.build_create(page) | {"actor": peer.feed_id(), "id": f"{peer.feed_id()}/x"}
    assert await peer.send(followed, sent) == 401
    assert nothing_stored(followed)


async def test_a_page_without_a_proof_is_refused(followed, peer):
    page = peer.publish([peer.row("a")], keep=False)
    del page["proof"]
    assert await peer.create(followed, page) == 401
    assert nothing_stored(followed)


async def test_a_thousand_bad_proofs_cost_one_fetch_of_the_actor(followed, peer, clock):
    page = peer.publish([peer.row("a")], key=proof_key("stranger"), keep=False)
    clock.now += 601
    peer.requests.clear()
    for _ in range(20):
        assert await peer.create(followed, page) == 401
    assert peer.requests == [("GET", "/feeds/clean")]


# --- signatures that do not fit --------------------------------------------------------------
async def test_the_signer_must_be_the_actor(followed, peer, third):
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    assert await third.send(followed, sent, signer=third.id) == 401
    assert await third.send(followed, sent, signer=peer.feed_id()) == 401
    assert await peer.send(followed, sent, signer=peer.id) == 401
    await followed.settle()
    assert nothing_stored(followed)


async def test_a_key_of_another_actor_is_refused_also_when_it_is_known(followed, peer, third):
    await third.follow(followed)  # now the key of the third is remembered
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    assert await third.send(followed, sent, signer=third.id) == 401


async def test_a_swapped_body_is_refused(followed, peer):
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    other = strictjson.to_bytes(composing.build_create(peer.publish([peer.row("b")], keep=False)))
    assert await peer.send(followed, sent, body=other) == 401
    assert nothing_stored(followed)


@pytest.mark.parametrize("digest", [None, "SHA-256=AAAA", "MD5=AAAA"])
async def test_a_digest_that_is_missing_or_wrong_is_refused(followed, peer, digest):
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    assert await peer.send(followed, sent, Digest=digest) == 401
    assert nothing_stored(followed)


async def test_a_digest_that_is_not_covered_is_refused(followed, peer):
    body = strictjson.to_bytes(composing.build_create(peer.publish([peer.row("a")], keep=False)))
    url = f"{followed.base}/inbox"
    signed = sign_request("POST", url, None, peer.rsa, main_key_id(peer.feed_id()), peer.clock())
    signed["Content-Type"] = "application/activity+json"
    async with peer.session.post(url, data=body, headers=signed) as answer:
        assert answer.status == 401
    assert nothing_stored(followed)


async def test_an_unsigned_activity_is_refused(followed, peer):
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    assert await peer.send(followed, sent, Signature=None) == 401


async def test_an_old_date_is_refused(followed, peer, clock):
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    peer.clock = Clock(clock.now - 3_601)
    assert await peer.send(followed, sent) == 401
    peer.clock = Clock(clock.now - 3_600)
    assert await peer.send(followed, sent) == 202


async def test_a_rotated_key_under_the_same_id_is_fetched_once(followed, peer, clock):
    peer.rsa = rsa_of("rotated")
    page = peer.publish([peer.row("a")])
    assert await peer.create(followed, page) == 401  # the actor was fetched just now
    clock.now += 601
    assert await peer.create(followed, page) == 202


async def test_bad_signatures_of_a_known_peer_cost_one_fetch(followed, peer, clock):
    clock.now += 601
    peer.requests.clear()
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    for _ in range(20):
        assert await peer.send(followed, sent, key=rsa_of("wrong")) == 401
    assert peer.requests == [("GET", "/feeds/clean")]


# --- what nobody asked for -------------------------------------------------------------------
async def test_an_accept_from_a_third_party_changes_nothing(ours, peer, third):
    await ours.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
    await ours.settle()
    follow = next(one for one in peer.received if one["type"] == "Follow")
    stolen = activity.Follow(follow["id"], follow["actor"], third.feed_id())
    sent = composing.build_answer(f"{third.feed_id()}/answers/1", stolen, accepted=True)
    assert await third.send(ours, sent) == 401
    await third.follow(ours)  # also once its origin is known
    assert await third.send(ours, sent) == 401
    await ours.settle()
    assert ours.follow_row().state == "pending"


async def test_an_accept_of_another_follow_of_ours_is_refused(followed, peer):
    asked = activity.Follow(Url(f"{followed.base}/0"), followed.base, peer.feed_id())
    sent = composing.build_answer(f"{peer.feed_id()}/answers/9", asked, accepted=False)
    assert await peer.send(followed, sent) == 403
    await followed.settle()
    assert followed.follow_row().state == "accepted"


async def test_a_page_of_a_feed_that_has_not_accepted_is_refused(ours, peer):
    await ours.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
    await ours.settle()
    assert await peer.create(ours, peer.publish([peer.row("a")])) == 403
    await ours.settle()
    assert nothing_stored(ours)


async def test_a_stranger_causes_no_fetch_but_by_a_follow(ours, third):
    assert await third.create(ours, third.publish([third.row("a")])) == 401
    assert third.requests == []


async def test_a_stranger_cannot_tell_whom_we_follow_and_who_follows_us(
    followed, peer, third, clock
):
    """Forged activities of known and unknown actors get one answer, to the byte, and no fetch."""
    await peer.follow(followed)
    await followed.settle()
    await peer.server.close()  # nor may it show that a peer cannot be asked
    clock.now += 601
    names = (peer.id, peer.feed_id(), third.id, third.feed_id(), f"{peer.base}/x")
    answers = set()
    for who in names:
        for kind in ("Accept", "Undo", "Create"):
            told = {"id": f"{who}/1", "type": ["Document", "AttestationPage"], "attributedTo": who}
            sent = {"id": f"{who}/0", "type": kind, "actor": who, "object": f"{who}/1"}
            body = strictjson.to_bytes(
                sent | ({"object": told | {"rows": []}} if kind == "Create" else {})
            )
            answers.add(await _forged(followed, third, who, body))
    assert {status for status, _ in answers} == {401}
    assert len(answers) == 1
    assert third.requests == []


async def _forged(ours, third, who, body):
    url = f"{ours.base}/inbox"
    signed = sign_request("POST", url, body, rsa_of("wrong"), main_key_id(who), third.clock())
    async with third.session.post(url, data=body, headers=signed) as answer:
        return answer.status, await answer.read()


async def test_a_follow_of_what_is_no_feed_causes_no_fetch(ours, peer):
    follow = composing.build_follow(f"{peer.id}/f", peer.id, f"{ours.base}/feeds/other")
    assert await peer.send(ours, follow) == 404
    assert peer.requests == []


async def test_actors_remembered_but_not_followed_share_the_fetches_of_a_minute(ours, peer, clock):
    """Bad signatures in the names of many actors of one victim cost it few fetches."""
    await ours.stop()
    ours.change(key_fetches_per_minute=3)
    await ours.start()
    for number in range(9):
        name = f"{peer.base}/user{number}"

        async def user(_request, name=name):
            return reply(json.loads(json.dumps(peer.document("actor")).replace(peer.id, name)))

        peer.answers[f"/user{number}"] = user
        follow = composing.build_follow(f"{name}/f", name, ours.feed_id())
        await peer.send(ours, follow, key=rsa_of("wrong"))
        clock.now += 61
    assert len(ours.rows(remote_actors)) == 9
    clock.now += 601
    peer.requests.clear()
    for number in range(9):
        name = f"{peer.base}/user{number}"
        follow = composing.build_follow(f"{name}/f", name, ours.feed_id())
        assert await peer.send(ours, follow, key=rsa_of("wrong")) == 401
    assert len(peer.requests) == 3


async def test_a_host_that_follows_and_undoes_without_end_is_stopped(ours, peer, monkeypatch):
    monkeypatch.setattr("federation.receiving.inbox.FOLLOWS_KEPT", 3)
    statuses = [(await peer.follow(ours))[1] for _ in range(4)]
    assert statuses == [202, 202, 202, 429]
    await ours.settle()
    assert len(ours.rows(inbox)) == 3


async def test_a_row_that_another_process_acted_on_is_not_acted_on_again(ours, peer):
    await peer.follow(ours)
    queue = ours.federation.queue
    row = await ours.store.read(queue_module._next_of, peer.id, ours.clock())
    await queue.run_once()
    undone = activity.Follow(ours.rows(followers)[0].follow_id, peer.id, ours.feed_id())
    await peer.send(ours, composing.build_undo(f"{peer.id}/undo/1", undone))
    await queue.run_once()
    await queue._act(row)  # the other process had read it before
    assert ours.rows(followers) == []


async def test_a_delete_by_a_stranger_is_202_and_no_work(ours, third):
    sent = {
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": f"{third.id}#delete",
        "type": "Delete",
        "actor": third.id,
        "object": third.id,
    }
    assert await third.send(ours, sent) == 202
    assert third.requests == []
    assert ours.rows(inbox) == []


async def test_an_undo_by_another_actor_is_refused(ours, peer, third):
    follow, status = await peer.follow(ours)
    assert status == 202
    await third.follow(ours)
    await ours.settle()
    asked = activity.Follow(follow["id"], third.id, follow["object"])
    assert await third.send(ours, composing.build_undo(f"{third.id}/undo/1", asked)) == 202
    await ours.settle()
    assert len(ours.rows(followers)) == 2


async def test_an_undo_deletes_the_follower(ours, peer):
    follow, _ = await peer.follow(ours)
    await ours.settle()
    asked = activity.Follow(follow["id"], peer.id, follow["object"])
    assert await peer.send(ours, composing.build_undo(f"{peer.id}/undo/1", asked)) == 202
    await ours.settle()
    assert ours.rows(followers) == []


async def test_a_follow_of_what_is_no_feed_is_refused(ours, peer):
    follow, _ = await peer.follow(ours)
    sent = follow | {"id": f"{peer.id}/follows/x", "object": f"{ours.base}/actor"}
    assert await peer.send(ours, sent) == 404


async def test_a_fourth_follower_of_one_host_is_refused(ours, peer):
    for name in ("a", "b", "c", "d"):
        actor_id = f"{peer.base}/{name}"

        async def actor(_request, actor_id=actor_id):
            document = json.loads(json.dumps(peer.document("actor")).replace(peer.id, actor_id))
            return reply(document)

        peer.answers[f"/{name}"] = actor
        follow = composing.build_follow(f"{actor_id}/follow", actor_id, ours.feed_id())
        assert await peer.send(ours, follow) == (429 if name == "d" else 202)
        await ours.settle()
    assert len(ours.rows(followers)) == 3


async def test_a_blocked_domain_and_those_below_it_are_refused(ours, peer):
    await ours.stop()
    ours.change(blocked_domains=("0.0.1",))
    await ours.start()
    _, status = await peer.follow(ours)
    assert status == 403
    assert peer.requests == []


async def test_unknown_follows_cause_only_so_many_fetches_a_minute(ours, peer, clock):
    await ours.stop()
    ours.change(key_fetches_per_minute=5)
    await ours.start()
    statuses = []
    for number in range(8):
        actor_id = f"{peer.base}/nobody{number}"
        follow = composing.build_follow(f"{actor_id}/follow", actor_id, ours.feed_id())
        peer.answers[f"/nobody{number}"] = _not_found
        statuses.append(await peer.send(ours, follow))
    assert statuses == [401] * 5 + [429] * 3
    assert len(peer.requests) == 5
    assert ours.rows(remote_actors) == []


async def _not_found(_request):
    return web.Response(status=404)


# --- form ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/ld+json", "image/png"]
)
async def test_another_content_type_is_415(followed, peer, content_type):
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    assert await peer.send(followed, sent, Content_Type=content_type) == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": 1.5}',
        b'{"a": 9007199254740993}',
        b'{"a": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"@graph": []}',
        b'{"id": 5, "actor": ["x"], "type": {}}',
    ],
)
async def test_what_is_not_a_strict_activity_is_400(ours, peer, body):
    assert await _post(ours, peer, body) == 400
    assert ours.rows(inbox) == []


async def test_an_activity_id_of_another_origin_than_its_actor_is_refused(followed, peer, third):
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    assert await peer.send(followed, sent | {"id": f"{third.base}/1"}) == 401
    assert nothing_stored(followed)


async def _post(ours, peer, body):
    headers = {"Content-Type": "application/activity+json"}
    async with peer.session.post(f"{ours.base}/inbox", data=body, headers=headers) as answer:
        return answer.status


async def test_a_body_of_the_limit_is_read_and_one_byte_more_is_413(ours, peer):
    limit = ours.settings.activity_bytes
    assert await _post(ours, peer, b" " * limit) == 400
    assert await _post(ours, peer, b" " * (limit + 1)) == 413


async def test_a_gzip_bomb_is_413(ours, peer):
    bomb = gzip.compress(bytes(50_000_000))
    headers = {"Content-Type": "application/activity+json", "Content-Encoding": "gzip"}
    async with peer.session.post(f"{ours.base}/inbox", data=bomb, headers=headers) as answer:
        assert answer.status == 413


def _packed_into(size, data):
    """Return `data` as gzip of so many bytes; the name of a file in it takes up the rest."""
    packed = gzip.compress(data, mtime=0)
    name = b"x" * (size - len(packed) - 1) + b"\0"
    return packed[:3] + b"\x08" + packed[4:10] + name + packed[10:]


@pytest.mark.parametrize("more", [0, 1])
async def test_a_body_is_packed_thirty_two_times_and_no_more(ours, peer, more):
    """Else a few hundred bytes would cost as much as 256 KiB."""
    body = _packed_into(1_000, b" " * (MAX_PACKED * 1_000 + more))
    assert len(body) == 1_000
    headers = {"Content-Type": "application/activity+json", "Content-Encoding": "gzip"}
    async with peer.session.post(f"{ours.base}/inbox", data=body, headers=headers) as answer:
        assert answer.status == (413 if more else 400)


@pytest.mark.parametrize(
    ("filler", "most"),
    [(b"{},", MAX_OBJECTS - 1), (b"1,", MAX_PIECES - 6), (b"[],", (MAX_PIECES - 6) // 2)],
)
async def test_an_activity_of_many_small_pieces_is_refused_before_it_is_read(
    ours, peer, filler, most
):
    """Unsigned, 256 KiB of empty objects stopped everything for 0.1 s."""
    actor = peer.id.encode()
    head = b'{"id":"%s#1","type":"Like","actor":"%s","object":1,"a":[' % (actor, actor)
    fits = head + filler * most + b"1]}"
    assert await _post(ours, peer, fits) == 202
    assert await _post(ours, peer, head + filler * (most + 1) + b"1]}") == 400


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_cannot_be_unpacked_is_400(ours, peer, encoding):
    headers = {"Content-Type": "application/activity+json", "Content-Encoding": encoding}
    body = b"no such thing" * 10
    async with peer.session.post(f"{ours.base}/inbox", data=body, headers=headers) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("expected", ["\xff", "200-ok"])
async def test_an_expectation_that_is_none_changes_nothing(ours, expected):
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    writer.write(b"GET /actor HTTP/1.1\r\nHost: x\r\nExpect: ")
    writer.write(expected.encode("latin-1") + b"\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_body_that_drips_is_given_up(ours):
    await ours.stop()
    ours.change(fetch_seconds=0.05)
    await ours.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    head = b"Host: x\r\nContent-Type: application/activity+json\r\nContent-Length: 9\r\n"
    writer.write(b"POST /inbox HTTP/1.1\r\n" + head + b"\r\n{")
    assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_an_inbox_of_an_actor_that_is_not_there_is_404(ours, peer):
    _, status = await peer.follow(ours, path="/feeds/other/inbox")
    assert status == 404


@pytest.mark.parametrize("path", ["/inbox", "/actor/inbox", "/feeds/clean/inbox"])
async def test_every_inbox_takes_activities(ours, peer, path):
    _, status = await peer.follow(ours, path=path)
    assert status == 202


# --- replay ----------------------------------------------------------------------------------
async def test_a_replayed_activity_is_taken_once(followed, peer):
    page = peer.publish([peer.row("a")])
    assert [await peer.create(followed, page) for _ in range(3)] == [202, 202, 202]
    await followed.settle()
    assert await peer.create(followed, page) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")
    assert [row.state for row in followed.rows(inbox)] == ["done", "done"]


async def test_a_page_under_a_new_activity_id_is_applied_once(followed, peer):
    sent = composing.build_create(peer.publish([peer.row("a")]))
    for number in range(3):
        assert await peer.send(followed, sent | {"id": f"{sent['id']}-{number}"}) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")


async def test_a_full_queue_asks_to_come_again(followed, peer):
    await followed.stop()
    followed.change(inbox_rows=2)
    await followed.start()
    statuses = [await peer.create(followed, peer.publish([peer.row(name)])) for name in "abc"]
    assert statuses == [202, 202, 429]
