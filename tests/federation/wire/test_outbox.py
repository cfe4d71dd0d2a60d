import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.addresses import outbox_url
from federation.errors import BadRequest, FederationError, WrongOrigin
from federation.origin import Url
from federation.wire.multibase import digest
from federation.wire.outbox import OutboxHead, build_followers, build_outbox, parse_outbox
from tests.federation.samples import EPOCH

FEED = Url("https://alpha.example/feeds/clean")
OUTBOX = outbox_url(FEED)
HEAD = OutboxHead(EPOCH, 3, 12, digest(b"page 12"))


def test_an_outbox_tells_what_to_fetch():
    document = build_outbox(FEED, HEAD)
    assert document["totalItems"] == 10
    assert parse_outbox(document, FEED, OUTBOX) == HEAD


def test_an_outbox_without_pages_is_empty():
    assert parse_outbox(build_outbox(FEED, None), FEED, OUTBOX) is None


def test_an_outbox_shows_counts_only():
    for document in (build_outbox(FEED, HEAD), build_followers(FEED, 3)):
        assert not {"items", "orderedItems", "first", "last"} & set(document)
    assert build_followers(FEED, 3)["totalItems"] == 3


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"id": "https://alpha.example/feeds/flagged/outbox"}, WrongOrigin),
        ({"attributedTo": "https://evil.example/feeds/clean"}, WrongOrigin),
        ({"epoch": "x"}, BadRequest),
        ({"epoch": None}, BadRequest),
        ({"firstPage": 0}, BadRequest),
        ({"firstPage": 13}, BadRequest),
        ({"lastPage": 2**53}, BadRequest),
        ({"lastPage": True}, BadRequest),
        ({"digestMultibase": "z"}, BadRequest),
        ({"x": {"@included": []}}, BadRequest),
    ],
)
def test_a_wrong_outbox_is_refused(changes, error):
    with pytest.raises(error):
        parse_outbox(build_outbox(FEED, HEAD) | changes, FEED, OUTBOX)


@given(
    st.sampled_from(sorted(build_outbox(FEED, HEAD))),
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.none()),
)
def test_no_outbox_raises_anything_else(name, value):
    with contextlib.suppress(FederationError):
        parse_outbox(build_outbox(FEED, HEAD) | {name: value}, FEED, OUTBOX)
