"""The tables of talking to peers: hosts, what was blocked, what was disputed, and evidence.

One schema for SQLite and PostgreSQL, as in `tables`; only `federation` reads and writes them, but
for `disputes`, which cases answer.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from cache.storage.tables import RowId, metadata

hosts = Table(  # how deliveries to a host go; its breaker is open while `rest_seconds` is not 0
    "hosts",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("failures", Integer, nullable=False, default=0),  # in a row
    Column("failed", BigInteger),  # when the first of them was
    Column("open_until", BigInteger),  # it is not asked before; null: whenever something waits
    Column("rest_seconds", Integer, nullable=False, default=0),  # how long the open breaker rests
    Column("error", Text),
    Column("succeeded", BigInteger),
)

knocks = Table(  # which kind of HTTP signature a host took last
    "knocks",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("scheme", Text, nullable=False),
    Column("learned", BigInteger, nullable=False, index=True),
)

blocked_domains = Table(  # hosts, and everything below them, beside those of the config file
    "blocked_domains",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("reason", Text, nullable=False, default=""),
    Column("source", Text, nullable=False, default=""),  # the list that it came from
    Column("added", BigInteger, nullable=False),
)

evidence = Table(  # that an issuer told two stories: two documents that it signed
    "evidence",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("issuer_id", ForeignKey("issuers.id", ondelete="CASCADE"), nullable=False),
    Column("feed", SmallInteger, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("page", Integer, nullable=False),
    Column("first", Text, nullable=False),
    Column("second", Text, nullable=False),
    Column("found", BigInteger, nullable=False),
    Column("cleared", BigInteger),  # when the admin let it rest; null: it has not been judged yet
    UniqueConstraint("issuer_id", "feed", "epoch", "page"),
)

disputes = Table(  # open -> answered; what peers dispute of ours, and what we dispute of theirs
    "disputes",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("is_ours", SmallInteger, nullable=False),  # 1: we sent it, 0: a peer did
    Column("activity_id", Text, nullable=False),
    Column("origin", Text, nullable=False, index=True),  # of the peer
    Column("actor_id", Text, nullable=False),  # who disputes, or whom we told
    Column("feed", SmallInteger, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False, index=True),
    Column("case_id", ForeignKey("cases.id", ondelete="SET NULL"), index=True),
    Column("text", Text, nullable=False),  # plain words on one line
    Column("created", BigInteger, nullable=False),
    Column("answered", BigInteger),  # when a person here decided on the picture
    UniqueConstraint("activity_id", "feed", "epoch", "seq"),
)
