"""Who sent a request, whichever scheme it is signed in; quirks of other servers' signatures."""

import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from federation.actors.remote_actor import parse_actor
from federation.addresses import feed_url
from federation.errors import BadSignature
from federation.origin import Origin
from federation.signing import cavage, keys, message_signatures
from federation.signing.identity import Scheme
from federation.signing.request import Request
from federation.signing.sender import check_sender, read_signed, schemes_of
from federation.wire.times import to_http_date
from tests.federation.samples import BASE, NOW, feed_document, other_rsa_key, rsa_key

OURS = Origin("https://ours.example")
INBOX = f"{OURS}/inbox"
BODY = b'{"type":"Follow"}'
ACTOR = json.loads(json.dumps(feed_document()))
ACTOR_ID = ACTOR["id"]
KEY_ID = f"{ACTOR_ID}#main-key"
SIGN = {Scheme.CAVAGE: cavage.sign_request, Scheme.RFC9421: message_signatures.sign_request}


def actor(**changes):
    return parse_actor(ACTOR | changes, ACTOR_ID)


def signed(scheme, key=None, key_id=KEY_ID, now=NOW):
    return SIGN[scheme]("POST", INBOX, BODY, key or rsa_key(), key_id, now)


def post(headers, target="/inbox"):
    return Request("POST", target, list(headers.items()), BODY)


def sender_of(request, of_actor=None, base=OURS):
    return check_sender(read_signed(request, NOW), of_actor or actor(), NOW, base)


def in_both(cavage_headers, rfc9421_headers):
    """One scheme in `Authorization`, the other where it always stands."""
    old = dict(cavage_headers)
    old["Authorization"] = "Signature " + old.pop("Signature")
    return old | rfc9421_headers


@pytest.mark.parametrize("scheme", SIGN)
def test_the_sender_says_in_which_scheme_it_signed(scheme):
    request = post(signed(scheme))
    assert schemes_of(request) == (scheme,)
    assert read_signed(request, NOW).key_ids == (KEY_ID,)
    sender = sender_of(request)
    assert (sender.actor.id, sender.key_id) == (ACTOR_ID, KEY_ID)
    assert (sender.scheme, sender.signed) == (scheme, NOW)


def test_an_unsigned_request_has_no_scheme():
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "signature"}):
        with pytest.raises(BadSignature, match="not signed"):
            schemes_of(post(headers))


def test_a_request_may_be_signed_in_both_schemes():
    request = post(in_both(signed(Scheme.CAVAGE), signed(Scheme.RFC9421)))
    assert schemes_of(request) == (Scheme.RFC9421, Scheme.CAVAGE)
    assert sender_of(request).scheme is Scheme.RFC9421


@pytest.mark.parametrize("wrong", SIGN)
@pytest.mark.parametrize("fault", ["key", "name", "time"])
def test_one_wrong_scheme_of_two_refuses_the_request(wrong, fault):
    faults: dict[str, dict[str, Any]] = {
        "key": {"key": other_rsa_key()},
        "name": {"key_id": f"{ACTOR_ID}#else"},
        "time": {"now": NOW - 9_999},
    }
    headers = {scheme: signed(scheme) for scheme in SIGN}
    headers[wrong] = signed(wrong, **faults[fault])
    request = post(in_both(headers[Scheme.CAVAGE], headers[Scheme.RFC9421]))
    with pytest.raises(BadSignature):
        sender_of(request)


def test_both_schemes_in_one_signature_header_are_refused():
    both = signed(Scheme.RFC9421)
    lines = [*both.items(), ("Signature", signed(Scheme.CAVAGE)["Signature"])]
    with pytest.raises(BadSignature):
        sender_of(Request("POST", "/inbox", lines, BODY))


def test_a_signature_of_the_old_scheme_is_not_saved_by_an_empty_new_one():
    with pytest.raises(BadSignature):
        sender_of(post(signed(Scheme.CAVAGE) | {"Signature-Input": ""}))


@pytest.mark.parametrize("scheme", SIGN)
def test_a_key_id_that_is_no_canonical_url_is_refused(scheme):
    for key_id in ("Test", "https://Beta.example/actor#main-key", "https://b.example:443/x", "/x"):
        with pytest.raises(BadSignature, match="canonical"):
            read_signed(post(signed(scheme, key_id=key_id)), NOW)


@pytest.mark.parametrize("scheme", SIGN)
def test_the_proof_key_signs_no_requests(scheme):
    (proof_key_id,) = actor().proof_keys
    with pytest.raises(BadSignature, match="lists no key"):
        sender_of(post(signed(scheme, key_id=proof_key_id)))


@pytest.mark.parametrize("scheme", SIGN)
def test_gotosocial_names_its_keys_without_a_fragment(scheme):
    """The actor must list the key; the URL of the key, which shows a stub, is never fetched."""
    key_id = f"{ACTOR_ID}/main-key"
    own = {"id": key_id, "owner": ACTOR_ID, "publicKeyPem": keys.to_pem(rsa_key().public_key())}
    request = post(signed(scheme, key_id=key_id))
    assert sender_of(request, actor(publicKey=own)).key_id == key_id
    with pytest.raises(BadSignature, match="lists no key"):
        sender_of(request)


@pytest.mark.parametrize("scheme", SIGN)
def test_an_actor_may_have_several_keys(scheme):
    more = [
        {
            "id": f"{ACTOR_ID}#{name}",
            "owner": ACTOR_ID,
            "publicKeyPem": keys.to_pem(key.public_key()),
        }
        for name, key in (("old", other_rsa_key()), ("new", rsa_key()))
    ]
    several = actor(publicKey=more)
    for name, key in (("old", other_rsa_key()), ("new", rsa_key())):
        request = post(signed(scheme, key, f"{ACTOR_ID}#{name}"))
        assert sender_of(request, several).key_id == f"{ACTOR_ID}#{name}"
    with pytest.raises(BadSignature):
        sender_of(post(signed(scheme, rsa_key(), f"{ACTOR_ID}#old")), several)


def test_a_proxy_that_signs_as_well_does_no_harm():
    own, proxy = (
        signed(Scheme.RFC9421),
        signed(Scheme.RFC9421, other_rsa_key(), "https://p.example/k"),
    )
    both = dict(own)
    for name in ("Signature-Input", "Signature"):
        both[name] = f"{proxy[name].replace('sig1=', 'proxy=')}, {own[name]}"
    assert read_signed(post(both), NOW).key_ids == ("https://p.example/k", KEY_ID)
    assert sender_of(post(both)).key_id == KEY_ID


QUIRKS = {  # server -> what it covers, what it says beside the key id, how it writes the digest
    "Mastodon": (
        "(request-target) host date digest content-type", 'algorithm="rsa-sha256",', "SHA-256="
    ),
    "Misskey": ("(request-target) date host digest", 'algorithm="rsa-sha256",', "SHA-256="),
    "Pleroma": (
        "(request-target) content-length date digest host", 'algorithm="rsa-sha256",', "SHA-256="
    ),
    "Lemmy": (
        "(request-target) content-type date digest host", 'algorithm="hs2019",', "SHA-256="
    ),
    "GoToSocial": (
        "(request-target) host date digest content-type", 'algorithm="hs2019",', "SHA-256="
    ),
    "no algorithm": ("(request-target) host date digest", "", "SHA-256="),
    "lower case": ("(request-target) host date digest", 'algorithm="hs2019",', "sha-256="),
    "created": (
        "(request-target) (created) (expires) host digest",
        f'algorithm="hs2019",created={NOW},expires={NOW + 300},',
        "SHA-256=",
    ),
}  # fmt: skip


@pytest.mark.parametrize("target", ["/inbox", "/inbox?a=1"])
@pytest.mark.parametrize("server", QUIRKS)
def test_the_signatures_of_other_servers_are_taken(server, target):
    """What each of them sends as it is documented or stands in its source."""
    covered, said, digest_name = QUIRKS[server]
    headers = {
        "host": "ours.example",
        "date": to_http_date(NOW),
        "digest": digest_name + b64encode(sha256(BODY).digest()).decode(),
        "content-type": "application/activity+json",
        "content-length": str(len(BODY)),
    }
    values = headers | {"(request-target)": f"post {target}"}
    values |= {"(created)": str(NOW), "(expires)": str(NOW + 300)}
    text = "\n".join(f"{name}: {values[name]}" for name in covered.split())
    value = b64encode(rsa_key().sign(text.encode(), PKCS1v15(), SHA256())).decode()
    headers["Signature"] = f'keyId="{KEY_ID}",{said}headers="{covered}",signature="{value}"'
    assert sender_of(post(headers, "/inbox?a=1"))


def test_the_base_of_the_sender_is_not_ours():
    """What was signed for us does not hold for its own sender, and the other way round."""
    assert feed_url(BASE, actor().feed) == ACTOR_ID
    with pytest.raises(BadSignature):
        sender_of(post(signed(Scheme.RFC9421)), base=BASE)
