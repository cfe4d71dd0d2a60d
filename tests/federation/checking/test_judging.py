"""The limits of the doctor's judgement, and its words for what the network says."""

from typing import Any

import pytest

from cache.verdict import Feed
from federation.checking import feed_judging, judging
from federation.checking.feed_judging import LAG_PAGES, LAG_SECONDS, Known
from federation.checking.judging import SKEW_SECONDS, SKEW_WARNING_SECONDS
from federation.checking.looking import NoAnswer
from federation.client import Seen
from federation.errors import FetchFailed
from federation.following.followers import Follower
from federation.origin import Url
from federation.outbound.delivery_state import DeliveryState
from federation.outbound.hosts import Host
from federation.reading.states import FeedState
from federation.wire.outbox import OutboxHead
from federation.wire.times import to_http_date

NOW = 1_795_000_000
EPOCH = "ab" * 16
QUIET = DeliveryState("https://a.example", Host())


def seen(**headers):
    return Seen(Url("https://a.example/actor"), 200, headers, b"")


def known(feed=None, follower=(), delivery=QUIET):
    return Known(feed, follower, delivery)


def followed(**changes):
    values: dict[str, Any] = {
        "follow_id": 1,
        "actor_id": "https://a.example/feeds/clean",
        "handle": "clean@a.example",
        "feed": Feed.CLEAN,
        "state": "accepted",
        "epoch": EPOCH,
        "page": 3,
        "published": NOW,
        "head_epoch": EPOCH,
        "head_page": 99,
    }
    rest = ("lag_pages", "lag_seconds", "pulled", "error", "halted", "snapshot_part")
    return FeedState(**(values | {"tries": 0, "next_try": 0} | dict.fromkeys(rest) | changes))


@pytest.mark.parametrize(
    ("skew", "outcome"),
    [
        (0, "ok"),
        (SKEW_WARNING_SECONDS, "ok"),
        (SKEW_WARNING_SECONDS + 1, "warning"),
        (-SKEW_SECONDS, "warning"),
        (-SKEW_SECONDS - 1, "failed"),
    ],
)
def test_a_clock_may_be_a_little_off(skew, outcome):
    looks = [
        NoAnswer(Url("https://a.example"), FetchFailed("x")),
        seen(date=to_http_date(NOW + skew)),
    ]
    assert judging.judge_clock(looks, NOW).outcome == outcome


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_without_a_date_the_clock_cannot_be_told(headers):
    assert judging.judge_clock([seen(**headers)], NOW).outcome == "skipped"


@pytest.mark.parametrize(
    ("text", "todo"),
    [
        ("Cannot connect to host a:443 ssl:default [Connect call failed]", "Nothing listens"),
        ("Cannot connect to host a:443 ssl:default [Name or service not known]", "A or AAAA"),
        ("a:443 [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "certificate"),
        ("no full answer within 10.0 s", "Try again"),
    ],
)
def test_what_the_network_says_leads_to_what_to_do(text, todo):
    check = judging.judge_reachable(NoAnswer(Url("https://a.example"), FetchFailed(text)))
    assert (check.outcome, todo in check.todo) == ("failed", True)


@pytest.mark.parametrize(
    ("content_type", "outcome"),
    [
        ("application/activity+json", "ok"),
        ("application/activity+json; charset=utf-8", "ok"),
        ('application/ld+json; profile="https://www.w3.org/ns/activitystreams"', "warning"),
        ("application/activity+json; profile=x", "warning"),
    ],
)
def test_lemmy_compares_the_whole_content_type(content_type, outcome):
    assert judging.judge_content_type(seen(**{"content-type": content_type})).outcome == outcome


@pytest.mark.parametrize(
    ("pages", "seconds", "outcome"),
    [
        (0, LAG_SECONDS + 1, "ok"),
        (LAG_PAGES, LAG_SECONDS + 1, "ok"),
        (LAG_PAGES + 1, LAG_SECONDS, "ok"),
        (LAG_PAGES + 1, LAG_SECONDS + 1, "warning"),
    ],
)
def test_a_lag_is_odd_when_it_is_long_and_of_many_pages(pages, seconds, outcome):
    feed = followed(published=NOW - seconds)
    head = OutboxHead(EPOCH, 1, 3 + pages, "z")
    assert feed_judging.judge_lag(known(feed), head, NOW).outcome == outcome


def test_a_lag_of_another_epoch_or_of_a_stranger_cannot_be_told():
    other = OutboxHead("cd" * 16, 1, 9, "z")
    assert feed_judging.judge_lag(known(followed()), other, NOW).outcome == "skipped"
    assert feed_judging.judge_lag(known(), other, NOW).outcome == "skipped"


@pytest.mark.parametrize(
    ("feed", "outcome"),
    [
        (None, "ok"),
        (followed(), "ok"),
        (followed(state="pending"), "ok"),
        (followed(state="rejected"), "warning"),
        (followed(error="x"), "warning"),
        (followed(halted="x"), "failed"),
    ],
)
def test_how_we_follow_it(feed, outcome):
    assert feed_judging.judge_following(known(feed)).outcome == outcome


@pytest.mark.parametrize(
    ("state", "outcome"), [("approved", "ok"), ("rejected", "ok"), ("pending", "warning")]
)
def test_how_it_follows_us(state, outcome):
    follower = [Follower("https://a.example/actor", Feed.CLEAN, state, 1)]
    assert feed_judging.judge_follower(known(follower=follower)).outcome == outcome


@pytest.mark.parametrize(
    ("delivery", "outcome"),
    [
        (QUIET, "ok"),
        (DeliveryState("https://a.example", Host(), waiting=3, succeeded=1), "ok"),
        (DeliveryState("https://a.example", Host(), dropped=1, error="x"), "warning"),
        (DeliveryState("https://a.example", Host(failures=1), error="x"), "warning"),
    ],
)
def test_how_deliveries_go(delivery, outcome):
    assert feed_judging.judge_delivery(known(delivery=delivery)).outcome == outcome
