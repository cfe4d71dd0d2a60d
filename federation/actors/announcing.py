"""Tells peers when a document of ours has changed, and lets a running `serve` use new keys.

Its law: every process takes over the stored keys every `poll_seconds`, and before it shows an
actor: who meets a new key asks for its actor at once, and then not again for a while. The digest of
the last document that was told is noted in the database; another document is told once, by an
`Update` to whoever keeps a copy: a feed's approved followers, and for the instance actor the feeds
that it follows. An `Update` that still waits is replaced by the newer one. The first document is
noted and told nobody, for nobody has another.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, delete, select

from cache.storage.database import Store
from cache.storage.feed_tables import deliveries, is_waiting
from cache.storage.rows import insert_into
from cache.storage.tables import notes
from federation.actors.copies import copies
from federation.actors.retiring import retired_at
from federation.addresses import FEEDS, INSTANCE_NAME
from federation.instance import Instance
from federation.origin import Url
from federation.outbound.waiting import enqueue
from federation.signing.keystore import load_keys, state_of_keys
from federation.wire.composing import build_update
from federation.wire.strictjson import JsonObject

NAMES: Final = (INSTANCE_NAME, *FEEDS)


class Announcer:
    """Keeps the instance of one process as the database says; see the module."""

    def __init__(self, store: Store, instance: Instance) -> None:
        self._store = store
        self._instance = instance
        self._known: tuple[Any, ...] | None = None  # the state of the keys that are in use here
        self._told: tuple[Any, ...] | None = None  # the one whose documents were told

    async def refresh(self) -> None:
        """Take over what the database says of our keys, and whether we have ended."""
        state, self._instance.retired = await self._store.read(_look)
        if state != self._known:
            self._instance.keys = await self._store.read(load_keys)
            self._known = state

    async def run_once(self) -> int:
        """Take over what changed and write Updates down; return how many."""
        await self.refresh()
        known = self._known
        if known == self._told or self._instance.retired is not None:
            return 0
        told = await self._store.write(announce, self._instance)
        self._told = known
        return told


def announce(conn: Connection, instance: Instance) -> int:
    """Write an Update down for every document that is not the one told last; return how many."""
    return sum(_announce(conn, instance, name) for name in NAMES)


def _look(conn: Connection) -> tuple[tuple[Any, ...], int | None]:
    return state_of_keys(conn), retired_at(conn)


def _announce(conn: Connection, instance: Instance, name: str) -> int:
    document = instance.document(name)
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    noted = conn.scalar(select(notes.c.value).where(notes.c.name == _note(name)))
    if noted == digest:
        return 0
    values = {"name": _note(name), "value": digest}
    upsert = insert_into(conn, notes).values(**values)
    conn.execute(upsert.on_conflict_do_update(index_elements=["name"], set_={"value": digest}))
    return 0 if noted is None else _tell(conn, document, copies(conn, name), digest, instance)


def _tell(
    conn: Connection,
    document: JsonObject,
    inboxes: Iterable[Url],
    digest: str,
    instance: Instance,
) -> int:
    now, ids = instance.clock(), f"{document['id']}#updates/"
    older = deliveries.c.activity_id.startswith(ids, autoescape=True)
    conn.execute(delete(deliveries).where(is_waiting, older))
    activity = build_update(f"{ids}{now}-{digest[:16]}", document)
    told = 0
    for inbox in inboxes:
        enqueue(conn, inbox, activity, now)
        told += 1
    return told


def _note(name: str) -> str:
    return f"federation:announced:{name}"
