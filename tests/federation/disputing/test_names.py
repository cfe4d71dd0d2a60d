"""Ids of attestations: one spelling, of one origin."""

from hypothesis import given
from hypothesis import strategies as st

from cache.verdict import Feed
from federation.addresses import attestation_url
from federation.disputing.names import AttestationName, names_of, parse_name
from federation.disputing.text import plain
from federation.origin import Origin

BASE = Origin("https://a.example")
EPOCHS = st.text("0123456789abcdef", min_size=32, max_size=32)
FEEDS = st.sampled_from([Feed.CLEAN, Feed.FLAGGED])


@given(FEEDS, EPOCHS, st.integers(1, 10**15 - 1))
def test_every_id_names_its_row_and_no_other_spelling_does(feed, epoch, seq):
    url = attestation_url(BASE, feed, epoch, seq)
    assert parse_name(BASE, url) == AttestationName(feed, epoch, seq)
    for other in (
        url.upper(),
        url + "/",
        url.replace("?", "/?"),
        url.replace(f"/{seq}", f"/0{seq}"),
    ):
        assert parse_name(BASE, other) is None
    assert parse_name(Origin("https://b.example"), url) is None
    assert parse_name(Origin("https://a.example:8443"), url) is None


@given(st.text() | st.text().map(lambda text: f"{BASE}/attestations/clean/{text}"))
def test_any_other_text_names_nothing_and_raises_nothing(text):
    name = parse_name(BASE, text)
    assert name is None or attestation_url(BASE, name.feed, name.epoch, name.seq) == text


def test_row_0_and_rows_past_15_digits_do_not_exist():
    for seq in (0, 10**15):
        assert parse_name(BASE, attestation_url(BASE, Feed.CLEAN, "0" * 32, seq)) is None


def test_names_are_told_once_each_in_their_order():
    one, two = (attestation_url(BASE, Feed.CLEAN, "0" * 32, seq) for seq in (2, 1))
    assert [name.seq for name in names_of(BASE, [one, "x", two, one])] == [2, 1]


@given(st.text())
def test_plain_text_is_printable_on_one_line_and_no_longer(text):
    words = plain(text)
    assert words.isprintable()
    assert len(words.encode("utf-8", "surrogatepass")) <= len(text.encode("utf-8", "surrogatepass"))
    assert plain(words) == words
