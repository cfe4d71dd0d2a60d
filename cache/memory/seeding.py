"""Seeds the finding that makes every installation flag the test card.

Decides that it stands once: a person here who dismisses it is not overruled at the next start.
`decide` reads it as any other finding: the card is flagged, a copy of it is up for review.
"""

from sqlalchemy import Connection, select

from cache.judgement import Judgement
from cache.memory.record import NewFinding, record_finding, record_image
from cache.storage.tables import findings, images
from cache.testcard import CARD, RULE
from cache.verdict import Finding

DECIDED_BY = "fediverdict"
_SEEDED = (
    select(findings.c.id)
    .join(images, images.c.id == findings.c.image_id)
    .where(images.c.sha256 == CARD.sha256, findings.c.rule == RULE)
    .limit(1)
)


def is_seeded(connection: Connection) -> bool:
    """Tell whether a finding on the test card stands here; reads only."""
    return connection.execute(_SEEDED).first() is not None


def seed_test_card(connection: Connection, judgement: Judgement, *, now: int) -> bool:
    """Store the card's fingerprints, its finding and its near code, unless they are here.

    Tells whether it did. Wants a write transaction, in which no other process can do the same.
    """
    if is_seeded(connection):
        return False
    record_image(connection, CARD, now=now, variants=CARD.variants)
    upheld = NewFinding(CARD.sha256, RULE, Finding.UPHELD, "the installation test card", DECIDED_BY)
    record_finding(connection, upheld, judgement, now=now)
    return True
