import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.context import PAGE_CONTEXT
from federation.errors import BadRequest, FederationError, WrongOrigin
from federation.origin import Url
from federation.wire.activity import (
    MAX_ID_CHARACTERS,
    AnnouncePage,
    Answer,
    CreatePage,
    Follow,
    Ignored,
    UndoFollow,
    parse_activity,
)
from federation.wire.composing import (
    INLINE_BYTES,
    build_answer,
    build_create,
    build_follow,
    build_undo,
)
from federation.wire.page import digest, verify_page
from federation.wire.strictjson import parse, to_bytes
from tests.federation.samples import EPOCH, NOW, feed_actor, model_row, signed_page

FEED = Url("https://alpha.example/feeds/flagged")
PEER = Url("https://beta.example/actor")
FOLLOW = Follow(Url("https://beta.example/follows/1"), PEER, FEED)
PAGE_URL = Url(f"{FEED}/{EPOCH}/pages/1")
CREATE_ID = Url(f"{PAGE_URL}#create")
ANSWER_ID = Url("https://alpha.example/answers/1")
UNDO_ID = Url("https://beta.example/undos/1")


def received(document):
    """As a receiver sees it: from bytes."""
    return parse_activity(parse(to_bytes(document), 10**6))


def big_page():
    return signed_page([model_row(str(number)) for number in range(400)])


def test_a_follow_survives_the_wire():
    assert received(build_follow(FOLLOW.id, FOLLOW.actor, FOLLOW.object)) == FOLLOW


@pytest.mark.parametrize("accepted", [True, False])
def test_an_answer_names_the_follow_it_is_for(accepted):
    document = build_answer(ANSWER_ID, FOLLOW, accepted=accepted)
    assert (document["actor"], document["to"]) == (FEED, [PEER])
    assert received(document) == Answer(ANSWER_ID, FEED, accepted, FOLLOW.id)
    assert received(document | {"object": FOLLOW.id}).follow_id == FOLLOW.id


def test_an_undo_names_the_follow_that_it_takes_back():
    document = build_undo(UNDO_ID, FOLLOW)
    assert received(document) == UndoFollow(UNDO_ID, PEER, FOLLOW.id, FEED)
    assert received(document | {"object": FOLLOW.id}).object is None


def test_the_id_of_an_object_is_read_up_to_the_limit_and_not_past_it():
    document = build_undo(UNDO_ID, FOLLOW)
    longest = FOLLOW.id + "x" * (MAX_ID_CHARACTERS - len(FOLLOW.id))
    assert received(document | {"object": longest}).follow_id == longest
    with pytest.raises(BadRequest, match="has no id"):
        received(document | {"object": f"{longest}x"})


def test_nobody_undoes_the_follow_of_another():
    document = build_undo(UNDO_ID, FOLLOW)
    document["object"]["actor"] = "https://gamma.example/actor"
    with pytest.raises(WrongOrigin):
        received(document)


def test_a_small_page_comes_inline_and_keeps_its_proof():
    page = signed_page()
    document = build_create(page)
    assert document["id"] == f"{PAGE_URL}#create"
    assert document["object"]["@context"] == PAGE_CONTEXT
    found = received(document)
    assert isinstance(found, CreatePage)
    assert verify_page(found.page, feed_actor(), NOW).page.digest == digest(page)


def test_a_large_page_comes_as_a_stub():
    page = big_page()
    document = build_create(page)
    assert document["id"] == f"{PAGE_URL}#create"
    assert document["object"]["id"] == f"{PAGE_URL}#announce"
    assert document["object"]["type"] == ["Document", "AttestationPage"]
    assert received(document) == AnnouncePage(CREATE_ID, FEED, PAGE_URL, EPOCH, 1, digest(page))


def test_an_activity_stays_under_48_kib():
    assert len(to_bytes(build_create(big_page()))) < INLINE_BYTES
    sizes = []
    for count in range(100, 400, 10):
        page = signed_page([model_row(str(number)) for number in range(count)])
        sizes.append(len(to_bytes(build_create(page))))
    assert max(sizes) < INLINE_BYTES
    assert max(sizes) > 0.9 * INLINE_BYTES, "pages are inline as long as they fit"


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://evil.example/pages/1"},
        {"url": f"{FEED}/{EPOCH}/pages/2"},
        {"url": None},
        {"page": 0},
        {"page": 2**31, "url": f"{FEED}/{EPOCH}/pages/{2**31}"},
        {"page": "1"},
        {"epoch": None},
        {"digestMultibase": "zQm"},
        {"attributedTo": "https://evil.example/feeds/flagged"},
    ],
)
def test_a_stub_that_points_elsewhere_is_refused(changes):
    document = build_create(big_page())
    with pytest.raises((BadRequest, WrongOrigin)):
        received(document | {"object": document["object"] | changes})


def test_a_page_of_another_actor_is_refused():
    document = build_create(signed_page())
    for actor in ("https://alpha.example/feeds/clean", PEER):
        with pytest.raises(WrongOrigin):
            received(document | {"actor": actor, "id": f"{actor}/1"})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "https://evil.example/follows/1"},
        {"id": "https://BETA.example/follows/1"},
        {"actor": "https://evil.example/actor"},
    ],
)
def test_id_and_actor_share_an_origin(changes):
    with pytest.raises(WrongOrigin):
        received(build_follow(FOLLOW.id, PEER, FEED) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"actor": None},
        {"actor": {"id": PEER}},
        {"actor": [PEER]},
        {"type": None},
        {"type": ["Follow"]},
        {"object": None},
        {"object": []},
        {"object": ""},
        {"object": "x" * 2_049},
        {"object": {"@graph": []}},
        {"@context": {"actor": "urn:x"}},
    ],
)
def test_a_malformed_activity_is_refused(changes):
    with pytest.raises(BadRequest):
        received(build_follow(FOLLOW.id, PEER, FEED) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "Like"},
        {"type": "Delete", "object": f"{PEER}/notes/1"},
        {"type": "Update", "object": {"id": f"{PEER}/notes/1"}},
        {"type": "Undo", "object": {"type": "Like", "id": "https://beta.example/likes/1"}},
        {"type": "Create", "object": {"type": "Note", "content": "hi"}},
        {"type": "Create", "object": "https://beta.example/notes/1"},
        {"type": "Create", "object": {"type": ["AttestationPage"]}},
        {"type": "NeverHeardOf", "object": None},
    ],
)
def test_what_means_nothing_here_is_ignored(changes):
    document = build_follow(FOLLOW.id, PEER, FEED) | changes
    assert received(document) == Ignored(FOLLOW.id, PEER, changes["type"])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([PEER, FEED]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "type", "actor", "object", "attributedTo", "rows", "epoch"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(["Follow", "Accept", "Reject", "Undo", "Create", "Delete"]),
    st.sampled_from(["object", "id", "actor", "type", "@context"]),
    values,
)
def test_no_activity_raises_anything_else(kind, name, value):
    document = build_follow(FOLLOW.id, PEER, FEED) | {"type": kind, name: value}
    with contextlib.suppress(FederationError):
        parse_activity(document)
    page = {"type": ["Document", "AttestationPage"], "attributedTo": PEER, name: value}
    with contextlib.suppress(FederationError):
        parse_activity(document | {"type": "Create", "object": page})
