"""Every index in the same dress: built from codes, asked for the codes within 31 bits of one.

Each takes its codes in the form it is made for: hex text and ids for threatexchange, bytes for
faiss, rows as they come from the database for Fediverdict. faiss runs on one thread.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

from benchmarks.indexing.data import FEDIVERDICT, FLAT, MULTI_HASH, PDQ_INDEX
from cache.index.crowding import Crowding
from cache.index.entries import Entries
from cache.index.hamming import HammingIndex, loaded
from cache.index.near import NEAR_BITS
from cache.index.segment import Budget
from cache.index.words import Words, words_of
from cache.settings import IndexSettings

Search = Callable[[Words], list[int]]
"""Gives the numbers of the codes within 31 bits of a query of 4 words."""

BITS = 256
PEER = 2
"""An owner that is not ourselves: the peer's limits apply."""


def missing() -> list[str]:
    """Return the packages of the peers that are not installed."""
    return [name for name in ("faiss", "threatexchange") if find_spec(name) is None]


def inputs(name: str, stored: Words) -> object:
    """Return the codes as this index takes them."""
    if name == PDQ_INDEX:
        return [(code.tobytes().hex(), number) for number, code in enumerate(stored)]
    if name == FEDIVERDICT:
        return [code.tobytes() for code in stored]
    return stored.view(np.uint8).reshape(len(stored), BITS // 8)


def built(name: str, given: object) -> Search:
    """Build the index of this name; returns its search."""
    return _BUILDERS[name](given)


def _fediverdict(given: object) -> Search:
    codes: list[bytes] = given  # type: ignore[assignment]
    numbers = np.arange(len(codes))
    limits = IndexSettings()
    crowding = Crowding(max(limits.peer_codes, len(codes)), limits.ball_codes)
    entries = Entries(numbers, numbers, np.full(len(codes), PEER), words_of(codes))
    index = HammingIndex(crowding)
    index.use(loaded(entries, crowding), 1)

    def search(query: Words) -> list[int]:
        hits = index.moment().search(query.reshape(1, 4), NEAR_BITS, Budget(limits.search_work))
        assert hits.complete
        found: list[int] = hits.ids.tolist()
        return found

    return search


def _pdq_index(given: object) -> Search:
    from threatexchange.signal_type.pdq.pdq_index import PDQIndex  # noqa: PLC0415

    index: Any = PDQIndex(cast("Any", given))
    return lambda query: [match.metadata for match in index.query(query.tobytes().hex())]


def _multi_hash(given: object) -> Search:
    import faiss  # noqa: PLC0415

    index = faiss.IndexBinaryMultiHash(BITS, 16, 16)
    index.nflip = 1
    return _faiss(faiss, index, given)


def _flat(given: object) -> Search:
    import faiss  # noqa: PLC0415

    return _faiss(faiss, faiss.IndexBinaryFlat(BITS), given)


def _faiss(faiss: object, index: object, given: object) -> Search:
    faiss.omp_set_num_threads(1)  # type: ignore[attr-defined]
    index.add(given)  # type: ignore[attr-defined]

    def search(query: Words) -> list[int]:
        asked = query.view(np.uint8).reshape(1, BITS // 8)
        _, _, found = index.range_search(asked, NEAR_BITS + 1)  # type: ignore[attr-defined]
        numbers: list[int] = found.tolist()
        return numbers

    return search


_BUILDERS = {
    FEDIVERDICT: _fediverdict,
    PDQ_INDEX: _pdq_index,
    MULTI_HASH: _multi_hash,
    FLAT: _flat,
}
