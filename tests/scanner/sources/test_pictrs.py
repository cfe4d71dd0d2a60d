"""pict-rs's internal API, against a fake that answers as pict-rs 0.5 does."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

import scanner
from scanner.errors import OverLimit, SourceChanged, SourceError, SourceUnreachable
from scanner.sources.open import open_source
from scanner.sources.settings import PictrsSettings
from scanner.sources.source import Item
from tests.fakes.pictrs import Pictrs
from tests.scanner.sources.helpers import Watching, collect, keys
from tests.waiting import PATIENCE


@pytest.fixture
async def pictrs():
    server = Pictrs()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def said():
    return []


@pytest.fixture
async def opened(pictrs, said):
    sources = []

    def make(**given):
        values = {
            "url": pictrs.url,
            "token": pictrs.token,
            "page_items": 4,
            "timeout_seconds": PATIENCE,
        }
        settings = PictrsSettings(kind="pict-rs", **{**values, **given})
        sources.append(open_source(settings, said.append))
        return sources[-1]

    yield make
    for source in sources:
        await source.close()


@pytest.fixture
def source(opened):
    return opened()


def fill(pictrs, count):
    return [pictrs.store(b"picture %d" % number, f"a{number}.jpg") for number in range(count)]


async def test_originals_are_listed_newest_first_with_what_their_hash_says(source, pictrs):
    stored = fill(pictrs, 10)
    found = await collect(source.list())
    assert [item.key for item in found] == [one.hash.hex() for one in reversed(stored)]
    newest = found[0]
    assert (newest.size, newest.mark) == (len(stored[-1].body), newest.key)
    assert newest.modified == stored[-1].created.timestamp()
    assert newest.aliases == ("a9.jpg",)
    assert (source.kind, source.location) == ("pict-rs", pictrs.url)
    assert source.can_undo_delete is False


async def test_a_listing_cut_short_anywhere_goes_on_without_missing_any(source, pictrs):
    fill(pictrs, 19)
    whole = await keys(source.list())
    for cut in range(1, 19):
        before = await collect(source.list(), cut)
        after = await keys(source.list(before[-1].cursor))
        assert set(whole) == {item.key for item in before} | set(after)
        assert len(after) <= len(whole) - cut + 4


async def test_a_listing_goes_on_where_the_hash_of_the_next_page_was_purged(source, pictrs):
    stored = fill(pictrs, 19)
    found = []
    async for item in source.list():
        found.append(item.key)
        if len(found) in {3, 7, 11}:  # before the next page is asked for
            ordered = sorted(pictrs.originals, key=lambda one: one.created, reverse=True)
            pictrs.originals.remove(ordered[len(found) + 1])
    lasting = {one.hash.hex() for one in pictrs.originals}
    assert lasting <= set(found)
    assert len(stored) - len(lasting) == 3


async def test_originals_stored_while_a_listing_runs_neither_repeat_nor_hide_others(source, pictrs):
    stored = fill(pictrs, 12)
    found = []
    async for item in source.list():
        found.append(item.key)
        if len(found) % 3 == 0 and len(pictrs.originals) < 20:
            pictrs.store(b"later %d" % len(found))
    assert found == [one.hash.hex() for one in reversed(stored)]


async def test_an_original_without_details_or_alias_ends_nothing(source, pictrs, said):
    bare = pictrs.store(b"bare", details=False)
    orphan = pictrs.store(b"orphan")
    orphan.aliases = []
    (item,) = await collect(source.list())
    assert (item.key, item.modified) == (bare.hash.hex(), None)
    assert "no alias" in said[0]


async def test_an_original_is_read_and_checked_against_its_hash(source, pictrs):
    fill(pictrs, 1)[0].served = b"Picture 0"
    (item,) = await collect(source.list())
    with pytest.raises(SourceError, match="serves other bytes"):
        await source.read(item, 100)
    pictrs.originals[0].served = None
    assert await source.read(item, 9) == b"picture 0"
    with pytest.raises(OverLimit, match="8 bytes"):
        await source.read(item, 8)


async def test_a_body_longer_than_the_hash_says_is_not_taken_in(source, pictrs):
    fill(pictrs, 1)[0].served = b"picture 0" + b"x" * 10_000_000
    (item,) = await collect(source.list())
    with pytest.raises(SourceError, match="serves other bytes"):
        await source.read(item, 100_000_000)


async def test_another_alias_is_tried_where_one_is_gone(source, pictrs):
    original = pictrs.store(b"twice", "gone.jpg", "stays.jpg")
    (item,) = await collect(source.list())
    original.aliases = ["stays.jpg"]
    assert await source.read(item, 10) == b"twice"
    pictrs.originals.clear()
    with pytest.raises(SourceChanged):
        await source.read(item, 10)


@pytest.mark.parametrize("alias", ["../internal/hashes", "a/b", "", "a?b", "a b", "ä", ".."])
async def test_an_alias_that_could_lead_elsewhere_is_not_asked_for(source, pictrs, alias):
    pictrs.store(b"odd", alias)
    (item,) = await collect(source.list())
    before = len(pictrs.requests)
    for call in (source.read(item, 10), source.delete(item)):
        with pytest.raises(SourceError, match="no alias"):
            await call
    assert len(pictrs.requests) == before


async def test_deleting_purges_every_alias(source, pictrs):
    pictrs.store(b"twice", "one.jpg", "two.jpg")
    pictrs.store(b"other", "other.jpg")
    other, item = await collect(source.list())
    await source.delete(item)
    assert [one.hash.hex() for one in pictrs.originals] == [other.key]
    assert pictrs.requests[-1] == "POST /internal/purge?alias=one.jpg"
    with pytest.raises(SourceChanged):
        await source.delete(item)


async def test_nothing_is_purged_under_an_alias_that_serves_something_else(source, pictrs):
    original = fill(pictrs, 1)[0]
    (item,) = await collect(source.list())
    for served in (b"Picture 0", b"longer than it", b""):
        original.served = served
        with pytest.raises(SourceError, match="nothing was deleted"):
            await source.delete(item)
    assert pictrs.originals == [original]


@pytest.mark.parametrize("known", [True, False])
async def test_an_item_from_an_earlier_run_is_found_again_without_its_aliases(
    source, pictrs, known
):
    stored = fill(pictrs, 15)
    judged = stored[2]
    hexed = judged.hash.hex()
    modified = judged.created.timestamp() if known else None
    item = Item(hexed, len(judged.body), hexed, modified)
    assert await source.read(item, 100) == judged.body
    asked = [request for request in pictrs.requests if "/internal/" in request]
    assert len(asked) == (1 if known else 4)
    await source.delete(item)
    assert judged not in pictrs.originals
    with pytest.raises(SourceChanged, match="not listed"):
        await source.read(item, 100)


async def test_many_originals_of_one_instant_are_all_found(source, pictrs):
    instant = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
    for number in range(9):
        pictrs.store(b"%d" % number, created=instant)
    found = await collect(source.list())
    assert len({item.key for item in found}) == 9
    for item in found:
        bare = Item(item.key, item.size, item.mark, item.modified)
        assert await source.read(bare, 10)


async def test_the_token_goes_to_the_internal_api_alone(source, pictrs):
    fill(pictrs, 1)
    (item,) = await collect(source.list())
    await source.read(item, 100)
    assert dict(zip(pictrs.requests, pictrs.tokens, strict=True)) == {
        "GET /internal/hashes?limit=4": "the-token",
        "GET /image/original/a0.jpg": None,
    }


async def test_a_wrong_token_is_named_and_not_shown(opened, caplog):
    caplog.set_level(logging.DEBUG)
    source = opened(token="wrong-token")
    with pytest.raises(SourceUnreachable, match="look at token") as error:
        await collect(source.list())
    assert "wrong-token" not in f"{error.value}{source.location}{caplog.text}"


async def test_a_server_that_never_answers_is_given_up_in_time(opened, pictrs):
    pictrs.stall = True
    with pytest.raises(SourceUnreachable, match="no answer within"):
        await collect(opened(timeout_seconds=0.3).list())


async def test_a_server_that_is_not_there_is_an_error_in_words(opened):
    with pytest.raises(SourceUnreachable, match="look at url"):
        await collect(opened(url="http://127.0.0.1:9").list())


async def test_reads_are_redirected_only_where_the_settings_say_so(opened, pictrs):
    other = Pictrs()
    await other.start()
    try:
        fill(pictrs, 1)
        fill(other, 1)
        pictrs.redirect_to = other.url
        (item,) = await collect(opened().list())
        with pytest.raises(SourceError, match="raise redirects"):
            await opened().read(item, 100)
        assert await opened(redirects=1).read(item, 100) == b"picture 0"
        assert other.tokens == [None]
    finally:
        await other.stop()


PAGE = '{"page":{"limit":4,"current":null,"next":%s,"prev":null,"hashes":[%s]}}'
GOOD = '{"hex":"%s","aliases":["a"],"details":null}' % ("0" * 78)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"page":{"hashes":1}}',
        PAGE % ("null", '{"hex":"zz","aliases":[]}'),
        PAGE % ("null", '{"hex":"' + "0" * 77 + '","aliases":["a"]}'),
        PAGE % ("null", '{"hex":"' + "0" * 78 + '","aliases":[1]}'),
        PAGE % ("1", GOOD),
        "[" * 100_000,
        PAGE % ("null", GOOD) + " " * 2_000,
    ],
)
async def test_a_listing_that_is_none_is_refused_in_words(opened, body):
    async def answer(request):
        del request
        return web.Response(text=body, content_type="application/json")

    application = web.Application()
    application.router.add_get("/internal/hashes", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        with pytest.raises(SourceError):
            await collect(opened(url=url, page_bytes=2_000).list())
    finally:
        await runner.cleanup()


async def test_a_listing_in_a_circle_ends(opened):
    async def answer(request):
        following = "b" if request.query.get("slug") == "a" else "a"
        return web.Response(text=PAGE % (f'"{following}"', GOOD), content_type="application/json")

    application = web.Application()
    application.router.add_get("/internal/hashes", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        with pytest.raises(SourceError, match="circle"):
            await collect(opened(url=url).list())
    finally:
        await runner.cleanup()


async def test_a_watch_gives_everything_then_each_new_original_from_the_first_page(opened, pictrs):
    stored = fill(pictrs, 9)
    watch = Watching(opened(poll_seconds=0.1).watch())
    first = [(await watch.next()).key for _ in range(9)]
    assert first == [one.hash.hex() for one in reversed(stored)]
    before = len(pictrs.requests)
    new = pictrs.store(b"new")
    assert (await watch.next()).key == new.hash.hex()
    assert set(pictrs.requests[before:]) == {"GET /internal/hashes?limit=4"}
    many = [pictrs.store(b"more %d" % number) for number in range(10)]  # over two pages
    found = {(await watch.next()).key for _ in many}
    assert found == {one.hash.hex() for one in many}
    assert await watch.nothing()
    await watch.stop()


async def test_an_original_committed_behind_a_newer_one_is_given_as_well(opened, pictrs):
    fill(pictrs, 3)
    watch = Watching(opened(poll_seconds=0.1).watch())
    for _ in range(3):
        await watch.next()
    newest = pictrs.store(b"newest")
    assert (await watch.next()).key == newest.hash.hex()
    late = pictrs.store(b"late", created=newest.created - timedelta(milliseconds=500))
    assert (await watch.next()).key == late.hash.hex()
    await watch.stop()


async def test_new_originals_do_not_wait_for_a_backlog(opened, pictrs):
    fill(pictrs, 200)
    watch = Watching(opened(poll_seconds=0.01).watch())
    await watch.next()
    new = pictrs.store(b"new")
    await asyncio.sleep(0.02)
    found = [(await watch.next()).key for _ in range(20)]
    assert new.hash.hex() in found
    await watch.stop()


async def test_a_watch_goes_on_when_the_server_was_away(opened, pictrs, said):
    fill(pictrs, 1)
    watch = Watching(opened(poll_seconds=0.1, timeout_seconds=0.2).watch())
    await watch.next()
    pictrs.stall = True
    waiting = asyncio.create_task(watch.next())
    while not said:
        await asyncio.sleep(0.05)
    assert "trying again" in said[0]
    new = pictrs.store(b"new")
    pictrs.stall = False
    assert (await waiting).key == new.hash.hex()
    await watch.stop()


async def test_only_the_client_files_know_http_and_they_serve_nothing():
    """The law: scanner knows no HTTP server; hosts that the admin named have clients here."""
    root = Path(scanner.__file__).parent
    using = {p.name for p in root.rglob("*.py") if "aiohttp" in p.read_text()}
    assert using == {"pictrs_client.py", "s3_listing.py"}
    for name in using:
        text = (root / "sources" / name).read_text()
        assert "aiohttp.web" not in text
        assert "import web" not in text


async def test_a_page_at_the_limit_is_read_and_one_byte_more_is_not(opened, pictrs):
    original = pictrs.store(b"one", "")
    listing = len(json.dumps(pictrs.page(limit=4)))
    original.aliases = ["a" * (1_024 - listing)]
    source = opened(page_bytes=1_024)
    assert len(await collect(source.list())) == 1
    original.aliases = ["a" * (1_024 - listing + 1)]
    with pytest.raises(SourceError, match="raise page_bytes"):
        await collect(source.list())


async def test_a_time_that_no_date_can_name_ends_nothing(source, pictrs):
    latest = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    original = pictrs.store(b"late", created=latest)
    (item,) = await collect(source.list())
    bare = Item(item.key, item.size, item.mark, item.modified)
    with pytest.raises(SourceChanged):  # stored after what can be asked for
        await source.read(bare, 10)
    assert await source.read(item, 10) == original.body
