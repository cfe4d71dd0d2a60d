"""When a host that we deliver to is asked next; kept in `hosts`, so a restart hammers nobody.

The wait belongs to the host, not to what waits for it: a new page does not make it forgotten.

    closed -> (failure) closed, asked again after `retry_seconds`, then twice that ...
    closed -> (`host_failures` in a row within `host_failures_seconds`) open
    open   -> (`host_rest_seconds` later, then twice that ...) one try: closed, or open again
    either -> (429: it is there, and has had enough for now) closed, asked again later

No wait is longer than `retry_seconds_max` and its jitter; `Retry-After` may only lengthen one, up
to that too. Rows of hosts that nothing binds to us and for which nothing waits are forgotten.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, or_, select

from cache.storage.feed_tables import deliveries, followers, follows, is_waiting
from cache.storage.peer_tables import hosts
from cache.storage.rows import insert_into
from cache.storage.tables import issuers
from federation.outbound.backoff import backoff_seconds, jittered
from federation.settings import FederationSettings


@dataclass(frozen=True, slots=True)
class Host:
    """How deliveries to a host go; times in epoch seconds."""

    failures: int = 0  # in a row
    failed: int | None = None  # when the first of them was
    open_until: int | None = None  # it is not asked before
    rest_seconds: int = 0  # 0: its breaker is closed

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: it rests, or gets one try."""
        return self.rest_seconds > 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Something did not arrive; `is_busy` where the host is there and has had enough for now."""

    error: str
    now: int
    retry_after: int | None = None  # seconds
    is_busy: bool = False


def after_failure(host: Host, failure: Failure, settings: FederationSettings, dice: float) -> Host:
    """Return the host after one more failure; `dice` is 0..1."""
    failures = host.failures + 1
    failed = failure.now if host.failed is None else host.failed
    rest = 0 if failure.is_busy else _rest(host, failures, failure.now - failed, settings)
    wait = jittered(rest, dice) if rest else backoff_seconds(host.failures, settings, dice)
    wait = max(wait, min(failure.retry_after or 0, settings.retry_seconds_max))
    return Host(failures, failed, failure.now + wait, rest)


def _rest(host: Host, failures: int, seconds: int, settings: FederationSettings) -> int:
    """Return how long the breaker rests now, 0 where it stays closed."""
    if host.is_open:
        return min(2 * host.rest_seconds, settings.retry_seconds_max)
    opens = failures >= settings.host_failures and seconds <= settings.host_failures_seconds
    return min(settings.host_rest_seconds, settings.retry_seconds_max) if opens else 0


def read_host(conn: Connection, origin: str) -> Host:
    """Return how deliveries to an origin go; a host that nothing is known of is closed."""
    c = hosts.c
    query = select(c.failures, c.failed, c.open_until, c.rest_seconds).where(c.origin == origin)
    row = conn.execute(query).first()
    return Host() if row is None else Host(*row)


def note_failure(conn: Connection, origin: str, host: Host, error: str) -> None:
    """Write down that a host failed, and when it is asked next."""
    values = {
        "failures": host.failures,
        "failed": host.failed,
        "open_until": host.open_until,
        "rest_seconds": host.rest_seconds,
        "error": error,
    }
    _write(conn, origin, values)


def note_answer(conn: Connection, origin: str, now: int) -> None:
    """Write down that a host answered: its breaker closes, and what failed is forgotten."""
    values = {
        "failures": 0,
        "failed": None,
        "open_until": None,
        "rest_seconds": 0,
        "error": None,
        "succeeded": now,
    }
    _write(conn, origin, values)


def forget_hosts(conn: Connection, now: int, limit: int) -> int:
    """Forget at most `limit` hosts that nothing binds to us any more; return how many."""
    c = hosts.c
    idle = (
        select(c.origin)
        .where(
            or_(c.open_until.is_(None), c.open_until <= now),
            c.origin.not_in(select(deliveries.c.origin).where(is_waiting)),
            c.origin.not_in(select(followers.c.origin)),
            c.origin.not_in(select(issuers.c.origin).join(follows)),
        )
        .limit(limit)
    )
    origins = list(conn.execute(idle).scalars())
    conn.execute(delete(hosts).where(c.origin.in_(origins)))
    return len(origins)


def _write(conn: Connection, origin: str, values: Mapping[str, object]) -> None:
    upsert = insert_into(conn, hosts).values(origin=origin, **values)
    conn.execute(upsert.on_conflict_do_update(index_elements=["origin"], set_=values))
