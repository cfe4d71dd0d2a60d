"""Which kind of HTTP signature an origin takes, and when it is asked again in the other kind.

Nobody says which scheme he knows, so we knock: draft-cavage first, and once more with RFC 9421
where the answer may mean that the first was not understood: 400, 401 and 403, and 5xx of an
origin of which nothing is known yet. What worked last is remembered for each origin, for
`KNOCK_SECONDS`, for deliveries and fetches alike; then it is tried anew. Only what needed a
signature teaches: a delivery, or a second knock. A second knock does no harm: a delivery is known
by its activity's id. Rows are bounded, and the oldest go first.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, select

from cache.storage.database import Store
from cache.storage.peer_tables import knocks
from cache.storage.prepared import Prepared
from cache.storage.rows import insert_into
from federation.origin import Origin
from federation.signing.identity import Scheme

KNOCK_SECONDS: Final = 604_800
"""How long it is believed that an origin takes a scheme: 7 days."""
MAX_KNOCKS: Final = 10_000
"""Origins that are remembered."""
FIRST: Final = Scheme.CAVAGE
_OTHER: Final = {Scheme.CAVAGE: Scheme.RFC9421, Scheme.RFC9421: Scheme.CAVAGE}
_KNOWN: Final = Prepared(
    select(knocks.c.scheme).where(
        knocks.c.origin == bindparam("origin"), knocks.c.learned > bindparam("since")
    )
)


class Knocks:
    """What origins took lately; `clock` gives epoch seconds."""

    def __init__(self, store: Store, clock: Callable[[], int], limit: int = MAX_KNOCKS) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit

    async def known(self, origin: Origin) -> Scheme | None:
        """Return what the origin took last, or None where that is unknown or too long ago."""
        return await self._store.read(read_knock, origin, self._clock())

    async def note(self, origin: Origin, scheme: Scheme) -> None:
        """Write down that the origin took a scheme."""
        await self._store.write(note_knock, origin, scheme, self._clock(), self._limit)


def other(scheme: Scheme) -> Scheme:
    """Return the scheme for the second knock."""
    return _OTHER[scheme]


def may_be_the_scheme(status: int, *, is_known: bool, asks_to_wait: bool) -> bool:
    """Tell whether an answer may mean that the scheme was not understood.

    Small servers answer a signature that they do not know with 500; one that took the scheme
    lately (`is_known`), or says when to come back (`Retry-After`), has something else in mind.
    """
    fails = 500 <= status < 600 and not is_known
    return not asks_to_wait and (status in (400, 401, 403) or fails)


def read_knock(conn: Connection, origin: str, now: int) -> Scheme | None:
    """Return what the origin took within `KNOCK_SECONDS`, or None."""
    for (scheme,) in _KNOWN.rows(conn, origin=origin, since=now - KNOCK_SECONDS):
        return Scheme(scheme)
    return None


def note_knock(conn: Connection, origin: str, scheme: Scheme, now: int, limit: int) -> None:
    """Store what the origin took, and drop what is too old and the oldest past `limit` rows."""
    values = {"scheme": scheme.value, "learned": now}
    upsert = insert_into(conn, knocks).values(origin=origin, **values)
    conn.execute(upsert.on_conflict_do_update(index_elements=["origin"], set_=values))
    conn.execute(delete(knocks).where(knocks.c.learned <= now - KNOCK_SECONDS))
    count = conn.scalar(select(func.count()).select_from(knocks)) or 0
    if count > limit:
        _drop_oldest(conn, count - limit, origin)


def _drop_oldest(conn: Connection, count: int, keep: str) -> None:
    c = knocks.c
    oldest = select(c.origin).where(c.origin != keep).order_by(c.learned, c.origin).limit(count)
    conn.execute(delete(knocks).where(c.origin.in_(list(conn.execute(oldest).scalars()))))
