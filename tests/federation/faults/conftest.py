"""A hostile peer, an instance of ours that must not move, and the whole of its database."""

import importlib.util
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select

from cache.storage.tables import metadata
from tests.fakes.internet import Internet
from tests.federation.faults.letters import SCHEMES

_UNMOVED = {"remote_actors": ("fetched",)}
"""Columns that may change: an actor that is fetched again says so."""

_LEARNED = ("knocks",)
"""Tables of what our own fetches taught us, bounded, and of no weight in any decision."""

_HELD = {
    table.name: select(*(one for one in table.c if one.name not in _UNMOVED.get(table.name, ())))
    for table in metadata.sorted_tables
    if table.name not in _LEARNED
}


def held(ours):
    """Return every row of every table of the instance."""

    def read(conn):
        return {name: sorted(map(repr, conn.execute(query))) for name, query in _HELD.items()}

    return ours.store.read_now(read)


@pytest.fixture
def nothing_comes_of():
    """`async with nothing_comes_of(ours, peer, fetches=1):` whatever is sent inside leaves the
    whole database as it was, also after the loops ran, and costs the peers so many fetches."""

    @asynccontextmanager
    async def block(ours, *peers, fetches=0):
        await ours.settle()
        before = held(ours)
        for peer in peers:
            peer.requests.clear()
        yield
        assert held(ours) == before
        await ours.settle()
        assert held(ours) == before
        asked = [request for peer in peers for request in peer.requests]
        assert len(asked) <= fetches, asked

    return block


@pytest.fixture(params=SCHEMES)
def scheme(request):
    """Both kinds of HTTP signatures in turn."""
    module = "federation.signing.message_signatures"
    if request.param == "rfc9421" and importlib.util.find_spec(module) is None:
        pytest.skip("RFC 9421 is not read yet")
    return request.param


@pytest.fixture
async def followed(ours, peer):
    """Ours follows the clean feed of the peer, which has accepted."""
    await ours.follow(peer)
    return ours


@pytest.fixture
async def internet(monkeypatch):
    """Names and public addresses that lead to fakes over TLS."""
    made = Internet(monkeypatch)
    yield made
    await made.close()


@pytest.fixture
async def guarded(ours, internet):
    """Ours as it is in earnest: it takes https and public addresses only."""
    await ours.stop()
    ours.change(allow_private_addresses=False)
    internet.own_port = ours.port
    await ours.start()
    return ours
