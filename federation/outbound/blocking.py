"""Which domains the admin has blocked: those of the config file, and those of the database.

Decides for one host whether it, or a domain above it, is blocked. It is asked wherever a peer
comes in (inbox, pages) and, in `client.py`, wherever we go out, so a blocked host costs no
fetch. The database is the truth; an answer is remembered for `seconds` (`poll_seconds`), so what
a command blocks while `serve` runs counts within that time. What a block ends is left to
`following/ending.py`.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from sqlalchemy import Connection, select

from cache.storage.database import Store
from cache.storage.peer_tables import blocked_domains
from cache.storage.prepared import PreparedList
from federation.errors import BlockedDomain
from federation.outbound.domain import above, covering, host_of

REMEMBERED_HOSTS = 10_000
"""Hosts whose answer is kept in memory; the oldest go first."""

_domain = blocked_domains.c.domain
_STORED = PreparedList(lambda is_listed: select(_domain).where(is_listed(_domain)))


class Blocks:
    """The blocked domains, asked by one process; without a store, those of the file alone."""

    def __init__(
        self,
        configured: Iterable[str],
        store: Store | None = None,
        seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = frozenset(configured)
        self._store = store
        self._seconds = seconds
        self._monotonic = monotonic
        self._answers: OrderedDict[str, tuple[float, str | None]] = OrderedDict()

    async def refuse(self, url: str) -> None:
        """Raise `BlockedDomain` for a URL or origin of a blocked host, or of one below it."""
        domain = await self.blocking(url)
        if domain is not None:
            message = f"{domain} is blocked"
            raise BlockedDomain(message)

    async def blocking(self, url: str) -> str | None:
        """Return the blocked domain that covers the host of a URL or origin, or None."""
        host = host_of(url)
        found = covering(host, self._configured)
        if found is not None or self._store is None or not host:
            return found
        now = self._monotonic()
        known = self._answers.get(host)
        if known is not None and now - known[0] < self._seconds:
            return known[1]
        found = await self._store.read(stored_above, host)
        self._remember(host, now, found)
        return found

    def _remember(self, host: str, now: float, found: str | None) -> None:
        self._answers[host] = (now, found)
        self._answers.move_to_end(host)
        while len(self._answers) > REMEMBERED_HOSTS:
            self._answers.popitem(last=False)


def stored_above(conn: Connection, host: str) -> str | None:
    """Return the nearest domain of the database that covers a host, or None."""
    return covering(host, {domain for (domain,) in _STORED.rows(conn, list(above(host)))})
