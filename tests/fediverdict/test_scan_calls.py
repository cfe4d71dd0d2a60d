"""What a client may ask of a scan: origin, background, a bounded wait; what it gets when full."""

import asyncio
import threading

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from cache.settings import ReuseSettings
from cache.storage.tokens import Scope, create_token
from cache.verdict import Decision
from federation.settings import FederationSettings
from fediverdict.api import MAX_WAIT_SECONDS, Api
from fediverdict.config import Config, HttpSettings
from fediverdict.errors import NotDecided
from fediverdict.jobs import Jobs
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.look import Answer
from fediverdict.places import ByteRoom, Places
from fediverdict.problems import problems
from scanner.decoding.pool import DecodePool
from scanner.errors import ModelError
from scanner.limits import Limits
from scanner.policy import load_policy
from scanner.settings import ScannerSettings
from tests.fakes.scanner import FakeScanner
from tests.fediverdict.peers import PEER, FakeAsker
from tests.fediverdict.test_judge import GREEN, RED, png, raises
from tests.waiting import HELD, PATIENCE, until


@pytest.fixture
def tokens(sqlite_store):
    return {
        name: sqlite_store.write_now(create_token, name, [Scope.SCAN], now=1)
        for name in ("one", "other")
    }


@pytest.fixture
def asker():
    return FakeAsker()


@pytest.fixture
async def judge(sqlite_store, asker):
    config = Config.model_validate({"reuse": {"grace_seconds": 3_600}})
    judgements = Judgements(config, load_policy("test"))
    pool = DecodePool(ScannerSettings(), Limits())
    scanner = FakeScanner()
    made = Judge(sqlite_store, judgements, pool, scanner, asker=asker)
    yield made
    scanner.gate.set()
    made.close()


@pytest.fixture
async def serve(sqlite_store, judge):
    """Serve the API with these settings of `[http]`."""
    clients = []

    async def one(hosts=(), **http):
        config = Config(
            http=HttpSettings(**http),
            federation=FederationSettings(allow_private_addresses=True),
            reuse=ReuseSettings(hosts=dict(hosts)),
        )
        api = Api(config, sqlite_store, judge)
        app = web.Application(middlewares=[problems])
        app.add_routes(api.routes())
        app.on_cleanup.append(api.close)
        clients.append(await TestClient(TestServer(app)).__aenter__())
        vars(clients[-1])["api"] = api
        return clients[-1]

    yield one
    judge.scanner.gate.set()
    for client in clients:
        await client.__aexit__(None, None, None)


async def call(client, token, path, data=None):
    headers = {"Authorization": f"Bearer {token}"}
    method = client.get if data is None else client.post
    async with method(path, data=data, headers=headers) as answer:
        return answer.status, dict(answer.headers), await answer.json()


# --- origin and background --------------------------------------------------------------------
@pytest.mark.parametrize(
    "spelling", [PEER, "https://PEER.example/", "https://peer.example.:443"], ids=str
)
async def test_the_origin_is_asked_under_its_one_spelling(serve, tokens, asker, spelling):
    client = await serve()
    status, _, _ = await call(client, tokens["one"], f"/api/v1/scan?origin={spelling}", png(GREEN))
    assert status == 200
    assert [origin for origin, _ in asker.asked] == [PEER]


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "peer.example",
        "https://peer.example/picture.png",
        "https://user@peer.example",
        "ftp://peer.example",
        "https://" + "a" * 3_000,
        "https://peer.example:0",
    ],
)
async def test_what_is_no_origin_is_a_400(serve, tokens, asker, origin):
    client = await serve()
    url = f"/api/v1/scan?origin={origin}"
    assert (await call(client, tokens["one"], url, png(GREEN)))[0] == 400
    assert asker.asked == []


async def test_the_peer_that_judges_a_host_of_another_name_is_asked(serve, tokens, asker):
    client = await serve(hosts={"Files.example": "https://PEER.example/"})
    url = "/api/v1/scan?origin=https://files.example"
    assert (await call(client, tokens["one"], url, png(GREEN)))[0] == 200
    assert [origin for origin, _ in asker.asked] == [PEER]


@pytest.mark.parametrize("hosts", [{"files.example/x": PEER}, {"files.example": "peer.example"}])
def test_hosts_that_are_none_are_refused(hosts):
    with pytest.raises(ValueError, match=r"reuse\.hosts"):
        Config(reuse=ReuseSettings(hosts=hosts))


async def test_pictures_that_wait_for_a_page_hold_no_place(serve, tokens, asker, judge):
    client = await serve(concurrent_scans=1, waiting_scans=0)
    url = f"/api/v1/scan?background=1&origin={PEER}"
    waiting = []
    for seed in range(3):
        waiting.append(asyncio.create_task(call(client, tokens["one"], url, png(GREEN, seed))))
        await until(lambda: len(asker.asked) == len(waiting))
    status, _, upload = await call(client, tokens["one"], "/api/v1/scan", png(RED, 50))
    assert (status, upload["decision"]) == (200, "flagged")
    judge.stop_waiting()
    answers = await asyncio.gather(*waiting)
    assert [(status, body["scanned"]) for status, _, body in answers] == [(200, True)] * 3
    assert client.api._background.held == 0


async def test_past_the_bytes_that_may_wait_a_picture_is_judged_without_waiting(
    serve, tokens, asker
):
    client = await serve(background_bytes=len(png(GREEN)) - 1)
    url = f"/api/v1/scan?background=1&origin={PEER}"
    status, _, body = await call(client, tokens["one"], url, png(GREEN))
    assert (status, body["scanned"]) == (200, True)
    assert len(asker.asked) == 1


async def test_background_without_an_origin_changes_nothing(serve, tokens, asker):
    client = await serve()
    url = "/api/v1/scan?background=1"
    assert (await call(client, tokens["one"], url, png(GREEN)))[2]["scanned"]
    assert asker.asked == []


# --- a bounded wait ---------------------------------------------------------------------------
async def test_what_is_decided_in_time_is_answered_at_once_and_not_kept(serve, tokens):
    client = await serve()
    status, _, body = await call(client, tokens["one"], "/api/v1/scan?wait=60", png(GREEN))
    assert (status, body["decision"]) == (200, "clean")
    assert client.api._jobs._jobs == {}


async def test_past_the_wait_the_answer_is_fetched_by_its_url(serve, tokens, judge):
    client = await serve()
    judge.scanner.gate.clear()
    status, headers, body = await call(client, tokens["one"], "/api/v1/scan?wait=0", png(RED))
    assert (status, headers["Location"], headers["Retry-After"]) == (202, body["job"], "1")
    assert (await call(client, tokens["one"], body["job"]))[0] == 202
    judge.scanner.gate.set()
    [job] = client.api._jobs._jobs.values()
    await asyncio.wait([job.task])
    for _ in range(2):
        status, _, answer = await call(client, tokens["one"], body["job"])
        assert (status, answer["decision"]) == (200, "flagged")


async def test_a_job_is_for_the_token_that_asked(serve, tokens):
    client = await serve()
    _, _, body = await call(client, tokens["one"], "/api/v1/scan?wait=0", png(RED))
    assert (await call(client, tokens["other"], body["job"]))[0] == 404
    assert (await call(client, tokens["one"], "/api/v1/jobs/none"))[0] == 404


async def test_a_job_that_fails_is_a_503_and_no_answer(serve, tokens, judge, monkeypatch):
    client = await serve()
    monkeypatch.setattr(judge.scanner, "_score", raises(RuntimeError("gone")))
    _, _, body = await call(client, tokens["one"], "/api/v1/scan?wait=0", png(RED))
    [job] = client.api._jobs._jobs.values()
    await asyncio.wait([job.task])
    status, headers, _ = await call(client, tokens["one"], body["job"])
    assert (status, headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("wait", ["", "-1", "1.5", "x", str(MAX_WAIT_SECONDS + 1), "\uff19"])
async def test_a_wrong_wait_is_a_400(serve, tokens, wait):
    client = await serve()
    assert (await call(client, tokens["one"], f"/api/v1/scan?wait={wait}", png(GREEN)))[0] == 400


async def test_the_longest_wait_is_taken(serve, tokens):
    client = await serve()
    url = f"/api/v1/scan?wait={MAX_WAIT_SECONDS}"
    assert (await call(client, tokens["one"], url, png(GREEN)))[0] == 200


async def test_a_job_keeps_its_place_until_it_ends(serve, tokens, judge):
    client = await serve(concurrent_scans=1, waiting_scans=0)
    judge.scanner.gate.clear()
    assert (await call(client, tokens["one"], "/api/v1/scan?wait=0", png(RED)))[0] == 202
    assert (await call(client, tokens["one"], "/api/v1/scan", png(GREEN)))[0] == 503
    judge.scanner.gate.set()
    [job] = client.api._jobs._jobs.values()
    await asyncio.wait([job.task])
    assert (await call(client, tokens["one"], "/api/v1/scan", png(GREEN)))[0] == 200


async def test_when_all_jobs_are_under_way_one_more_is_a_503_that_leaves_its_place(
    serve, tokens, judge
):
    client = await serve(concurrent_scans=2, waiting_scans=0, jobs=1)
    judge.scanner.gate.clear()
    assert (await call(client, tokens["one"], "/api/v1/scan?wait=0", png(RED)))[0] == 202
    for _ in range(3):
        assert (await call(client, tokens["one"], "/api/v1/scan?wait=0", png(GREEN)))[0] == 503
    judge.scanner.gate.set()
    assert (await call(client, tokens["one"], "/api/v1/scan", png(GREEN)))[0] == 200


async def answer():
    return Answer(Decision.CLEAN, "")


async def test_of_the_jobs_that_ended_the_oldest_make_room_and_none_is_kept_too_long():
    jobs = Jobs(2, 100)
    made = []
    for _ in range(3):
        made.append(jobs.start("one", answer))
        await made[-1].task
        await asyncio.sleep(0)
    assert [jobs.find(job.id, "one") for job in made] == [None, made[1], made[2]]
    made[1].ended = (made[1].ended or 0) - 100
    assert jobs.find(made[1].id, "one") is None
    made[2].ended = (made[2].ended or 0) - 99
    assert jobs.find(made[2].id, "one") is made[2]
    await jobs.close()


async def never():
    await asyncio.Event().wait()
    return Answer(Decision.UNKNOWN, "")


async def test_closing_cuts_off_the_jobs_under_way():
    jobs = Jobs(2, 100)
    job = jobs.start("one", never)
    await asyncio.sleep(0)
    await jobs.close()
    assert job.task.cancelled()


# --- cannot tell now --------------------------------------------------------------------------
async def test_one_waits_for_a_place_and_one_more_is_sent_away(serve, tokens, judge):
    client = await serve(concurrent_scans=1, waiting_scans=1)
    judge.scanner.gate.clear()
    asked = []
    for seed in range(2):
        asked.append(
            asyncio.create_task(call(client, tokens["one"], "/api/v1/scan", png(GREEN, seed)))
        )
        await until(lambda: client.api._places._waiting + 1 >= len(asked))
        await until(client.api._places._places.locked)
    await until(lambda: client.api._places._waiting == 1)
    status, headers, problem = await call(client, tokens["one"], "/api/v1/scan", png(RED))
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "decision" not in problem
    judge.scanner.gate.set()
    assert [status for status, *_ in await asyncio.gather(*asked)] == [200, 200]


@pytest.mark.parametrize(
    "error", [RuntimeError("a plugin"), ModelError("no weights"), MemoryError(), OSError(5, "io")]
)
async def test_a_scan_that_fails_is_a_503_and_never_an_answer(
    serve, tokens, judge, monkeypatch, error
):
    client = await serve()
    with monkeypatch.context() as patch:
        patch.setattr(judge.scanner, "_score", raises(error))
        status, headers, problem = await call(client, tokens["one"], "/api/v1/scan", png(GREEN))
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "decision" not in problem
    assert (await call(client, tokens["one"], "/api/v1/scan", png(GREEN)))[0] == 200


async def test_a_model_that_does_not_load_is_a_503_for_all_who_wait(
    serve, tokens, judge, monkeypatch
):
    client, go = await serve(), threading.Event()
    judge.scanner._classifier = None

    def load(*_):
        go.wait(HELD)
        raise ModelError("no weights")

    monkeypatch.setattr("fediverdict.scanning.load_classifier", load)
    asked = [
        asyncio.create_task(call(client, tokens["one"], "/api/v1/scan", png(GREEN)))
        for _ in range(3)
    ]
    await until(lambda: judge.scanner._loading is not None)
    go.set()
    assert [status for status, *_ in await asyncio.gather(*asked)] == [503] * 3


async def test_a_judge_that_is_closed_answers_503(serve, tokens, judge):
    client = await serve()
    judge.scanner.gate.clear()
    asked = asyncio.create_task(call(client, tokens["one"], "/api/v1/scan", png(GREEN)))
    await until(lambda: judge.scanner._running)
    judge.close()
    assert (await asked)[0] == 503
    assert (await call(client, tokens["one"], "/api/v1/scan", png(RED)))[0] == 503


async def test_a_database_that_fails_while_a_verdict_is_stored_is_a_503(
    serve, tokens, judge, sqlite_store, monkeypatch
):
    client = await serve()
    monkeypatch.setattr(judge._recorder, "record", raises(NotDecided("the disk is full")))
    status, _, problem = await call(client, tokens["one"], "/api/v1/scan", png(GREEN))
    assert (status, "decision" in problem) == (503, False)


# --- places by themselves ---------------------------------------------------------------------
async def test_a_place_is_given_back_whatever_happens():
    places = Places(1, 1)
    with pytest.raises(ValueError, match="fault"):
        async with places.take():
            raise ValueError("fault")
    holder = asyncio.create_task(_hold(places))
    await asyncio.sleep(0)
    left = asyncio.create_task(_hold(places))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait([left])
    assert places._waiting == 0
    holder.cancel()
    await asyncio.wait([holder])
    async with asyncio.timeout(PATIENCE), places.take():
        pass


async def _hold(places):
    async with places.take():
        await asyncio.Event().wait()


async def test_those_let_in_before_are_not_sent_away():
    places = Places(1, 0)
    async with places.take():
        with pytest.raises(NotDecided):
            async with places.take():
                pass
        again = asyncio.create_task(_pass(places))
        await asyncio.sleep(0)
    assert await again


async def _pass(places):
    async with places.take(first=True):
        return True


def test_room_at_the_limit_and_one_byte_past_it():
    room = ByteRoom(100)
    with room.hold(60):
        assert room.has(40)
        assert not room.has(41)
    assert room.has(100)
