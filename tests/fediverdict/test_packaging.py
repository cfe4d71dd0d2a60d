"""Our import names are plain words, so nobody else in the environment may provide them."""

from importlib.metadata import packages_distributions

import pytest

ROOMS = ("fediverdict", "federation", "scanner", "cache", "migrations")


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_provides_our_import_names(room):
    providers = set(packages_distributions().get(room, []))
    assert providers <= {"fediverdict"}
    __import__(room)
