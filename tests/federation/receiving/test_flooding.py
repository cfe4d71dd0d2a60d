"""A flood through the front door: it costs no fetch, no write, and nobody else anything."""

import pytest

from cache.storage.feed_tables import inbox, remote_actors
from federation.receiving import known
from federation.receiving.known import KnownActors
from federation.wire import composing
from tests.fakes.peer import rsa_of


@pytest.fixture
async def followed(ours, peer):
    """Ours follows the clean feed of the peer, which has accepted, behind one reverse proxy."""
    await ours.stop()
    ours.change(proxies=1, wrong_signatures_per_minute=3, activities_per_minute=4)
    await ours.start()
    await ours.follow(peer)
    return ours


def watch(ours):
    """Note down every statement that reads or writes."""
    seen = []
    for name in ("read", "write"):
        inner = getattr(ours.store, name)

        def noting(fn, *args, _inner=inner, _name=name, **more):
            seen.append((_name, fn.__name__))
            return _inner(fn, *args, **more)

        setattr(ours.store, name, noting)
    return seen


def page_of(peer, name):
    return composing.build_create(peer.publish([peer.row(name)], keep=False))


async def test_what_is_not_signed_costs_no_fetch_no_read_and_no_write(followed, peer, third):
    peer.requests.clear()
    sent = [page_of(peer, "a"), page_of(third, "b")]
    for one in sent:
        await peer.send(followed, one, Signature=None)
    seen = watch(followed)
    for one in sent * 10:
        assert await peer.send(followed, one, Signature=None) == 401
    assert [what for what in seen if what[1] != "stored_above"] == []
    assert peer.requests == third.requests == []


async def test_strangers_cost_no_fetch_and_no_write(followed, peer):
    peer.requests.clear()
    seen = watch(followed)
    for number in range(known.LOOKUPS_PER_SECOND * 3):
        who = f"{peer.base}/{number}"
        sent = {"id": f"{who}/1", "type": "Accept", "actor": who, "object": f"{who}/2"}
        assert await peer.send(followed, sent, key=rsa_of("wrong")) == 401
    assert [what for what in seen if what[0] == "write"] == []
    assert peer.requests == []


async def test_a_forger_is_not_verified_any_more_and_the_peer_is(followed, peer, clock):
    sent = page_of(peer, "a")
    forged = {"key": rsa_of("wrong"), "X_Forwarded_For": "9.9.9.9"}
    for _ in range(3):
        assert await peer.send(followed, sent, **forged) == 401
    assert await peer.send(followed, sent, **forged) == 429
    assert await peer.send(followed, sent, X_Forwarded_For="8.8.8.8") == 202
    assert await peer.send(followed, sent, X_Forwarded_For="9.9.9.9") == 429
    clock.now += 60
    assert await peer.send(followed, sent, X_Forwarded_For="9.9.9.9") == 202


async def test_a_forger_learns_nothing_of_whom_we_know(followed, peer, third):
    """In the name of a peer and of a stranger: the same answers, at the limit and past it."""
    answers = []
    for who in (peer, third):
        sent = page_of(who, "a")
        forged = {"key": rsa_of("wrong"), "X_Forwarded_For": "9.9.9.9"}
        answers.append([await who.send(followed, sent, **forged) for _ in range(5)])
    assert answers == [[401, 401, 401, 429, 429]] * 2


async def test_a_peer_past_its_quota_is_asked_to_come_again_in_a_minute(followed, peer, clock):
    clock.now += 60
    sent = [page_of(peer, name) for name in "abcde"]
    statuses = [await peer.send(followed, one) for one in sent]
    assert statuses == [202, 202, 202, 202, 429]
    assert followed.federation.refusals["PastQuota"] == 1
    clock.now += 60
    assert await peer.send(followed, sent[4]) == 202


async def test_a_refusal_past_a_quota_says_when_to_come_again(followed, peer):
    url = f"{followed.base}/inbox"
    headers = {"Content-Type": "application/activity+json"}
    with followed.federation.inbox.bodies.taken("1.1.1.1"):
        followed.federation.inbox.bodies._at_once = 1
        async with peer.session.post(url, data=b"{}", headers=headers) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")


async def test_rows_of_one_peer_wait_up_to_its_limit(ours, peer, third):
    await ours.stop()
    ours.change(inbox_rows_per_host=2)
    await ours.start()
    statuses = [(await peer.follow(ours))[1] for _ in range(3)]
    assert statuses == [202, 202, 429]
    assert (await third.follow(ours))[1] == 202
    await ours.settle()
    assert (await peer.follow(ours))[1] == 202
    assert len(ours.rows(inbox)) == 4


# --- whom we know ----------------------------------------------------------------------------
class Ticking:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def remember(store, *names):
    def write(conn):
        for name in names:
            values = {"actor_id": name, "origin": name, "document": "{}", "fetched": 0}
            conn.execute(remote_actors.insert().values(**values))

    store.write_now(write)


async def test_whom_another_process_remembered_is_known_at_once(store):
    actors = KnownActors(store, 1.0, Ticking())
    assert not await actors.has("https://a")
    remember(store, "https://a")
    assert await actors.has("https://a")


async def test_past_so_many_lookups_a_second_the_ids_are_read_anew_at_the_next_look(store):
    clock = Ticking()
    actors = KnownActors(store, 1.0, clock)
    for number in range(known.LOOKUPS_PER_SECOND):
        assert not await actors.has(f"https://{number}.example")
    remember(store, "https://a")
    assert not await actors.has("https://a")
    clock.now += 1.0
    assert await actors.has("https://a")
