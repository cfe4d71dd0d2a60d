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


def test_a_page_has_1_to_1000_rows():
    assert FeedSettings(page_rows=1).page_rows == 1
    for rows in (0, 1_001):
        with pytest.raises(ValidationError):
            FeedSettings(page_rows=rows)
