import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.verdict import Feed
from federation.actors.webfinger import (
    INSTANCE_REL,
    MAX_HANDLE_CHARACTERS,
    build_webfinger,
    check_agrees,
    parse_handle,
    parse_webfinger,
    webfinger_url,
)
from federation.addresses import feed_url, instance_url
from federation.errors import BadHandle, FederationError, NotFound, WrongOrigin
from tests.federation.samples import BASE, feed_actor

CLEAN = feed_url(BASE, Feed.CLEAN)
HANDLE = parse_handle("clean@alpha.example")


@pytest.mark.parametrize(
    "text",
    [
        "clean@alpha.example",
        "@clean@alpha.example",
        "acct:clean@Alpha.Example",
        " clean@alpha.example ",
    ],
)
def test_a_handle_may_be_written_in_four_ways(text):
    assert parse_handle(text) == HANDLE
    assert str(HANDLE) == "clean@alpha.example"


@pytest.mark.parametrize(
    "text",
    [
        *("", "clean", "@clean", "clean@", "@alpha.example", "a b@alpha.example"),
        *("clean@alpha.example/x", "clean@alpha.example?x", "clean@alpha.example#x"),
        *("clean@user@alpha.example", "clean@bücher.example", "cl%61n@alpha.example"),
        "a" * (MAX_HANDLE_CHARACTERS - len("@b.example") + 1) + "@b.example",
    ],
)
def test_what_is_no_handle_is_refused(text):
    with pytest.raises(BadHandle):
        parse_handle(text)


def test_a_handle_of_the_longest_length_is_taken():
    text = "a" * (MAX_HANDLE_CHARACTERS - len("@b.example")) + "@b.example"
    assert str(parse_handle(text)) == text


def test_a_handle_with_a_port_is_asked_over_http_only_where_that_is_allowed():
    local = parse_handle("clean@127.0.0.1:8001", allow_http=True)
    assert webfinger_url(local) == (
        "http://127.0.0.1:8001/.well-known/webfinger?resource=acct%3Aclean%40127.0.0.1%3A8001"
    )
    assert parse_handle("clean@127.0.0.1:8001").origin == "https://127.0.0.1:8001"
    assert parse_handle("clean@alpha.example", allow_http=True).origin == BASE


@pytest.mark.parametrize(
    ("resource", "actor_id"),
    [
        ("acct:clean@alpha.example", CLEAN),
        ("acct:flagged@alpha.example", feed_url(BASE, Feed.FLAGGED)),
        ("acct:actor@alpha.example", instance_url(BASE)),
        (CLEAN, CLEAN),
        (instance_url(BASE), instance_url(BASE)),
        (BASE, instance_url(BASE)),
        (f"{BASE}/", instance_url(BASE)),
    ],
)
def test_our_actors_are_found_by_handle_id_and_origin(resource, actor_id):
    document = build_webfinger(resource, BASE)
    assert document["links"][0] == {
        "rel": "self",
        "type": "application/activity+json",
        "href": actor_id,
    }


def test_the_bare_origin_names_the_instance_actor():
    """FEP-d556."""
    document = build_webfinger(BASE, BASE)
    assert document["subject"] == BASE
    assert {link["rel"] for link in document["links"]} == {"self", INSTANCE_REL}


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "acct:",
        "acct:x@alpha.example",
        "acct:clean@evil.example",
        "https://evil.example",
        "clean",
    ],
)
def test_other_resources_are_not_found(resource):
    with pytest.raises(NotFound):
        build_webfinger(resource, BASE)


def test_handle_and_actor_agree_in_both_directions():
    document = build_webfinger(f"acct:{HANDLE}", BASE)
    assert parse_webfinger(document, HANDLE) == CLEAN
    check_agrees(HANDLE, feed_actor(Feed.CLEAN))
    with pytest.raises(BadHandle):
        check_agrees(HANDLE, feed_actor(Feed.FLAGGED))
    with pytest.raises(BadHandle):
        check_agrees(parse_handle("clean@beta.example"), feed_actor(Feed.CLEAN))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"subject": "acct:clean@evil.example"}, BadHandle),
        ({"subject": None}, BadHandle),
        ({"links": None}, BadHandle),
        ({"links": [None, {"rel": "self"}]}, BadHandle),
        ({"links": [{"rel": "self", "type": "text/html", "href": CLEAN}]}, BadHandle),
        (
            {
                "links": [
                    {
                        "rel": "self",
                        "type": "application/activity+json",
                        "href": "https://evil.example/feeds/clean",
                    }
                ]
            },
            WrongOrigin,
        ),
    ],
)
def test_an_answer_for_another_is_refused(changes, error):
    with pytest.raises(error):
        parse_webfinger(build_webfinger(f"acct:{HANDLE}", BASE) | changes, HANDLE)


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["self", CLEAN]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rel", "type", "href"]), inner)
    ),
    max_leaves=6,
)


@given(st.text(max_size=40), values)
def test_no_answer_raises_anything_else(text, value):
    with contextlib.suppress(FederationError):
        parse_handle(text, allow_http=True)
    with contextlib.suppress(FederationError):
        build_webfinger(text, BASE)
    with contextlib.suppress(FederationError):
        parse_webfinger({"subject": f"acct:{HANDLE}", "links": value}, HANDLE)
