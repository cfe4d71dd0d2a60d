"""The tables of cases: what awaits or holds a person's decision, and what is matched on its way.

One schema for SQLite and PostgreSQL, as in `tables`. None of it is ever federated.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from cache.storage.tables import RowId, metadata

prints = Table(  # every picture fingerprinted here, once; `id` grows, so a reader can follow
    "prints",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False, unique=True),
    sqlite_autoincrement=True,
)

arrivals = Table(  # peers' rows on pictures fingerprinted here that came or went; a queue
    "arrivals",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False, index=True),  # of the row
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),
    Column("feed", SmallInteger, nullable=False),  # verdict.Feed
    Column("gone", Boolean, nullable=False),  # retracted, withdrawn or pruned, else it came
    sqlite_autoincrement=True,
)

cases = Table(  # open -> upheld | dismissed | escalated | restored; any -> reopened -> any
    "cases",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("state", Text, nullable=False, index=True),
    Column("rules", Text, nullable=False),  # space-separated
    Column("reason", Text, nullable=False),  # why it is in the state it is in, for people
    Column("embargo", Boolean, nullable=False, default=False),  # set by escalating
    Column("opened", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("recheck", BigInteger, index=True),  # when it is looked at again; null: never
    Column("recheck_reason", Text),  # why, where it is no expiry
    sqlite_autoincrement=True,
)

case_pictures = Table(  # waiting -> upheld | dismissed | escalated, each by a person
    "case_pictures",
    metadata,
    Column("case_id", ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True),
    Column("image_id", ForeignKey("images.id"), primary_key=True, index=True),
    Column("decision", Text, nullable=False),  # what was decided on it when it was last looked at
    Column("added", BigInteger, nullable=False),
    Column("shown", BigInteger),  # when a person saw it in this case; null: not yet
    Column("finding", Text),  # a person's, or "restored" (undo.auto); null: waiting
)

case_grounds = Table(  # the evidence a picture is here for; `gone` once it lapsed
    "case_grounds",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("case_id", ForeignKey("cases.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("image_id", ForeignKey("images.id"), nullable=False, index=True),  # here for it
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),  # who says so
    Column("of_image_id", ForeignKey("images.id"), nullable=False),  # of which picture
    Column("kind", Text, nullable=False),  # verdict.MatchKind
    Column("distance", Integer, nullable=False, default=0),  # bits
    Column("rule", Text, nullable=False),
    Column("acted", Boolean, nullable=False),  # it flagged the picture: counts in the blast radius
    Column("added", BigInteger, nullable=False),
    Column("expires", BigInteger),  # null: never
    Column("gone", BigInteger),
    UniqueConstraint("case_id", "image_id", "issuer_id", "of_image_id", "kind", "rule"),
)
Index("ix_case_grounds_issuer_id_added", case_grounds.c.issuer_id, case_grounds.c.added)
Index("ix_case_grounds_of_image_id", case_grounds.c.of_image_id)

held_codes = Table(  # codes that the hot-hash breaker holds: scanned for, never acted on
    "held_codes",
    metadata,
    Column("image_id", ForeignKey("images.id"), primary_key=True),
    Column("issuer_id", ForeignKey("issuers.id"), primary_key=True),
    Column("pictures", Integer, nullable=False),  # how many distinct ones it matched in an hour
    Column("held", BigInteger, nullable=False),
    Column("released", BigInteger),  # when a person let it act again; null: held
)

allowed = Table(  # own allow-list: near these, near flag evidence only asks for a scan
    "allowed",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("pdq", LargeBinary, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("allowed_by", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
)
