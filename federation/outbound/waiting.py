"""What waits to be delivered: rows of `deliveries`, for each host in the order they came.

A row's life:  waiting -> delivered (deleted) | dropped (kept with its error, its body gone)

Decides what is kept for a host that cannot be reached. Of the pages of one feed for one inbox only
the newest stays, as an announcement, once the host rests or failed `host_failures` times in a row,
or `PAGES_WAITING` of them wait: whoever gets it pulls what is missing. Everything else stays, in
order, up to the limits; past them the oldest are dropped, of failing hosts first.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update

from cache.storage.feed_tables import deliveries, is_waiting
from cache.storage.peer_tables import hosts
from cache.storage.rows import batches, insert_into
from cache.verdict import Feed
from federation.origin import Url, origin_of
from federation.settings import FederationSettings
from federation.wire.composing import announced, build_create
from federation.wire.strictjson import JsonObject, to_bytes

PAGES_WAITING: Final = 8
"""Pages of one feed that wait for one inbox before they become one announcement."""

_MAX_DUE = 1_000  # hosts looked at in one turn
_c = deliveries.c
# Statements are made once, for that takes longer than running them.
_NEXT = (
    select(_c.id, _c.origin, _c.activity_id, _c.inbox, _c.body, _c.tries, _c.created, _c.feed)
    .where(is_waiting, _c.origin == bindparam("origin"))
    .order_by(_c.id)
    .limit(1)
)
_OLDEST = (
    select(_c.origin, func.min(_c.id).label("id")).where(is_waiting).group_by(_c.origin).subquery()
)
_DUE = (
    select(_OLDEST.c.origin)
    .outerjoin(hosts, hosts.c.origin == _OLDEST.c.origin)
    .where(func.coalesce(hosts.c.open_until, 0) <= bindparam("now"))
    .order_by(_OLDEST.c.id)
    .limit(_MAX_DUE)
)
_COUNTS = select(_c.origin, func.count()).where(is_waiting).group_by(_c.origin)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One activity on its way to one inbox; `feed` tells whose page it is, if it is one."""

    id: int
    origin: str
    activity_id: str
    inbox: Url
    body: str
    tries: int
    created: int
    feed: Feed | None


def enqueue(conn: Connection, inbox: Url, activity: JsonObject, now: int) -> None:
    """Write an activity down for delivery, in the caller's transaction; once per id and inbox."""
    _insert(conn, [(inbox, to_bytes(activity).decode())], str(activity["id"]), None, now)


def enqueue_page(
    conn: Connection, feed: Feed, inboxes: Sequence[Url], page: JsonObject, now: int
) -> None:
    """Write a signed page down for delivery: inline, or announced where others wait too long."""
    create = build_create(page)
    behind = _behind(conn, feed, inboxes, now)
    for some in batches(sorted(behind)):
        stop_pages(conn, feed, some)
    inline, stub = (to_bytes(one).decode() for one in (create, announced(create)))
    rows = [(inbox, stub if inbox in behind else inline) for inbox in inboxes]
    _insert(conn, rows, str(create["id"]), feed, now)


def stop_pages(conn: Connection, feed: Feed, inboxes: Sequence[str]) -> None:
    """Forget the pages of `feed` that wait for these inboxes."""
    mine = deliveries.c.inbox.in_(inboxes) & (deliveries.c.feed == int(feed))
    conn.execute(delete(deliveries).where(is_waiting, mine))


def collapse(conn: Connection, origin: str) -> None:
    """Leave of the pages that wait for a host the newest of each feed and inbox, announced."""
    c = deliveries.c
    query = select(c.id, c.inbox, c.feed).order_by(c.id)
    pages: dict[tuple[str, int], list[int]] = {}
    for row in conn.execute(query.where(is_waiting, c.origin == origin, c.feed.is_not(None))):
        pages.setdefault((row.inbox, row.feed), []).append(row.id)
    for *older, newest in pages.values():
        if older:
            conn.execute(delete(deliveries).where(c.id.in_(older)))
            _announce(conn, newest)


def newest_page(conn: Connection, inbox: str, feed: Feed) -> JsonObject | None:
    """Return the Create of the newest page of `feed` that waits for an inbox."""
    c = deliveries.c
    mine = is_waiting & (c.inbox == inbox) & (c.feed == int(feed))
    body = conn.scalar(select(c.body).where(mine).order_by(c.id.desc()).limit(1))
    return None if body is None else json.loads(body)


def announce_page(
    conn: Connection, feed: Feed, inboxes: Iterable[Url], create: JsonObject, now: int
) -> None:
    """Write the announcement of a page down for delivery, from its Create."""
    stub = to_bytes(announced(create)).decode()
    _insert(conn, [(inbox, stub) for inbox in inboxes], str(create["id"]), feed, now)


def due(conn: Connection, now: int) -> list[str]:
    """Return the hosts that something waits for and that do not rest, oldest row first."""
    return list(conn.execute(_DUE, {"now": now}).scalars())


def next_of(conn: Connection, origin: str) -> Delivery | None:
    """Return the oldest row that waits for a host."""
    row = conn.execute(_NEXT, {"origin": origin}).first()
    if row is None:
        return None
    feed = None if row.feed is None else Feed(row.feed)
    url, body = Url(row.inbox), row.body
    return Delivery(row.id, row.origin, row.activity_id, url, body, row.tries, row.created, feed)


def same(row: Delivery) -> ColumnElement[bool]:
    """Name the row that was read: SQLite gives the id of a deleted last row to the next one."""
    c = deliveries.c
    return (c.id == row.id) & (c.activity_id == row.activity_id) & (c.inbox == row.inbox)


def drop(conn: Connection, which: ColumnElement[bool], error: str) -> None:
    """Give rows up: they keep their error and lose their body."""
    values = {"state": "dropped", "error": error, "body": ""}
    conn.execute(update(deliveries).where(is_waiting, which).values(**values))


def has_too_many(conn: Connection, settings: FederationSettings) -> bool:
    """Tell whether more rows wait than may, in all or for one host."""
    counts = _counts(conn)
    most = max(counts.values(), default=0)
    return most > settings.delivery_rows_per_host or sum(counts.values()) > settings.delivery_rows


def drop_past_limits(conn: Connection, settings: FederationSettings) -> None:
    """Drop the oldest rows past the limits: of one host, then of failing ones, then of all."""
    limit = settings.delivery_rows_per_host
    for origin, count in _counts(conn).items():
        if count > limit:
            mine = deliveries.c.origin == origin
            _drop_oldest(conn, mine, count - limit, f"more than {limit} rows wait for this host")
    failing = deliveries.c.origin.in_(select(hosts.c.origin).where(hosts.c.failures > 0))
    for which in (failing, deliveries.c.id > 0):
        excess = sum(_counts(conn).values()) - settings.delivery_rows
        if excess > 0:
            error = f"more than {settings.delivery_rows} rows wait"
            _drop_oldest(conn, which, excess, error)


def forget_dropped(conn: Connection, before: int, keep: int, limit: int) -> int:
    """Forget at most `limit` dropped rows that are older, or beyond the newest `keep`."""
    c = deliveries.c
    dropped = select(c.id).where(c.state == "dropped")
    beyond = dropped.order_by(c.id.desc()).limit(limit).offset(keep)
    ids = set(conn.execute(beyond).scalars())
    ids |= set(conn.execute(dropped.where(c.created < before).limit(limit)).scalars())
    for some in batches(sorted(ids)):
        conn.execute(delete(deliveries).where(c.id.in_(some)))
    return len(ids)


def _insert(
    conn: Connection, rows: Sequence[tuple[Url, str]], activity_id: str, feed: Feed | None, now: int
) -> None:
    if not rows:
        return
    values = [
        {
            "inbox": inbox,
            "origin": origin_of(inbox),
            "activity_id": activity_id,
            "feed": None if feed is None else int(feed),
            "body": body,
            "created": now,
            "next_try": now,
        }
        for inbox, body in rows
    ]
    once = insert_into(conn, deliveries).on_conflict_do_nothing(
        index_elements=["inbox", "activity_id"]
    )
    conn.execute(once, values)


def _behind(conn: Connection, feed: Feed, inboxes: Sequence[Url], now: int) -> set[str]:
    """Return the inboxes that have pages waiting, and too many or a host that rests."""
    c = deliveries.c
    query = select(c.inbox, c.origin, func.count()).group_by(c.inbox, c.origin)
    waiting = [
        row
        for some in batches(inboxes)
        for row in conn.execute(query.where(is_waiting, c.inbox.in_(some), c.feed == int(feed)))
    ]
    resting = set(conn.execute(select(hosts.c.origin).where(hosts.c.open_until > now)).scalars())
    return {
        inbox for inbox, origin, count in waiting if origin in resting or count >= PAGES_WAITING
    }


def _announce(conn: Connection, row_id: int) -> None:
    mine = deliveries.c.id == row_id
    body = json.loads(str(conn.scalar(select(deliveries.c.body).where(mine))))
    conn.execute(update(deliveries).where(mine).values(body=to_bytes(announced(body)).decode()))


def _counts(conn: Connection) -> dict[str, int]:
    return {row.origin: row[1] for row in conn.execute(_COUNTS)}


def _drop_oldest(conn: Connection, which: ColumnElement[bool], count: int, error: str) -> None:
    ids = select(deliveries.c.id).where(is_waiting, which).order_by(deliveries.c.id).limit(count)
    for some in batches(conn.execute(ids).scalars().all()):
        drop(conn, deliveries.c.id.in_(some), error)
