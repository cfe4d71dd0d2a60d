"""The limits of reviewing: their bounds, and that each is read."""

import pytest
from pydantic import ValidationError

from fediverdict.config import CasesSettings, Config, ReviewSettings

BOUNDS = [
    ("arrivals_batch", 1, 10_000),
    ("codes_batch", 1, 10_000),
    ("cases_batch", 1, 1_000),
    ("pictures_batch", 1, 1_000),
    ("prune_rows", 1, 100_000),
]


@pytest.mark.parametrize(("name", "least", "most"), BOUNDS)
def test_a_batch_is_taken_at_its_bounds_and_refused_one_past_them(name, least, most):
    for fine in (least, most):
        assert getattr(ReviewSettings(**{name: fine}), name) == fine
    for wrong in (least - 1, most + 1):
        with pytest.raises(ValidationError):
            ReviewSettings(**{name: wrong})


def test_pruning_has_a_longest_pause():
    assert ReviewSettings(prune_seconds=86_400).prune_seconds == 86_400
    for wrong in (0, 86_401):
        with pytest.raises(ValidationError):
            ReviewSettings(prune_seconds=wrong)


def test_the_pause_and_the_size_of_a_near_group_have_bounds():
    assert ReviewSettings(pause_seconds=3_600).pause_seconds == 3_600
    for wrong in (0, 3_601):
        with pytest.raises(ValidationError):
            ReviewSettings(pause_seconds=wrong)
    assert CasesSettings(near_pictures=1).near_pictures == 1
    for wrong in (0, 10_001):
        with pytest.raises(ValidationError):
            CasesSettings(near_pictures=wrong)


def test_nothing_is_undone_by_itself_unless_an_admin_says_so():
    assert Config().undo.auto is False
