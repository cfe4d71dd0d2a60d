from base64 import b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadSignature
from federation.origin import Origin
from federation.signing.cavage import read_signature, sign_request, verify_read
from federation.signing.request import WINDOW_SECONDS, Request, RsaKey
from federation.signing.signature_header import MAX_COVERED, MAX_HEADER_CHARACTERS, parse_signature
from federation.wire.times import from_http_date, to_http_date
from tests.federation.samples import BASE, NOW, other_rsa_key, rsa_key

ACTOR = "https://beta.example/actor"
KEY_ID = f"{ACTOR}#main-key"
KEY = RsaKey(KEY_ID, ACTOR, rsa_key().public_key())
INBOX = f"{BASE}/inbox"
BODY = b'{"type":"Follow"}'


def signed_post(now=NOW, url=INBOX, body=BODY):
    return sign_request("POST", url, body, rsa_key(), KEY_ID, now)


def post(headers, body=BODY, target="/inbox"):
    return Request("POST", target, list(headers.items()), body)


def verify_request(request, key, now, base):
    return verify_read(request, read_signature(request, now), key, base)


def signed_by_hand(covered, parameters="", headers=None, method="post", target="/inbox"):
    """A request whose signature covers just what the test says."""
    headers = {
        "host": "alpha.example",
        "date": to_http_date(NOW),
        "digest": "SHA-256=" + b64encode(sha256(BODY).digest()).decode(),
        "content-type": "application/activity+json",
    } | (headers or {})
    values = headers | {"(request-target)": f"{method} {target}"}
    values |= {"(created)": str(NOW), "(expires)": str(NOW + 10)}
    text = "\n".join(f"{name}: {values[name]}" for name in covered.split())
    value = b64encode(rsa_key().sign(text.encode(), PKCS1v15(), SHA256())).decode()
    headers["Signature"] = f'keyId="{KEY_ID}",{parameters}headers="{covered}",signature="{value}"'
    return headers


POST_COVERED = "(request-target) host date digest content-type"

APPENDIX_C_PUBLIC = load_pem_public_key(b"""-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCFENGw33yGihy92pDjZQhl0C3
6rPJj+CvfSC8+q28hxA161QFNUd13wuCTUcq0Qd2qsBe/2hFyc2DCJJg0h1L78+6
Z4UMR7EOcpfdUE9Hf3m/hs+FUR45uBJeDK1HSFHD8bHKD6kv8FPGfJTotc+2xjJw
oYi+1hqp1fIekaxsyQIDAQAB
-----END PUBLIC KEY-----""")
assert isinstance(APPENDIX_C_PUBLIC, RSAPublicKey)
APPENDIX_C_KEY = RsaKey("Test", "https://example.com/actor", APPENDIX_C_PUBLIC)
APPENDIX_C_DATE = "Sun, 05 Jan 2014 21:31:40 GMT"


def appendix_c(signature):
    headers = [
        ("Host", "example.com"),
        ("Date", APPENDIX_C_DATE),
        ("Content-Type", "application/json"),
        ("Digest", "SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
        ("Content-Length", "18"),
        ("Signature", signature),
    ]
    return Request("POST", "/foo?param=value&pet=dog", headers, b'{"hello": "world"}')


def test_the_vector_of_draft_cavage_appendix_c_3():
    """As signed since draft 10: the printed (created) and (expires) are not in its signature."""
    request = appendix_c(
        'keyId="Test",algorithm="rsa-sha256",'
        'headers="(request-target) host date content-type digest content-length",'
        'signature="vSdrb+dS3EceC9bcwHSo4MlyKS59iFIrhgYkz8+oVLEEzmYZZvRs'
        "8rgOp+63LEM3v+MFHB32NfpB2bEKBIvB1q52LaEUHFv120V01IL+TAD48XaERZF"
        'ukWgHoBTLMhYS2Gb51gWxpeIq8knRmPnYePbF5MOkR0Zkly4zKH7s1dE="'
    )
    now = from_http_date(APPENDIX_C_DATE)
    verified = verify_request(request, APPENDIX_C_KEY, now, Origin("https://example.com"))
    assert (verified.key_id, verified.signed) == ("Test", now)


@pytest.mark.parametrize(
    ("covered", "text", "value"),
    [
        (
            "date",
            f"date: {APPENDIX_C_DATE}",
            (
                "SjWJWbWN7i0wzBvtPl8rbASWz5xQW6mcJmn+ibttBqtifLN7Sazz"
                "6m79cNfwwb8DMJ5cou1s7uEGKKCs+FLEEaDV5lp7q25WqS+lavg7T8hc0GppauB"
                "6hbgEKTwblDHYGEtbGmtdHgVCk9SuS13F0hZ8FD0k/5OxEPXe5WozsbM="
            ),
        ),
        (
            "(request-target) host date",
            (
                "(request-target): post /foo?param=value&pet=dog\n"
                f"host: example.com\ndate: {APPENDIX_C_DATE}"
            ),
            (
                "qdx+H7PHHDZgy4y/Ahn9Tny9V3GP6YgBPyUXMmoxWtLbHpUnXS"
                "2mg2+SbrQDMCJypxBLSPQR2aAjn7ndmw2iicw3HMbe8VfEdKFYRqzic+efkb3"
                "nndiv/x1xSHDJWeSWkx3ButlYSuBskLu6kd9Fswtemr3lgdDEmn04swr2Os0="
            ),
        ),
    ],
)
def test_appendix_c_1_and_c_2_cover_too_little(covered, text, value):
    """Both signatures fit, and a POST whose body is not covered is refused all the same."""
    signature = parse_signature(f'keyId="Test",headers="{covered}",signature="{value}"')
    APPENDIX_C_KEY.public.verify(signature.value, text.encode(), PKCS1v15(), SHA256())
    request = appendix_c(f'keyId="Test",headers="{covered}",signature="{value}"')
    now = from_http_date(APPENDIX_C_DATE)
    with pytest.raises(BadSignature, match="cover"):
        verify_request(request, APPENDIX_C_KEY, now, Origin("https://example.com"))


def test_what_we_sign_verifies():
    verified = verify_request(post(signed_post()), KEY, NOW, BASE)
    assert (verified.key_id, verified.actor, verified.signed) == (KEY_ID, ACTOR, NOW)


def test_a_get_is_signed_without_digest():
    headers = sign_request("GET", f"{BASE}/feeds/clean?page=1", None, rsa_key(), KEY_ID, NOW)
    assert sorted(headers) == ["Date", "Host", "Signature"]
    assert 'headers="(request-target) host date"' in headers["Signature"]
    request = Request("GET", "/feeds/clean?page=1", list(headers.items()))
    assert verify_request(request, KEY, NOW, BASE).actor == ACTOR


def test_a_post_covers_digest_and_content_type():
    assert (
        f'headers="(request-target) host date {"digest content-type"}"'
        in (signed_post()["Signature"])
    )


@pytest.mark.parametrize("algorithm", ["", 'algorithm="rsa-sha256",', 'algorithm="hs2019",'])
def test_three_ways_to_name_the_algorithm_are_taken(algorithm):
    request = post(signed_by_hand(POST_COVERED, algorithm))
    assert verify_request(request, KEY, NOW, BASE).actor == ACTOR


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "rsa-sha1", "RSA-SHA256", ""])
def test_other_algorithms_are_refused(algorithm):
    request = post(signed_by_hand(POST_COVERED, f'algorithm="{algorithm}",'))
    with pytest.raises(BadSignature):
        verify_request(request, KEY, NOW, BASE)


def test_created_and_expires_are_taken_in_place_of_the_date():
    covered = "(request-target) host (created) (expires) digest"
    parameters = f'algorithm="hs2019",created={NOW},expires={NOW + 10},'
    request = post(signed_by_hand(covered, parameters))
    assert verify_request(request, KEY, NOW, BASE).signed == NOW
    verify_request(request, KEY, NOW + 10, BASE)
    with pytest.raises(BadSignature, match="expired"):
        verify_request(request, KEY, NOW + 11, BASE)
    quoted = f'algorithm="hs2019",created="{NOW}",expires="{NOW + 10}",'
    verify_request(post(signed_by_hand(covered, quoted)), KEY, NOW, BASE)


def test_created_is_not_for_rsa_sha256():
    """Draft-cavage-12, section 2.3."""
    covered = "(request-target) host (created) digest"
    request = post(signed_by_hand(covered, f'algorithm="rsa-sha256",created={NOW},'))
    with pytest.raises(BadSignature):
        verify_request(request, KEY, NOW, BASE)


def test_covering_created_without_naming_it_is_refused():
    request = post(signed_by_hand("(request-target) host (created) digest"))
    with pytest.raises(BadSignature):
        verify_request(request, KEY, NOW, BASE)


@pytest.mark.parametrize("missing", ["(request-target)", "host", "date", "digest"])
def test_a_post_must_cover_target_host_date_and_digest(missing):
    covered = " ".join(name for name in POST_COVERED.split() if name != missing)
    with pytest.raises(BadSignature, match="cover"):
        verify_request(post(signed_by_hand(covered)), KEY, NOW, BASE)


def test_a_target_may_be_signed_with_or_without_its_query():
    for target in ("/inbox", "/inbox?a=1"):
        headers = signed_by_hand(POST_COVERED, target=target)
        assert verify_request(post(headers, target="/inbox?a=1"), KEY, NOW, BASE).actor == ACTOR
    with pytest.raises(BadSignature):
        verify_request(
            post(signed_by_hand(POST_COVERED, target="/inbox?a=2"), target="/inbox?a=1"),
            KEY, NOW, BASE,
        )  # fmt: skip


def test_a_swapped_body_is_refused():
    with pytest.raises(BadSignature, match="Digest"):
        verify_request(post(signed_post(), body=b'{"type":"Delete"}'), KEY, NOW, BASE)


def test_a_swapped_body_with_its_own_digest_is_refused():
    body = b'{"type":"Delete"}'
    digest = "SHA-256=" + b64encode(sha256(body).digest()).decode()
    with pytest.raises(BadSignature):
        verify_request(post(signed_post() | {"Digest": digest}, body=body), KEY, NOW, BASE)


@pytest.mark.parametrize(
    "digest",
    ["", "SHA-256=", "MD5=rL0Y20zC+Fzt72VPzMSk2A==", "sha-512=AAAA", "SHA-256=AAAA,SHA-256=AAAA"],
)
def test_a_digest_that_is_none_is_refused(digest):
    headers = signed_by_hand(POST_COVERED, headers={"digest": digest})
    with pytest.raises(BadSignature, match="Digest"):
        verify_request(post(headers), KEY, NOW, BASE)


def test_names_of_digest_algorithms_are_case_insensitive():
    digest = "sha-256=" + b64encode(sha256(BODY).digest()).decode()
    headers = signed_by_hand(POST_COVERED, headers={"digest": digest})
    assert verify_request(post(headers), KEY, NOW, BASE).actor == ACTOR


def test_digest_and_content_digest_must_agree():
    right = b64encode(sha256(BODY).digest()).decode()
    wrong = b64encode(sha256(b"else").digest()).decode()
    verify_request(post(signed_post() | {"Content-Digest": f"sha-256=:{right}:"}), KEY, NOW, BASE)
    with pytest.raises(BadSignature, match="Content-Digest"):
        verify_request(
            post(signed_post() | {"Content-Digest": f"sha-256=:{wrong}:"}), KEY, NOW, BASE
        )


def test_a_get_with_a_body_needs_a_digest():
    headers = sign_request("GET", f"{BASE}/actor", None, rsa_key(), KEY_ID, NOW)
    with pytest.raises(BadSignature):
        verify_request(Request("GET", "/actor", list(headers.items()), BODY), KEY, NOW, BASE)


def test_another_method_target_or_key_is_refused():
    headers = signed_post()
    with pytest.raises(BadSignature):
        verify_request(post(headers, target="/feeds/clean/inbox"), KEY, NOW, BASE)
    with pytest.raises(BadSignature):
        verify_request(Request("PUT", "/inbox", list(headers.items()), BODY), KEY, NOW, BASE)
    other = RsaKey(KEY_ID, ACTOR, other_rsa_key().public_key())
    with pytest.raises(BadSignature):
        verify_request(post(headers), other, NOW, BASE)
    named_otherwise = RsaKey(f"{ACTOR}#else", ACTOR, rsa_key().public_key())
    with pytest.raises(BadSignature):
        verify_request(post(headers), named_otherwise, NOW, BASE)


def test_a_request_for_another_host_is_refused_whatever_the_host_header_says():
    headers = signed_post(url="https://gamma.example/inbox")
    for host in ("gamma.example", "alpha.example"):
        with pytest.raises(BadSignature):
            verify_request(post(headers | {"Host": host}), KEY, NOW, BASE)


def test_the_host_header_itself_is_not_looked_at():
    """Behind a proxy it may say anything; what counts is the configured base URL."""
    assert verify_request(post(signed_post() | {"Host": "10.0.0.7"}), KEY, NOW, BASE).actor == ACTOR


def test_the_window_is_an_hour_either_way():
    for now in (NOW - WINDOW_SECONDS, NOW + WINDOW_SECONDS):
        verify_request(post(signed_post()), KEY, now, BASE)
    for now in (NOW - WINDOW_SECONDS - 1, NOW + WINDOW_SECONDS + 1):
        with pytest.raises(BadSignature, match="away from now"):
            verify_request(post(signed_post()), KEY, now, BASE)


def test_a_changed_date_is_refused():
    with pytest.raises(BadSignature):
        verify_request(post(signed_post() | {"Date": to_http_date(NOW + 1)}), KEY, NOW, BASE)


@pytest.mark.parametrize("name", ["Date", "Digest", "Signature", "Content-Type"])
def test_a_header_that_stands_there_twice_is_refused(name):
    headers = signed_post()
    request = Request("POST", "/inbox", [*headers.items(), (name, headers[name])], BODY)
    with pytest.raises(BadSignature, match="twice"):
        verify_request(request, KEY, NOW, BASE)


def test_an_unsigned_request_is_refused():
    with pytest.raises(BadSignature, match="not signed"):
        read_signature(Request("GET", "/actor", []), NOW)


def test_a_signature_may_stand_in_the_authorization_header():
    headers = signed_post()
    headers["Authorization"] = "Signature " + headers.pop("Signature")
    assert verify_request(post(headers), KEY, NOW, BASE).actor == ACTOR


def test_what_needs_no_key_is_checked_without_one():
    """So that a thousand bad requests cost no key fetch."""
    assert read_signature(post(signed_post()), NOW).key_id == KEY_ID
    with pytest.raises(BadSignature):
        read_signature(post(signed_post(), body=b"{}"), NOW)
    with pytest.raises(BadSignature):
        read_signature(post(signed_post()), NOW + 2 * WINDOW_SECONDS)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        "=",
        'keyId="k"',
        'keyId="",signature="AAAA"',
        'keyId="k",signature="AAAA",',
        'keyId="k,signature=AAAA',
        'keyId="k"x,signature="AAAA"',
        'keyId="k",keyId="k",signature="AAAA"',
        'keyId="k",signature="A A"',
        'keyId="k",signature="AAA"',
        'keyId="k",headers="",signature="AAAA"',
        'keyId="k",headers="date date",signature="AAAA"',
        'keyId="k",created=1.5,signature="AAAA"',
        'keyId="k",created=-1,signature="AAAA"',
        'keyId="k",expires=9999999999999999,signature="AAAA"',
    ],
)
def test_a_malformed_signature_header_is_refused(header):
    with pytest.raises(BadSignature):
        parse_signature(header)


def test_a_signature_header_has_4096_characters_at_most():
    start = 'keyId="k",signature="AAAA",headers="date",algorithm="'
    longest = start + "x" * (MAX_HEADER_CHARACTERS - len(start) - 1) + '"'
    assert parse_signature(longest).key_id == "k"
    with pytest.raises(BadSignature, match="characters"):
        parse_signature(longest + " ")
    with pytest.raises(BadSignature, match="characters"):
        parse_signature('a="' * 350_000)


def test_a_signature_covers_32_headers_at_most():
    def header(count):
        return f'keyId="k",headers="{" ".join(f"h{i}" for i in range(count))}",signature="AAAA"'

    assert len(parse_signature(header(MAX_COVERED)).headers) == MAX_COVERED
    with pytest.raises(BadSignature):
        parse_signature(header(MAX_COVERED + 1))


pieces = st.lists(
    st.sampled_from(
        [
            'keyId="k"',
            "signature=",
            '"',
            ",",
            "=",
            "headers",
            "created=1",
            " ",
            "AAAA",
            "é",
            "\ud800",
        ]
    )
).map("".join)


@given(pieces | st.text(max_size=100))
def test_no_signature_header_raises_anything_else(header):
    request = post(signed_post() | {"Signature": header})
    with pytest.raises(BadSignature):
        verify_request(request, KEY, NOW, BASE)


@given(st.dictionaries(st.sampled_from(["Date", "Digest", "Content-Digest"]), st.text(max_size=60)))
def test_no_other_header_raises_anything_else(headers):
    request = post(signed_by_hand(POST_COVERED) | {"Date": "", "Digest": ""} | headers)
    with pytest.raises(BadSignature):
        verify_request(request, KEY, NOW, BASE)
