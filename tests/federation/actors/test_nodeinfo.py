import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.actors.nodeinfo import (
    MAX_LINKS,
    SCHEMA,
    build_links,
    build_nodeinfo,
    parse_links,
    parse_nodeinfo,
)
from federation.errors import BadRequest, FederationError, WrongOrigin
from tests.federation.samples import BASE


def test_what_we_build_is_what_peers_read():
    links = parse_links(build_links(BASE), BASE)
    assert links.nodeinfo == f"{BASE}/nodeinfo/2.1"
    assert links.instance == f"{BASE}/actor"
    info = parse_nodeinfo(build_nodeinfo(BASE, "0.1.0"))
    assert (info.software, info.version) == ("fediverdict", "0.1.0")


def test_nodeinfo_has_what_the_schema_requires():
    document = build_nodeinfo(BASE, "0.1.0")
    assert set(document) == {
        *("version", "software", "protocols", "services"),
        *("openRegistrations", "usage", "metadata"),
    }
    assert document["protocols"] == ["activitypub"]
    assert document["metadata"]["feeds"]["clean"] == f"{BASE}/feeds/clean"


def test_a_peer_without_links_names_nothing():
    assert parse_links({"links": []}, BASE).instance is None


@pytest.mark.parametrize("href", ["https://evil.example/n", "https://alpha.example:8443/n"])
def test_a_link_to_another_origin_is_refused(href):
    with pytest.raises(WrongOrigin):
        parse_links({"links": [{"rel": SCHEMA, "href": href}]}, BASE)


def test_there_are_32_links_at_most():
    parse_links({"links": [{}] * MAX_LINKS}, BASE)
    with pytest.raises(BadRequest):
        parse_links({"links": [{}] * (MAX_LINKS + 1)}, BASE)


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.just(SCHEMA),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rel", "href", "name", "version"]), inner)
    ),
    max_leaves=6,
)


@given(values)
def test_no_document_raises_anything_else(value):
    with contextlib.suppress(FederationError):
        parse_links({"links": value}, BASE)
    with contextlib.suppress(FederationError):
        parse_nodeinfo({"software": value})
