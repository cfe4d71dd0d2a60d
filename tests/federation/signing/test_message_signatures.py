"""RFC 9421 as we sign and as we take it; what is signed by hand follows section 2.5."""

import contextlib
import hashlib
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadSignature
from federation.signing import keys
from federation.signing.knocks import KNOCK_SECONDS
from federation.signing.message_signatures import sign_request, verify_read
from federation.signing.request import WINDOW_SECONDS, Request, RsaKey
from federation.signing.signature_header import MAX_COVERED, MAX_HEADER_CHARACTERS
from federation.signing.signature_input import MAX_LABELS, MAX_PARAMETERS, read_signatures
from tests.fakes import signatures
from tests.federation.samples import BASE, NOW, other_rsa_key, rsa_key

ACTOR = "https://beta.example/actor"
KEY_ID = f"{ACTOR}#main-key"
KEY = RsaKey(KEY_ID, ACTOR, rsa_key().public_key())
INBOX = f"{BASE}/inbox"
BODY = b'{"type":"Follow"}'
COVERED = '"@method" "@target-uri" "content-digest"'
KEYED = [" ".join(f'"a";key="k{i}"' for i in range(MAX_PARAMETERS + more)) for more in (0, 1)]
REST = f';created={NOW};keyid="{KEY_ID}";alg="rsa-v1_5-sha256"'


def digest_of(body, name="sha-256"):
    algorithm = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512, "md5": hashlib.md5}[name]
    return f"{name}=:{b64encode(algorithm(body).digest()).decode()}:"


def by_hand(covered=COVERED, rest=REST, label="sig1", key=None, url=INBOX, method="POST", **more):
    """Headers whose signature covers just what the test says."""
    headers = {"content-digest": digest_of(BODY), "content-type": "application/activity+json"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    values = headers | {"@method": method, "@target-uri": url, "@authority": "alpha.example"}
    values |= {"@path": "/inbox", "host": "alpha.example"}
    names = [name.strip('"') for name in covered.split()]
    text = "".join(f'"{name}": {values[name]}\n' for name in names)
    text += f'"@signature-params": ({covered}){rest}'
    value = (key or rsa_key()).sign(text.encode(), PKCS1v15(), SHA256())
    headers["Signature-Input"] = f"{label}=({covered}){rest}"
    headers["Signature"] = f"{label}=:{b64encode(value).decode()}:"
    return headers


def post(headers, body=BODY, target="/inbox", method="POST"):
    return Request(method, target, list(headers.items()), body)


def taken(request, now=NOW, key=KEY):
    return verify_read(request, read_signatures(request, now), key, now, BASE)


def beside(*signed):
    """Several signatures of one request."""
    joined = dict(signed[0])
    for name in ("Signature-Input", "Signature"):
        joined[name] = ", ".join(one[name] for one in signed)
    return joined


def test_what_we_sign_verifies_by_hand_and_here():
    headers = sign_request("POST", f"{INBOX}?a=b%20c", BODY, rsa_key(), KEY_ID, NOW)
    assert headers["Signature-Input"] == (
        'sig1=("@method" "@target-uri" "content-type" "content-digest")'
        f';created={NOW};keyid="{KEY_ID}";alg="rsa-v1_5-sha256"'
    )
    lower = {name.lower(): value for name, value in headers.items()}
    public = rsa_key().public_key()
    assert signatures.holds("POST", f"{INBOX}?a=b%20c", lower, BODY, public)
    assert not signatures.holds("POST", f"{INBOX}?a=b%20d", lower, BODY, public)
    assert not signatures.holds("POST", f"{INBOX}?a=b%20c", lower, BODY + b" ", public)
    verified = taken(post(headers, target="/inbox?a=b%20c"))
    assert (verified.key_id, verified.actor, verified.signed) == (KEY_ID, ACTOR, NOW)


def test_a_get_is_signed_without_digest():
    headers = sign_request("GET", f"{BASE}/feeds/clean", None, rsa_key(), KEY_ID, NOW)
    assert sorted(headers) == ["Date", "Host", "Signature", "Signature-Input"]
    assert headers["Signature-Input"].startswith('sig1=("@method" "@target-uri");')
    assert taken(post(headers, b"", "/feeds/clean", "GET")).actor == ACTOR


def test_what_others_sign_by_hand_is_taken():
    assert taken(post(by_hand())).signed == NOW


@pytest.mark.parametrize(
    "covered",
    [
        f'{COVERED} "@authority" "@path"',
        f'"content-type" {COVERED}',
        f'{COVERED} "host"',
    ],
)
def test_more_may_be_covered_than_is_asked_for(covered):
    assert taken(post(by_hand(covered))).actor == ACTOR


def test_the_algorithm_may_be_left_out():
    assert taken(post(by_hand(rest=f';created={NOW};keyid="{KEY_ID}"'))).actor == ACTOR


@pytest.mark.parametrize(
    "alg", ['"ed25519"', '"rsa-pss-sha512"', '"hmac-sha256"', '"RSA-v1_5-SHA256"', '""', "1"]
)
def test_other_algorithms_are_refused(alg):
    headers = by_hand(rest=f';created={NOW};keyid="{KEY_ID}";alg={alg}')
    with pytest.raises(BadSignature, match="alg"):
        taken(post(headers))


@pytest.mark.parametrize("missing", COVERED.split())
def test_a_post_must_cover_method_target_and_digest(missing):
    covered = " ".join(name for name in COVERED.split() if name != missing)
    with pytest.raises(BadSignature, match="cover"):
        taken(post(by_hand(covered)))


@pytest.mark.parametrize("covered", ['"@method";req', '"@method";x=1'])
def test_a_component_with_parameters_is_not_the_component(covered):
    headers = by_hand()
    headers["Signature-Input"] = headers["Signature-Input"].replace('"@method"', covered)
    with pytest.raises(BadSignature, match="cover"):
        taken(post(headers))


@pytest.mark.parametrize("name", ["signature", "signature-input", "@status", "@unknown"])
def test_some_things_are_not_to_be_covered(name):
    """RFC 9421, section 7.3.7: a signature over a signature."""
    headers = by_hand()
    headers["Signature-Input"] = headers["Signature-Input"].replace(")", f' "{name}")')
    with pytest.raises(BadSignature, match="not of a request"):
        taken(post(headers))


@pytest.mark.parametrize(
    "rest",
    [
        f';created={NOW};alg="rsa-v1_5-sha256"',
        f';keyid="{KEY_ID}"',
        f';created="{NOW}";keyid="{KEY_ID}"',
        f';created={NOW}.0;keyid="{KEY_ID}"',
        f';created=@{NOW};keyid="{KEY_ID}"',
        f";created={NOW};keyid=token",
        f';created={NOW};keyid=""',
        f';created={NOW};keyid="{KEY_ID}";expires="{NOW}"',
        f';created={NOW};keyid="{KEY_ID}";expires',
    ],
)
def test_created_and_keyid_must_be_there_and_of_their_types(rest):
    with pytest.raises(BadSignature, match=r"created|keyid"):
        taken(post(by_hand(rest=rest)))


def test_the_window_is_an_hour_either_way():
    for now in (NOW - WINDOW_SECONDS, NOW + WINDOW_SECONDS):
        taken(post(by_hand()), now)
    for now in (NOW - WINDOW_SECONDS - 1, NOW + WINDOW_SECONDS + 1):
        with pytest.raises(BadSignature, match="away from now"):
            taken(post(by_hand()), now)


def test_expires_counts_to_the_second():
    headers = by_hand(rest=f"{REST};expires={NOW + 10}")
    assert taken(post(headers), NOW + 10).signed == NOW
    with pytest.raises(BadSignature, match="expired"):
        taken(post(headers), NOW + 11)


def test_parameters_that_nobody_knows_are_refused():
    with pytest.raises(BadSignature):
        taken(post(by_hand(rest=f'{REST};more="x"')))


def test_nonce_and_tag_are_signed_and_passed_over():
    assert taken(post(by_hand(rest=f'{REST};nonce="x";tag="fedi"'))).actor == ACTOR


def test_another_body_method_target_or_key_is_refused():
    headers = by_hand()
    with pytest.raises(BadSignature, match="Content-Digest"):
        taken(post(headers, BODY + b" "))
    for request in (
        post(headers | {"content-digest": digest_of(b"else")}, b"else"),
        post(headers, method="PUT"),
        post(headers, target="/inbox?a=1"),
        post(headers, target="/actor/inbox"),
    ):
        with pytest.raises(BadSignature, match="fits"):
            taken(request)
    with pytest.raises(BadSignature):
        taken(post(headers), key=RsaKey(KEY_ID, ACTOR, other_rsa_key().public_key()))
    with pytest.raises(BadSignature):
        taken(post(headers), key=RsaKey(f"{ACTOR}#else", ACTOR, rsa_key().public_key()))


def test_a_request_for_another_host_is_refused_whatever_the_host_header_says():
    headers = by_hand(url="https://gamma.example/inbox")
    for host in ("gamma.example", "alpha.example"):
        with pytest.raises(BadSignature):
            taken(post(headers | {"Host": host}))
    assert taken(post(by_hand() | {"Host": "10.0.0.7"})).actor == ACTOR


@pytest.mark.parametrize("target", ["@evil.example/inbox", ".evil.example/inbox", "", "/inbox#x"])
def test_the_target_cannot_change_the_host(target):
    """`https://alpha.example` + `@evil.example/inbox` would be a URL at evil.example."""
    for url in ("https://evil.example/inbox", f"{BASE}{target}", INBOX):
        with pytest.raises(BadSignature, match="no path"):
            taken(post(by_hand(url=url), target=target))


@pytest.mark.parametrize("target", ["/in box", "/inbox%", "/ä", "/inbox\t"])
def test_a_target_that_is_no_url_is_refused(target):
    with pytest.raises(BadSignature):
        taken(post(by_hand(url=f"{BASE}{target}"), target=target))


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha-256=",
        "sha-256",
        digest_of(BODY, "md5"),
        f"{digest_of(BODY)}, {digest_of(BODY, 'md5')}",
        f"{digest_of(BODY)}, {digest_of(BODY)}",
        f"{digest_of(BODY)}, {digest_of(b'', 'sha-512')}",
        "SHA-256=" + b64encode(hashlib.sha256(BODY).digest()).decode(),
    ],
)
def test_a_content_digest_that_is_none_is_refused(digest):
    with pytest.raises(BadSignature, match="Content-Digest"):
        taken(post(by_hand(content_digest=digest)))


def test_content_digests_of_both_strong_algorithms_are_taken():
    both = f"{digest_of(BODY)}, {digest_of(BODY, 'sha-512')}"
    for digest in (both, digest_of(BODY, "sha-512")):
        assert taken(post(by_hand(content_digest=digest))).actor == ACTOR


def test_digest_and_content_digest_must_agree():
    right = "SHA-256=" + b64encode(hashlib.sha256(BODY).digest()).decode()
    wrong = "SHA-256=" + b64encode(hashlib.sha256(b"else").digest()).decode()
    assert taken(post(by_hand() | {"Digest": right})).actor == ACTOR
    with pytest.raises(BadSignature, match="Digest"):
        taken(post(by_hand() | {"Digest": wrong}))


def test_a_get_with_a_body_needs_a_digest():
    headers = sign_request("GET", f"{BASE}/actor", None, rsa_key(), KEY_ID, NOW)
    with pytest.raises(BadSignature):
        taken(post(headers, BODY, "/actor", "GET"))


def test_of_several_labels_one_that_keeps_the_rules_is_enough():
    good = by_hand(label="good")
    poor = by_hand('"@method"', label="proxy")
    other = by_hand(label="other", key=other_rsa_key(), rest=f';created={NOW};keyid="proxy"')
    late = by_hand(label="late", rest=f';created={NOW - 9_999};keyid="{KEY_ID}"')
    wrong = by_hand(label="wrong", key=other_rsa_key())
    for signed in ((poor, good), (other, late, good), (wrong, good), (good, wrong)):
        assert taken(post(beside(*signed))).actor == ACTOR
    with pytest.raises(BadSignature):
        taken(post(beside(poor, other, late, wrong)))


def test_a_request_has_8_labels_at_most():
    poor = [by_hand('"@method"', label=f"p{i}") for i in range(MAX_LABELS)]
    good = by_hand()
    short = [one | {"Signature": f"p{i}=:AAAA:"} for i, one in enumerate(poor)]
    assert taken(post(beside(good, *short[: MAX_LABELS - 1]))).actor == ACTOR
    with pytest.raises(BadSignature, match="labels"):
        taken(post(beside(good, *short)))


def test_headers_in_several_lines_are_one_header():
    first, second = by_hand(label="a", key=other_rsa_key()), by_hand(label="b")
    lines = [*first.items(), *((name, second[name]) for name in ("Signature-Input", "Signature"))]
    assert taken(Request("POST", "/inbox", lines, BODY)).actor == ACTOR


@pytest.mark.parametrize("name", ["Date", "Content-Digest", "Digest", "Content-Type"])
def test_a_header_that_stands_there_twice_is_refused(name):
    headers = by_hand() | {"Date": "x", "Digest": "x"}
    lines = [*headers.items(), (name.lower(), "x")]
    with pytest.raises(BadSignature, match="twice"):
        taken(Request("POST", "/inbox", lines, BODY))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Signature", None),
        ("Signature", ""),
        ("Signature", "sig2=:AAAA:"),
        ("Signature", "sig1=AAAA"),
        ("Signature", "sig1=::"),
        ("Signature", "sig1=:A A:"),
        ("Signature", "sig1=:AAAA:, sig1=:AAAA:"),
        ("Signature", 'keyId="k",signature="AAAA"'),
        ("Signature-Input", ""),
        ("Signature-Input", "sig1"),
        ("Signature-Input", "sig1=1"),
        ("Signature-Input", f"sig1=({COVERED})"),
        ("Signature-Input", f"sig1=({COVERED}){REST}, sig1=({COVERED}){REST}"),
        ("Signature-Input", f"sig1=({COVERED}){REST},"),
        ("Signature-Input", f"SIG1=({COVERED}){REST}"),
        ("Signature-Input", f"sig1=({COVERED} 1){REST}"),
        ("Signature-Input", f"sig1=({COVERED} x){REST}"),
        ("Signature-Input", f'sig1=({COVERED} "@method"){REST}'),
        ("Signature-Input", f'sig1=({COVERED} "@Method"){REST}'),
        ("Signature-Input", f'sig1=({COVERED} "not-there"){REST}'),
        ("Signature-Input", f"sig1=({COVERED}){REST};é"),
    ],
)
def test_malformed_signature_headers_are_refused(name, value):
    headers = {key: text for key, text in (by_hand() | {name: value}).items() if text is not None}
    with pytest.raises(BadSignature):
        taken(post(headers))


@pytest.mark.parametrize("name", ["Signature", "Signature-Input"])
def test_each_header_has_4096_characters_at_most(name):
    headers = beside(by_hand(), by_hand(label="x"))
    spaces = " " * (MAX_HEADER_CHARACTERS - len(headers[name]))
    longest = headers | {name: headers[name].replace(" x=", f" {spaces}x=")}
    assert len(longest[name]) == MAX_HEADER_CHARACTERS
    assert taken(post(longest)).actor == ACTOR
    with pytest.raises(BadSignature, match="characters"):
        taken(post(headers | {name: longest[name].replace(" x=", "  x=")}))
    with pytest.raises(BadSignature, match="characters"):
        taken(post(headers | {name: 'a="' * 350_000}))


def test_a_signature_covers_32_components_at_most():
    more = {f"h{i}": "x" for i in range(MAX_COVERED - 3)}
    covered = " ".join([COVERED, *(f'"{name}"' for name in more)])
    assert taken(post(by_hand(covered, **more))).actor == ACTOR
    with pytest.raises(BadSignature, match="components"):
        taken(post(by_hand(f'{covered} "content-type"', **more)))


def test_a_signature_covers_2_components_with_parameters_at_most():
    """One header of 8 KB read anew for each of 200 components: 60 ms a forged request."""
    made = by_hand()
    few, many = (
        made | {"Signature-Input": f"sig1=({COVERED} {keyed}){REST}", "A": "k=1"} for keyed in KEYED
    )
    assert [one.key_id for one in read_signatures(post(few), NOW)] == [KEY_ID]
    with pytest.raises(BadSignature, match="parameters"):
        read_signatures(post(many), NOW)


def test_what_needs_no_key_is_checked_without_one():
    assert [one.key_id for one in read_signatures(post(by_hand()), NOW)] == [KEY_ID]
    with pytest.raises(BadSignature):
        read_signatures(post(by_hand(), b"{}"), NOW)
    with pytest.raises(BadSignature):
        read_signatures(post(by_hand()), NOW + 2 * WINDOW_SECONDS)


def test_a_key_of_another_kind_verifies_nothing():
    """The Ed25519 key of proofs never gets here: an actor's RSA keys alone are typed `RsaKey`."""
    ed25519 = keys.generate_ed25519().public_key()
    with pytest.raises(BadSignature):
        taken(post(by_hand()), key=RsaKey(KEY_ID, ACTOR, ed25519))  # type: ignore[arg-type]


pieces = st.lists(
    st.sampled_from(
        [
            "sig1=",
            f"({COVERED})",
            REST,
            '"@method"',
            "(",
            ")",
            ";",
            "=",
            ":",
            ":AAAA:",
            ",",
            " ",
            "@1",
            '%"a"',
            "?1",
            "1.5",
            '"',
            "é",
            "\ud800",
            "\x00",
        ]
    ),
    max_size=12,
).map("".join)


@given(pieces | st.text(max_size=100), pieces | st.text(max_size=100) | st.none())
def test_no_signature_header_raises_anything_else(inputs, value):
    headers = by_hand() | {"Signature-Input": inputs}
    if value is not None:
        headers["Signature"] = value
    with contextlib.suppress(BadSignature):
        taken(post(headers))


@given(
    st.dictionaries(
        st.sampled_from(["Date", "Digest", "content-digest", "Host", "content-type"]),
        st.text(max_size=60),
    ),
    st.text(max_size=30),
    st.text(max_size=8),
)
def test_no_other_header_target_or_method_raises_anything_else(headers, target, method):
    covered = f'{COVERED} "content-type" "host"'
    with contextlib.suppress(BadSignature):
        taken(post(by_hand(covered) | headers, target=f"/{target}", method=method))


@pytest.mark.parametrize(
    "text",
    [
        f"{MAX_HEADER_CHARACTERS:,} characters in each header",
        f"At most {MAX_LABELS} labels are read, and more are refused",
        f"and {MAX_COVERED} components in each label, {MAX_PARAMETERS} of them with parameters",
        f"within {WINDOW_SECONDS:,} s of now",
        f"to it alone for {KNOCK_SECONDS // 86_400} days",
    ],
)
def test_the_limits_stand_in_the_document(text):
    document = Path(__file__).parents[3] / "docs" / "wire.md"
    assert text in document.read_text(encoding="utf-8").replace("\n", " ")
