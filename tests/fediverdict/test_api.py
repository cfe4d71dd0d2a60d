"""The HTTP API: tokens, bodies, answers, and errors as problem details."""

import asyncio
import contextlib
import gzip
import hashlib
import io
import itertools

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from cache.storage.tokens import Scope, create_token
from fediverdict.api import Api
from fediverdict.config import Config, HttpSettings
from fediverdict.judge import LOOK_BATCH, Judge
from fediverdict.judgement import Judgements
from fediverdict.problems import problems
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.policy import load_policy
from scanner.settings import ScannerSettings
from tests.fakes.scanner import FakeScanner
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.waiting import PATIENCE

LIMIT = 100_000


@pytest.fixture
def tokens(sqlite_store):
    scopes = {"scan": Scope.SCAN, "lookup": Scope.LOOKUP, "worker": Scope.WORKER}
    made = {
        name: sqlite_store.write_now(create_token, name, [scope], now=1)
        for name, scope in scopes.items()
    }
    every = sqlite_store.write_now(create_token, "admin", list(Scope), now=1)
    return made | {"admin": every}


@pytest.fixture
async def judge(sqlite_store):
    judgements = Judgements(Config(), load_policy("test"))
    pool = DecodePool(ScannerSettings(), Limits(image_bytes=LIMIT))
    made = Judge(sqlite_store, judgements, pool, FakeScanner())
    yield made
    made.close()


@contextlib.asynccontextmanager
async def serving(store, judge, http):
    config = Config(limits=judge.limits, http=http)
    app = web.Application(middlewares=[problems])
    app.add_routes(Api(config, store, judge).routes())
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.fixture
async def client(sqlite_store, judge):
    http = HttpSettings(lookup_items=3, lookup_bytes=2_000, body_seconds=PATIENCE)
    async with serving(sqlite_store, judge, http) as made:
        yield made


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def nested(depth):
    """Return multipart bodies within multipart bodies."""
    into = b"--%s\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n"
    names = [b"B", *(b"B%d" % number for number in range(depth))]
    return b"".join(into % pair for pair in itertools.pairwise(names))


async def scan(client, token, data, **options):
    answer = await client.post("/api/v1/scan", data=data, headers=bearer(token), **options)
    return answer.status, await answer.json()


async def test_the_answer_has_the_documented_form(client, tokens):
    status, body = await scan(client, tokens["admin"], png(RED))
    assert status == 200
    assert set(body) == {
        "decision",
        "reason",
        "explanation",
        "match",
        "fingerprint",
        "scores",
        "rules",
        "sources",
        "scanned",
        "inside",
        "elapsed_ms",
    }
    assert body["decision"] == "flagged"
    assert body["scanned"]
    assert body["rules"]
    assert body["scores"]["test-pattern"] == 9_500
    assert body["match"] == {"kind": "exact", "distance": 0}
    assert body["fingerprint"]["sha256"] == hashlib.sha256(png(RED)).hexdigest()
    assert body["sources"][0]["issuer"] == "self"


async def test_distances_are_shown_to_admins_alone(client, tokens):
    _, body = await scan(client, tokens["scan"], png(RED))
    assert body["match"] == {"kind": "exact"}


async def test_a_multipart_field_is_judged_as_a_raw_body_is(client, tokens):
    form = aiohttp.FormData()
    form.add_field("note", "first")
    form.add_field("file", png(GREEN), filename="x.png")
    status, body = await scan(client, tokens["scan"], form)
    assert (status, body["decision"]) == (200, "clean")


@pytest.mark.parametrize(
    ("claim", "mismatch"),
    [
        ({"content_type": "image/png"}, False),
        ({"content_type": "image/gif"}, True),
        ({"filename": "a.png"}, False),
        ({"filename": "a.gif"}, True),
        ({"filename": "a.gif", "content_type": "application/octet-stream"}, True),
        ({"filename": "blob"}, False),
        ({}, False),
    ],
)
async def test_a_picture_that_is_no_such_file_as_its_field_claims_is_told(
    client, tokens, claim, mismatch
):
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(png(GREEN)), **claim)
    _, body = await scan(client, tokens["scan"], form)
    assert body["inside"] == (["type-mismatch"] if mismatch else [])
    assert body["decision"] == "clean"


@pytest.mark.parametrize(("claim", "mismatch"), [("image/png", False), ("image/gif", True)])
async def test_a_raw_body_that_is_no_such_file_as_its_type_claims_is_told(
    client, tokens, claim, mismatch
):
    headers = bearer(tokens["scan"]) | {"Content-Type": claim}
    answer = await client.post("/api/v1/scan", data=png(GREEN), headers=headers)
    assert (await answer.json())["inside"] == (["type-mismatch"] if mismatch else [])


async def test_a_server_that_stops_lets_go_of_bodies_and_finishes_what_it_has(
    sqlite_store, judge, tokens
):
    """aiohttp reads no further once it shuts down, and would wait a minute for the rest."""
    app = web.Application(middlewares=[problems])
    api = Api(Config(limits=judge.limits), sqlite_store, judge)
    app.add_routes(api.routes())
    app.on_shutdown.append(api.stop)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    judge.scanner.gate.clear()
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:

        async def half():
            yield png(GREEN)[:500]
            await asyncio.sleep(30)

        slow = asyncio.create_task(scan(session, tokens["scan"], half()))
        whole = asyncio.create_task(scan(session, tokens["scan"], png(GREEN)))
        async with asyncio.timeout(PATIENCE):
            while not judge.scanner._running or not api._reading:
                await asyncio.sleep(0.02)
            ending = asyncio.create_task(runner.cleanup())
            assert (await slow)[0] == 503
            judge.scanner.gate.set()
            assert (await whole)[1]["decision"] == "clean"
            await ending


async def test_a_multipart_body_without_the_field_is_refused(client, tokens):
    form = aiohttp.FormData()
    form.add_field("picture", png(GREEN), filename="x.png")
    status, body = await scan(client, tokens["scan"], form)
    assert status == 400
    assert "field `file`" in body["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic x"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer \x80\xff"}, 401),
    ],
)
async def test_without_a_token_nothing_is_answered(client, headers, status):
    answer = await client.post("/api/v1/scan", data=png(GREEN), headers=headers)
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_does_only_what_its_scope_allows(client, tokens):
    for name in ("lookup", "worker"):
        status, _ = await scan(client, tokens[name], png(GREEN))
        assert status == 403
    answer = await client.post("/api/v1/lookup", json={"items": []}, headers=bearer(tokens["scan"]))
    assert answer.status == 403


async def test_a_picture_past_the_byte_limit_is_over_limit(client, tokens):
    assert (await scan(client, tokens["scan"], b"x" * LIMIT))[1]["decision"] == "undecodable"
    assert (await scan(client, tokens["scan"], b"x" * (LIMIT + 1)))[1]["decision"] == "over-limit"


async def lookup(client, token, body, **how):
    how = how or {"json": body}
    answer = await client.post("/api/v1/lookup", headers=bearer(token), **how)
    return answer.status, await answer.json()


async def test_lookups_answer_in_order_and_scan_nothing(client, tokens):
    await scan(client, tokens["scan"], png(RED))
    known, other = hashlib.sha256(png(RED)).hexdigest(), "00" * 32
    items = [{"sha256": other}, {"sha256": known}, {"sha256": known, "pdq_quality": 100}]
    status, body = await lookup(client, tokens["lookup"], {"items": items})
    assert status == 200
    assert [one["decision"] for one in body["decisions"]] == ["unknown", "flagged", "flagged"]
    assert not any(one["scanned"] for one in body["decisions"])


async def test_lookups_past_their_limits_are_refused(client, tokens):
    item = {"sha256": "00" * 32}
    assert (await lookup(client, tokens["lookup"], {"items": [item] * 3}))[0] == 200
    assert (await lookup(client, tokens["lookup"], {"items": [item] * 4}))[0] == 413
    status, _ = await lookup(client, tokens["lookup"], None, data=b" " * 2_001)
    assert status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"nonsense",
        b'{"items": {}}',
        b'{"items": [1]}',
        b'{"items": [{}]}',
        b'{"items": [{"sha256": "short"}]}',
        b'{"items": [{"sha256": 5}]}',
        b'{"items": [{"sha256": null, "phash": "x"}]}',
        b'{"items": [{"pdq": "' + b"g" * 64 + b'"}]}',
        b'{"items": [{"pdq_quality": true}]}',
        b'{"items": [{"pdq_quality": 101}]}',
        b"[" * 1_900,
        b"\xff\xfe",
    ],
)
async def test_a_wrong_lookup_is_a_400_that_says_why(client, tokens, body):
    status, problem = await lookup(client, tokens["lookup"], None, data=body)
    assert status == 400
    assert problem["detail"]


async def test_unknown_paths_and_methods_of_the_api_are_problems_too(client):
    assert (await client.get("/api/v1/nothing")).content_type == "application/problem+json"
    assert (await client.get("/api/v1/scan")).status == 405


async def test_health_and_readiness_need_no_token(client):
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200


async def test_a_database_that_fails_is_a_503_without_its_cause(client, tokens, sqlite_store):
    sqlite_store.close()
    answer = await client.post("/api/v1/scan", data=png(GREEN), headers=bearer(tokens["scan"]))
    assert answer.status == 503
    assert "sqlite" not in (await answer.text()).lower()


@pytest.mark.parametrize(
    "body",
    [
        b"--B\r\nno colon\r\n\r\nx\r\n--B--\r\n",
        b"--B\r\nX: " + b"a" * 10_000 + b"\r\n\r\nx\r\n--B--\r\n",
        b"--B\r\n" + b"X: a\r\n" * 5_000 + b"\r\nx\r\n--B--\r\n",
        nested(2_000),
        b"",
        b"\xff\x00" * 100,
    ],
)
async def test_a_broken_multipart_body_is_a_400(client, tokens, body):
    headers = bearer(tokens["scan"]) | {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await client.post("/api/v1/scan", data=body, headers=headers)
    assert (answer.status, answer.content_type) == (400, "application/problem+json")


@pytest.mark.parametrize("path", ["/api/v1/scan", "/api/v1/lookup"])
async def test_a_compressed_body_is_refused_since_one_cut_short_looks_whole(client, tokens, path):
    headers = bearer(tokens["admin"]) | {"Content-Encoding": "gzip"}
    body = gzip.compress(png(GREEN))[:-20]
    answer = await client.post(path, data=body, headers=headers)
    assert answer.status == 415
    assert "Content-Encoding" in (await answer.json())["detail"]


async def test_a_body_that_does_not_arrive_in_time_gives_up_its_place(sqlite_store, tokens, judge):
    async def slow():
        yield png(GREEN)[:100]
        await asyncio.sleep(PATIENCE)

    headers = bearer(tokens["scan"])
    async with serving(sqlite_store, judge, HttpSettings(body_seconds=0.2)) as client:
        for _ in range(17):  # one more than there are places
            with contextlib.suppress(aiohttp.ClientError):
                answer = await client.post("/api/v1/scan", data=slow(), headers=headers)
                assert answer.status == 408
        async with asyncio.timeout(PATIENCE):
            status, body = await scan(client, tokens["scan"], png(GREEN))
            while status == 408:  # a busy machine is slow itself
                status, body = await scan(client, tokens["scan"], png(GREEN))
        assert body["decision"] == "clean"


async def test_a_fault_of_the_scanner_is_a_problem_that_tells_nothing(client, tokens, judge):
    def fail(_):
        raise RuntimeError("out of memory at /secret/path")

    judge.scanner._score = fail
    answer = await client.post("/api/v1/scan", data=png(GREEN), headers=bearer(tokens["scan"]))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "secret" not in await answer.text()


async def test_the_distance_of_a_near_match_is_told_to_admins_alone(client, tokens):
    original = png(RED, 5)
    await scan(client, tokens["scan"], original)
    turned = io.BytesIO()
    Image.open(io.BytesIO(original)).transpose(Image.Transpose.ROTATE_90).save(
        turned, "JPEG", quality=70
    )
    for name, told in (("admin", True), ("scan", False)):
        _, body = await scan(client, tokens[name], turned.getvalue())
        assert body["reason"] == "near-own-flag"
        assert (" bits)" in body["explanation"]) is told
        assert ("distance" in body["match"]) is told


async def test_a_lookup_gives_no_hash_back_that_was_not_given(client, tokens):
    _, body = await scan(client, tokens["scan"], png(RED))
    given = {"sha256": body["fingerprint"]["sha256"]}
    _, answer = await lookup(client, tokens["lookup"], {"items": [given]})
    found = answer["decisions"][0]
    assert found["decision"] == "flagged"
    assert {name: value for name, value in found["fingerprint"].items() if value} == given


async def test_a_long_lookup_lets_others_in(judge, sqlite_store, tokens):
    config = Config()
    app = web.Application(middlewares=[problems])
    app.add_routes(Api(config, sqlite_store, judge).routes())
    items = [{"sha256": f"{number:064x}"} for number in range(1_000)]
    async with TestClient(TestServer(app)) as client:
        asked = asyncio.create_task(lookup(client, tokens["lookup"], {"items": items}))
        turns = 0
        while not asked.done():
            turns += 1
            await asyncio.sleep(0)
    assert turns > len(items) / LOOK_BATCH
