"""Exchange of heads: whether the peers that follow a feed were all told one story."""

from collections.abc import Callable

from sqlalchemy import Connection, select

from cache.storage.feed_tables import followers, follows
from cache.storage.tables import issuers
from federation.following.follow import ACCEPTED
from federation.following.followers import APPROVED
from federation.wire.activity import AnnounceHeads


class Heads:
    """Tells and compares the heads of followed feeds."""

    async def compare(self, activity: AnnounceHeads) -> Callable[[Connection], object]:
        """Return what comes of the heads that a peer told."""
        return lambda _: None


def is_mutual(conn: Connection, origin: str) -> bool:
    """Tell whether a peer follows us and we follow it: only such exchange heads."""
    theirs = select(followers.c.id).where(
        followers.c.origin == origin, followers.c.state == APPROVED
    )
    ours = (
        select(follows.c.id)
        .join(issuers, issuers.c.id == follows.c.issuer_id)
        .where(issuers.c.origin == origin, follows.c.state == ACCEPTED)
    )
    return all(conn.execute(query).first() is not None for query in (theirs, ours))
