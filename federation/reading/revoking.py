"""Takes back what was read under a key that its issuer has revoked since.

Decides which pages those are: all under the key, but for those of the epoch and before the page
that `revokedFrom` names. What they replaced or freed stands again, so the feed is read anew, and
their digests are forgotten: whoever stole the key signed them, and the issuer tells no second story
by telling its own. So it is with the rows of a snapshot that is being read, whose manifest such a
key signed: no page of them is remembered yet.
"""

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, or_, select, update

from cache.storage.feed_tables import ahead_pages, follow_snapshots, follows, remote_pages
from federation.actors.remote_actor import RemoteActor
from federation.following.follow import by_actor
from federation.reading.place import restart
from federation.wire.proof import ProofKey


def withdraw_revoked(conn: Connection, actor: RemoteActor) -> int:
    """Withdraw what was read of the feed `actor` under keys that do not count there any more.

    Returns how many pages those were, a snapshot that is being read among them; without any,
    nothing changes.
    """
    follow = by_actor(conn, actor.id)
    revoked = [key for key in actor.proof_keys.values() if key.is_revoked]
    if follow is None or not revoked:
        return 0
    _forget_ahead(conn, follow, revoked)
    pages = remote_pages.c.follow_id == follow.id
    gone = and_(pages, or_(*(_under(key) for key in revoked)))
    count = conn.execute(delete(remote_pages).where(gone)).rowcount
    count += _holds_parts(conn, follow, revoked)
    if count:
        restart(conn, follow.id)
        conn.execute(update(follows).where(follows.c.id == follow.id).values(next_try=0))
    return count


def _under(key: ProofKey) -> ColumnElement[bool]:
    """Name the pages that a revoked key signed and does not count for."""
    c = remote_pages.c
    if key.revoked_from is None:
        return c.key_id == key.id
    epoch, page = key.revoked_from
    return and_(c.key_id == key.id, or_(c.epoch != epoch, c.page >= page))


def _counts(key: ProofKey, epoch: str, page: int) -> bool:
    return key.revoked_from is not None and (
        key.revoked_from[0] == epoch and page < key.revoked_from[1]
    )


def _holds_parts(conn: Connection, follow: Row[Any], revoked: list[ProofKey]) -> bool:
    """Tell whether parts are here of a snapshot that was signed by a key that does not count."""
    c = follow_snapshots.c
    text = conn.scalar(select(c.manifest).where(c.follow_id == follow.id))
    if text is None:
        return False
    manifest, signer = json.loads(text), _key_of(text)
    keys = [key for key in revoked if key.id == signer]
    return any(not _counts(key, manifest["epoch"], manifest["throughPage"]) for key in keys)


def _forget_ahead(conn: Connection, follow: Row[Any], revoked: list[ProofKey]) -> None:
    """Forget heads and pages that are not here yet, where such a key signed them."""
    by_id = {key.id: key for key in revoked}
    c = ahead_pages.c
    for row in conn.execute(select(ahead_pages).where(c.follow_id == follow.id)).all():
        key = by_id.get(_key_of(row.document))
        if key is not None and not _counts(key, row.epoch, row.page):
            same = [c.follow_id == follow.id, c.epoch == row.epoch, c.page == row.page]
            conn.execute(delete(ahead_pages).where(*same))
    if follow.signed_head is not None and _key_of(follow.signed_head) in by_id:
        mine = follows.c.id == follow.id
        conn.execute(update(follows).where(mine).values(signed_head=None))


def _key_of(document: str) -> str:
    return str(json.loads(document)["proof"]["verificationMethod"])
