"""A clock, a fake peer and an instance of ours, for tests through the front door."""

import pytest

from tests.fakes.clock import Clock
from tests.fakes.instance import Ours
from tests.fakes.peer import Peer


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def peer(clock):
    started = await Peer(clock).start()
    yield started
    await started.stop()


@pytest.fixture
async def third(clock):
    """Another peer, of another origin, with keys of its own."""
    started = await Peer(clock, "third").start()
    yield started
    await started.stop()


@pytest.fixture
async def ours(sqlite_store, clock, tmp_path):
    started = await Ours(sqlite_store, clock, tmp_path / "state").start()
    yield started
    await started.stop()
