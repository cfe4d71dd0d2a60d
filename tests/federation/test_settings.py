import pytest
from pydantic import ValidationError

from federation.settings import FederationSettings, FeedSettings


def test_defaults_are_those_of_the_design():
    settings = FederationSettings()
    assert settings.allow_private_addresses is False
    assert settings.activity_bytes == 256 * 1_024
    assert settings.page_bytes == 2 * 1_024 * 1_024
    assert (settings.fetch_seconds, settings.redirects, settings.followers_per_host) == (10, 3, 3)
    feed = FeedSettings()
    assert (feed.seal_seconds, feed.seal_flagged_seconds, feed.page_rows) == (60, 10, 1_000)


@pytest.mark.parametrize("model", [FederationSettings, FeedSettings])
def test_unknown_keys_are_refused(model):
    with pytest.raises(ValidationError):
        model(other=1)


def test_blocked_and_approved_hosts_are_taken_in_one_spelling():
    settings = FederationSettings(
        blocked_domains=("Evil.Example.", "[::0:1]", "Bücher.example"),
        approve_clean=("Good.Example:443", "b:8443"),
    )
    assert settings.blocked_domains == ("evil.example", "::1", "xn--bcher-kva.example")
    assert settings.approve_clean == ("good.example", "b:8443")


@pytest.mark.parametrize(
    "text", ["https://a.example", "*.a.example", "a.example:8443", "a.example/x", ""]
)
def test_what_is_no_domain_cannot_be_blocked(text):
    with pytest.raises(ValidationError, match=r"host|port"):
        FederationSettings(blocked_domains=(text,))


def test_a_page_has_1_to_1000_rows():
    assert FeedSettings(page_rows=1).page_rows == 1
    for rows in (0, 1_001):
        with pytest.raises(ValidationError):
            FeedSettings(page_rows=rows)
