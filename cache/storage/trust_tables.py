"""The tables of trust: how peers fared where they could be compared, and what the admin is told.

One schema for SQLite and PostgreSQL, as in `tables`. None of it is ever federated.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)

from cache.storage.tables import RowId, metadata

agreements = Table(  # how often an issuer agreed with us, by label; "" stands for any label
    "agreements",
    metadata,
    Column("issuer_id", ForeignKey("issuers.id", ondelete="CASCADE"), primary_key=True),
    Column("label", Text, primary_key=True),
    Column("clean_compared", BigInteger, nullable=False, default=0),
    Column("clean_false", BigInteger, nullable=False, default=0),
    Column("flag_compared", BigInteger, nullable=False, default=0),
    Column("flag_agreed", BigInteger, nullable=False, default=0),
    Column("since_false", BigInteger, nullable=False, default=0),  # comparisons since a false clean
    Column("hits_since_false", BigInteger, nullable=False, default=0),  # its clean verdicts reused
)

comparisons = Table(  # what was compared already: once a picture, issuer and feed
    "comparisons",
    metadata,
    Column("issuer_id", ForeignKey("issuers.id", ondelete="CASCADE"), primary_key=True),
    Column("feed", SmallInteger, primary_key=True),
    Column("picture", LargeBinary, primary_key=True),  # content, else sha256
    Column("sha256", LargeBinary, nullable=False),
    Column("result", Text, nullable=False),  # agreed | false-clean | false-flag
    Column("labels", Text, nullable=False),  # on which they differ, space-separated
    Column("counted", Text, nullable=False),  # the labels it is counted for, space-separated
    Column("by_person", Boolean, nullable=False),  # a person's finding settled it
    Column("compared", BigInteger, nullable=False),
)

notices = Table(  # what an admin has to know
    "notices",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # e.g. false-clean, demoted, hot-hash, blast-radius
    Column("issuer_id", ForeignKey("issuers.id", ondelete="CASCADE"), index=True),
    Column("text", Text, nullable=False),
    Column("read", BigInteger),  # when somebody confirmed to have read it
)

counts = Table(  # what was answered, a row a day
    "counts",
    metadata,
    Column("day", Integer, primary_key=True),  # days since 1970-01-01 UTC
    Column("what", Text, primary_key=True),
    Column("issuer_id", BigInteger, primary_key=True),  # 0: of no peer
    Column("number", BigInteger, nullable=False),
)
