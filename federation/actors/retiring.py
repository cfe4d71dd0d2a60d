"""Ending for good: our actors are gone, say so to whoever keeps a copy, and never come back.

Its law: retiring cannot be taken back, for peers forget an actor that is gone. It is noted in the
database, so every process follows within `poll_seconds`: feeds seal nothing more, nothing is
pulled, and what was for peers answers 410 (our actors as a Tombstone), NodeInfo excepted. `serve`
has to run on for a while, for the `Delete`s are delivered by it, and peers believe them only once
they see the 410.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web
from sqlalchemy import Connection, delete, insert, select

from cache.storage.feed_tables import deliveries, followers, is_waiting
from cache.storage.tables import notes
from federation.actors.copies import copies
from federation.addresses import FEEDS, INSTANCE_NAME
from federation.context import ACTIVITYSTREAMS
from federation.following.inboxes import REJECTED
from federation.instance import Instance
from federation.origin import Url
from federation.outbound import media
from federation.outbound.waiting import enqueue
from federation.wire.composing import build_delete
from federation.wire.strictjson import JsonObject, to_bytes
from federation.wire.times import to_rfc3339

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_NOTE: Final = "federation:retired"
_STAYS: Final = ("/nodeinfo/", "/.well-known/nodeinfo")
_TEXT: Final = "This instance has ended."


def retired_at(conn: Connection) -> int | None:
    """Return when this instance ended for good, in epoch seconds, or None while it goes on."""
    value = conn.scalar(select(notes.c.value).where(notes.c.name == _NOTE))
    return None if value is None else int(value)


def retire(conn: Connection, instance: Instance) -> int:
    """End this instance for good; return how many inboxes are told, 0 where it ended before."""
    if retired_at(conn) is not None:
        return 0
    now = instance.clock()
    conn.execute(insert(notes).values(name=_NOTE, value=str(now)))
    conn.execute(delete(deliveries).where(is_waiting, deliveries.c.feed.is_not(None)))
    told = {(instance.id, inbox) for inbox in copies(conn, INSTANCE_NAME)}
    for name, feed in FEEDS.items():
        asks = (followers.c.feed == int(feed)) & (followers.c.state != REJECTED)
        inboxes = conn.execute(select(followers.c.inbox).where(asks)).scalars()
        told |= {(instance.id_of(name), Url(inbox)) for inbox in inboxes}
    for actor_id, inbox in sorted(told):
        enqueue(conn, inbox, build_delete(actor_id), now)
    return len({inbox for _, inbox in told})


def until_retired(routes: Iterable[web.RouteDef], instance: Instance) -> list[web.RouteDef]:
    """Return the routes of federation, which answer 410 once the instance has ended."""
    return [_until_retired(route, instance) for route in routes]


def build_tombstone(instance: Instance, name: str) -> JsonObject:
    """Return what stands where an actor of ours was."""
    return {
        "@context": ACTIVITYSTREAMS,
        "id": instance.id_of(name),
        "type": "Tombstone",
        "formerType": "Application" if name == INSTANCE_NAME else "Service",
        "deleted": to_rfc3339(instance.retired or 0),
    }


def _until_retired(route: web.RouteDef, instance: Instance) -> web.RouteDef:
    if route.path.startswith(_STAYS):
        return route
    handler: Handler = route.handler

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request) if instance.retired is None else gone(request, instance)

    return web.RouteDef(route.method, route.path, answer, route.kwargs)


def gone(request: web.Request, instance: Instance) -> web.Response:
    """Answer 410, with a Tombstone where an actor was."""
    for name in (INSTANCE_NAME, *FEEDS):
        if request.method == "GET" and instance.id_of(name) == f"{instance.base}{request.path}":
            body = to_bytes(build_tombstone(instance, name))
            return web.Response(status=410, body=body, content_type=media.ACTIVITY)
    problem = {"type": "about:blank", "title": _TEXT, "status": 410}
    body = to_bytes(problem)
    return web.Response(status=410, body=body, content_type="application/problem+json")
