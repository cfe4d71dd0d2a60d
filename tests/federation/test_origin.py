import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadRequest, FederationError, WrongOrigin
from federation.origin import (
    MAX_URL_LENGTH,
    exact_url,
    netloc_of,
    origin_of,
    parse_origin,
    parse_url,
    same_origin,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://alpha.example/actor", "https://alpha.example/actor"),
        ("HTTPS://Alpha.EXAMPLE/Actor", "https://alpha.example/Actor"),
        ("https://alpha.example./actor", "https://alpha.example/actor"),
        ("https://alpha.example:443/actor", "https://alpha.example/actor"),
        ("https://alpha.example:8443/a", "https://alpha.example:8443/a"),
        ("https://alpha.example/%7euser/%c3%b6", "https://alpha.example/~user/%C3%B6"),
        ("https://alpha.example/a?b=%2f#c%7e", "https://alpha.example/a?b=%2F#c~"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://[2001:DB8:0::1]/", "https://[2001:db8::1]/"),
        ("https://192.0.2.1/", "https://192.0.2.1/"),
        ("https://alpha.example", "https://alpha.example"),
    ],
)
def test_a_url_has_one_spelling(text, expected):
    assert parse_url(text) == expected
    assert parse_url(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alpha.example",
        "//alpha.example/",
        "https:alpha.example",
        "https:///actor",
        "ftp://alpha.example/",
        "http://alpha.example/",
        "javascript:alert(1)",
        "https://user@alpha.example/",
        "https://user:secret@alpha.example/",
        "https://alpha.example@evil.example/",
        "https://alpha.example%40evil.example/",
        "https://bücher.example/",
        "https://\uff41lpha.example/",
        "https://alpha\u3002example/",
        "https://al%70ha.example/",
        "https://alpha..example/",
        "https://alpha.example../",
        "https://-alpha.example/",
        "https://alpha_beta.example/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://1.2.3.4.5/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[fe80::1%25eth0]/",
        "https://[::g]/",
        "https://alpha.example:/",
        "https://alpha.example:0/",
        "https://alpha.example:99999/",
        "https://alpha.example:8x/",
        "https://alpha.example/a/../b",
        "https://alpha.example/a/%2e%2E/b",
        "https://alpha.example/./b",
        "https://alpha.example/%zz",
        "https://alpha.example/%4",
        "https://alpha.example/a b",
        "https://alpha.example/a\nb",
        "https://alpha.example\\@evil.example/",
        " https://alpha.example/",
        "https://" + "a" * 64 + ".example/",
    ],
)
def test_an_odd_url_is_refused(text):
    with pytest.raises(BadRequest):
        parse_url(text)


def test_http_needs_private_addresses_to_be_allowed():
    assert parse_url("http://127.0.0.1:8001/actor", allow_http=True) == (
        "http://127.0.0.1:8001/actor"
    )
    assert parse_url("http://alpha.example:80/", allow_http=True) == "http://alpha.example/"
    with pytest.raises(BadRequest):
        parse_url("http://127.0.0.1:8001/actor")


def test_a_url_has_2048_characters_at_most():
    start = "https://alpha.example/"
    longest = start + "a" * (MAX_URL_LENGTH - len(start))
    assert parse_url(longest) == longest
    with pytest.raises(BadRequest):
        parse_url(longest + "a")


@pytest.mark.parametrize(
    "text",
    [
        "https://Alpha.example/actor",
        "https://alpha.example./actor",
        "https://alpha.example:443/actor",
        "https://alpha.example/%41ctor",
    ],
)
def test_a_document_must_spell_its_urls_canonically(text):
    """Mastodon CVE-2023-42451: two spellings of one host must not look like two hosts."""
    with pytest.raises(WrongOrigin):
        exact_url(text)


@pytest.mark.parametrize("value", [None, 1, [], {}, ["https://alpha.example/"]])
def test_a_document_must_name_a_url_by_a_string(value):
    with pytest.raises(BadRequest):
        exact_url(value)


def test_an_origin_is_scheme_host_and_port():
    assert origin_of(parse_url("https://alpha.example/actor#main-key")) == "https://alpha.example"
    assert origin_of(parse_url("https://alpha.example?x=/")) == "https://alpha.example"
    assert netloc_of(parse_origin("https://Alpha.example:8443/")) == "alpha.example:8443"
    with pytest.raises(BadRequest):
        parse_origin("https://alpha.example/path")


def test_scheme_and_port_tell_origins_apart():
    def url(text):
        return parse_url(text, allow_http=True)

    assert same_origin(url("https://a.example/x"), url("https://A.example:443/y"))
    assert not same_origin(url("https://a.example/x"), url("http://a.example/x"))
    assert not same_origin(url("https://a.example/x"), url("https://a.example:8443/x"))
    assert not same_origin(url("https://a.example/x"), url("https://b.a.example/x"))


@given(st.text(max_size=60).map(lambda text: f"https://{text}") | st.text(max_size=60))
def test_canonical_form_is_stable_and_nothing_else_is_raised(text):
    try:
        url = parse_url(text, allow_http=True)
    except FederationError:
        return
    assert parse_url(url, allow_http=True) == url
    assert url.startswith(origin_of(url))
