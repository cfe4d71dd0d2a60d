"""Faults of going out: where strangers may send us, how often, how far and for how long."""

import asyncio
import gzip
import tracemalloc
from ipaddress import ip_address

import pytest
from aiohttp import web

from cache.settings import PeerDefaults
from federation import addresses
from federation.actors.nodeinfo import SCHEMA
from federation.actors.webfinger import INSTANCE_REL
from federation.checking.looking import Looker
from federation.checking.peer import PeerDoctor
from federation.checking.result import Name, Outcome
from federation.errors import FederationError
from federation.origin import Url
from federation.settings import FederationSettings
from federation.wire import composing
from federation.wire.outbox import OutboxHead, build_outbox
from federation.wire.page import EpochEnd, digest
from tests.fakes.instance import pictures
from tests.fakes.peer import ACTIVITY, reply, rsa_of
from tests.federation.faults.letters import write
from tests.waiting import PATIENCE

MIB = 1_048_576
TYPED = {"Content-Type": ACTIVITY}
NOT_PUBLIC = (
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "168.63.129.16"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1"),
    *("192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *("64:ff9b::7f00:1", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
    *("3fff::1", "5f00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1"),
)
SPELLED = (
    *("2130706433", "0x7f000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.1."),
    *("[::1%25lo]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "①②⑦.⓪.⓪.①"),
)


async def ask_to_follow(ours, peer, base, path="/actor"):
    """Let somebody at `base` ask to follow, a minute after whoever asked before."""
    ours.clock.now += 61
    actor = f"{base}{path}"
    follow = composing.build_follow(f"{base}/follows/1", actor, ours.feed_id())
    key_id = f"{actor}#main-key".encode("ascii", "xmlcharrefreplace").decode()
    letter = write("cavage", peer, ours, follow, key_id=key_id)
    return (await letter.send(peer))[0]


def redirecting(to):
    async def answer(_request):
        return web.Response(status=302, headers={"Location": to})

    return answer


# --- server-side request forgery: ranges ------------------------------------------------------
@pytest.mark.fault("server-side request forgery: ranges")
@pytest.mark.parametrize("by", ["address", "name"])
async def test_no_address_that_is_not_public_is_asked(
    guarded, peer, internet, by, nothing_comes_of
):
    """Mastodon CVE-2026-22245, Fedify CVE-2026-50131, Lemmy CVE-2026-33693: ranges left out."""
    assert len(NOT_PUBLIC) >= 30
    async with nothing_comes_of(guarded, peer):
        seen = {}
        for number, address in enumerate(NOT_PUBLIC):
            shown = str(ip_address(address))
            host = f"[{shown}]" if ":" in shown else shown
            if by == "name":
                host = f"n{number}.example"
                internet.name(host, [address])
            seen[address] = await ask_to_follow(guarded, peer, f"https://{host}")
        assert seen == dict.fromkeys(NOT_PUBLIC, 401)
        assert internet.went_to == []


@pytest.mark.fault("server-side request forgery: ranges")
async def test_an_address_written_in_another_way_is_not_asked(
    guarded, peer, internet, nothing_comes_of
):
    """Lemmy CVE-2026-33693: 0x7f000001 and its kin lead to loopback."""
    async with nothing_comes_of(guarded, peer):
        for host in (*SPELLED, "localhost", "ip6-localhost"):
            status = await ask_to_follow(guarded, peer, f"https://{host}")
            assert status in (400, 401), host
        assert internet.went_to == []


# --- server-side request forgery: redirect, rebinding, second URL -----------------------------
SECRETS = (
    *("https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest/meta-data/"),
    *("https://localhost/", "http://10.0.0.1/", "//192.168.1.1/actor", "file:///etc/passwd"),
)


@pytest.fixture
async def far(internet, clock):
    return await internet.peer(clock, "beta.example")


@pytest.mark.fault("server-side request forgery: redirect, rebinding, second URL")
async def test_a_redirect_does_not_lead_inside(guarded, far, internet, nothing_comes_of):
    """Fedify CVE-2026-77632: only the first address was looked at."""
    async with nothing_comes_of(guarded, far, fetches=len(SECRETS)):
        for number, secret in enumerate(SECRETS):
            far.answers[f"/{number}"] = redirecting(secret)
            assert await ask_to_follow(guarded, far, far.base, f"/{number}") in (400, 401), secret
        assert set(internet.went_to) == {far.address}


@pytest.mark.fault("server-side request forgery: redirect, rebinding, second URL")
async def test_a_name_that_changes_its_address_does_not_lead_inside(guarded, far, internet):
    """Fedify CVE-2026-62857: the name was looked up once for the guard and once for the way."""
    internet.name("beta.example", [far.address], ["127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1"])
    assert await ask_to_follow(guarded, far, far.base) == 202
    went = list(internet.went_to)
    for path in ("/a", "/b", "/c"):
        await guarded.federation.client.close()  # and with it what it remembers of names
        assert await ask_to_follow(guarded, far, far.base, path) == 401
    assert len(internet.looked_up) >= 4
    assert internet.went_to == went


@pytest.mark.fault("server-side request forgery: redirect, rebinding, second URL")
async def test_a_name_with_two_addresses_leads_to_the_public_one_alone(guarded, far, internet):
    """Fedify CVE-2026-62857: when one address does not answer, the next one is tried."""
    internet.name("beta.example", ["10.0.0.1", "93.184.216.77", "127.0.0.1"])
    assert await ask_to_follow(guarded, far, far.base) == 401
    assert set(internet.went_to) == {"93.184.216.77"}


def _second_urls(far):
    """Actors of the peer whose other URLs lead inside."""
    own, key = far.document("actor"), far.document("actor")["publicKey"]
    secret = "https://127.0.0.1/secret"
    return {
        "inbox": own | {"inbox": secret},
        "shared inbox": own | {"endpoints": {"sharedInbox": secret}},
        "outbox": own | {"outbox": secret},
        "followers": own | {"followers": secret},
        "key id": own | {"publicKey": key | {"id": f"{secret}#main-key"}},
        "reference to a key": own | {"publicKey": secret},
        "reference to a proof key": own | {"publicKey": secret, "assertionMethod": [secret]},
        "icon": own | {"publicKey": [], "icon": {"type": "Image", "url": secret}},
        "moved": own | {"publicKey": [], "movedTo": secret, "alsoKnownAs": [secret]},
        "remote context": own | {"publicKey": [], "@context": secret},
    }


@pytest.mark.fault("server-side request forgery: redirect, rebinding, second URL")
async def test_no_second_url_of_an_actor_leads_inside(guarded, far, internet):
    """CVE-2024-39687 (Fedify): what a document names was fetched without a look."""
    made = _second_urls(far)
    for number, document in enumerate(made.values()):
        path = f"/{number}"
        named = far.id.replace("/actor", path)
        text = {name: _renamed(value, far.id, named) for name, value in document.items()}

        async def answer(_request, text=text):
            return reply(text)

        far.answers[path] = answer
        assert await ask_to_follow(guarded, far, far.base, path) == 401, list(made)[number]
        await guarded.settle()
    assert set(internet.went_to) == {far.address}
    assert guarded.followers() == []


def _renamed(value, old, new):
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_renamed(one, old, new) for one in value]
    return (
        {k: _renamed(v, old, new) for k, v in value.items()} if isinstance(value, dict) else value
    )


@pytest.mark.fault("server-side request forgery: redirect, rebinding, second URL")
async def test_no_key_id_leads_anywhere(guarded, far, internet, scheme, nothing_comes_of):
    """Fedify CVE-2026-77632: the key id of a signature is the first thing that a stranger sets."""
    follow = composing.build_follow(f"{far.base}/1", far.id, guarded.feed_id())
    key_ids = ("https://127.0.0.1/key", "https://10.0.0.1/actor#main-key", "file:///etc/passwd")
    async with nothing_comes_of(guarded, far):
        for key_id in (*key_ids, "https://gamma.example/key", "x", "https://", "urn:x"):
            letter = write(scheme, far, guarded, follow, key_id=key_id)
            assert (await letter.send(far))[0] == 401, key_id
        assert internet.went_to == []
        assert internet.looked_up == []


@pytest.mark.fault("server-side request forgery: redirect, rebinding, second URL")
async def test_no_link_of_webfinger_leads_inside(guarded, far, internet):
    """Fedify CVE-2024-39687: discovery went wherever a link pointed."""
    for secret in SECRETS:
        links = [{"rel": "self", "type": ACTIVITY, "href": secret}]
        found = {"subject": "acct:clean@beta.example", "links": links}

        async def answer(_request, found=found):
            return reply(found, "application/jrd+json")

        far.answers["/.well-known/webfinger"] = answer
        with pytest.raises(FederationError):
            await guarded.federation.follow("clean@beta.example", PeerDefaults())
    assert set(internet.went_to) == {far.address}


@pytest.mark.fault("server-side request forgery: redirect, rebinding, second URL")
async def test_no_link_of_nodeinfo_leads_inside(guarded, far, internet):
    """Fedify CVE-2026-77632: the second document was fetched from wherever the first one said."""
    parts, own = guarded.federation, Url(f"{guarded.base}/actor")
    looker = Looker(parts.client, guarded.settings, own, guarded.clock)
    far.answers["/.well-known/host-meta"] = redirecting("https://127.0.0.1/")
    for secret in SECRETS:
        links = {"links": [{"rel": one, "href": secret} for one in (SCHEMA, INSTANCE_REL)]}

        async def answer(_request, links=links):
            return reply(links, "application/json")

        far.answers["/.well-known/nodeinfo"] = answer
        checks = await PeerDoctor(looker, guarded.store).check("clean@beta.example")
        told = {one.name: one.outcome for one in checks}
        assert told[Name.NODEINFO] is Outcome.WARNING, secret
    assert set(internet.went_to) == {far.address}


# --- redirect loops, refetched keys -----------------------------------------------------------
@pytest.mark.fault("redirect loops, refetched keys")
async def test_a_loop_of_redirects_ends(ours, peer, third, nothing_comes_of):
    """Fedify CVE-2025-23221: A to B to A without end."""
    ways = {"/self": "/self", "/a": "/b", "/b": "/a", "/away": f"{third.base}/back"}
    peer.answers |= {path: redirecting(to) for path, to in ways.items()}
    third.answers["/back"] = redirecting(f"{peer.base}/away")
    for path, most in {"/self": 4, "/a": 4, "/away": 1}.items():
        async with nothing_comes_of(ours, peer, third, fetches=most):
            assert await ask_to_follow(ours, peer, peer.base, path) == 401
    assert third.requests == []


@pytest.mark.fault("redirect loops, refetched keys")
@pytest.mark.parametrize("count", [300, pytest.param(1_000, marks=pytest.mark.slow)])
async def test_a_thousand_bad_signatures_cost_one_fetch(followed, peer, scheme, clock, count):
    """Fedify CVE-2026-34148: each signature that did not fit fetched the key anew."""
    clock.now += 601
    peer.requests.clear()
    sent = composing.build_create(peer.publish([peer.row("a")], keep=False))
    letter = write(scheme, peer, followed, sent, key=rsa_of("wrong"))
    statuses = [(await letter.send(peer))[0] for _ in range(count)]
    assert set(statuses) <= {401, 429}
    assert statuses[0] == 401
    assert peer.requests == [("GET", "/feeds/clean")]
    assert followed.pictures() == []


# --- one message, many fetches ----------------------------------------------------------------
def crowded(sent, third):
    """The same activity with every member that may name others, a hundred names each."""
    names = [f"{third.base}/{number}" for number in range(100)]
    links = [{"type": "Link", "href": name} for name in names]
    return sent | {
        **dict.fromkeys(("to", "cc", "bto", "bcc", "audience", "attributedTo"), names),
        **dict.fromkeys(("tag", "attachment", "icon", "preview", "generator"), links),
        **dict.fromkeys(("inReplyTo", "replies", "context", "origin", "target"), names[0]),
        "@context": [*_listed(sent["@context"]), *names],
        "signature": {"creator": names[0]},
    }


def _listed(context):
    return context if isinstance(context, list) else [context]


@pytest.mark.fault("one message, many fetches")
async def test_an_activity_that_names_many_costs_no_fetch(followed, peer, third, scheme):
    """Lemmy, WordPress: one message made the server ask everybody whom it named."""
    sent = composing.build_create(peer.publish([peer.row("a")]))
    peer.requests.clear()
    letter = write(scheme, peer, followed, crowded(sent, third))
    assert (await letter.send(peer))[0] == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")
    assert (peer.requests, third.requests) == ([], [])


@pytest.mark.fault("one message, many fetches")
async def test_a_follow_that_names_many_costs_one_fetch(ours, peer, third, scheme):
    """Lemmy, WordPress: and so did a stranger's."""
    follow = composing.build_follow(f"{peer.id}/f", peer.id, ours.feed_id())
    document = crowded(peer.document("actor"), third)

    async def answer(_request):
        return reply(document)

    peer.answers["/actor"] = answer
    letter = write(scheme, peer, ours, crowded(follow, third))
    assert (await letter.send(peer))[0] == 202
    await ours.settle()
    assert peer.requests == [("GET", "/actor")]
    assert third.requests == []


@pytest.mark.fault("one message, many fetches")
async def test_an_announced_page_costs_two_fetches_however_often_it_is_told(followed, peer, third):
    """Lemmy, WordPress: a small message, large work."""
    sent = composing.announced(composing.build_create(peer.publish([peer.row("a")])))
    peer.requests.clear()
    for number in range(20):
        told = crowded(sent, third) | {"id": f"{sent['id']}-{number}"}
        assert await peer.send(followed, told) == 202
    await followed.settle()
    assert followed.pictures() == pictures("a")
    assert len(peer.requests) <= 3
    assert third.requests == []


# --- endless collections ----------------------------------------------------------------------
def serve(peer, path, document):
    async def answer(_request):
        return reply(document)

    peer.answers[path] = answer


def tell(peer, epoch, last, told, **more):
    """Let the outbox of the clean feed tell that `epoch` goes through page `last`."""
    head = OutboxHead(epoch, 1, last, told)
    url = addresses.outbox_url(peer.feed_id())
    serve(peer, url.removeprefix(peer.base), build_outbox(peer.feed_id(), head) | more)


def circle(peer):
    """Two epochs, each of which names the other as the one before it."""
    first, second = "a" * 32, "b" * 32
    for epoch, before in ((first, second), (second, first)):
        peer.epochs[addresses.FEEDS["clean"]] = epoch
        peer.ends[addresses.FEEDS["clean"]] = EpochEnd(before, 1)
        peer.publish([peer.row(epoch[:3])])


@pytest.mark.fault("endless collections")
@pytest.mark.parametrize("how", ["next", "numbers", "circle", "epochs", "same page"])
async def test_a_feed_without_end_is_left(followed, peer, third, how, clock):
    """PeerTube CVE-2025-32947: a collection whose next page was itself was read for ever."""
    page = peer.publish([peer.row("a")])
    clean = addresses.FEEDS["clean"]
    match how:
        case "next":
            endless = {"next": addresses.outbox_url(peer.feed_id()), "first": f"{third.base}/1"}
            tell(peer, peer.epochs[clean], 1, digest(page), **endless, orderedItems=[{"x": 1}])
        case "numbers":
            tell(peer, peer.epochs[clean], 2**53 - 1, digest(page))
        case "same page":
            tell(peer, peer.epochs[clean], 2**53 - 1, digest(page))
            for number in range(2, 40):
                serve(peer, page["id"].removeprefix(peer.base)[:-1] + str(number), page)
        case "circle":
            circle(peer)
        case "epochs":
            for number in range(60):
                peer.new_epoch()
                peer.publish([peer.row(f"{number}")])
    peer.requests.clear()
    clock.now += followed.settings.pull_seconds
    await followed.settle()
    assert len(peer.requests) <= 64
    assert third.requests == []


@pytest.mark.fault("endless collections")
async def test_an_outbox_of_another_origin_is_not_asked(ours, peer, third):
    """PeerTube CVE-2025-32947: and a collection could go on elsewhere."""
    outbox = third.outbox(addresses.FEEDS["clean"])
    serve(peer, "/feeds/clean", peer.document("clean") | {"outbox": outbox["id"]})
    with pytest.raises(FederationError):
        await ours.federation.follow(f"clean@127.0.0.1:{peer.port}", PeerDefaults())
    assert third.requests == []


# --- decompression bombs ----------------------------------------------------------------------
def bomb():
    """50 MiB of spaces in 50 KB."""
    return gzip.compress(b" " * (50 * MIB), compresslevel=1)


@pytest.mark.fault("decompression bombs")
async def test_a_bomb_into_the_inbox_is_413(followed, peer, scheme, nothing_comes_of):
    """aiohttp CVE-2025-69228: a small body that unpacks to gigabytes."""
    letter = write(scheme, peer, followed, bomb(), key_id=f"{peer.feed_id()}#main-key")
    async with nothing_comes_of(followed, peer):
        tracemalloc.start()
        status = (await letter.spoilt(Content_Encoding="gzip").send(peer))[0]
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert status == 413
        assert most < 8 * MIB  # it was never unpacked


@pytest.mark.fault("decompression bombs")
async def test_a_bomb_out_of_a_fetch_stops_at_the_limit(ours, peer, nothing_comes_of):
    """aiohttp CVE-2026-22815: the same from the other side."""
    packed = bomb()

    async def answer(_request):
        return web.Response(body=packed, headers=TYPED | {"Content-Encoding": "gzip"})

    peer.answers["/actor"] = answer
    async with nothing_comes_of(ours, peer, fetches=1):
        tracemalloc.start()
        status = await ask_to_follow(ours, peer, peer.base)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert status == 413
        assert most < 8 * MIB


@pytest.mark.fault("decompression bombs")
async def test_an_answer_without_end_stops_at_the_limit(ours, peer, nothing_comes_of):
    """aiohttp CVE-2026-22815, without packing."""
    sent = 0

    async def answer(request):
        nonlocal sent
        response = web.StreamResponse(headers=TYPED)
        await response.prepare(request)
        while True:
            await response.write(b" " * 65_536)
            sent += 65_536

    peer.answers["/actor"] = answer
    async with nothing_comes_of(ours, peer, fetches=1):
        assert await ask_to_follow(ours, peer, peer.base) == 413
    assert sent < 64 * MIB


# --- slow answers -----------------------------------------------------------------------------
@pytest.mark.fault("slow answers")
def test_an_answer_may_take_ten_seconds_in_all():
    """Mastodon CVE-2023-36461: the time was counted anew with every byte."""
    assert FederationSettings().fetch_seconds == 10


@pytest.mark.fault("slow answers")
@pytest.mark.parametrize("what", ["body", "headers", "nothing"])
async def test_a_server_that_drips_is_left(ours, what, nothing_comes_of, peer):
    """Mastodon CVE-2023-36461: one byte a second held a worker for ever."""
    await ours.stop()
    ours.change(fetch_seconds=0.3)
    await ours.start()
    left, ended = asyncio.Event(), asyncio.Event()

    async def drip(_reader, writer):
        head = b"HTTP/1.1 200 OK\r\n"
        if what == "body":
            head += b"Content-Type: application/activity+json\r\nContent-Length: 99999\r\n\r\n"
        writer.write(b"" if what == "nothing" else head)
        try:
            while not left.is_set():
                writer.write(b"" if what == "nothing" else b" " if what == "body" else b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            left.set()
        writer.close()
        ended.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with nothing_comes_of(ours), asyncio.timeout(PATIENCE):
        assert await ask_to_follow(ours, peer, f"http://127.0.0.1:{port}") == 401
    left.set()
    await ended.wait()
    server.close()


@pytest.mark.fault("slow answers")
async def test_a_body_that_drips_into_the_inbox_is_given_up(ours, nothing_comes_of):
    """Mastodon CVE-2023-36461, the way in."""
    await ours.stop()
    ours.change(fetch_seconds=0.1)
    await ours.start()
    async with nothing_comes_of(ours):
        reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
        head = "POST /inbox HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
        writer.write(f"{head}Content-Type: {ACTIVITY}\r\n\r\n{{".encode())
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).split()[1] == b"408"
        writer.close()
