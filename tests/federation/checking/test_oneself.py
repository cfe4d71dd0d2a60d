"""What the doctor says of ourselves from outside: all well, and what a proxy may do to us."""

import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cache.storage.feed_tables import followers, inbox
from federation.checking import own_judging
from federation.checking.result import found_something
from federation.client import Seen
from federation.origin import Origin, Url

PATHS = ("/actor", "/feeds/clean", "/feeds/flagged")


class Proxy:
    """Stands before our instance at its public port, and may change what goes through."""

    def __init__(self):
        self.changes = {}  # path -> (status, headers, body) -> (status, headers, body)
        self.posts = None  # what POST answers instead of being passed on

    async def start(self, ours):
        await ours.server.close()
        app = web.Application()
        app.add_routes(ours.federation.routes())
        self.behind = TestServer(app)
        await self.behind.start_server()
        front = web.Application()
        front.router.add_route("*", "/{tail:.*}", self._pass)
        self.front = TestServer(front, port=ours.port)
        await self.front.start_server()
        self.session = aiohttp.ClientSession()
        return self

    async def stop(self):
        await self.session.close()
        await self.front.close()
        await self.behind.close()

    async def _pass(self, request):
        if request.method == "POST" and self.posts is not None:
            return web.Response(status=self.posts)
        url = self.behind.make_url(request.raw_path)
        headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
        body = await request.read()
        async with self.session.request(request.method, url, headers=headers, data=body) as came:
            found = came.status, {"Content-Type": came.headers["Content-Type"]}, await came.read()
        change = self.changes.get(request.path, lambda *same: same)
        status, headers, body = change(*found)
        return web.Response(status=status, headers=headers, body=body)


@pytest.fixture
async def proxy(ours):
    started = await Proxy().start(ours)
    yield started
    await started.stop()


async def test_an_instance_that_has_ended_blames_no_proxy_for_its_410(ours, proxy, diagnose):
    ours.federation._instance.retired = 5
    found = await diagnose()
    assert (found["keys"].outcome, found["keys"].said) == ("warning", "this instance was retired")
    rest = ("webfinger", "webfinger-origin", "actor", "host-meta", "proxy")
    assert {(found[name].outcome, found[name].said) for name in rest} == {
        ("skipped", "this instance was retired, and answers 410")
    }


def with_document(**more):
    def change(status, headers, body):
        return status, headers, json.dumps(json.loads(body) | more).encode()

    return change


def as_type(content_type):
    return lambda status, _, body: (status, {"Content-Type": content_type}, body)


def answering(status):
    return lambda _status, headers, _body: (status, headers, b"{}")


async def test_behind_a_proxy_that_passes_everything_all_is_well(ours, proxy, diagnose):
    found = await diagnose()
    odd = {name: one for name, one in found.items() if one.outcome != "ok"}
    assert odd.keys() <= {"base-url", "dns", "clock"}  # loopback, and a clock that tests move
    assert found["proxy"].outcome == "ok"
    assert (ours.rows(followers), ours.rows(inbox)) == ([], [])


@pytest.mark.parametrize(
    ("path", "change", "check", "outcome", "said"),
    [
        ("/actor", as_type("text/html"), "actor", "failed", "content type 'text/html'"),
        ("/feeds/clean", answering(404), "actor", "failed", "answers 404"),
        ("/feeds/clean", answering(301), "actor", "failed", "redirects to nowhere"),
        ("/feeds/flagged", with_document(inbox="http://x/"), "actor", "failed", "differs"),
        (
            "/feeds/clean",
            as_type('application/ld+json; profile="https://www.w3.org/ns/activitystreams"'),
            "actor",
            "warning",
            "ld+json",
        ),
        ("/.well-known/webfinger", answering(404), "webfinger", "failed", "answers 404"),
        ("/.well-known/webfinger", with_document(links=[]), "webfinger", "failed", "nothing"),
        ("/.well-known/webfinger", answering(404), "webfinger-origin", "failed", "answers 404"),
        ("/.well-known/webfinger", with_document(more=1), "webfinger", "warning", "otherwise"),
        ("/nodeinfo/2.1", answering(404), "nodeinfo", "warning", "answers 404"),
    ],
)
async def test_what_a_proxy_changes_is_named(proxy, diagnose, path, change, check, outcome, said):
    proxy.changes[path] = change
    found = await diagnose()
    assert (found[check].outcome, said in found[check].said) == (outcome, True), found[check]


@pytest.mark.parametrize("status", [202, 403, 404, 405, 413, 415, 418, 429, 500])
async def test_an_inbox_that_peers_cannot_reach_is_named(proxy, diagnose, status):
    proxy.posts = status
    expected = "skipped" if status == 429 else "failed"  # too busy to tell
    assert (await diagnose())["proxy"].outcome == expected


async def test_when_we_are_down_the_rest_cannot_be_told(ours, diagnose):
    await ours.server.close()
    found = await diagnose()
    assert found["reachable"].outcome == "failed"
    assert "is the server running" in found["reachable"].todo
    assert {found[name].outcome.value for name in ("actor", "webfinger", "proxy")} == {"skipped"}
    assert found["keys"].outcome == "ok"


async def test_keys_of_another_database_are_told_from_a_proxy_that_rewrites(proxy, diagnose):
    proxy.changes["/actor"] = with_document(publicKey={"id": "x"})
    assert "other keys than this database" in (await diagnose())["actor"].todo


# --- judged without a server ------------------------------------------------------------------
@pytest.mark.parametrize(
    ("addresses", "allowed", "outcome"),
    [
        (["93.184.216.34"], False, "ok"),
        (["93.184.216.34", "10.0.0.1"], False, "failed"),
        (["10.0.0.1"], True, "warning"),
        ("the name is not known", False, "failed"),
    ],
)
def test_the_name_must_lead_to_public_addresses(addresses, allowed, outcome):
    assert own_judging.judge_dns("a.example", addresses, allow_private=allowed).outcome == outcome


@pytest.mark.parametrize(
    ("base", "allowed", "outcome"),
    [
        ("https://a.example", False, "ok"),
        ("http://a.example", False, "failed"),
        ("http://127.0.0.1:8700", True, "warning"),
    ],
)
def test_the_base_url_must_be_https(base, allowed, outcome):
    checked = own_judging.judge_base_url(Origin(base), allow_private=allowed)
    assert checked.outcome == outcome
    assert found_something([checked]) is (outcome != "ok")


def test_a_missing_key_and_a_retired_instance_are_named():
    assert own_judging.judge_own_keys(["http", "clean"], None).said.endswith("for flagged")
    assert own_judging.judge_own_keys(["http", "clean", "flagged"], 5).outcome == "warning"


def test_only_401_tells_that_the_inbox_is_ours():
    seen = Seen(Url("http://a/inbox"), 401, {}, b"")
    assert own_judging.judge_proxy(seen).outcome == "ok"
