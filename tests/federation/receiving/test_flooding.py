"""A flood through the front door: it costs no fetch, no write, and nobody else anything."""

import pytest

from cache.storage.feed_tables import inbox, remote_actors
from federation.receiving import known
from federation.receiving.known import KnownActors
from federation.wire import composing, strictjson
from tests.fakes.peer import ACTIVITY, rsa_of
from tests.federation.receiving.test_sender import proven


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


async def post(peer, ours, activity, **headers):
    """Deliver an activity with no HTTP signature, as whoever received it may."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Content-Type": ACTIVITY} | named
    data = strictjson.to_bytes(activity)
    async with peer.session.post(f"{ours.base}/inbox", data=data, headers=sent) as answer:
        return answer.status


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


async def test_whoever_sends_a_proven_activity_again_uses_up_nothing_of_its_author(followed, peer):
    """A proof names no receiver: each who ever got it may replay it, but at its own cost."""
    replayed = proven(peer, page_of(peer, "a"))
    statuses = [
        await post(peer, followed, replayed, X_Forwarded_For="9.9.9.9")
        for _ in range(followed.settings.activities_per_minute + 1)
    ]
    assert statuses == [202, 202, 202, 202, 429]
    assert await peer.send(followed, page_of(peer, "b"), X_Forwarded_For="8.8.8.8") == 202


async def test_a_replayed_proof_makes_no_network_a_good_one(followed, peer):
    """Else a forger would shed the limit of wrong signatures in that peer's name for an hour."""
    assert (
        await post(peer, followed, proven(peer, page_of(peer, "a")), X_Forwarded_For="9.9.9.9")
        == 202
    )
    forged = {"key": rsa_of("wrong"), "X_Forwarded_For": "9.9.9.9"}
    statuses = [await peer.send(followed, page_of(peer, "b"), **forged) for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


@pytest.mark.parametrize("kind", ["Update", "Delete"])
async def test_what_actors_say_of_themselves_does_not_tell_whom_we_know(
    followed, peer, third, kind
):
    """Unsigned, forged, and past the limit of forgeries: of whom we follow as of a stranger."""
    answers = []
    for who in (peer, third):
        actor = who.feed_id()
        sent = {"id": f"{actor}#{kind}", "type": kind, "actor": actor, "object": actor}
        forged = {"key": rsa_of("wrong"), "X_Forwarded_For": "9.9.9.9"}
        got = [await who.send(followed, sent, Signature=None)]
        answers.append(got + [await who.send(followed, sent, **forged) for _ in range(5)])
    assert answers == [[202] * 6] * 2
    assert followed.federation.refusals["BadSignature"] > 0
    await followed.settle()
    assert followed.follow_row() is not None


async def test_a_forged_follow_does_not_tell_whom_we_know(followed, peer, third):
    """Past what its network may send of strangers, a forger hears the same in any name."""
    await followed.stop()
    followed.change(strangers_per_minute=8, wrong_signatures_per_minute=30)
    await followed.start()
    forged = {"key": rsa_of("wrong"), "X_Forwarded_For": "9.9.9.9"}
    answers = []
    for who in (peer, third):
        actor = who.feed_id()
        sent = composing.build_follow(f"{actor}#f", actor, followed.feed_id())
        answers.append([await who.send(followed, sent, **forged) for _ in range(3)])
        followed.clock.now += 60
    assert answers == [[401, 401, 429]] * 2
