"""Who may read pages: an approved follower of that very feed; everyone else sees one 404."""

import json
from base64 import urlsafe_b64encode

import pytest

from cache.verdict import Feed
from federation.addresses import page_url
from federation.signing.identity import Scheme
from tests.fakes.clock import Clock
from tests.fakes.peer import rsa_of
from tests.federation.samples import picture


@pytest.fixture
async def page(ours):
    """The URL of page 1 of our clean feed."""
    ours.add_row("a")
    await ours.settle()
    return page_url(ours.feed_id(), ours.federation.feeds._heads.get("clean").epoch, 1)


async def approved(ours, peer, feed=Feed.CLEAN):
    await peer.follow(ours, feed)
    await ours.settle()
    await ours.federation.approve(peer.id, feed)


def plain(answer):
    """What of an answer may tell one case from another."""
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name != "Date"}, body


async def test_an_approved_follower_reads_the_page_as_it_was_signed(ours, peer, page):
    await approved(ours, peer)
    status, headers, body = await peer.get(page)
    assert status == 200
    assert headers["Content-Type"] == "application/activity+json"
    assert headers["Cache-Control"] == "private, no-store"
    assert b'"AttestationPage"' in body


async def test_a_signature_that_a_proxy_added_does_not_keep_a_follower_out(ours, peer, page):
    """It comes in lines of its own; whoever read them again as one line refused the reader."""
    await approved(ours, peer)
    own = peer.signed("GET", page, None, scheme=Scheme.RFC9421)
    proxys = [("Signature-Input", 'proxy=("@method");created=1'), ("Signature", "proxy=:AAAA:")]
    async with peer.session.get(page, headers=[*own.items(), *proxys]) as answer:
        assert answer.status == 200


async def test_everyone_else_gets_the_very_404_of_a_page_that_does_not_exist(
    ours, peer, third, page, clock
):
    await approved(ours, peer)
    missing = plain(await peer.get(page.replace("/pages/1", "/pages/2")))
    assert missing[0] == 404
    assert missing[1]["Cache-Control"] == "private, no-store"

    seen = {
        "unsigned": plain(await peer.get(page, sign=False)),
        "stranger": plain(await third.get(page)),
        "stranger, missing": plain(await third.get(page.replace("/pages/1", "/pages/9"))),
        "stranger with the name of a follower": plain(await third.get(page, signer=peer.id)),
        "another actor of the follower": plain(await peer.get(page, signer=peer.feed_id())),
        "wrong key": plain(await peer.get(page, key=rsa_of("wrong"))),
        "no number": plain(await peer.get(page.replace("/pages/1", "/pages/x"))),
        "zero": plain(await peer.get(page.replace("/pages/1", "/pages/0"))),
        "huge": plain(await peer.get(page.replace("/pages/1", "/pages/" + "9" * 40))),
        "no feed": plain(await peer.get(page.replace("/feeds/clean", "/feeds/other"))),
        "the other feed": plain(await peer.get(page.replace("/feeds/clean", "/feeds/flagged"))),
    }
    await third.follow(ours)
    await ours.settle()
    seen["pending"] = plain(await third.get(page))
    await ours.federation.reject(third.id, Feed.CLEAN)
    seen["rejected"] = plain(await third.get(page))
    peer.clock = Clock(clock.now - 3_601)
    seen["signed too long ago"] = plain(await peer.get(page))
    assert {name for name, answer in seen.items() if answer != missing} == set()


@pytest.mark.parametrize("epoch", ["%00", "%FF", "%ED%A0%80", "x" * 5_000])
async def test_an_epoch_that_is_none_is_404_for_an_approved_follower_too(ours, peer, epoch):
    await approved(ours, peer)
    assert (await peer.get(f"{ours.feed_id()}/{epoch}/pages/1"))[0] == 404


async def test_a_follower_of_a_domain_blocked_later_is_shut_out(ours, peer, page):
    await approved(ours, peer)
    await ours.stop()
    ours.change(blocked_domains=("127.0.0.1",))
    await ours.start()
    assert (await peer.get(page))[0] == 404


async def test_an_approved_follower_of_the_flagged_feed_reads_no_clean_page(ours, peer, page):
    await approved(ours, peer, Feed.FLAGGED)
    assert (await peer.get(page))[0] == 404


async def test_head_requests_tell_strangers_nothing(ours, third, page):
    there = plain(await third.get(page, method="HEAD"))
    missing = plain(await third.get(page.replace("/pages/1", "/pages/2"), method="HEAD"))
    assert there == missing
    assert there[0] == 404


async def test_a_stranger_who_asks_for_pages_causes_no_fetch(ours, third, page):
    for _ in range(3):
        await third.get(page)
    assert third.requests == []


async def test_a_follower_rejected_later_is_shut_out(ours, peer, page):
    await approved(ours, peer)
    assert (await peer.get(page))[0] == 200
    await ours.federation.reject(peer.id, Feed.CLEAN)
    assert (await peer.get(page))[0] == 404


async def test_collections_show_counts_only(ours, peer, third, page):
    await approved(ours, peer)
    status, _, followers = await third.get(f"{ours.feed_id()}/followers", sign=False)
    assert status == 200
    assert b'"totalItems":1' in followers
    assert peer.id.encode() not in followers
    _, _, outbox = await third.get(f"{ours.feed_id()}/outbox", sign=False)
    assert b'"totalItems":1' in outbox
    assert b"orderedItems" not in outbox
    sha256 = urlsafe_b64encode(picture("a")).rstrip(b"=")
    assert sha256 not in outbox
    assert json.loads(outbox)["head"]["type"] == ["Document", "FeedHead"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/actor", "application/activity+json"),
        ("/feeds/clean", "application/activity+json"),
        ("/feeds/flagged", "application/activity+json"),
        ("/actor/outbox", "application/activity+json"),
        ("/.well-known/webfinger?resource=acct:clean@HOST", "application/jrd+json"),
        ("/.well-known/nodeinfo", "application/json"),
        (
            "/nodeinfo/2.1",
            'application/json; profile="http://nodeinfo.diaspora.software/ns/schema/2.1#"',
        ),
    ],
)
async def test_what_is_public_is_there_for_anybody(ours, third, path, content_type):
    path = path.replace("HOST", f"127.0.0.1:{ours.port}")
    status, headers, _ = await third.get(f"{ours.base}{path}", sign=False)
    assert (status, headers["Content-Type"]) == (200, content_type)


@pytest.mark.parametrize(
    "path", ["/feeds/other", "/feeds/other/outbox", "/.well-known/webfinger?resource=acct:x@y.z"]
)
async def test_what_is_not_there_is_404(ours, third, path):
    assert (await third.get(f"{ours.base}{path}", sign=False))[0] == 404


async def test_a_signature_header_of_a_megabyte_is_refused(ours, third, page):
    headers = {"Signature": "a" * 1_000_000}
    async with third.session.get(page, headers=headers) as answer:
        assert answer.status == 400
