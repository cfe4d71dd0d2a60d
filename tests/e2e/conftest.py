"""Real processes: instances driven by their command line and their HTTP API alone."""

import pytest

from fediverdict.demo.instance import Instance

LOOPBACK = """
[federation]
allow_private_addresses = true
poll_seconds = 0.2
retry_seconds = 1
pull_seconds = 2
[feed]
seal_seconds = 0.5
seal_flagged_seconds = 0.5
"""
NO_SCANNER = "[scanner]\nenabled = false\n"
LAZY = "[scanner]\npreload = false\n"


@pytest.fixture
def instances(tmp_path):
    """Make instances by name and settings; whatever still runs is ended afterwards."""
    made = []

    def make(name, settings=""):
        instance = Instance.create(name, tmp_path / name, LOOPBACK + settings)
        made.append(instance)
        return instance

    yield make
    for instance in made:
        instance.stop()
