"""What anybody may ask of us, through the front door: types, headers, and both directions."""

import json
from xml.etree import ElementTree

import pytest

from federation.actors.discovery import MAX_RELS
from federation.actors.remote_actor import parse_actor
from federation.actors.webfinger import INSTANCE_REL
from federation.signing.keystore import rotate
from federation.standards import FEPS

ACTIVITY = "application/activity+json"


async def get(peer, ours, path, **headers):
    """Fetch a path of ours unsigned; returns (status, headers, body)."""
    async with peer.session.get(f"{ours.base}{path}", headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def document(peer, ours, path):
    status, _, body = await get(peer, ours, path)
    assert status == 200
    return json.loads(body)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/actor", ACTIVITY),
        ("/feeds/clean", ACTIVITY),
        ("/feeds/flagged", ACTIVITY),
        ("/.well-known/webfinger?resource={base}/actor", "application/jrd+json"),
        ("/.well-known/host-meta", "application/xrd+xml; charset=utf-8"),
        ("/.well-known/host-meta.json", "application/json"),
        ("/.well-known/nodeinfo", "application/json"),
        (
            "/nodeinfo/2.1",
            'application/json; profile="http://nodeinfo.diaspora.software/ns/schema/2.1#"',
        ),
    ],
)
async def test_everything_public_has_its_type_and_may_be_read_from_anywhere(
    ours, peer, path, content_type
):
    status, headers, _ = await get(peer, ours, path.format(base=ours.base))
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cache-Control"].startswith("public")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["actor", "clean", "flagged"])
async def test_handle_and_actor_lead_to_one_another(ours, peer, name):
    host = ours.base.removeprefix("http://")
    jrd = await document(peer, ours, f"/.well-known/webfinger?resource=acct:{name}@{host}")
    assert jrd["subject"] == f"acct:{name}@{host}"
    actor_id = jrd["links"][0]["href"]
    actor = parse_actor(
        await document(peer, ours, actor_id.removeprefix(ours.base)), actor_id, allow_http=True
    )
    assert actor.name == name
    again = await document(peer, ours, f"/.well-known/webfinger?resource={actor_id}")
    assert again["subject"] == jrd["subject"]


async def test_the_instance_actor_is_found_from_the_bare_origin_and_from_nodeinfo(ours, peer):
    """FEP-d556 and FEP-2677."""
    jrd = await document(peer, ours, f"/.well-known/webfinger?resource={ours.base}")
    links = await document(peer, ours, "/.well-known/nodeinfo")
    for found in (jrd, links):
        hrefs = [link["href"] for link in found["links"] if link["rel"] == INSTANCE_REL]
        assert hrefs == [f"{ours.base}/actor"]
    assert (await document(peer, ours, "/actor"))["type"] == "Application"


async def test_webfinger_tells_only_the_links_that_are_asked_for(ours, peer):
    where = f"/.well-known/webfinger?resource={ours.base}"
    rel = INSTANCE_REL.replace("#", "%23")
    jrd = await document(peer, ours, f"{where}&rel={rel}")
    assert [link["rel"] for link in jrd["links"]] == [INSTANCE_REL]
    assert (await document(peer, ours, f"{where}&rel=other"))["links"] == []
    many = "&rel=x" * MAX_RELS
    assert (await get(peer, ours, where + many))[0] == 200
    assert (await get(peer, ours, f"{where}{many}&rel=x"))[0] == 400


async def test_webfinger_without_a_resource_is_malformed_and_a_strange_one_not_found(ours, peer):
    """RFC 7033, section 4.2."""
    assert (await get(peer, ours, "/.well-known/webfinger"))[0] == 400
    strange = "/.well-known/webfinger?resource=acct:clean@elsewhere.example"
    assert (await get(peer, ours, strange))[0] == 404
    assert (await get(peer, ours, "/feeds/other"))[0] == 404


async def test_host_meta_leads_to_webfinger_in_both_forms(ours, peer):
    template = f"{ours.base}/.well-known/webfinger?resource={{uri}}"
    _, _, body = await get(peer, ours, "/.well-known/host-meta")
    (link,) = ElementTree.fromstring(body)  # our own document
    assert (link.get("rel"), link.get("template")) == ("lrdd", template)
    as_json = await document(peer, ours, "/.well-known/host-meta.json")
    assert as_json["links"][0]["template"] == template
    _, headers, body = await get(peer, ours, "/.well-known/host-meta", Accept="application/json")
    assert json.loads(body) == as_json
    assert headers["Vary"] == "Accept"


async def test_nodeinfo_says_what_is_implemented(ours, peer):
    metadata = (await document(peer, ours, "/nodeinfo/2.1"))["metadata"]
    assert metadata["feps"] == [standard.name for standard in FEPS]
    assert metadata["httpSignatures"] == ["cavage", "rfc9421"]
    assert metadata["wire"] == 1
    assert metadata["labels"] == [
        f"urn:fediverdict:label:{name}" for name in ("minor", "sexual", "test-pattern")
    ]


async def test_who_has_a_document_already_gets_304_until_it_changes_and_then_the_new_one(
    ours, peer
):
    """At once: who meets a new key asks, and then not again for a while."""
    _, headers, _ = await get(peer, ours, "/feeds/clean")
    tag = headers["ETag"]
    assert headers["Cache-Control"] == "public, no-cache"
    status, headers, body = await get(peer, ours, "/feeds/clean", **{"If-None-Match": tag})
    assert (status, headers["ETag"], body) == (304, tag, b"")
    ours.store.write_now(rotate, "clean", ours.clock())
    status, headers, _ = await get(peer, ours, "/feeds/clean", **{"If-None-Match": tag})
    assert status == 200
    assert headers["ETag"] != tag
