"""Who keeps a copy of our actors' documents, and so has to hear when they change or end."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from cache.storage.feed_tables import follows, remote_actors
from federation.addresses import FEEDS
from federation.following.inboxes import page_inboxes
from federation.origin import Url


def copies(conn: Connection, name: str) -> list[Url]:
    """Return the inboxes of a feed's approved followers, or of the feeds that `actor` follows."""
    if name in FEEDS:
        return page_inboxes(conn, FEEDS[name])
    followed = select(remote_actors.c.document).join(
        follows, follows.c.actor_id == remote_actors.c.actor_id
    )
    documents = conn.execute(followed.order_by(follows.c.id)).scalars()
    return list(dict.fromkeys(_inbox(json.loads(one)) for one in documents))


def _inbox(document: Mapping[str, Any]) -> Url:
    """Return where an actor is told; its document was checked when it was stored."""
    endpoints = document.get("endpoints")
    shared = endpoints.get("sharedInbox") if isinstance(endpoints, dict) else None
    return Url(shared or document["inbox"])
