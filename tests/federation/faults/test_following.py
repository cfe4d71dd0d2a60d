"""Faults of following: who accepted what, who reads what is private, and the same thing twice."""

import re

import pytest

from cache.settings import PeerDefaults
from cache.storage.feed_tables import inbox
from cache.verdict import Feed
from federation import addresses
from federation.addresses import page_url
from federation.wire import activity, composing
from tests.fakes.clock import Clock
from tests.fakes.instance import pictures
from tests.fakes.peer import rsa_of
from tests.federation.faults.letters import SCHEMES, ask, write


async def status_of(letter, peer):
    return (await letter.send(peer))[0]


# --- follow state -----------------------------------------------------------------------------
@pytest.fixture
async def pending(ours, peer):
    """Ours asked to follow the clean feed of the peer; returns that Follow."""
    await ours.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
    await ours.settle()
    return next(one for one in peer.received if one["type"] == "Follow")


def answered(follow, by, accepted=True, number=1):
    """An answer to the Follow as if it had been `by` who was asked."""
    asked = activity.Follow(follow["id"], follow["actor"], by)
    return composing.build_answer(f"{by}/answers/{number}", asked, accepted=accepted)


@pytest.mark.fault("follow state")
@pytest.mark.parametrize("is_known", [False, True], ids=["stranger", "known"])
async def test_an_accept_from_a_third_party_changes_nothing(
    ours, peer, third, pending, scheme, is_known, nothing_comes_of
):
    """Pixelfed CVE-2025-30741: anybody could accept in the name of anybody."""
    if is_known:
        await third.follow(ours)
    for_peer = answered(pending, peer.feed_id())
    async with nothing_comes_of(ours, peer, third):
        for who in (third.id, third.feed_id()):
            for accepted in (True, False):
                sent = answered(pending, who, accepted)
                assert await status_of(write(scheme, third, ours, sent), third) in (401, 403)
        inner = for_peer | {"actor": third.id, "id": f"{third.id}/answers/2"}
        assert await status_of(write(scheme, third, ours, inner), third) in (401, 403)
        forged = write(scheme, third, ours, for_peer, key_id=f"{third.id}#main-key")
        assert await status_of(forged, third) == 401
    assert ours.follow_row().state == "pending"


@pytest.mark.fault("follow state")
async def test_an_accept_by_another_actor_of_the_peer_changes_nothing(
    ours, peer, pending, scheme, nothing_comes_of
):
    """Pixelfed CVE-2025-30741: the host was looked at and not the actor."""
    await peer.follow(ours)  # its instance actor is known by that
    async with nothing_comes_of(ours, peer):
        for who in (peer.id, peer.feed_id(Feed.FLAGGED)):
            sent = answered(pending, who)
            assert await status_of(write(scheme, peer, ours, sent), peer) in (401, 403)
    assert ours.follow_row().state == "pending"


@pytest.mark.fault("follow state")
async def test_an_accept_never_asked_for_changes_nothing(ours, peer, third, nothing_comes_of):
    """Pixelfed CVE-2025-30741: an Accept without its Follow made a follower."""
    await third.follow(ours)
    made_up = {"id": f"{ours.base}/actor/follows/{'0' * 32}", "actor": f"{ours.base}/actor"}
    async with nothing_comes_of(ours, peer, third):
        for accepted in (True, False):
            assert await peer.send(ours, answered(made_up, peer.feed_id(), accepted)) == 401
            assert await third.send(ours, answered(made_up, third.id, accepted)) == 403
        page = third.publish([third.row("a")])
        assert await third.create(ours, page) == 401


@pytest.mark.fault("follow state")
async def test_an_accept_of_another_follow_changes_nothing(followed, peer, nothing_comes_of):
    """Pixelfed CVE-2025-30741: which Follow was answered was not looked at."""
    true = followed.follow_row().follow_id
    async with nothing_comes_of(followed, peer):
        for follow_id in (f"{true}0", true[:-1], f"{followed.base}/actor", peer.feed_id()):
            sent = answered({"id": follow_id, "actor": f"{followed.base}/actor"}, peer.feed_id())
            sent |= {"id": f"{sent['id']}-{follow_id[-9:]}"}
            assert await peer.send(followed, sent) == 403


@pytest.mark.fault("follow state")
async def test_an_accept_after_the_end_changes_nothing(followed, peer, nothing_comes_of):
    """Pixelfed CVE-2025-30741: an old Accept opened again what was closed."""
    follow = next(one for one in peer.received if one["type"] == "Follow")
    await followed.federation.unfollow(peer.feed_id())
    await followed.settle()
    async with nothing_comes_of(followed, peer):
        sent = answered(follow, peer.feed_id(), number=7)
        assert await peer.send(followed, sent) in (401, 403)
        assert await peer.create(followed, peer.publish([peer.row("a")])) in (401, 403)


# --- approval bypass --------------------------------------------------------------------------
PUBLIC = {
    "/.well-known/webfinger",
    "/.well-known/nodeinfo",
    "/.well-known/host-meta",
    "/.well-known/host-meta.json",
    "/nodeinfo/2.1",
    "/actor",
    "/actor/outbox",
    "/actor/followers",
    "/feeds/{name}",
    "/feeds/{name}/outbox",
    "/feeds/{name}/followers",
}
"""What anybody may ask for: actors, counts, discovery. Every other GET is private."""

STATES = {
    "nobody": ("unsigned", "plain", "forged name"),
    "pending": ("plain",),
    "rejected": ("plain",),
    "undone": ("plain",),
    "other feed": ("plain",),
    "approved": ("unsigned", "wrong key", "forged name", "old", "another method", "another host"),
    "blocked": ("plain",),
}
"""What the peer is to the clean feed, and in which ways it asks."""


def private_urls(ours, sha256):
    """A URL of every route that is not public, with parts that lead to something."""
    epoch = ours.federation.feeds._heads.get("clean").epoch
    known = {"name": "clean", "epoch": epoch, "seq": "1", "page": "1"}
    urls = [f"{ours.base}/attestations/clean?sha256={sha256.hex()}"]
    urls.append(f"{ours.feed_id()}/{epoch}/pages/1-1")
    for route in ours.federation.routes():
        if route.method == "GET" and route.path not in PUBLIC:
            path = re.sub(r"{(\w+)[^}]*}", lambda found: known.get(found[1], "1"), route.path)
            urls.append(f"{ours.base}{path}")
    return sorted(set(urls))


def plain(answer):
    """What of an answer may tell one case from another."""
    status, headers, body = answer
    return status, {name: one for name, one in headers.items() if name != "Date"}, body


@pytest.fixture
async def urls(ours, sqlite_store):
    ours.add_row("a")
    await ours.settle()
    return private_urls(ours, pictures("a")[0])


@pytest.mark.fault("approval bypass")
async def test_an_approved_follower_reads_what_is_private(ours, peer, urls, scheme):
    """What is refused below is there."""
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    seen = {url: (await ask(scheme, peer, url).send(peer))[0] for url in urls}
    there = {url for url, status in seen.items() if status == 200}
    assert page_url(ours.feed_id(), ours.federation.feeds._heads.get("clean").epoch, 1) in there
    assert any("/attestations/clean?" in url for url in there)
    assert any("/attestations/clean/1" in url for url in there)


async def reach(ours, peer, state):
    """Bring the peer into a state of following the clean feed."""
    if state == "nobody":
        return
    feed = Feed.FLAGGED if state == "other feed" else Feed.CLEAN
    follow, _ = await peer.follow(ours, feed)
    await ours.settle()
    if state != "pending":
        await ours.federation.approve(peer.id, feed)
    match state:
        case "rejected":
            await ours.federation.reject(peer.id, feed)
        case "undone":
            asked = activity.Follow(follow["id"], peer.id, follow["object"])
            await peer.send(ours, composing.build_undo(f"{peer.id}/undo/1", asked))
            await ours.settle()
        case "blocked":
            await ours.stop()
            ours.change(blocked_domains=("127.0.0.1",))
            await ours.start()


def question(scheme, ours, peer, way, url):
    """A signed GET that is perhaps wrong in one way."""
    match way:
        case "unsigned":
            return ask(scheme, peer, url).spoilt(Signature=None, Signature_Input=None)
        case "wrong key":
            return ask(scheme, peer, url, key=rsa_of("wrong"))
        case "forged name":
            return ask(scheme, peer, url, signer=f"{peer.base}/else")
        case "old":
            return ask(scheme, peer, url, now=ours.clock() - 3_601)
        case "another method":
            return ask(scheme, peer, url, method="HEAD").spoilt(method="GET")
        case "another host":
            return ask(scheme, peer, url.replace(ours.base, "https://x.example")).spoilt(
                url=url, Host=ours.base.removeprefix("http://")
            )
    return ask(scheme, peer, url)


@pytest.mark.fault("approval bypass")
@pytest.mark.parametrize("state", STATES)
async def test_who_is_not_approved_gets_the_404_of_what_is_not_there(ours, peer, urls, state):
    """Mastodon CVE-2026-27468: a follower that waits for approval read everything."""
    await reach(ours, peer, state)
    peer.requests.clear()
    missing = page_url(ours.feed_id(), "0" * 32, 99)
    nothing = plain(await ask("cavage", peer, missing).send(peer))
    assert nothing[0] == 404
    assert nothing[1]["Cache-Control"] == "private, no-store"
    for scheme in SCHEMES:
        for way in STATES[state]:
            for url in (missing, *urls):
                answer = await question(scheme, ours, peer, way, url).send(peer)
                assert plain(answer) == nothing, (scheme, way, url)
    assert [one for one in peer.requests if one[0] == "GET" and state == "nobody"] == []


@pytest.mark.fault("approval bypass")
async def test_another_method_shows_no_more(ours, peer, urls, scheme):
    """Mastodon CVE-2026-27468, by the ways that nobody thought of."""
    for url in urls:
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            status, _, body = await ask(scheme, peer, url, method=method).send(peer)
            assert status in (404, 405), (method, url)
            assert b"rows" not in body


@pytest.mark.fault("approval bypass")
async def test_what_is_public_shows_counts_alone(ours, peer, urls):
    """Mastodon CVE-2026-27468: what a private route refuses stood in a public one."""
    await peer.follow(ours)
    await ours.settle()
    sha256 = pictures("a")[0]
    for path in ("/actor", "/feeds/clean", "/feeds/flagged"):
        for part in ("", "/outbox", "/followers"):
            status, _, body = await peer.get(f"{ours.base}{path}{part}", sign=False)
            assert status == 200
            assert sha256.hex().encode() not in body
            assert peer.id.encode() not in body
            assert b'"rows":[' not in body


# --- replay -----------------------------------------------------------------------------------
@pytest.mark.fault("replay")
async def test_the_same_request_twice_is_taken_once(followed, peer, scheme):
    """RFC 9421 section 7.2.2: a signature may be sent again as it is."""
    letter = write(scheme, peer, followed, composing.build_create(peer.publish([peer.row("a")])))
    assert [await status_of(letter, peer) for _ in range(3)] == [202, 202, 202]
    await followed.settle()
    assert await status_of(letter, peer) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")
    kinds = [row.kind for row in followed.rows(inbox)]
    assert kinds == ["Answer", "CreatePage"]


@pytest.mark.fault("replay")
async def test_a_follow_that_was_undone_is_not_brought_back(ours, peer, scheme):
    """RFC 9421 section 7.2.2: whoever saw the Follow sends it again after the Undo."""
    follow = composing.build_follow(f"{peer.id}/follows/1", peer.id, ours.feed_id())
    letter = write(scheme, peer, ours, follow)
    assert await status_of(letter, peer) == 202
    await ours.settle()
    asked = activity.Follow(follow["id"], peer.id, follow["object"])
    assert await peer.send(ours, composing.build_undo(f"{peer.id}/undo/1", asked)) == 202
    await ours.settle()
    await status_of(letter, peer)
    await ours.settle()
    assert ours.followers() == []


@pytest.mark.fault("replay")
async def test_a_request_of_another_time_is_refused(followed, peer, scheme, nothing_comes_of):
    """RFC 9421 section 7.2.2: an old signature is good for an hour."""
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    async with nothing_comes_of(followed, peer):
        for seconds in (-3_601, 3_601, -86_400 * 365, 86_400 * 365):
            letter = write(scheme, peer, followed, sent, now=followed.clock() + seconds)
            assert await status_of(letter, peer) == 401, seconds
    for seconds in (-3_600, 3_600):  # the clocks of peers differ
        letter = write(scheme, peer, followed, sent, now=followed.clock() + seconds)
        assert await status_of(letter, peer) == 202, seconds


@pytest.mark.fault("replay")
async def test_a_signature_that_has_expired_is_refused(followed, peer, nothing_comes_of):
    """RFC 9421 section 2.3: `expires` is the signer's word."""
    now = followed.clock()
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    key_id = f"{sent['actor']}#main-key"
    rest = f';created={now - 10};expires={now - 1};keyid="{key_id}";alg="rsa-v1_5-sha256"'
    letter = write("rfc9421", peer, followed, sent, rest=rest)
    async with nothing_comes_of(followed, peer):
        assert await status_of(letter, peer) == 401


@pytest.mark.fault("replay")
async def test_a_request_for_another_host_is_refused(
    followed, peer, third, scheme, nothing_comes_of
):
    """RFC 9421 section 7.2.1: a peer passes on to us what was signed for it."""
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    async with nothing_comes_of(followed, peer):
        for there in (third.base, "https://x.example", followed.base.replace("http:", "https:")):
            letter = write(scheme, peer, followed, sent, signed_url=f"{there}/inbox")
            if (scheme, there) == ("cavage", followed.base.replace("http:", "https:")):
                continue  # draft-cavage signs no scheme
            assert await status_of(letter, peer) == 401, there
            host = {"Host": followed.base.split("//")[1]}
            assert await status_of(letter.spoilt(**host), peer) == 401, there


@pytest.mark.fault("replay")
async def test_a_get_is_no_post(ours, peer, scheme, urls):
    """RFC 9421 section 7.2.1: a signature is good for its method and target alone."""
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    outbox = ask(scheme, peer, addresses.outbox_url(ours.feed_id()))
    for url in urls:
        assert (await outbox.spoilt(url=url).send(peer))[0] == 404


@pytest.mark.fault("replay")
async def test_a_signature_is_forgotten_no_earlier_than_it_could_be_sent_again(ours, peer, clock):
    """RFC 9421 section 7.2.2: ids are kept for longer than signatures are good."""
    follow = composing.build_follow(f"{peer.id}/follows/1", peer.id, ours.feed_id())
    letter = write("cavage", peer, ours, follow)
    assert await status_of(letter, peer) == 202
    await ours.settle()
    clock.now += ours.settings.inbox_keep_seconds + 1
    await ours.federation.queue.tidy()
    assert ours.rows(inbox) == []
    assert await status_of(letter, peer) == 401
    peer.clock = Clock(clock.now)
