"""Faults of verifying: what is signed, by whom, over what, and whether anybody looks."""

import copy

import pytest

from cache.verdict import Feed
from federation.origin import Url
from federation.wire import activity, composing, strictjson
from tests.fakes.instance import pictures
from tests.fakes.peer import reply, rsa_of
from tests.federation.faults.letters import COVERED, DIGEST_HEADERS, write
from tests.federation.samples import proof_key


def create(peer, name="a", **more):
    return composing.build_create(peer.publish([peer.row(name)], **({"keep": False} | more)))


def other_byte(text):
    """Return the text with its middle character changed."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


async def status_of(letter, peer):
    return (await letter.send(peer))[0]


@pytest.fixture
async def stays_true(followed, peer, scheme):
    """After the test the same letter, unspoilt, is taken: what was refused was the fault."""
    yield
    sent = composing.build_create(peer.publish([peer.row("true")]))
    assert await status_of(write(scheme, peer, followed, sent), peer) == 202
    await followed.settle()
    assert followed.pictures() == pictures("true")


# --- the result of verifying is not looked at -------------------------------------------------
SPOILT = {
    "body": lambda it: it.spoilt(body=it.body.replace(b"[12]", b"[92]")),
    "one byte less": lambda it: it.spoilt(body=it.body[:-1] + b" }"),
    "date": lambda it: it.spoilt(Date="Mon, 16 Nov 2026 20:53:20 GMT"),
    "content type": lambda it: it.spoilt(Content_Type="application/activity+json; charset=utf-8"),
    "path": lambda it: it.spoilt(url=it.url.replace("/inbox", "/actor/inbox")),
    "query": lambda it: it.spoilt(url=f"{it.url}?x=1"),
    "signature": lambda it: it.spoilt(Signature=_flipped(it.headers["Signature"])),
    "no signature": lambda it: it.spoilt(Signature=None),
    "empty signature": lambda it: it.spoilt(Signature=""),
}
UNSIGNED = {
    ("rfc9421", "date"): "RFC 9421 signs `created` in the place of a Date",
    ("cavage", "query"): "some peers sign the target without its query, so both are taken",
}


def _flipped(header):
    """Change the signature itself, which is the last value of the header in both schemes."""
    start, mark, rest = (
        header.rpartition('signature="') if "keyId" in header else ("", "sig1=:", "")
    )
    value = rest or header.removeprefix("sig1=:")
    return start + mark + other_byte(value)


@pytest.mark.fault("the result of verifying is not looked at")
async def test_a_request_spoilt_in_one_part_is_refused(
    followed, peer, scheme, nothing_comes_of, stays_true
):
    """Mbin GHSA-x9g5-vwhc-pxm7: the outcome of verifying was computed and not looked at."""
    parts = [part for part in SPOILT if (scheme, part) not in UNSIGNED]
    async with nothing_comes_of(followed, peer):
        seen = {}
        for part in parts:
            letter = SPOILT[part](write(scheme, peer, followed, create(peer)))
            seen[part] = await status_of(letter, peer)
        assert seen == dict.fromkeys(parts, 401)


def spoilt_proof(peer, fault):
    """A page whose proof does not prove it."""
    sent = create(peer, key=proof_key("stranger") if fault == "key" else None)
    page = copy.deepcopy(sent)["object"]
    match fault:
        case "row":
            page["rows"][0][-4][0] += 1
        case "member":
            page["published"] = "2026-11-16T20:53:19Z"
        case "value":
            page["proof"]["proofValue"] = other_byte(page["proof"]["proofValue"])
        case "none":
            del page["proof"]
        case "empty":
            page["proof"] = []
        case "of another page":
            page["proof"] = create(peer, "b")["object"]["proof"]
    return sent | {"object": page}


@pytest.mark.fault("the result of verifying is not looked at")
async def test_a_bad_proof_is_refused_under_a_good_signature(
    followed, peer, scheme, nothing_comes_of, stays_true
):
    """apkit 0.3.8: a page whose proof was tampered with passed."""
    faults = ("row", "member", "key", "value", "none", "empty", "of another page")
    async with nothing_comes_of(followed, peer):
        seen = {}
        for fault in faults:
            letter = write(scheme, peer, followed, spoilt_proof(peer, fault))
            seen[fault] = await status_of(letter, peer)
        assert seen == dict.fromkeys(faults, 401)


# --- signer is not the actor ------------------------------------------------------------------
@pytest.mark.fault("signer is not the actor")
@pytest.mark.parametrize("is_known", [False, True], ids=["stranger", "whose key is cached"])
async def test_a_key_of_one_actor_does_not_speak_for_another(
    followed, peer, third, scheme, is_known, nothing_comes_of, stays_true
):
    """Fedify CVE-2025-54888, Misskey: any valid signature authenticated any actor."""
    if is_known:
        await third.follow(followed)
    named = {
        "its own name": (third.id, third.rsa),
        "the victim's name": (peer.feed_id(), third.rsa),
        "another actor of the victim": (peer.id, peer.rsa),
        "another feed of the victim": (peer.feed_id(Feed.FLAGGED), peer.rsa),
    }
    async with nothing_comes_of(followed, peer, third):
        seen = {}
        for name, (signer, key) in named.items():
            key_id = f"{signer}#main-key"
            letter = write(scheme, peer, followed, create(peer), key_id=key_id, key=key)
            seen[name] = await status_of(letter, peer)
        assert seen == dict.fromkeys(named, 401)


@pytest.mark.fault("signer is not the actor")
async def test_an_actor_that_lists_the_key_of_another_is_not_believed(
    followed, peer, third, scheme, nothing_comes_of, stays_true
):
    """Fedify CVE-2025-54888: whose key it is was read from the message."""

    async def with_the_victims_key(_request):
        return reply(third.document("actor") | {"publicKey": peer.document("actor")["publicKey"]})

    third.answers["/actor"] = with_the_victims_key
    follow = composing.build_follow(f"{third.id}/f", third.id, followed.feed_id())
    key_id = f"{peer.id}#main-key"
    async with nothing_comes_of(followed, peer, third, fetches=1):
        assert await status_of(write(scheme, third, followed, follow, key_id=key_id), third) == 401
        assert await status_of(write(scheme, third, followed, follow), third) == 401


# --- digest absent or not covered -------------------------------------------------------------
EMPTY = {
    "cavage": "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "rfc9421": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
}
WEAK = {"cavage": "MD5=1B2M2Y8AsgTpgAmY7PhCfg==", "rfc9421": "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:"}
DIGESTS = ["absent", "not covered", "of nothing", "weak", "garbage", "twice", "disagrees"]


def unbound(scheme, peer, ours, fault):
    """A letter whose body no digest binds."""
    header = DIGEST_HEADERS[scheme]
    signed_digest = {"of nothing": EMPTY[scheme], "weak": WEAK[scheme], "garbage": "x"}.get(fault)
    leave_out = (header.lower(),) if fault in ("absent", "not covered") else ()
    letter = write(scheme, peer, ours, create(peer), leave_out=leave_out, digest=signed_digest)
    match fault:
        case "absent":
            return letter.spoilt(**{header: None})
        case "twice":
            return letter.spoilt(**{header: f"{letter.headers[header]}, {EMPTY[scheme]}"})
        case "disagrees":
            other = "rfc9421" if scheme == "cavage" else "cavage"
            return letter.spoilt(**{DIGEST_HEADERS[other]: EMPTY[other]})
    return letter


@pytest.mark.fault("digest absent or not covered")
async def test_a_body_that_no_digest_binds_is_refused(
    followed, peer, scheme, nothing_comes_of, stays_true
):
    """Misskey CVE-2026-28432, apsig 0.6.0: a signature over the date alone carried any body."""
    async with nothing_comes_of(followed, peer):
        seen = {}
        for fault in DIGESTS:
            seen[fault] = await status_of(unbound(scheme, peer, followed, fault), peer)
        assert seen == dict.fromkeys(DIGESTS, 401)


@pytest.mark.fault("digest absent or not covered")
async def test_a_swapped_body_is_refused(followed, peer, scheme, nothing_comes_of, stays_true):
    """apsig 0.6.0: its RFC 9421 ignored the body."""
    letter = write(scheme, peer, followed, create(peer))
    async with nothing_comes_of(followed, peer):
        swapped = letter.spoilt(body=strictjson.to_bytes(create(peer, "b")))
        assert await status_of(swapped, peer) == 401


@pytest.mark.fault("digest absent or not covered")
async def test_a_signature_that_covers_less_than_the_request_is_refused(
    followed, peer, scheme, nothing_comes_of, stays_true
):
    """apsig 0.6.0: what was covered was the signer's choice."""
    left_out = [COVERED[scheme][:1], COVERED[scheme][1:2], COVERED[scheme][:2]]
    left_out += [("date",), COVERED["cavage"][:3]] if scheme == "cavage" else []
    async with nothing_comes_of(followed, peer):
        for names in left_out:
            letter = write(scheme, peer, followed, create(peer), leave_out=names)
            assert await status_of(letter, peer) == 401, names


# --- key document is not the key asked for ----------------------------------------------------
def _of_another(peer, third, fault):
    """The document of peer's instance actor, which says something else than was asked for."""
    own, other = peer.document("actor"), third.document("actor")
    moved = f"{peer.base}/other"
    match fault:
        case "another actor of the host":
            return own | {"id": moved}
        case "an actor elsewhere":
            return other
        case "another key of the actor":
            return own | {"publicKey": own["publicKey"] | {"id": f"{peer.id}#other-key"}}
        case "a key owned by another":
            return own | {"publicKey": own["publicKey"] | {"owner": moved}}
        case "a key elsewhere":
            return own | {"publicKey": own["publicKey"] | {"id": f"{third.id}#main-key"}}
        case "a name of a key":
            return own | {"publicKey": own["publicKey"]["id"]}
        case "a bare key":
            return own["publicKey"]
        case "two keys of one id":
            theirs = {"publicKeyPem": other["publicKey"]["publicKeyPem"]}
            return own | {"publicKey": [own["publicKey"], own["publicKey"] | theirs]}
    return None


OTHER_DOCUMENTS = {
    "another actor of the host": 401,
    "an actor elsewhere": 401,
    "a key owned by another": 400,
    "a key elsewhere": 401,
    "a bare key": 401,
    "two keys of one id": 400,
}


@pytest.mark.fault("key document is not the key asked for")
async def test_a_document_that_is_not_the_one_asked_for_is_neither_used_nor_cached(
    ours, peer, third, scheme, clock, nothing_comes_of
):
    """Fedify 2.3.5: a key document was cached under the name asked for, whatever its id was."""

    async def answer(_request):
        return reply(_of_another(peer, third, fault))

    peer.answers["/actor"] = answer
    follow = composing.build_follow(f"{peer.id}/f", peer.id, ours.feed_id())
    async with nothing_comes_of(ours, peer, third, fetches=len(OTHER_DOCUMENTS)):
        for fault, status in OTHER_DOCUMENTS.items():
            clock.now += 601
            letter = write(scheme, peer, ours, follow)
            assert [await status_of(letter, peer) for _ in range(2)] == [status, 429], fault
    assert await ours.federation.actors.known(Url(peer.id)) is None


@pytest.mark.fault("key document is not the key asked for")
@pytest.mark.parametrize("fault", ["another key of the actor", "a name of a key"])
async def test_an_actor_that_does_not_list_the_key_has_signed_nothing(
    ours, peer, third, scheme, fault
):
    """Fedify 2.3.5: the key that was found counted as the key that was named."""

    async def answer(_request):
        return reply(_of_another(peer, third, fault))

    peer.answers["/actor"] = answer
    asked = activity.Follow(Url(f"{peer.id}/f"), peer.id, ours.feed_id())
    follow = composing.build_follow(asked.id, asked.actor, asked.object)
    assert await status_of(write(scheme, peer, ours, follow), peer) == 401
    await ours.settle()
    assert ours.followers() == []
    assert peer.requests == [("GET", "/actor")]


@pytest.mark.fault("signer is not the actor")
async def test_the_proof_key_signs_no_requests(
    followed, peer, scheme, nothing_comes_of, stays_true
):
    """Fedify 2.3.6 takes a key of either kind for either use."""
    name = next(iter(peer.document("clean")["assertionMethod"]))["id"]
    letter = write(scheme, peer, followed, create(peer), key_id=name, key=rsa_of("wrong"))
    async with nothing_comes_of(followed, peer):
        assert await status_of(letter, peer) == 401
