"""Requests as no client makes them: whatever comes, no answer is a 5xx and none is missing."""

import asyncio
import random

import pytest

from cache.verdict import Feed
from federation.signing import keys
from federation.signing.cavage import sign_request
from tests.waiting import PATIENCE

SEED = 20_261_122
NAMES = (
    *("Signature", "Authorization", "Date", "Digest", "Content-Digest", "Content-Type", "Accept"),
    *("Content-Encoding", "Range", "If-None-Match", "Expect", "Upgrade", "Cookie", "X"),
)
NOISE = b'keyId="https://a.b/c#k",=;signature headers \xff\xc3\x28*\'0abc%/:'
PATHS = (
    *("/feeds/clean/EPOCH/pages/1", "/feeds/clean/EPOCH/pages/%31", "/feeds/clean/EPOCH/pages/1/"),
    *("/feeds/clean/EPOCH/pages/-1", "/feeds/clean/EPOCH/pages/%D9%A1", "/FEEDS/clean"),
    *("/feeds/clean/EPOCH/pages/1%00", "/feeds/clean/EPOCH/pages/" + "9" * 400),
    *("/feeds/clean/%00/pages/1", "/feeds/clean/%FF/pages/1", "/feeds/%ED%A0%80", "/feeds/%zz"),
    *("/feeds%2fclean", "//feeds/clean", "/feeds/clean/../clean", "/feeds/clean?%", "*"),
    *("http://else.example/feeds/clean", "/.well-known/webfinger?resource=%FF"),
    *("/.well-known/webfinger?resource=acct:%00@x", "/.well-known/webfinger", "/inbox"),
)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "WHAT")
BODIES = (b"", b"{}", b"null", b"\xff", b"[" * 5_000, b"{" * 60, b'{"type":"Follow","actor":[]}')


@pytest.fixture
async def epoch(ours, peer):
    """The peer is an approved follower of our clean feed, which has one page in this epoch."""
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    ours.add_row("a")
    await ours.settle()
    return ours.federation.feeds._heads.get("clean").epoch


async def ask(ours, method, path, headers, body=b""):
    """Send the bytes as they are and return the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    size = f"Content-Length: {len(body)}\r\n".encode() if body else b""
    writer.write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode() + headers + size)
    writer.write(b"\r\n" + body)
    async with asyncio.timeout(PATIENCE):
        status = int((await reader.readline()).split()[1])
    writer.close()
    return status


def signed(ours, peer, method, path):
    made = sign_request(
        method, f"{ours.base}{path}", None, peer.rsa, keys.main_key_id(peer.id), peer.clock()
    )
    return "".join(f"{name}: {value}\r\n" for name, value in made.items()).encode()


async def test_no_path_and_no_method_ends_in_a_fault(ours, peer, epoch):
    for path in (one.replace("EPOCH", epoch) for one in PATHS):
        for method in METHODS:
            assert await ask(ours, method, path, b"Host: x\r\n") < 500, (method, path)
            as_follower = signed(ours, peer, method, path) if path.startswith("/") else b""
            assert await ask(ours, method, path, as_follower) < 500, (method, path)


async def test_no_headers_and_no_body_end_in_a_fault(ours, epoch):
    dice = random.Random(SEED)
    for _ in range(300):
        headers = b"Host: x\r\n"
        for name in dice.sample(NAMES, dice.randint(1, 5)):
            noise = bytes(dice.choices(NOISE, k=dice.randint(0, 60)))
            headers += name.encode() + b": " + noise + b"\r\n"
        if dice.random() < 0.5:
            headers += b"Content-Type: application/activity+json\r\n"
        body = dice.choice(BODIES)
        assert await ask(ours, "POST", "/inbox", headers, body) < 500, (headers, body)
        path = f"/feeds/clean/{epoch}/pages/1"
        assert 400 <= await ask(ours, "GET", path, headers) < 500, headers
