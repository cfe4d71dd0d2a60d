"""No request at a running server ends in a 5xx, and nothing that it took down ends in a fault.

Three kinds of senders: one that sends any bytes, a peer that we follow and whose activities are
signed but not quite right, and an approved follower that asks for what is not quite there.
"""

import asyncio
import gzip
import logging
import random
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.verdict import Feed
from federation.origin import Url
from federation.wire import activity, composing
from tests.fakes.peer import ACTIVITY
from tests.federation.faults.letters import SCHEMES, ask, sign
from tests.federation.fuzzing.mutating import mutate, splice, to_bytes
from tests.federation.fuzzing.parsers import seeds
from tests.federation.samples import picture
from tests.waiting import PATIENCE

given_server = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
given_server_long = settings(given_server, max_examples=1_500)
numbers = st.integers(0, 2**32)

ANSWER_SECONDS = 2
METHODS = (
    "GET",
    "GET",
    "POST",
    "POST",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "CONNECT",
    "get",
)
SEGMENTS = (
    *("clean", "flagged", "actor", "EPOCH", "1", "0", "-1", "1-2", "2-1", "99999999999999999999"),
    *("%00", "%2F", "%FF", "..", ".", "", "*", "é", "%ED%A0%80", "%D9%A1", "\u0661", "1" * 400),
    *(
        "pages",
        "outbox",
        "heads",
        "snapshot",
        "1.0",
        " 1",
        "+1",
        "0x1",
        "1_0",
        "true",
        "null",
        "a?b#c",
    ),
)
NAMES = (
    *("Host", "Signature", "Signature-Input", "Authorization", "Date", "Digest", "Content-Digest"),
    *("Content-Type", "Content-Encoding", "Content-Length", "Transfer-Encoding", "Accept", "Range"),
    *("Accept-Encoding", "If-None-Match", "If-Modified-Since", "Expect", "Upgrade", "Connection"),
    *("Cookie", "X-Forwarded-For", "Sec-WebSocket-Key", "Content-Disposition", "Link", "", "X Y"),
)
TEXTS = (
    *(
        "",
        "gzip",
        "deflate",
        "br",
        "zstd",
        "chunked",
        "identity, gzip",
        "100-continue",
        "websocket",
    ),
    *(
        "0",
        "-1",
        "1",
        "5",
        "99999999999999999999",
        "bytes=0-",
        "*",
        "keep-alive",
        "close",
        ACTIVITY,
    ),
    *("application/json", "multipart/form-data; boundary=x", "text/plain; charset=x", ";", "/"),
    *('keyId="https://a.example/#k",signature="AAAA"', 'sig1=("@method");created=1;keyid="k"'),
    *("sig1=:AAAA:", "SHA-256=AAAA", "sha-256=:AAAA:", "Sun, 22 Nov 2026 08:00:00 GMT", "\xff\x00"),
    *("\udc9c\u0413", "application/\udc9c\u0413json", "sig1=\udc9c\u0413", "\udcff"),
)


@pytest.fixture
async def reading(ours, peer, caplog):
    """Ours follows the peer and the peer follows ours, which has a page; faults are logged."""
    caplog.set_level(logging.ERROR)
    await ours.follow(peer)
    await peer.follow(ours)
    await ours.settle()
    await ours.federation.approve(peer.id, Feed.CLEAN)
    ours.add_row("a")
    await ours.settle()
    ours.epoch = ours.federation.feeds._heads.get("clean").epoch
    await ours.stop()
    ours.change(fetch_seconds=ANSWER_SECONDS / 2)
    await ours.start()
    ours.statuses = Counter()
    yield ours
    assert ours.statuses[None] <= sum(ours.statuses.values()) / 3
    logged = [one for one in caplog.get_records("call") if one.levelno >= logging.ERROR]
    assert [one.message for one in logged if one.name.startswith("federation")] == []
    assert (await peer.get(ours.feed_id()))[0] == 200


def templates(ours):
    return sorted({route.path for route in ours.federation.routes()})


def path_of(ours, dice):
    """A path of a route with odd parts, or of none."""
    parts = dice.choice([*templates(ours), "/{a}/{b}", "/"]).split("/")
    filled = [dice.choice(SEGMENTS) if "{" in part else part for part in parts]
    if dice.random() < 0.3:
        filled[dice.randrange(len(filled))] = dice.choice(SEGMENTS)
    path = "/".join(filled).replace("EPOCH", ours.epoch)
    names = ("resource", "sha256", "epoch", "seq", "page", "")
    known = (ours.base, picture("a").hex(), ours.epoch, "acct:clean@x", *SEGMENTS)
    query = "&".join(
        f"{dice.choice(names)}={dice.choice(known)}" for _ in range(dice.randint(0, 2))
    )
    return path + (f"?{query}" if query else "")


def body_of(dice):
    seed = dice.choice(seeds()[dice.choice(("activity", "page", "actor", "head"))])
    body = dice.choice((b"", b"{}", to_bytes(mutate(seed, dice)), splice(to_bytes(seed), dice)))
    return gzip.compress(body) if dice.random() < 0.1 else body


async def raw(ours, dice):
    """Send a request of any bytes; returns its status, or None for none at all."""
    body = body_of(dice)
    lines = [f"{dice.choice(METHODS)} {path_of(ours, dice)} HTTP/1.{dice.choice('01')}"]
    lines += ["Host: x", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"Content-Type: {ACTIVITY}"] if dice.random() < 0.7 else []
    for _ in range(dice.randint(0, 4)):
        name, text = dice.choice(NAMES), dice.choice(TEXTS)
        # aiohttp 3.14 itself ends in a 500 where no route is and Expect is no UTF-8
        lines.append(f"{name}: {text if name != 'Expect' or text.isascii() else ''}")
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    if dice.random() < 0.1 and b"Expect" not in head:
        head = splice(head, dice)
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    writer.write(head + body)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await reader.readline()
    except (ConnectionError, TimeoutError):
        line = b""  # it waits for more of the request, or took it for none
    writer.close()
    found = re.match(rb"HTTP/1\.\d (\d{3})", line)
    return int(found[1]) if found else None


async def check_any(reading, number):
    dice = random.Random(number)
    status = await raw(reading, dice)
    reading.statuses[status] += 1
    assert status is None or status < 500


@given_server
@given(number=numbers)
async def test_no_request_of_any_bytes_is_a_fault(reading, number):
    await check_any(reading, number)


@pytest.mark.slow
@given_server_long
@given(number=numbers)
async def test_no_request_of_any_bytes_is_a_fault_many_times(reading, number):
    await check_any(reading, number)


# --- a peer whose activities are signed, and not quite right -------------------------------------
def activities(peer, ours, dice):
    """An activity of the feed that is followed, of any kind."""
    who, them = peer.feed_id(), ours.feed_id()
    follow = activity.Follow(Url(f"{who}/follows/{dice.random()}"), who, them)
    create = composing.build_create(peer.publish([peer.row(f"{dice.random()}")], keep=False))
    kinds = ("Update", "Like", "Move", "Block", "Add", "Flag", "Announce", "Delete", "Accept")
    about = {"id": f"{who}/{dice.random()}", "type": dice.choice(kinds), "actor": who}
    about |= {"object": dice.choice((them, f"{them}/1", [them], create["object"], {"id": them}))}
    return dice.choice(
        (
            composing.build_follow(follow.id, who, them),
            composing.build_undo(f"{who}/{dice.random()}", follow),
            composing.build_answer(f"{who}/{dice.random()}", _asked(ours, who), accepted=True),
            create,
            composing.announced(create),
            about | {"content": "x"},
        )
    )


def _asked(ours, who):
    row = ours.follow_row()
    return activity.Follow(Url(row.follow_id), Url(f"{ours.base}/actor"), who)


async def check_signed(ours, peer, number):
    dice = random.Random(number)
    ours.clock.now += 2
    sent = mutate(activities(peer, ours, dice), dice)
    body = splice(to_bytes(sent), dice) if dice.random() < 0.1 else to_bytes(sent)
    url = f"{ours.base}/inbox"
    key_id = f"{peer.feed_id()}#main-key"
    headers = sign(dice.choice(SCHEMES), "POST", url, body, peer=peer, key_id=key_id)
    async with peer.session.post(url, data=body, headers=headers) as answer:
        ours.statuses[answer.status] += 1
        assert answer.status < 500, body
    await ours.settle()


@given_server
@given(number=numbers)
async def test_no_signed_activity_is_a_fault(reading, peer, number):
    await check_signed(reading, peer, number)


@pytest.mark.slow
@given_server_long
@given(number=numbers)
async def test_no_signed_activity_is_a_fault_many_times(reading, peer, number):
    await check_signed(reading, peer, number)


# --- an approved follower that asks for anything -------------------------------------------------
async def check_question(ours, peer, number):
    dice = random.Random(number)
    ours.clock.now += 2
    path = "/" + path_of(ours, dice).lstrip("/").replace(" ", "%20")
    letter = ask(dice.choice(SCHEMES), peer, f"{ours.base}{path}")
    lines = [f"{name}: {text}" for name, text in letter.headers.items() if name != "Host"]
    head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "Connection: close"])
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    writer.write(head.encode() + b"\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        status = int((await reader.readline()).split()[1])
    writer.close()
    ours.statuses[status] += 1
    assert status < 500, path


@given_server
@given(number=numbers)
async def test_no_question_of_an_approved_follower_is_a_fault(reading, peer, number):
    await check_question(reading, peer, number)


@pytest.mark.slow
@given_server_long
@given(number=numbers)
async def test_no_question_of_an_approved_follower_is_a_fault_many_times(reading, peer, number):
    await check_question(reading, peer, number)
