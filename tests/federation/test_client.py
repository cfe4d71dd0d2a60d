"""The one outbound client against a server that misbehaves, over loopback."""

import asyncio
import contextlib
import gzip
import time
import tracemalloc
import zlib
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from federation.client import AnsweredWith, Client
from federation.errors import (
    BlockedAddress,
    FederationError,
    FetchFailed,
    TooLarge,
    WrongContentType,
)
from federation.outbound.media import ACTIVITY, Kind
from federation.settings import FederationSettings

LIMIT = 10_000
TYPED = {"Content-Type": ACTIVITY}


@pytest.fixture
async def peer():  # noqa: C901
    """A server whose routes misbehave in one way each; `seen` holds the requests."""
    seen = []

    async def answer(request):  # noqa: C901
        seen.append(request)
        match request.path:
            case "/exact":
                return web.Response(body=b"x" * LIMIT, headers=TYPED)
            case "/long":
                return web.Response(body=b"x" * (LIMIT + 1), headers=TYPED)
            case "/bomb":
                bomb = gzip.compress(bytes(50_000_000))
                return web.Response(body=bomb, headers=TYPED | {"Content-Encoding": "gzip"})
            case "/gigabyte":
                return await _gigabyte(request)
            case "/cookie":
                return web.Response(body=b"{}", headers=TYPED | {"Set-Cookie": "a=b; Path=/"})
            case "/later":
                headers = {"Retry-After": request.query["at"]}
                return web.Response(status=503, headers=headers)
            case "/drip":
                return await _drip(request)
            case "/loop":
                return web.Response(status=302, headers={"Location": "/loop"})
            case "/hops":
                left = int(request.query["left"])
                if left:
                    return web.Response(status=302, headers={"Location": f"/hops?left={left - 1}"})
                return web.Response(body=b"{}", headers=TYPED)
            case "/away":
                return web.Response(status=302, headers={"Location": request.query["to"]})
            case "/typed":
                return web.Response(body=b"{}", headers={"Content-Type": request.query["as"]})
            case "/inbox":
                assert await request.read() == b"{}"
                return web.Response(status=429, headers={"Retry-After": "120"})
        return web.Response(status=410)

    server = TestServer(web.Application())
    server.app.router.add_route("*", "/{tail:.*}", answer)
    await server.start_server()
    setattr(server, "seen", seen)  # noqa: B010
    yield server
    await server.close()


async def _drip(request):
    response = web.StreamResponse(headers=TYPED)
    await response.prepare(request)
    try:
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)
    except (ConnectionError, asyncio.CancelledError):
        return response


async def _gigabyte(request):
    """A gzip stream of 1 GB of zeros: the block after the first may be sent again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(10_000_000)
    response = web.StreamResponse(headers=TYPED | {"Content-Encoding": "gzip"})
    await response.prepare(request)
    try:
        await response.write(packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH))
        block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
        await response.write(99 * block)
    except (ConnectionError, asyncio.CancelledError):
        pass
    return response


def sign(actor, method, url, body, scheme):
    return {"Signature": f"{actor} {method} {url} {len(body or b'')}", "Scheme": scheme.value}


@pytest.fixture
async def make_client():
    clients = []

    def make(clock=time.time, **changes):
        settings = FederationSettings(**{"allow_private_addresses": True} | changes)
        clients.append(Client(settings, sign, "test", clock=clock))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def get(client, peer, path, kind=Kind.ACTIVITY, **more):
    return await client.get(str(peer.make_url(path)), kind, LIMIT, **more)


async def test_a_body_of_exactly_the_limit_is_taken(make_client, peer):
    assert len((await get(make_client(), peer, "/exact")).body) == LIMIT


async def test_a_body_one_byte_past_the_limit_is_refused(make_client, peer):
    with pytest.raises(TooLarge):
        await get(make_client(), peer, "/long")


async def test_a_gzip_bomb_stops_at_the_limit(make_client, peer):
    with pytest.raises(TooLarge):
        await get(make_client(), peer, "/bomb")


async def test_a_gigabyte_of_zeros_costs_no_memory(make_client, peer):
    """aiohttp CVE-2025-69228: it is unpacked piece by piece, and left at the limit."""
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            await get(make_client(), peer, "/gigabyte")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40_000_000


async def test_a_head_that_drips_is_left_after_the_total_time(make_client):
    async def drip(_reader, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"X-Slow: x\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)

    server = await asyncio.start_server(drip, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(FetchFailed, match="no full answer within"):
        await make_client(fetch_seconds=0.2).get(f"http://127.0.0.1:{port}/", Kind.JRD, LIMIT)
    server.close()


async def test_a_server_that_drips_is_left_after_the_total_time(make_client, peer):
    with pytest.raises(FetchFailed, match="no full answer within"):
        await get(make_client(fetch_seconds=0.2), peer, "/drip")


async def test_three_redirects_within_the_origin_are_followed(make_client, peer):
    fetched = await get(make_client(), peer, "/hops?left=3")
    assert fetched.url.endswith("/hops?left=0")


@pytest.mark.parametrize("path", ["/hops?left=4", "/loop"])
async def test_a_fourth_redirect_is_not_followed(make_client, peer, path):
    with pytest.raises(FetchFailed, match="more than 3 redirects"):
        await get(make_client(), peer, path)
    assert len(peer.seen) == 4


@pytest.mark.parametrize("to", ["http://localhost:1/", "https://example.com/", "//127.0.0.2/"])
async def test_a_redirect_to_another_origin_is_not_followed(make_client, peer, to):
    with pytest.raises(FetchFailed, match="another origin"):
        await get(make_client(), peer, f"/away?to={to}")


async def test_each_redirect_is_signed_anew(make_client, peer):
    await get(make_client(), peer, "/hops?left=1", as_actor="me")
    assert [one.headers["Signature"].split()[2][-6:] for one in peer.seen] == ["left=1", "left=0"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "image/png",
        "application/json",
        "application/ld+json",
        'application/ld+json; profile="https://example.com/other"',
        "application/activity+jsonx",
        "text/html; application/activity+json",
    ],
)
async def test_activitypub_under_another_content_type_is_refused(make_client, peer, content_type):
    with pytest.raises(WrongContentType):
        await get(make_client(), peer, f"/typed?as={quote(content_type)}")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/activity+json",
        "Application/Activity+JSON; charset=utf-8",
        'application/ld+json; profile="https://www.w3.org/ns/activitystreams"',
        'application/ld+json;profile="https://x.example/ https://www.w3.org/ns/activitystreams"',
    ],
)
async def test_both_content_types_of_activitypub_are_taken(make_client, peer, content_type):
    assert (await get(make_client(), peer, f"/typed?as={quote(content_type)}")).body == b"{}"


async def test_webfinger_is_taken_as_jrd_and_json_but_nodeinfo_not_as_jrd(make_client, peer):
    client = make_client()
    await get(client, peer, "/typed?as=application/jrd%2Bjson", Kind.JRD)
    await get(client, peer, "/typed?as=application/json", Kind.JRD)
    with pytest.raises(WrongContentType):
        await get(client, peer, "/typed?as=application/jrd%2Bjson", Kind.NODEINFO)


async def test_another_status_than_200_is_told(make_client, peer):
    with pytest.raises(AnsweredWith) as told:
        await get(make_client(), peer, "/none")
    assert told.value.code == 410


async def test_a_post_is_signed_and_tells_status_and_retry_after(make_client, peer):
    posted = await make_client().post(str(peer.make_url("/inbox")), b"{}", "me")
    assert (posted.status, posted.retry_after) == (429, 120)
    assert peer.seen[0].headers["Content-Type"] == ACTIVITY
    assert peer.seen[0].headers["Signature"].startswith("me POST")


async def test_retry_after_may_be_a_date(make_client, peer):
    client = make_client(clock=lambda: 784_111_777 - 90)
    for at, seconds in (("Sun,%2006%20Nov%201994%2008:49:37%20GMT", 90), ("7", 7), ("x", None)):
        with pytest.raises(AnsweredWith) as told:
            await get(client, peer, f"/later?at={at}")
        assert (told.value.code, told.value.retry_after) == (503, seconds)
        posted = await client.post(str(peer.make_url(f"/later?at={at}")), b"{}", "me")
        assert (posted.status, posted.retry_after) == (503, seconds)


async def test_cookies_are_not_kept(make_client, peer):
    client = make_client()
    for _ in range(2):
        await get(client, peer, "/cookie")
    assert ["Cookie" in one.headers for one in peer.seen] == [False, False]


@pytest.mark.parametrize(
    "to", ["", "http://[", "https://", "ftp://a.example/", "https://u@127.0.0.1/"]
)
async def test_a_redirect_to_no_url_is_not_followed(make_client, peer, to):
    with pytest.raises(FederationError):
        await get(make_client(), peer, f"/away?to={quote(to)}")
    assert len(peer.seen) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_loopback_is_refused_as_literal_and_as_name(make_client, peer, host):
    url = f"https://{host}:{peer.port}/exact"
    with pytest.raises(BlockedAddress):
        await make_client(allow_private_addresses=False).get(url, Kind.ACTIVITY, LIMIT)
    assert peer.seen == []


async def test_http_is_refused_without_private_addresses(make_client, peer):
    with pytest.raises(BlockedAddress):
        await get(make_client(allow_private_addresses=False), peer, "/exact")
    assert peer.seen == []


async def test_proxies_of_the_environment_are_not_used(make_client, peer, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await get(make_client(), peer, "/exact")).body


async def test_a_closed_port_is_a_fetch_that_failed(make_client, peer):
    with pytest.raises(FetchFailed):
        await make_client().get("http://127.0.0.1:1/", Kind.ACTIVITY, LIMIT)


class Crowd:
    """A server that counts how many requests it, and all others of its kind, hold at once."""

    at_once = most = 0

    @classmethod
    async def slow(cls, _request):
        cls.at_once += 1
        cls.most = max(cls.most, cls.at_once)
        await asyncio.sleep(0.01)
        cls.at_once -= 1
        return web.Response(body=b"{}", headers=TYPED)


@pytest.mark.parametrize(
    ("servers", "limits", "most"),
    [
        (1, {"connections_per_host": 2}, 2),
        (1, {}, 4),
        (4, {"connections": 3}, 3),
        (4, {"connections_per_host": 1}, 4),
    ],
)
async def test_hosts_get_no_more_connections_at_once_than_allowed(
    make_client, servers, limits, most
):
    """For one host, and for all together; a port is a host of its own."""
    Crowd.at_once = Crowd.most = 0
    started = []
    for _ in range(servers):
        started.append(TestServer(web.Application()))
        started[-1].app.router.add_get("/", Crowd.slow)
        await started[-1].start_server()
    client = make_client(**limits)
    await asyncio.gather(*(get(client, server, "/") for server in started for _ in range(8)))
    for server in started:
        await server.close()
    assert Crowd.most == most
