import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.context import ACTOR_CONTEXT, PAGE_CONTEXT
from federation.errors import BadRequest
from federation.wire.graph import KEYWORDS, refuse_tricks


def test_plain_documents_pass():
    refuse_tricks({"@context": PAGE_CONTEXT, "rows": [[1, [None]]], "object": {"type": "Note"}})
    refuse_tricks({"@context": ACTOR_CONTEXT, "id": "x"})
    refuse_tricks({"@context": ["https://www.w3.org/ns/activitystreams", {"toot": "http://t#"}]})


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: inner,
        lambda inner: {"object": inner},
        lambda inner: {"a": [[{"b": [inner]}]]},
        lambda inner: {"@context": ["x", {"term": inner}]},
    ],
)
def test_graph_keywords_are_refused_at_any_depth(keyword, wrap):
    """Mastodon CVE-2026-46349 and -48028, Fedify CVE-2026-42462."""
    with pytest.raises(BadRequest):
        refuse_tricks(wrap({keyword: {"id": "x"}}))


@pytest.mark.parametrize(
    "context",
    [
        {"actor": "https://www.w3.org/ns/activitystreams#object"},
        {"g": "@graph"},
        {"g": {"@id": "@nest"}},
        {"@vocab": "https://evil.example/"},
        {"@base": "https://evil.example/"},
        {"@import": "https://evil.example/"},
        {"rows": {"@id": "fv:columns"}},
        {"x": {"@context": {"y": "@reverse"}}},
        [{"inbox": "urn:x"}],
    ],
)
def test_an_inline_context_cannot_redefine_what_is_read(context):
    for document in ({"@context": context}, {"object": [{"@context": context}]}):
        with pytest.raises(BadRequest):
            refuse_tricks(document)


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=6) | st.sampled_from(["@graph", "@context"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["@context", "@nest", "a", "id"]), inner)
    ),
    max_leaves=8,
)


@given(values)
def test_no_document_raises_anything_else(value):
    with contextlib.suppress(BadRequest):
        refuse_tricks({"@context": value})
    with contextlib.suppress(BadRequest):
        refuse_tricks({"a": value})
