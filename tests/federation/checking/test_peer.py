"""What the doctor says of a peer: all well, and one fault at a time, by name."""

import pytest
from aiohttp import web

from cache.settings import PeerDefaults
from cache.verdict import Feed
from federation.errors import BadHandle
from federation.wire import multibase
from tests.fakes.peer import ACTIVITY, reply


def handle(peer, name="clean"):
    return f"{name}@127.0.0.1:{peer.port}"


def outcomes(found, *but):
    return {name: one.outcome.value for name, one in found.items() if name not in but}


def answer(peer, path, document=None, status=200, content_type=ACTIVITY, **headers):
    async def handler(_request):
        body = reply(document or {}, content_type, status=status)
        body.headers.update({name.replace("_", "-"): text for name, text in headers.items()})
        return body

    peer.answers[path] = handler


@pytest.mark.parametrize("form", ["{}", "@{}", "acct:{}", "{base}/feeds/clean"])
async def test_a_peer_that_is_well(ours, peer, diagnose, form):
    peer.publish([peer.row("a")])
    peer.publish([peer.row("b")])
    await ours.follow(peer)
    found = await diagnose(form.format(handle(peer), base=peer.base))
    found["clock"] = found["host-meta"] if "base" in form else found["clock"]  # has a real Date
    assert outcomes(found) == dict.fromkeys(
        [
            "reachable",
            "nodeinfo",
            "host-meta",
            "clock",
            "webfinger",
            "webfinger-back",
            "actor",
            "context",
            "keys",
            "signature",
            "outbox",
            "page",
            "chain",
            "lag",
            "following",
            "follower",
            "delivery",
        ],
        "ok",
    )
    assert "page 2 has 1 rows and a good proof" in found["page"].said
    assert "page 2 follows page 1" in found["chain"].said


async def test_what_is_no_handle_is_an_error_of_the_caller(diagnose):
    for text in ("clean", "a b@example.com", "https://", ""):
        with pytest.raises(BadHandle):
            await diagnose(text)


async def test_a_peer_that_is_down_is_said_once_and_what_we_know_of_it_stays(ours, peer, diagnose):
    await ours.follow(peer)
    await peer.server.close()
    found = await diagnose(handle(peer))
    assert found["reachable"].outcome == "failed"
    assert "Nothing listens there" in found["reachable"].todo
    assert [name for name, one in found.items() if one.outcome == "failed"] == ["reachable"]
    assert found["actor"].outcome == "skipped"
    assert "we follow it" in found["following"].said


async def test_a_blocked_peer_is_not_asked(ours, peer, diagnose):
    await ours.stop()
    ours.change(blocked_domains=("127.0.0.1",))
    await ours.start()
    found = await diagnose(handle(peer))
    assert "peers unblock" in found["reachable"].todo
    assert peer.requests == []


async def test_a_private_address_is_not_asked(ours, peer, diagnose):
    await ours.stop()
    ours.change(allow_private_addresses=False)
    await ours.start()
    found = await diagnose("clean@127.0.0.1")
    assert "public addresses" in found["reachable"].todo
    assert peer.requests == []


@pytest.mark.parametrize(
    ("fault", "check", "outcome", "said"),
    [
        ("webfinger missing", "webfinger", "failed", "answers 404"),
        ("webfinger of another", "webfinger", "failed", "for another"),
        ("webfinger as text", "webfinger", "failed", "content type"),
        ("actor redirects", "actor", "failed", "redirects to https://www.example/"),
        ("actor as json", "actor", "failed", "content type 'application/json'"),
        ("actor with a foreign inbox", "actor", "failed", "not on the origin"),
        ("actor with another name", "webfinger-back", "failed", "does not call itself"),
        ("actor as ld+json", "actor", "warning", "ld+json"),
        ("actor without did", "context", "warning", "lacks https://www.w3.org/ns/did/v1"),
        ("actor without proof key", "keys", "failed", "no Ed25519 key"),
        ("actor without rsa key", "keys", "failed", "no RSA key"),
        ("outbox missing", "outbox", "failed", "answers 404"),
        ("outbox of another", "outbox", "failed", "not the outbox asked for"),
        ("page tampered", "page", "failed", "page 2"),
        ("page differs from outbox", "page", "failed", "another digest"),
        ("page hidden", "page", "failed", "hides its pages"),
        ("chain broken", "chain", "failed", "does not follow"),
        ("clock 2 h ahead", "clock", "failed", "7200 s ahead of ours"),
        ("clock 5 min behind", "clock", "warning", "300 s behind ours"),
        ("signatures refused", "signature", "failed", "none of our signatures"),
        ("nodeinfo missing", "nodeinfo", "warning", "answers 404"),
    ],
)
async def test_a_fault_is_named(ours, peer, diagnose, fault, check, outcome, said):
    peer.publish([peer.row("a")])
    peer.publish([peer.row("b")])
    await ours.follow(peer)
    FAULTS[fault](peer)
    found = await diagnose(handle(peer))
    assert (found[check].outcome, said in found[check].said) == (outcome, True), found[check]


def actor_with(**changes):
    def make(peer):
        document = peer.document("clean") | changes
        answer(peer, "/feeds/clean", {k: v for k, v in document.items() if v is not None})

    return make


def page(peer):
    return peer.pages[Feed.CLEAN, peer.epochs[Feed.CLEAN]][-1]


def tamper(peer):
    page(peer)["rows"][0][0] = "A" * 43


def redirect(peer):
    answer(peer, "/feeds/clean", status=301, Location="https://www.example/feeds/clean")


def jrd(peer, **changes):
    document = {"subject": f"acct:other@127.0.0.1:{peer.port}", "links": []} | changes
    answer(peer, "/.well-known/webfinger", document, content_type="application/jrd+json")


def other_digest(peer):
    other = {"digestMultibase": multibase.digest(b"another")}
    answer(peer, "/feeds/clean/outbox", peer.outbox(Feed.CLEAN) | other)


def break_chain(peer):
    """Seal page 1 once more, with other rows."""
    pages = peer.pages[Feed.CLEAN, peer.epochs[Feed.CLEAN]]
    kept = pages.copy()
    pages.clear()
    first = peer.publish([peer.row("c")])
    pages[:] = [first, *kept[1:]]


def hide(peer):
    path = page(peer)["id"].removeprefix(peer.base)
    answer(peer, path, status=404)


def without_did(peer):
    context = [one for one in peer.document("clean")["@context"] if "did/v1" not in str(one)]
    actor_with(**{"@context": context})(peer)


def dated(seconds):
    def make(peer):
        clock = peer.clock
        peer.clock = lambda: clock() + seconds

    return make


async def unauthorized(_request):
    return web.Response(status=401)


FAULTS = {
    "webfinger missing": lambda peer: answer(peer, "/.well-known/webfinger", status=404),
    "webfinger of another": jrd,
    "webfinger as text": lambda peer: answer(
        peer, "/.well-known/webfinger", content_type="text/plain"
    ),
    "actor redirects": redirect,
    "actor as json": lambda peer: answer(
        peer, "/feeds/clean", peer.document("clean"), content_type="application/json"
    ),
    "actor as ld+json": lambda peer: answer(
        peer,
        "/feeds/clean",
        peer.document("clean"),
        content_type='application/ld+json; profile="https://www.w3.org/ns/activitystreams"',
    ),
    "actor with a foreign inbox": actor_with(inbox="https://other.example/inbox"),
    "actor with another name": actor_with(preferredUsername="other"),
    "actor without did": without_did,
    "actor without proof key": actor_with(assertionMethod=None),
    "actor without rsa key": actor_with(publicKey=None),
    "outbox missing": lambda peer: answer(peer, "/feeds/clean/outbox", status=404),
    "outbox of another": lambda peer: answer(
        peer, "/feeds/clean/outbox", peer.outbox(Feed.FLAGGED)
    ),
    "page tampered": tamper,
    "page differs from outbox": other_digest,
    "page hidden": hide,
    "chain broken": break_chain,
    "signatures refused": lambda peer: peer.answers.update({"/feeds/clean": unauthorized}),
    "nodeinfo missing": lambda peer: answer(peer, "/.well-known/nodeinfo", status=404),
    "clock 2 h ahead": dated(7_200),
    "clock 5 min behind": dated(-300),
}


async def test_pages_are_for_approved_followers_and_that_is_no_fault(peer, diagnose):
    peer.publish([peer.row("a")])
    hide(peer)
    found = await diagnose(handle(peer))
    assert (found["page"].outcome, found["chain"].outcome) == ("skipped", "skipped")
    assert found["following"].said == "we do not follow it"


async def test_an_actor_that_is_no_feed_has_no_pages_to_check(ours, peer, diagnose):
    await peer.follow(ours)
    await ours.settle()
    found = await diagnose(handle(peer, "actor"))
    assert {found[name].outcome.value for name in ("outbox", "page", "chain", "lag")} == {"skipped"}
    assert found["follower"].outcome == "warning"
    assert "pending" in found["follower"].said


async def test_a_follow_that_waits_or_failed_is_told(ours, peer, diagnose):
    await ours.federation.follow(handle(peer), PeerDefaults())
    assert "has not answered yet" in (await diagnose(handle(peer)))["following"].said
    await ours.settle()
    await peer.accept(ours, [one for one in peer.received if one["type"] == "Follow"][-1])
    answer(peer, "/feeds/clean/outbox", status=500)
    await ours.settle()
    found = await diagnose(handle(peer))
    assert (found["following"].outcome, "last try failed" in found["following"].said) == (
        "warning",
        True,
    )
