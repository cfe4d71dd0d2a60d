"""An S3-compatible store, against moto's server and servers that misbehave."""

import asyncio
import contextlib
import logging
from datetime import datetime

import boto3
import pytest
from aiohttp import web
from botocore.credentials import Credentials
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from scanner.errors import OverLimit, SourceChanged, SourceError, SourceUnreachable
from scanner.sources.open import open_source
from scanner.sources.s3_client import open_store
from scanner.sources.s3_listing import PAGE_BYTES, BucketListing
from scanner.sources.s3_signing import headers_of, url_of
from scanner.sources.settings import S3Settings
from tests.scanner.sources.helpers import Watching, collect, keys, one
from tests.waiting import PATIENCE

SECRET = "very-secret-value"


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(server):
    return boto3.client(
        "s3",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key=SECRET,
    )


@pytest.fixture
def bucket(client, request):
    name = f"b-{abs(hash(request.node.nodeid))}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def said():
    return []


@pytest.fixture
def settings(server, bucket):
    def make(**given):
        given = {"timeout_seconds": PATIENCE, "retries": 0, **given}
        return S3Settings(
            **{
                "kind": "s3",
                "bucket": bucket,
                "endpoint": server,
                "access_key_id": "id",
                "secret_access_key": SECRET,
                **given,
            }
        )

    return make


@pytest.fixture
def source(settings, said):
    return open_source(settings(page_items=7), said.append)


@pytest.fixture(params=["page by page", "by the client"])
def either_way(request, monkeypatch):
    """Pages are asked for by us; with the credentials of a machine's role, by the client."""
    if request.param == "by the client":
        monkeypatch.setattr(BucketListing, "is_possible", False)


by_either_way = pytest.mark.usefixtures("either_way")


@pytest.fixture
def put(client, bucket):
    return lambda key, body=b"x": client.put_object(Bucket=bucket, Key=key, Body=body)


@by_either_way
async def test_objects_are_listed_in_order_with_what_they_promise(source, put, bucket):
    names = sorted(f"{number % 3}/{number}.png" for number in range(40))
    for name in names:
        put(name, name.encode())
    found = await collect(source.list())
    assert [item.key for item in found] == names
    assert found[0].size == len(names[0])
    assert found[0].modified == pytest.approx(asyncio.get_running_loop().time(), abs=1e12)
    assert source.location.startswith(f"s3://{bucket}/ (http://127.0.0.1:")


@by_either_way
async def test_a_listing_cut_short_anywhere_goes_on_without_missing_any(source, put):
    for number in range(40):
        put(f"{number % 4}/{number}.png")
    whole = await keys(source.list())
    assert len(whole) == 40
    for cut in range(1, 40, 6):
        before = await collect(source.list(), cut)
        assert [i.key for i in before] + await keys(source.list(before[-1].cursor)) == whole


@by_either_way
async def test_listing_goes_over_the_stores_own_pages(source, put, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    names = [f"{number:05}" for number in range(35)]
    for name in names:
        put(name)
    assert await keys(source.list()) == names
    assert await keys(source.list("00017")) == names[18:]


@by_either_way
@pytest.mark.parametrize("key", ["a#1", "a%20b", "a~b", "a b", "ü", "😀", "a?b", 'a*[]{}|\\^`"<>'])
async def test_odd_keys_are_listed_behind_read_and_deleted(source, put, key):
    names = sorted(["!", "A", "a", "a#0", key, f"{key}z", "a~z", "zz"])
    for name in names:
        put(name, name.encode())
    for name in names:
        assert await keys(source.list(name)) == [other for other in names if other > name]
    item = await one(source, key)
    assert await source.read(item, 100) == key.encode()
    await source.delete(item)
    assert key not in await keys(source.list())


@by_either_way
@pytest.mark.parametrize("prefix", ["", "2", "2/", "2/1", "2/15.png", "none", "/", "3/zzz"])
async def test_a_prefix_narrows_the_listing(source, put, prefix):
    whole = sorted(f"{number % 4}/{number}.png" for number in range(40))
    for name in whole:
        put(name)
    assert await keys(source.list(prefix=prefix)) == [k for k in whole if k.startswith(prefix)]


@by_either_way
async def test_a_prefix_of_the_settings_hides_the_rest(settings, put):
    for name in ("a/1", "ab/1", "b/1"):
        put(name)
    source = open_source(settings(prefix="a"))
    assert await keys(source.list()) == ["a/1"]
    assert await keys(source.list(prefix="b")) == []
    assert await keys(source.list(prefix="a/1")) == ["a/1"]


@pytest.mark.parametrize("key", ["a/../b", "a//b", ".", "a/./b"])
async def test_a_key_that_cannot_be_named_ends_the_clients_listing(source, put, key, monkeypatch):
    monkeypatch.setattr(BucketListing, "is_possible", False)
    put("a")
    put(key)
    with pytest.raises(SourceError, match="cannot be named") as error:
        await keys(source.list())
    assert repr(key) in str(error.value)


UNNAMEABLE = ["a/../b", "a//b", ".", "..", "a/./b", "a/\x01b", "a/b\x7f", "/a", "/zz", "b/", "a\nb"]


def put_raw(bucket, *names):
    """Add objects below HTTP, whose clients would write such keys otherwise."""
    for name in names:
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, name, b"x")


NAMEABLE = ["A", "a", "a/b", "a/b c", "a/c", "b", "b.png", "c+d%41", "ü"]


async def test_keys_that_cannot_be_named_are_told_once_and_passed_over(
    settings, said, client, bucket, put
):
    for name in NAMEABLE:
        put(name)
    put_raw(bucket, *UNNAMEABLE)
    put("folder/", b"")  # as consoles make them: nothing is left out with it
    source = open_source(settings(page_items=3), said.append)
    for _ in range(2):
        assert await keys(source.list()) == NAMEABLE
    assert sorted(sentence.partition(" in s3://")[0] for sentence in said) == sorted(
        ascii(key) for key in UNNAMEABLE
    )
    assert await keys(source.list(prefix="a/b")) == ["a/b", "a/b c"]
    assert await keys(source.list("a/b")) == NAMEABLE[NAMEABLE.index("a/b") + 1 :]


async def test_a_key_named_like_another_behind_a_slash_moves_no_cursor(source, bucket, put):
    """The client gives `/zz` as `zz`: whoever went on behind it would miss everything."""
    put("a")
    put_raw(bucket, "/zz")
    found = await collect(source.list())
    assert [item.cursor for item in found] == ["a"]


async def test_an_object_at_the_limit_is_read_and_one_byte_more_is_not(source, put):
    put("a", b"12345")
    item = await one(source, "a")
    assert await source.read(item, 5) == b"12345"
    with pytest.raises(OverLimit, match="4 bytes"):
        await source.read(item, 4)


async def test_an_empty_object_is_read(source, put):
    put("empty", b"")
    assert await source.read(await one(source, "empty"), 10) == b""


async def test_an_object_larger_than_a_chunk_is_read_whole(source, put):
    body = bytes(range(256)) * 4_000
    put("large", body)
    assert await source.read(await one(source, "large"), 2_000_000) == body


async def test_what_changed_is_neither_read_nor_deleted(source, put, client, bucket):
    put("a", b"one")
    item = await one(source, "a")
    put("a", b"two")
    for call in (source.read(item, 10), source.delete(item)):
        with pytest.raises(SourceChanged, match="has changed"):
            await call
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"two"
    client.delete_object(Bucket=bucket, Key="a")
    for call in (source.read(item, 10), source.delete(item)):
        with pytest.raises(SourceChanged, match="gone"):
            await call


async def test_without_versions_a_deletion_cannot_be_undone(source, put):
    put("a")
    assert source.can_undo_delete is False
    await source.delete(await one(source, "a"))
    assert await keys(source.list()) == []


async def test_with_versions_a_deleted_object_can_be_brought_back(settings, put, client, bucket):
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put("a", b"kept")
    source = open_source(settings(versioned=True))
    assert source.can_undo_delete is True
    await source.delete(await one(source, "a"))
    assert await keys(source.list()) == []
    (marker,) = client.list_object_versions(Bucket=bucket)["DeleteMarkers"]
    client.delete_object(Bucket=bucket, Key="a", VersionId=marker["VersionId"])
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"kept"


async def test_a_bucket_said_to_keep_versions_that_does_not_deletes_nothing(settings, put):
    put("a")
    source = open_source(settings(versioned=True))
    with pytest.raises(SourceError, match="versioned = false"):
        await source.delete(await one(source, "a"))
    assert await keys(source.list()) == ["a"]


async def test_a_watch_lists_again_and_gives_what_is_new_or_changed(settings, put):
    put("b", b"1")
    watch = Watching(open_source(settings(poll_seconds=0.1)).watch())
    assert (await watch.next()).key == "b"
    put("a")  # sorts before: the default expects that
    assert (await watch.next()).key == "a"
    put("b", b"22")
    assert (await watch.next()).size == 2
    assert await watch.nothing()
    await watch.stop()


def uuid7_key(milliseconds):
    """Return a key as pict-rs 0.5.7 and newer make them: the time first."""
    digits = f"{milliseconds:012x}7000800000000000{milliseconds % 65536:04x}"
    folders = [digits[start : start + 2] for start in range(0, 20, 2)]
    return "/".join([*folders, digits[20:]]) + ".jpg"


async def test_in_time_order_only_what_sorts_behind_is_asked_for(settings, put, monkeypatch):
    asked = []
    real = BucketListing.objects

    def objects(listing, after, prefix):
        asked.append(after)
        return real(listing, after, prefix)

    monkeypatch.setattr(BucketListing, "objects", objects)
    names = [uuid7_key(1_795_000_000_000 + number) for number in range(20)]
    for name in names[:10]:
        put(name)
    source = open_source(settings(poll_seconds=0.1, order="time"))
    watch = Watching(source.watch())
    assert [(await watch.next()).key for _ in names[:10]] == names[:10]
    for name in names[10:]:
        put(name)
    found = {(await watch.next()).key for _ in names[10:]}
    assert found == set(names[10:])
    assert asked[0] == ""
    assert all(after >= names[0] for after in asked[1:])
    await watch.stop()


async def test_in_time_order_a_full_listing_now_and_then_finds_the_rest(settings, put):
    put("m")
    source = open_source(settings(poll_seconds=0.05, relist_seconds=0.5, order="time"))
    watch = Watching(source.watch())
    assert (await watch.next()).key == "m"
    put("a")
    assert (await watch.next()).key == "a"
    await watch.stop()


async def test_in_time_order_an_older_layout_that_sorts_last_hides_nothing_new(settings, put):
    put("zz-older-layout")
    await asyncio.sleep(1.1)  # the store tells whole seconds
    put("m1")
    watch = Watching(open_source(settings(poll_seconds=0.1, order="time")).watch())
    assert {(await watch.next()).key, (await watch.next()).key} == {"m1", "zz-older-layout"}
    put("m2")
    assert (await watch.next()).key == "m2"
    await watch.stop()


async def test_a_bucket_that_is_not_there_is_named(settings):
    source = open_source(settings(bucket="not-there"))
    with pytest.raises(SourceUnreachable, match=r"NoSuchBucket.*look at bucket"):
        await keys(source.list())


async def test_a_watch_whose_first_listing_fails_ends_and_a_later_failure_is_told(
    settings, put, said, client, bucket
):
    put("a")
    watch = Watching(open_source(settings(poll_seconds=0.1), said.append).watch())
    await watch.next()
    client.delete_object(Bucket=bucket, Key="a")
    client.delete_bucket(Bucket=bucket)
    assert await watch.nothing(1)
    assert "trying again" in said[0]
    client.create_bucket(Bucket=bucket)


@contextlib.asynccontextmanager
async def misbehaving(answer):
    """Run a server that gives `answer` to every request; yields its URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


LISTING = """<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>
<Contents><Key>a</Key><LastModified>2026-11-01T00:00:00.123Z</LastModified>
<ETag>"e"</ETag><Size>5</Size></Contents></ListBucketResult>"""
HEADERS = {"ETag": '"e"', "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}


async def test_fractions_of_a_second_in_the_listing_alone_are_no_change(settings):
    """MinIO lists milliseconds and answers for a single object with seconds."""

    async def answer(request):
        if "list-type" in request.query:
            return web.Response(text=LISTING, content_type="application/xml")
        return web.Response(body=b"12345", headers=HEADERS)

    async with misbehaving(answer) as url:
        source = open_source(settings(endpoint=url))
        assert await source.read(await one(source, "a"), 5) == b"12345"


async def test_a_body_longer_than_announced_is_never_taken_in(settings):
    async def answer(request):
        if "list-type" in request.query:
            return web.Response(text=LISTING, content_type="application/xml")
        response = web.StreamResponse(headers={**HEADERS, "Content-Length": "5"})
        await response.prepare(request)
        await response.write(b"12345")
        request.transport.write(b"6" * 1_000_000)
        return response

    async with misbehaving(answer) as url:
        source = open_source(settings(endpoint=url))
        item = await one(source, "a")
        with contextlib.suppress(SourceError):  # the connection may also be seen as broken
            assert await source.read(item, 5) == b"12345"


async def test_a_body_that_stops_early_is_an_error(settings):
    async def answer(request):
        if "list-type" in request.query:
            return web.Response(text=LISTING, content_type="application/xml")
        response = web.StreamResponse(headers={**HEADERS, "Content-Length": "5"})
        await response.prepare(request)
        await response.write(b"123")
        request.transport.close()
        return response

    async with misbehaving(answer) as url:
        source = open_source(settings(endpoint=url))
        with pytest.raises(SourceError):
            await source.read(await one(source, "a"), 5)


async def test_a_store_that_never_answers_is_given_up_in_time(settings):
    async def answer(request):
        del request
        await asyncio.sleep(60)
        raise AssertionError

    async with misbehaving(answer) as url:
        source = open_source(settings(endpoint=url, timeout_seconds=0.5))
        item_call = collect(source.list())
        with pytest.raises(SourceUnreachable, match="no answer"):
            await item_call


async def test_a_refused_key_names_the_settings_and_no_secret(settings, caplog):
    async def answer(request):
        del request
        body = (
            "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message>"
            f"<StringToSign>{SECRET}</StringToSign></Error>"
        )
        return web.Response(status=403, text=body, content_type="application/xml")

    async with misbehaving(answer) as url:
        source = open_source(settings(endpoint=url))
        with pytest.raises(SourceUnreachable, match=r"SignatureDoesNotMatch") as error:
            await collect(source.list())
        assert "secret_access_key" in str(error.value)
        for text in (str(error.value), source.location, repr(settings()), caplog.text):
            assert SECRET not in text


async def test_a_store_that_is_not_there_is_an_error_in_words(settings):
    source = open_source(settings(endpoint="http://127.0.0.1:9"))
    with pytest.raises(SourceUnreachable, match="look at endpoint"):
        await collect(source.list())


async def test_without_credentials_nobody_is_asked_for_them(settings, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match="set access_key_id"):
        open_source(settings(access_key_id=None, secret_access_key=None))


async def test_credentials_may_come_from_the_environment(settings, monkeypatch, put):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    put("a")
    source = open_source(settings(access_key_id=None, secret_access_key=None))
    assert await keys(source.list()) == ["a"]


async def test_the_bucket_may_be_part_of_the_hosts_name(settings, bucket):
    store = open_store(settings(endpoint="https://s3.example:9000", path_style=False))
    assert store.config["endpoint"] == f"https://{bucket}.s3.example:9000"


AMAZONS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


def test_a_listing_is_signed_as_in_amazons_own_example(monkeypatch):
    """`GET Bucket (List Objects)` in the examples of the Amazon S3 API reference."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime(2013, 5, 24))  # noqa: DTZ001
    url = url_of("https://examplebucket.s3.amazonaws.com/", {"prefix": "J", "max-keys": "2"})
    assert url == "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J"
    signature = headers_of(url, AMAZONS, "us-east-1")["Authorization"].rpartition("=")[2]
    assert signature == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"


def answering(*answers):
    """Answer each request with the next of (status, text); the last one stays."""
    left = list(answers)

    async def answer(_):
        status, text = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=status, text=text, content_type="application/xml")

    return answer


async def test_a_listing_that_failed_at_the_store_is_tried_again_so_often(settings):
    down, up = (503, "<Error><Code>SlowDown</Code></Error>"), (200, LISTING)
    async with misbehaving(answering(down, down, up)) as url:
        assert await keys(open_source(settings(endpoint=url, retries=2)).list()) == ["a"]
    async with misbehaving(answering(down, down, up)) as url:
        with pytest.raises(SourceUnreachable, match=r"503 \(SlowDown\)"):
            await keys(open_source(settings(endpoint=url, retries=1)).list())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        LISTING.replace("<Size>5", "<Size>many"),
        LISTING.replace("<Key>a</Key>", ""),
        LISTING.replace("2026-11-01", "yesterday"),
        LISTING.replace("<ListBucketResult>", '<!DOCTYPE x [<!ENTITY y "z">]><ListBucketResult>'),
    ],
)
async def test_a_listing_that_is_none_is_an_error_in_words(settings, text):
    async with misbehaving(answering((200, text))) as url:
        with pytest.raises(SourceError, match="listing cannot be read"):
            await keys(open_source(settings(endpoint=url)).list())


async def test_a_page_of_the_largest_size_is_read_and_one_byte_more_is_not(settings):
    for more, found in ((0, ["a"]), (1, None)):
        text = LISTING + " " * (PAGE_BYTES - len(LISTING) + more)
        async with misbehaving(answering((200, text))) as url:
            source = open_source(settings(endpoint=url))
            if found is not None:
                assert await keys(source.list()) == found
            else:
                with pytest.raises(SourceError, match=f"more than {PAGE_BYTES} bytes"):
                    await keys(source.list())


async def test_a_store_that_lists_in_a_circle_is_left(settings):
    text = LISTING.replace(
        "<IsTruncated>false</IsTruncated>",
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
    )
    async with misbehaving(answering((200, text))) as url:
        with pytest.raises(SourceError, match="in a circle"):
            await keys(open_source(settings(endpoint=url)).list())
